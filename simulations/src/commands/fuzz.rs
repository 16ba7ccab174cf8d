use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::held::HeldRuns;
use super::options::{RunOptions, plan};
use super::said::{BROKEN, OK, complain, say};

/// The longest real time of a seed; a longer one is a loop without end.
const SEED_MAX: Duration = Duration::from_secs(900);

/// The arguments of `fuzz`.
pub(super) struct Fuzz {
    pub(super) seeds: String,
    pub(super) minutes: Option<u64>,
    pub(super) jobs: usize,
    pub(super) nodes: Option<usize>,
    pub(super) scenario: String,
    pub(super) routing: Option<String>,
    pub(super) into: Option<PathBuf>,
    pub(super) commit: Option<String>,
    pub(super) json: bool,
}

struct Running {
    seed: u64,
    child: Child,
    since: Instant,
    out: std::path::PathBuf,
}

/// The real clock: nothing is simulated in this process.
#[expect(clippy::disallowed_methods, reason = "real time, for limits and for people")]
fn now() -> Instant {
    Instant::now()
}

/// Runs each seed in a fresh process.
pub(super) fn fuzz(fuzz: &Fuzz) -> Result<u8, String> {
    let (first, end) = match fuzz.minutes {
        Some(_) => (1, u64::MAX),
        None => parse_seeds(&fuzz.seeds)?,
    };
    let began = now();
    let until = fuzz.minutes.map(|minutes| began + Duration::from_secs(minutes * 60));
    let mut held = fuzz.into.as_ref().map(|into| HeldRuns::open(into, fuzz.commit.as_deref())).transpose()?;
    let runs = format!(
        "{}:",
        plan(&fuzz.scenario, 0, &RunOptions { nodes: fuzz.nodes, ..RunOptions::default() })?
            .run()
            .trim_end_matches(":0")
    );
    let mut totals = Totals::default();
    let mut next = first;
    let mut running: Vec<Running> = Vec::new();
    loop {
        let more = next < end && until.is_none_or(|until| now() < until);
        if more && held.as_ref().is_some_and(|held| held.has(&format!("{runs}{next}"))) {
            totals.before += 1;
            next += 1;
            continue;
        }
        if more && running.len() < fuzz.jobs {
            running.push(start(fuzz, next)?);
            next += 1;
            continue;
        }
        if running.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        let mut still = Vec::new();
        for mut run in running {
            let ended = run.child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_none() && run.since.elapsed() < SEED_MAX {
                still.push(run);
                continue;
            }
            let _ = run.child.kill();
            let _ = run.child.wait();
            if let (Some(outcome), Some(held)) = (totals.take(fuzz, &run), &mut held) {
                held.keep(&outcome)?;
            }
        }
        running = still;
    }
    totals.show(fuzz, began.elapsed());
    Ok(if totals.broken.is_empty() && totals.seeds + totals.before > 0 { OK } else { BROKEN })
}

fn parse_seeds(seeds: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{seeds} is no range of seeds: A..B");
    let (first, end) = seeds.split_once("..").ok_or_else(wrong)?;
    let range = (first.parse().map_err(|_| wrong())?, end.parse().map_err(|_| wrong())?);
    if range.0 < range.1 { Ok(range) } else { Err(wrong()) }
}

fn start(fuzz: &Fuzz, seed: u64) -> Result<Running, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    // a file, not a pipe: nobody reads during the run
    let out = std::env::temp_dir().join(format!("nexus-sim-{}-{seed}.out", std::process::id()));
    let file = std::fs::File::create(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let errors = file.try_clone().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["run", &fuzz.scenario, "--seed", &seed.to_string(), "--json"]);
    if let Some(nodes) = fuzz.nodes {
        command.args(["--nodes", &nodes.to_string()]);
    }
    if let Some(routing) = &fuzz.routing {
        command.args(["--routing", routing]);
    }
    let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn().map_err(|error| error.to_string())?;
    Ok(Running { seed, child, since: now(), out })
}

#[derive(Default)]
struct Totals {
    seeds: u64,
    /// The number of runs left out, because they held at this commit before.
    before: u64,
    acknowledged: u64,
    fewest: Option<u64>,
    /// The tasks that were done, and the time that they took together, in seconds.
    tasks: u64,
    tasks_s: f64,
    heals: u64,
    fewest_heals: Option<u64>,
    virtual_s: f64,
    /// The number of seeds in which each fault had an effect.
    fired: BTreeMap<String, u64>,
    checks: BTreeMap<String, u64>,
    /// The number of seeds that reached each rare place.
    reached: BTreeMap<String, u64>,
    broken: Vec<String>,
}

