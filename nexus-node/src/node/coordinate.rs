//! This node's part in the coordinators, from its room to its tasks.

use std::sync::Arc;

use futures::FutureExt;
use nexus_identity::{Chain, Keypair};
use nexus_mesh::quota::Receiver;
use nexus_mesh::{Mesh, Rooms, Stream};

use super::raise;
use crate::config::Config;
use crate::coordinator::{self, Coordinator, Handles, Origin};
use crate::env::RaftEnv;
use crate::error::NodeError;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::ledger::rows::meta;
use crate::store::{Batch, Store, Table, View};
use crate::world::World;

/// A part that has its room, and is not started yet.
pub(super) struct Coordinating(Option<(RaftEnv, Receiver<Stream>)>);

/// The handles and facts from which this node's part begins.
pub(super) struct CoordinatorParts<'a> {
    pub(super) identity: Identity,
    pub(super) mesh: Mesh,
    pub(super) world: World,
    pub(super) failure: Failure,
    /// The store of entries.
    pub(super) store: Store,
    /// This node's credentials.
    pub(super) chain: Chain,
    pub(super) key: Keypair,
    pub(super) config: &'a Config,
}

impl Coordinating {
    /// Registers the room, if this node has the stores of a coordinator.
    pub(super) fn register(raft: Option<RaftEnv>, rooms: &mut Rooms) -> Self {
        Self(raft.map(|raft| (raft, coordinator::register(rooms))))
    }

    /// Starts this node's part, if it takes one.
    pub(super) async fn start(self, parts: CoordinatorParts<'_>) -> Result<Option<Arc<Coordinator>>, NodeError> {
        let Some((RaftEnv { store: raft, journal, redraw, machine }, streams)) = self.0 else { return Ok(None) };
        let CoordinatorParts { identity, mesh, world, failure, store, chain, key, config } = parts;
        let founder = founds(&store, &chain)?;
        let origin = Origin { store: raft, journal, founder, redraw, machine };
        let raising = mesh.clone();
        let handles = Handles { identity, mesh, world, failure };
        let coordinator = Coordinator::start(handles, key, config, origin).await?;
        if founder {
            let mut batch = Batch::new();
            batch.put(Table::Meta, meta::COORDINATED, &[]);
            store.commit(&[batch])?;
        }
        coordinator.spawn("raft peers", coordinator.clone().serve(streams).boxed());
        let raised = raise::follow(raising, config.formats(), coordinator.raised());
        coordinator.spawn("raise formats", raised.boxed());
        Ok(Some(coordinator))
    }
}

/// Whether this node founds the coordinators: the mesh's first member that has not done so.
fn founds(store: &Store, chain: &Chain) -> Result<bool, NodeError> {
    let first = chain.len() == 1;
    Ok(first && !store.snapshot()?.contains(Table::Meta, meta::COORDINATED)?)
}
