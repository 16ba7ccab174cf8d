//! Nodes under a harness like Maelstrom. It starts them, and carries every message between them: late,
//! twice or not at all. It cuts them apart, and judges their clients' views.
//!
//! `NEXUS_ROUNDS=20 cargo test --workspace --test programs maelstrom::` cuts more often; `NEXUS_SEED` repeats a run's choices.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::linearizability::{self, Action, Operation, Verdict};
use crate::support::alone;
use crate::support::dice::{Dice, from_env};
use crate::support::{Home, SOON, until};
use serde_json::{Value, json};

/// The longest wait of a client. A node refuses impossible requests sooner.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// The lost messages of a hundred between nodes, and the doubled ones.
const LOST: u64 = 5;
const TWICE: u64 = 5;
/// The longest delay of a message. Its double takes up to twice as long.
const LATE_MS_MAX: u64 = 15;

/// The network between the nodes.
struct Between {
    dice: Dice,
    /// The side of each node; messages stay on their side.
    sides: Vec<u64>,
    lost: u64,
    cut: u64,
    carried: u64,
}

/// A message and its time of arrival, the earliest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay(std::cmp::Reverse<(Instant, u64)>, String, String);

struct Harness {
    children: Vec<Child>,
    homes: Vec<Home>,
    to_router: Sender<Value>,
    between: Arc<Mutex<Between>>,
    clients: Arc<Mutex<BTreeMap<String, Sender<Value>>>>,
    next: AtomicU64,
    workload: &'static str,
}

fn name(node: usize) -> String {
    format!("n{node}")
}

fn number(name: &str) -> Option<usize> {
    name.strip_prefix('n')?.parse().ok()
}

impl Harness {
    /// Starts the nodes and sends each its name.
    fn new(workload: &'static str, nodes: usize) -> Self {
        let seed = from_env("NEXUS_SEED", u64::from(std::process::id()));
        eprintln!("{workload}: NEXUS_SEED={seed}");
        let (to_router, messages) = channel();
        let between = Between { dice: Dice(seed), sides: vec![0; nodes], lost: 0, cut: 0, carried: 0 };
        let (between, clients) = (Arc::new(Mutex::new(between)), Arc::new(Mutex::new(BTreeMap::new())));
        let homes: Vec<Home> = (0..nodes).map(|_| Home::new()).collect();
        let (mut children, mut stdins) = (Vec::new(), Vec::new());
        for home in &homes {
            let log = std::fs::File::create(home.beside("log")).unwrap();
            let mut command: Command = home.command(&["maelstrom", workload]);
            let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
            let mut child = command.spawn().unwrap();
            stdins.push(child.stdin.take().unwrap());
            let stdout = BufReader::new(child.stdout.take().unwrap());
            let to_router = to_router.clone();
            std::thread::spawn(move || {
                for line in stdout.lines() {
                    let message: Value = serde_json::from_str(&line.unwrap()).expect("stdout has messages only");
                    if to_router.send(message).is_err() {
                        return;
                    }
                }
            });
            children.push(child);
        }
        let (network, at) = (between.clone(), clients.clone());
        std::thread::spawn(move || route(&messages, stdins, &network, &at));
        let harness = Self { children, homes, to_router, between, clients, next: AtomicU64::new(0), workload };
        let ids: Vec<String> = (0..nodes).map(name).collect();
        for node in 0..nodes {
            let client = harness.client();
            let init = json!({ "type": "init", "node_id": name(node), "node_ids": ids });
            assert_eq!(client.ask(node, init).expect("an answer")["type"], "init_ok");
        }
        harness
    }

    fn client(&self) -> Client {
        let name = format!("c{}", self.next.fetch_add(1, Ordering::SeqCst));
        let (sender, answers) = channel();
        self.clients.lock().unwrap().insert(name.clone(), sender);
        Client { name, answers, to_router: self.to_router.clone(), next: AtomicU64::new(1) }
    }

    /// Separates the nodes by side.
    fn cut(&self, sides: impl Fn(usize) -> u64) {
        let mut between = self.between.lock().unwrap();
        between.sides = (0..between.sides.len()).map(sides).collect();
    }

    fn heal(&self) {
        self.cut(|_| 0);
    }

    fn nodes(&self) -> usize {
        self.children.len()
    }

