//! The audit's documents.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One request about critical state, with its outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct AuditEntry {
    /// Its number, from 1, the same on every node.
    pub n: u64,
    /// The time by the requester's clock; null for records of the leader.
    pub at: Option<String>,
    /// The requester's DID. It has signed, except for records of the leader.
    pub by: String,
    /// The requester's name.
    pub by_name: Option<String>,
    /// The kind of request. For keys `put`, `delete`, `cas`, or `txn` (a transaction that wrote
    /// nothing; others have a record for each key). For locks `acquire`, `renew`, `release`,
    /// `withdraw`, `steal`, or `grant` (to the next in line). Also `expire`, `voter_added`,
    /// `voter_removed`, `recover`, `raise`, `member_ended`, `forged`.
    pub action: String,
    /// The key or the lock. For voters, the voter's DID; for `recover`, the new group.
    pub name: String,
    /// `done`, `granted`, `waiting` or `refused`.
    pub result: String,
    /// The revision of critical state after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The granted token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// The code of a refusal: `mismatch`, `no_key`, `stale_token`, `no_lock`, `held`, `no_waiter`, `full`,
    /// `malformed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For `steal` and `expire` the former owner's DID, for `grant` the new one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whose: Option<String>,
    /// The index of its entry in Raft's log.
    pub index: u64,
}

/// A page of the audit, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct AuditPage {
    /// The records.
    pub items: Vec<AuditEntry>,
    /// Records of this part that came with a snapshot and that no member has sent yet.
    #[serde(default)]
    pub missing: Vec<AuditGap>,
    /// The number to continue after, if there may be more.
    pub next: Option<u64>,
}

/// The result of a check of the audit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct AuditCheck {
    /// Whether every record is unchanged, and equal in the other members' copies.
    pub ok: bool,
    /// The number of checked records.
    pub entries: u64,
    /// The hash of the last record, which covers all before it.
    pub head: String,
    /// The number of the first checked record; null if there is none.
    pub first: Option<u64>,
    /// The first changed record, if any.
    pub broken: Option<AuditBroken>,
    /// Records that this node does not have.
    pub missing: Vec<AuditGap>,
    /// Records that this node let go of to make room, those before `first` among them. The chain is not checked
    /// across them.
    #[serde(default)]
    pub dropped: Vec<AuditGap>,
    /// The other members' copies.
    pub members: Vec<AuditMember>,
    /// The other members that may have a copy, whether or not they are up.
    #[serde(default)]
    pub others: usize,
    /// The number to continue after, if this was not all.
    pub next: Option<u64>,
}

/// The place of a changed record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct AuditBroken {
    /// The record's number.
    pub n: u64,
    /// The fault.
    pub why: String,
}

/// Records that a node does not have.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct AuditGap {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// Another member's copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct AuditMember {
    /// The member's DID.
    pub did: String,
    /// Its name.
    pub name: Option<String>,
    /// The number of records in its copy.
    pub entries: u64,
    /// Whether its records equal this node's, up to the end of the shorter copy; null if one of the two no longer has
    /// the records to tell.
    pub agrees: Option<bool>,
    /// The first record that differs; null if they agree, or if the records around it are gone.
    #[serde(default)]
    pub differs_from: Option<u64>,
}
