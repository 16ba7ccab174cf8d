//! A large file on its way between two processes, of which one is killed: at a random moment, and at each of 20 named ones.
//! The transfer goes on where it was, and the file is the same in the end.
//!
//! `NEXUS_KILLS=20 cargo test -p nexus-node-cli --test kills blobs::` is the long form; `NEXUS_SEED` repeats a run's
//! choices.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::dice::{Dice, from_env};
use crate::support::{Home, Node, pair, until};

const MIB: usize = 1 << 20;

/// promise: Blobs | A transfer goes on where it was after `kill -9` of either side, and what was added stays whole
#[test]
fn a_transfer_goes_on_after_a_kill_of_either_side() {
    let _alone = crate::support::alone();
    let kills = from_env("NEXUS_KILLS", 4);
    let seed = from_env("NEXUS_SEED", u64::from(std::process::id()));
    eprintln!("NEXUS_KILLS={kills} NEXUS_SEED={seed}");
    let mut dice = Dice(seed);
    let ((from, mut provider), (to, mut getter)) = pair();
    let (mut cut, mut kept) = (0, 0);
    for kill in 0..kills {
        let content: Vec<u8> = (0..256 * MIB as u64 / 8)
            .flat_map(|n| (n ^ kill << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        let file = from.beside("file");
        fs::write(&file, &content).unwrap();
        let hash = from.json(&["blob", "add", file.to_str().unwrap()])["hash"].as_str().unwrap().to_owned();
        let got = to.beside("got");
        let mut get = to.command(&["blob", "get", &hash, "-o", got.to_str().unwrap(), "--wait", "60s"]);
        let mut getting = get.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let part = to.path().join("blobs/part").join(&hash);
        let have = part.with_extension("have");
        let is_late = dice.roll(2) == 0;
        until("parts come", || {
            let begun = if is_late { have.exists() } else { part.exists() };
            (begun || getting.try_wait().unwrap().is_some()).then_some(())
        });
        std::thread::sleep(Duration::from_millis(dice.roll(150)));
        let listens = (provider.listens(), getter.listens());
        if dice.roll(2) == 0 {
            provider.kill_9();
            provider = from.up_at(&listens.0);
        } else {
            getter.kill_9();
            cut += u64::from(part.exists());
            kept += u64::from(have.exists());
            getter = to.up_at(&listens.1);
        }
        getting.wait().unwrap();
        to.run(&["blob", "get", &hash, "-o", got.to_str().unwrap(), "--wait", "60s"]).ok();
        assert!(fs::read(&got).unwrap() == content, "another file came");
        assert!(!part.exists() && !have.exists(), "nothing of the transfer is left");
        for home in [&from, &to] {
            home.json(&["blob", "rm", &hash]);
        }
    }
    eprintln!("{kills} kills; {cut} of the getter in the middle, {kept} of them with parts to go on from");
}

/// The longest wait for a moment: the two sides meet again before it.
const MEET: Duration = Duration::from_secs(60);

/// Waits for a moment that is short: [`until`] would miss it.
fn at_once(what: &str, mut is_now: impl FnMut() -> bool) {
    let end = Instant::now() + MEET;
    while !is_now() {
        assert!(Instant::now() < end, "{what}: not within {MEET:?}");
        std::thread::yield_now();
    }
}

/// Two nodes that are connected over TCP: its end tells the other side of a kill at once.
fn tcp_pair() -> ((Home, Node), (Home, Node)) {
    let tcp = ["--listen", "/ip4/127.0.0.1/tcp/0"];
    let (from, to) = (Home::new(), Home::new());
    let provider = from.up_with(&tcp);
    let ticket = from.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    to.json(&["join", &ticket]);
    let getter = to.up_with(&tcp);
    until("the two are connected", || (to.json(&["status"])["peers"] == 1).then_some(()));
    ((from, provider), (to, getter))
}

/// A file that one node gets from another.
struct Transfer {
    hash: String,
    content: Vec<u8>,
    part: PathBuf,
    whole: PathBuf,
    got: PathBuf,
}

impl Transfer {
    /// Adds a file of 256 MiB at one node.
    fn begin(from: &Home, to: &Home, salt: u64) -> Self {
        let content: Vec<u8> = (0..256 * MIB as u64 / 8)
            .flat_map(|n| (n ^ salt << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        let file = from.beside("file");
        fs::write(&file, &content).unwrap();
        let hash = from.json(&["blob", "add", file.to_str().unwrap()])["hash"].as_str().unwrap().to_owned();
        let blobs = to.path().join("blobs");
        let (part, whole) = (blobs.join("part").join(&hash), blobs.join(&hash[..2]).join(&hash));
        Self { hash, content, part, whole, got: to.beside("got") }
    }

    fn get(&self, to: &Home) -> Child {
        let mut get = to.command(&["blob", "get", &self.hash, "-o", self.got.to_str().unwrap(), "--wait", "60s"]);
        get.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The bytes of the parts that are noted as here: the number of its bits after the size, in parts of 256 KiB.
    fn noted(&self) -> u64 {
        if self.whole.exists() {
            return self.content.len() as u64;
        }
        let have = fs::read(self.part.with_extension("have")).unwrap_or_default();
        let parts: u32 = have.iter().skip(8).map(|byte| byte.count_ones()).sum();
        u64::from(parts) * (256 << 10)
    }

    /// Whether so many sixteenths of it are noted, or all is here.
    fn has_sixteenths(&self, count: u64) -> bool {
        self.noted() >= count * (self.content.len() as u64 / 16)
    }

    /// The content is whole, and is there once, without anything that is left of the transfer.
    fn check(&self, to: &Home) {
        assert!(fs::read(&self.got).unwrap() == self.content, "another file came");
        assert!(!self.part.exists() && !self.part.with_extension("have").exists(), "nothing of it is left");
        let listed = to.json(&["blob", "list", "--all"]);
        let same = listed.as_array().unwrap().iter().filter(|blob| blob["hash"] == *self.hash).count();
        assert_eq!(same, 1, "{listed}");
    }
}

/// The bytes that a process has read from files so far. Sockets are read in another way.
fn read_by(node: &Node) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", node.pid())).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// The bytes that a provider may read in vain at a kill: parts on their way, and those that came while others were noted.
const UNNOTED: u64 = 96 * MIB as u64;

/// promise: Blobs | A getter that is killed at 13 named moments, from the first question to the pin of the whole, fetches only what is missing
#[cfg(target_os = "linux")]
#[test]
fn a_getter_killed_at_each_step_goes_on_from_there() {
    let _alone = crate::support::alone();
    let ((from, provider), (to, mut getter)) = tcp_pair();
    let transfer = Transfer::begin(&from, &to, 1);
    let part = &transfer.part;
    let sixteenths = |count| move |transfer: &Transfer| transfer.has_sixteenths(count);
    type Is<'a> = Box<dyn Fn(&Transfer) -> bool + 'a>;
    let moments: [(&str, Is<'_>); 11] = [
        ("it is asked for", Box::new(|_| true)),
        ("its first part comes", Box::new(|_| part.exists() || transfer.whole.exists())),
        ("its first parts are noted", Box::new(sixteenths(1))),
        ("an eighth is noted", Box::new(sixteenths(2))),
        ("a quarter is noted", Box::new(sixteenths(4))),
        ("three eighths are noted", Box::new(sixteenths(6))),
        ("a half is noted", Box::new(sixteenths(8))),
        ("five eighths are noted", Box::new(sixteenths(10))),
        ("three quarters are noted", Box::new(sixteenths(12))),
        ("the last parts come", Box::new(sixteenths(15))),
        ("it has its name", Box::new(|transfer| transfer.whole.exists())),
    ];
    let (mut before, mut cut) = (0, 0);
    for (name, is_now) in moments {
        let listens = getter.listens();
        let mut getting = transfer.get(&to);
        let read = read_by(&provider);
        at_once(name, || is_now(&transfer));
        getter.kill_9();
        getting.wait().unwrap();
        let (sent, noted) = (read_by(&provider) - read, transfer.noted());
        assert!(noted >= before, "{name}: {before} bytes were noted, then {noted}");
        assert!(sent <= noted - before + UNNOTED, "{name}: {sent} bytes were sent, from {before} to {noted}");
        cut += u64::from(!transfer.whole.exists());
        eprintln!("killed when {name}: {} MiB noted, {} MiB were sent", noted >> 20, sent >> 20);
        before = noted;
        getter = to.up_at(&listens);
    }
    assert!(cut >= 6, "{cut} kills came before the end");
    let read = read_by(&provider);
    let mut getting = transfer.get(&to);
    assert!(getting.wait().unwrap().success());
    let sent = read_by(&provider) - read;
    assert!(sent <= transfer.content.len() as u64 - before + UNNOTED / 2, "{sent} bytes were sent, {before} were here");
    transfer.check(&to);
    keeps_its_marks(&to, getter, &transfer);
}

/// The getter is killed while it keeps what came: by a tag, and by a pin.
fn keeps_its_marks(to: &Home, mut getter: Node, transfer: &Transfer) {
    let tag = to.path().join("blobs/tags").join(blake3::hash(b"report").to_string());
    let pin = transfer.whole.with_extension("pin");
    let (has_tag, has_pin) = (|| tag.exists(), || pin.exists());
    let moments: [(_, _, &dyn Fn() -> bool); 2] = [
        ("its tag is set", ["blob", "tag", &transfer.hash, "report"], &has_tag),
        ("its pin is set", ["blob", "pin", &transfer.hash, "--json"], &has_pin),
    ];
    for (name, command, is_now) in moments {
        let listens = getter.listens();
        let mut keeping = to.command(&command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        at_once(name, is_now);
        getter.kill_9();
        keeping.wait().unwrap();
        getter = to.up_at(&listens);
    }
    let listed: Vec<Value> = to.json(&["blob", "list"]).as_array().unwrap().clone();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((&listed[0]["tags"], &listed[0]["pinned"]), (&json!(["report"]), &json!(true)));
    assert_eq!(to.json(&["blob", "gc", "--unused-for", "0s"])["blobs"], 0, "it is kept");
    transfer.check(to);
}

/// promise: Blobs | A provider that is killed at 5 named moments of a transfer holds it up and changes nothing of it
#[cfg(target_os = "linux")]
#[test]
fn a_provider_killed_at_each_step_goes_on_from_there() {
    let _alone = crate::support::alone();
    let ((from, mut provider), (to, _getter)) = tcp_pair();
    let transfer = Transfer::begin(&from, &to, 2);
    let mut getting = transfer.get(&to);
    let mut sent = 0;
    for sixteenths in [0, 4, 8, 12, 15] {
        let listens = provider.listens();
        at_once("some sixteenths", || {
            transfer.has_sixteenths(sixteenths) && (transfer.part.exists() || transfer.whole.exists())
        });
        sent += read_by(&provider);
        provider.kill_9();
        eprintln!("killed at {sixteenths} sixteenths: {} MiB noted", transfer.noted() >> 20);
        provider = from.up_at(&listens);
    }
    assert!(getting.wait().unwrap().success());
    sent += read_by(&provider);
    let size = transfer.content.len() as u64;
    // the first process also read the file to add it, twice at most; each kill lost what was on its way
    assert!(sent <= 3 * size + 5 * UNNOTED, "{sent} bytes were read");
    transfer.check(&to);
}

/// promise: Blobs | A node that is killed at 4 named moments while it adds a file or a long text keeps all of it or nothing
#[cfg(target_os = "linux")]
#[test]
fn an_addition_killed_at_each_step_is_there_or_not() {
    let _alone = crate::support::alone();
    let home = Home::new();
    let mut node = home.up();
    let blobs = home.path().join("blobs");
    let file = home.beside("file");
    let content: Vec<u8> =
        (0..256 * MIB as u64 / 8).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    fs::write(&file, &content).unwrap();
    let hash = blake3::hash(&content).to_string();
    let whole = blobs.join(&hash[..2]).join(&hash);
    let draft = blobs.join("new/0");
    let size = |path: &Path| fs::metadata(path).map_or(0, |about| about.len());
    let moments: [(&str, &dyn Fn() -> bool); 3] = [
        ("it is written to a half", &|| size(&draft) >= content.len() as u64 / 2 || whole.exists()),
        ("it is written", &|| size(&draft) == content.len() as u64 || whole.exists()),
        ("it has its name", &|| whole.exists()),
    ];
    for (name, is_now) in moments {
        let add = ["blob", "add", file.to_str().unwrap(), "--tag", "report"];
        let mut adding = home.command(&add).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        at_once(name, is_now);
        node.kill_9();
        adding.wait().unwrap();
        node = home.up();
        assert!(!draft.exists(), "{name}: the start removes what was half there");
        let listed: Vec<Value> = home.json(&["blob", "list"]).as_array().unwrap().clone();
        eprintln!("killed when {name}: {listed:?}");
        match listed.as_slice() {
            [] => {}
            [blob] => {
                assert_eq!((&blob["hash"], &blob["size"]), (&json!(hash), &json!(content.len())), "{name}");
                assert!(fs::read(&whole).unwrap() == content, "{name}");
            }
            more => panic!("{name}: {more:?}"),
        }
    }
    let tagged = home.json(&["blob", "add", file.to_str().unwrap(), "--tag", "report"]);
    assert_eq!((&tagged["hash"], &tagged["tags"]), (&json!(hash), &json!(["report"])));
    home.json(&["blob", "rm", "report"]);

    // the blob of a long text is there before its memory
    let text: String = (0..200_000).map(|n| format!("Step {n}. ")).collect();
    let text = text.trim_end();
    let hash = blake3::hash(text.as_bytes()).to_string();
    let whole = blobs.join(&hash[..2]).join(&hash);
    let path = home.beside("text");
    fs::write(&path, text).unwrap();
    let mut remember = home.command(&["remember", "-"]);
    remember.stdin(fs::File::open(&path).unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut remembering = remember.spawn().unwrap();
    at_once("the text's blob is there", || whole.exists());
    node.kill_9();
    remembering.wait().unwrap();
    let _node = home.up();
    let memories = home.json(&["list"])["items"].as_array().unwrap().clone();
    eprintln!("killed when the text's blob was there: {} memories", memories.len());
    for memory in &memories {
        assert_eq!(home.json(&["get", memory["id"].as_str().unwrap()])["text"], text);
    }
    // without a memory nothing refers to it
    let gone = home.json(&["blob", "gc", "--unused-for", "0s"])["blobs"].as_u64().unwrap();
    assert_eq!(gone + memories.len() as u64, 1);
}
