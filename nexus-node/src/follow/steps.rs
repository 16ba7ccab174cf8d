use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};
use std::vec::IntoIter;

use nexus_crdt::Verified;

use super::place::LogPlace;
use crate::ledger::rows::{self, Eno, EntryRow};
use crate::ledger::{self, Turned};
use crate::store::{Order, StoreError, Table, View};

/// The most entries of one portion. Their payloads are read one at a time.
const ENTRIES_MAX: usize = 256;

/// The entries after a place, in the order in which this node stored them: a bounded portion of them.
///
/// A follower goes on with another portion after the last step of this one. An empty portion is the end for now.
pub(crate) struct Steps<'a> {
    view: &'a dyn View,
    after: LogPlace,
    rows: IntoIter<(Eno, EntryRow)>,
    standings: BTreeSet<Eno>,
    turned: Turned,
}

impl<'a> Steps<'a> {
    /// The first entries after a place, up to entry `until`.
    ///
    /// A follower that shows entries to others passes the number that was announced last. Later ones may be on the disk
    /// while the members that may see them are not known yet.
    pub(crate) fn after(view: &'a dyn View, after: LogPlace, until: Eno) -> Result<Self, StoreError> {
        let mut rows = Vec::new();
        let start = rows::eno_key(after.eno);
        let from = if after.is_whole() { Bound::Excluded(&start[..]) } else { Bound::Included(&start[..]) };
        view.try_scan(Table::Entries, (from, Bound::Unbounded), Order::Forward, &mut |key, value| {
            let eno = rows::read_eno(Table::Entries, key)?;
            if eno > until {
                return Ok(ControlFlow::Break(()));
            }
            rows.push((eno, rows::decode::<EntryRow>(Table::Entries, value)?));
            Ok(if rows.len() < ENTRIES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        let (first, last) = match (rows.first(), rows.last()) {
            (Some((first, _)), Some((last, _))) => (*first, *last),
            _ => (after.eno, after.eno),
        };
        let standings = ledger::standings(view, first, last)?.into_keys().collect();
        let turned = Turned::between(view, first, last)?;
        Ok(Self { view, after, rows: rows.into_iter(), standings, turned })
    }

    /// The next entry; `None` at the end of the portion.
    pub(crate) fn next(&mut self) -> Option<Step<'_>> {
        let (eno, row) = self.rows.next()?;
        let skip = if eno == self.after.eno { self.after.index } else { 0 };
        let (counts, turns) = (!self.standings.contains(&eno), self.turned.by(eno));
        Some(Step { view: self.view, eno, skip, counts, turns, row, turned: &self.turned })
    }
}

/// An entry as it came, for a follower.
pub(crate) struct Step<'a> {
    view: &'a dyn View,
    /// Its number here.
    pub(crate) eno: Eno,
    /// The parts of it that the follower has seen.
    pub(crate) skip: u32,
    /// Whether it says something that counts.
    pub(crate) counts: bool,
    /// Whether the verdict of earlier entries changed with it.
    pub(crate) turns: bool,
    row: EntryRow,
    turned: &'a Turned,
}

impl Step<'_> {
    /// The earlier entries whose verdict changed with it: they counted and do so no more, or the other way round.
    pub(crate) fn turned(&self) -> Result<Vec<Eno>, StoreError> {
        if self.turns { self.turned.enos(self.view, self.eno) } else { Ok(Vec::new()) }
    }

    /// The entry itself, with what is here of its payload.
    pub(crate) fn entry(self) -> Result<Verified, StoreError> {
        let payload = self.view.get(Table::Payloads, &rows::eno_key(self.eno))?;
        self.row.into_entry(payload)
    }
}
