//! This node's part in the coordinators, from its room to its tasks.

use std::sync::Arc;

use futures::FutureExt;
use nexus_mesh::quota::Receiver;
use nexus_mesh::{Rooms, Stream};
use tokio::sync::mpsc;

use super::base::Base;
use super::raise;
use crate::coordinator::{self, Coordinator, Handles, Origin, SEATS_MAX, SeatWish};
use crate::engine::{Command, Outcome};
use crate::env::RaftEnv;
use crate::error::NodeError;
use crate::ledger::rows::meta;
use crate::runtime::EngineHandle;
use crate::store::{Batch, Table};

/// A part that has its room, and is not started yet.
pub(super) struct Coordinating(Option<(RaftEnv, Receiver<Stream>)>);

impl Coordinating {
    /// Registers the room, if this node has the stores of a coordinator.
    pub(super) fn register(raft: Option<RaftEnv>, rooms: &mut Rooms) -> Self {
        Self(raft.map(|raft| (raft, coordinator::register(rooms))))
    }

    /// Starts this node's part, if it takes one. The founder of the coordinators begins their log.
    pub(super) async fn start(self, base: &Base, founder: bool) -> Result<Option<Arc<Coordinator>>, NodeError> {
        let Some((RaftEnv { store: raft, journal, redraw, machine }, streams)) = self.0 else { return Ok(None) };
        let Base { identity, mesh, world, failure, engine, written, key, config, .. } = base;
        let origin = Origin { store: raft, journal, founder, redraw, machine };
        let (seats, wishes) = mpsc::channel(SEATS_MAX);
        let handles = Handles {
            identity: identity.clone(),
            mesh: mesh.clone(),
            world: world.clone(),
            failure: failure.clone(),
            headroom: engine.headroom().clone(),
            seats,
        };
        let coordinator = Coordinator::start(handles, key.clone(), config, origin).await?;
        coordinator.spawn("seats", sign(engine.clone(), wishes).boxed());
        if founder {
            let mut batch = Batch::new();
            batch.put(Table::Meta, meta::COORDINATED, &[]);
            engine.run(Command::Keep(batch)).await?;
        }
        coordinator.spawn("raft peers", coordinator.clone().serve(streams).boxed());
        let (world, mesh, engine) = (world.clone(), mesh.clone(), engine.clone());
        let raised = raise::follow(world, mesh, engine, config.formats(), *written, coordinator.raised());
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
