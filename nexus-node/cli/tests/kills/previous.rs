//! Processes of an earlier version and of this one in one mesh, upgraded one by one on their own
//! directories while memories and keys are written on each.
//!
//! `NEXUS_PREVIOUS=path/to/nexus-node cargo test -p nexus-node-cli --test kills previous::` runs it; without the
//! variable there is no earlier program, and it is skipped. `.ci/previous` builds that program.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{self, Home, Node, PROGRAM, until};
use serde_json::{Value, json};

/// Keys of one node in use at a time.
const KEYS: u64 = 8;

/// The address and token of a node's API; `None` while it is down.
type Door = Mutex<Option<(String, String)>>;

/// The texts of a memory, or the values of a key, that may be there in the end: the acknowledged one, and
/// those of unknown outcome.
#[derive(Default)]
struct Possible {
    acknowledged: Option<String>,
    unknown: Vec<String>,
}

impl Possible {
    fn holds(&self, found: Option<&str>) -> bool {
        found == self.acknowledged.as_deref() || found.is_some_and(|found| self.unknown.iter().any(|it| it == found))
    }
}

/// The writes of one node.
#[derive(Default)]
struct Writes {
    door: Door,
    memories: Mutex<BTreeMap<String, Possible>>,
    keys: Mutex<BTreeMap<String, Possible>>,
    /// Acknowledged writes of memories, and of keys.
    count: [AtomicU64; 2],
}

impl Writes {
    fn open(&self, node: &Node) {
        *self.door.lock().unwrap() = Some((format!("http://{}", node.address()), node.token()));
    }

    fn close(&self) {
        *self.door.lock().unwrap() = None;
    }

    /// Waits until some more writes of both kinds are acknowledged.
    fn go_on(&self, name: &str) {
        let count = || [0, 1].map(|kind| self.count[kind].load(Ordering::SeqCst));
        let before = count();
        until(&format!("writes go on at {name}"), || {
            count().iter().zip(before).all(|(now, before)| *now >= before + 5).then_some(())
        });
    }
}

/// Sends a request. `None` if its outcome is unknown.
fn send(client: &ureq::Agent, door: &(String, String), method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", door.0));
    let request = request.header("authorization", format!("Bearer {}", door.1));
    let request = request.header("content-type", "application/json").body(body.to_string()).unwrap();
    let mut answer = client.run(request).ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.body_mut().read_json().ok()?))
}

fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10)));
    config.http_status_as_error(false).build().new_agent()
}

