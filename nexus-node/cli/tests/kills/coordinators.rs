//! Three processes decide about keys and locks while their leader is killed, stopped and woken, or lost
//! for good.
//!
//! `NEXUS_KILLS=50 NEXUS_STOPS=10 cargo test -p nexus-node-cli --test kills coordinators::` is the long
//! form; `NEXUS_SEED` repeats a run's choices.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::linearizability::{self, Action, Operation, Verdict};
use crate::support::alone;
use crate::support::dice::{Dice, from_env};
use crate::support::{Home, Node, until};
use serde_json::{Value, json};

/// Writers per node.
const WRITERS: usize = 2;
/// Keys in use at one time. They change after each kill, so that a history has few operations of
/// unknown outcome.
const KEYS: u64 = 4;

/// The address and token of a node's API; `None` while it is down.
type Door = Arc<Mutex<Option<(String, String)>>>;

/// Three members of one mesh, and the data for starting each again.
struct Three {
    homes: Vec<Home>,
    nodes: Vec<Option<Node>>,
    listen: Vec<Vec<String>>,
}

impl Three {
    /// Returns when all of them vote.
    fn new() -> Self {
        let home = || Home::new().with("NEXUS_VOTER_SETTLE_MS", "200");
        let homes = vec![home(), home(), home()];
        let mut nodes = vec![homes[0].up_with(&["--name", "one"])];
        for (home, name) in homes[1..].iter().zip(["two", "three"]) {
            let ticket = homes[0].json(&["invite"])["ticket"].as_str().unwrap().to_owned();
            home.json(&["join", &ticket, "--name", name]);
            nodes.push(home.up());
        }
        let listen = nodes.iter().map(Node::listens).collect();
        let three = Self { homes, nodes: nodes.into_iter().map(Some).collect(), listen };
        three.full();
        three
    }

    fn node(&self, n: usize) -> &Node {
        self.nodes[n].as_ref().unwrap()
    }

    fn kill(&mut self, n: usize) {
        self.nodes[n].take().unwrap().kill_9();
    }

    fn start(&mut self, n: usize) {
        self.nodes[n] = Some(self.homes[n].up_at(&self.listen[n]));
    }

    fn seen_by(&self, n: usize) -> Value {
        self.node(n).http("GET", "/v1/coordinator", "").json()
    }

    fn did(&self, n: usize) -> String {
        self.node(n).text("did")
    }

    /// Waits until every node sees three voters that are up.
    fn full(&self) {
        until("three voters", || {
            let full = |n| {
                let seen = self.seen_by(n);
                seen["voters"].as_array().unwrap().len() == 3 && seen["mode"] == "full"
            };
            (0..3).all(full).then_some(())
        });
    }

    /// The leader in the view of these nodes.
    fn leader(&self, among: &[usize]) -> usize {
        until("a leader", || {
            let leaders = among.iter().map(|n| self.seen_by(*n)["leader"].as_str().map(str::to_owned));
            let leaders: Vec<String> = leaders.flatten().collect();
            among.iter().copied().find(|n| leaders.contains(&self.did(*n)))
        })
    }

    /// Each node's own copy once all have applied the same: every key with its revisions.
    fn same_state(&self, keys: &[String]) -> Vec<Value> {
        let copy = |n: usize| {
            let item = |key: &String| {
                let mut item = self.node(n).http("GET", &format!("/v1/kv/{key}?local=true"), "").json();
                item.as_object_mut()
                    .unwrap()
                    .retain(|field, _| !["age_ms", "detail", "instance"].contains(&field.as_str()));
                item
            };
            let before = self.seen_by(n)["applied"].clone();
            let items: Vec<Value> = keys.iter().map(item).collect();
            (before == self.seen_by(n)["applied"]).then_some((before, items))
        };
        let copies = until("all copies are equally far", || {
            let copies: Option<Vec<_>> = (0..3).map(copy).collect();
            copies.filter(|copies| copies.iter().all(|(applied, _)| *applied == copies[0].0))
        });
        for (n, copy) in copies.iter().enumerate() {
            assert_eq!(copy, &copies[0], "the copies of 0 and {n}");
        }
        copies.into_iter().next().unwrap().1
    }

