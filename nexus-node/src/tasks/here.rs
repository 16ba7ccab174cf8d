//! The handles of every service of this room: this node, its time, its ledger, and the way to other nodes.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::{ApprovalRule, SpaceId, SpaceRule, TaskEvent};
use nexus_identity::{Did, Role};
use nexus_mesh::Mesh;
use nexus_mesh::ask::{AskError, Asker};

use super::wire::{self, Body, Envelope};
#[cfg(feature = "blobs")]
use crate::blobs::Blobs;
use crate::brain::Brain;
use crate::config::{Approvals, Labels, TaskRouting};
use crate::coordinator::Coordinator;
use crate::critical::Critical;
use crate::engine::{Command, Outcome, TaskAnswer};
use crate::error::{AccessError, InputError, NodeError, StopError};
use crate::identity::Identity;
use crate::ledger;
use crate::load::UsageOf;
use crate::memory::read::Reader;
use crate::runtime::{EngineHandle, Sessions};
use crate::store::View;
use crate::world::World;

/// The longest wait for a peer's answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The handles that a board uses.
pub(crate) struct Handles {
    pub(crate) identity: Identity,
    pub(crate) world: World,
    pub(crate) engine: EngineHandle,
    pub(crate) brain: Brain,
    pub(crate) mesh: Mesh,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) coordinator: Option<Arc<Coordinator>>,
    pub(crate) labels: Labels,
    pub(crate) routing: TaskRouting,
    /// The capabilities whose tasks an admin must approve.
    pub(crate) approval: Approvals,
    /// The rule by which this node's tasks are approved unless they name one.
    pub(crate) approved_by: Option<ApprovalRule>,
    /// The most tasks of one other member and capability that workers here do at a time.
    pub(crate) bulkhead: usize,
    /// The silence of this node after which heirs may take its tasks over.
    pub(crate) takeover: Duration,
    /// Reads the counters of this machine.
    pub(crate) usage: Option<UsageOf>,
    #[cfg(feature = "blobs")]
    pub(crate) blobs: Blobs,
}

/// The handles of this room, cheap to clone.
#[derive(Clone)]
pub(super) struct Here(Arc<Base>);

struct Base {
    handles: Handles,
    asker: Asker<Envelope>,
}

impl Deref for Here {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0.handles
    }
}

impl Here {
    pub(super) fn new(handles: Handles) -> Self {
        let asker = wire::asker(handles.mesh.clone(), &handles.world);
        Self(Arc::new(Base { handles, asker }))
    }

    pub(super) fn me(&self) -> Did {
        self.identity.me()
    }

    pub(super) fn now(&self) -> Duration {
        self.world.now()
    }

    /// Asks another node, and waits 5 s for its answer.
    pub(super) async fn ask(&self, node: Did, body: Body) -> Result<Option<Body>, AskError> {
        self.0.asker.ask(node, body.into(), ANSWER_MAX).await.map(|answer| answer.body)
    }

    /// Reads a committed state, off the tasks that answer.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn View, &Reader<'_>) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let read = move |brain: &Brain| {
            let snapshot = brain.snapshot()?;
            read(&snapshot, &brain.reader(&snapshot)?)
        };
        self.brain.reading(read).await
    }

    /// The access rule of a space; `None` if this node does not know that space.
    pub(super) async fn rule_of(&self, space: SpaceId) -> Result<Option<SpaceRule>, NodeError> {
        let mesh = self.identity.mesh();
        if space == SpaceId::tasks_of(&mesh) {
            // most tasks are there, and this rule is the same everywhere
            return Ok(Some(SpaceRule::open(space, mesh)));
        }
        self.reading(move |view, _| Ok(ledger::find_space(view, space)?.map(|row| row.rule(space)))).await
    }

    /// Writes an event of this node, for a caller.
    pub(super) async fn write_one(&self, events: Vec<(SpaceId, TaskEvent)>) -> Result<TaskAnswer, NodeError> {
        match self.engine.run(Command::Tasks(events)).await? {
            Outcome::Tasks(answers) => answers.into_iter().next().ok_or_else(|| StopError::NoAnswer.into()),
            Outcome::NotPermitted { member } => Err(not_permitted(member).into()),
            _ => Err(StopError::NoAnswer.into()),
        }
    }

    pub(super) fn critical(&self) -> Result<Critical, NodeError> {
        Ok(Critical::new(self.coordinator.clone().ok_or(InputError::NoCoordinator)?))
    }

    /// The name of a member as it is shown, or the short form of its DID.
    pub(super) fn shown_name(&self, member: Did) -> String {
        self.identity.shown_name_of(&member).unwrap_or_else(|| member.short())
    }

    /// The members that may approve what this node submits to a space by this rule, this node among them.
    pub(super) fn approvers(&self, rule: ApprovalRule, space: &SpaceRule) -> Vec<(Did, String)> {
        let (members, me) = (self.identity.members(), self.me());
        members
            .iter()
            .map(|(did, _)| *did)
            .filter(|did| members.may_approve_by(rule, did, &me) && members.may_read(did, space))
            .map(|did| (did, members.shown_name(&did).unwrap_or_else(|| did.short())))
            .collect()
    }

    /// Whether workers take a member's tasks unless they are told otherwise: it is an admin, or a machine of this node's
    /// person.
    pub(super) fn is_trusted(&self, member: &Did) -> bool {
        self.identity.role_of(member) == Some(Role::Admin) || self.identity.members().same_person(member, &self.me())
    }
}

const fn not_permitted(member: bool) -> AccessError {
    if member { AccessError::Reader } else { AccessError::Revoked }
}
