//! Who did what, on the wire.

use nexus_identity::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::coordinator::{self, Done};

/// One thing that was done to critical state, or refused.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Its number, from 1, the same on every node.
    pub n: u64,
    /// When, by the clock of who did it; null for what the leader notes.
    pub at: Option<String>,
    /// Who did it, by DID: signed, except for what the leader notes.
    pub by: String,
    /// What that member is called.
    pub by_name: Option<String>,
    /// `put`, `delete`, `cas`, `txn` (one that wrote nothing; what others write is told key by key),
    /// `acquire`, `renew`, `release`, `withdraw`, `steal`, `grant` (to the next in line), `expire`,
    /// `voter_added`, `voter_removed`, `recover`, `forged`.
    pub action: String,
    /// The key or the lock; of voters, whose vote it is, by DID; of `recover`, the new group.
    pub name: String,
    /// `done`, `granted`, `waiting` or `refused`.
    pub result: String,
    /// The revision of critical state after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The token that was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Why it was refused: `mismatch`, `no_key`, `stale_token`, `no_lock`, `held`, `no_waiter`, `full`,
    /// `malformed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Of `steal` and `expire`, whose it was; of `grant`, whose it is, by DID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whose: Option<String>,
    /// The index of the log entry that brought it.
    pub index: u64,
}

/// A page of what was done, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditPage {
    /// What was done.
    pub items: Vec<AuditEntry>,
    /// The number to go on after, if there may be more.
    pub next: Option<u64>,
}

/// What a check of the log found.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct AuditCheck {
    /// Whether all of it is as it was written, and as the other members have it.
    pub ok: bool,
    /// How many entries were checked.
    pub entries: u64,
    /// The hash of the last one, and with it of all before.
    pub head: String,
    /// The number of the first one that was checked; null if there is none.
    pub first: Option<u64>,
    /// The first that is not as it was, if any.
    pub broken: Option<AuditBroken>,
    /// Entries that this node does not have.
    pub missing: Vec<AuditGap>,
    /// What the other members' copies say.
    pub members: Vec<AuditMember>,
    /// The number to go on after, if this was not all.
    pub next: Option<u64>,
}

/// Where the log is not as it was.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditBroken {
    /// The entry's number.
    pub n: u64,
    /// What is wrong with it.
    pub why: String,
}

/// Entries that a node does not have: it got a snapshot in their place, and nobody gave them yet.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditGap {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// Another member's copy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditMember {
    /// Who.
    pub did: String,
    /// What it is called.
    pub name: Option<String>,
    /// How many entries its copy had when it was asked.
    pub entries: u64,
    /// Whether its past is this node's; null if it is ahead of this node.
    pub agrees: Option<bool>,
}

impl AuditEntry {
    pub(in crate::api) fn new(entry: coordinator::AuditEntry, by_name: Option<String>) -> Self {
        let coordinator::AuditEntry { n, index, at_ms, by, deed } = entry;
        let (result, revision, token, code) = match deed.result {
            Done::Revision(revision) => ("done", Some(revision), None, None),
            Done::Granted(token) => ("granted", None, Some(token), None),
            Done::Waiting => ("waiting", None, None, None),
            Done::Refused(code) => ("refused", None, None, Some(code)),
            Done::Noted => ("done", None, None, None),
        };
        Self {
            n,
            at: at_ms.map(|at_ms| Timestamp::from_ms(at_ms).to_string()),
            by: by.to_string(),
            by_name,
            action: deed.action.as_str().to_owned(),
            name: deed.name,
            result: result.to_owned(),
            revision,
            token,
            code,
            whose: deed.whose.map(|did| did.to_string()),
            index,
        }
    }
}
