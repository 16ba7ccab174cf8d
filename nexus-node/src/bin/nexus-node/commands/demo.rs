use clap::Args;
use nexus_node::api::Problem;
use crate::session::Session;

/// See it work: three real nodes on this machine
#[derive(Debug, Args)]
pub(crate) struct Demo;

impl Demo {
    pub(crate) fn run(self, _: &Session) -> Result<(), Problem> {
        Err(Problem::new("failed", "not yet"))
    }
}
