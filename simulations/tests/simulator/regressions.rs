//! Runs that once broke hold now; planted faults are caught.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use serde_json::Value;

/// Runs that once showed a bug: in the node (FINDINGS.md), or in the simulator's own checks.
const RUNS: &[&str] = &[
    // two nodes without a connection of their own: a black hole between them held back nothing
    "anything:5:wire:11",
    // a memory with a key that was forgotten under its other id
    "anything:5:wire:41",
    // a memory with a key that is shown under its other id
    "laptop-offline:3:wire:1",
    // a leader that came back without power read what had been
    "amnesia:3:wire:3",
    // a stream to a machine without power blocked all later ones
    "coordinators:5:wire:27",
    // a change of voters spun
    "coordinators:5:wire:64",
    // a question that was being written while an earlier one was answered blocked all later ones
    "handover:5:wire:173",
    // a copy that was cut off wanted more signatures of a snapshot than its leader had asked for
    "coordinators:5:wire:10",
    // a leader stopped between the two steps of a change of voters, and no other leader did the second
    "rolling-upgrade:5:wire:2",
];

fn sim(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_nexus-sim")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), serde_json::from_str(line).unwrap())
}

/// promise: Whole networks, by seed | Runs that once broke hold
#[test]
fn runs_that_once_broke_hold() {
    for run in RUNS {
        let (code, line) = sim(&["replay", run, "--json"]);
        assert_eq!(code, Some(0), "{line}");
    }
}

/// promise: Whole networks, by seed | Known bugs that are planted are caught, each by an invariant
#[test]
fn what_is_planted_is_caught_and_nothing_is_without_it() {
    // the long form is `nexus-sim plant all`
    for plant in ["never_heals", "papers_for_strangers", "spins"] {
        let (code, line) = sim(&["plant", plant, "--json"]);
        assert_eq!((code, &line["caught"], &line["green_without"]), (Some(0), &true.into(), &true.into()), "{line}");
    }
}

/// promise: Whole networks, by seed | No program that is built to be used contains a planted bug
#[test]
fn nexus_sim_wakes_no_bug_inside_of_a_node() {
    for arguments in [
        &["plant", "skips_gaps"][..],
        &["plant", "all"],
        &["run", "laptop-offline", "--plant", "skips_gaps"],
        &["replay", "laptop-offline:3:wire:1", "--plant", "skips_gaps"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_nexus-sim")).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("--features plants"), "{said}");
    }
}

#[test]
fn the_model_is_the_same_twice() {
    let outcome = || sim(&["run", "thousand", "--nodes", "12", "--seed", "3", "--json"]).1;
    let (one, other) = (outcome(), outcome());
    assert_eq!(one["ok"], true, "{one}");
    assert_eq!(one["trace_hash"], other["trace_hash"]);
}
