//! Programs for use contain none of the bugs that the simulator plants.

#![allow(clippy::unwrap_used, reason = "tests")]

/// In every build with plants, and in no other; `.ci/simulator` looks for it in one that has them.
const MARK: &str = "nexus_plants: there are known bugs here!";

/// promise: Whole networks, by seed | No program that is built to be used contains a planted bug
#[test]
fn no_built_node_contains_a_plant() {
    assert!(include_str!("../../../../nexus-identity/src/plants.rs").contains(MARK), "the mark has changed");
    let program = std::fs::read(env!("CARGO_BIN_EXE_nexus-node")).unwrap();
    assert!(!program.windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes()), "this node has known bugs in it");
}
