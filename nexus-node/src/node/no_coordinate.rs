//! This node's part in the coordinators of a build without them: it takes none.

use std::sync::Arc;

use nexus_mesh::Rooms;

use super::base::Base;
use crate::coordinator::Coordinator;
use crate::env::RaftEnv;
use crate::error::NodeError;

/// A part that is never started.
pub(super) struct Coordinating;

impl Coordinating {
    pub(super) fn register(_: Option<RaftEnv>, _: &mut Rooms) -> Self {
        Self
    }

    pub(super) async fn start(self, _: &Base, _: bool) -> Result<Option<Arc<Coordinator>>, NodeError> {
        Ok(None)
    }
}
