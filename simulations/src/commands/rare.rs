use std::collections::BTreeMap;
use std::path::PathBuf;

use nexus_sim::rare::ALL;
use serde_json::{Value, json};

use super::said::{BROKEN, OK, say};

/// Shows how many runs of some records reached each rare place. [`BROKEN`] if none reached one of them.
///
/// # Errors
/// If a record cannot be read, or no run in it notes what it reached.
pub(super) fn rare(records: &[PathBuf], as_json: bool) -> Result<u8, String> {
    let (mut runs, mut reached) = (0_u64, BTreeMap::<String, u64>::new());
    for record in records {
        let text = std::fs::read_to_string(record).map_err(|error| format!("{}: {error}", record.display()))?;
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let Some(places) = line["reached"].as_array() else { continue };
            runs += 1;
            for place in places.iter().filter_map(Value::as_str) {
                *reached.entry(place.to_owned()).or_default() += 1;
            }
        }
    }
    if runs == 0 {
        return Err("no run of these records notes what it reached: build nexus-sim with --features plants".to_owned());
    }
    let count = |name: &str| reached.get(name).copied().unwrap_or(0);
    let never: Vec<_> = ALL.iter().filter(|place| count(place.name) == 0).collect();
    if as_json {
        let counts: BTreeMap<&str, u64> = ALL.iter().map(|place| (place.name, count(place.name))).collect();
        let names: Vec<&str> = never.iter().map(|place| place.name).collect();
        say(&json!({ "runs": runs, "reached_in_runs": counts, "never": names }).to_string());
    } else {
        say(&format!("{runs} runs reached {} of {} rare places", ALL.len() - never.len(), ALL.len()));
        for place in ALL.iter().filter(|place| count(place.name) > 0) {
            say(&format!("  in {:>5} runs  {}", count(place.name), place.name));
        }
        for place in &never {
            say(&format!("  NEVER          {}: {}", place.name, place.about));
        }
    }
    Ok(if never.is_empty() { OK } else { BROKEN })
}
