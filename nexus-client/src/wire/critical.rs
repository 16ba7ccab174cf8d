//! The documents of critical state: keys, transactions, changes, locks, coordinators.

use super::Span;
use data_encoding::BASE64;
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value in a document: text, or base64 where it is none.
pub fn shown_value(value: Vec<u8>) -> (Option<String>, Option<String>) {
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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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

/// A page of keys, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct KvPage {
    /// The keys.
    pub items: Vec<KvItem>,
    /// The key to continue after, if there are more.
    pub next: Option<String>,
    /// The revision of critical state that the page shows.
    pub revision: u64,
}

/// A value for a key, as `value` or as `value_base64`. With `expect`, `expect_base64` or `absent` it is
/// written only if the key is so.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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

/// The end of a request, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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

/// Checks, and the steps if all of them hold (`then`) or not (`else`). All steps happen at one revision
/// or not at all. At most 128 checks and steps together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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

/// The result of a transaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct KvTxnDone {
    /// Whether the checks held: `then` was done, not `else`.
    pub held: bool,
    /// The revision of critical state after it.
    pub revision: u64,
    /// For each step, the key after it; null for a key that does not exist.
    pub items: Vec<Option<KvItem>>,
}

/// A change of critical state: of a key or of a lock.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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

/// The answer of a poll for changes of critical state.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct KvChanges {
    /// The changes, oldest first; empty if there were none in time.
    pub changes: Vec<KvChange>,
    /// The revision to continue after.
    pub revision: u64,
    /// Whether changes in between are lost. Then list the keys, and continue from `revision`.
    pub missed: bool,
}

/// The options for taking a lock.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// The token of the lease.
    pub token: u64,
    /// A new time for the lease; default: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

/// A lease to release.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The token of the lease.
    pub token: u64,
}

/// The options for stealing a lock.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Steal {
    /// The time of the lease unless it is renewed; default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

/// A lease on a lock.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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

/// The coordinators as one node sees them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Seat {
    /// The member's DID.
    pub did: String,
    /// Its name.
    pub name: String,
    /// `leader`, `up`, `suspect` or `down`, as this node sees it.
    pub state: String,
}

/// The member that gets a vote.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AddVoter {
    /// The member's DID or name.
    pub did: String,
}

/// The consent to begin the coordinators anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// The consent: committed changes that are not in this node's copy are lost.
    pub i_understand: bool,
}

impl KvItem {
    /// The value.
    ///
    /// # Errors
    /// It is given twice, or not, or is no base64.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        needed(given("value", self.value.clone(), self.value_base64.clone())?)
    }
}

impl KvPut {
    /// The value, and the one that is expected.
    ///
    /// # Errors
    /// The value is missing; one of them is given twice, or is no base64.
    pub fn values(&mut self) -> Result<(Vec<u8>, Option<Vec<u8>>), String> {
        let value = needed(given("value", self.value.take(), self.value_base64.take())?)?;
        Ok((value, given("expect", self.expect.take(), self.expect_base64.take())?))
    }
}

impl KvTxn {
    /// The keys of the steps for either result of the checks.
    pub fn keys(&self, held: bool) -> Vec<String> {
        let steps = if held { &self.then } else { &self.otherwise };
        let key = |step: &KvStep| match step {
            KvStep::Put(put) => put.key.clone(),
            KvStep::Delete(key) | KvStep::Get(key) => key.clone(),
        };
        steps.iter().map(key).collect()
    }
}

impl KvCheck {
    /// The value that the key is to have, if the check is of that.
    ///
    /// # Errors
    /// It is given twice, or is no base64.
    pub fn bytes(&self) -> Result<Option<Vec<u8>>, String> {
        given("value", self.value.clone(), self.value_base64.clone())
    }
}

impl KvSet {
    /// The value.
    ///
    /// # Errors
    /// It is given twice, or not, or is no base64.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        needed(given("value", self.value.clone(), self.value_base64.clone())?)
    }
}
