//! Known bugs and faults, planted on purpose: an invariant must catch each, or the invariants are blind.
//!
//! Some are planted around the node and are in every build. The others are bugs inside of it
//! (`nexus_identity::plants`, and the places that call it). Only builds with the feature `plants`
//! contain these:
//!
//! ```console
//! $ cargo run --release -p nexus-sim --features plants --bin nexus-sim-plants -- plant all
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A fault outside of the nodes.
    Around(Around),
    /// A bug inside of them, by its name.
    Inside(&'static str),
}

/// A fault outside of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// Every disk lies about its syncs: writes are acknowledged before they are durable.
    SyncLies,
    /// A disk comes back with old content, and its node cannot ask anybody.
    OldDisk,
    /// A restart loses one derived row.
    LostRow,
    /// Strangers have papers of the mesh.
    PapersForStrangers,
    /// One link stays cut for ever.
    NeverHeals,
    /// One node does not start again.
    StaysDown,
    /// A node starts tasks and never ends them.
    TasksPileUp,
    /// A task spins.
    Spins,
}

/// A plant, with the scenario and the invariants that catch it.
#[derive(Clone, Copy, Debug)]
pub struct KnownPlant {
    /// The plant.
    pub plant: Plant,
    /// Its name on the command line.
    pub name: &'static str,
    /// The area of the bug: store, sync, membership, pages, mesh, or the world around.
    pub area: &'static str,
    /// The scenario that shows it.
    pub scenario: &'static str,
    /// The invariants that may catch it.
    pub by: &'static [&'static str],
    /// The seed that is tried first. It saves a search while it catches the plant; if it does not, all
    /// seeds are tried from 1.
    pub first_seed: u64,
}

