//! Work that is handed out.

use std::sync::Arc;
use std::time::Duration;

use nexus_mesh::quota::Receiver;
use nexus_mesh::{Rooms, Stream};

#[cfg(feature = "blobs")]
use crate::blobs::Blobs;
use crate::brain::Brain;
use crate::coordinator::Coordinator;
use crate::load::UsageOf;
use crate::node::base::Base;
use crate::tasks::{self, Handles, TaskBoard};

pub(in crate::node) struct Port(Receiver<Stream>);

/// The rooms that it asks, and the counters of the machine.
pub(in crate::node) struct Needs {
    pub(in crate::node) brain: Brain,
    pub(in crate::node) coordinator: Option<Arc<Coordinator>>,
    pub(in crate::node) usage: Option<UsageOf>,
    #[cfg(feature = "blobs")]
    pub(in crate::node) blobs: Blobs,
}

impl Port {
    pub(in crate::node) fn register(rooms: &mut Rooms) -> Self {
        Self(tasks::register(rooms))
    }

    pub(in crate::node) fn start(self, base: &Base, needs: Needs) -> TaskBoard {
        let (world, config) = (&base.world, &base.config);
        let board = TaskBoard::new(Handles {
            identity: base.identity.clone(),
            world: world.clone(),
            engine: base.engine.clone(),
            brain: needs.brain,
            mesh: base.mesh.clone(),
            sessions: base.sessions.clone(),
            coordinator: needs.coordinator,
            labels: config.labels.clone(),
            routing: config.task_routing,
            approval: config.task_approval.clone(),
            approved_by: Some(config.task_approved_by),
            bulkhead: usize::try_from(config.task_bulkhead.get()).unwrap_or(usize::MAX),
            takeover: Duration::from_millis(config.task_takeover_ms.get()),
            usage: needs.usage,
            #[cfg(feature = "blobs")]
            blobs: needs.blobs,
        });
        world.spawn("tasks that wait for a quorum", board.clone().watch_quorum());
        world.spawn("tasks", board.clone().run());
        world.spawn("task peers", board.clone().serve(self.0));
        world.spawn("load", board.clone().keep_load());
        world.spawn("tasks elsewhere", board.clone().tell_others());
        world.spawn("tasks of others", board.clone().keep_guests());
        world.spawn("tasks with heirs", board.clone().keep_settling());
        board
    }
}
