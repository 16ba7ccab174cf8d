//! This node's part in the coordinators of a build without them: it takes none.

use std::sync::Arc;

use nexus_identity::Keypair;
use nexus_mesh::{Mesh, Rooms};

use crate::config::Config;
use crate::coordinator::Coordinator;
use crate::env::RaftEnv;
use crate::error::NodeError;
use crate::failure::Failure;
use crate::formats::WrittenFormat;
use crate::identity::Identity;
use crate::runtime::EngineHandle;
use crate::world::World;

/// A part that is never started.
pub(super) struct Coordinating;

/// The handles and facts from which this node's part begins.
pub(super) struct CoordinatorParts<'a> {
    pub(super) identity: Identity,
    pub(super) mesh: Mesh,
    pub(super) world: World,
    pub(super) failure: Failure,
    pub(super) engine: EngineHandle,
    /// The format in which this node writes entries at its start.
    pub(super) written: WrittenFormat,
    /// Whether this node founds the coordinators.
    pub(super) founder: bool,
    pub(super) key: Keypair,
    pub(super) config: &'a Config,
}

impl Coordinating {
    pub(super) fn register(_: Option<RaftEnv>, _: &mut Rooms) -> Self {
        Self
    }

    pub(super) async fn start(self, _: CoordinatorParts<'_>) -> Result<Option<Arc<Coordinator>>, NodeError> {
        Ok(None)
    }
}
