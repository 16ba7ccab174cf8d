use std::ops::{Bound, ControlFlow};

use nexus_crdt::{EntryFrame, EntryId, FRAME_ENTRIES_MAX, Head, Range};

use crate::ledger;
use crate::ledger::rows::{self, Eno, EntryRow, LogNo};
use crate::store::{Order, StoreError, Table, View};

/// Payload and header bytes after which a frame of entries is closed; well below the 1 MiB that
/// a frame may have, whatever the last entry adds.
const FRAME_BYTES: usize = 256 * 1024;
/// Entries looked at in one go.
const SCAN_ENTRIES: usize = 2_048;

/// Logs to send: ours go first, and of those of others so much at a time as the peer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    Others,
}

/// Entries on their way into one frame.
#[derive(Default)]
pub(super) struct Parcel {
    pub(super) entries: Vec<EntryFrame>,
    pub(super) bytes: usize,
}

impl Parcel {
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= FRAME_BYTES || self.entries.len() >= FRAME_ENTRIES_MAX
    }

    pub(super) fn add(&mut self, eno: Eno, view: &dyn View) -> Result<Option<Head>, StoreError> {
        let Some(entry) = ledger::read_entry(view, eno)? else {
            return Ok(None);
        };
        let frame = EntryFrame::new(&entry);
        self.bytes += frame.header.len() + frame.signature.len() + frame.payload.as_ref().map_or(0, Vec::len);
        self.entries.push(frame);
        Ok(Some(Head { seq: entry.header().seq, id: entry.id() }))
    }
}

/// An entry as a cursor sees it.
pub(super) struct Peek {
    pub(super) eno: Eno,
    pub(super) log: LogNo,
    pub(super) seq: u64,
}

/// Some entries from `from` on, up to `last`, and the first one not among them.
pub(super) fn peek_entries(view: &dyn View, from: Eno, last: Eno) -> Result<(Vec<Peek>, Eno), StoreError> {
    let mut peeks = Vec::new();
    let (start, end) = (rows::eno_key(from), rows::eno_key(last));
    let range = (Bound::Included(start.as_slice()), Bound::Included(end.as_slice()));
    view.try_scan(Table::Entries, range, Order::Forward, &mut |key, value| {
        let eno = rows::read_eno(Table::Entries, key)?;
        let (log, seq) = EntryRow::peek(value).ok_or_else(|| rows::unreadable(Table::Entries))?;
        peeks.push(Peek { eno, log, seq });
        Ok(if peeks.len() < SCAN_ENTRIES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let next = if peeks.len() < SCAN_ENTRIES { last + 1 } else { peeks.last().map_or(last, |peek| peek.eno) + 1 };
    Ok((peeks, next))
}

/// A range on its way to the peer, with all branches of its log.
#[derive(Debug)]
pub(super) struct Sending {
    /// The part still to send.
    pub(super) range: Range,
    /// The last entry that was sent at its first seq.
    pub(super) after: Option<EntryId>,
}

impl Sending {
    /// Leaves out what the peer got elsewhere. Where it acknowledges what it was just sent, the rest
    /// of that seq still goes out.
    pub(super) fn skip_to(&mut self, seq: u64) {
        let first = self.range.from + u64::from(self.after.is_some());
        if seq > first {
            (self.range.from, self.after) = (seq, None);
        }
    }

    /// Notes what was sent. Returns the last entry of the seq before, if another one begins.
    pub(super) fn sent(&mut self, at: Head) -> Option<Head> {
        let before = self.last().filter(|_| at.seq > self.range.from);
        (self.range.from, self.after) = (at.seq, Some(at.id));
        before
    }

    /// The last entry that was sent.
    pub(super) fn last(&self) -> Option<Head> {
        self.after.map(|id| Head { seq: self.range.from, id })
    }
}

/// Some entries of a log from what was sent last on, by seq and id.
pub(super) fn log_entries(view: &dyn View, log: LogNo, sending: &Sending) -> Result<Vec<(Head, Eno)>, StoreError> {
    let mut found: Vec<(Head, Eno)> = Vec::new();
    let Sending { range, after } = sending;
    let (first, last) = (after.unwrap_or(EntryId::ZERO), EntryId::from_bytes([0xff; 32]));
    let (first, last) = (rows::log_index_key(log, range.from, first), rows::log_index_key(log, range.to, last));
    let start = if after.is_some() { Bound::Excluded(first.as_slice()) } else { Bound::Included(first.as_slice()) };
    let bounds = (start, Bound::Included(last.as_slice()));
    view.try_scan(Table::LogIndex, bounds, Order::Forward, &mut |key, value| {
        let (seq, id) = rows::read_log_index_key(key).ok_or_else(|| rows::unreadable(Table::LogIndex))?;
        found.push((Head { seq, id }, rows::read_eno(Table::LogIndex, value)?));
        Ok(if found.len() < FRAME_ENTRIES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}