/// Writes with the node's door until told to stop, one request at a time.
fn work(writes: &Writes, stop: &AtomicBool, mut one: impl FnMut(&ureq::Agent, &(String, String), u64)) {
    let client = client();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(door) = writes.door.lock().unwrap().clone() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        one(&client, &door, n);
        n += 1;
        // the load of people, not of a benchmark
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes memories, and edits each once.
fn remember(name: &str, writes: &Writes, stop: &AtomicBool) {
    let mut last: Option<String> = None;
    work(writes, stop, |client, door, n| {
        let text = format!("{name} {n}");
        let Some(id) = last.take() else {
            if let Some((201, written)) = send(client, door, "POST", "/v1/memories", &json!({ "text": text })) {
                let id = written["id"].as_str().unwrap().to_owned();
                let written = Possible { acknowledged: Some(text), unknown: Vec::new() };
                writes.memories.lock().unwrap().insert(id.clone(), written);
                writes.count[0].fetch_add(1, Ordering::SeqCst);
                last = Some(id);
            }
            return;
        };
        let edited = send(client, door, "PATCH", &format!("/v1/memories/{id}"), &json!({ "text": text }));
        let mut all = writes.memories.lock().unwrap();
        let memory = all.get_mut(&id).unwrap();
        match edited {
            Some((200, _)) => memory.acknowledged = Some(text),
            _ => memory.unknown.push(text),
        }
    });
}

/// Writes keys again and again. One whose last write has an unknown outcome is left alone.
fn put(name: &str, writes: &Writes, stop: &AtomicBool) {
    let mut names: Vec<u64> = (0..KEYS).collect();
    work(writes, stop, |client, door, n| {
        let slot = usize::try_from(n % KEYS).unwrap();
        let key = format!("{name}/{}", names[slot]);
        let value = n.to_string();
        let written = send(client, door, "PUT", &format!("/v1/kv/{key}"), &json!({ "value": value }));
        let mut all = writes.keys.lock().unwrap();
        let possible = all.entry(key).or_default();
        match written {
            Some((200, _)) => {
                possible.acknowledged = Some(value);
                writes.count[1].fetch_add(1, Ordering::SeqCst);
            }
            Some((503, _)) | None => {
                possible.unknown.push(value);
                names[slot] += KEYS;
            }
            Some((status, refused)) => panic!("{name}: {status} {refused}"),
        }
    });
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

/// Writes a memory on each node, and waits until each shows all of them.
fn talk(nodes: &[Option<Node>], mark: &str) {
    let nodes: Vec<&Node> = nodes.iter().flatten().collect();
    let written = nodes.iter().enumerate().map(|(n, node)| {
        let answer = node.http("POST", "/v1/memories", &json!({ "text": format!("{mark} {n}") }).to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    });
    let written: BTreeSet<String> = written.collect();
    for (n, node) in nodes.iter().enumerate() {
        until(&format!("{mark}: node {n} has the memories of all"), || {
            written.iter().all(|id| node.http("GET", &format!("/v1/memories/{id}"), "").status == 200).then_some(())
        });
    }
}

fn seen_by(node: &Node) -> Value {
    node.http("GET", "/v1/coordinator", "").json()
}

/// Waits until every node sees three voters that are up.
fn full(nodes: &[Option<Node>]) {
    until("three voters", || {
        let full = |node: &Node| {
            let seen = seen_by(node);
            seen["voters"].as_array().unwrap().len() == 3 && seen["mode"] == "full"
        };
        nodes.iter().flatten().all(full).then_some(())
    });
}

/// The names in a node's warning of members of an older version.
fn old_members(node: &Node) -> Option<String> {
    let status = node.http("GET", "/v1/status", "").json();
    let all = status["warnings"].as_array().unwrap();
    all.iter().find(|it| it["code"] == "old_members").map(|it| it["message"].as_str().unwrap().to_owned())
}

/// The files that hold what a node must not lose.
fn held(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = support::files(&home.path());
    files.retain(|(path, _)| path.extension().is_some_and(|kind| ["redb", "log", "key"].iter().any(|it| kind == *it)));
    files
}

/// promise: The whole | A mesh with processes of an earlier version syncs in both directions, and is upgraded one by one under load; nothing acknowledged is lost (long form)
/// promise: Bad input | An earlier version refuses a newer directory in words, and changes nothing in it (long form)
#[test]
fn a_mesh_of_an_earlier_version_is_upgraded_one_by_one_under_load() {
    let _alone = crate::support::alone();
    let Some(previous) = std::env::var_os("NEXUS_PREVIOUS").map(PathBuf::from) else {
        eprintln!("skipped: NEXUS_PREVIOUS names no program of an earlier version; `.ci/previous` builds one");
        return;
    };
    let home = || Home::new().with("NEXUS_VOTER_SETTLE_MS", "200");
    let mut homes = [home(), home(), home()];
    for old in &mut homes[..2] {
        old.set_program(&previous);
    }
    let names: [&'static str; 3] = ["laptop", "office", "cloud"];
    let mut nodes = vec![Some(homes[0].up_with(&["--name", names[0]]))];
    for (home, name) in homes[1..].iter().zip(&names[1..]) {
        let ticket = homes[0].json(&["invite"])["ticket"].as_str().unwrap().to_owned();
        home.json(&["join", &ticket, "--name", name]);
        nodes.push(Some(home.up()));
    }
    let listen: Vec<Vec<String>> = nodes.iter().flatten().map(Node::listens).collect();
    full(&nodes);
    talk(&nodes, "two of three are old");
    let lease = until("the lock", || {
        let old = nodes[0].as_ref().unwrap();
        let answer = old.http("POST", "/v1/locks/deploy/acquire", &json!({ "ttl": "1h" }).to_string());
        (answer.status == 200).then(|| answer.json())
    });

    let stop = Arc::new(AtomicBool::new(false));
    let writes: Vec<Arc<Writes>> = names.iter().map(|_| Arc::default()).collect();
    let mut writers = Vec::new();
    for ((name, writes), node) in names.into_iter().zip(&writes).zip(nodes.iter().flatten()) {
        writes.open(node);
        for write in [remember, put] {
            let (writes, stop) = (writes.clone(), stop.clone());
            writers.push(std::thread::spawn(move || write(name, &writes, &stop)));
        }
    }
    let go_on = || names.iter().zip(&writes).for_each(|(name, writes)| writes.go_on(name));
    go_on();

    let bytes = json!({ "value_base64": "/wBQTkc=" }).to_string();
    let format = |node: &Node| seen_by(node)["format"].as_u64().unwrap();
    // the format that the earlier version reads
    let mut earlier = 0;
    for n in [1, 0] {
        let newest = nodes[2].as_ref().unwrap();
        earlier = earlier.max(format(newest));
        if earlier == 0 {
            let early = newest.http("PUT", "/v1/kv/bytes", &bytes);
            assert_eq!((early.status, early.problem().as_str()), (501, "not_raised"));
        }
        until("the new node names the old one", || old_members(newest)?.contains(names[n]).then_some(()));
        writes[n].close();
        assert_eq!(nodes[n].take().unwrap().terminate().0, Some(0));
        // the others are two of three
        names.iter().zip(&writes).enumerate().filter(|(at, _)| *at != n).for_each(|(_, (name, it))| it.go_on(name));
        homes[n].set_program(Path::new(PROGRAM));
        nodes[n] = Some(homes[n].up_at(&listen[n]));
        writes[n].open(nodes[n].as_ref().unwrap());
        full(&nodes);
        go_on();
        talk(&nodes, &format!("{} is new", names[n]));
    }
    for node in nodes.iter().flatten() {
        // not before the last one was new
        until("the format is raised", || (format(node) > earlier).then_some(()));
        until("nobody is old", || old_members(node).is_none().then_some(()));
    }
    go_on();
    for node in nodes.iter().flatten() {
        until("bytes are written", || (node.http("PUT", "/v1/kv/bytes", &bytes).status == 200).then_some(()));
        for reader in nodes.iter().flatten() {
            assert_eq!(reader.http("GET", "/v1/kv/bytes", "").json()["value_base64"], "/wBQTkc=");
        }
    }
    talk(&nodes, "all are new");
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());

    let kept = settled(&nodes);
    let [mut texts, mut values] = [0, 0];
    for writes in &writes {
        for (id, possible) in &*writes.memories.lock().unwrap() {
            let there = kept.get(id).map(|(text, _)| text.as_str());
            assert!(possible.holds(there), "{id}: {there:?}");
            texts += 1;
        }
        for (key, possible) in &*writes.keys.lock().unwrap() {
            for node in nodes.iter().flatten() {
                let answer = node.http("GET", &format!("/v1/kv/{key}"), "");
                let there = answer.json()["value"].as_str().map(str::to_owned);
                assert!(possible.holds(there.as_deref()), "{key}: {answer:?}");
            }
            values += 1;
        }
    }
    for (home, node) in homes.iter().zip(nodes.iter().flatten()) {
        let locks = node.http("GET", "/v1/locks", "").json();
        assert_eq!(locks[0]["token"], lease["token"], "{locks}");
        assert!(home.run(&["audit", "verify"]).ok().stdout.starts_with("ok: "));
        let log = home.log();
        let bad =
            |line: &&str| ["panicked", "fork", "quarantined", "misbehav", "ERROR"].iter().any(|it| line.contains(it));
        assert_eq!(log.lines().find(bad), None, "a node's log");
    }

    // back to the earlier version
    assert_eq!(nodes[0].take().unwrap().terminate().0, Some(0));
    let before = held(&homes[0]);
    homes[0].set_program(&previous);
    let told = if earlier == 0 {
        let (code, error) = homes[0].error(&["up", "--no-mdns", "--api-addr", "127.0.0.1:0"]);
        assert_eq!(code, 1, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("this version understands up to"), "{error}");
        assert!(held(&homes[0]) == before, "it changed what it refused: {error}");
        message.to_owned()
    } else {
        // the files of both are of one form: memory goes on, and a critical write goes to a leader that reads it
        let old = homes[0].up();
        assert_eq!(memories(&old), kept);
        let answer = old.http("PUT", "/v1/kv/late", &json!({ "value": "x" }).to_string());
        if answer.status == 200 {
            let newest = nodes[2].as_ref().unwrap();
            assert_eq!(newest.http("GET", "/v1/kv/late", "").json()["value"], "x");
        } else {
            assert_eq!(answer.problem(), "too_new", "{answer:?}");
        }
        assert_eq!(old.terminate().0, Some(0));
        format!("{} to a critical write", answer.status)
    };
    homes[0].set_program(Path::new(PROGRAM));
    nodes[0] = Some(homes[0].up());
    assert_eq!(memories(nodes[0].as_ref().unwrap()), kept);
    eprintln!("{texts} memories and {values} keys written; the earlier version says: {told}");
}

/// The common memories of all nodes, once they agree.
fn settled(nodes: &[Option<Node>]) -> BTreeMap<String, (String, String)> {
    until("all show the same memories", || {
        let mut held: Vec<_> = nodes.iter().flatten().map(memories).collect();
        held.dedup();
        (held.len() == 1).then(|| held.remove(0))
    })
}
