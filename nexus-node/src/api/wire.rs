//! The documents of the HTTP API, which are also what the command line prints with `--json`.
//!
//! They are apart from the types of the library on purpose: names and fields here are a contract
//! (`docs/cli.md`), and must not change because something inside is renamed.

mod audit;
mod critical;
mod memory;
mod mesh;
mod time;

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use self::audit::{AuditBroken, AuditCheck, AuditEntry, AuditGap, AuditMember, AuditPage};
pub use self::critical::{
    Acquire, AddVoter, Coordinator, KvChange, KvChanges, KvCheck, KvItem, KvPage, KvPut, KvSet, KvStep, KvTxn,
    KvTxnDone, KvWritten, Lease, Recover, Release, Renew, Seat, Steal,
};
pub use self::memory::{
    ConflictValue, Durability, Exported, FieldOrigin, Forgotten, Hit, Listing, Memory, NewMemory, Patch, Remembered,
    Revision, Source,
};
pub use self::time::{DurationError, TimestampError, parse_duration, parse_timestamp, show_duration};

/// A change, as a watcher sees it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Go on after this change.
    pub cursor: String,
    /// What happened.
    pub kind: String,
    /// The memory, member or space.
    pub id: String,
    /// The space's name.
    pub space: String,
    /// Who did it.
    pub author: String,
    /// The seq of the entry in that author's log.
    pub seq: u64,
}

impl From<crate::Change> for Change {
    fn from(change: crate::Change) -> Self {
        Self {
            cursor: change.cursor,
            kind: change.kind.as_str().to_owned(),
            id: change.id,
            space: change.space,
            author: change.author.to_string(),
            seq: change.seq,
        }
    }
}

/// What a long poll brings.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// The changes; none if there were none in time.
    pub changes: Vec<Change>,
    /// Go on from here.
    pub cursor: String,
}

/// A link to the page that signs a browser in, once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WebLink {
    /// The link.
    pub link: String,
    /// Until when it may be used.
    pub expires_at: String,
}

/// A space at a glance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Space {
    /// Its name.
    pub space: String,
    /// Its id.
    pub id: String,
    /// Who may read it.
    pub readers: Vec<String>,
    /// Who may write it.
    pub writers: Vec<String>,
    /// How many memories it has.
    pub records: u64,
    /// How many entries its logs have here.
    pub entries: u64,
    /// The size of their payloads.
    pub bytes: u64,
}

impl From<crate::SpaceInfo> for Space {
    fn from(space: crate::SpaceInfo) -> Self {
        Self {
            space: space.space,
            id: space.id,
            readers: space.readers.iter().map(ToString::to_string).collect(),
            writers: space.writers.iter().map(ToString::to_string).collect(),
            records: space.records,
            entries: space.entries,
            bytes: space.bytes,
        }
    }
}

/// A space to create.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSpace {
    /// Its name.
    pub name: String,
}

/// A page of a space as an Automerge document.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// What it is called; no two pages of a space are called alike.
    pub page: String,
    /// The document, as Automerge saves it, in base64.
    pub automerge: String,
}

/// This node and its mesh at a glance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// This node's DID.
    pub did: String,
    /// Its libp2p peer id.
    pub peer_id: String,
    /// What it is called.
    pub name: String,
    /// The mesh's DID.
    pub mesh_did: String,
    /// The program's version.
    pub version: String,
    /// How long it has been running, in seconds.
    pub uptime_s: u64,
    /// `member` or `revoked`.
    pub membership: String,
    /// Cut off by `offline`.
    pub offline: bool,
    /// `full`, `core` or `read_only`; null before there are coordinators.
    pub mode: Option<String>,
    /// The DID of the coordinator that leads; null if none does, as far as this node can tell.
    pub coordinator: Option<String>,
    /// This node's role among the coordinators: `leader`, `voter` or `learner`; null if it has none.
    pub role: Option<String>,
    /// How many peers are connected.
    pub peers: usize,
    /// Who lacks entries that this node holds.
    pub behind: Vec<Behind>,
    /// What somebody should look at.
    pub warnings: Vec<Warning>,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    /// The process that the node runs in.
    #[serde(default)]
    pub pid: Option<u32>,
    /// What started that process: `up`, or `mcp` in the background, for an agent.
    #[serde(default)]
    pub started_by: Option<String>,
}

/// A process that ends.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Stopping {
    /// Always true.
    pub stopping: bool,
    /// The process.
    pub pid: u32,
}

/// A member that lacks entries.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Behind {
    /// Its DID.
    pub did: String,
    /// What it is called.
    pub name: Option<String>,
    /// How many it lacks.
    pub entries: u64,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// What kind of thing.
    pub code: String,
    /// What it is.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Another member, as seen from here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its DID.
    pub did: String,
    /// Its libp2p peer id.
    pub peer_id: String,
    /// What it is called.
    pub name: Option<String>,
    /// `up`, `suspect` or `down`.
    pub state: String,
    /// Why it is not up.
    pub cause: Option<String>,
    /// Round-trip time, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// `direct` or `relayed`; null without a connection.
    pub path: Option<String>,
    /// Whether it has everything that this node has.
    pub synced: bool,
    /// How many entries it lacks.
    pub behind: u64,
    /// When it was last heard of.
    pub last_seen: Option<String>,
}

/// Who belongs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Its DID.
    pub did: String,
    /// What it is called.
    pub name: String,
    /// What it may.
    pub roles: Vec<String>,
    /// Who admitted it; null if the mesh's root key did.
    pub admitted_by: Option<String>,
    /// When its credential expires.
    pub expires_at: Option<String>,
    /// When and by whom its membership was taken away.
    pub revoked: Option<Value>,
}

/// What an invitation is asked to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// `admin`, `member` or `reader`; `member` if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How many may join with it; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// How long the ticket is good; `1h` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// How long the credential is good; for ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<Span>,
}

/// An invitation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The ticket.
    pub ticket: String,
    /// The line to paste on the other machine.
    pub join: String,
    /// When the ticket expires.
    pub expires_at: String,
}

/// A mesh to join.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The ticket.
    pub ticket: String,
    /// What this node is to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long to try; `30s` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// A mesh that was joined.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    /// This node's DID.
    pub did: String,
    /// Its libp2p peer id.
    pub peer_id: String,
    /// The mesh's DID.
    pub mesh_did: String,
    /// What this node is called there.
    pub name: String,
    /// Who let it in.
    pub inviter: String,
}

/// Whether the node is cut off.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Offline {
    /// It is.
    pub offline: bool,
}

/// A configured value.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// Which.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// `flag`, `environment`, `file` or `default`.
    pub origin: String,
    /// Whether a change takes effect at once.
    pub live: bool,
}

/// The answer to one line of an import.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// Which line, from 1.
    pub line: u64,
    /// The memory's id here; null if it was refused.
    pub id: Option<String>,
    /// Its space's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The seq of its entry in this node's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// It was here already, and nothing was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
    /// Its time was over, and nothing was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// The code that scripts match on.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// The last line of stderr of a command that failed, with `--json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDocument {
    /// What went wrong.
    pub error: ErrorBody,
}

/// An error as RFC 9457 has it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `about:blank`: the title says it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// The code that scripts match on.
    pub code: String,
    /// What is wrong.
    pub detail: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// A length of time: `"30s"`, `"5m"`, `"1h"`, `"7d"`, or a number of seconds.
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