    fn logs_are_quiet(&self) {
        for home in &self.homes {
            let log = home.log();
            let bad = |line: &&str| {
                ["panicked", "fork", "quarantined", "misbehav", "ERROR"].iter().any(|bad| line.contains(bad))
            };
            assert_eq!(log.lines().find(bad), None, "a node's log");
        }
    }
}

/// The clients' views, by key. Time is a common counter: an operation that began after another's end
/// has a larger number.
#[derive(Default)]
struct History {
    clock: AtomicU64,
    next_value: AtomicU64,
    keys: Mutex<BTreeMap<String, Vec<Operation>>>,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

impl History {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Records an operation; with its answer, if there was one, which has a revision.
    fn keep(&self, key: &str, began: u64, action: Action, answer: Option<&Value>) {
        let ended = answer.map(|_| self.tick());
        let counter = if answer.is_some() { &self.acknowledged } else { &self.unknown };
        counter.fetch_add(1, Ordering::SeqCst);
        let revision = answer.and_then(|answer| answer["revision"].as_u64());
        let mut keys = self.keys.lock().unwrap();
        keys.entry(key.to_owned()).or_default().push(Operation { began, ended, action, revision });
    }
}

/// The outcome of one request.
enum RequestOutcome {
    Answer(u16, Value),
    /// It may have been done or not.
    Unknown,
    /// It was not sent, or refused before it could happen.
    Never,
}

fn ask(client: &ureq::Agent, door: &(String, String), method: &str, key: &str, body: Option<Value>) -> RequestOutcome {
    let uri = format!("{}/v1/kv/{key}", door.0);
    let request = ureq::http::Request::builder().method(method).uri(uri);
    let request = request.header("authorization", format!("Bearer {}", door.1));
    let sent = match body {
        Some(body) => client.run(request.header("content-type", "application/json").body(body.to_string()).unwrap()),
        None => client.run(request.body(()).unwrap()),
    };
    match sent {
        Ok(mut answer) => match answer.body_mut().read_json::<Value>() {
            Ok(document) => match answer.status().as_u16() {
                503 if document["code"] == "no_quorum" => RequestOutcome::Never,
                503 | 504 => RequestOutcome::Unknown,
                status => RequestOutcome::Answer(status, document),
            },
            Err(_) => RequestOutcome::Unknown,
        },
        Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => RequestOutcome::Never,
        Err(_) => RequestOutcome::Unknown,
    }
}

fn client() -> ureq::Agent {
    let config =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).http_status_as_error(false);
    config.build().new_agent()
}

fn value_of(item: &Value) -> u64 {
    item["value"].as_str().unwrap().parse().unwrap()
}