/// Every plant.
pub const ALL: &[KnownPlant] = &[
    // Callers are answered before their writes are on disk.
    inside("acks_before_commit", "store", "lying-disk", &["durability"]),
    // Callers are answered although the disk had no room.
    inside("acks_without_room", "store", "lying-disk", &["durability"]),
    // Entries are gossiped before they are on disk.
    inside("sends_before_commit", "store", "power-cuts", &["one_seq"]),
    // A commit does not wait for the disk.
    inside("commits_without_sync", "store", "power-cuts", &["one_seq"]).first_seed(2),
    // A start leaves out the rows that only the log has.
    inside("forgets_rows_of_log", "store", "power-cuts", &["durability", "one_seq"]),
    // Of a group of batches only the first is committed.
    inside("drops_from_group", "store", "lying-disk", &["durability", "convergence"]),
    // Values are read whatever their checksum says.
    inside("reads_unsealed", "store", "rotting-disk", &["convergence", "durability", "sound"]).first_seed(5),
    // The first entry after a start takes the number of the last one before.
    inside("reuses_last_number", "store", "rolling-restart", &["durability", "convergence"]),
    // Edits of an erased memory stay where they are.
    inside("keeps_edits_of_erased", "pages", "erasure", &["erased"]),
    // A node erases what its own member wrote, and nothing else.
    inside("erases_own_alone", "pages", "erasure", &["erased", "convergence", "liveness"]),
    // The rows of an erased memory stay beside its entry.
    inside("leaves_rows_of_erased", "pages", "erasure", &["erased", "convergence", "sound"]),
    // Nobody takes an entry of which something was erased.
    inside("refuses_emptied", "sync", "erasure", &["liveness", "convergence", "durability"]),
    // Changes that come to a document after its erasure stay where they are.
    inside("keeps_changes_of_erased", "documents", "erasure", &["erased"]).first_seed(9),
    // The saved forms of a document stay when its changes go.
    inside("keeps_saved_of_erased", "documents", "erasure", &["erased"]),
    // Anybody's word erases anybody's texts.
    inside("heeds_any_eraser", "store", "erasure", &["durability", "convergence"]),
    // Leaves that were erased are taken from another copy of their entry.
    inside("takes_erased_again", "store", "erasure", &["erased"]),
    // Old leaves go without anybody's word.
    inside("drops_old_leaves", "store", "erasure", &["durability", "convergence", "sound"]),
    // Sessions send no entries: gossip is the only delivery.
    inside("delivers_by_gossip_alone", "sync", "laptop-offline", &["liveness"]),
    // A session loses its place among its own new entries.
    inside("loses_tail_cursor", "sync", "laptop-offline", &["liveness"]),
    // A node takes of a member however much it sends.
    inside("takes_any_amount", "sync", "glutton", &["quotas"]),
    // Each key of a member has a quota of its own.
    inside("quotas_by_key", "sync", "glutton", &["quotas"]),
    // The evidence of a fork by another member cuts nothing.
    inside("heeds_no_evidence", "sync", "two-faces", &["convergence", "liveness"]),
    // Nodes that hold both branches of a log say nothing of it.
    inside("gives_no_evidence", "sync", "two-faces", &["convergence", "liveness"]),
    // An entry is taken although earlier ones are missing, and nobody asks for them.
    inside("skips_gaps", "sync", "anything", &["convergence", "durability"]),
    // A restored node writes on without asking the others for their part of its log.
    inside("writes_without_comparing", "sync", "forgetful-disk", &["one_seq"]),
    // A ticket works any number of times.
    inside("tickets_never_used_up", "membership", "hostile-strangers", &["strangers"]),
    // A ticket's id is enough, without its secret.
    inside("tickets_need_no_secret", "membership", "hostile-strangers", &["strangers"]),
    // Members of other meshes are let in.
    inside("takes_foreign_meshes", "membership", "hostile-strangers", &["strangers"]),
    // Papers are good for anybody who shows them.
    inside("takes_borrowed_papers", "membership", "hostile-strangers", &["strangers"]),
    // A revocation changes nothing of what its member wrote.
    inside("counts_after_the_end", "membership", "stolen-laptop", &["revoked", "convergence"]).first_seed(3),
    // Members whose membership ended are let in.
    inside("keeps_former_members", "mesh", "stolen-laptop", &["revoked"]),
    // A revocation makes void all that its member wrote.
    inside("ignores_pins", "membership", "stolen-laptop", &["durability"]),
    // A fork by a thief makes void what the member had written.
    inside("fork_beats_pin", "membership", "stolen-laptop", &["durability", "convergence"]).first_seed(9),
    // A node leaves as it is what a fork of its own log cost.
    inside("writes_nothing_again", "sync", "cloned-disk", &["durability"]),
    // A revocation leaves all that is here already counting.
    inside("recounts_nothing", "membership", "stolen-laptop", &["revoked", "convergence"]).first_seed(3),
    // A key goes on although another one has taken its place.
    inside("former_keys_stand", "membership", "stolen-laptop", &["durability", "revoked", "convergence"]),
    // Any admin's revocation of anybody is in force.
    inside("revokes_upwards", "membership", "two-admins", &["membership"]),
    // A revocation that its author wrote after its own end is in force.
    inside("void_revocations_count", "membership", "two-admins", &["membership"]),
    // Whoever was admitted by a revoked admin falls with it, whom the revoker keeps as well.
    inside("keeps_nobody", "membership", "two-admins", &["membership", "durability", "liveness"]),
    // An edited memory cannot be forgotten.
    inside("forget_loses_to_edit", "pages", "anything", &["forgotten", "convergence"]),
    // A write that arrives after its replacement counts again.
    inside("counts_what_was_replaced", "pages", "anything", &["convergence"]),
    // The last edit to arrive wins over concurrent ones.
    inside("last_arrival_wins", "pages", "anything", &["convergence"]),
    // A memory that arrives after it was forgotten is shown.
    inside("late_creation_returns", "pages", "anything", &["forgotten", "convergence"]),
    // Every fifth entry that arrives is left out of the search.
    inside("searches_some_alone", "pages", "anything", &["convergence"]),
    // A failed dial is tried again at once, for ever.
    inside("redials_at_once", "mesh", "rolling-restart", &["sound", "bounds"]),
    // A lost connection is not dialled again.
    inside("never_redials", "mesh", "hotel-wifi", &["liveness"]),
    // A member that was down once stays down.
    inside("down_for_ever", "mesh", "laptop-offline", &["liveness"]),
    // Credentials are shown before the other side has proven that it knows the mesh.
    inside("shows_papers_to_anybody", "mesh", "hostile-strangers", &["strangers"]),
    // A leader counts sent entries as taken, and so commits without a quorum.
    inside("commits_without_quorum", "coordinators", "coordinators", &["linearizable", "agreement", "fencing"]),
    // A vote is not kept: after a restart a voter has promised nothing.
    inside("forgets_votes", "coordinators", "amnesia", &["linearizable", "agreement", "fencing"]).first_seed(5),
    // Appended entries are acknowledged and never on disk.
    inside("appends_before_disk", "coordinators", "amnesia", &["linearizable", "agreement", "fencing"]),
    // A voter gives its vote to everybody who asks.
    inside("votes_for_everybody", "coordinators", "coordinators", &["linearizable", "agreement", "fencing"]),
    // A leader answers reads without proving that it still leads.
    inside("reads_without_proof", "coordinators", "coordinators", &["linearizable"]).first_seed(6),
    // Leases run by a wall clock, and jump with it.
    inside("leases_by_wall_clock", "coordinators", "coordinators", &["fencing"]).first_seed(41),
    // A token is given out again after its lease.
    inside("reuses_tokens", "coordinators", "coordinators", &["fencing"]),
    // A copy takes a snapshot that nobody signed.
    inside("unsigned_snapshots", "coordinators", "rogue-seat", &["linearizable", "agreement", "sound"]),
    // A copy takes a leader's entries that do not follow its own.
    inside("entries_with_gaps", "coordinators", "rogue-seat", &["agreement", "sound"]),
    // Formats stay as they were, although all copies read later ones.
    inside("never_raises", "coordinators", "rolling-upgrade", &["agreement"]),
    // The second half of a change of voters is left to the leader that began it.
    inside("leaves_changes_half_done", "coordinators", "rolling-upgrade", &["agreement"]).first_seed(2),
    // Raft's messages are taken from members without a seat.
    inside("seats_for_everybody", "coordinators", "usurper", &["linearizable", "agreement", "fencing", "liveness"]),
    // A repeated proposal is applied again.
    inside("applies_twice", "coordinators", "coordinators", &["linearizable", "replayed"]),
    // A leader says that nothing happened to whoever waits for it no longer.
    inside("calls_unknown_refused", "coordinators", "coordinators", &["linearizable", "replayed"]),
    // The question for an end says that it never happens, and nothing keeps it from that.
    inside("settles_nothing", "coordinators", "coordinators", &["linearizable", "replayed"]),
    // A request that was answered is not known when it is asked again.
    inside("forgets_requests", "coordinators", "coordinators", &["linearizable", "replayed"]),
    // A follower that was promised silence waits for its leader, whatever becomes of it.
    inside("rests_for_good", "coordinators", "quiet", &["liveness", "agreement"]).first_seed(2),
    // A claim whose worker is not heard of stands for ever.
    inside("leases_never_end", "tasks", "handover", &["tasks"]),
    // A node that starts does not know of its open tasks.
    inside("takes_up_no_tasks", "tasks", "handover", &["tasks"]),
    // A task that failed waits for ever for its next attempt.
    inside("pauses_for_ever", "tasks", "handover", &["tasks"]),
    // A task that comes after others does not hear of their ends.
    inside("ends_unheard", "tasks", "handover", &["tasks"]),
    // A task whose worker was taken for a critical one is handed out no more.
    inside("preempted_is_lost", "tasks", "handover", &["tasks"]),
    // A task that is done once begins again after a worker of which nobody knows.
    inside("begins_again", "tasks", "handover", &["tasks"]),
    // An end of a task with heirs is written without a note for those who take it over later.
    inside("ends_unnoted", "tasks", "cut-settlers", &["tasks"]),
    // A member takes over tasks although another one settles them.
    inside("settles_beside_others", "tasks", "handover", &["tasks"]).first_seed(5),
    // A session whose task was dropped counts as live, and so does its peer.
    inside("dropped_sessions_stay_live", "tasks", "heirs", &["tasks"]),
    // Files of a directory that is kept are removed.
    inside("gc_takes_files_of_directories", "blobs", "files", &["blobs"]),
    // Files of a directory are removed while the others are fetched.
    inside("gc_takes_what_is_fetched", "blobs", "files", &["blobs"]),
    // Content that is added is not kept.
    inside("pins_forgotten", "blobs", "files", &["blobs"]),
    // A member that lacked a blob is not asked for it again.
    inside("asks_once", "blobs", "files", &["blobs"]),
    // A copy that a member keeps for another one is not marked.
    inside("copies_unmarked", "blobs", "files", &["blobs"]),
    // A late result counts as the word of the worker, whoever said it.
    inside("takes_anybodys_result", "tasks", "meddler", &["tasks"]),
    // Each result of a task is kept for its settler, also if that never answers.
    inside("keeps_every_result", "tasks", "meddler", &["tasks"]),
    // Content that the disk changed is read as it is.
    inside("reads_unverified", "blobs", "files", &["blobs"]).first_seed(5),
    // A change counts although one before it is not here.
    inside("applies_before_deps", "documents", "typing", &["documents"]),
    // A change counts whatever its verdict is.
    inside("counts_unscanned", "documents", "typing", &["documents"]),
    // A member with an empty disk goes on as the actor that it was.
    inside("actor_twice_after_restore", "documents", "typing", &["documents"]),
    // A change that counts no more counts on if somebody has written after it.
    inside("keeps_dependents_of_cut", "documents", "stolen-documents", &["documents"]).first_seed(6),
    // A document that is open does not hear which changes count no more.
    inside("counts_what_was_revoked", "documents", "stolen-documents", &["documents"]),
    // An edit is shown before it is on disk.
    inside("shows_before_the_disk", "documents", "typing", &["documents"]),
    // The first of two changes with one actor and number to arrive counts.
    inside("collides_by_arrival", "documents", "typing", &["documents"]),
    // The words of a program are in memory alone, and it hears that it is on the disk.
    inside("programs_off_disk", "documents", "programs", &["documents"]),
    // A program that may only read writes.
    inside("readers_write_by_sync", "documents", "programs", &["documents"]),
    // A program does not hear that its changes are on the disk.
    inside("programs_unanswered", "documents", "programs", &["documents"]),
    // Edits beside one that does not fit are acknowledged and never made.
    inside("edit_lost_on_conflict", "documents", "typing", &["documents"]),
    // An issuer may say that a machine is anybody's.
    inside("names_third_persons", "approvals", "approvals", &["approvals"]),
    // Whose machine a member is counts before the member agreed.
    inside("persons_need_no_agreement", "approvals", "approvals", &["approvals"]),
    // A task by the rule `other` is approved as by the rule `person`.
    inside("approves_by_person", "approvals", "approvals", &["approvals"]),
    // The words of an approver end with its key.
    inside("approvals_end_with_keys", "approvals", "approvals", &["approvals"]).first_seed(4),
    // The words of an admin count after its membership has ended.
    inside("former_approvers_count", "approvals", "approvals", &["approvals"]).first_seed(5),
    // A task is handed out although the membership of its approver has ended.
    inside("keeps_lost_approvals", "approvals", "approvals", &["approvals"]).first_seed(5),
    // A task that needs an approval is handed out without one.
    inside("needs_no_approval", "approvals", "approvals", &["approvals"]),
    around(Around::SyncLies, "sync_lies", "lying-disk", &["durability", "sound"]),
    around(Around::OldDisk, "old_disk", "anything", &["one_seq", "durability", "forgotten"]),
    around(Around::LostRow, "lost_row", "rolling-restart", &["convergence", "durability", "forgotten"]),
    around(Around::PapersForStrangers, "papers_for_strangers", "hostile-strangers", &["strangers"]),
    around(Around::NeverHeals, "never_heals", "laptop-offline", &["liveness"]),
    around(Around::StaysDown, "stays_down", "rolling-restart", &["liveness"]),
    around(Around::TasksPileUp, "tasks_pile_up", "laptop-offline", &["bounds"]),
    around(Around::Spins, "spins", "laptop-offline", &["sound"]),
];