impl Totals {
    /// Counts a run that ended; its outcome if everything held.
    fn take(&mut self, fuzz: &Fuzz, run: &Running) -> Option<Value> {
        self.seeds += 1;
        let text = std::fs::read_to_string(&run.out).unwrap_or_default();
        let _ = std::fs::remove_file(&run.out);
        let line: Option<Value> = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        let Some(line) = line else {
            let said: String = text.lines().rev().take(3).collect::<Vec<_>>().join(" / ");
            let name = format!("{} seed {}", fuzz.scenario, run.seed);
            complain(&format!("{name}: no outcome after {:.0} s: {said}", (run.since.elapsed()).as_secs_f64()));
            self.broken.push(name);
            return None;
        };
        if fuzz.json {
            say(&line.to_string());
        }
        let name = line["run"].as_str().unwrap_or_default().to_owned();
        let acknowledged = line["acknowledged"].as_u64().unwrap_or(0);
        self.acknowledged += acknowledged;
        self.fewest = Some(self.fewest.map_or(acknowledged, |fewest| fewest.min(acknowledged)));
        let tasks = line["tasks"]["done"].as_u64().unwrap_or(0);
        self.tasks += tasks;
        #[expect(clippy::cast_precision_loss, reason = "a run has few tasks")]
        {
            self.tasks_s += line["tasks"]["mean_s"].as_f64().unwrap_or(0.0) * tasks as f64;
        }
        let heals = line["heals"].as_u64().unwrap_or(0);
        self.heals += heals;
        self.fewest_heals = Some(self.fewest_heals.map_or(heals, |fewest| fewest.min(heals)));
        self.virtual_s += line["virtual_s"].as_f64().unwrap_or(0.0);
        for fault in line["faults_fired"].as_object().into_iter().flatten() {
            *self.fired.entry(fault.0.clone()).or_default() += 1;
        }
        for place in line["reached"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            *self.reached.entry(place.to_owned()).or_default() += 1;
        }
        for (check, said) in line["checks"].as_object().into_iter().flatten() {
            if said == "held" {
                *self.checks.entry(check.clone()).or_default() += 1;
            } else {
                complain(&format!("{name}: {check} {}", said.as_str().unwrap_or_default()));
            }
        }
        if line["ok"] != true {
            for what in [&line["error"], &line["never_fired"]] {
                if !what.is_null() && what.as_array().is_none_or(|never| !never.is_empty()) {
                    complain(&format!("{name}: {what}"));
                }
            }
            complain(&format!("hint: nexus-sim replay {name}"));
            self.broken.push(name);
            return None;
        }
        if !fuzz.json {
            let (world, here) = (line["virtual_s"].as_f64().unwrap_or(0.0), line["wall_s"].as_f64().unwrap_or(1.0));
            say(&format!("held {name}: {acknowledged} writes, {world:.0} s in {here:.1} s"));
        }
        Some(line)
    }

    /// The mean time of a task until it was done, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "there are few tasks")]
    fn tasks_mean(&self) -> Option<f64> {
        (self.tasks > 0).then(|| self.tasks_s / self.tasks as f64)
    }

    fn show(&self, fuzz: &Fuzz, wall: Duration) {
        if fuzz.json {
            let summary = json!({
                "seeds": self.seeds,
                "held_before": self.before,
                "broken": self.broken,
                "acknowledged": self.acknowledged,
                "fewest_acknowledged": self.fewest,
                "tasks": self.tasks,
                "tasks_mean_s": self.tasks_mean(),
                "heals": self.heals,
                "fewest_heals": self.fewest_heals,
                "virtual_s": self.virtual_s,
                "wall_s": wall.as_secs_f64(),
                "faults_fired_in_seeds": self.fired,
                "checks_held_in_seeds": self.checks,
                "reached_in_seeds": self.reached,
                "ok": self.broken.is_empty(),
            });
            return say(&summary.to_string());
        }
        let (seeds, broken) = (self.seeds, self.broken.len());
        say(&format!("{seeds} seeds, {broken} broken, {:.0} virtual s in {:.0} s", self.virtual_s, wall.as_secs_f64()));
        if self.before > 0 {
            say(&format!("{} seeds held before at this commit", self.before));
        }
        say(&format!(
            "{} writes acknowledged, {} in the seed with the fewest",
            self.acknowledged,
            self.fewest.unwrap_or(0)
        ));
        if let Some(mean) = self.tasks_mean() {
            say(&format!("{} tasks done, {mean:.2} s in the mean", self.tasks));
        }
        say(&format!("{} heals, {} in the seed with the fewest", self.heals, self.fewest_heals.unwrap_or(0)));
        for (fault, count) in &self.fired {
            say(&format!("  {fault:<14} in {count:>4} seeds ({} %)", count * 100 / seeds.max(1)));
        }
        for (check, count) in &self.checks {
            say(&format!("  {check:<14} held in {count:>4}"));
        }
        for (place, count) in &self.reached {
            say(&format!("  reached in {count:>4}: {place}"));
        }
    }
}
