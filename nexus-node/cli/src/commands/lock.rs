mod ending;
#[cfg(unix)]
mod guard;
mod route;
mod run;

use std::time::Duration;

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use nexus_client::wire;
use nexus_node::api::Problem;

#[cfg(unix)]
pub(crate) use self::guard::LockExec;
use self::route::{GRACE, path};
use super::kv::Once;
use crate::output::{Printer, Style, Table, sane, short_did};
use crate::session::CliSession;

/// Locks with leases and fencing tokens
#[derive(Debug, Subcommand)]
pub(crate) enum Lock {
    /// Take a lock
    ///
    /// Every member of the mesh can see its name and its holder.
    Acquire {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// The time of the lease unless it is renewed
        #[arg(long, value_name = "TIME", default_value = "30s")]
        ttl: wire::Span,
        /// The longest wait in line for a held lock [default: no wait]
        #[arg(long, value_name = "TIME")]
        wait: Option<wire::Span>,
        #[command(flatten)]
        once: Once,
    },
    Run(run::Run),
    /// Start a lease's time anew
    Renew {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// The token that `acquire` printed
        #[arg(long)]
        token: u64,
        /// A new time for the lease [default: as before]
        #[arg(long, value_name = "TIME")]
        ttl: Option<wire::Span>,
    },
    /// Give a lock back
    Release {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// The token that `acquire` printed
        #[arg(long)]
        token: u64,
    },
    /// List the held locks
    List,
    /// Take a lock from its holder
    Steal {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// The time of the lease unless it is renewed
        #[arg(long, value_name = "TIME", default_value = "30s")]
        ttl: wire::Span,
    },
}

impl Lock {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let printer = &session.printer;
        match self {
            Self::Acquire { name, ttl, wait, once } => {
                let client =
                    client.patient(wait.map_or(Duration::ZERO, |wait| wait.0).saturating_add(GRACE)).once(once.request);
                let lease = client.post(&path(&name, "acquire"), &wire::Acquire { ttl: Some(ttl), wait })?;
                taken(&lease, printer)
            }
            Self::Run(run) => run.run(session, &client),
            Self::Renew { name, token, ttl } => {
                let lease: wire::Lease = client.post(&path(&name, "renew"), &wire::Renew { token, ttl })?;
                printer.answer(&lease, || format!("renewed {}: {}", sane(&lease.name), lasts(&lease)))
            }
            Self::Release { name, token } => {
                let lease: wire::Lease = client.post(&path(&name, "release"), &wire::Release { token })?;
                printer.answer(&lease, || format!("released {}", sane(&lease.name)))
            }
            Self::List => list(&client.get::<Vec<wire::Lease>>("/v1/locks")?, printer),
            Self::Steal { name, ttl } => {
                taken(&client.post(&path(&name, "steal"), &wire::Steal { ttl: Some(ttl) })?, printer)
            }
        }
    }
}

/// Prints a lease; with `-q` the token alone, for scripts.
fn taken(lease: &wire::Lease, printer: &Printer) -> Result<(), Problem> {
    printer.answer(lease, || {
        if printer.quiet() {
            return lease.token.to_string();
        }
        let token = printer.paint(Style::Bold, &lease.token.to_string());
        format!("holding {}, token {token}, {}", sane(&lease.name), lasts(lease))
    })?;
    let wire::Lease { name, token, .. } = lease;
    printer
        .note(&format!("`nexus-node lock renew {0} --token {token}`, `lock release {0} --token {token}`", sane(name)));
    Ok(())
}

fn lasts(lease: &wire::Lease) -> String {
    format!("for {:.1} s", Duration::from_millis(lease.expires_in_ms).as_secs_f64())
}

fn list(leases: &[wire::Lease], printer: &Printer) -> Result<(), Problem> {
    printer.answer(&leases, || {
        if leases.is_empty() {
            return "no lock is held; `nexus-node lock acquire NAME` takes one".to_owned();
        }
        let mut table = Table::new(["LOCK", "TOKEN", "HOLDER", "DID", "AT MOST", "IN LINE"]);
        for lease in leases {
            table.row([
                (lease.name.clone(), Some(Style::Bold)),
                (lease.token.to_string(), None),
                (lease.holder_name.clone().unwrap_or_else(|| "-".to_owned()), None),
                (short_did(&lease.holder), Some(Style::Dim)),
                (lasts(lease).trim_start_matches("for ").to_owned(), None),
                (lease.waiting.to_string(), (lease.waiting > 0).then_some(Style::Odd)),
            ]);
        }
        table.show(printer)
    })
}
