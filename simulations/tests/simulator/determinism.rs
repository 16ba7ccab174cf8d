//! The same seed in two fresh processes gives the same trace, to the last byte that arrived.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Stdio};

use serde_json::Value;

/// Pairs in the short form; `NEXUS_SIM_PAIRS` sets another number, `NEXUS_SIM_FIRST_PAIR` where they begin.
const PAIRS: u64 = 3;

/// Runs one seed in a process of its own. Returns its last line.
fn outcome(run: &str, with: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_nexus-sim"))
        .args(["replay", run, "--json"])
        .args(with)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().last().unwrap_or_else(|| panic!("{run} said nothing: {errors}"));
    let mut value: Value = serde_json::from_str(line).unwrap();
    // real time and memory are this machine's, not the run's
    for own in ["wall_s", "allocated_max_bytes"] {
        value.as_object_mut().unwrap().remove(own);
    }
    value
}

/// promise: Whole networks, by seed | The same seed is the same run, to the last byte that arrives
#[test]
fn the_same_seed_is_the_same_run() {
    let pairs = std::env::var("NEXUS_SIM_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(PAIRS);
    let scenarios = ["anything:4", "laptop-offline:3", "hostile-strangers:3", "lying-disk:3", "join-storm:3"];
    let first = std::env::var("NEXUS_SIM_FIRST_PAIR").ok().and_then(|first| first.parse().ok()).unwrap_or(0);
    for seed in first..first + pairs {
        let scenario = scenarios[usize::try_from(seed).unwrap() % scenarios.len()];
        let run = format!("{scenario}:wire:{}", 1_000 + seed);
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| outcome(&run, &[]));
            // with each signature checked by each node: it makes no difference
            let second = scope.spawn(|| outcome(&run, &["--check-all"]));
            (first.join().unwrap(), second.join().unwrap())
        });
        assert_eq!(first, second, "nexus-sim diff {run} shows where they part");
        assert_eq!(first["trace_hash"].as_str().unwrap().len(), 64);
    }
}

#[test]
fn another_seed_is_another_run() {
    let (one, other) = (outcome("laptop-offline:3:wire:1", &[]), outcome("laptop-offline:3:wire:2", &[]));
    assert_ne!(one["trace_hash"], other["trace_hash"]);
}