    /// Ends the nodes as a harness does, by closing their stdin.
    fn end(mut self) {
        let (nobody, _) = channel();
        let to_router = std::mem::replace(&mut self.to_router, nobody);
        to_router.send(json!("end")).unwrap();
        for child in &mut self.children {
            let ended = until("a node ends", || child.try_wait().unwrap());
            assert!(ended.success(), "{ended}");
        }
        for home in &self.homes {
            let log = home.log();
            assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
        }
        let between = self.between.lock().unwrap();
        let Between { carried, lost, cut, .. } = *between;
        eprintln!("{}: {carried} messages carried, {lost} lost, {cut} kept from the other side", self.workload);
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for home in &self.homes {
                eprintln!("{}", home.log());
            }
        }
    }
}

/// Carries messages until told to end.
fn route(
    messages: &Receiver<Value>,
    mut stdins: Vec<std::process::ChildStdin>,
    between: &Mutex<Between>,
    clients: &Mutex<BTreeMap<String, Sender<Value>>>,
) {
    let mut under_way: BinaryHeap<UnderWay> = BinaryHeap::new();
    for sequence in 0.. {
        let now = Instant::now();
        while under_way.peek().is_some_and(|UnderWay(std::cmp::Reverse((at, _)), ..)| *at <= now) {
            let Some(UnderWay(_, dest, line)) = under_way.pop() else { break };
            // a node that has ended does not read
            let _ = number(&dest).and_then(|node| stdins.get_mut(node)).map(|stdin| writeln!(stdin, "{line}"));
        }
        let wait = under_way.peek().map_or(SOON, |UnderWay(std::cmp::Reverse((at, _)), ..)| *at - now);
        let message = match messages.recv_timeout(wait) {
            Ok(message) if message == "end" => return,
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let (src, dest) = (message["src"].as_str().unwrap(), message["dest"].as_str().unwrap());
        let Some(to) = number(dest) else {
            if let Some(client) = clients.lock().unwrap().get(dest) {
                let _ = client.send(message["body"].clone());
            }
            continue;
        };
        let mut between = between.lock().unwrap();
        let (mut copies, mut late) = (1, Duration::ZERO);
        if let Some(from) = number(src) {
            between.carried += 1;
            if between.sides[from] != between.sides[to] {
                between.cut += 1;
                continue;
            }
            let fate = between.dice.roll(100);
            if fate < LOST {
                between.lost += 1;
                continue;
            }
            copies += u32::from(fate < LOST + TWICE);
            late = Duration::from_millis(between.dice.roll(LATE_MS_MAX));
        }
        for copy in 0..copies {
            let at = now + late * (1 + copy);
            under_way.push(UnderWay(std::cmp::Reverse((at, sequence)), dest.to_owned(), message.to_string()));
        }
    }
}

struct Client {
    name: String,
    answers: Receiver<Value>,
    to_router: Sender<Value>,
    next: AtomicU64,
}

impl Client {
    /// The answer, if there is one in time.
    fn ask(&self, node: usize, mut body: Value) -> Option<Value> {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        body["msg_id"] = id.into();
        self.to_router.send(json!({ "src": self.name, "dest": name(node), "body": body })).unwrap();
        let end = Instant::now() + if body["type"] == "init" { SOON } else { ANSWER_MAX };
        loop {
            let answer = self.answers.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            if answer["in_reply_to"] == id {
                return Some(answer);
            }
        }
    }

    /// The answer, which must be of this type.
    #[track_caller]
    fn asks(&self, node: usize, body: Value, kind: &str) -> Value {
        let answer = self.ask(node, body).expect("an answer");
        assert_eq!(answer["type"], kind, "{answer}");
        answer
    }
}

/// promise: Keys and locks | Maelstrom's workloads hold on a network that loses, doubles and cuts
#[test]
fn a_node_says_again_what_it_is_told_and_refuses_what_it_does_not_know() {
    let _alone = alone();
    let harness = Harness::new("echo", 2);
    let client = harness.client();
    for node in 0..2 {
        let echo = json!({ "deep": [1, "two", null] });
        assert_eq!(client.asks(node, json!({ "type": "echo", "echo": echo }), "echo_ok")["echo"], echo);
        let unknown = client.asks(node, json!({ "type": "frobnicate" }), "error");
        assert_eq!(unknown["code"], 10);
    }
    harness.end();
}

/// promise: Keys and locks | Maelstrom's workloads hold on a network that loses, doubles and cuts
#[test]
fn ids_are_drawn_once_also_by_nodes_that_hear_nothing_of_each_other() {
    let _alone = alone();
    let harness = Harness::new("unique-ids", 3);
    harness.cut(|node| node as u64);
    let client = harness.client();
    let drawn: Vec<Value> =
        (0..90).map(|n| client.asks(n % 3, json!({ "type": "generate" }), "generate_ok")["id"].clone()).collect();
    let different: BTreeSet<String> = drawn.iter().map(Value::to_string).collect();
    assert_eq!(different.len(), drawn.len());
    harness.end();
}

/// Values written on both sides of a cut: all nodes agree on them after it.
fn spread(workload: &'static str, nodes: usize, write: &str, done: &str, field: &str, read: &str) {
    let harness = Harness::new(workload, nodes);
    let client = harness.client();
    let mut wanted = BTreeSet::new();
    let mut say = |node: usize, value: u64| {
        client.asks(node, json!({ "type": write, (field): value }), done);
        wanted.insert(value);
    };
    for value in 0..20 {
        say(usize::try_from(value).unwrap() % nodes, value);
    }
    let values = |client: &Client, node: usize| -> BTreeSet<u64> {
        let answer = client.asks(node, json!({ "type": "read" }), "read_ok");
        answer[read].as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).collect()
    };
    let reader = harness.client();
    until("the values before the cut", || (0..nodes).all(|node| values(&reader, node).len() == 20).then_some(()));
    harness.cut(|node| u64::from(node >= nodes / 2));
    for round in 0..10 {
        say(0, 100 + round);
        say(nodes - 1, 200 + round);
    }
    assert!(values(&reader, 0).iter().all(|value| *value < 200), "the other side's, in spite of the cut");
    assert!(values(&reader, nodes - 1).iter().all(|value| !(100..200).contains(value)));
    // the same value again, on the other side
    say(nodes - 1, 100);
    harness.heal();
    until("all values everywhere", || (0..nodes).all(|node| values(&reader, node) == wanted).then_some(()));
    harness.end();
}

