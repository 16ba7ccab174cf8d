//! Events of a node.

use nexus_identity::Did;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::critical::KvChange;
use crate::critical::CriticalEvent;
use crate::events::{NodeEvent, NodeNews};

/// An event.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The cursor after it.
    pub cursor: String,
    /// The kind. In the log: `remembered`, `edited`, `forgotten`, `member`, `space`, `task`. Elsewhere: `key`, `lock`,
    /// `peer`, `blob`, `mode`. After `missed` read again what `of` names.
    pub kind: String,
    /// The id of the memory, member, space or task; the name of the key or lock; the DID of the peer; the hash of the blob;
    /// the mode.
    pub id: String,
    /// The space's name; empty for what has none.
    pub space: String,
    /// The DID of the author, or of the member that made the change; else this node's.
    pub author: String,
    /// The number of the entry in that author's log; 0 for what is in none.
    pub seq: u64,
    /// The state: a task's when this is told, a peer's (`connected`, `away`), or a blob's (`added`, `fetched`, `removed`,
    /// `damaged`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The change of a key or a lock, as `/v1/watch` tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<KvChange>,
    /// The kinds of events that were missed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
}

impl Change {
    /// An event of this node.
    pub(in crate::api) fn of(event: NodeEvent, me: Did, by_name: impl Fn(&Did) -> Option<String>) -> Self {
        let NodeEvent { cursor, news, .. } = event;
        let bare = |kind: &str, id: String| Self {
            cursor: cursor.clone(),
            kind: kind.to_owned(),
            id,
            space: String::new(),
            author: me.to_string(),
            seq: 0,
            state: None,
            change: None,
            of: Vec::new(),
        };
        let of_log = |change: crate::memory::Change| {
            let (space, author, seq) = (change.space, change.author.to_string(), change.seq);
            Self { space, author, seq, ..bare(change.kind.as_str(), change.subject.to_string()) }
        };
        let state = |word: &str| Some(word.to_owned());
        match news {
            NodeNews::Change(change) => of_log(change),
            NodeNews::Task(change, task) => Self { state: state(task.status.as_str()), ..of_log(change) },
            NodeNews::Critical(change) => {
                let kind = match change.event {
                    CriticalEvent::Put { .. } | CriticalEvent::Deleted { .. } => "key",
                    _ => "lock",
                };
                let (id, author) = (change.name().to_owned(), change.by.to_string());
                let name = by_name(&change.by);
                Self { author, change: Some(KvChange::new(change, name)), ..bare(kind, id) }
            }
            NodeNews::Peer(news) => {
                let word = if news.connected { "connected" } else { "away" };
                Self { state: state(word), ..bare("peer", news.peer.to_string()) }
            }
            #[cfg(feature = "blobs")]
            NodeNews::Blob(news) => Self { state: state(news.change.as_str()), ..bare("blob", news.hash.to_string()) },
            NodeNews::Mode(mode) => bare("mode", mode.as_str().to_owned()),
            NodeNews::Missed(kinds) => {
                let of = kinds.into_iter().map(|kind| kind.as_str().to_owned()).collect();
                Self { of, ..bare(crate::memory::ChangeKind::Missed.as_str(), me.to_string()) }
            }
        }
    }
}

/// The answer of a long poll.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// The events; empty if there were none in time.
    pub changes: Vec<Change>,
    /// The cursor for the next poll.
    pub cursor: String,
}
