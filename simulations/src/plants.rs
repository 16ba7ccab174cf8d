//! Known bugs and faults, planted on purpose: an invariant must catch each, or the invariants are blind.
//!
//! Some are planted around the node and are in every build. The others are bugs inside of it
//! (`nexus_identity::plants`, and the places that call it). Only builds with the feature `plants`
//! contain these:
//!
//! ```console
//! $ cargo run --release -p nexus-sim --features plants --bin nexus-sim-plants -- plant all
//! ```

use nexus_identity::plants::Plant as Inside;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A fault outside of the nodes.
    Around(Around),
    /// A bug inside of them.
    Inside(Inside),
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
}

/// Every plant.
pub const ALL: &[KnownPlant] = &[
    inside(Inside::AcksBeforeCommit, "acks_before_commit", "store", "lying-disk", &["durability"]),
    inside(Inside::SendsBeforeCommit, "sends_before_commit", "store", "power-cuts", &["one_seq"]),
    inside(Inside::CommitsWithoutSync, "commits_without_sync", "store", "lying-disk", &["durability"]),
    inside(Inside::DropsFromGroup, "drops_from_group", "store", "lying-disk", &["durability", "convergence"]),
    inside(Inside::ReusesLastNumber, "reuses_last_number", "store", "rolling-restart", &["durability", "convergence"]),
    inside(Inside::DeliversByGossipAlone, "delivers_by_gossip_alone", "sync", "laptop-offline", &["liveness"]),
    inside(Inside::LosesTailCursor, "loses_tail_cursor", "sync", "laptop-offline", &["liveness"]),
    inside(Inside::SkipsGaps, "skips_gaps", "sync", "anything", &["convergence", "durability"]),
    inside(Inside::WritesWithoutComparing, "writes_without_comparing", "sync", "forgetful-disk", &["one_seq"]),
    inside(Inside::TicketsNeverUsedUp, "tickets_never_used_up", "membership", "hostile-strangers", &["strangers"]),
    inside(Inside::TicketsNeedNoSecret, "tickets_need_no_secret", "membership", "hostile-strangers", &["strangers"]),
    inside(Inside::TakesForeignMeshes, "takes_foreign_meshes", "membership", "hostile-strangers", &["strangers"]),
    inside(Inside::TakesBorrowedPapers, "takes_borrowed_papers", "membership", "hostile-strangers", &["strangers"]),
    inside(Inside::ForgetLosesToEdit, "forget_loses_to_edit", "pages", "anything", &["forgotten", "convergence"]),
    inside(Inside::CountsWhatWasReplaced, "counts_what_was_replaced", "pages", "anything", &["convergence"]),
    inside(Inside::LastArrivalWins, "last_arrival_wins", "pages", "anything", &["convergence"]),
    inside(Inside::LateCreationReturns, "late_creation_returns", "pages", "anything", &["forgotten", "convergence"]),
    inside(Inside::RedialsAtOnce, "redials_at_once", "mesh", "rolling-restart", &["sound", "bounds"]),
    inside(Inside::NeverRedials, "never_redials", "mesh", "hotel-wifi", &["liveness"]),
    inside(Inside::DownForEver, "down_for_ever", "mesh", "laptop-offline", &["liveness"]),
    inside(Inside::ShowsPapersToAnybody, "shows_papers_to_anybody", "mesh", "hostile-strangers", &["strangers"]),
    inside(
        Inside::CommitsWithoutQuorum,
        "commits_without_quorum",
        "coordinators",
        "coordinators",
        &["linearizable", "agreement", "fencing"],
    ),
    inside(Inside::ForgetsVotes, "forgets_votes", "coordinators", "amnesia", &["linearizable", "agreement", "fencing"]),
    inside(
        Inside::AppendsBeforeDisk,
        "appends_before_disk",
        "coordinators",
        "amnesia",
        &["linearizable", "agreement", "fencing"],
    ),
    inside(
        Inside::VotesForEverybody,
        "votes_for_everybody",
        "coordinators",
        "coordinators",
        &["linearizable", "agreement", "fencing"],
    ),
    inside(Inside::ReadsWithoutProof, "reads_without_proof", "coordinators", "coordinators", &["linearizable"]),
    inside(Inside::LeasesByWallClock, "leases_by_wall_clock", "coordinators", "coordinators", &["fencing"]),
    inside(Inside::ReusesTokens, "reuses_tokens", "coordinators", "coordinators", &["fencing"]),
    inside(Inside::AppliesTwice, "applies_twice", "coordinators", "coordinators", &["linearizable"]),
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
    plant: Inside,
    name: &'static str,
    area: &'static str,
    scenario: &'static str,
    by: &'static [&'static str],
) -> KnownPlant {
    KnownPlant { plant: Plant::Inside(plant), name, area, scenario, by }
}

const fn around(plant: Around, name: &'static str, scenario: &'static str, by: &'static [&'static str]) -> KnownPlant {
    KnownPlant { plant: Plant::Around(plant), name, area: "world", scenario, by }
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
    use crate::invariants;
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
        for area in ["store", "sync", "membership", "pages", "mesh", "coordinators"] {
            assert!(areas[area] >= 3, "{area}");
        }
        assert!(ALL.len() >= 20);
        for invariant in invariants::all(true, true) {
            assert!(caught.contains(&invariant.name()), "{} catches nothing", invariant.name());
        }
    }
}
