use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::Head;

use crate::ledger::rows::{self, Eno, EntryRow, LogNo};
use crate::ledger::{self, head_at};
use crate::store::{StoreError, Table, View};

/// The most entries that a peer is asked for in one frontier.
const TOGETHER: usize = 1_024;
/// How often a peer is asked in one session.
const LOOKS_MAX: u32 = 8;

/// Held entries that lack leaves which nobody erased by a word that counts. A peer sends what follows the head that it hears
/// of, so it hears of the entry before the first of them.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// The first entry of each log that the peer is asked for, with its number in the log.
    asked: BTreeMap<LogNo, u64>,
    /// The entries that the peer is still to send.
    open: BTreeSet<Eno>,
    /// The entries that it sent.
    came: BTreeSet<Eno>,
    looks: u32,
}

impl Lacking {
    /// Finds what this peer is asked for in the next frontier.
    pub(super) fn begin(&mut self, view: &dyn View) -> Result<(), StoreError> {
        (self.asked, self.open) = Default::default();
        if self.looks >= LOOKS_MAX {
            return Ok(());
        }
        let lacking = ledger::lacking_entries(view)?.into_iter().filter(|eno| !self.came.contains(eno));
        self.open = lacking.take(TOGETHER).collect();
        for eno in &self.open {
            let row = view.get(Table::Entries, &rows::eno_key(*eno))?;
            let Some((log, seq)) = row.as_deref().and_then(EntryRow::peek) else { continue };
            self.asked.entry(log).and_modify(|first| *first = seq.min(*first)).or_insert(seq);
        }
        self.looks += u32::from(!self.open.is_empty());
        Ok(())
    }

    /// The head of which the peer hears; `None` if it is to send the whole log.
    pub(super) fn said(&self, no: LogNo, head: Head, view: &dyn View) -> Result<Option<Head>, StoreError> {
        match self.asked.get(&no) {
            Some(first) if *first <= head.seq => match first.checked_sub(1) {
                Some(before) => head_at(view, no, before),
                None => Ok(None),
            },
            _ => Ok(Some(head)),
        }
    }

    /// Whether the peer is asked for entries of a log. An acknowledgement of our head would end that.
    pub(super) fn is_sought(&self, no: LogNo) -> bool {
        self.asked.contains_key(&no)
    }

    /// Notes that the peer sent a held entry. Returns whether nothing else is to come: the peer is to hear of our heads then.
    pub(super) fn came(&mut self, eno: Eno) -> bool {
        if !self.open.remove(&eno) {
            return false;
        }
        self.came.insert(eno);
        self.open.is_empty()
    }
}
