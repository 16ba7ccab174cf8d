use clap::Args;
use nexus_node::api::{Problem, wire};

use crate::client::escape;
use crate::session::CliSession;

/// Remove a memory on all nodes, for good
#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// Its id
    id: String,
}

impl Forget {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let forgotten: wire::Forgotten = session.client()?.delete(&format!("/v1/memories/{}", escape(&self.id)))?;
        session.printer.answer(&forgotten, || format!("forgot {}", forgotten.id))
    }
}
