//! `/metrics`: the figures of this process, in the text format of Prometheus.
//!
//! Requests are counted as they are answered. Everything else is read from the node on request, and
//! costs nothing until then.

mod counts;
mod text;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use nexus_mesh::{PeerState, Tallied};

pub(super) use self::counts::{Proposals, Requests};
use self::text::Text;
use super::Api;
use crate::Node;
use crate::coordinator::{CoordinatorRole, Coordinators, Mode, SeatState};
use crate::memory::SpaceInfo;
use crate::node::{Peer, Status};
use crate::problem::Problem;
use crate::vectors::EmbedderState;

pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let mut text = Text::default();
    api.0.requests.write(&mut text);
    api.0.proposals.write(&mut text);
    for counter in api.0.settings.counters() {
        text.family(counter.name, "counter", counter.help);
        text.value("", &[], counter.value);
    }
    of_machine(&mut text, &api).await;
    match api.node() {
        Ok(node) => of_node(&mut text, &node).await?,
        Err(_) => text.one("nexus_ready", "Whether the node answers.", 0),
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.text).into_response())
}

async fn of_node(text: &mut Text, node: &Node) -> Result<(), Problem> {
    let (status, peers) = (node.status().await, node.peers().await);
    let spaces = node.brain().spaces().await?;
    of_process(text, &status);
    text.family("nexus_recall_duration_seconds", "histogram", "Time of a recall, over HTTP, MCP and in the process.");
    text.histogram(&[], node.brain().recall_times());
    if let Some(seen) = &status.coordinators {
        of_coordinators(text, seen);
    }
    let full = u8::from(node.disk_full().is_some());
    text.one("nexus_disk_full", "Whether writes are refused since the disk is full.", full);
    of_spaces(text, &spaces);
    let conflicts = node.brain().conflicts().await?;
    text.family("nexus_conflicts", "gauge", "Memories of which a field has several values, up to 10,000.");
    for space in &spaces {
        text.value("", &[("space", &space.space)], conflicts.get(&space.space).copied().unwrap_or_default());
    }
    of_peers(text, &peers);
    #[cfg(feature = "blobs")]
    of_blobs(text, node).await?;
    of_wire(text, node);
    of_wakeups(text, node);
    text.family("nexus_queue_length", "gauge", "The entries that wait in a queue of the node.");
    for queue in node.queues() {
        text.value("", &[("queue", queue.name)], queue.length);
    }
    text.family(
        "nexus_queue_capacity",
        "gauge",
        "The entries that may wait in it. A full queue makes the sender wait.",
    );
    for queue in node.queues() {
        text.value("", &[("queue", queue.name)], queue.capacity);
    }
    Ok(())
}

/// The content that is here, that comes, and that others get. No label: hashes and members are of others.
#[cfg(feature = "blobs")]
async fn of_blobs(text: &mut Text, node: &Node) -> Result<(), Problem> {
    let figures = node.blobs().figures().await?;
    text.one("nexus_blobs", "Blobs that are here whole, with the files of directories.", figures.blobs);
    text.one("nexus_blob_bytes", "The size of those blobs.", figures.bytes);
    text.one("nexus_blobs_damaged", "Blobs of which the disk damaged parts.", figures.damaged);
    text.one("nexus_blob_fetches", "Blobs that are being fetched, or wait for their turn.", figures.fetches);
    let counters = [
        ("nexus_blob_fetched_bytes_total", "Content from members that was verified.", figures.fetched_bytes),
        ("nexus_blob_served_bytes_total", "Content that was read for members.", figures.served_bytes),
        ("nexus_blob_bad_parts_total", "Answers of members that were something else than the part.", figures.bad_parts),
        ("nexus_blobs_mended_total", "Damaged blobs that are whole again.", figures.mended),
    ];
    for (name, help, value) in counters {
        text.family(name, "counter", help);
        text.value("", &[], value);
    }
    Ok(())
}

/// The bytes to and from peers.
fn of_wire(text: &mut Text, node: &Node) {
    let help = "Bytes on streams to and from members, without the headers of the transport.";
    text.family("nexus_wire_bytes_total", "counter", help);
    for Tallied { protocol, kind, direction, bytes } in node.tallied() {
        text.value("", &[("protocol", &protocol), ("kind", kind), ("direction", direction.as_str())], bytes);
    }
}

/// The wake-ups of the node's tasks: a node at rest sleeps.
fn of_wakeups(text: &mut Text, node: &Node) {
    let help = "Times that tasks of the node were woken, by timers and by others, by the name of the task.";
    text.family("nexus_wakeups_total", "counter", help);
    for (task, count) in node.wakeups() {
        text.value("", &[("task", task)], count);
    }
}

/// A metric's name, its help text, and its reading.
type Family<T, V> = (&'static str, &'static str, fn(&T) -> V);

/// The disk and the open files of the process.
async fn of_machine(text: &mut Text, api: &Api) {
    let settings = api.0.settings.clone();
    let disk = match api.node() {
        Ok(node) => node.brain().reading(move |_| Ok(settings.disk())).await.ok().flatten(),
        Err(_) => None,
    };
    if let Some(disk) = disk {
        text.one("nexus_disk_bytes", "The size of the data directory's files.", disk.used);
        if let Some(free) = disk.free {
            text.one("nexus_disk_free_bytes", "The free bytes of its disk.", free);
        }
    }
    if let Some((open, most)) = api.0.settings.open_files() {
        text.one("process_open_fds", "The open files and connections of the process.", open);
        text.one("process_max_fds", "The most that it may have.", most);
    }
}

