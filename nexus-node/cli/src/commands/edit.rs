use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::client::escape;
use crate::session::{CliSession, text};

/// Change the text, the aliases or the validity of a memory, or settle a conflict about it
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// Its id, or its key
    id: String,
    /// The new text; `-` reads stdin
    #[arg(required_unless_present_any = ["aliases", "valid_from", "valid_to"])]
    text: Option<String>,
    /// Other words to find it by, in place of those before; up to eight times
    #[arg(long = "alias", value_name = "WORDS")]
    aliases: Vec<String>,
    /// The time from which it holds: `2026-03-01`, RFC 3339, `now`, or `never` for none
    #[arg(long, value_name = "TIME")]
    valid_from: Option<wire::MomentOrNever>,
    /// The time from which it no longer holds
    #[arg(long, value_name = "TIME")]
    valid_to: Option<wire::MomentOrNever>,
    /// Whose words they are: `user`, `model`, `tool` or `import` [default: user]
    #[arg(long)]
    source: Option<wire::Source>,
    /// Write it although it looks like a secret: it reaches all machines of the mesh
    #[arg(long)]
    allow_secret: bool,
}

impl Edit {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let patch = wire::Patch {
            text: self.text.map(text).transpose()?,
            aliases: (!self.aliases.is_empty()).then_some(self.aliases),
            valid_from: self.valid_from,
            valid_to: self.valid_to,
            source: self.source,
            allow_secret: self.allow_secret,
            ..wire::Patch::default()
        };
        let memory: wire::Memory = client.patch(&format!("/v1/memories/{}", escape(&self.id)), &patch)?;
        session.printer.answer(&memory, || super::get::text(&memory, &session.printer))
    }
}
