//! Programs for use contain none of the bugs that the simulator plants.

#![allow(clippy::unwrap_used, reason = "tests")]

/// In every build with plants, and in no other.
const MARK: &str = "nexus_plants: there are known bugs here!";

/// promise: Whole networks, by seed | No program that is built to be used contains a planted bug
#[test]
fn a_node_contains_plants_only_in_a_build_that_asks_for_them() {
    assert!(include_str!("../../../../nexus-identity/src/plants.rs").contains(MARK), "the mark has changed");
    // both look for it, too
    assert!(include_str!("../../../../dist/parts/program.py").contains(MARK), "dist/build looks for another mark");
    assert!(include_str!("../../../../.ci/dist").contains(MARK), "the check of packages looks for another mark");
    let program = std::fs::read(env!("CARGO_BIN_EXE_nexus-node")).unwrap();
    let has = program.windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes());
    // `.ci/run` tests a build with plants asleep, which shows that the mark is in all of those
    let asked_for = nexus_identity::plants::choose(None);
    assert_eq!(has, asked_for, "bugs in this node: {has}, asked for: {asked_for}");
}