fn of_process(text: &mut Text, status: &Status) {
    text.family("nexus_info", "gauge", "This node.");
    let (did, mesh) = (status.did.to_string(), status.mesh_did.to_string());
    let labels = [("did", did.as_str()), ("name", &status.name), ("mesh_did", &mesh), ("version", &status.version)];
    text.value("", &labels, 1);
    text.one("nexus_ready", "Whether the node answers.", 1);
    text.one("nexus_uptime_seconds", "How long the node has been up.", status.uptime.as_secs());
    text.one("nexus_offline", "Whether the node was told to be offline.", u8::from(status.offline));
    text.one("nexus_warnings", "The warnings of the status.", status.warnings.len());
    if status.embedder.state != EmbedderState::Off {
        text.one("nexus_vectors", "The memories with a vector.", status.embedder.embedded);
        let failing = u8::from(status.embedder.state == EmbedderState::Failing);
        text.one("nexus_embedder_failing", "Whether the embedder gives no vectors that can be used.", failing);
    }
    if let Some(bytes) = status.rss_bytes {
        text.one("process_resident_memory_bytes", "Resident memory of the process.", bytes);
    }
}

fn of_coordinators(text: &mut Text, seen: &Coordinators) {
    text.family("nexus_mode", "gauge", "The mode of critical state: 1 for the mode that holds.");
    for mode in [Mode::Full, Mode::Core, Mode::ReadOnly] {
        text.value("", &[("mode", mode.as_str())], u8::from(seen.mode() == mode));
    }
    text.one(
        "nexus_coordinator_is_leader",
        "Whether this node leads.",
        u8::from(seen.role == Some(CoordinatorRole::Leader)),
    );
    text.one("nexus_coordinator_term", "The current election.", seen.term);
    text.one("nexus_coordinator_commit_index", "The last entry that is known to be committed.", seen.commit);
    text.one("nexus_coordinator_applied_index", "The last entry that is applied here.", seen.applied);
    text.one("nexus_coordinator_generation", "How often the coordinators were begun anew.", seen.generation);
    text.family("nexus_voter_up", "gauge", "Whether a voter can be reached.");
    for seat in &seen.voters {
        let up = matches!(seat.state, SeatState::Leader | SeatState::Up);
        text.value("", &[("did", &seat.did.to_string()), ("name", &seat.name)], u8::from(up));
    }
}

fn of_spaces(text: &mut Text, spaces: &[SpaceInfo]) {
    let families: [Family<SpaceInfo, u64>; 3] = [
        ("nexus_records", "Memories.", |space| space.records),
        ("nexus_entries", "Entries of logs.", |space| space.entries),
        ("nexus_entry_bytes", "The size of those entries' payloads.", |space| space.bytes),
    ];
    for (name, help, read) in families {
        text.family(name, "gauge", help);
        for space in spaces {
            text.value("", &[("space", &space.space)], read(space));
        }
    }
}

fn of_peers(text: &mut Text, peers: &[Peer]) {
    let families: [Family<Peer, Option<f64>>; 5] = [
        ("nexus_peer_up", "Whether a member is up.", |peer| Some(f64::from(u8::from(peer.state == PeerState::Up)))),
        ("nexus_peer_synced", "Whether it holds the same entries.", |peer| Some(f64::from(u8::from(peer.synced)))),
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        ("nexus_peer_behind_entries", "How many entries it lacks that are held here.", |peer| Some(peer.behind as f64)),
        ("nexus_peer_rtt_seconds", "The last ping's round trip.", |peer| peer.rtt.map(|rtt| rtt.as_secs_f64())),
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        ("nexus_peer_clock_ahead_seconds", "How far its clock is ahead of this node's.", |peer| {
            peer.clock_ahead_ms.map(|ms| ms as f64 / 1e3)
        }),
    ];
    for (name, help, read) in families {
        text.family(name, "gauge", help);
        for peer in peers {
            let did = peer.did.to_string();
            if let Some(value) = read(peer) {
                text.value("", &[("did", &did), ("name", peer.name.as_deref().unwrap_or_default())], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use axum::http::{Method, StatusCode};

    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_buckets_add_up() {
        let requests = Requests::default();
        for (ms, status) in [(1, 200), (3, 200), (20_000, 200), (1, 404)] {
            let status = StatusCode::from_u16(status).unwrap();
            requests.answered("/v1/memories/{id}", &Method::GET, status, Duration::from_millis(ms));
        }
        let begun = requests.begin();
        let mut text = Text::default();
        requests.write(&mut text);
        drop(begun);
        let of = "route=\"/v1/memories/{id}\",method=\"GET\"";
        for line in [
            format!("nexus_http_requests_total{{{of},status=\"200\"}} 3"),
            format!("nexus_http_requests_total{{{of},status=\"404\"}} 1"),
            format!("nexus_http_request_duration_seconds_bucket{{{of},le=\"0.001\"}} 2"),
            format!("nexus_http_request_duration_seconds_bucket{{{of},le=\"0.005\"}} 3"),
            format!("nexus_http_request_duration_seconds_bucket{{{of},le=\"10\"}} 3"),
            format!("nexus_http_request_duration_seconds_bucket{{{of},le=\"+Inf\"}} 4"),
            format!("nexus_http_request_duration_seconds_count{{{of}}} 4"),
            "nexus_http_requests_in_flight 1".to_owned(),
        ] {
            assert!(text.text.lines().any(|found| found == line), "{line}\n{}", text.text);
        }
        assert_eq!(requests.in_flight.load(Relaxed), 0);
    }

    #[test]
    fn names_of_others_cannot_break_out_of_their_label() {
        let mut text = Text::default();
        text.family("a", "gauge", "A.");
        text.value("", &[("name", "x\"} 1\nb\\")], 2);
        assert_eq!(text.text.lines().last(), Some("a{name=\"x\\\"} 1\\nb\\\\\"} 2"));
    }
}
