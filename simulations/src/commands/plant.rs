use std::process::{Command, Stdio};

use nexus_sim::plants::Plant;
use serde_json::{Value, json};

use super::{BROKEN, OK, say};

/// Seeds that are tried until a plant is caught.
const SEEDS_MAX: u64 = 200;

/// Plants faults one at a time, and sees whether an invariant catches each; the same seed must
/// be green without it.
pub(super) fn plant(name: &str, as_json: bool) -> Result<u8, String> {
    let known = |plant: &Plant| name == "all" || plant.as_str() == name;
    let chosen: Vec<_> = Plant::ALL.iter().filter(|(plant, ..)| known(plant)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = Plant::ALL.iter().map(|(plant, ..)| plant.as_str()).collect();
        return Err(format!("there is no plant {name}, but {}", names.join(", ")));
    }
    let mut all = true;
    for (plant, scenario, by) in chosen {
        let mut caught = None;
        let mut tried = 0;
        while caught.is_none() && tried < SEEDS_MAX {
            tried += 1;
            let broken = broken(scenario, tried, Some(*plant))?;
            let found = by.iter().find(|check| broken.iter().any(|broken| broken == **check));
            caught = found.map(|check| (*check, tried));
        }
        let green = match caught {
            Some((_, seed)) => broken(scenario, seed, None)?.is_empty(),
            None => false,
        };
        all &= green;
        let line = json!({
            "plant": plant.as_str(),
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
                Some((check, seed)) => format!("caught by {check}, seed {seed} of {scenario}"),
                None => format!("NOT CAUGHT in {tried} seeds of {scenario}"),
            };
            let without = if green || caught.is_none() { "" } else { " (and BROKEN without it)" };
            say(&format!("{:<22} {said}{without}", plant.as_str()));
        }
    }
    Ok(if all { OK } else { BROKEN })
}

/// The checks that break.
fn broken(scenario: &str, seed: u64, plant: Option<Plant>) -> Result<Vec<String>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["run", scenario, "--seed", &seed.to_string(), "--json"]);
    if let Some(plant) = plant {
        command.args(["--plant", plant.as_str()]);
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
