use clap::Args;
use nexus_identity::Name;
use nexus_node::api::Problem;
use serde_json::json;

use crate::session::CliSession;

/// Create this machine's identity and a new mesh
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// This node's name [default: the machine's name]
    #[arg(long)]
    name: Option<Name>,
}

impl Init {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let directory = session.data_dir()?;
        let made = nexus_node::node::init(&directory, self.name)?;
        let document = json!({
            "did": made.did.to_string(),
            "peer_id": made.peer_id,
            "mesh_did": made.mesh_did.to_string(),
            "name": made.name.to_string(),
            "data_dir": made.data_dir,
        });
        session.printer.answer(&document, || {
            let (name, did, mesh) = (&made.name, &made.did, &made.mesh_did);
            format!("{name} is {did}\nmesh is {mesh}\nkept in {}", made.data_dir.display())
        })?;
        session.printer.note(&format!("next: `{} up`", session.program()));
        Ok(())
    }
}
