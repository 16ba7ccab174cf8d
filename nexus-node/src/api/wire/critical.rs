//! Critical state on the wire: keys, transactions, changes, locks, coordinators.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;
use crate::coordinator::{self, Change, Condition, Lock, Step, Txn, What};
use crate::critical;

/// A key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvItem {
    /// Which.
    pub key: String,
    /// What it holds.
    pub value: String,
    /// The revision it was last written at.
    pub revision: u64,
    /// The revision it came to be at.
    pub created: u64,
    /// Who wrote it last, by DID.
    pub by: String,
    /// How long it lives from its last write on; null: for ever.
    pub ttl_ms: Option<u64>,
    /// It was read from this node's copy, which may lag behind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    /// How long ago this node was in contact with a quorum; absent if it never was since it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

impl KvItem {
    pub(in crate::api) fn new(key: String, item: coordinator::Item) -> Self {
        let coordinator::Item { value, revision, created, by, ttl_ms } = item;
        Self { key, value, revision, created, by: by.to_string(), ttl_ms, local: false, age_ms: None }
    }
}

/// A page of keys, in order.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvPage {
    /// The keys.
    pub items: Vec<KvItem>,
    /// The key to go on after, if there are more.
    pub next: Option<String>,
    /// The revision of all critical state that the page is as of.
    pub revision: u64,
}

impl From<critical::Page> for KvPage {
    fn from(page: critical::Page) -> Self {
        let items = page.items.into_iter().map(|(key, item)| KvItem::new(key, item)).collect();
        Self { items, next: page.next, revision: page.revision }
    }
}

/// A value for a key. With `expect` or `absent` it is written only if that is how the key is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvPut {
    /// The value, at most 64 KiB.
    pub value: String,
    /// How long the key lives, 1 s to 30 days; for ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// A lock's token that must be good at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// The key must have this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// The key must not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// A key that was written or taken away.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvWritten {
    /// Which.
    pub key: String,
    /// What it holds now; null if it is gone.
    pub value: Option<String>,
    /// The revision that this made.
    pub revision: u64,
}

/// Several checks, and what is done if all of them hold (`then`) or not (`else`): at one revision,
/// or not at all. At most 128 of them together.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvTxn {
    /// What must hold.
    #[serde(default)]
    pub checks: Vec<KvCheck>,
    /// What is done then.
    #[serde(default)]
    pub then: Vec<KvStep>,
    /// What is done otherwise.
    #[serde(default, rename = "else", skip_serializing_if = "Vec::is_empty")]
    pub otherwise: Vec<KvStep>,
}

/// What must be true of a key: one of `exists`, `value` and `revision`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvCheck {
    /// Which key.
    pub key: String,
    /// Whether it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// It has this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// It was last written at this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// A step of a transaction.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvStep {
    /// Gives a key a value.
    Put(KvSet),
    /// Takes a key away, if it is there.
    Delete(String),
    /// Reads a key.
    Get(String),
}

/// A value for a key in a transaction.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvSet {
    /// Which key.
    pub key: String,
    /// The value.
    pub value: String,
    /// How long the key lives; for ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// A lock's token that must be good at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
}

impl KvTxn {
    /// The keys of the steps that are done if the checks hold, or if not.
    pub(in crate::api) fn keys(&self, held: bool) -> Vec<String> {
        let steps = if held { &self.then } else { &self.otherwise };
        let key = |step: &KvStep| match step {
            KvStep::Put(put) => put.key.clone(),
            KvStep::Delete(key) | KvStep::Get(key) => key.clone(),
        };
        steps.iter().map(key).collect()
    }
}

impl TryFrom<KvTxn> for Txn {
    /// Which check asks for nothing, or for too much.
    type Error = String;

    fn try_from(txn: KvTxn) -> Result<Self, String> {
        let checks = txn.checks.into_iter().map(coordinator::Check::try_from).collect::<Result<_, _>>()?;
        let steps = |steps: Vec<KvStep>| steps.into_iter().map(Step::from).collect();
        Ok(Self { checks, then: steps(txn.then), otherwise: steps(txn.otherwise) })
    }
}

impl TryFrom<KvCheck> for coordinator::Check {
    type Error = String;

    fn try_from(check: KvCheck) -> Result<Self, String> {
        let is = match (check.exists, check.value, check.revision) {
            (Some(true), None, None) => Condition::Present,
            (Some(false), None, None) => Condition::Absent,
            (None, Some(value), None) => Condition::Value(value),
            (None, None, Some(revision)) => Condition::Revision(revision),
            _ => return Err(format!("the check of {:?} needs one of exists, value and revision", check.key)),
        };
        Ok(Self { key: check.key, is })
    }
}

impl From<KvStep> for Step {
    fn from(step: KvStep) -> Self {
        match step {
            KvStep::Put(KvSet { key, value, ttl, fence }) => {
                let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.0.as_millis()).unwrap_or(u64::MAX));
                Self::Put(coordinator::Put { key, value, ttl_ms, fence })
            }
            KvStep::Delete(key) => Self::Delete(key),
            KvStep::Get(key) => Self::Get(key),
        }
    }
}

/// What a transaction came to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvTxnDone {
    /// Whether its checks held: `then` was done, not `else`.
    pub held: bool,
    /// The revision of all critical state after it.
    pub revision: u64,
    /// For each step that was done the key as it was then; null for one that was not there.
    pub items: Vec<Option<KvItem>>,
}

