//! The kinds of entries that this version knows: what an entry of each changes, and what becomes of that when the entry
//! stops counting.
//!
//! A new kind is a file here and a line of [`KINDS`]. Entries of all other kinds are verified, kept and forwarded, and stand
//! as [`Standing::Unknown`].

mod confirmation;
mod credential;
mod document;
mod erase;
mod evidence;
mod profile;
mod revocation;
mod seat;
mod space;
mod succession;
mod tasks;
mod writes;

use nexus_crdt::{FormError, Kind, SpaceId, Verified};
use nexus_identity::Did;

use super::writes::Undone;
use super::{Engine, LedgerError, Turn};
use crate::ledger::rows::{Eno, Standing};

/// A line for each kind.
const KINDS: &[&dyn EntryKind] = &[
    &writes::Memories,
    &space::Definition,
    &credential::Credential,
    &revocation::Ending,
    &evidence::Proof,
    &tasks::Events,
    &document::Words,
    &profile::Description,
    &seat::Seating,
    &succession::NewKey,
    &erase::Erasure,
    &confirmation::Carried,
];

/// The outcome of folding an entry. The inner error is the author's fault: quarantine.
pub(super) type Folded = Result<Result<Standing, FormError>, LedgerError>;

/// The spaces in which entries of a kind mean something. Elsewhere they are of no known kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// The mesh's own space.
    Mesh,
    /// All others.
    Others,
}

/// Whether entries of a kind depend on the verdict on their log.
#[derive(Clone, Copy)]
pub(super) enum Counting {
    /// They count always: such an entry proves itself at any place, or the verdict follows from it.
    Always,
    /// They count by the verdict, so what they change can be taken out and put back.
    ByVerdict(&'static dyn Reversible),
}

impl Counting {
    /// Whether the fold takes entries that do not count as well.
    pub(super) fn folds_all(self) -> bool {
        match self {
            Self::Always => true,
            Self::ByVerdict(kind) => kind.folds_all(),
        }
    }
}

/// An entry with its number.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) eno: Eno,
    pub(super) entry: &'a Verified,
    /// Whether it counts by the verdict on its log.
    pub(super) counts: bool,
}

/// The rest of the work when entries stop counting: their caller does it for all of them at once.
#[derive(Default)]
pub(super) struct TakenOut {
    /// Their writes.
    pub(super) undone: Undone,
    /// Whether their author is to be described anew.
    pub(super) described: bool,
}

/// A kind of entries.
pub(super) trait EntryKind: Sync {
    /// Its numbers.
    fn numbers(&self) -> &'static [Kind];

    /// The spaces in which it means something.
    fn within(&self) -> Within;

    /// Whether its entries depend on the verdict on their log.
    fn counting(&self) -> Counting;

    /// Changes the tables and the state by an entry. It depends on the set of entries alone.
    fn fold(&self, engine: &mut Engine, placed: Placed<'_>, turn: &mut Turn<'_>) -> Folded;

    /// Takes all rows of an entry out before a part of it is erased. Returns whether what is left is to be folded.
    fn unfold(&self, _: &mut Engine, _: Placed<'_>, _: &mut Turn<'_>) -> Result<bool, LedgerError> {
        Ok(false)
    }
}

/// A kind whose entries may stop counting.
pub(super) trait Reversible: Sync {
    /// Whether the fold takes entries that do not count as well, and does otherwise with them.
    fn folds_all(&self) -> bool {
        false
    }

    /// Takes an entry that stops counting out of all that it changed. `before` is how it stood.
    fn take_out(
        &self,
        engine: &mut Engine,
        placed: Placed<'_>,
        before: Standing,
        out: &mut TakenOut,
        turn: &mut Turn<'_>,
    ) -> Result<(), LedgerError>;

    /// Puts an entry back that counts again. Returns whether its author is to be described anew.
    fn put_back(
        &self,
        engine: &mut Engine,
        Placed { eno, entry, .. }: Placed<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<bool, LedgerError> {
        engine.fold_as_it_counts(eno, entry, true, turn)?;
        Ok(false)
    }
}

/// The kind of an entry; `None` if this version does not know it there.
pub(super) fn kind_of(mesh: &Did, entry: &Verified) -> Option<&'static dyn EntryKind> {
    let header = entry.header();
    let within = if header.space == SpaceId::mesh(mesh) { Within::Mesh } else { Within::Others };
    KINDS.iter().copied().find(|kind| kind.within() == within && kind.numbers().contains(&header.kind))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_kinds_have_one_number_and_the_reserved_ones_are_unknown() {
        let mut seen = BTreeSet::new();
        for number in KINDS.iter().flat_map(|kind| kind.numbers()) {
            assert!(seen.insert(*number), "{number:?} has two folds");
        }
        for reserved in [Kind::GRANT, Kind::FRONTIER_ACK, Kind::CHECKPOINT] {
            assert!(!seen.contains(&reserved), "{reserved:?}");
        }
    }
}
