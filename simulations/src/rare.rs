//! Rare places in the nodes that seeds have to reach: a seed that never comes there shows nothing about it.
//!
//! A build with the feature `plants` notes the places that a run reaches (`nexus_identity::plants::reached`). `fuzz` counts
//! them, and `nexus-sim rare FILE…` shows the places that no run of a record has reached.

/// A rare place.
#[derive(Clone, Copy, Debug)]
pub struct RarePlace {
    /// Its name at its place.
    pub name: &'static str,
    /// The situation, in one line.
    pub about: &'static str,
}

/// Every rare place.
pub const ALL: &[RarePlace] = &[
    rare("attempt_ends_unknown", "a worker falls silent so often that its task ends as unknown"),
    rare("change_of_voters_half_done", "a leader finds a change of voters whose second half is missing"),
    rare("copy_dismissed", "a leader dismisses a copy of the critical state"),
    rare("copy_ends_without_room", "a coordinator's copy ends, since its disk is full"),
    rare("damaged_part_of_a_blob", "a node finds that its disk has damaged a part of a blob"),
    rare(
        "edits_move_with_a_memory_written_again",
        "a memory that a fork cut is written again, with what others wrote to it",
    ),
    rare("end_noted_too_late", "a node may no longer note the end of a task that it settled"),
    rare("evidence_before_its_log", "evidence of a fork comes before any entry of the log"),
    rare("fork_cut_twice", "evidence cuts a log that is cut already, at an earlier entry"),
    rare("fork_without_its_branch", "an entry shows a fork, and the branch before it is not here"),
    rare("former_member_leads", "a leader finds that its membership has ended"),
    rare("heir_gives_back", "an heir gives the right to the tasks of a node back that is up again"),
    rare("heir_takes_over", "an heir takes over tasks of a node that is down"),
    rare(
        "heir_takes_over_while_its_submitter_is_back",
        "an heir takes over tasks while their submitter is connected again",
    ),
    rare("person_said_again_by_a_new_key", "a node with a new key says again whose machine a member is"),
    rare("person_said_later", "a member agrees to a later word about whose machine it is"),
    rare("raise_of_the_format_fails", "a leader proposes a later format, and it does not come about"),
    rare("raise_of_the_format_without_room", "the same, while the leader's disk is full"),
    rare("rest_ends_in_doubt", "a follower that relies on its leader's silence asks, and the leader leads no more"),
    rare("result_after_its_claim", "a worker's result comes after its claim has ended"),
    rare("result_of_the_settler_before", "an heir adopts a result of the settler before it"),
    rare("result_told_twice", "a worker tells a result that is already written"),
    rare("second_connection", "two members connect to each other at once"),
    rare("snapshot_of_a_revoked_leader", "a copy takes a snapshot whose last entry is of a revoked leader"),
    rare("snapshot_taken", "a copy that lags behind takes a snapshot"),
    rare("start_brings_rows_of_the_log", "a start finds rows that only the store's log has"),
    rare("twin_of_a_member", "a second process connects with the key of a member"),
    rare("void_entry_counts_again", "an entry that a revocation made void counts again"),
    rare("word_of_a_former_approver", "a task has the word of an approver whose membership has ended since"),
    rare("write_lost_sight_of_by_a_deposed_leader", "a leader is deposed and cannot tell what became of a write"),
    rare("write_unknown_after_its_time", "a write was appended, and nobody says in time whether it is decided"),
];

const fn rare(name: &'static str, about: &'static str) -> RarePlace {
    RarePlace { name, about }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::ALL;

    /// The names after these words in all sources below a folder.
    pub(crate) fn names_below(folder: &Path, words: &str, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                names_below(&path, words, names);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let after = text.split(words).skip(1);
                names.extend(after.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }

    #[test]
    fn each_rare_place_of_the_list_is_in_the_nodes_and_no_other() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut noted = BTreeSet::new();
        for source in ["nexus-crdt/src", "nexus-mesh/src", "nexus-node/src"] {
            names_below(&root.join(source), "reached(\"", &mut noted);
        }
        assert_eq!(noted, ALL.iter().map(|place| place.name.to_owned()).collect());
    }
}
