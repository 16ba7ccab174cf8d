//! The examples do what they say.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

fn output(program: &str) -> String {
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn embed_memory_writes_sees_the_change_and_recalls() {
    let said = output(env!("CARGO_BIN_EXE_embed_memory"));
    for line in ["written: ", "change:  remembered ", "recall:  the build needs a C compiler"] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn two_nodes_converge_after_a_partition() {
    let said = output(env!("CARGO_BIN_EXE_two_nodes"));
    for line in [
        r#"apart:   laptop has "deploy on monday", cloud "deploy on tuesday""#,
        r#"settled: cloud has "deploy on wednesday""#,
    ] {
        assert!(said.contains(line), "{said}");
    }
    // Two edits of one millisecond have no order in time. Both nodes must show them in the same order,
    // whichever it is.
    let sees = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("healed:  {name} sees ")));
        line.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    assert_eq!(sees("laptop"), sees("cloud"));
    for value in [r#""deploy on monday""#, r#""deploy on tuesday""#] {
        assert!(sees("laptop").contains(value), "{said}");
    }
}
