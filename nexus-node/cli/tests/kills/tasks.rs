//! Three nodes hand work to each other, while their processes and their workers are killed at random moments. Every task has
//! one end, the same everywhere, and whatever is done once is begun once.
//!
//! `NEXUS_KILLS=200 cargo test -p nexus-node-cli --test kills tasks::` is the long form; `NEXUS_SEED` repeats a run's choices.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::dice::{Dice, from_env};
use crate::support::{HOWEVER_BUSY, Home, Node, pair};
use serde_json::{Value, json};

/// The address and token of a node's API; `None` while it is down.
type Door = Arc<Mutex<Option<(String, String)>>>;

/// The pause between two tasks of a submitter.
const PAUSE: Duration = Duration::from_millis(15);
/// The time without any end after which the rest is given up, once nothing is killed any more.
const NONE_ENDS: Duration = Duration::from_secs(180);

/// Submits tasks, each as often as it takes until the node says that it has it. Returns their ids, and whether each is done
/// once.
fn submit(name: &str, door: &Door, stop: &AtomicBool) -> BTreeMap<String, bool> {
    let client = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let mut submitted = BTreeMap::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let once = n % 2 == 0;
        let mut task = json!({ "capability": "job", "input": n, "once": once, "request": format!("{name}/{n}") });
        if n % 4 == 1 {
            task["heirs"] = json!(["phone"]);
        }
        let id = loop {
            let open = door.lock().unwrap().clone();
            let sent = open.map(|(url, token)| {
                let post = client.post(format!("{url}/v1/tasks")).header("authorization", format!("Bearer {token}"));
                post.send_json(&task)
            });
            if let Some(Ok(mut answer)) = sent
                && answer.status() == 201
                && let Ok(task) = answer.body_mut().read_json::<Value>()
            {
                break task["id"].as_str().unwrap().to_owned();
            }
            // whether the node has it is not known: the same request is the same task
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(submitted.insert(id, once), None, "two requests are two tasks");
        std::thread::sleep(PAUSE);
    }
    submitted
}

