//! The formats that this version reads, and which of them it writes.

use nexus_crdt::{DERIVED_SPACES, ENTRY_FORMAT_FIRST, ENTRY_FORMAT_MAX, Kind};
use nexus_mesh::Abilities;

/// The highest format of critical state that this version reads and writes.
pub const CRITICAL_FORMAT_MAX: u16 = 7;
/// The format of critical state that came with entries in leaves: whoever reads one reads the other.
const RAISES_ENTRIES: u16 = 2;
/// The format of critical state that came with tasks' events whose texts stand apart: a version that reads one reads the
/// other.
const RAISES_TASKS: u16 = 5;
/// The format of critical state that came with credentials that say whose machine a member is: a version that reads one
/// reads the other.
pub(crate) const RAISES_PERSONS: u16 = 6;

/// The format of critical state that came with erasures: a version that reads one carries out the other.
const RAISES_ERASURES: u16 = 7;

/// The way in which a node writes its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WrittenFormat {
    /// The format of headers and payloads.
    pub(crate) entry: u16,
    /// Whether texts of tasks' events stand apart from their facts.
    pub(crate) tasks_apart: bool,
    /// Whether credentials say whose machine a member is.
    pub(crate) persons: bool,
    /// Whether members erase what they wrote.
    pub(crate) erases: bool,
}

/// Something of a later version, in the log or in a snapshot. It stays as it is until the program is
/// updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TooNew {
    /// Bytes of a later format.
    #[error("critical state is of format {found}, and this version reads up to format {max}")]
    Format {
        /// The format.
        found: u16,
        /// The highest that this version reads.
        max: u16,
    },
    /// Entries of a later format.
    #[error("entries are of format {found}, and this version reads up to format {max}")]
    Entries {
        /// The format.
        found: u16,
        /// The highest that this version reads.
        max: u16,
    },
    /// A command that a later version knows.
    #[error("critical state has commands of a later version (number {0})")]
    Command(u8),
    /// An entry of the log that a later version knows.
    #[error("the log of critical state has entries of a later version (number {0})")]
    LogEntry(u8),
    /// A snapshot whose head a later version wrote.
    #[error("the snapshot of critical state is of a later version")]
    Snapshot,
}

/// The highest formats that a node reads: those of its version, or lower ones in a test of upgrades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Of entries, from 1.
    pub entry: u16,
    /// Of critical state, from 0.
    pub critical: u16,
}

impl Formats {
    /// The formats of this version.
    pub const LATEST: Self = Self { entry: ENTRY_FORMAT_MAX, critical: CRITICAL_FORMAT_MAX };
    /// The formats of nodes that do not say which they read.
    pub const FIRST: Self = Self { entry: ENTRY_FORMAT_FIRST, critical: 0 };

    /// The format in which entries are written while critical state is of this one: a mesh raises both
    /// together, so that nobody writes what the members cannot read.
    pub(crate) const fn written_at(self, critical: u16) -> WrittenFormat {
        let entry = if critical < RAISES_ENTRIES { ENTRY_FORMAT_FIRST } else { self.entry };
        let tasks_apart = critical >= RAISES_TASKS && self.critical >= RAISES_TASKS;
        let persons = critical >= RAISES_PERSONS && self.critical >= RAISES_PERSONS;
        let erases = critical >= RAISES_ERASURES && self.critical >= RAISES_ERASURES;
        WrittenFormat { entry, tasks_apart, persons, erases }
    }

    /// The abilities that a node names in its hello. The mesh adds the rooms.
    pub(crate) fn abilities(self) -> Abilities {
        let spaces = DERIVED_SPACES.map(str::to_owned).into();
        let mut abilities = Abilities {
            entry_format_max: self.entry,
            critical_format_max: self.critical,
            spaces,
            ..Abilities::first()
        };
        // a node of the first formats is a former version, in a test of upgrades
        if self.critical > 0 {
            (abilities.rest, abilities.sync) = (REST, SYNC);
            let kinds = [Kind::REVOCATION, Kind::EVIDENCE, Kind::TASKS, Kind::SEAT, Kind::SUCCESSION, Kind::DOCUMENT];
            abilities.kinds.extend(kinds.map(|kind| kind.0));
        }
        if self.critical >= RAISES_TASKS {
            abilities.kinds.insert(Kind::TASKS_APART.0);
        }
        if self.critical >= RAISES_ERASURES {
            abilities.kinds.extend([Kind::ERASE.0, Kind::CONFIRMATION.0]);
        }
        abilities
    }
}

/// This version's manners at rest.
const REST: u16 = 1;
/// The form of sync messages that this version reads.
const SYNC: u16 = 1;

impl Default for Formats {
    fn default() -> Self {
        Self::LATEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Keys and locks | Entries of a new format are written once critical state says that all can read them
    #[test]
    fn entries_are_written_in_the_format_that_came_with_critical_state() {
        let written = |critical| {
            let WrittenFormat { entry, tasks_apart, persons, erases } = Formats::LATEST.written_at(critical);
            (entry, tasks_apart, persons, erases)
        };
        let last = ENTRY_FORMAT_MAX;
        let (first, second) = ((1, false, false, false), (last, false, false, false));
        let (apart, persons) = ((last, true, false, false), (last, true, true, false));
        let all = [first, first, second, second, apart, persons, (last, true, true, true)];
        assert_eq!([0, 1, 2, 4, 5, 6, 7].map(written), all);
        assert_eq!(
            Formats::FIRST.written_at(CRITICAL_FORMAT_MAX),
            WrittenFormat { entry: ENTRY_FORMAT_FIRST, tasks_apart: false, persons: false, erases: false }
        );
    }

    #[test]
    fn a_hello_names_the_kinds_that_the_engine_applies() {
        let first = [Kind::WRITES, Kind::SPACE, Kind::CREDENTIAL, Kind::PROFILE];
        let later = [Kind::REVOCATION, Kind::EVIDENCE, Kind::TASKS, Kind::SEAT, Kind::SUCCESSION, Kind::DOCUMENT];
        let later = later.into_iter().chain([Kind::TASKS_APART, Kind::ERASE, Kind::CONFIRMATION]);
        let kinds = first.into_iter().chain(later);
        assert_eq!(Formats::LATEST.abilities().kinds, kinds.map(|kind| kind.0).collect());
    }
}
