use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::json;

use crate::client::escape;
use crate::output::sane;
use crate::session::CliSession;

/// Check a token right before an effect that must not happen twice
#[derive(Debug, Subcommand)]
pub(crate) enum Fence {
    /// Whether the lease of a token stands; exit 0 only while it does
    Check {
        /// The lock's name
        #[arg(value_name = "LOCK", value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// The token of the lease
        token: u64,
    },
}

impl Fence {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let Self::Check { name, token } = self;
        let found: Result<wire::Lease, Problem> = session.client()?.get(&format!("/v1/locks/{}", escape(&name)));
        let lease = match found {
            Ok(lease) => Some(lease),
            Err(problem) if problem.code == "not_found" => None,
            // unknown is not over, and no permission either
            Err(problem) => return Err(problem),
        };
        let valid = lease.as_ref().is_some_and(|lease| lease.token == token);
        let document = json!({ "valid": valid, "name": name, "token": token });
        let shown = sane(&name);
        session.printer.answer(&document, || {
            let not = if valid { "stands" } else { "is over" };
            format!("the lease of {shown} under token {token} {not}")
        })?;
        if valid {
            return Ok(());
        }
        let message = match lease {
            Some(lease) => format!("the lock {shown} is held under token {}, not {token}", lease.token),
            None => format!("nobody holds the lock {shown}"),
        };
        Err(Problem::new("conflict", message).hint("somebody else may have its effect now: this one must not happen"))
    }
}