/// A worker whose command notes each task that is done once.
fn work(home: &Home, effects: &std::path::Path) -> Child {
    let script = format!("[ -z \"$NEXUS_LOCK\" ] || echo \"$NEXUS_TASK_ID\" >>'{}'; echo true", effects.display());
    let options =
        ["--capability", "job", "--from", "member", "--from", "admin", "--concurrency", "3", "--sandbox", "none"];
    let mut command =
        home.command(&[&["worker"][..], HOWEVER_BUSY, &options[..], &["--", "sh", "-c", &script]].concat());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The state of every task that a node knows.
fn states(node: &Node) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = node.http("GET", &format!("/v1/tasks?limit=1000{after}"), "").json();
        for task in page["items"].as_array().unwrap() {
            all.insert(task["id"].as_str().unwrap().to_owned(), task["state"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// promise: Tasks | `kill -9` at random moments of submitters, workers and coordinators: every task, also with heirs, has one end on all nodes, and what is done once begins once
#[test]
fn every_task_has_one_end_whatever_is_killed() {
    let _alone = crate::support::alone();
    let kills = from_env("NEXUS_KILLS", 12);
    let seed = from_env("NEXUS_SEED", u64::from(std::process::id()));
    eprintln!("NEXUS_KILLS={kills} NEXUS_SEED={seed}");
    let mut dice = Dice(seed);
    let ((one, first), (two, second)) = pair();
    let three = Home::new();
    let ticket = one.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    three.json(&["join", &ticket, "--name", "phone"]);
    let effects = one.beside("effects");
    let homes = [one, two, three];
    // heirs take over while a node is down for longer; the first two learn of it as they start again
    for home in &homes {
        std::fs::write(home.path().join("config.toml"), "task_takeover_ms = 2000\n").unwrap();
    }
    let mut nodes = vec![Some(first), Some(second), Some(homes[2].up())];
    let listen: Vec<Vec<String>> = nodes.iter().flatten().map(Node::listens).collect();
    let mut workers: Vec<Child> = homes.iter().map(|home| work(home, &effects)).collect();

    let stop = Arc::new(AtomicBool::new(false));
    let doors: Vec<Door> = nodes.iter().flatten().map(|node| Arc::new(Mutex::new(Some(node.door())))).collect();
    let submitters = doors.iter().take(2).enumerate().map(|(n, door)| {
        let (door, stop) = (door.clone(), stop.clone());
        std::thread::spawn(move || submit(&format!("submitter-{n}"), &door, &stop))
    });
    let submitters: Vec<_> = submitters.collect();
    for _ in 0..kills {
        // a random moment in the middle of work
        std::thread::sleep(Duration::from_millis(200 + dice.roll(800)));
        let n = usize::try_from(dice.roll(3)).unwrap();
        if dice.roll(2) == 0 {
            workers[n].kill().unwrap();
            workers[n].wait().unwrap();
            workers[n] = work(&homes[n], &effects);
            continue;
        }
        nodes[n].take().unwrap().kill_9();
        *doors[n].lock().unwrap() = None;
        if dice.roll(3) == 0 {
            std::thread::sleep(Duration::from_secs(4));
        }
        let node = homes[n].up_at(&listen[n]);
        *doors[n].lock().unwrap() = Some(node.door());
        nodes[n] = Some(node);
    }
    stop.store(true, Ordering::Relaxed);
    let submitted: BTreeMap<String, bool> =
        submitters.into_iter().flat_map(|submitter| submitter.join().unwrap()).collect();

    let nodes: Vec<Node> = nodes.into_iter().flatten().collect();
    let over = |state: &String| ["succeeded", "unknown"].contains(&state.as_str());
    let (mut end, mut count) = (Instant::now() + NONE_ENDS, 0);
    let ended = loop {
        let all: Vec<BTreeMap<String, String>> = nodes.iter().map(states).collect();
        let whole = all.iter().all(|seen| submitted.keys().all(|id| seen.get(id).is_some_and(over)));
        if whole && all.windows(2).all(|pair| pair[0] == pair[1]) {
            break all.into_iter().next().unwrap();
        }
        // the machine may be slow, so each end that is seen anywhere gives the others more time
        let more: usize = all.iter().map(|seen| seen.values().filter(|state| over(state)).count()).sum();
        if more > count {
            (end, count) = (Instant::now() + NONE_ENDS, more);
        }
        if Instant::now() > end {
            for (node, seen) in nodes.iter().zip(&all) {
                let open = submitted.keys().filter(|id| !seen.get(*id).is_some_and(over));
                for id in open.take(3) {
                    eprintln!("{}: {}", node.ready["did"], node.http("GET", &format!("/v1/tasks/{id}"), "").json());
                }
            }
            panic!("some tasks have no end, or another one elsewhere");
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(
        ended.keys().collect::<BTreeSet<_>>(),
        submitted.keys().collect::<BTreeSet<_>>(),
        "no task came from nowhere"
    );
    let begun = std::fs::read_to_string(&effects).unwrap_or_default();
    let begun: Vec<&str> = begun.lines().collect();
    let different: BTreeSet<&str> = begun.iter().copied().collect();
    assert_eq!(begun.len(), different.len(), "what is done once was begun twice");
    for (id, once) in &submitted {
        assert!(!(*once && ended[id] == "succeeded") || different.contains(id.as_str()), "{id} was never begun");
    }
    for worker in &mut workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let heir = nodes[2].ready["did"].as_str().unwrap().to_owned();
    let page = nodes[2].http("GET", "/v1/tasks?limit=1000", "").json();
    let moved = page["items"].as_array().unwrap().iter().filter(|task| task["settler"] == *heir).count();
    let unknown = ended.values().filter(|state| *state == "unknown").count();
    eprintln!(
        "{kills} kills; {} tasks, {} done once and begun, {moved} settled by an heir, {unknown} unknown",
        submitted.len(),
        begun.len()
    );
    assert!(submitted.len() > 20);
}
