//! `nexus-fuzz`: any bytes for every decoder that others reach.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use nexus_fuzz::campaign::{Broken, Campaign};
use nexus_fuzz::execution::execute;
use nexus_fuzz::{Target, allocation, corpus, seeds, targets};
use serde_json::{Value, json};

/// Counts, so that an execution's memory is known.
#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;

/// Everything held.
const OK: u8 = 0;
/// An input broke something.
const BROKEN: u8 = 1;
/// The question was wrong.
const USAGE: u8 = 2;

/// The executions between two looks at the clock.
const STEP: u64 = 1_000;
/// The time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Any bytes for every decoder that others reach.
#[derive(Debug, Parser)]
#[command(name = "nexus-fuzz")]
struct Arguments {
    #[command(subcommand)]
    command: FuzzCommand,
    /// The folder of kept inputs [default: that of the repository]
    #[arg(long, global = true, value_name = "FOLDER")]
    corpus: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum FuzzCommand {
    /// Lists the targets, and the number of kept inputs of each.
    List,
    /// Gives a target, or each of them, inputs made from the kept ones.
    Run {
        /// The target [default: all]
        target: Option<String>,
        /// The executions for each target.
        #[arg(long, default_value_t = 100_000)]
        executions: u64,
        /// The seed. The same build makes the same inputs of it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The targets at one time, each in a process of its own.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// One line of JSON for each target at its end, and one for all.
        #[arg(long)]
        json: bool,
    },
    /// Gives a target files, or the kept inputs.
    Replay {
        /// The target [default: all]
        target: Option<String>,
        /// The files [default: the target's folder]
        files: Vec<PathBuf>,
    },
    /// Writes the seeds into the corpus again.
    Seed,
}

fn main() -> ExitCode {
    let Arguments { command, corpus: folder } = Arguments::parse();
    let folder = folder.unwrap_or_else(corpus::folder);
    let done = match command {
        FuzzCommand::List => list(&folder),
        FuzzCommand::Run { target: Some(name), executions, seed, json, .. } => {
            known(&name).and_then(|target| run(target, &folder, executions, seed, json))
        }
        FuzzCommand::Run { target: None, executions, seed, jobs, json } => {
            run_all(&folder, executions, seed, jobs.max(1), json)
        }
        FuzzCommand::Replay { target, files } => replay(&folder, target.as_deref(), &files),
        FuzzCommand::Seed => seeds::write(&folder).map_err(|error| error.to_string()).map(|count| {
            say(&format!("{count} seeds"));
            OK
        }),
    };
    ExitCode::from(done.unwrap_or_else(|what| {
        complain(&format!("error: {what}"));
        USAGE
    }))
}

fn known(name: &str) -> Result<&'static Target, String> {
    targets::named(name).ok_or_else(|| format!("there is no target {name}; `nexus-fuzz list` lists them"))
}

fn kept(folder: &Path, target: &str) -> Result<Vec<corpus::Kept>, String> {
    corpus::read(folder, target).map_err(|error| format!("{}: {error}", folder.join(target).display()))
}

fn list(folder: &Path) -> Result<u8, String> {
    for target in targets::TARGETS {
        say(&format!("{:<14} {:>3} kept inputs", target.name, kept(folder, target.name)?.len()));
    }
    Ok(OK)
}

fn replay(folder: &Path, target: Option<&str>, files: &[PathBuf]) -> Result<u8, String> {
    let chosen = match target {
        Some(name) => vec![known(name)?],
        None => targets::TARGETS.iter().collect(),
    };
    let (mut count, mut broken) = (0, 0);
    for target in chosen {
        let mut inputs = Vec::new();
        for file in files {
            let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
            inputs.push((file.display().to_string(), bytes));
        }
        if files.is_empty() {
            inputs = kept(folder, target.name)?;
        }
        for (name, bytes) in inputs {
            count += 1;
            match execute(target, &bytes) {
                Err(fault) => {
                    broken += 1;
                    complain(&format!("{} {name}: {fault}", target.name));
                }
                Ok(executed) if !files.is_empty() => {
                    let read = if executed.read { "read" } else { "refused" };
                    say(&format!("{} {name}: {read}, {} bytes allocated", target.name, executed.peak_bytes));
                }
                Ok(_) => {}
            }
        }
    }
    say(&format!("{count} inputs, {broken} broken"));
    Ok(if broken == 0 { OK } else { BROKEN })
}

#[expect(clippy::disallowed_methods, reason = "shows how fast it is")]
fn now() -> Instant {
    Instant::now()
}

