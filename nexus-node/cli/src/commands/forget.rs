use clap::Args;
use nexus_node::api::{Problem, wire};

use crate::client::escape;
use crate::session::Session;

/// Remove a memory, everywhere and for good
#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// Its id
    id: String,
}

impl Forget {
    pub(crate) fn run(self, session: &Session) -> Result<(), Problem> {
        let forgotten: wire::Forgotten = session.client()?.delete(&format!("/v1/memories/{}", escape(&self.id)))?;
        session.printer.answer(&forgotten, || format!("forgot {}", forgotten.id))
    }
}
