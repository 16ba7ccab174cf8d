//! Tools for understanding a broken run: shrink, diff, compare.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Two nodes, one of which is restarted now and then.
const SCENARIO: &str = r#"
nodes = 2
safety_s = 40
liveness_s = 20

[workload]
per_second = 3.0
forgets = 0.1

[[fault]]
kinds = ["restart", "isolate"]
every_s = [5, 8]
for_s = [1, 3]
nodes = [1]
"#;

/// A directory of its own, with the scenario in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("nexus-sim-tools-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("short.toml"), SCENARIO).unwrap();
        Self(place)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn run(&self) -> String {
        format!("{}:2:wire:1", self.file("short.toml"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sim(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nexus-sim")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn plan(file: impl AsRef<Path>) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn a_run_that_breaks_shrinks_to_the_one_fault_that_breaks_it() {
    let place = Place::new("shrink");
    let small = place.file("small.json");
    let (code, said) = sim(&["shrink", &place.run(), "--plant", "stays_down", "--out", &small]);
    assert_eq!(code, Some(1), "{said}");
    let mut small_plan = plan(&small);
    let faults = small_plan["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 1, "{said}");
    assert_eq!(faults[0]["kind"], "restart");
    assert!(small_plan["ops"].as_array().unwrap().len() < 10, "{said}");

    // the smaller plan breaks the same check, and holds without the plant
    let (code, said) = sim(&["run", &small]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("BROKEN  liveness"), "{said}");
    small_plan["plant"] = Value::Null;
    std::fs::write(&small, small_plan.to_string()).unwrap();
    let (_, said) = sim(&["run", &small]);
    assert!(said.contains("held    liveness"), "{said}");
}

#[test]
fn a_run_ends_with_a_named_check_and_is_the_whole_run_until_then() {
    let place = Place::new("ends");
    let run = |ends_with: &[&str]| {
        let run = place.run();
        let (code, said) = sim(&[&["replay", &run, "--plant", "tasks_pile_up", "--json"], ends_with].concat());
        (code, serde_json::from_str::<Value>(&said).unwrap_or_default())
    };
    let (code, whole) = run(&[]);
    assert_eq!(code, Some(1));
    let (code, ended) = run(&["--ends-with", "durability,bounds"]);
    assert_eq!(code, Some(1));
    assert_eq!(ended["checks"]["bounds"], whole["checks"]["bounds"]);
    assert!(ended["checks"]["bounds"].as_str().unwrap().starts_with("broken"), "{ended}");
    // of the others it says nothing
    for (check, said) in ended["checks"].as_object().unwrap().iter().filter(|(check, _)| *check != "bounds") {
        assert!(said.as_str().unwrap().starts_with("undecided"), "{check}: {said}");
    }
    assert!(ended["virtual_s"].as_f64() < whole["virtual_s"].as_f64(), "{ended}");
    // a check that does not break ends nothing, and changes nothing
    let (_, other) = run(&["--ends-with", "durability"]);
    assert_eq!(other["trace_hash"], whole["trace_hash"]);
    assert_eq!(other["checks"], whole["checks"]);
    assert_eq!(run(&["--ends-with", "durable"]).0, Some(2));
}

#[test]
fn what_holds_is_not_shrunk() {
    let place = Place::new("holds");
    let small = place.file("small.json");
    let (code, said) = sim(&["shrink", &place.run(), "--out", &small]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!Path::new(&small).exists());
}

#[test]
fn diff_shows_where_two_runs_part_and_that_the_same_one_does_not() {
    let place = Place::new("diff");
    let (code, said) = sim(&["diff", &place.run()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("all equal"), "{said}");

    let (code, said) = sim(&["diff", &place.run(), "--plant", "never_heals"]);
    assert_eq!(code, Some(1), "{said}");
    let parted: Vec<&str> = said.lines().filter(|line| line.starts_with(['-', '+'])).collect();
    assert_eq!(parted.len(), 2, "{said}");
    // virtual time and node, as in every line of a trace
    for line in parted {
        let mut words = line.split_whitespace().skip(1);
        assert!(words.next().unwrap().parse::<u64>().is_ok(), "{line}");
        assert!(words.next().unwrap().starts_with(['n', '-']), "{line}");
    }
}

#[test]
fn compare_says_what_differs_between_two_outcomes() {
    let place = Place::new("compare");
    for (name, plant) in [("a", None), ("b", None), ("c", Some("stays_down"))] {
        let run = place.run();
        let mut arguments = vec!["replay", &run, "--json"];
        arguments.extend(plant.iter().flat_map(|plant| ["--plant", plant]));
        std::fs::write(place.file(name), sim(&arguments).1).unwrap();
    }
    let (code, said) = sim(&["compare", &place.file("a"), &place.file("b")]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = sim(&["compare", &place.file("a"), &place.file("c")]);
    assert_eq!(code, Some(1), "{said}");
    let liveness = said.lines().find(|line| line.starts_with("checks.liveness")).unwrap();
    assert!(liveness.contains("held") && liveness.contains("broken"), "{liveness}");
}

#[test]
fn fuzz_goes_on_where_it_stopped_and_begins_anew_at_another_commit() {
    let place = Place::new("into");
    let (scenario, into) = (place.file("short.toml"), place.file("held.jsonl"));
    let fuzz = |seeds: &str, commit: &str| {
        let arguments =
            ["fuzz", "--scenario", &scenario, "--seeds", seeds, "--into", &into, "--commit", commit, "--json"];
        let (code, said) = sim(&arguments);
        assert_eq!(code, Some(0), "{said}");
        let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        (summary["seeds"].as_u64().unwrap(), summary["held_before"].as_u64().unwrap())
    };
    assert_eq!(fuzz("1..3", "a"), (2, 0));
    assert_eq!(fuzz("1..4", "a"), (1, 2));
    assert_eq!(fuzz("1..2", "b"), (1, 0));

    // a line that was being written when the process ended is none
    let kept = std::fs::read_to_string(&into).unwrap();
    assert_eq!(kept.lines().count(), 4, "{kept}");
    std::fs::write(&into, &kept[..kept.len() - 10]).unwrap();
    assert_eq!(fuzz("1..2", "b"), (1, 0));
    assert_eq!(std::fs::read_to_string(&into).unwrap(), kept);
}

/// promise: Whole networks, by seed | Rare places in the nodes that no run has reached are listed
#[test]
fn places_that_no_run_has_reached_are_listed() {
    let place = Place::new("rare");
    let (some, none, other) = (place.file("some.jsonl"), place.file("none.jsonl"), place.file("other.jsonl"));
    let all: Vec<&str> = nexus_sim::rare::ALL.iter().map(|place| place.name).collect();
    let record =
        |places: &[&str]| format!("{}\n{{\"cut off", serde_json::json!({ "run": "a:3:wire:1", "reached": places }));
    std::fs::write(&some, record(&all[..2])).unwrap();
    std::fs::write(&other, record(&all[1..])).unwrap();
    std::fs::write(&none, "{\"run\":\"a:3:wire:1\",\"reached\":null}\n").unwrap();
    let (code, said) = sim(&["rare", &some, &none]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("NEVER          {}: ", all[2]))
            && !said.contains(&format!("NEVER          {}: ", all[1])),
        "{said}"
    );
    let (code, said) = sim(&["rare", "--json", &some, &other]);
    let line: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &line["runs"], &line["reached_in_runs"][all[1]]), (Some(0), &2.into(), &2.into()), "{line}");
    // a build without plants notes nothing, which is no proof that nothing was reached
    assert_eq!(sim(&["rare", &none]).0, Some(2));
    assert_eq!(sim(&["rare", &place.file("missing")]).0, Some(2));
}