/// Reads and writes, one request at a time, until told to stop.
fn work(door: &Door, stop: &AtomicBool, epoch: &AtomicU64, history: &History, seed: u64) {
    let client = client();
    let mut dice = Dice(seed);
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(door) = door.lock().unwrap().clone() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let key = format!("k{}-{}", epoch.load(Ordering::Relaxed), dice.roll(KEYS));
        let value = history.next_value.fetch_add(1, Ordering::SeqCst) + 1;
        let expect = last.get(&key).copied();
        let began = history.tick();
        match dice.roll(10) {
            0..4 => match ask(&client, &door, "PUT", &key, Some(json!({ "value": value.to_string() }))) {
                RequestOutcome::Answer(200, written) => {
                    history.keep(&key, began, Action::Put(value), Some(&written));
                    last.insert(key, value);
                }
                RequestOutcome::Unknown => history.keep(&key, began, Action::Put(value), None),
                RequestOutcome::Never => {}
                RequestOutcome::Answer(status, document) => panic!("put: {status} {document}"),
            },
            4..6 => {
                let mut body = json!({ "value": value.to_string() });
                match expect {
                    Some(expect) => body["expect"] = expect.to_string().into(),
                    None => body["absent"] = true.into(),
                }
                let cas = |done| Action::Cas { expect, value, done };
                match ask(&client, &door, "PUT", &key, Some(body)) {
                    RequestOutcome::Answer(200, written) => {
                        history.keep(&key, began, cas(true), Some(&written));
                        last.insert(key, value);
                    }
                    RequestOutcome::Answer(404 | 409, refusal) => {
                        history.keep(&key, began, cas(false), Some(&refusal));
                        last.remove(&key);
                    }
                    RequestOutcome::Unknown => history.keep(&key, began, cas(true), None),
                    RequestOutcome::Never => {}
                    RequestOutcome::Answer(status, document) => panic!("cas: {status} {document}"),
                }
            }
            6 => match ask(&client, &door, "DELETE", &key, None) {
                RequestOutcome::Answer(200, gone) => history.keep(&key, began, Action::Delete(true), Some(&gone)),
                RequestOutcome::Answer(404, refusal) => {
                    history.keep(&key, began, Action::Delete(false), Some(&refusal))
                }
                RequestOutcome::Unknown => history.keep(&key, began, Action::Delete(true), None),
                RequestOutcome::Never => {}
                RequestOutcome::Answer(status, document) => panic!("delete: {status} {document}"),
            },
            _ => match ask(&client, &door, "GET", &key, None) {
                RequestOutcome::Answer(200, item) => {
                    history.keep(&key, began, Action::Get(Some(value_of(&item))), Some(&item));
                    last.insert(key, value_of(&item));
                }
                RequestOutcome::Answer(404, refusal) => {
                    history.keep(&key, began, Action::Get(None), Some(&refusal));
                    last.remove(&key);
                }
                RequestOutcome::Unknown | RequestOutcome::Never => {}
                RequestOutcome::Answer(status, document) => panic!("get: {status} {document}"),
            },
        }
    }
}

/// promise: Keys and locks | `kill -9` of the leader under load loses nothing; each key stays linearizable
#[test]
fn nothing_acknowledged_is_lost_however_often_the_leader_is_killed_under_load() {
    let _alone = alone();
    let kills = from_env("NEXUS_KILLS", 4);
    let seed = from_env("NEXUS_SEED", u64::from(std::process::id()));
    eprintln!("NEXUS_KILLS={kills} NEXUS_SEED={seed}");
    let mut dice = Dice(seed);
    let mut three = Three::new();
    let (stop, epoch) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let history = Arc::new(History::default());
    let doors: Vec<Door> = (0..3).map(|n| Arc::new(Mutex::new(Some(three.node(n).door())))).collect();
    let mut writers = Vec::new();
    for door in &doors {
        for _ in 0..WRITERS {
            let (door, stop, epoch, history) = (door.clone(), stop.clone(), epoch.clone(), history.clone());
            let seed = dice.roll(u64::MAX);
            writers.push(std::thread::spawn(move || work(&door, &stop, &epoch, &history, seed)));
        }
    }
    let acknowledged = || history.acknowledged.load(Ordering::SeqCst);
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        epoch.fetch_add(1, Ordering::Relaxed);
        let before = acknowledged();
        std::thread::sleep(Duration::from_millis(dice.roll(300)));
        until("something is acknowledged", || (acknowledged() >= before + 30).then_some(()));
        let leader = three.leader(&[0, 1, 2]);
        three.kill(leader);
        *doors[leader].lock().unwrap() = None;
        // sometimes it is back before another is elected, sometimes the two others go on
        if dice.roll(3) > 0 {
            let (before, began) = (acknowledged(), Instant::now());
            until("the others go on", || (acknowledged() >= before + 5).then_some(()));
            slowest = slowest.max(began.elapsed());
        }
        three.start(leader);
        *doors[leader].lock().unwrap() = Some(three.node(leader).door());
        eprintln!("kill {kill}: node {leader}; {} acknowledged", acknowledged());
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().unwrap();
    }
    three.full();

    // the final value is part of each history, as each node reads it
    let keys: Vec<String> = history.keys.lock().unwrap().keys().cloned().collect();
    let client = client();
    for n in 0..3 {
        let door = three.node(n).door();
        for key in &keys {
            let seen = until("a read", || {
                let began = history.tick();
                match ask(&client, &door, "GET", key, None) {
                    RequestOutcome::Answer(200, item) => Some((began, Some(value_of(&item)))),
                    RequestOutcome::Answer(404, _) => Some((began, None)),
                    _ => None,
                }
            });
            history.keep(key, seen.0, Action::Get(seen.1), Some(&Value::Null));
        }
    }
    let all = history.keys.lock().unwrap();
    for (key, operations) in all.iter() {
        let verdict = linearizability::check(operations);
        assert_eq!(verdict, Verdict::Holds, "{key}: {operations:?}");
    }
    let state = three.same_state(&keys);
    let there = state.iter().filter(|item| item.get("revision").is_some()).count();
    three.logs_are_quiet();
    let unknown = history.unknown.load(Ordering::SeqCst);
    eprintln!(
        "{kills} kills of the leader; {} operations acknowledged and {unknown} of unknown outcome on {} keys, {there} of them \
         there in the end; the others went on after {slowest:?} at the latest",
        acknowledged(),
        keys.len(),
    );
}

