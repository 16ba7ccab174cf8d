//! The documents of critical state: keys, transactions, changes, locks, coordinators.

use data_encoding::BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;
use crate::coordinator::{self, Condition, CriticalChange, CriticalEvent, Lock, Step, Txn};
use crate::critical;

/// A value in a document: text, or base64 where it is none.
fn shown(value: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(value) {
        Ok(text) => (Some(text), None),
        Err(bytes) => (None, Some(BASE64.encode(bytes.as_bytes()))),
    }
}

/// The value that a document gives as text or in base64, if it gives one.
///
/// # Errors
/// It gives both, or no base64. `name` is the member of the text.
fn given(name: &str, text: Option<String>, base64: Option<String>) -> Result<Option<Vec<u8>>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("give `{name}` or `{name}_base64`, not both")),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(base64)) => {
            let bytes = BASE64.decode(base64.as_bytes());
            bytes.map(Some).map_err(|error| format!("`{name}_base64` is no base64 (RFC 4648, padded): {error}"))
        }
        (None, None) => Ok(None),
    }
}

fn needed(value: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    value.ok_or_else(|| "give `value` or `value_base64`".to_owned())
}

/// A key. Its value is in `value` if it is text, else in `value_base64`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvItem {
    /// The key.
    pub key: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its value in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// The revision of its last write.
    pub revision: u64,
    /// The revision of its creation.
    pub created: u64,
    /// The DID of its last writer.
    pub by: String,
    /// Its lifetime from its last write on; null for no end.
    pub ttl_ms: Option<u64>,
    /// Whether it was read from this node's copy, which may lag behind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    /// The time since this node's last contact with a quorum; absent if there was none since its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

impl KvItem {
    pub(in crate::api) fn new(key: String, item: coordinator::Item) -> Self {
        let coordinator::Item { value, revision, created, by, ttl_ms } = item;
        let (value, value_base64) = shown(value);
        Self { key, value, value_base64, revision, created, by: by.to_string(), ttl_ms, local: false, age_ms: None }
    }

    /// The value.
    ///
    /// # Errors
    /// It is given twice, or not, or is no base64.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        needed(given("value", self.value.clone(), self.value_base64.clone())?)
    }
}

/// A page of keys, in order.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvPage {
    /// The keys.
    pub items: Vec<KvItem>,
    /// The key to continue after, if there are more.
    pub next: Option<String>,
    /// The revision of critical state that the page shows.
    pub revision: u64,
}

impl From<critical::KeyPage> for KvPage {
    fn from(page: critical::KeyPage) -> Self {
        let items = page.items.into_iter().map(|(key, item)| KvItem::new(key, item)).collect();
        Self { items, next: page.next, revision: page.revision }
    }
}

/// A value for a key, as `value` or as `value_base64`. With `expect`, `expect_base64` or `absent` it is
/// written only if the key is so.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvPut {
    /// The value, at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64; any bytes, at most 64 KiB of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// The lifetime of the key, 1 s to 30 days; default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// The token of a lock, which must be good at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// The key must have this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// The key must have this value, which is in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_base64: Option<String>,
    /// The key must not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// Write it although it looks like a secret. Only a person may say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_secret: bool,
}

impl KvPut {
    /// The value, and the one that is expected.
    ///
    /// # Errors
    /// The value is missing; one of them is given twice, or is no base64.
    pub(in crate::api) fn values(&mut self) -> Result<(Vec<u8>, Option<Vec<u8>>), String> {
        let value = needed(given("value", self.value.take(), self.value_base64.take())?)?;
        Ok((value, given("expect", self.expect.take(), self.expect_base64.take())?))
    }
}

/// The end of a request, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeWord {
    /// It was done.
    Done,
    /// It was not done, and never will be.
    Refused,
    /// Without a quorum nobody can say yet.
    Unknown,
    /// Nobody can say any more.
    Forgotten,
}

/// The end of a request that was unknown.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RequestOutcome {
    /// Its id.
    pub id: String,
    /// Its end.
    pub outcome: OutcomeWord,
    /// The revision of a write that was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The token of a lock that was taken. Its lease may be over since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// The reason of a refusal, or why it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A key that was written or deleted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvWritten {
    /// The key.
    pub key: String,
    /// Its value now; null if it is deleted, or no text.
    pub value: Option<String>,
    /// Its value now in base64, if it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// The revision of this change.
    pub revision: u64,
}

