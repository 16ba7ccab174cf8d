use clap::Args;
use nexus_node::api::{Problem, wire};

use crate::client::escape;
use crate::session::{CliSession, text};

/// Change the text of a memory, or settle a conflict about it
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// Its id
    id: String,
    /// The new text; `-` reads stdin
    text: String,
    /// Whose words they are: `user`, `model`, `tool` or `import` [default: user]
    #[arg(long)]
    source: Option<wire::Source>,
}

impl Edit {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let patch = wire::Patch { text: Some(text(self.text)?), source: self.source, ..wire::Patch::default() };
        let memory: wire::Memory = client.patch(&format!("/v1/memories/{}", escape(&self.id)), &patch)?;
        session.printer.answer(&memory, || super::get::text(&memory, &session.printer))
    }
}