const fn inside(
    name: &'static str,
    area: &'static str,
    scenario: &'static str,
    by: &'static [&'static str],
) -> KnownPlant {
    KnownPlant { plant: Plant::Inside(name), name, area, scenario, by, first_seed: 1 }
}

const fn around(plant: Around, name: &'static str, scenario: &'static str, by: &'static [&'static str]) -> KnownPlant {
    KnownPlant { plant: Plant::Around(plant), name, area: "world", scenario, by, first_seed: 1 }
}

impl KnownPlant {
    const fn first_seed(mut self, seed: u64) -> Self {
        self.first_seed = seed;
        self
    }
}

impl Plant {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        ALL.iter().find(|known| known.plant == self).map_or("", |known| known.name)
    }

    /// The plant of this name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.iter().find(|known| known.name == name).map(|known| known.plant)
    }

    /// Whether this build has it.
    pub fn is_here(self) -> bool {
        match self {
            Self::Around(_) => true,
            Self::Inside(_) => nexus_identity::plants::choose(None),
        }
    }
}

impl Serialize for Plant {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Plant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        Self::named(&name).ok_or_else(|| serde::de::Error::custom(format!("there is no plant {name}")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::invariants::{self, With};
    use crate::scenario::Scenario;

    /// promise: Whole networks, by seed | Known bugs that are planted are caught, each by an invariant
    #[test]
    fn each_area_has_three_plants_and_each_invariant_has_something_to_catch() {
        let mut areas: BTreeMap<&str, u32> = BTreeMap::new();
        let mut caught: BTreeSet<&str> = BTreeSet::new();
        for known in ALL {
            *areas.entry(known.area).or_default() += 1;
            caught.extend(known.by);
            Scenario::named(known.scenario).unwrap_or_else(|error| panic!("{}: {error}", known.name));
            assert_eq!(Plant::named(known.name), Some(known.plant));
        }
        for area in
            ["store", "sync", "membership", "pages", "mesh", "coordinators", "tasks", "blobs", "documents", "approvals"]
        {
            assert!(areas[area] >= 3, "{area}");
        }
        assert!(ALL.len() >= 20);
        for invariant in invariants::all(&|_| true, With::ALL) {
            assert!(caught.contains(&invariant.name()), "{} catches nothing", invariant.name());
        }
    }

    #[test]
    fn each_bug_of_the_list_is_planted_and_no_other() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut planted = BTreeSet::new();
        for source in ["nexus-identity/src", "nexus-crdt/src", "nexus-mesh/src", "nexus-node/src"] {
            crate::rare::tests::names_below(&root.join(source), "planted(\"", &mut planted);
        }
        let inside = ALL.iter().filter(|known| matches!(known.plant, Plant::Inside(_)));
        let listed: BTreeSet<String> = inside.map(|known| known.name.to_owned()).collect();
        assert_eq!(planted, listed);
    }
}