fn run(target: &Target, folder: &Path, executions: u64, seed: u64, json: bool) -> Result<u8, String> {
    let (began, mut told) = (now(), now());
    let inputs = kept(folder, target.name)?;
    let mut campaign = match Campaign::begin(target, seed, &inputs) {
        Ok(campaign) => campaign,
        Err(broken) => return found(target, folder, &broken, json),
    };
    let mut left = executions;
    while left > 0 {
        let step = left.min(STEP);
        left -= step;
        if let Err(broken) = campaign.run(step) {
            return found(target, folder, &broken, json);
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = now();
            complain(&line(target, &campaign, began.elapsed()));
        }
    }
    let (tally, seconds) = (campaign.tally, began.elapsed().as_secs_f64());
    if json {
        let document = json!({
            "target": target.name,
            "seed": seed,
            "executions": tally.executions,
            "read": tally.read,
            "pool": tally.pool,
            "branches": tally.branches,
            "seconds": seconds,
            "per_second": tally.executions as f64 / seconds,
            "longest_us": u64::try_from(tally.longest.as_micros()).unwrap_or(u64::MAX),
            "peak_bytes": tally.peak_bytes,
            "peak_of_bytes": tally.peak_of_bytes,
            "allowance_used": tally.allowance_used,
            "ok": true,
        });
        say(&document.to_string());
    } else {
        say(&line(target, &campaign, began.elapsed()));
    }
    Ok(OK)
}

fn line(target: &Target, campaign: &Campaign<'_>, time: Duration) -> String {
    let tally = campaign.tally;
    format!(
        "{:<14} {:>9} executions, {:>7.0}/s, {:>2} % read, {} in the pool, {} branches, longest {} us, peak {} bytes of {} \
         ({} % of its allowance at most)",
        target.name,
        tally.executions,
        tally.executions as f64 / time.as_secs_f64(),
        tally.read * 100 / tally.executions.max(1),
        tally.pool,
        tally.branches,
        tally.longest.as_micros(),
        tally.peak_bytes,
        tally.peak_of_bytes,
        tally.allowance_used / 10,
    )
}

/// Keeps an input that broke something, and says how to see it again.
fn found(target: &Target, folder: &Path, broken: &Broken, json: bool) -> Result<u8, String> {
    let name = corpus::crash_name(&broken.bytes);
    let path = corpus::keep(folder, target.name, &name, &broken.bytes).map_err(|error| error.to_string())?;
    complain(&format!("{}: {} ({} bytes)", target.name, broken.fault, broken.bytes.len()));
    complain(&format!("hint: nexus-fuzz replay {} {}", target.name, path.display()));
    if json {
        let fault = broken.fault.to_string();
        say(&json!({ "target": target.name, "fault": fault, "input": path, "ok": false }).to_string());
    }
    Ok(BROKEN)
}

/// A target's process.
struct Running {
    target: &'static Target,
    child: Child,
}

/// Runs each target in a process of its own: a decoder that ends its process, or never ends, ends one alone.
fn run_all(folder: &Path, executions: u64, seed: u64, jobs: usize, json: bool) -> Result<u8, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let began = now();
    let (mut waiting, mut running) = (targets::TARGETS.iter().collect::<Vec<_>>(), Vec::new());
    waiting.reverse();
    let mut outcomes: BTreeMap<&str, Value> = BTreeMap::new();
    while !waiting.is_empty() || !running.is_empty() {
        while running.len() < jobs
            && let Some(target) = waiting.pop()
        {
            let mut command = Command::new(&program);
            command.args(["run", target.name, "--json", "--executions", &executions.to_string()]);
            command.args(["--seed", &seed.to_string(), "--corpus"]).arg(folder);
            let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
            running.push(Running { target, child: child.map_err(|error| error.to_string())? });
        }
        let Some(place) = running.iter_mut().position(|one| !matches!(one.child.try_wait(), Ok(None))) else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let Running { target, child } = running.swap_remove(place);
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let outcome: Option<Value> = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        let outcome = outcome.unwrap_or_else(|| {
            complain(&format!("{}: the process ended without an outcome: {}", target.name, output.status));
            json!({ "target": target.name, "fault": output.status.to_string(), "ok": false })
        });
        if json {
            say(&outcome.to_string());
        } else if outcome["ok"] == true {
            let number = |name: &str| outcome[name].as_f64().unwrap_or(0.0);
            say(&format!(
                "held {:<14} {:>9} executions, {:>7.0}/s, {:>9} read, {:>5} branches, peak {} bytes of {}",
                target.name,
                number("executions"),
                number("per_second"),
                number("read"),
                number("branches"),
                number("peak_bytes"),
                number("peak_of_bytes"),
            ));
        }
        outcomes.insert(target.name, outcome);
    }
    let broken: Vec<&str> =
        outcomes.iter().filter(|(_, outcome)| outcome["ok"] != true).map(|(name, _)| *name).collect();
    let all: u64 = outcomes.values().filter_map(|outcome| outcome["executions"].as_u64()).sum();
    let seconds = began.elapsed().as_secs_f64();
    if json {
        let (targets, ok) = (outcomes.len(), broken.is_empty());
        say(&json!({ "targets": targets, "executions": all, "seconds": seconds, "broken": broken, "ok": ok })
            .to_string());
    } else {
        say(&format!("{} targets, {} broken, {all} executions in {seconds:.0} s", outcomes.len(), broken.len()));
    }
    Ok(if broken.is_empty() { OK } else { BROKEN })
}

/// Prints to stdout.
#[expect(clippy::print_stdout, reason = "the printer")]
fn say(line: &str) {
    println!("{line}");
}

/// Prints to stderr.
#[expect(clippy::print_stderr, reason = "the printer")]
fn complain(line: &str) {
    eprintln!("{line}");
}
