//! Two honest nodes as processes, and their work.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

use crate::args::Failure;

/// Connections that write at the same time.
const CALLERS: usize = 16;
/// The longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(120);

/// Two members that are connected with each other.
pub(crate) struct Pair {
    pub(crate) here: Node,
    there: Node,
    /// The memories written so far.
    written: usize,
}

/// The work of both nodes for some writes.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// Until the last write was held by both.
    pub(crate) seconds: f64,
    /// The time of both processors, in seconds.
    pub(crate) processor: f64,
    /// Until one write was acknowledged: of 100, 99 were faster.
    pub(crate) slow_ms: f64,
}

impl Pair {
    pub(crate) fn start(program: &Path, dir: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(dir)?;
        let here = Node::start(program, &dir.join("here"))?;
        let ticket = here.ticket()?;
        let there = dir.join("there");
        let joined = command(program, &there).args(["join", &ticket, "--name", "there"]).output()?;
        if !joined.status.success() {
            return Err(String::from_utf8_lossy(&joined.stderr).into_owned().into());
        }
        let there = Node::start(program, &there)?;
        let mut pair = Self { here, there, written: 0 };
        pair.work(CALLERS)?;
        Ok(pair)
    }

    /// The addresses of both, for one who dials them.
    pub(crate) fn addresses(&self) -> String {
        [self.here.listen.as_str(), &self.there.listen].join(",")
    }

    /// Has callers write to both nodes until so many memories are acknowledged, and waits until each holds the other's.
    pub(crate) fn work(&mut self, writes: usize) -> Result<Work, Failure> {
        let before = self.processor()?;
        let begin = Instant::now();
        let (pair, next, end) = ([&self.here, &self.there], AtomicUsize::new(self.written), self.written + writes);
        let (mut took, mut last) = (Vec::new(), [Vec::new(), Vec::new()]);
        std::thread::scope(|scope| {
            let callers = (0..CALLERS).map(|caller| {
                let (node, next) = (pair[caller % pair.len()], &next);
                scope.spawn(move || node.write(next, end))
            });
            for (caller, thread) in callers.collect::<Vec<_>>().into_iter().enumerate() {
                let (milliseconds, id) = thread.join().map_err(|_| "a caller ended")??;
                took.extend(milliseconds);
                last[caller % pair.len()].extend(id);
            }
            Ok::<(), Failure>(())
        })?;
        self.written = end;
        // those of each node are in one log: whoever has the last ones has all
        let [of_here, of_there] = last;
        self.there.until_held(&of_here)?;
        self.here.until_held(&of_there)?;
        let seconds = begin.elapsed().as_secs_f64();
        took.sort_by(f64::total_cmp);
        let slow_ms = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
        Ok(Work { seconds, processor: self.processor()? - before, slow_ms })
    }

    fn processor(&self) -> Result<f64, Failure> {
        Ok(self.here.processor()? + self.there.processor()?)
    }

    /// Waits until both nodes have nothing to do.
    pub(crate) fn rest(&self) -> Result<(), Failure> {
        const LOOK_EVERY: Duration = Duration::from_millis(500);
        let end = Instant::now() + DEADLINE;
        loop {
            let before = self.processor()?;
            std::thread::sleep(LOOK_EVERY);
            if self.processor()? - before < LOOK_EVERY.as_secs_f64() / 10.0 {
                return Ok(());
            }
            if Instant::now() > end {
                return Err("the nodes come to no rest".into());
            }
        }
    }

    /// The most memory of either so far, in MiB.
    pub(crate) fn memory(&self) -> Result<f64, Failure> {
        Ok(self.here.memory()?.max(self.there.memory()?))
    }
}

/// A node as a process, which ends with this one.
pub(crate) struct Node {
    process: Child,
    api: String,
    token: String,
    /// An address at which it can be dialled.
    listen: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Node {
    fn start(program: &Path, dir: &Path) -> Result<Self, Failure> {
        let mut command = command(program, dir);
        command.args(["up", "--no-mdns", "--api-addr", "127.0.0.1:0", "--until-stdin-closes"]);
        command.args(["--listen", "/ip4/127.0.0.1/tcp/0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(File::create(dir.with_extension("log"))?).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("no line of a node that is ready");
        let (api, listen) = (text(&ready["api"])?, text(&ready["listen"][0])?);
        let token = std::fs::read_to_string(dir.join("api-token"))?.trim().to_owned();
        Ok(Self { process, api, token, listen })
    }

    /// A ticket for two members: the other honest one, and the attacker.
    pub(crate) fn ticket(&self) -> Result<String, Failure> {
        let agent = Agent::new_with_defaults();
        let body = json!({ "uses": 2 }).to_string();
        let answer =
            agent.post(self.url("/v1/invite")).header("Authorization", &self.proof()).content_type("application/json");
        let answer: Value = serde_json::from_str(&answer.send(body)?.body_mut().read_to_string()?)?;
        Ok(answer["ticket"].as_str().ok_or("no ticket")?.to_owned())
    }

    /// Writes memories one after the other, until all callers together have so many. Returns the milliseconds of each,
    /// and the id of the last.
    fn write(&self, next: &AtomicUsize, end: usize) -> Result<(Vec<f64>, Option<String>), Failure> {
        let (agent, mut took, mut last) = (Agent::new_with_defaults(), Vec::new(), String::new());
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= end {
                break;
            }
            let body = json!({ "text": format!("honest {}", crate::text::text(n)) }).to_string();
            let begin = Instant::now();
            let answer = agent.post(self.url("/v1/memories")).header("Authorization", &self.proof());
            last = answer.content_type("application/json").send(body)?.body_mut().read_to_string()?;
            took.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        if took.is_empty() {
            return Ok((took, None));
        }
        let written: Value = serde_json::from_str(&last)?;
        Ok((took, Some(written["id"].as_str().ok_or("no id")?.to_owned())))
    }

    /// Waits until this node shows these memories.
    fn until_held(&self, ids: &[String]) -> Result<(), Failure> {
        let (agent, end) = (Agent::new_with_defaults(), Instant::now() + DEADLINE);
        for id in ids {
            let url = self.url(&format!("/v1/memories/{id}"));
            while agent.get(&url).header("Authorization", &self.proof()).call().is_err() {
                if Instant::now() > end {
                    return Err("a write was not replicated in time".into());
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api)
    }

    fn proof(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// The processor time so far, in seconds: fields 14 and 15 of `stat`, in hundredths.
    fn processor(&self) -> Result<f64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("no stat")?;
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let seconds = ticks as f64 / 100.0;
        Ok(seconds)
    }

    fn memory(&self) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no status")?;
        Ok(peak.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1024.0)
    }
}

fn command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--json").arg("--data-dir").arg(dir);
    command
}

/// The program of a node beside this one.
pub(crate) fn program() -> Result<PathBuf, Failure> {
    Ok(std::env::current_exe()?.with_file_name("nexus-node"))
}
