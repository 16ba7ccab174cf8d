//! Documents of processes that are killed: in the middle of typing, and while a document begins anew.
//!
//! `NEXUS_KILLS=100 cargo test -p nexus-node-cli --test kills documents::` is the long form; `NEXUS_SEED` repeats a run's choices.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::dice::{Dice, from_env};
use crate::support::{Home, Node, SOON, pair, until};
use serde_json::{Value, json};

/// Writers per node.
const WRITERS: usize = 2;
/// The text that all type into.
const PLACE: &str = "/v1/documents/notes";

/// The address and token of a node's API; `None` while it is down.
type Door = Arc<Mutex<Option<(String, String)>>>;

/// Words, by what is known of them.
#[derive(Default)]
struct Words {
    acknowledged: Vec<String>,
    /// They were sent, and no answer came.
    doubtful: Vec<String>,
}

/// Types words, one request at a time, until told to stop.
fn type_on(name: &str, door: &Door, stop: &AtomicBool, words: &Mutex<Words>) {
    let client = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some((url, token)) = door.lock().unwrap().clone() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        n += 1;
        let word = format!("<{name}.{n}>");
        let sent = client
            .post(format!("{url}{PLACE}/edits"))
            .header("authorization", format!("Bearer {token}"))
            .send_json(json!({ "edits": [{ "text": { "path": "text", "at": 0, "insert": word } }] }));
        match sent {
            Ok(answer) if answer.status() == 200 => words.lock().unwrap().acknowledged.push(word),
            _ => words.lock().unwrap().doubtful.push(word),
        }
    }
}

/// The version and the text of a node.
fn text(node: &Node) -> Option<(String, String)> {
    let answer = node.http("GET", &format!("{PLACE}?path=text"), "");
    let text = |field: &str| answer.json()[field].as_str().map(str::to_owned);
    (answer.status == 200).then(|| Some((text("version")?, text("value")?)))?
}

/// promise: Documents | `kill -9` in the middle of typing loses no letter that was acknowledged, and every node has the same text after it
#[test]
fn letters_that_were_acknowledged_survive_kill_9_in_the_middle_of_typing() {
    let _alone = crate::support::alone();
    let kills = from_env("NEXUS_KILLS", 20);
    let seed = from_env("NEXUS_SEED", u64::from(std::process::id()));
    eprintln!("NEXUS_KILLS={kills} NEXUS_SEED={seed}");
    let mut dice = Dice(seed);
    let ((one, first), (two, second)) = pair();
    one.json(&["doc", "create", "notes"]);
    one.json(&["doc", "set", "notes", "text", "\"\""]);
    until("the other one has it", || text(&second));
    let homes: [Home; 2] = [one, two];
    let mut nodes = vec![Some(first), Some(second)];
    let listen: Vec<Vec<String>> = nodes.iter().flatten().map(Node::listens).collect();

    let stop = Arc::new(AtomicBool::new(false));
    let words = Arc::new(Mutex::new(Words::default()));
    let doors: Vec<Door> = nodes.iter().flatten().map(|node| Arc::new(Mutex::new(Some(node.door())))).collect();
    let mut writers = Vec::new();
    for (n, door) in doors.iter().enumerate() {
        for writer in 0..WRITERS {
            let (door, stop, words) = (door.clone(), stop.clone(), words.clone());
            writers.push(std::thread::spawn(move || type_on(&format!("node{n}-{writer}"), &door, &stop, &words)));
        }
    }
    for kill in 0..kills {
        let count = || words.lock().unwrap().acknowledged.len();
        let before = count();
        until(&format!("kill {kill}: words are acknowledged"), || (count() >= before + 10).then_some(()));
        // a random moment in the middle of writes
        std::thread::sleep(Duration::from_millis(dice.roll(60)));
        let n = usize::try_from(dice.roll(2)).unwrap();
        nodes[n].take().unwrap().kill_9();
        *doors[n].lock().unwrap() = None;
        let node = homes[n].up_at(&listen[n]);
        *doors[n].lock().unwrap() = Some(node.door());
        nodes[n] = Some(node);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().unwrap();
    }

    let nodes: Vec<Node> = nodes.into_iter().flatten().collect();
    let words = words.lock().unwrap();
    let held = |node: &Node| text(node).filter(|(_, text)| words.acknowledged.iter().all(|word| text.contains(word)));
    let (version, whole) = until(&format!("both have all words and equal heads within {SOON:?}"), || {
        let (one, two) = (held(&nodes[0])?, held(&nodes[1])?);
        (one == two).then_some(one)
    });
    for word in &words.acknowledged {
        assert_eq!(whole.matches(word.as_str()).count(), 1, "{word}");
    }
    let mut rest = whole.clone();
    for word in words.acknowledged.iter().chain(&words.doubtful) {
        assert!(whole.matches(word.as_str()).count() <= 1, "{word}");
        rest = rest.replace(word.as_str(), "");
    }
    assert_eq!(rest, "", "nothing is there that nobody typed");
    for (node, home) in nodes.iter().zip(&homes) {
        let read = node.http("GET", PLACE, "").json();
        assert_eq!(
            (&read["version"], &read["missing"], &read["refused"]),
            (&json!(version), &Value::Null, &Value::Null)
        );
        for bad in ["panicked", "fork", "quarantined", "misbehav", "ERROR"] {
            let log = home.log();
            assert_eq!(log.lines().find(|line| line.contains(bad)), None, "a node's log");
        }
    }
    let (acknowledged, doubtful) = (words.acknowledged.len(), words.doubtful.len());
    eprintln!("{kills} kills; {acknowledged} words acknowledged, {doubtful} without an answer");
}

/// promise: Documents | A document whose node is killed while it begins anew has its whole value, under its key
#[test]
fn a_document_that_begins_anew_is_whole_after_kill_9() {
    let _alone = crate::support::alone();
    let kills = from_env("NEXUS_KILLS", 20) / 2;
    let seed = from_env("NEXUS_SEED", u64::from(std::process::id()));
    eprintln!("NEXUS_KILLS={} NEXUS_SEED={seed}", kills * 2);
    let mut dice = Dice(seed);
    let home = Home::new();
    let mut node = home.up();
    // it takes several entries
    let value = json!({ "text": "many letters. ".repeat(5_000), "list": [1, 2, 3] });
    home.json(&["doc", "create", "notes"]);
    assert_eq!(node.http("PATCH", PLACE, &value.to_string()).status, 200);
    let mut whole = 0;
    for kill in 0..kills {
        let (address, token) = node.door();
        let asked = std::thread::spawn(move || {
            let client = ureq::Agent::new_with_defaults();
            let bearer = format!("Bearer {token}");
            let sent =
                client.post(format!("{address}{PLACE}/compact")).header("authorization", bearer).send_json(json!({}));
            sent.is_ok()
        });
        std::thread::sleep(Duration::from_millis(dice.roll(800)));
        node.kill_9();
        whole += usize::from(asked.join().unwrap());
        node = home.up();
        assert_eq!(node.http("GET", PLACE, "").json()["value"], value, "kill {kill}");
    }
    eprintln!("{kills} kills; it began anew {whole} times before");
}
