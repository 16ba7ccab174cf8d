//! Three processes under load, killed at random moments. Every acknowledged write is on all of them in
//! the end, and each process comes back by itself.
//!
//! `NEXUS_KILLS=100 cargo test -p nexus-node-cli --test kills memories::` is the long form; `NEXUS_SEED` repeats a run's choices.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::dice::{Dice, from_env};
use crate::support::{self, Home, Node, pair};
use serde_json::{Value, json};

/// Writers per node.
const WRITERS: usize = 3;

/// The acknowledged writes, by id.
#[derive(Default)]
struct Acknowledged {
    texts: BTreeMap<String, String>,
    /// The last acknowledged edit of a memory, and the edit in progress when its node died.
    edited: BTreeMap<String, (String, Option<String>)>,
    forgotten: BTreeSet<String>,
}

/// The address and token of a node's API; `None` while it is down.
type Door = Arc<Mutex<Option<(String, String)>>>;

/// Writes memories, edits and forgets its own, one request at a time, until told to stop.
fn write(name: &str, door: &Door, stop: &AtomicBool, acknowledged: &Mutex<Acknowledged>, seed: u64) {
    let client = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let mut dice = Dice(seed);
    let mut mine: Vec<String> = Vec::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some((url, token)) = door.lock().unwrap().clone() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let bearer = format!("Bearer {token}");
        n += 1;
        let text = format!("{name} {n} {}", "x".repeat(usize::try_from(dice.roll(400)).unwrap()));
        let pick = (!mine.is_empty()).then(|| usize::try_from(dice.roll(mine.len() as u64)).unwrap());
        match (dice.roll(10), pick) {
            (0 | 1, Some(at)) => {
                let id = &mine[at];
                let sent = client
                    .patch(format!("{url}/v1/memories/{id}"))
                    .header("authorization", &bearer)
                    .send_json(json!({ "text": text }));
                let mut all = acknowledged.lock().unwrap();
                match sent {
                    Ok(answer) if answer.status() == 200 => drop(all.edited.insert(id.clone(), (text, None))),
                    // it may hold or not
                    _ => {
                        let before = all.texts[id].clone();
                        all.edited.entry(id.clone()).or_insert((before, None)).1 = Some(text);
                        // its outcome is unknown: the memory is left alone from here on
                        drop(all);
                        mine.swap_remove(at);
                    }
                }
            }
            (2, Some(at)) => {
                let id = mine.swap_remove(at);
                let sent = client.delete(format!("{url}/v1/memories/{id}")).header("authorization", &bearer).call();
                let mut all = acknowledged.lock().unwrap();
                match sent {
                    Ok(answer) if answer.status().is_success() => drop(all.forgotten.insert(id)),
                    _ => {
                        // it may be gone or not, and is no longer checked
                        all.texts.remove(&id);
                        all.edited.remove(&id);
                    }
                }
            }
            _ => {
                let sent = client
                    .post(format!("{url}/v1/memories"))
                    .header("authorization", &bearer)
                    .send_json(json!({ "text": text }));
                if let Ok(mut answer) = sent
                    && answer.status().is_success()
                    && let Ok(written) = answer.body_mut().read_json::<Value>()
                {
                    let id = written["id"].as_str().unwrap().to_owned();
                    acknowledged.lock().unwrap().texts.insert(id.clone(), text);
                    mine.push(id);
                }
            }
        }
    }
}

