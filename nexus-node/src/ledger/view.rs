//! Reading: the stored entries and logs, the folded records and writes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use borsh::BorshDeserialize;
use nexus_crdt::{
    Branches, Branching, Core, Dot, ENTRY_FORMAT_FIRST, Entry, EntryId, Field, Head, Header, Hlc, Incarnation, Kind,
    LogId, Members, PlacedWrite, SpaceId, Target, Verified, writes_of,
};
use nexus_identity::{Did, Timestamp};

use super::rows::{
    self, CutRow, Eno, EntryRow, EvidenceRow, LogNo, RecordRow, RecountRow, SpaceNo, SpaceRow, Standing, WriteRow,
    decode, unreadable,
};
use crate::store::{ALL_KEYS, Order, StoreError, Table, View};

/// The logs of this store with their heads, by number.
pub(crate) fn read_logs(view: &dyn View) -> Result<Vec<(LogNo, LogId, Option<Head>)>, StoreError> {
    let with_head = |(no, log)| Ok((no, log, read_branches(view, no)?.map(|held| held.head)));
    read_numbers(view)?.into_iter().map(with_head).collect()
}

/// All logs with their numbers.
fn read_numbers(view: &dyn View) -> Result<Vec<(LogNo, LogId)>, StoreError> {
    let mut logs = Vec::new();
    view.try_scan(Table::Logs, ALL_KEYS, Order::Forward, &mut |key, value| {
        let no = key.try_into().map(LogNo::from_be_bytes).map_err(|_| unreadable(Table::Logs))?;
        logs.push((no, decode(Table::Logs, value)?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(logs)
}

/// The held part of a log; `None` if nothing is held.
pub(crate) fn read_branches(view: &dyn View, log: LogNo) -> Result<Option<Branches>, StoreError> {
    view.get(Table::Frontier, &rows::log_key(log))?.map(|row| decode(Table::Frontier, &row)).transpose()
}

/// The fork of a log that evidence shows, if there is any.
pub(crate) fn evidence_of(view: &dyn View, log: &LogId) -> Result<Option<EvidenceRow>, StoreError> {
    view.get(Table::Evidence, &rows::evidence_key(log))?.map(|row| decode(Table::Evidence, &row)).transpose()
}

/// The number of entries by this node among the evidence against an author.
pub(crate) fn own_evidence_against(view: &dyn View, author: &Did) -> Result<u64, StoreError> {
    let mut own = 0;
    view.try_scan_prefix(Table::Evidence, author.as_bytes(), Order::Forward, &mut |_, row| {
        own += u64::from(decode::<EvidenceRow>(Table::Evidence, row)?.own);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(own)
}

/// An entry of a log at a seq; of several the one with the lowest id.
pub(crate) fn head_at(view: &dyn View, log: LogNo, seq: u64) -> Result<Option<Head>, StoreError> {
    let (from, to) = (rows::log_index_prefix(log, seq), rows::log_index_prefix(log, seq.saturating_add(1)));
    let bounds = (Bound::Included(from.as_slice()), Bound::Excluded(to.as_slice()));
    let found = view.first(Table::LogIndex, bounds, Order::Forward)?;
    Ok(found.and_then(|(key, _)| rows::read_log_index_key(&key)).map(|(seq, id)| Head { seq, id }))
}

/// Whether an entry counts.
pub(crate) fn standing(view: &dyn View, eno: Eno) -> Result<Standing, StoreError> {
    view.get(Table::Standing, &rows::eno_key(eno))?.map_or(Ok(Standing::Applied), |row| decode(Table::Standing, &row))
}

/// The time at which an entry came, if its stamp was ahead of it.
pub(crate) fn seen_at(view: &dyn View, eno: Eno) -> Result<Option<Timestamp>, StoreError> {
    let Some(row) = view.get(Table::Ahead, &rows::eno_key(eno))? else { return Ok(None) };
    let ms = row.try_into().map_err(|_| unreadable(Table::Ahead))?;
    Ok(Some(Timestamp::from_ms(u64::from_le_bytes(ms))))
}

/// The entries between two enos that do not count, with the reason.
pub(crate) fn standings(view: &dyn View, from: Eno, to: Eno) -> Result<BTreeMap<Eno, Standing>, StoreError> {
    by_eno(view, Table::Standing, from, to)
}

/// The entries that stopped counting when entry `eno` showed a fork of their log.
pub(crate) fn enos_cut_by(view: &dyn View, eno: Eno, cut: &CutRow) -> Result<Vec<Eno>, StoreError> {
    let mut enos = enos_of_log(view, cut.log, cut.from, before(cut.below))?;
    enos.retain(|other| *other < eno);
    Ok(enos)
}

/// The entries that began or stopped to count with the entries between two enos.
pub(crate) struct Turned {
    cuts: BTreeMap<Eno, CutRow>,
    recounts: BTreeMap<Eno, Vec<(LogNo, RecountRow)>>,
}

impl Turned {
    /// Reads which entries turned others.
    pub(crate) fn between(view: &dyn View, from: Eno, to: Eno) -> Result<Self, StoreError> {
        let mut recounts: BTreeMap<Eno, Vec<_>> = BTreeMap::new();
        let (start, end) = (rows::recount_key(from, 0), rows::recount_key(to, LogNo::MAX));
        let bounds = (Bound::Included(start.as_slice()), Bound::Included(end.as_slice()));
        view.try_scan(Table::Recounts, bounds, Order::Forward, &mut |key, value| {
            let (eno, log) = rows::read_recount_key(key).ok_or_else(|| unreadable(Table::Recounts))?;
            recounts.entry(eno).or_default().push((log, decode(Table::Recounts, value)?));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Self { cuts: by_eno(view, Table::Cuts, from, to)?, recounts })
    }

    /// The entries that turned others.
    #[cfg_attr(not(feature = "documents"), expect(dead_code, reason = "for living documents"))]
    #[cfg(feature = "documents")]
    pub(crate) fn all(&self) -> BTreeSet<Eno> {
        self.cuts.keys().chain(self.recounts.keys()).copied().collect()
    }

    /// Whether an entry turned others.
    pub(crate) fn by(&self, eno: Eno) -> bool {
        self.cuts.contains_key(&eno) || self.recounts.contains_key(&eno)
    }

    /// The entries that an entry turned, of those stored up to it.
    pub(crate) fn enos(&self, view: &dyn View, eno: Eno) -> Result<Vec<Eno>, StoreError> {
        let mut enos = self.cuts.get(&eno).map_or(Ok(Vec::new()), |cut| enos_cut_by(view, eno, cut))?;
        for (log, recount) in self.recounts.get(&eno).into_iter().flatten() {
            let of_log = enos_of_log(view, *log, recount.from, before(recount.to))?;
            enos.extend(of_log.into_iter().filter(|other| *other <= eno));
        }
        Ok(enos)
    }
}

/// The last seq before one; without one, the last of all.
fn before(to: Option<u64>) -> u64 {
    to.map_or(u64::MAX, |to| to.saturating_sub(1))
}

fn by_eno<T: BorshDeserialize>(
    view: &dyn View,
    table: Table,
    from: Eno,
    to: Eno,
) -> Result<BTreeMap<Eno, T>, StoreError> {
    let mut found = BTreeMap::new();
    let (start, end) = (rows::eno_key(from), rows::eno_key(to));
    let mut bad = false;
    view.scan(table, (Bound::Included(&start), Bound::Included(&end)), Order::Forward, &mut |key, value| {
        match (rows::read_eno(table, key), decode(table, value)) {
            (Ok(eno), Ok(row)) => {
                found.insert(eno, row);
            }
            _ => bad = true,
        }
        ControlFlow::Continue(())
    })?;
    if bad { Err(unreadable(table)) } else { Ok(found) }
}

/// The number of an entry, if it is held.
pub(crate) fn find_entry(view: &dyn View, id: EntryId) -> Result<Option<Eno>, StoreError> {
    view.get(Table::Ids, id.as_bytes())?.map(|row| rows::read_eno(Table::Ids, &row)).transpose()
}

/// A held entry by its id, as much of it as is here.
pub(crate) fn entry_of(view: &dyn View, id: EntryId) -> Result<Option<Verified>, StoreError> {
    Ok(find_entry(view, id)?.map(|eno| read_entry(view, eno)).transpose()?.flatten())
}

/// Whether a memory begins with a leaf that is here.
pub(crate) fn begins(entry: &Entry, leaf: u16) -> bool {
    let begins = |placed: &PlacedWrite| placed.index == leaf && matches!(placed.write.target, Target::Create { .. });
    entry.header().kind == Kind::WRITES && writes_of(entry).is_ok_and(|writes| writes.iter().any(begins))
}

/// All spaces.
pub(crate) fn read_spaces(view: &dyn View) -> Result<BTreeMap<SpaceId, SpaceRow>, StoreError> {
    let mut spaces = BTreeMap::new();
    view.try_scan(Table::Spaces, ALL_KEYS, Order::Forward, &mut |key, value| {
        let id = key.try_into().map(SpaceId::from_bytes).map_err(|_| unreadable(Table::Spaces))?;
        spaces.insert(id, decode(Table::Spaces, value)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(spaces)
}

/// Whether this node writes texts of tasks' events apart from their facts.
pub(crate) fn writes_tasks_apart(view: &dyn View) -> Result<bool, StoreError> {
    Ok(view.get(Table::Meta, rows::meta::TASKS_APART)?.is_some())
}

/// Whether this node may write erasures: the mesh has raised its formats.
pub(crate) fn may_write_erasures(view: &dyn View) -> Result<bool, StoreError> {
    Ok(view.get(Table::Meta, rows::meta::ERASES)?.is_some())
}

/// Whether credentials may say whose machine a member is: the mesh has raised its formats.
pub(crate) fn says_persons(view: &dyn View) -> Result<bool, StoreError> {
    Ok(view.get(Table::Meta, rows::meta::PERSONS)?.is_some())
}

/// The format in which this node writes entries.
pub(crate) fn entry_format(view: &dyn View) -> Result<u16, StoreError> {
    let row = view.get(Table::Meta, rows::meta::ENTRY_FORMAT)?;
    let format = row.map(|row| row.try_into().map(u16::from_le_bytes).map_err(|_| unreadable(Table::Meta)));
    Ok(format.transpose()?.unwrap_or(ENTRY_FORMAT_FIRST))
}

/// All logs of which something is held, by number.
pub(crate) fn read_held(view: &dyn View) -> Result<Vec<(LogNo, LogId, Branches)>, StoreError> {
    let mut held = Vec::new();
    for (no, log) in read_numbers(view)? {
        held.extend(read_branches(view, no)?.map(|branches| (no, log, branches)));
    }
    Ok(held)
}

/// One space, if its definition is held.
pub(crate) fn find_space(view: &dyn View, space: SpaceId) -> Result<Option<SpaceRow>, StoreError> {
    view.get(Table::Spaces, space.as_bytes())?.map(|row| decode(Table::Spaces, &row)).transpose()
}

/// An entry with its payload.
pub(crate) fn read_entry(view: &dyn View, eno: Eno) -> Result<Option<Verified>, StoreError> {
    let Some(row) = view.get(Table::Entries, &rows::eno_key(eno))? else {
        return Ok(None);
    };
    let payload = view.get(Table::Payloads, &rows::eno_key(eno))?;
    decode::<EntryRow>(Table::Entries, &row)?.into_entry(payload).map(Some)
}

/// The entry with an author's latest profile that counts.
pub(crate) fn latest_profile(view: &dyn View, author: &Did) -> Result<Option<Eno>, StoreError> {
    let (first, last) = (EntryId::ZERO, EntryId::from_bytes([0xff; 32]));
    let (start, end) = (rows::profile_key(author, Hlc(0), first), rows::profile_key(author, Hlc(u64::MAX), last));
    let range = (Bound::Included(start.as_slice()), Bound::Included(end.as_slice()));
    let latest = view.first(Table::Profiles, range, Order::Backward)?;
    latest.map(|(_, eno)| rows::read_eno(Table::Profiles, &eno)).transpose()
}

/// The last number given to an entry.
pub(crate) fn last_eno(view: &dyn View) -> Result<Eno, StoreError> {
    let last = view.first(Table::Entries, ALL_KEYS, Order::Backward)?;
    last.map_or(Ok(0), |(key, _)| rows::read_eno(Table::Entries, &key))
}

/// The entries of a log between two seqs in order, including those that do not count.
pub(crate) fn enos_of_log(view: &dyn View, log: LogNo, from: u64, to: u64) -> Result<Vec<Eno>, StoreError> {
    Ok(entries_of_log(view, log, from, to)?.into_iter().map(|(eno, _)| eno).collect())
}

/// The same with their ids.
pub(crate) fn entries_of_log(
    view: &dyn View,
    log: LogNo,
    from: u64,
    to: u64,
) -> Result<Vec<(Eno, EntryId)>, StoreError> {
    let mut entries = Vec::new();
    let start = rows::log_index_prefix(log, from);
    let end = rows::log_index_key(log, to, EntryId::from_bytes([0xff; 32]));
    let range = (Bound::Included(start.as_slice()), Bound::Included(end.as_slice()));
    view.try_scan(Table::LogIndex, range, Order::Forward, &mut |key, value| {
        let (_, id) = rows::read_log_index_key(key).ok_or_else(|| unreadable(Table::LogIndex))?;
        entries.push((rows::read_eno(Table::LogIndex, value)?, id));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(entries)
}

/// The record that its author calls a former one by this id, unless it is forgotten.
pub(crate) fn record_that_was(view: &dyn View, former: &str, author: &Did) -> Result<Option<Dot>, StoreError> {
    for dot in records_that_were(view, former, author)? {
        if find_record(view, dot)?.is_some_and(|(_, row)| !row.gone) {
            return Ok(Some(dot));
        }
    }
    Ok(None)
}

/// The records that their author calls a former one by this id, lowest first, also forgotten ones. It is asked for this
/// node's own, of which there is seldom more than one.
pub(crate) fn records_that_were(view: &dyn View, former: &str, author: &Did) -> Result<Vec<Dot>, StoreError> {
    let mut records = Vec::new();
    view.scan_prefix(Table::Was, &rows::was_prefix(former, author), Order::Forward, &mut |key, _| {
        records.extend(rows::dot_at_end(key));
        ControlFlow::Continue(())
    })?;
    Ok(records)
}

/// Whether an entry of a log is held at its seq. Whoever pins may name an entry of another log.
pub(crate) fn holds(view: &dyn View, log: &LogId, entry: &Head) -> Result<bool, StoreError> {
    let held = find_header(view, entry.id)?;
    Ok(held.is_some_and(|(_, _, header)| header.log() == *log && header.seq == entry.seq))
}

/// The authors whose newest entry is of an incarnation with a forked log, each with the lowest seq that has two
/// entries. An author that went on in another incarnation is not among them.
pub(crate) fn forking_authors(view: &dyn View) -> Result<BTreeMap<Did, u64>, StoreError> {
    let held = read_held(view)?;
    let forked: BTreeSet<Did> =
        held.iter().filter(|(.., held)| held.cut.is_some()).map(|(_, log, _)| log.author).collect();
    let mut newest: BTreeMap<Did, (Hlc, Incarnation)> = BTreeMap::new();
    for (_, log, held) in held.iter().filter(|(_, log, _)| forked.contains(&log.author)) {
        let Some((.., header)) = find_header(view, held.head.id)? else { continue };
        let newest = newest.entry(log.author).or_insert((header.hlc, log.incarnation));
        *newest = (*newest).max((header.hlc, log.incarnation));
    }
    let mut forking: BTreeMap<Did, u64> = BTreeMap::new();
    for (_, log, held) in held {
        let current = newest.get(&log.author).is_some_and(|(_, incarnation)| *incarnation == log.incarnation);
        if let Some(cut) = held.cut.filter(|_| current) {
            let lowest = forking.entry(log.author).or_insert(cut);
            *lowest = cut.min(*lowest);
        }
    }
    Ok(forking)
}

/// The header of an entry and the number of its log, if it is held.
fn find_header(view: &dyn View, id: EntryId) -> Result<Option<(Eno, LogNo, Header)>, StoreError> {
    let Some(eno) = find_entry(view, id)? else { return Ok(None) };
    let Some(row) = view.get(Table::Entries, &rows::eno_key(eno))? else { return Ok(None) };
    let row: EntryRow = decode(Table::Entries, &row)?;
    let header = Header::decode(&row.header).map_err(|_| unreadable(Table::Entries))?;
    Ok(Some((eno, row.log, header)))
}

/// The last entry of a log that members exchange, of a log held up to `head`: of a former member's
/// memories that is the pinned one. `None` if there is nothing to exchange, or if another branch is held than
/// the one that counts, which is asked for from the start.
pub(crate) fn exchanged_head(
    view: &dyn View,
    members: &Members,
    mesh_space: SpaceId,
    log: &LogId,
    head: Option<Head>,
) -> Result<Option<Head>, StoreError> {
    if !members.has_verdict(&log.author) {
        return Ok(head);
    }
    let in_mesh_space = log.space == mesh_space;
    let Some(pin) = members.pin_of(log) else { return Ok(head.filter(|_| in_mesh_space)) };
    match head {
        Some(head) if pin.seq <= head.seq => {
            Ok(holds(view, log, &pin)?.then_some(if in_mesh_space { head } else { pin }))
        }
        head => Ok(head),
    }
}

/// The entries of a branch, from its last one down to seq `from`, as far as they are held.
pub(crate) fn branch(view: &dyn View, log: LogNo, last: &Head, from: u64) -> Result<Vec<(Eno, EntryId)>, StoreError> {
    let (mut entries, mut seq, mut id) = (Vec::new(), last.seq, last.id);
    while seq >= from {
        // whoever pins may name an entry of another log
        let held = find_header(view, id)?.filter(|(_, no, header)| (*no, header.seq) == (log, seq));
        let Some((eno, _, header)) = held else { break };
        entries.push((eno, id));
        let Some(before) = seq.checked_sub(1) else { break };
        (seq, id) = (before, header.prev);
    }
    Ok(entries)
}

/// The number of a log, and its lowest seq with two entries. `None` for a log of which nothing is held.
type HeldLog<'a> = dyn Fn(&LogId) -> Option<(LogNo, Option<u64>)> + 'a;

/// The branches of the logs of a view. Each branch is read once. The first error of the view is kept
/// until [`finish`](Self::finish).
pub(crate) struct HeldBranches<'a> {
    view: &'a dyn View,
    held: &'a HeldLog<'a>,
    /// The entries of each branch by its last one, from where the log forked.
    read: RefCell<BTreeMap<EntryId, BTreeSet<EntryId>>>,
    failed: RefCell<Option<StoreError>>,
}

impl<'a> HeldBranches<'a> {
    /// The branches of a view.
    pub(crate) fn new(view: &'a dyn View, held: &'a HeldLog<'a>) -> Self {
        Self { view, held, read: RefCell::default(), failed: RefCell::new(None) }
    }

    /// The error that the view had.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }
}

impl Branching for HeldBranches<'_> {
    fn forked_at(&self, log: &LogId) -> Option<u64> {
        (self.held)(log)?.1
    }

    fn is_on_branch(&self, log: &LogId, entry: &Head, last: &Head) -> bool {
        let Some((no, forked_at)) = (self.held)(log) else { return false };
        let mut read = self.read.borrow_mut();
        let ids = read.entry(last.id).or_insert_with(|| match branch(self.view, no, last, forked_at.unwrap_or(0)) {
            Ok(entries) => entries.into_iter().map(|(_, id)| id).collect(),
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                BTreeSet::new()
            }
        });
        ids.contains(&entry.id)
    }
}

/// The author of a log.
pub(crate) fn author_of(view: &dyn View, log: LogNo) -> Result<Did, StoreError> {
    let row = view.get(Table::Logs, &rows::log_key(log))?.ok_or_else(|| unreadable(Table::Logs))?;
    decode(Table::Logs, &row).map(|log: LogId| log.author)
}

/// The spaces that entries of a log created.
pub(crate) fn spaces_created_in(view: &dyn View, log: LogNo) -> Result<Vec<SpaceId>, StoreError> {
    let mut spaces = Vec::new();
    for eno in enos_of_log(view, log, 0, u64::MAX)? {
        let entry = read_entry(view, eno)?.filter(|entry| entry.header().kind == Kind::SPACE);
        spaces.extend(entry.map(|entry| SpaceId::created_by(entry.id())));
    }
    Ok(spaces)
}

/// The JSON of a record's core.
pub(crate) fn read_core_text(view: &dyn View, eno: Eno, row: &RecordRow) -> Result<String, StoreError> {
    let (from, len) = (row.offset as usize, row.len as usize);
    let text = view.get_part(Table::Payloads, &rows::eno_key(eno), from..from.saturating_add(len), row.check)?;
    text.and_then(|text| String::from_utf8(text).ok()).ok_or_else(|| unreadable(Table::Payloads))
}

/// The core of a record.
pub(crate) fn read_core(view: &dyn View, eno: Eno, row: &RecordRow) -> Result<Core, StoreError> {
    Core::parse(&read_core_text(view, eno, row)?).ok_or_else(|| unreadable(Table::Payloads))
}

/// Whether there is a key with this prefix.
pub(crate) fn has_any(view: &dyn View, table: Table, prefix: &[u8]) -> Result<bool, StoreError> {
    let mut any = false;
    view.scan_prefix(table, prefix, Order::Forward, &mut |_, _| {
        any = true;
        ControlFlow::Break(())
    })?;
    Ok(any)
}

/// The live writes of a field.
pub(crate) fn live_writes(
    view: &dyn View,
    space: SpaceNo,
    record: Dot,
    field: &str,
) -> Result<Vec<(Dot, WriteRow)>, StoreError> {
    let live = writes_below(view, Table::Live, &rows::field_prefix(space, record, field))?;
    Ok(live.into_iter().map(|(_, dot, row)| (dot, row)).collect())
}

fn writes_below(view: &dyn View, table: Table, prefix: &[u8]) -> Result<Vec<(Field, Dot, WriteRow)>, StoreError> {
    let mut writes = Vec::new();
    each_write_below(view, table, prefix, &mut |field, dot, row| {
        writes.push((field, dot, row));
        Ok(())
    })?;
    Ok(writes)
}

/// Shows the writes of a record in `Live` or `Past` one by one, without those that never arrived.
pub(crate) fn each_write(
    view: &dyn View,
    table: Table,
    space: SpaceNo,
    record: Dot,
    see: &mut dyn FnMut(Field, Dot, WriteRow) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    each_write_below(view, table, &rows::record_prefix(space, record), see)
}

fn each_write_below(
    view: &dyn View,
    table: Table,
    prefix: &[u8],
    see: &mut dyn FnMut(Field, Dot, WriteRow) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    view.try_scan_prefix(table, prefix, Order::Forward, &mut |key, value| {
        if !value.is_empty() {
            let (field, dot) = rows::read_write_key(key).ok_or_else(|| unreadable(table))?;
            see(field, dot, decode(table, value)?)?;
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// A record's row and the number of its entry, if it was created here.
pub(crate) fn find_record(view: &dyn View, record: Dot) -> Result<Option<(Eno, RecordRow)>, StoreError> {
    let Some(eno) = find_entry(view, record.entry)? else {
        return Ok(None);
    };
    let row = view.get(Table::Records, &rows::record_key(eno, record.index))?;
    row.map(|row| Ok((eno, rows::decode(Table::Records, &row)?))).transpose()
}

/// The id of an entry by its number.
pub(crate) fn entry_id_of(view: &dyn View, eno: Eno) -> Result<Option<EntryId>, StoreError> {
    let row = view.get(Table::Entries, &rows::eno_key(eno))?;
    row.map(|row| Ok(EntryId::of(&rows::decode::<EntryRow>(Table::Entries, &row)?.header))).transpose()
}
