//! Observation from outside: `/metrics`, and traces in answers and logs.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Home, Node, pair, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The values by name and labels. Every line of the answer must be readable.
fn read(node: &Node) -> BTreeMap<String, f64> {
    let answer = node.http("GET", "/metrics", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{answer:?}");
    let (mut family, mut values) = (String::new(), BTreeMap::new());
    for line in answer.body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.split(' ');
            assert!(["HELP", "TYPE"].contains(&words.next().unwrap()), "{line}");
            family = words.next().unwrap().to_owned();
            continue;
        }
        assert!(line.starts_with(&family), "{line} is of {family}");
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(values.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    values
}

/// promise: Commands and API | Requests are counted by route; the lag of peers and a caller's trace are told
#[test]
fn requests_are_counted_by_route_method_and_status() {
    let home = Home::new();
    let node = home.up();
    for _ in 0..3 {
        node.http("GET", "/v1/status", "");
    }
    let id = home.json(&["remember", "x"])["id"].as_str().unwrap().to_owned();
    for path in [format!("/v1/memories/{id}"), "/v1/memories/nope".to_owned(), "/no/such/route".to_owned()] {
        node.http("GET", &path, "");
    }
    let values = read(&node);
    let total = |route: &str, method: &str, status: u16| {
        let name = format!("nexus_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}");
        values.get(&name).copied().unwrap_or_default()
    };
    assert!(total("/v1/status", "GET", 200) >= 3.0);
    assert_eq!(total("/v1/memories/{id}", "GET", 200), 1.0);
    assert_eq!(total("/v1/memories/{id}", "GET", 404), 1.0);
    assert_eq!(total("/v1/memories", "POST", 201), 1.0);
    assert_eq!(total("none", "GET", 404), 1.0);
    assert_eq!(values["nexus_records{space=\"default\"}"], 1.0);
    assert_eq!(values["nexus_queue_length{queue=\"commands\"}"], 0.0);
    assert_eq!(values["nexus_ready"], 1.0);
    assert!(values["nexus_wakeups_total{task=\"engine\"}"] >= 1.0);
    assert_eq!(values["nexus_http_requests_in_flight"], 1.0, "this one");
    assert!(!node.http("GET", "/metrics", "").body.contains(&id), "ids are no labels");
    assert!(values["nexus_disk_bytes"] > 1e4);
    #[cfg(unix)]
    assert!(values["nexus_disk_free_bytes"] > 0.0);
    #[cfg(target_os = "linux")]
    assert!(values["process_resident_memory_bytes"] > 1e6);
    #[cfg(target_os = "linux")]
    assert!(values["process_open_fds"] > 3.0 && values["process_max_fds"] > values["process_open_fds"]);
    assert_eq!(node.raw("GET", "/metrics", &[("Host", &node.address())], b"").problem(), "unauthorized");
}

/// promise: Commands and API | Requests are counted by route; the lag of peers and a caller's trace are told
#[test]
fn the_lag_of_a_peer_is_there() {
    let ((laptop, first), (cloud, _second)) = pair();
    let of = |name: &str| {
        let values = read(&first);
        let found = values.iter().find(|(key, _)| key.starts_with(name) && key.contains("name=\"cloud\""));
        found.map(|(_, value)| *value)
    };
    until("cloud is in step", || (of("nexus_peer_synced") == Some(1.0)).then_some(()));
    assert_eq!((of("nexus_peer_up"), of("nexus_peer_behind_entries")), (Some(1.0), Some(0.0)));
    cloud.json(&["offline"]);
    laptop.json(&["remember", "while cloud is away"]);
    until("cloud lacks an entry", || (of("nexus_peer_behind_entries") == Some(1.0)).then_some(()));
}

/// promise: Commands and API | Requests are counted by route; the lag of peers and a caller's trace are told
#[test]
fn a_trace_of_the_caller_is_answered_and_found_in_the_log() {
    let home = Home::new();
    std::fs::create_dir_all(home.path()).unwrap();
    home.json(&["init"]);
    std::fs::write(home.path().join("config.toml"), "log_format = \"json\"\nlog = \"nexus_node=debug\"\n").unwrap();
    let node = home.up();
    let (address, bearer) = (node.address(), format!("Bearer {}", node.token()));
    let ask = |traceparent: &str| {
        let headers = [("Host", address.as_str()), ("Authorization", &bearer), ("traceparent", traceparent)];
        let answer = node.raw("GET", "/v1/status", &headers, b"");
        assert_eq!(answer.status, 200);
        let lines = answer.head.lines().filter_map(|line| line.strip_prefix("traceparent: "));
        lines.map(str::to_owned).next().unwrap()
    };
    let answered = ask(&format!("00-{TRACE}-00f067aa0ba902b7-01"));
    assert!(answered.starts_with(&format!("00-{TRACE}-")) && answered.ends_with("-01"), "{answered}");
    assert!(!answered.contains("00f067aa0ba902b7"), "the span is ours");
    let other = ask("00-zzz-00f067aa0ba902b7-01");
    assert!(!other.contains(TRACE) && other.len() == 55, "what is no trace is ignored: {other}");
    let span = &answered[36..52];
    until("the log has it", || {
        let log = home.log();
        let line = log.lines().find(|line| line.contains(TRACE))?;
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["span"]["trace_id"], &line["span"]["span_id"]), (&TRACE.into(), &span.into()), "{line}");
        assert_eq!(line["span"]["parent_id"], "00f067aa0ba902b7");
        Some(())
    });
}

