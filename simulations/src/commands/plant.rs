use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use nexus_sim::plants::{ALL, KnownPlant, Plant};
use serde_json::{Value, json};

use super::{BROKEN, OK, WITH_PLANTS, say};

/// The most seeds tried until a plant is caught.
const SEEDS_MAX: u64 = 200;

/// Plants faults one at a time. An invariant must catch each, and the same seeds must be green without it.
pub(super) fn plant(name: &str, jobs: usize, as_json: bool) -> Result<u8, String> {
    let chosen: Vec<&KnownPlant> = ALL.iter().filter(|known| name == "all" || known.name == name).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = ALL.iter().map(|known| known.name).collect();
        return Err(format!("there is no plant {name}, but {}", names.join(", ")));
    }
    if let Some(known) = chosen.iter().find(|known| !known.plant.is_here()) {
        return Err(format!("{} is not in this build; {WITH_PLANTS}", known.name));
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
    let green = |run: (&'static str, u64)| greens.lock().unwrap_or_else(PoisonError::into_inner).get(&run).copied();
    let mut caught = None;
    let mut tried = 0;
    while caught.is_none() && tried < SEEDS_MAX {
        tried += 1;
        // with the plant and, if still unknown, without it: both at once
        let run = (known.scenario, tried);
        let known_green = green(run);
        let (with, without) = std::thread::scope(|scope| {
            let without = known_green.is_none().then(|| scope.spawn(|| broken(known.scenario, tried, None)));
            (broken(known.scenario, tried, Some(known.plant)), without.map(|run| run.join()))
        });
        if let Some(without) = without {
            let broken = without.map_err(|_| "a thread ended".to_owned())??;
            greens.lock().unwrap_or_else(PoisonError::into_inner).insert(run, broken.is_empty());
        }
        let broken = with?;
        let found = known.by.iter().find(|check| broken.iter().any(|broken| broken == **check));
        caught = found.map(|check| (*check, tried));
    }
    let red: Vec<u64> = (1..=tried).filter(|seed| green((known.scenario, *seed)) == Some(false)).collect();
    let line = json!({
        "plant": known.name,
        "area": known.area,
        "scenario": known.scenario,
        "caught": caught.is_some(),
        "by": caught.map(|(check, _)| check),
        "seed": caught.map(|(_, seed)| seed),
        "seeds_tried": tried,
        "green_without": red.is_empty(),
    });
    if as_json {
        say(&line.to_string());
    } else {
        let said = match caught {
            Some((check, seed)) => format!("caught by {check}, seed {seed} of {}", known.scenario),
            None => format!("NOT CAUGHT in {tried} seeds of {}", known.scenario),
        };
        let without = if red.is_empty() { String::new() } else { format!(" (and BROKEN without it: seeds {red:?})") };
        say(&format!("{:<11} {:<24} {said}{without}", known.area, known.name));
    }
    Ok(caught.is_some() && red.is_empty())
}

/// The checks that break.
fn broken(scenario: &str, seed: u64, plant: Option<Plant>) -> Result<Vec<String>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["run", scenario, "--seed", &seed.to_string(), "--json"]);
    if let Some(plant) = plant {
        command.args(["--plant", plant.name()]);
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
