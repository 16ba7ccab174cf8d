//! The documents of the HTTP API. The command line prints them with `--json`.
//!
//! They are apart from the types of the node's library on purpose: names and fields here are a contract
//! (`docs/cli.md`), and must not change with a renamed type.

mod audit;
mod blobs;
mod change;
mod critical;
mod documents;
mod erasure;
mod memory;
mod moment;
mod tasks;
mod time;
mod tokens;
mod vocabulary;

#[cfg(feature = "schema")]
use std::borrow::Cow;
use std::time::Duration;

#[cfg(feature = "schema")]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use self::audit::{AuditBroken, AuditCheck, AuditEntry, AuditGap, AuditMember, AuditPage};
pub use self::blobs::{
    Blob, BlobCopies, BlobFetch, BlobFetchProgress, BlobGc, BlobPage, BlobTag, BlobTransfer, BlobVerified,
    BlobsRemoved, BlobsVerify, BlobsVerifyProgress, WantCopies,
};
pub use self::change::{Change, Changes};
pub use self::critical::{
    Acquire, AddVoter, Coordinator, KvChange, KvChanges, KvCheck, KvItem, KvPage, KvPut, KvSet, KvStep, KvTxn,
    KvTxnDone, KvWritten, Lease, OutcomeWord, Recover, Release, Renew, RequestOutcome, Seat, Steal, shown_value,
};
pub use self::documents::{
    Document, DocumentChange, DocumentConflict, DocumentConflicts, DocumentEdit, DocumentEdits, DocumentHistory,
    DocumentHistoryEntry, DocumentMark, DocumentMarkExpand, DocumentName, DocumentText, DocumentTextRun, Documents,
    FormerDocument, NewDocument, RefusedChange,
};
pub use self::erasure::{Erase, Erased, ErasedItem, ErasureStatus};
pub use self::memory::{
    ConflictValue, Durability, Exported, FieldOrigin, Forgotten, Hit, ImportedFrom, Listing, Memory, NewMemory, Patch,
    Remembered, Revision, Source, TextAttachment, Unforget, exact_or_none,
};
pub use self::moment::{Deadline, DeadlineError, Moment, MomentOrNever, ValidAt};
pub use self::tasks::{
    Agent, AgentLoad, AgentRest, Approval, ApprovalRule, Assignee, AttemptError, ClaimTask, ClaimedTask, FinishTask,
    NewTask, Priority, PriorityError, RenewTask, Sandbox, Task, TaskCandidate, TaskError, TaskEvent, TaskLog, TaskPage,
    TaskProgress, TaskRenewal, TaskWord, TasksMissed,
};
pub use self::time::{DurationError, TimestampError, parse_duration, parse_timestamp, show_duration};
pub use self::tokens::{ApproveTask, Approving, ChangeApproving, NewToken, Token, TokenMade, TokenRevoked};
pub use self::vocabulary::{NewWords, Words};

/// A link to the page that signs a browser in, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct WebLink {
    /// The link.
    pub link: String,
    /// The end of its validity.
    pub expires_at: String,
}

/// A space at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Space {
    /// Its name.
    pub space: String,
    /// Its id.
    pub id: String,
    /// The readers.
    pub readers: Vec<String>,
    /// The writers.
    pub writers: Vec<String>,
    /// The number of its memories.
    pub records: u64,
    /// The number of its entries on this node.
    pub entries: u64,
    /// The size of their payloads, in bytes.
    pub bytes: u64,
}

/// A space to create.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewSpace {
    /// Its name.
    pub name: String,
}

/// A page of a space as an Automerge document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Page {
    /// Its name, unique in the space.
    pub page: String,
    /// The document as Automerge saves it, in base64.
    pub automerge: String,
}

/// This node and its mesh at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Status {
    /// This node's DID.
    pub did: String,
    /// Its libp2p peer id.
    pub peer_id: String,
    /// Its name.
    pub name: String,
    /// The mesh's DID.
    pub mesh_did: String,
    /// The program's version.
    pub version: String,
    /// The time since its start, in seconds.
    pub uptime_s: u64,
    /// `member` or `revoked`.
    pub membership: String,
    /// Whether `offline` cut the node off.
    pub offline: bool,
    /// `full`, `core` or `read_only`; null before there are coordinators.
    pub mode: Option<String>,
    /// The number of voters; null before there are coordinators.
    #[serde(default)]
    pub voters: Option<usize>,
    /// The number of voters that are up.
    #[serde(default)]
    pub voters_up: Option<usize>,
    /// The DID of the coordinators' leader; null if this node knows of none.
    pub coordinator: Option<String>,
    /// This node's role among the coordinators: `leader`, `voter` or `learner`; null if it has none.
    pub role: Option<String>,
    /// The number of connected peers.
    pub peers: usize,
    /// The members that lack entries of this node.
    pub behind: Vec<Behind>,
    /// Conditions that need attention.
    pub warnings: Vec<Warning>,
    /// The number of memories that this node may read.
    #[serde(default)]
    pub memories: Option<u64>,
    /// The number of them with a conflict; null from a node of an older version.
    #[serde(default)]
    pub conflicts: Option<u64>,
    /// The size of the data directory's files, in bytes.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
    /// The time when a member last said what it has on its disk; null if none has since this node started.
    #[serde(default)]
    pub last_sync: Option<String>,
    /// The next step for the person at this node; null if there is none.
    #[serde(default)]
    pub next: Option<String>,
    /// The embedder and the vectors of memories; null from a node of an older version.
    #[serde(default)]
    pub embedder: Option<Embedder>,
    /// Resident memory, in bytes.
    pub rss_bytes: Option<u64>,
    /// The process id of the node.
    #[serde(default)]
    pub pid: Option<u32>,
    /// The command that started the process: `up`, or `mcp` in the background, for an agent.
    #[serde(default)]
    pub started_by: Option<String>,
}

