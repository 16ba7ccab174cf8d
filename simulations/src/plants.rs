//! Known faults that no node could stand, put into the world on purpose: each must be caught, or
//! the invariants see nothing.
//!
//! These are planted around the node, at run time. Bugs inside of it (`cfg(nexus_plants)`) come
//! next: see the README.

use serde::{Deserialize, Serialize};

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plant {
    /// Every disk says that it has synced and has not: acknowledged before it is durable.
    SyncLies,
    /// A disk comes back with what it held long ago, and its node cannot ask anybody.
    OldDisk,
    /// A restart loses one derived row.
    LostRow,
    /// Strangers have papers of the mesh.
    PapersForStrangers,
    /// One line stays cut for ever.
    NeverHeals,
    /// One node does not start again.
    StaysDown,
    /// A node starts tasks and never ends them.
    TasksPileUp,
    /// A task turns round and round.
    Spins,
}

impl Plant {
    /// Every plant, with the scenario that shows it and the invariants that may catch it.
    pub const ALL: &[(Self, &'static str, &[&'static str])] = &[
        (Self::SyncLies, "lying-disk", &["durability", "sound"]),
        (Self::OldDisk, "anything", &["one_seq", "durability", "forgotten"]),
        (Self::LostRow, "rolling-restart", &["convergence", "durability", "forgotten"]),
        (Self::PapersForStrangers, "hostile-strangers", &["strangers"]),
        (Self::NeverHeals, "laptop-offline", &["liveness"]),
        (Self::StaysDown, "rolling-restart", &["liveness"]),
        (Self::TasksPileUp, "laptop-offline", &["bounds"]),
        (Self::Spins, "laptop-offline", &["sound"]),
    ];

    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SyncLies => "sync_lies",
            Self::OldDisk => "old_disk",
            Self::LostRow => "lost_row",
            Self::PapersForStrangers => "papers_for_strangers",
            Self::NeverHeals => "never_heals",
            Self::StaysDown => "stays_down",
            Self::TasksPileUp => "tasks_pile_up",
            Self::Spins => "spins",
        }
    }

    /// The plant of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().map(|(plant, ..)| *plant).find(|plant| plant.as_str() == name)
    }
}