impl KvWritten {
    pub(in crate::api) fn new(key: String, value: Option<Vec<u8>>, revision: u64) -> Self {
        let (value, value_base64) = value.map_or((None, None), shown);
        Self { key, value, value_base64, revision }
    }
}

/// Checks, and the steps if all of them hold (`then`) or not (`else`). All steps happen at one revision
/// or not at all. At most 128 checks and steps together.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvTxn {
    /// The checks.
    #[serde(default)]
    pub checks: Vec<KvCheck>,
    /// The steps if all checks hold.
    #[serde(default)]
    pub then: Vec<KvStep>,
    /// The steps otherwise.
    #[serde(default, rename = "else", skip_serializing_if = "Vec::is_empty")]
    pub otherwise: Vec<KvStep>,
    /// Write values although they look like secrets. Only a person may say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_secret: bool,
}

/// A condition on a key: one of `exists`, `value`, `value_base64` and `revision`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvCheck {
    /// The key.
    pub key: String,
    /// Whether it must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// The value that it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value that it must have, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// The revision that its last write must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// A step of a transaction.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvStep {
    /// Sets the value of a key.
    Put(KvSet),
    /// Deletes a key, if it exists.
    Delete(String),
    /// Reads a key.
    Get(String),
}

/// A value for a key in a transaction, as `value` or as `value_base64`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KvSet {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// The lifetime of the key; default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// The token of a lock, which must be good at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
}

impl KvTxn {
    /// The keys of the steps for either result of the checks.
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
    /// Names the check with none of the conditions, or with several, and the step without a value.
    type Error = String;

    fn try_from(txn: KvTxn) -> Result<Self, String> {
        let checks = txn.checks.into_iter().map(coordinator::Check::try_from).collect::<Result<_, _>>()?;
        let steps = |steps: Vec<KvStep>| steps.into_iter().map(Step::try_from).collect::<Result<_, _>>();
        Ok(Self { checks, then: steps(txn.then)?, otherwise: steps(txn.otherwise)? })
    }
}

impl TryFrom<KvCheck> for coordinator::Check {
    type Error = String;

    fn try_from(check: KvCheck) -> Result<Self, String> {
        let value = given("value", check.value, check.value_base64);
        let value = value.map_err(|error| format!("the check of {:?}: {error}", check.key))?;
        let is = match (check.exists, value, check.revision) {
            (Some(true), None, None) => Condition::Present,
            (Some(false), None, None) => Condition::Absent,
            (None, Some(value), None) => Condition::Value(value),
            (None, None, Some(revision)) => Condition::Revision(revision),
            _ => {
                return Err(format!(
                    "the check of {:?} needs one of exists, value, value_base64 and revision",
                    check.key
                ));
            }
        };
        Ok(Self { key: check.key, is })
    }
}

impl TryFrom<KvStep> for Step {
    type Error = String;

    fn try_from(step: KvStep) -> Result<Self, String> {
        Ok(match step {
            KvStep::Put(KvSet { key, value, value_base64, ttl, fence }) => {
                let value = given("value", value, value_base64).and_then(needed);
                let value = value.map_err(|error| format!("the step that puts {key:?}: {error}"))?;
                let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.0.as_millis()).unwrap_or(u64::MAX));
                Self::Put(coordinator::Put { key, value, ttl_ms, fence })
            }
            KvStep::Delete(key) => Self::Delete(key),
            KvStep::Get(key) => Self::Get(key),
        })
    }
}

/// The result of a transaction.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvTxnDone {
    /// Whether the checks held: `then` was done, not `else`.
    pub held: bool,
    /// The revision of critical state after it.
    pub revision: u64,
    /// For each step, the key after it; null for a key that does not exist.
    pub items: Vec<Option<KvItem>>,
}

/// A change of critical state: of a key or of a lock.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvChange {
    /// The revision of this change.
    pub revision: u64,
    /// Of a key: `put`, `deleted`, `expired`. Of a lock: `lock_acquired`, `lock_stolen`,
    /// `lock_renewed`, `lock_released`, `lock_expired`, `lock_waits`, `lock_left`.
    pub kind: String,
    /// The key, or the lock's name.
    pub key: String,
    /// The key's value now, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The key's value now in base64, if it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// The lease's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// The DID of the former holder of a stolen lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen_from: Option<String>,
    /// The DID of the member that made the change; for an expiry, of the former owner.
    pub by: String,
    /// That member's name.
    pub by_name: Option<String>,
}