/// Sends a process a signal.
fn signal(node: &Node, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &node.pid().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Resumes a stopped node at the end of the test, or nobody could end it.
struct Stopped<'a>(&'a Node);

impl<'a> Stopped<'a> {
    fn new(node: &'a Node) -> Self {
        signal(node, "STOP");
        Self(node)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

/// Writes until it is done: during an election a write may be refused.
fn put(node: &Node, key: &str, value: &str) {
    let body = json!({ "value": value }).to_string();
    until("a write", || (node.http("PUT", &format!("/v1/kv/{key}"), &body).status == 200).then_some(()));
}

/// promise: Keys and locks | A leader that was stopped and goes on reads nothing stale, and lets no old token write
#[test]
fn a_leader_that_was_stopped_reads_nothing_stale_and_lets_no_old_token_write() {
    let _alone = alone();
    let three = Three::new();
    let (mut refused, mut read) = (0, 0);
    for round in 0..from_env("NEXUS_STOPS", 2) {
        let (before, after) = (format!("before-{round}"), format!("after-{round}"));
        let leader = three.leader(&[0, 1, 2]);
        let others: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
        let (old, other) = (three.node(leader), three.node(others[0]));
        put(old, "k", &before);
        let lease = until("the lock", || {
            let answer = old.http("POST", "/v1/locks/job/acquire", &json!({ "ttl": "1s", "wait": "10s" }).to_string());
            (answer.status == 200).then(|| answer.json())
        });
        let token = lease["token"].as_u64().unwrap();
        let fenced = json!({ "value": format!("late-{round}"), "fence": token }).to_string();

        let stopped = Stopped::new(old);
        let next = three.leader(&others);
        assert_ne!(next, leader);
        put(other, "k", &after);
        // its lease runs out under the next leader, and another holder writes
        let taken = until("the lock is taken over", || {
            let answer =
                other.http("POST", "/v1/locks/job/acquire", &json!({ "ttl": "30s", "wait": "10s" }).to_string());
            (answer.status == 200).then(|| answer.json())
        });
        let newer = taken["token"].as_u64().unwrap();
        assert!(newer > token, "{newer} after {token}");
        let mine = json!({ "value": &after, "fence": newer }).to_string();
        until("its holder writes", || (other.http("PUT", "/v1/kv/guarded", &mine).status == 200).then_some(()));

        let answers: Vec<_> = std::thread::scope(|scope| {
            // these wait in its sockets until it goes on
            let reads: Vec<_> = (0..8).map(|_| scope.spawn(|| old.http("GET", "/v1/kv/k", ""))).collect();
            let writes: Vec<_> = (0..4).map(|_| scope.spawn(|| old.http("PUT", "/v1/kv/guarded", &fenced))).collect();
            std::thread::sleep(Duration::from_millis(100));
            drop(stopped);
            let mut answers: Vec<_> = (0..20).map(|_| old.http("GET", "/v1/kv/k", "")).collect();
            answers.extend(reads.into_iter().map(|read| read.join().unwrap()));
            for write in writes.into_iter().map(|write| write.join().unwrap()) {
                assert!(write.status == 409 || write.status >= 503, "{write:?}");
            }
            answers
        });
        for answer in answers {
            match answer.status {
                200 => assert_eq!(answer.json()["value"], after, "a stale read"),
                _ => assert_eq!(answer.problem(), "no_quorum"),
            }
            *(if answer.status == 200 { &mut read } else { &mut refused }) += 1;
        }
        let late = until("an answer about the old token", || {
            let late = old.http("PUT", "/v1/kv/guarded", &fenced);
            (late.status < 503).then_some(late)
        });
        assert_eq!(late.problem(), "conflict");
        for n in 0..3 {
            let value = until("a read", || {
                let answer = three.node(n).http("GET", "/v1/kv/guarded", "");
                (answer.status == 200).then(|| answer.json()["value"].clone())
            });
            assert_eq!(value, after);
        }
        let release = json!({ "token": newer }).to_string();
        until("released", || (other.http("POST", "/v1/locks/job/release", &release).status == 200).then_some(()));
        three.full();
    }
    assert!(read > 0);
    eprintln!("{read} reads answered, {refused} refused, none stale");
}

/// promise: Keys and locks | A write is done, refused or unknown; a refused one never happens, and an unknown one is settled by asking
#[test]
fn a_write_whose_end_is_unknown_is_settled_by_asking_and_a_refused_one_never_happens() {
    let _alone = alone();
    let three = Three::new();
    let leader = three.leader(&[0, 1, 2]);
    let (home, node) = (&three.homes[leader], three.node(leader));
    put(node, "k", "before");
    let stopped: Vec<Stopped<'_>> = (0..3).filter(|n| *n != leader).map(|n| Stopped::new(three.node(n))).collect();
    // the leader takes them and hears from nobody
    let (unknown, lock) = std::thread::scope(|scope| {
        let write = scope.spawn(|| home.error(&["kv", "put", "k", "maybe"]));
        let lock = scope.spawn(|| home.error(&["lock", "acquire", "l", "--ttl", "1h"]));
        (write.join().unwrap(), lock.join().unwrap())
    });
    for (code, error) in [&unknown, &lock] {
        assert_eq!((*code, &error["code"]), (9, &json!("outcome_unknown")), "{error}");
    }
    let id = unknown.1["id"].as_str().unwrap();
    assert!(unknown.1["hint"].as_str().unwrap().contains(&format!("kv outcome {id}")), "{}", unknown.1);
    let (code, refused) = home.error(&["kv", "put", "k", "never"]);
    assert_eq!((code, &refused["code"]), (6, &json!("no_quorum")), "{refused}");
    let asked = home.json(&["kv", "outcome", id]);
    assert_eq!((&asked["id"], &asked["outcome"]), (&json!(id), &json!("unknown")), "{asked}");

    drop(stopped);
    let settled = until("a quorum tells", || {
        let asked = home.json(&["kv", "outcome", id]);
        (asked["outcome"] != "unknown").then_some(asked)
    });
    let value = until("a read", || {
        let answer = node.http("GET", "/v1/kv/k", "");
        (answer.status == 200).then(|| answer.json()["value"].clone())
    });
    match settled["outcome"].as_str().unwrap() {
        "done" => assert_eq!(value, "maybe", "{settled}"),
        "refused" => assert_eq!(value, "before", "{settled}"),
        other => panic!("{other}"),
    }
    // for good, also after a restart, and for nobody else
    assert_eq!(home.json(&["kv", "outcome", id])["outcome"], settled["outcome"]);
    let other = &three.homes[(leader + 1) % 3];
    assert_eq!(other.error(&["kv", "outcome", id]).0, 5);
    assert_eq!(other.error(&["kv", "outcome", "nexus-mistyped"]).0, 2);
    until("nobody holds the lock", || home.json(&["lock", "list"]).as_array().unwrap().is_empty().then_some(()));
    three.full();
    let keys = ["k".to_owned()];
    assert_eq!(three.same_state(&keys)[0]["value"], value);
}

/// promise: Keys and locks | A node gets the past before its snapshot from others, and believes no wrong one
/// promise: Keys and locks | After two of three voters are gone for good the third begins anew
#[test]
fn after_two_of_three_are_gone_for_good_the_third_begins_anew_and_takes_the_others_in_again() {
    let _alone = alone();
    let mut three = Three::new();
    put(three.node(0), "kept", "1");
    let (code, error) = three.homes[0].error(&["coordinator", "recover", "--i-understand"]);
    assert_eq!((code, &error["code"]), (7, &json!("conflict")), "{error}");
    // writes in every copy survive the loss of any two
    three.same_state(&["kept".to_owned()]);
    three.kill(1);
    three.kill(2);
    let lost = until("a refusal", || {
        let answer = three.node(0).http("PUT", "/v1/kv/kept", &json!({ "value": "2" }).to_string());
        assert!(answer.status >= 503, "{answer:?}");
        (answer.problem() == "no_quorum").then_some(answer)
    });
    assert_eq!(lost.status, 503);

    let begun = three.homes[0].json(&["coordinator", "recover", "--i-understand"]);
    assert_eq!(begun["generation"], 1, "{begun}");
    let kept = until("a read", || {
        let answer = three.node(0).http("GET", "/v1/kv/kept", "");
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(kept["value"], "1");
    put(three.node(0), "new", "after");

    // a voter that seemed lost comes back with votes of the old group, and then the other
    for n in [1, 2] {
        three.start(n);
        until("it reads what the new group wrote", || {
            let answer = three.node(n).http("GET", "/v1/kv/new", "");
            (answer.status == 200 && answer.json()["value"] == "after").then_some(())
        });
        put(three.node(n), &format!("by-{n}"), "back");
    }
    three.full();
    for n in 0..3 {
        assert_eq!(three.seen_by(n)["generation"], 1);
    }
    let keys = ["by-1", "by-2", "kept", "new"].map(str::to_owned);
    let items = three.same_state(&keys);
    let values: Vec<&str> = items.iter().map(|item| item["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["back", "back", "1", "after"]);

    // the node that began anew is told, and each returned one asked for the whole past and has it
    let head = |n: usize| {
        until("the whole past", || {
            let check = three.homes[n].json(&["audit", "verify"]);
            let others = check["members"].as_array().unwrap();
            let agree = others.len() == 2 && others.iter().all(|other| other["agrees"] == true);
            (check["missing"] == json!([]) && check["first"] == 1 && agree).then(|| check["head"].clone())
        })
    };
    assert_eq!([head(1), head(2)], [head(0), head(0)]);
    let told = three.homes[2].run(&["audit", "--json"]).ok().stdout;
    let mut told = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(told.any(|line| line["action"] == "recover" && line["by"] == three.node(0).ready["did"]));
    three.logs_are_quiet();
}