/// The names of figures in a file.
fn figures_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("nexus_") || word.starts_with("process_")).map(str::to_owned).collect()
}

/// promise: Commands and API | The alert rules and the dashboard ask for figures that a node has
#[test]
fn alerts_and_dashboard_ask_for_figures_that_are_there() {
    let ((home, node), _other) = pair();
    home.json(&["remember", "something to recall"]);
    home.json(&["recall", "something"]);
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring");
    let file = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap();
    let asked = figures_in(&(file("alerts.yml") + &file("dashboard.json")));
    assert!(asked.len() > 10, "{asked:?}");
    // the clock of another member is known from its first beat on
    let there = until("all figures are there", || {
        let there: BTreeSet<String> =
            read(&node).into_keys().map(|name| name.split('{').next().unwrap().to_owned()).collect();
        asked.is_subset(&there).then_some(there)
    });
    assert!(there.contains("nexus_recall_duration_seconds_bucket"));
    assert_eq!(read(&node)["nexus_recall_duration_seconds_count"], 1.0);
}

/// promise: Commands and API | Memories with several values are counted for Prometheus
#[test]
fn memories_with_several_values_are_counted() {
    let ((laptop, _first), (cloud, second)) = pair();
    let id = laptop.json(&["remember", "port 5432"])["id"].as_str().unwrap().to_owned();
    until("cloud has it", || (cloud.run(&["get", &id]).code == 0).then_some(()));
    cloud.json(&["offline"]);
    laptop.json(&["edit", &id, "port 5433"]);
    laptop.json(&["remember", "blue", "--id", "colour"]);
    cloud.json(&["edit", &id, "port 5434"]);
    cloud.json(&["remember", "green", "--id", "colour"]);
    cloud.json(&["remember", "nobody else's", "--id", "alone"]);
    cloud.json(&["online"]);
    let conflicts = |id: &str| cloud.json(&["get", id])["conflicts"].as_object().map_or(0, serde_json::Map::len);
    until("both conflicts are there", || (conflicts(&id) == 1 && conflicts("colour") == 1).then_some(()));
    assert_eq!(read(&second)["nexus_conflicts{space=\"default\"}"], 2.0);
    assert_eq!(cloud.json(&["status"])["conflicts"], 2);
    assert!(cloud.run(&["status"]).ok().stdout.contains("2 in conflict: `nexus-node list --conflicts`"));
}

/// promise: Commands and API | Blobs are counted for Prometheus: those that are here, and the bytes that came and went
#[test]
fn blobs_are_counted() {
    let ((laptop, first), (cloud, second)) = pair();
    let (file, got) = (laptop.beside("file"), cloud.beside("got"));
    let content: Vec<u8> = (0..700_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    std::fs::write(&file, &content).unwrap();
    let hash = laptop.json(&["blob", "add", file.to_str().unwrap()])["hash"].as_str().unwrap().to_owned();
    cloud.json(&["blob", "get", &hash, "-o", got.to_str().unwrap()]);
    let seen = |node: &Node| {
        let values = read(node);
        let names = [
            "nexus_blobs",
            "nexus_blob_bytes",
            "nexus_blob_fetches",
            "nexus_blob_fetched_bytes_total",
            "nexus_blob_served_bytes_total",
            "nexus_blob_bad_parts_total",
        ];
        names.map(|name| values[name])
    };
    assert_eq!(seen(&first), [1.0, 7e5, 0.0, 0.0, 7e5, 0.0]);
    assert_eq!(seen(&second), [1.0, 7e5, 0.0, 7e5, 0.0, 0.0]);
    assert!(!second.http("GET", "/metrics", "").body.contains(&hash), "hashes are no labels");
    cloud.json(&["blob", "rm", &hash]);
    assert_eq!(seen(&second)[..2], [0.0, 0.0]);
}