/// promise: Keys and locks | Maelstrom's workloads hold on a network that loses, doubles and cuts
#[test]
fn what_is_broadcast_reaches_every_node_after_the_heal() {
    let _alone = alone();
    spread("broadcast", 5, "broadcast", "broadcast_ok", "message", "messages");
}

/// promise: Keys and locks | Maelstrom's workloads hold on a network that loses, doubles and cuts
#[test]
fn a_set_has_all_elements_on_every_node_after_the_heal() {
    let _alone = alone();
    spread("g-set", 3, "add", "add_ok", "element", "value");
}

/// promise: Keys and locks | Maelstrom's workloads hold on a network that loses, doubles and cuts
#[test]
fn a_counter_is_the_sum_of_what_was_added_on_both_sides_of_a_cut() {
    let _alone = alone();
    let harness = Harness::new("pn-counter", 3);
    let client = harness.client();
    let seed = harness.between.lock().unwrap().dice.roll(u64::MAX);
    let (mut dice, mut sum) = (Dice(seed), 0);
    let mut add = |node: usize| {
        let delta = i64::try_from(dice.roll(21)).unwrap() - 10;
        client.asks(node, json!({ "type": "add", "delta": delta }), "add_ok");
        sum += delta;
    };
    (0..15).for_each(|n| add(n % 3));
    harness.cut(|node| u64::from(node == 0));
    (0..15).for_each(|n| add(n % 3));
    harness.heal();
    (0..3).for_each(&mut add);
    let reader = harness.client();
    let read = |node: usize| reader.asks(node, json!({ "type": "read" }), "read_ok")["value"].as_i64().unwrap();
    until("the sum everywhere", || (0..3).all(|node| read(node) == sum).then_some(()));
    harness.end();
}

/// The clients' views, by key. Time is a common counter.
#[derive(Default)]
struct History {
    clock: AtomicU64,
    next_value: AtomicU64,
    keys: Mutex<BTreeMap<String, Vec<Operation>>>,
    known: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
}

impl History {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn keep(&self, key: &str, began: u64, action: Action, known: bool) {
        let ended = known.then(|| self.tick());
        (if known { &self.known } else { &self.unknown }).fetch_add(1, Ordering::SeqCst);
        self.keys.lock().unwrap().entry(key.to_owned()).or_default().push(Operation {
            began,
            ended,
            action,
            revision: None,
        });
    }

