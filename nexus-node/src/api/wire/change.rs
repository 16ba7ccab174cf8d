//! Events of a node.

use nexus_client::wire::Change;
use nexus_identity::Did;

use super::critical::kv_change;
use crate::critical::CriticalEvent;
use crate::events::{NodeEvent, NodeNews};

/// The most heads of a document that an event names.
#[cfg(feature = "documents")]
const HEADS_MAX: usize = 64;

/// An event of this node.
pub(in crate::api) fn change(event: NodeEvent, me: Did, by_name: impl Fn(&Did) -> Option<String>) -> Change {
    let NodeEvent { cursor, news, .. } = event;
    let bare = |kind: &str, id: String| Change {
        cursor: cursor.clone(),
        kind: kind.to_owned(),
        id,
        space: String::new(),
        author: me.to_string(),
        seq: 0,
        state: None,
        key: None,
        former_key: None,
        version: None,
        change: None,
        of: Vec::new(),
    };
    let of_log = |change: crate::memory::Change| {
        let (space, author, seq) = (change.space, change.author.to_string(), change.seq);
        Change { space, author, seq, ..bare(change.kind.as_str(), change.subject.to_string()) }
    };
    let state = |word: &str| Some(word.to_owned());
    match news {
        NodeNews::Change(change) => of_log(change),
        NodeNews::Task(change, task) => Change { state: state(task.status.as_str()), ..of_log(change) },
        #[cfg(feature = "documents")]
        NodeNews::Document(change, news) => {
            let crate::documents::DocumentNews { key, former_key, version } = *news;
            let version = version.filter(|version| version.0.len() <= HEADS_MAX).map(|version| version.to_string());
            Change { key, former_key, version, ..of_log(change) }
        }
        NodeNews::Critical(change) => {
            let kind = match change.event {
                CriticalEvent::Put { .. } | CriticalEvent::Deleted { .. } => "key",
                _ => "lock",
            };
            let (id, author) = (change.name().to_owned(), change.by.to_string());
            let name = by_name(&change.by);
            Change { author, change: Some(kv_change(change, name)), ..bare(kind, id) }
        }
        NodeNews::Peer(news) => {
            let word = if news.connected { "connected" } else { "away" };
            Change { state: state(word), ..bare("peer", news.peer.to_string()) }
        }
        #[cfg(feature = "blobs")]
        NodeNews::Blob(news) => Change { state: state(news.change.as_str()), ..bare("blob", news.hash.to_string()) },
        NodeNews::Mode(mode) => bare("mode", mode.as_str().to_owned()),
        NodeNews::Missed(kinds) => {
            let of = kinds.into_iter().map(|kind| kind.as_str().to_owned()).collect();
            Change { of, ..bare(crate::memory::ChangeKind::Missed.as_str(), me.to_string()) }
        }
    }
}
