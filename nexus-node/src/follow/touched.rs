use std::collections::BTreeSet;

use nexus_crdt::{Core, Dot, Kind, PlacedWrite, Target, Verified, writes_of};

use super::place::LogPlace;
use super::steps::Steps;
use crate::ledger::rows::{Eno, SpaceNo};
use crate::ledger::{self, TOGETHER_MAX, first_with_key, records_with_key};
use crate::store::{StoreError, View};

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
            touched.turned.extend(written_by(&entry));
            touched.turned.extend(sharing.with_keys_of(&entry)?);
        }
        if step.counts {
            let entry = step.entry()?;
            touched.written.extend(written_by(&entry));
            touched.written.extend(sharing.with_keys_of(&entry)?);
            touched.erased.extend(erased_by(&entry));
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
    /// The records that have the keys of an entry's records: it may be shown in the place of one of them, or one of them in
    /// its place.
    fn with_keys_of(&mut self, entry: &Verified) -> Result<BTreeSet<Dot>, StoreError> {
        let mut dots = BTreeSet::new();
        let keys = keys_of(entry);
        let Some(space) = (if keys.is_empty() { None } else { ledger::find_space(self.view, entry.header().space)? })
        else {
            return Ok(dots);
        };
        for (_, key) in keys {
            if !self.looked.contains(&(space.no, key.clone())) {
                dots.extend(first_with_key(self.view, space.no, &key)?);
                dots.extend(records_with_key(self.view, space.no, &key, SHARING_MAX)?);
                self.looked.insert((space.no, key));
            }
        }
        Ok(dots)
    }
}

/// The records that an entry writes to.
fn written_by(entry: &Verified) -> Vec<Dot> {
    if entry.header().kind != Kind::WRITES {
        return Vec::new();
    }
    let record = |PlacedWrite { index, write, .. }| match write.target {
        Target::Create { .. } => Dot { entry: entry.id(), index },
        Target::Edit { record } => record,
    };
    writes_of(entry).unwrap_or_default().into_iter().map(record).collect()
}

/// The records of the leaves that an entry erases. No kind of entry that counts erases any.
const fn erased_by(_: &Verified) -> BTreeSet<Dot> {
    BTreeSet::new()
}

/// The callers' keys of the records that an entry creates, each with the number of the write.
fn keys_of(entry: &Verified) -> Vec<(u16, String)> {
    if entry.header().kind != Kind::WRITES {
        return Vec::new();
    }
    let key = |PlacedWrite { index, write, .. }| {
        // most have none, and parsing costs more than searching for the word
        let may_have = matches!(write.target, Target::Create { .. }) && write.value.contains("\"key\"");
        may_have.then(|| Some((index, Core::parse(&write.value)?.key?))).flatten()
    };
    writes_of(entry).unwrap_or_default().into_iter().filter_map(key).collect()
}

/// The records that stand for those with the callers' keys of an entry's records, which are shown in their place, each with
/// the number of the write.
pub(crate) fn shown_instead(view: &dyn View, entry: &Verified) -> Result<Vec<(u16, Dot)>, StoreError> {
    let keys = keys_of(entry);
    let Some(space) = (if keys.is_empty() { None } else { ledger::find_space(view, entry.header().space)? }) else {
        return Ok(Vec::new());
    };
    let mut shown = Vec::new();
    for (index, key) in keys {
        shown.extend(first_with_key(view, space.no, &key)?.map(|dot| (index, dot)));
    }
    Ok(shown)
}