    fn known(&self) -> u64 {
        self.known.load(Ordering::SeqCst)
    }
}

/// Reads and writes, one request at a time, until told to stop.
fn work(client: &Client, nodes: u64, stop: &AtomicBool, epoch: &AtomicU64, history: &History, mut dice: Dice) {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let node = usize::try_from(dice.roll(nodes)).unwrap();
        let key = format!("{}-{}", epoch.load(Ordering::Relaxed), dice.roll(3));
        let value = history.next_value.fetch_add(1, Ordering::SeqCst) + 1;
        let (body, action) = match dice.roll(10) {
            0..4 => (json!({ "type": "read", "key": key }), Action::Get(None)),
            4..7 => (json!({ "type": "write", "key": key, "value": value }), Action::Put(value)),
            _ => {
                let from = last.get(&key).copied().unwrap_or(0);
                let body = json!({ "type": "cas", "key": key, "from": from, "to": value });
                (body, Action::Cas { expect: Some(from), value, done: true })
            }
        };
        let began = history.tick();
        let answer = client.ask(node, body);
        let code = answer.as_ref().and_then(|answer| answer["code"].as_u64());
        match (answer, code, action) {
            (Some(answer), None, Action::Get(_)) => {
                let value = answer["value"].as_u64().unwrap();
                last.insert(key.clone(), value);
                history.keep(&key, began, Action::Get(Some(value)), true);
            }
            (Some(_), Some(20), Action::Get(_)) => history.keep(&key, began, Action::Get(None), true),
            (Some(_), None, action) => {
                last.insert(key.clone(), value);
                history.keep(&key, began, action, true);
            }
            (Some(_), Some(20 | 22), Action::Cas { expect, value, .. }) => {
                history.keep(&key, began, Action::Cas { expect, value, done: false }, true);
            }
            (Some(answer), Some(11), _) => {
                history.refused.fetch_add(1, Ordering::SeqCst);
                // an early refusal is followed by a pause
                if answer["text"].as_str().unwrap().contains("settled") {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            (None, _, Action::Get(_)) => {}
            (None, ..) | (Some(_), Some(0 | 13), _) => history.keep(&key, began, action, false),
            (Some(answer), ..) => panic!("{answer}"),
        }
    }
}

/// promise: Keys and locks | Maelstrom's workloads hold on a network that loses, doubles and cuts
#[test]
fn keys_are_linearizable_while_the_network_cuts_loses_and_doubles() {
    let _alone = alone();
    let harness = Harness::new("lin-kv", 3);
    let nodes = harness.nodes();
    let (stop, epoch) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let history = Arc::new(History::default());
    let roll = |below: u64| harness.between.lock().unwrap().dice.roll(below);
    let workers: Vec<_> = (0..6)
        .map(|_| {
            let (stop, epoch, history) = (stop.clone(), epoch.clone(), history.clone());
            let (client, dice) = (harness.client(), Dice(roll(u64::MAX)));
            std::thread::spawn(move || work(&client, nodes as u64, &stop, &epoch, &history, dice))
        })
        .collect();
    let more = |what: &str, count: u64| {
        let before = history.known();
        until(what, || (history.known() >= before + count).then_some(()));
    };
    more("a beginning", 50);
    let critical_reader = harness.client();
    for round in 0..from_env("NEXUS_ROUNDS", 3) {
        epoch.fetch_add(1, Ordering::Relaxed);
        let away = usize::try_from(roll(nodes as u64)).unwrap();
        harness.cut(|node| u64::from(node == away));
        // the node that is alone decides nothing, and says so
        let answer = critical_reader.ask(away, json!({ "type": "read", "key": "nothing" })).expect("a refusal in time");
        eprintln!("round {round}: {away} is cut off, and says {}", answer["text"]);
        assert_eq!(answer["code"], 11, "{answer}");
        more("the majority goes on", 20);
        harness.heal();
        more("all go on", 20);
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
    for (key, operations) in history.keys.lock().unwrap().iter() {
        assert_eq!(linearizability::check(operations), Verdict::Holds, "{key}: {operations:?}");
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    eprintln!(
        "lin-kv: {} operations known, {} of unknown outcome, {} refused",
        history.known(),
        count(&history.unknown),
        count(&history.refused)
    );
    harness.end();
}
