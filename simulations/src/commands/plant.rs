use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use nexus_sim::plants::{ALL, KnownPlant};
use serde_json::{Value, json};

use super::options::has;
use super::said::{BROKEN, OK, WITH_PLANTS, say};

/// The most seeds tried until a plant is caught.
const SEEDS_MAX: u64 = 200;

/// Plants faults one at a time. An invariant must catch each, on a seed that is green without it.
pub(super) fn plant(name: &str, jobs: usize, as_json: bool, wakes: bool) -> Result<u8, String> {
    let chosen: Vec<&KnownPlant> = ALL.iter().filter(|known| name == "all" || known.name == name).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = ALL.iter().map(|known| known.name).collect();
        return Err(format!("there is no plant {name}, but {}", names.join(", ")));
    }
    if let Some(known) = chosen.iter().find(|known| !has(known.plant, wakes)) {
        return Err(format!("{} is not in this program; {WITH_PLANTS}", known.name));
    }
    let (greens, next) = (Mutex::new(BTreeMap::new()), AtomicUsize::new(0));
    let job = || {
        let mut all = true;
        while let Some(known) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            all &= try_one(known, &greens, as_json)?;
        }
        Ok::<bool, String>(all)
    };
    let ended: Vec<_> = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(job)).collect();
        jobs.into_iter().map(|job| job.join().map_err(|_| "a thread ended".to_owned())).collect()
    });
    let mut all = true;
    for job in ended {
        all &= job??;
    }
    Ok(if all { OK } else { BROKEN })
}

/// The runs tried without a plant, and whether they held.
type Greens = Mutex<BTreeMap<(&'static str, u64), bool>>;

fn try_one(known: &KnownPlant, greens: &Greens, as_json: bool) -> Result<bool, String> {
    let mut caught = None;
    let mut tried = 0;
    let others = (1..=SEEDS_MAX).filter(|seed| *seed != known.first_seed);
    for seed in std::iter::once(known.first_seed).chain(others) {
        tried += 1;
        let broken = broken(known.scenario, seed, Some(known))?;
        if let Some(check) = known.by.iter().find(|check| broken.iter().any(|broken| broken == **check)) {
            caught = Some((*check, seed));
            break;
        }
    }
    let green = caught.map_or(Ok(true), |(_, seed)| green((known.scenario, seed), greens))?;
    let line = json!({
        "plant": known.name,
        "area": known.area,
        "scenario": known.scenario,
        "caught": caught.is_some(),
        "by": caught.map(|(check, _)| check),
        "seed": caught.map(|(_, seed)| seed),
        "seeds_tried": tried,
        "green_without": green,
    });
    if as_json {
        say(&line.to_string());
    } else {
        let said = match caught {
            Some((check, seed)) => format!("caught by {check}, seed {seed} of {}", known.scenario),
            None => format!("NOT CAUGHT in {tried} seeds of {}", known.scenario),
        };
        let without = if green { "" } else { " (and BROKEN without it)" };
        say(&format!("{:<11} {:<24} {said}{without}", known.area, known.name));
    }
    Ok(caught.is_some() && green)
}

/// Whether the run holds without a plant.
fn green(run: (&'static str, u64), greens: &Greens) -> Result<bool, String> {
    if let Some(green) = greens.lock().unwrap_or_else(PoisonError::into_inner).get(&run) {
        return Ok(*green);
    }
    let green = broken(run.0, run.1, None)?.is_empty();
    greens.lock().unwrap_or_else(PoisonError::into_inner).insert(run, green);
    Ok(green)
}

/// The checks that break. With a plant the run ends at the first that may catch it.
fn broken(scenario: &str, seed: u64, plant: Option<&KnownPlant>) -> Result<Vec<String>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["run", scenario, "--seed", &seed.to_string(), "--json"]);
    if let Some(known) = plant {
        command.args(["--plant", known.name, "--ends-with", &known.by.join(",")]);
    }
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(line) = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok()) else {
        return Ok(vec!["no outcome".to_owned()]);
    };
    let checks = line["checks"].as_object().into_iter().flatten();
    Ok(checks
        .filter(|(_, said)| said.as_str().is_some_and(|said| said.starts_with("broken")))
        .map(|(check, _)| check.clone())
        .collect())
}
