//! The program's output and exit codes.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

use nexus_sim::scenario::BUILT_IN;
use serde_json::Value;

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexus-sim")).args(arguments).output().unwrap()
}

#[test]
fn every_scenario_is_listed() {
    let output = sim(&["list"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for (name, _) in BUILT_IN {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}");
    }
}

#[test]
fn a_wrong_question_ends_with_two() {
    for wrong in [
        &["run", "no-such-scenario"][..],
        &["replay", "laptop-offline:three:wire:1"],
        &["fuzz", "--seeds", "9..3"],
        &["run", "laptop-offline", "--nodes", "1"],
        &["dance"],
    ] {
        assert_eq!(sim(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

/// promise: Whole networks, by seed | The log of simulated nodes has their number and virtual time, and changes no run
#[test]
fn simulated_nodes_log_with_virtual_time() {
    let hash = |output: &Output| {
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        line["trace_hash"].clone()
    };
    let run = ["run", "laptop-offline", "--seed", "5", "--json"];
    let (quiet, loud) = (sim(&run), sim(&[&run[..], &["--log", "nexus_node=debug"]].concat()));
    assert_eq!(hash(&quiet), hash(&loud));
    assert!(quiet.stderr.is_empty());
    let log = String::from_utf8(loud.stderr).unwrap();
    let of_nodes: Vec<&str> = log.lines().filter(|line| line.contains("nexus_node")).collect();
    for node in ["n0", "n1", "n2"] {
        assert!(of_nodes.iter().any(|line| line.contains(node)), "{node}: {}", of_nodes.len());
    }
    assert_eq!(sim(&["run", "laptop-offline", "--log", "a=b=c"]).status.code(), Some(2));
}

#[test]
fn a_run_ends_with_one_line_and_leaves_a_page_that_loads_nothing() {
    let page = std::env::temp_dir().join(format!("nexus-sim-test-{}.html", std::process::id()));
    let output = sim(&["run", "laptop-offline", "--seed", "5", "--json", "--report", page.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}");
    assert_eq!(line["run"], "laptop-offline:3:wire:5");
    for member in
        ["scenario", "seed", "fidelity", "nodes", "virtual_s", "wall_s", "trace_hash", "faults_fired", "checks"]
    {
        assert!(!line[member].is_null(), "{member}");
    }
    assert_eq!(line["ok"], true);
    assert!(line["acknowledged"].as_u64().unwrap() >= 1_000, "{line}");
    let html = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_file(&page).unwrap();
    assert!(html.contains("laptop-offline:3:wire:5") && !html.contains("DATA"));
    for loads in ["src=", "href=", "@import", "url(", "fetch("] {
        assert!(!html.contains(loads), "{loads}");
    }
}

#[test]
fn the_study_of_a_partition_shows_agreement_and_one_conflict() {
    let output = Command::new(env!("CARGO_BIN_EXE_partition_study")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("and 1 conflict to settle"), "{said}");
}