impl KvChange {
    pub(in crate::api) fn new(change: CriticalChange, by_name: Option<String>) -> Self {
        let by = change.by.to_string();
        let key = change.name().to_owned();
        let (mut value, mut value_base64) = (None, None);
        let (kind, token, stolen_from) = match change.event {
            CriticalEvent::Put { value: written, .. } => {
                (value, value_base64) = shown(written);
                ("put", None, None)
            }
            CriticalEvent::Deleted { expired, .. } => (if expired { "expired" } else { "deleted" }, None, None),
            CriticalEvent::Granted { token, stolen_from, .. } => {
                let kind = if stolen_from.is_some() { "lock_stolen" } else { "lock_acquired" };
                (kind, Some(token), stolen_from.map(|did| did.to_string()))
            }
            CriticalEvent::Renewed { token, .. } => ("lock_renewed", Some(token), None),
            CriticalEvent::Released { token, expired, .. } => {
                (if expired { "lock_expired" } else { "lock_released" }, Some(token), None)
            }
            CriticalEvent::Line { waits, .. } => (if waits { "lock_waits" } else { "lock_left" }, None, None),
        };
        let (revision, kind) = (change.revision, kind.to_owned());
        Self { revision, kind, key, value, value_base64, token, stolen_from, by, by_name }
    }
}

/// The answer of a poll for changes of critical state.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KvChanges {
    /// The changes, oldest first; empty if there were none in time.
    pub changes: Vec<KvChange>,
    /// The revision to continue after.
    pub revision: u64,
    /// Whether changes in between are lost. Then list the keys, and continue from `revision`.
    pub missed: bool,
}

/// The options for taking a lock.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// The time of the lease unless it is renewed, 1 s to 30 days; default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// The longest wait in line, at most an hour; default: no wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

/// A lease to renew.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// The token of the lease.
    pub token: u64,
    /// A new time for the lease; default: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

/// A lease to release.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The token of the lease.
    pub token: u64,
}

/// The options for stealing a lock.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Steal {
    /// The time of the lease unless it is renewed; default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

/// A lease on a lock.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    /// The lock's name.
    pub name: String,
    /// The token that proves the lease. Later leases, of any lock, have larger tokens.
    pub token: u64,
    /// The holder's DID.
    pub holder: String,
    /// The holder's name.
    pub holder_name: Option<String>,
    /// The remaining time of the lease: for its holder the least, in a list the most.
    pub expires_in_ms: u64,
    /// The number of nodes that wait in line.
    pub waiting: usize,
}

impl Lease {
    /// A lock in the view of other nodes.
    pub(in crate::api) fn of(name: String, lock: &Lock, holder_name: Option<String>) -> Self {
        let coordinator::Lease { token, by, ttl_ms, .. } = lock.lease;
        Self { name, token, holder: by.to_string(), holder_name, expires_in_ms: ttl_ms, waiting: lock.line.len() }
    }
}

/// The coordinators as one node sees them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Coordinator {
    /// `full`, `core` or `read_only`; null while this node knows of no coordinators.
    pub mode: Option<String>,
    /// The leader's DID; null if this node knows of none.
    pub leader: Option<String>,
    /// The term, which counts elections.
    pub term: u64,
    /// The index of the last entry known to be committed.
    pub commit: u64,
    /// The index of the last entry applied here.
    pub applied: u64,
    /// The members with a vote.
    pub voters: Vec<Seat>,
    /// The members with a copy and no vote.
    pub learners: Vec<Seat>,
    /// Whether critical writes are possible.
    pub quorum: bool,
    /// The number of times that the coordinators began anew after the loss of their quorum.
    pub generation: u32,
    /// This node's role: `leader`, `voter` or `learner`; null without a copy.
    pub role: Option<String>,
    /// Whether all voters run on one machine, by their own reports.
    pub one_machine: bool,
    /// The format of critical state: a later one is raised once every copy can read it.
    #[serde(default)]
    pub format: u16,
}

/// A voter or a learner.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Seat {
    /// The member's DID.
    pub did: String,
    /// Its name.
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
            role: seen.role.map(|role| role.as_str().to_owned()),
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

/// The member that gets a vote.
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
    /// The consent: committed changes that are not in this node's copy are lost.
    pub i_understand: bool,
}
