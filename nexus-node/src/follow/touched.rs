use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use nexus_crdt::{ALL_LEAVES, Core, Dot, Erase, Kind, PlacedWrite, Target, Verified, writes_of};

use super::place::LogPlace;
use super::steps::Steps;
use crate::ledger::rows::{Eno, SpaceNo, unreadable};
use crate::ledger::{self, TOGETHER_MAX, first_with_key, records_with_key};
use crate::store::{Order, StoreError, Table, View};

/// The records that may look different after an entry than before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// The records that it writes to, and those with the same keys: one is shown in the place of others.
    pub(crate) written: BTreeSet<Dot>,
    /// The records of entries whose verdict changed with it, and those with the same keys.
    pub(crate) turned: BTreeSet<Dot>,
    /// The records of which it erased something. A follower that keeps texts of them drops those for good.
    pub(crate) erased: BTreeSet<Dot>,
}

impl Touched {
    /// All of them, each once.
    pub(crate) fn all(self) -> BTreeSet<Dot> {
        let Self { mut written, mut turned, mut erased } = self;
        written.append(&mut turned);
        written.append(&mut erased);
        written
    }
}

/// Some entries after one, each with the records that it touched.
pub(crate) fn touched_after(view: &dyn View, after: Eno) -> Result<Vec<(Eno, Touched)>, StoreError> {
    let (mut steps, mut found) = (Steps::after(view, LogPlace::after(after), Eno::MAX)?, Vec::new());
    let mut sharing = Sharing { view, looked: BTreeSet::new() };
    while let Some(step) = steps.next() {
        let (eno, mut touched) = (step.eno, Touched::default());
        for other in step.turned()? {
            let Some(entry) = ledger::read_entry(view, other)? else { continue };
            sharing.add(&entry, &mut touched.turned)?;
            touched.erased.extend(erased_by(view, &entry)?);
        }
        if step.counts {
            let entry = step.entry()?;
            sharing.add(&entry, &mut touched.written)?;
            touched.erased.extend(erased_by(view, &entry)?);
        }
        found.push((eno, touched));
    }
    Ok(found)
}

/// The most records with one key that are looked at when another one comes or goes. One record of a key is shown,
/// and members choose how many there are.
const SHARING_MAX: usize = TOGETHER_MAX;

/// The records that share keys with others, in one state. Each key is looked up once.
struct Sharing<'a> {
    view: &'a dyn View,
    looked: BTreeSet<(SpaceNo, String)>,
}

impl Sharing<'_> {
    /// Adds the records that an entry writes to, and those with the keys of the ones that it creates. Of the records with one
    /// key one is shown in the place of all.
    fn add(&mut self, entry: &Verified, dots: &mut BTreeSet<Dot>) -> Result<(), StoreError> {
        let mut space = None;
        for Written { record, key, .. } in written_by(entry) {
            dots.insert(record);
            let Some(key) = key else { continue };
            if space.is_none() {
                space = ledger::find_space(self.view, entry.header().space)?;
            }
            let Some(space) = &space else { continue };
            let of_key = (space.no, key);
            if !self.looked.contains(&of_key) {
                dots.extend(first_with_key(self.view, space.no, &of_key.1)?);
                dots.extend(records_with_key(self.view, space.no, &of_key.1, SHARING_MAX)?);
                self.looked.insert(of_key);
            }
        }
        Ok(())
    }
}

/// A write of an entry.
struct Written {
    /// Its number in the entry.
    index: u16,
    record: Dot,
    /// The caller's key of a record that it creates.
    key: Option<String>,
}

/// The writes of an entry.
fn written_by(entry: &Verified) -> Vec<Written> {
    if entry.header().kind != Kind::WRITES {
        return Vec::new();
    }
    let written = |PlacedWrite { index, write, .. }| match write.target {
        Target::Create { .. } => Written { index, record: Dot { entry: entry.id(), index }, key: key_in(&write.value) },
        Target::Edit { record } => Written { index, record, key: None },
    };
    writes_of(entry).unwrap_or_default().into_iter().map(written).collect()
}

/// The caller's key in a core. Most have none, and parsing costs more than searching for the word, or for an escape that
/// may stand for a letter of it.
fn key_in(core: &str) -> Option<String> {
    let may_have = core.contains("\"key\"") || core.contains("\\u");
    may_have.then(|| Core::parse(core)?.key).flatten()
}

/// The records of the leaves that an entry erases, as far as they were here.
fn erased_by(view: &dyn View, entry: &Verified) -> Result<BTreeSet<Dot>, StoreError> {
    let mut records = BTreeSet::new();
    if entry.header().kind != Kind::ERASE {
        return Ok(records);
    }
    let Ok(Ok(erase)) = entry.content().map(Erase::decode) else { return Ok(records) };
    for (id, leaf) in erase.leaves() {
        // all of an entry in one piece
        let leaves = if *leaf == ALL_LEAVES { 0..=u16::MAX } else { *leaf..=*leaf };
        let key = |index| Dot { entry: *id, index }.to_bytes();
        let (first, last) = (key(*leaves.start()), key(*leaves.end()));
        let range = (Bound::Included(first.as_slice()), Bound::Included(last.as_slice()));
        view.try_scan(Table::ErasedOf, range, Order::Forward, &mut |_, record| {
            records.insert(Dot::from_bytes(record).ok_or_else(|| unreadable(Table::ErasedOf))?);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(records)
}

/// The records that stand for those with the callers' keys of an entry's records, which are shown in their place, each with
/// the number of the write.
pub(crate) fn shown_instead(view: &dyn View, entry: &Verified) -> Result<Vec<(u16, Dot)>, StoreError> {
    let keys = written_by(entry).into_iter().filter_map(|Written { index, key, .. }| Some((index, key?)));
    let keys: Vec<(u16, String)> = keys.collect();
    let space = if keys.is_empty() { None } else { ledger::find_space(view, entry.header().space)? };
    let Some(space) = space else { return Ok(Vec::new()) };
    let mut shown = Vec::new();
    for (index, key) in keys {
        shown.extend(first_with_key(view, space.no, &key)?.map(|dot| (index, dot)));
    }
    Ok(shown)
}
