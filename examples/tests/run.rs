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

/// The lines of a program, which must all be there and in this order.
fn says(program: &str, lines: &[&str]) {
    let said = output(program);
    let mut rest = said.lines();
    for line in lines {
        assert!(rest.any(|other| other.starts_with(line)), "{line} is missing, or too late:\n{said}");
    }
}

#[test]
fn lock_lets_one_worker_in_and_refuses_the_old_token() {
    let lines = [
        "first:   has the lock",
        "second:  has the lock after a wait",
        "first:   its token is too old",
        "state:   second is done",
    ];
    says(env!("CARGO_BIN_EXE_lock"), &lines);
}

#[test]
fn follow_changes_tells_of_memories_and_keys_in_their_order() {
    let program = env!("CARGO_BIN_EXE_follow_changes");
    says(program, &["memory:  remembered", "memory:  edited", "memory:  forgotten"]);
    says(program, &["key:     deploy/target written", "key:     deploy/target deleted"]);
}

#[test]
fn own_world_sets_the_clock_of_its_node() {
    let lines = ["tasks:   ", "written: 2100-01-01T00:00:00", "later:   no such memory any more"];
    says(env!("CARGO_BIN_EXE_own_world"), &lines);
}

#[test]
fn three_instances_share_memories_and_decide_without_the_third() {
    let lines = [
        "terminal knows 3 memories",
        "editor   knows 3 memories",
        "cloud    knows 3 memories",
        "editor   reads blue while cloud is away",
        "cloud    says that it has no quorum",
    ];
    says(env!("CARGO_BIN_EXE_three_instances"), &lines);
}

#[test]
fn worker_fails_once_and_then_does_its_task() {
    let lines = ["submitted: upper", "succeeded: \"TWO WORDS\" after 2 attempts"];
    says(env!("CARGO_BIN_EXE_worker"), &lines);
}

#[test]
fn files_go_from_one_node_to_another() {
    let lines = ["added:   1288890 bytes as ", "fetched: 1288890 bytes on cloud", "read:    200000 lines"];
    says(env!("CARGO_BIN_EXE_files"), &lines);
}

#[test]
fn agent_loop_does_each_job_once() {
    let said = output(env!("CARGO_BIN_EXE_agent_loop"));
    assert!(said.contains("all:     3 jobs done"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("report:  ")).count(), 3, "{said}");
    assert!(
        said.contains("migrate the staging database (jobs on the staging database go through port 5433)"),
        "{said}"
    );
}

#[test]
fn documents_has_the_letters_of_two_programs() {
    let said = output(env!("CARGO_BIN_EXE_documents"));
    let read = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name:<9}reads ")));
        line.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    assert_eq!(read("laptop"), read("cloud"));
    let (one, other) = ("laptop types ", "cloud types ");
    assert!(
        [[one, other], [other, one]].map(|two| format!("\"{}in one text\"", two.concat())).contains(&read("cloud")),
        "{said}"
    );
}

#[test]
fn typed_document_has_the_changes_of_two_programs() {
    let said = output(env!("CARGO_BIN_EXE_typed_document"));
    let read = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name:<9}reads ")));
        line.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    assert_eq!(read("laptop"), read("cloud"));
    assert!(
        read("cloud").ends_with(r#"2 done of ["test", "deploy"]"#)
            || read("cloud").ends_with(r#"2 done of ["deploy", "test"]"#),
        "{said}"
    );
    for name in ["laptop", "cloud"] {
        assert!(read("cloud").contains(&format!("{name} writes ")), "{said}");
    }
}
