//! Watches a node from outside, and reports its changes.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use nexus_client::wire;
use nexus_node::api::Problem;

use super::stage::Node;
use super::view::{Event, Look, Peer};

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(150);

/// Names by DID, of all nodes that were ever started.
pub(super) type Names = Arc<Mutex<BTreeMap<String, String>>>;

/// The watching of one node, until this is dropped.
#[derive(Debug)]
pub(super) struct Onlooker {
    _here: Arc<()>,
}

impl Onlooker {
    pub(super) fn new(node: &Node, names: &Names, events: &Sender<Event>) -> Self {
        let here = Arc::new(());
        let (stay, looked_at, tell) = (Arc::downgrade(&here), node.clone(), events.clone());
        thread::spawn(move || look(&stay, &looked_at, &tell));
        let (stay, followed, names, tell) = (Arc::downgrade(&here), node.clone(), names.clone(), events.clone());
        thread::spawn(move || follow(&stay, &followed, &names, &tell));
        Self { _here: here }
    }
}

fn look(stay: &Weak<()>, node: &Node, events: &Sender<Event>) {
    while stay.strong_count() > 0 {
        // A node that is ending does not answer; its end is reported elsewhere.
        if let Ok(look) = glance(node)
            && stay.strong_count() > 0
            && events.send(Event::Looks { node: node.name.clone(), look }).is_err()
        {
            return;
        }
        thread::sleep(PAUSE);
    }
}

fn glance(node: &Node) -> Result<Look, Problem> {
    let (status, memories, peers) = (node.status()?, node.memories()?, node.peers()?);
    Ok(Look {
        offline: status.offline,
        seat: seat(&status),
        memories: memories.len(),
        newest: newest(&memories),
        peers: peers
            .into_iter()
            .filter_map(|peer| {
                let connected = peer.state == "up" && peer.path.is_some();
                Some((peer.name?, Peer { connected, rtt_ms: peer.rtt_ms, behind: peer.behind }))
            })
            .collect(),
    })
}

/// The node's place among the coordinators: read-only first, then leader or voter.
fn seat(status: &wire::Status) -> Option<&'static str> {
    match (status.mode.as_deref(), status.role.as_deref()) {
        (Some("read_only"), _) => Some("refuses"),
        (_, Some("leader")) => Some("leader"),
        (_, Some("voter")) => Some("voter"),
        _ => None,
    }
}

/// The values in conflict, if there are any; else the latest memory.
fn newest(memories: &[wire::Memory]) -> Vec<String> {
    let contested = memories.iter().find_map(|memory| memory.conflicts.get("text"));
    match contested {
        Some(values) => {
            let text = |value: &wire::ConflictValue| value.value.as_str().unwrap_or_default().to_owned();
            let mut values: Vec<String> = values.iter().map(text).collect();
            values.sort();
            values
        }
        None => memories
            .iter()
            .max_by(|one, other| one.updated_at.cmp(&other.updated_at))
            .map(|memory| memory.text.clone())
            .into_iter()
            .collect(),
    }
}

/// Follows a node's changes: each is an entry that has arrived.
fn follow(stay: &Weak<()>, node: &Node, names: &Names, events: &Sender<Event>) {
    while stay.strong_count() > 0 {
        let lines = node.client.clone().streaming().lines("/v1/events", &[("accept", "text/event-stream")]);
        for line in lines.into_iter().flatten() {
            let Some(change) = line.as_ref().ok().and_then(|line| line.strip_prefix("data:")) else { continue };
            let Ok(change) = serde_json::from_str::<wire::Change>(change.trim_start()) else { continue };
            let author = names.lock().unwrap_or_else(PoisonError::into_inner).get(&change.author).cloned();
            let Some(author) = author else { continue };
            if events.send(Event::Arrives { author, node: node.name.clone() }).is_err() {
                return;
            }
        }
        thread::sleep(PAUSE);
    }
}