/// All memories of a node: id to text and version.
fn memories(node: &Node) -> BTreeMap<String, (String, String)> {
    let mut all = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = node.http("GET", &format!("/v1/memories?limit=1000{after}"), "").json();
        for memory in page["items"].as_array().unwrap() {
            let text = |field: &str| memory[field].as_str().unwrap().to_owned();
            all.insert(text("id"), (text("text"), text("version")));
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// promise: The whole | `kill -9` at random moments of any node under load loses nothing acknowledged
#[test]
fn whatever_was_acknowledged_survives_kill_9_at_random_moments_of_any_node() {
    let _alone = crate::support::alone();
    let kills = from_env("NEXUS_KILLS", 20);
    let seed = from_env("NEXUS_SEED", u64::from(std::process::id()));
    eprintln!("NEXUS_KILLS={kills} NEXUS_SEED={seed}");
    let mut dice = Dice(seed);
    let ((one, first), (two, second)) = pair();
    let three = Home::new();
    let ticket = one.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    three.json(&["join", &ticket, "--name", "phone"]);
    let homes = [one, two, three];
    let mut nodes = vec![Some(first), Some(second), Some(homes[2].up())];
    let listen: Vec<Vec<String>> = nodes.iter().flatten().map(Node::listens).collect();

    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    let doors: Vec<Door> = nodes.iter().flatten().map(|node| Arc::new(Mutex::new(Some(node.door())))).collect();
    let mut writers = Vec::new();
    for (n, door) in doors.iter().enumerate() {
        for writer in 0..WRITERS {
            let (door, stop, acknowledged) = (door.clone(), stop.clone(), acknowledged.clone());
            let (name, seed) = (format!("node{n}-{writer}"), dice.roll(u64::MAX));
            writers.push(std::thread::spawn(move || write(&name, &door, &stop, &acknowledged, seed)));
        }
    }

    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        let count = || acknowledged.lock().unwrap().texts.len();
        let (before, started) = (count(), Instant::now());
        // a random moment in the middle of writes
        std::thread::sleep(Duration::from_millis(dice.roll(400)));
        while count() < before + 20 {
            assert!(started.elapsed() < support::SOON, "kill {kill}: nothing is acknowledged");
            std::thread::sleep(Duration::from_millis(1));
        }
        let n = usize::try_from(dice.roll(3)).unwrap();
        nodes[n].take().unwrap().kill_9();
        *doors[n].lock().unwrap() = None;
        // sometimes the others go on without it for a while
        std::thread::sleep(Duration::from_millis([0, 0, 300][usize::try_from(dice.roll(3)).unwrap()]));
        let started = Instant::now();
        let node = homes[n].up_at(&listen[n]);
        slowest = slowest.max(started.elapsed());
        *doors[n].lock().unwrap() = Some(node.door());
        nodes[n] = Some(node);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().unwrap();
    }

    let nodes: Vec<Node> = nodes.into_iter().flatten().collect();
    let all = acknowledged.lock().unwrap();
    let found = converged(&nodes, all.texts.keys().filter(|id| !all.forgotten.contains(*id)).collect());
    for (id, text) in &all.texts {
        let there = found.get(id).map(|(text, _)| text);
        if all.forgotten.contains(id) {
            assert_eq!(there, None, "{id} was forgotten");
        } else if let Some((edited, doubtful)) = all.edited.get(id) {
            assert!(there == Some(edited) || (doubtful.is_some() && there == doubtful.as_ref()), "{id}: {there:?}");
        } else {
            assert_eq!(there, Some(text), "{id}");
        }
    }
    for home in &homes {
        for bad in ["panicked", "fork", "quarantined", "misbehav", "ERROR"] {
            let log = home.log();
            let line = log.lines().find(|line| line.contains(bad));
            assert_eq!(line, None, "a node's log");
        }
    }
    let (written, edited, forgotten) = (all.texts.len(), all.edited.len(), all.forgotten.len());
    eprintln!("{kills} kills; {written} written, {edited} edited, {forgotten} forgotten; slowest start {slowest:?}");
    assert!(written > 50);
}

/// The common content of all nodes, once they agree and have all that they must.
fn converged(nodes: &[Node], wanted: BTreeSet<&String>) -> BTreeMap<String, (String, String)> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let held: Vec<_> = nodes.iter().map(memories).collect();
        let whole = held.iter().all(|held| wanted.iter().all(|id| held.contains_key(*id)));
        if whole && held.windows(2).all(|pair| pair[0] == pair[1]) {
            return held.into_iter().next().unwrap();
        }
        if Instant::now() > end {
            for (n, held) in held.iter().enumerate() {
                let missing: Vec<_> = wanted.iter().filter(|id| !held.contains_key(**id)).take(5).collect();
                eprintln!("node {n}: {} memories, missing {missing:?}", held.len());
            }
            panic!("not converged");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