/// The embedder, which makes vectors of memories.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Embedder {
    /// `off`, `starting`, `embedding`, `ok`, `failing` or `full`. Words go on in each.
    pub state: String,
    /// Why it is so; null if there is no more to say.
    pub reason: Option<String>,
    /// The setting `embedder`; null if it is off.
    pub embedder: Option<String>,
    /// The name of the model.
    pub model: Option<String>,
    /// The components of a vector; null until they are known.
    pub dimension: Option<usize>,
    /// The memories with a vector, of the `memories` of the status.
    pub embedded: usize,
    /// How often the model was another one since the node started. Each time all vectors are made anew.
    pub changes: u64,
}

/// A process that is ending.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Stopping {
    /// Always true.
    pub stopping: bool,
    /// The process id.
    pub pid: u32,
}

/// A member that lacks entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Behind {
    /// Its DID.
    pub did: String,
    /// Its name.
    pub name: Option<String>,
    /// The number of entries that it lacks.
    pub entries: u64,
}

/// A condition that needs attention.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Warning {
    /// The kind of condition.
    pub code: String,
    /// The condition, for people.
    pub message: String,
    /// The remedy.
    pub hint: Option<String>,
}

/// Another member, as this node sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Peer {
    /// Its DID.
    pub did: String,
    /// Its libp2p peer id.
    pub peer_id: String,
    /// Its name.
    pub name: Option<String>,
    /// `up`, `suspect` or `down`.
    pub state: String,
    /// The cause, if it is not up.
    pub cause: Option<String>,
    /// Round-trip time, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// `direct` or `relayed`; null without a connection.
    pub path: Option<String>,
    /// Whether it has every entry of this node.
    pub synced: bool,
    /// The number of entries that it lacks.
    pub behind: u64,
    /// The time of its last sign of life.
    pub last_seen: Option<String>,
    /// How far its clock is ahead of this node's, in milliseconds; null if it was not heard within ten minutes.
    pub clock_ahead_ms: Option<i64>,
}

/// A member of the mesh.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Member {
    /// Its DID.
    pub did: String,
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// The DID of the member that admitted it; null for the mesh's root key.
    pub admitted_by: Option<String>,
    /// The time at which its credential expires.
    pub expires_at: Option<String>,
    /// Whose machine it is; null if nobody has said.
    #[serde(default)]
    pub person: Option<Person>,
    /// The end of its membership; null for a member.
    pub revoked: Option<MembershipEnd>,
}

/// A person, by its machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Person {
    /// Its id: the same for all of its machines.
    pub id: String,
    /// The name of its first machine that is a member.
    pub first: String,
    /// Whether the node that answers is one of its machines.
    pub mine: bool,
}

/// Whose machine a member is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SayPerson {
    /// Whether it is another machine of this node's person; else it is the first one of somebody else.
    pub mine: bool,
}

/// A member, and whose machine it was said to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct PersonSaid {
    /// Its DID.
    pub did: String,
    /// Its name.
    pub name: String,
    /// `mine`, or `other` for somebody else's.
    pub person: String,
    /// Whether the member's own node agreed already; it does once it hears of it.
    pub agreed: bool,
}

/// The end of a membership.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct MembershipEnd {
    /// The time, by the revoker's clock.
    pub at: String,
    /// The revoker's DID: the mesh's for its root, the member's own if it left.
    pub by: String,
}

/// The options of a revocation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// The members that stay, by DID or name, of those whom it had admitted; all of them if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Vec<String>>,
    /// A draft that the mesh's root key has signed, in base64. It says itself who stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
}

/// The options of a draft for the root.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DraftRevocation {
    /// The members that stay, by DID or name, of those whom it had admitted; all of them if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Vec<String>>,
}

/// A draft for the root to sign.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct RevocationDraft {
    /// The member's DID.
    pub did: String,
    /// The draft, in base64.
    pub draft: String,
}

/// An ended membership.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct RevokedMember {
    /// The former member's DID.
    pub did: String,
    /// The time of the end, by the revoker's clock.
    pub revoked_at: String,
    /// The number of its logs of which something counts.
    pub pins: usize,
    /// The DIDs of those whom it had admitted and who stay.
    pub kept: Vec<String>,
    /// The DIDs of those whose membership ended with it.
    pub fallen: Vec<String>,
}

/// The end of this node's own membership.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Left {
    /// The node's DID.
    pub did: String,
    /// The time of the end.
    pub left_at: String,
}

