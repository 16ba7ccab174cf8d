//! Submitters go away again and again, and their heirs take over each time, without a restart of their own.
//!
//! `NEXUS_TAKEOVERS=200 cargo test -p nexus-node-cli --test kills heirs::` is the long form, with eight meshes at once;
//! `NEXUS_SEED` repeats a run's choices.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::dice::{Dice, from_env};
use crate::support::{HOWEVER_BUSY, Home, Node};

/// The most meshes at once, and the takeovers of each before there is another one.
const MESHES_MAX: u64 = 8;
const TAKEOVERS_OF_ONE: u64 = 5;
/// The longest wait for a takeover. The heir takes over after 2 s of silence; a busy machine may be far slower.
const TAKEN_OVER: Duration = Duration::from_secs(120);

/// A submitter, its heir, and a third voter, of one mesh.
struct Mesh {
    laptop: Home,
    heir: Home,
    third: Home,
    /// The addresses of the laptop and of the heir.
    at: [Vec<String>; 2],
    nodes: [Option<Node>; 3],
}

impl Mesh {
    fn new() -> Self {
        let [laptop, heir, third] = std::array::from_fn(|_| Home::new());
        let settings = "task_takeover_ms = 2000\nvoter_settle_ms = 100\n";
        let config = |home: &Home| std::fs::write(home.path().join("config.toml"), settings).unwrap();
        std::fs::create_dir_all(laptop.path()).unwrap();
        config(&laptop);
        let first = laptop.up_with(&["--name", "laptop"]);
        let mut nodes = [Some(first), None, None];
        for (n, (home, name)) in [(&heir, "heir"), (&third, "third")].into_iter().enumerate() {
            let ticket = laptop.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
            home.json(&["join", &ticket, "--name", name]);
            config(home);
            nodes[n + 1] = Some(home.up());
        }
        let at = [0, 1].map(|n| nodes[n].as_ref().unwrap().listens());
        let mesh = Self { laptop, heir, third, at, nodes };
        patient("three voters", || {
            let seen = mesh.laptop.json(&["coordinator"]);
            (seen["voters"].as_array().unwrap().len() == 3 && seen["mode"] == "full").then_some(())
        });
        mesh
    }

    /// A worker that takes tasks of every member.
    fn work(&self) -> Child {
        let options = ["--capability", "job", "--from", "member", "--sandbox", "none"];
        let all = [&["worker"][..], HOWEVER_BUSY, &options[..], &["--", "cat"]].concat();
        let mut command = self.third.command(&all);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// A task of the laptop, once its heir has it.
    fn submitted(&self) -> String {
        let task = json!({ "capability": "job", "input": 1, "heirs": ["heir"] }).to_string();
        let answer = self.nodes[0].as_ref().unwrap().http("POST", "/v1/tasks", &task).json();
        let id = answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        patient("the heir has the task", || {
            (task_of(self.nodes[1].as_ref().unwrap(), &id)["state"] == "pending").then_some(())
        });
        id
    }

    fn is_connected(&self) -> bool {
        let peers = self.heir.json(&["status"])["peers"].as_u64();
        peers == Some(2)
    }

    /// The submitter goes away, its heir takes its task over, and it is back. Returns the time until the takeover.
    fn takeover(&mut self, dice: &mut Dice) -> Duration {
        // a node that starts connects to those that it knows: the heir has dialled the submitter
        if dice.roll(4) > 0 {
            self.nodes[1].take().unwrap().terminate();
            self.nodes[1] = Some(self.heir.up_at(&self.at[1]));
        }
        patient("the heir is connected", || self.is_connected().then_some(()));
        let id = self.submitted();
        let laptop = self.nodes[0].take().unwrap();
        if dice.roll(2) == 0 {
            laptop.kill_9();
        } else {
            laptop.terminate();
        }
        let gone = Instant::now();
        let heir = self.nodes[1].as_ref().unwrap();
        let did = heir.text("did");
        patient("the heir hands the task out", || (task_of(heir, &id)["settler"] == *did).then_some(()));
        let took = gone.elapsed();
        // the worker may take it before the submitter is back, or after
        let mut worker = (dice.roll(2) == 0).then(|| self.work());
        self.nodes[0] = Some(self.laptop.up_at(&self.at[0]));
        let mut worker = worker.take().unwrap_or_else(|| self.work());
        for node in self.nodes.iter().flatten() {
            let over =
                patient("the task has ended", || Some(task_of(node, &id)).filter(|task| task["state"] == "succeeded"));
            let ends = over["events"].as_array().unwrap().iter().filter(|event| event["event"] == "succeeded").count();
            // a busy heir may lose its right again: the attempt is repeated then
            assert_eq!(ends, 1, "{over}");
        }
        worker.kill().unwrap();
        worker.wait().unwrap();
        took
    }
}

/// A task as a node sees it, or an error.
fn task_of(node: &Node, id: &str) -> Value {
    node.http("GET", &format!("/v1/tasks/{id}"), "").json()
}

/// Asks again and again until there is an answer.
#[track_caller]
fn patient<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + TAKEN_OVER;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {TAKEN_OVER:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// promise: Tasks | However often submitters stop or are killed, an heir that runs on takes over each time, and each task ends once on all nodes
#[test]
fn an_heir_takes_over_each_time_its_submitter_goes() {
    let _alone = crate::support::alone();
    let takeovers = from_env("NEXUS_TAKEOVERS", 10);
    let seed = from_env("NEXUS_SEED", u64::from(std::process::id()));
    eprintln!("NEXUS_TAKEOVERS={takeovers} NEXUS_SEED={seed}");
    let meshes = (takeovers / TAKEOVERS_OF_ONE).clamp(1, MESHES_MAX);
    let runs: Vec<_> = (0..meshes)
        .map(|n| {
            std::thread::spawn(move || {
                let (mut mesh, mut dice) = (Mesh::new(), Dice(seed.wrapping_add(n)));
                let share = takeovers / meshes + u64::from(n < takeovers % meshes);
                (0..share).map(|_| mesh.takeover(&mut dice)).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut took: Vec<Duration> = runs.into_iter().flat_map(|run| run.join().unwrap()).collect();
    took.sort_unstable();
    eprintln!(
        "{} takeovers in {meshes} meshes: {:?} at the median, {:?} at most",
        took.len(),
        took[took.len() / 2],
        took.last().unwrap()
    );
    assert_eq!(took.len() as u64, takeovers);
}
