//! Rounds of the same work on two pairs of nodes, of which one is attacked.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::args::{Args, Failure};
use crate::attack::{ALL, KINDS};
use crate::honest::{Pair, Work, program};

/// The time for an attacker to connect.
const SETTLE: Duration = Duration::from_secs(1);
/// The memory that the attacked nodes may have beyond half as much again, in MiB.
const MEMORY_CAP: f64 = 64.0;
/// The share of the clean throughput that is asked.
const ASKED: f64 = 0.7;

/// Measures each attack, and all of them in turn.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (rounds, writes) = (args.number("rounds", 5)?, args.number("writes", 10_000)?);
    let names = KINDS.iter().map(|(name, _)| *name).chain([ALL]);
    let wanted: Vec<&str> = match args.text("only") {
        Some(only) => names.filter(|name| only.split(',').any(|wanted| wanted == *name)).collect(),
        None => names.collect(),
    };
    let mut out = std::io::stdout();
    writeln!(
        out,
        "the attacker sleeps whenever it has taken half a core; {rounds} rounds of {writes} writes each, after a quarter of it"
    )?;
    writeln!(
        out,
        "| attack | clean: writes for a second of processor | attacked | ratio | by the clock | a write, p99 | attacker, of a core | memory, MiB |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for kind in wanted {
        let figures = one(kind, rounds, writes)?;
        writeln!(out, "{}", figures.row(kind))?;
        out.flush()?;
    }
    writeln!(out, "asked: a ratio of at least {ASKED}; memory of at most 1.5 x clean + {MEMORY_CAP} MiB")?;
    Ok(())
}

/// Measures one attack on a new pair, beside another new pair.
fn one(kind: &str, rounds: usize, writes: usize) -> Result<Figures, Failure> {
    let (program, dir) = (program()?, tempfile::Builder::new().prefix("nexus-hostile-").tempdir()?);
    let mut clean = Pair::start(&program, &dir.path().join("clean"))?;
    let mut attacked = Pair::start(&program, &dir.path().join("attacked"))?;
    let (ticket, state) = (attacked.here.ticket()?, dir.path().join("attacker"));
    let mut figures = Figures::default();
    for round in 0..rounds {
        if round % 2 == 0 {
            figures.clean.push(warm(&mut clean, writes)?.work(writes)?);
        }
        let state = state.to_str().ok_or("no path")?;
        let nodes = attacked.addresses();
        let attacker = Attacker::start(&["--ticket", &ticket, "--nodes", &nodes, "--state", state, "--kind", kind])?;
        std::thread::sleep(SETTLE);
        warm(&mut attacked, writes)?;
        let (before, begin) = (attacker.processor()?, Instant::now());
        figures.attacked.push(attacked.work(writes)?);
        figures.attacker.push((attacker.processor()? - before) / begin.elapsed().as_secs_f64());
        drop(attacker);
        attacked.rest()?;
        if round % 2 == 1 {
            figures.clean.push(warm(&mut clean, writes)?.work(writes)?);
        }
    }
    figures.writes = writes;
    figures.memory = [clean.memory()?, attacked.memory()?];
    Ok(figures)
}

/// Has a pair work on before it is measured: an attacker that is alone with it takes what nobody else wants.
fn warm(pair: &mut Pair, writes: usize) -> Result<&mut Pair, Failure> {
    pair.work(writes / 4)?;
    Ok(pair)
}

/// The attacker's process, which ends with this one.
struct Attacker(Child);

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Attacker {
    fn start(args: &[&str]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Self(command.arg("attack").args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?))
    }

    /// The processor time so far, in seconds.
    fn processor(&self) -> Result<f64, Failure> {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.0.id()))?;
        Ok(text.split_whitespace().next().ok_or("no schedstat")?.parse::<f64>()? / 1e9)
    }
}

#[derive(Default)]
struct Figures {
    writes: usize,
    clean: Vec<Work>,
    attacked: Vec<Work>,
    attacker: Vec<f64>,
    memory: [f64; 2],
}

impl Figures {
    fn row(&self, kind: &str) -> String {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let writes = self.writes as f64;
        let rate = |works: &[Work], time: fn(&Work) -> f64| median(works.iter().map(|work| writes / time(work)));
        let ratio = |time: fn(&Work) -> f64| {
            median(self.clean.iter().zip(&self.attacked).map(|(clean, attacked)| time(clean) / time(attacked)))
        };
        let (processor, clock) = (|work: &Work| work.processor, |work: &Work| work.seconds);
        let slow = |works: &[Work]| median(works.iter().map(|work| work.slow_ms));
        let verdict = |holds: bool| if holds { "" } else { ": missed" };
        let (of_processor, [calm, peak]) = (ratio(processor), self.memory);
        format!(
            "| {kind} | {:.0} | {:.0} | {of_processor:.2}{} | {:.2} | {:.1} ms, clean {:.1} ms | {:.2} | {peak:.0}, clean {calm:.0}{} |",
            rate(&self.clean, processor),
            rate(&self.attacked, processor),
            verdict(of_processor >= ASKED),
            ratio(clock),
            slow(&self.attacked),
            slow(&self.clean),
            median(self.attacker.iter().copied()),
            verdict(peak <= 1.5 * calm + MEMORY_CAP),
        )
    }
}

fn median(samples: impl Iterator<Item = f64>) -> f64 {
    let mut samples: Vec<f64> = samples.collect();
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}