/// A change of critical state: of a key or of a lock.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvChange {
    /// The revision that it made.
    pub revision: u64,
    /// Of a key: `put`, `deleted`, `expired`. Of a lock: `lock_acquired`, `lock_stolen`,
    /// `lock_renewed`, `lock_released`, `lock_expired`, `lock_waits`, `lock_left`.
    pub kind: String,
    /// The key, or the lock's name.
    pub key: String,
    /// What the key holds now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The lease's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Whose lease was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen_from: Option<String>,
    /// Who did it, by DID; of what expired: whose it was.
    pub by: String,
    /// What that member is called.
    pub by_name: Option<String>,
}

impl KvChange {
    pub(in crate::api) fn new(change: Change, by_name: Option<String>) -> Self {
        let by = change.by.to_string();
        let key = change.name().to_owned();
        let (kind, value, token, stolen_from) = match change.what {
            What::Put { value, .. } => ("put", Some(value), None, None),
            What::Deleted { expired, .. } => (if expired { "expired" } else { "deleted" }, None, None, None),
            What::Granted { token, stolen_from, .. } => {
                let kind = if stolen_from.is_some() { "lock_stolen" } else { "lock_acquired" };
                (kind, None, Some(token), stolen_from.map(|did| did.to_string()))
            }
            What::Renewed { token, .. } => ("lock_renewed", None, Some(token), None),
            What::Released { token, expired, .. } => {
                (if expired { "lock_expired" } else { "lock_released" }, None, Some(token), None)
            }
            What::Line { waits, .. } => (if waits { "lock_waits" } else { "lock_left" }, None, None, None),
        };
        Self { revision: change.revision, kind: kind.to_owned(), key, value, token, stolen_from, by, by_name }
    }
}

/// What a poll for changes of critical state brings.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvChanges {
    /// The changes, oldest first; none if there were none in time.
    pub changes: Vec<KvChange>,
    /// Go on after this revision.
    pub revision: u64,
    /// Changes in between are not kept any more: list the keys, and go on from `revision`.
    pub missed: bool,
}

/// How a lock is taken.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// How long the lease runs unless it is renewed, 1 s to 30 days; `30s` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// How long to wait in line, an hour at most; not at all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

/// A lease to renew.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// What proves it.
    pub token: u64,
    /// A new length; as before if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

/// A lease to give back.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What proves it.
    pub token: u64,
}

/// How a lock is stolen.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Steal {
    /// How long the lease runs unless it is renewed; `30s` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

/// A lease on a lock.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    /// The lock's name.
    pub name: String,
    /// What proves the lease: later ones, of any lock, have larger tokens.
    pub token: u64,
    /// Who holds it, by DID.
    pub holder: String,
    /// What that member is called.
    pub holder_name: Option<String>,
    /// How much longer the lease lasts: for its holder at the least, in a list at the most.
    pub expires_in_ms: u64,
    /// How many wait in line.
    pub waiting: usize,
}

impl Lease {
    /// As others see it.
    pub(in crate::api) fn of(name: String, lock: &Lock, holder_name: Option<String>) -> Self {
        let coordinator::Lease { token, by, ttl_ms, .. } = lock.lease;
        Self { name, token, holder: by.to_string(), holder_name, expires_in_ms: ttl_ms, waiting: lock.line.len() }
    }
}

/// The coordinators as a node sees them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Coordinator {
    /// `full`, `core` or `read_only`; null before this node has heard of any.
    pub mode: Option<String>,
    /// Who leads, by DID; null if nobody does, as far as this node can tell.
    pub leader: Option<String>,
    /// Which election that was.
    pub term: u64,
    /// The index of the last entry that is known to be committed.
    pub commit: u64,
    /// The index of the last entry that is applied here.
    pub applied: u64,
    /// Who votes.
    pub voters: Vec<Seat>,
    /// Who has a copy without a vote.
    pub learners: Vec<Seat>,
    /// Whether critical writes can be done.
    pub quorum: bool,
    /// How often the coordinators were begun anew after the loss of their quorum.
    pub generation: u32,
    /// What this node is: `leader`, `voter` or `learner`; null without a copy.
    pub role: Option<String>,
    /// Whether all voters run on one machine, as far as they say.
    pub one_machine: bool,
    /// The format of critical state: a later one is raised once every copy can read it.
    #[serde(default)]
    pub format: u16,
}

/// A voter or a learner.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Seat {
    /// Who.
    pub did: String,
    /// What it is called.
    pub name: String,
    /// `leader`, `up`, `suspect` or `down`, as this node sees it.
    pub state: String,
}

impl From<coordinator::Coordinators> for Coordinator {
    fn from(seen: coordinator::Coordinators) -> Self {
        let mode = Some(seen.mode().as_str().to_owned());
        let seats = |seats: Vec<coordinator::Seat>| seats.into_iter().map(Seat::from).collect();
        Self {
            mode,
            leader: seen.leader.map(|did| did.to_string()),
            term: seen.term,
            commit: seen.commit,
            applied: seen.applied,
            voters: seats(seen.voters),
            learners: seats(seen.learners),
            quorum: seen.quorum,
            generation: seen.generation,
            role: seen.role.map(str::to_owned),
            one_machine: seen.one_machine,
            format: seen.format,
        }
    }
}

impl From<coordinator::Seat> for Seat {
    fn from(seat: coordinator::Seat) -> Self {
        Self { did: seat.did.to_string(), name: seat.name, state: seat.state.as_str().to_owned() }
    }
}

/// Who is to vote.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddVoter {
    /// The member's DID or name.
    pub did: String,
}

/// The consent to begin the coordinators anew.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// What was committed and is not in this node's copy is lost.
    pub i_understand: bool,
}
