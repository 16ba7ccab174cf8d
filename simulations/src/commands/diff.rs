use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::said::{BROKEN, OK, say};

/// The number of equal lines shown before the first different one.
const BEFORE: usize = 5;

/// Runs the same twice in fresh processes, the second time with the plant, and compares the traces line
/// by line.
pub(super) fn diff(run: &str, plant: Option<&str>) -> Result<u8, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let place = |n: u32| std::env::temp_dir().join(format!("nexus-sim-{}-{n}.trace", std::process::id()));
    let mut running = Vec::new();
    for n in 0..2 {
        let mut command = Command::new(&program);
        command.args(["replay", run, "--json", "--trace"]).arg(place(n));
        if let Some(plant) = plant.filter(|_| n == 1) {
            command.args(["--plant", plant]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        running.push(command.spawn().map_err(|error| error.to_string())?);
    }
    for mut run in running {
        run.wait().map_err(|error| error.to_string())?;
    }
    let lines = |n: u32| {
        let file = std::fs::File::open(place(n)).map_err(|error| error.to_string())?;
        Ok::<_, String>(BufReader::new(file).lines().map_while(Result::ok))
    };
    let (mut first, mut second) = (lines(0)?, lines(1)?);
    let mut before: Vec<String> = Vec::new();
    let mut number = 0_u64;
    let code = loop {
        number += 1;
        match (first.next(), second.next()) {
            (None, None) => {
                say(&format!("{run}: {} lines, all equal", number - 1));
                break OK;
            }
            (a, b) if a == b => {
                if before.len() == BEFORE {
                    before.remove(0);
                }
                before.extend(a);
            }
            (a, b) => {
                say(&format!("{run}: line {number} differs"));
                before.iter().for_each(|line| say(&format!("  {line}")));
                say(&format!("- {}", a.as_deref().unwrap_or("(the end)")));
                say(&format!("+ {}", b.as_deref().unwrap_or("(the end)")));
                break BROKEN;
            }
        }
    };
    for n in 0..2 {
        let _ = std::fs::remove_file(place(n));
    }
    Ok(code)
}

/// Prints the differences between two outcomes.
pub(super) fn compare(a: &Path, b: &Path) -> Result<u8, String> {
    let read = |path: &Path| -> Result<Value, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        serde_json::from_str(line).map_err(|error| format!("{}: {error}", path.display()))
    };
    let (one, other) = (flatten(&read(a)?), flatten(&read(b)?));
    let keys: BTreeSet<&String> = one.iter().chain(&other).map(|(key, _)| key).collect();
    let find = |of: &[(String, String)], key: &str| {
        of.iter().find(|(known, _)| known == key).map_or_else(|| "-".to_owned(), |(_, value)| value.clone())
    };
    let mut differ = false;
    for key in keys {
        let (left, right) = (find(&one, key), find(&other, key));
        if left != right {
            // real time and memory are this machine's, not the run's
            differ |= !key.contains("wall_s") && !key.contains("allocated");
            say(&format!("{key:<32} {left} | {right}"));
        }
    }
    if !differ {
        say("the same happened in both");
    }
    Ok(if differ { BROKEN } else { OK })
}

fn flatten(value: &Value) -> Vec<(String, String)> {
    fn walk(at: &str, value: &Value, into: &mut Vec<(String, String)>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                    walk(&at, value, into);
                }
            }
            value => into.push((at.to_owned(), value.to_string())),
        }
    }
    let mut all = Vec::new();
    walk("", value, &mut all);
    all
}