/// The options of a change of this node's key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// The credentials of the new key, which the mesh's root key has signed, in base64. Without them an admin's node
    /// that is up admits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
}

/// The member whose next new key goes through.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AllowRotation {
    /// Its DID or name.
    pub member: String,
}

/// An admin's word for another new key of a member within a day.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct RotationAllowed {
    /// The member's DID.
    pub did: String,
    /// Its name.
    pub name: String,
    /// The end of the word.
    pub until: String,
}

/// The credentials of a new key for the root to sign.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct RotationDraft {
    /// The DID of the new key.
    pub did: String,
    /// The draft, in base64.
    pub draft: String,
}

/// This node by its new key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct RotatedKey {
    /// The node's DID now.
    pub did: String,
    /// Its DID until now.
    pub former: String,
}

/// The options of an invitation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// `admin`, `member` or `reader`; default `member`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The number of nodes that may join with it; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// The lifetime of the ticket; default `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// The lifetime of the credential; default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<Span>,
    /// The DID or name of a member that is down: its membership ends when the ticket is used. The default of `role` is
    /// the member's then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<String>,
    /// Whether another machine of this node's person joins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mine: bool,
    /// The name of the person whose first machine joins. Neither this nor `mine`: it is not known whose machine joins.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub for_whom: Option<String>,
}

/// An invitation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Invitation {
    /// The ticket.
    pub ticket: String,
    /// The line to paste on the other machine.
    pub join: String,
    /// The time at which the ticket expires.
    pub expires_at: String,
    /// Whose machine joins: `mine`, or `other` for somebody else's; null if it is not known.
    #[serde(default)]
    pub person: Option<String>,
}

/// A mesh to join.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The ticket.
    pub ticket: String,
    /// This node's name in the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The longest try; default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// A joined mesh.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Joined {
    /// This node's DID.
    pub did: String,
    /// Its libp2p peer id.
    pub peer_id: String,
    /// The mesh's DID.
    pub mesh_did: String,
    /// This node's name in it.
    pub name: String,
    /// The DID of the inviter.
    pub inviter: String,
}

/// Whether the node is cut off.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Offline {
    /// True if it is.
    pub offline: bool,
}

/// The outcome of a compaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Compacted {
    /// The bytes that are free now.
    pub freed_bytes: u64,
    /// The bytes of all parts before.
    pub before_bytes: u64,
    /// The bytes of all parts after.
    pub after_bytes: u64,
    /// Whether nothing that was deleted before is in a file any more. Else another compaction does the rest.
    pub clean: bool,
    /// Each part.
    pub parts: Vec<CompactedPart>,
}

/// A part of a node's files that was compacted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct CompactedPart {
    /// `store`, `coordinators`, `index` or `blobs`.
    pub part: String,
    /// The bytes before.
    pub before_bytes: u64,
    /// The bytes after.
    pub after_bytes: u64,
}

/// A compaction as it goes, and what waits for one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Compacting {
    /// The part that is written anew; null if none is.
    pub part: Option<String>,
    /// The bytes of it that are copied.
    pub done_bytes: u64,
    /// Its bytes.
    pub bytes: u64,
    /// The time of the first erasure whose bytes are still on the disk; null if there is none.
    pub erased_since: Option<String>,
}

/// A configured value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Setting {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// `flag`, `environment`, `file` or `default`.
    pub origin: String,
    /// Whether a change takes effect at once.
    pub live: bool,
    /// Its meaning.
    #[serde(default)]
    pub about: String,
}

/// The answer to one line of an import.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Imported {
    /// The number of the line, from 1.
    pub line: u64,
    /// The memory's id here; null if it was refused.
    pub id: Option<String>,
    /// Its space's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The number of its entry in this node's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The memory was here already; nothing was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
    /// The memory was forgotten here, and stays so; nothing was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
    /// The memory had expired; nothing was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
    /// Credentials in it were masked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
    /// The reason of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// An error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct ErrorBody {
    /// The code, for scripts.
    pub code: String,
    /// The message, for people.
    pub message: String,
    /// The next step for the caller.
    pub hint: Option<String>,
    /// The id to ask with, if the outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The last line of stderr of a failed command, with `--json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct ErrorDocument {
    /// The error.
    pub error: ErrorBody,
}

/// An error in the form of RFC 9457.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Problem {
    /// `about:blank`: the title is the type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// The code, for scripts.
    pub code: String,
    /// The message, for people.
    pub detail: String,
    /// The next step for the caller.
    pub hint: Option<String>,
    /// The id to ask with, if the outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A duration: `"30s"`, `"5m"`, `"1h"`, `"7d"`, or a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Seconds(u64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Seconds(seconds) => Ok(Self(Duration::from_secs(seconds))),
            Either::Text(text) => parse_duration(&text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

impl std::str::FromStr for Span {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        parse_duration(text).map(Self)
    }
}

#[cfg(feature = "schema")]
impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time, or a number of seconds.",
            "oneOf": [
                { "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|w)$" },
                { "type": "integer", "minimum": 0 },
            ],
            "examples": ["30s", "7d", 90],
        })
    }
}
