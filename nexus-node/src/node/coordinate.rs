//! This node's part in the coordinators, from its room to its tasks.

use std::sync::Arc;

use futures::FutureExt;
use nexus_identity::Keypair;
use nexus_mesh::quota::Receiver;
use nexus_mesh::{Mesh, Rooms, Stream};
use tokio::sync::mpsc;

use super::raise;
use crate::config::Config;
use crate::coordinator::{self, Coordinator, Handles, Origin, SEATS_MAX, SeatWish};
use crate::engine::{Command, Outcome};
use crate::env::RaftEnv;
use crate::error::NodeError;
use crate::failure::Failure;
use crate::formats::WrittenFormat;
use crate::identity::Identity;
use crate::ledger::rows::meta;
use crate::runtime::EngineHandle;
use crate::store::{Batch, Table};
use crate::world::World;

/// A part that has its room, and is not started yet.
pub(super) struct Coordinating(Option<(RaftEnv, Receiver<Stream>)>);

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
    /// Registers the room, if this node has the stores of a coordinator.
    pub(super) fn register(raft: Option<RaftEnv>, rooms: &mut Rooms) -> Self {
        Self(raft.map(|raft| (raft, coordinator::register(rooms))))
    }

    /// Starts this node's part, if it takes one.
    pub(super) async fn start(self, parts: CoordinatorParts<'_>) -> Result<Option<Arc<Coordinator>>, NodeError> {
        let Some((RaftEnv { store: raft, journal, redraw, machine }, streams)) = self.0 else { return Ok(None) };
        let CoordinatorParts { identity, mesh, world, failure, engine, written, founder, key, config } = parts;
        let origin = Origin { store: raft, journal, founder, redraw, machine };
        let raising = (world.clone(), mesh.clone());
        let (seats, wishes) = mpsc::channel(SEATS_MAX);
        let headroom = engine.headroom().clone();
        let handles = Handles { identity, mesh, world, failure, headroom, seats };
        let coordinator = Coordinator::start(handles, key, config, origin).await?;
        coordinator.spawn("seats", sign(engine.clone(), wishes).boxed());
        if founder {
            let mut batch = Batch::new();
            batch.put(Table::Meta, meta::COORDINATED, &[]);
            engine.run(Command::Keep(batch)).await?;
        }
        coordinator.spawn("raft peers", coordinator.clone().serve(streams).boxed());
        let raised = raise::follow(raising.0, raising.1, engine, config.formats(), written, coordinator.raised());
        coordinator.spawn("raise formats", raised.boxed());
        Ok(Some(coordinator))
    }
}

/// Signs the seats that the coordinators need, as entries of this node's own log. The engine refuses them
/// unless this node is an admin's.
async fn sign(engine: EngineHandle, mut wishes: mpsc::Receiver<SeatWish>) {
    while let Some(SeatWish { seat, signed }) = wishes.recv().await {
        let written = engine.run(Command::Seat(seat)).await;
        let _ = signed.send(matches!(written, Ok(Outcome::Done(_))));
    }
}
