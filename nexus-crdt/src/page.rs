use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, ExpandedChange, ScalarValue};

use crate::entry_id::EntryId;
use crate::record::{Dot, Field};

/// The most records that an author puts on a page before it opens the next. A page of this size takes a
/// change in tens of microseconds. The cost of a change grows with its page.
pub const PAGE_RECORDS_MAX: u32 = 256;

/// A write in the form for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageWrite {
    /// The write.
    pub dot: Dot,
    /// Its record, which is on this page.
    pub record: Dot,
    /// Its field.
    pub field: Field,
    /// Its value: JSON text.
    pub value: String,
    /// The dots that it overwrites.
    pub over: Vec<Dot>,
}

/// A page of records as an Automerge document.
///
/// The document is *derived*. Each entry becomes one change: actor is the first 16 bytes of the entry
/// id, seq 1, time 0. The change depends on those that hold the overwritten writes and the edited
/// records. So all nodes with the same writes have the same changes and heads. Conflicts are
/// Automerge's own, and no Automerge bytes of a stranger are read.
///
/// Layout: the root map holds `ID` → core and `ID/field` → value, both JSON text as scalar
/// strings; a forgotten record's core is deleted.
///
/// # Errors
/// Automerge's error, which would be a defect here: its input comes from this function.
pub fn project(writes: impl IntoIterator<Item = PageWrite>) -> Result<Automerge, AutomergeError> {
    let mut entries: BTreeMap<EntryId, Vec<PageWrite>> = BTreeMap::new();
    let mut places: BTreeMap<Dot, (Dot, Field)> = BTreeMap::new();
    for write in writes {
        places.insert(write.dot, (write.record, write.field.clone()));
        entries.entry(write.dot.entry).or_default().push(write);
    }
    let mut projection = Projection { places, made: BTreeMap::new(), ops: BTreeMap::new(), changes: Vec::new() };
    for entry in in_causal_order(&entries, &projection.places) {
        if let Some(writes) = entries.remove(&entry) {
            projection.add(entry, writes);
        }
    }
    let mut document = Automerge::new();
    document.apply_changes(projection.changes)?;
    Ok(document)
}

/// The entries, each after those that it overwrites or edits. Ids are hashes, so there are no cycles.
fn in_causal_order(entries: &BTreeMap<EntryId, Vec<PageWrite>>, places: &BTreeMap<Dot, (Dot, Field)>) -> Vec<EntryId> {
    let mut order = Vec::with_capacity(entries.len());
    let mut done: BTreeSet<EntryId> = BTreeSet::new();
    for &first in entries.keys() {
        // depth-first with an explicit stack: a chain of edits may be longer than a thread's stack
        let mut stack = vec![(first, false)];
        while let Some((entry, expanded)) = stack.pop() {
            if done.contains(&entry) {
                continue;
            }
            if expanded {
                done.insert(entry);
                order.push(entry);
                continue;
            }
            stack.push((entry, true));
            for write in entries.get(&entry).into_iter().flatten() {
                stack.extend(parents(write, places).filter(|parent| *parent != entry).map(|parent| (parent, false)));
            }
        }
    }
    order
}

/// The entries on this page on which a write builds.
fn parents<'a>(write: &'a PageWrite, places: &'a BTreeMap<Dot, (Dot, Field)>) -> impl Iterator<Item = EntryId> + 'a {
    let same_place =
        |dot: &&Dot| places.get(*dot).is_some_and(|(record, field)| *record == write.record && *field == write.field);
    let overwritten = write.over.iter().filter(same_place).map(|dot| dot.entry);
    let record = places.contains_key(&write.record).then_some(write.record.entry);
    overwritten.chain(record)
}

struct Projection {
    places: BTreeMap<Dot, (Dot, Field)>,
    made: BTreeMap<EntryId, (ChangeHash, u64)>,
    ops: BTreeMap<Dot, OpId>,
    changes: Vec<Change>,
}

impl Projection {
    fn add(&mut self, entry: EntryId, mut writes: Vec<PageWrite>) {
        writes.sort_unstable_by_key(|write| write.dot);
        let actor = ActorId::from(&entry.as_bytes()[..16]);
        let parents: BTreeSet<EntryId> =
            writes.iter().flat_map(|write| parents(write, &self.places)).filter(|parent| *parent != entry).collect();
        let known: Vec<(ChangeHash, u64)> =
            parents.iter().filter_map(|parent| self.made.get(parent).copied()).collect();
        let start_op = 1 + known.iter().map(|(_, last_op)| *last_op).max().unwrap_or(0);
        let mut deps: Vec<ChangeHash> = known.into_iter().map(|(hash, _)| hash).collect();
        deps.sort_unstable();

        let mut operations = Vec::with_capacity(writes.len());
        let mut counter = start_op;
        let mut push = |operations: &mut Vec<Op>, action, key: String, pred: SortedVec<OpId>| {
            operations.push(Op { action, obj: ObjectId::Root, key: Key::Map(key.into()), pred, insert: false });
            let id = OpId::new(counter, &actor);
            counter += 1;
            id
        };
        for write in writes {
            let same_place = |dot: &&Dot| {
                self.places.get(*dot).is_some_and(|(record, field)| *record == write.record && *field == write.field)
            };
            let pred: SortedVec<OpId> =
                write.over.iter().filter(same_place).filter_map(|dot| self.ops.get(dot).cloned()).collect();
            let id = push(
                &mut operations,
                OpType::Put(ScalarValue::Str(write.value.as_str().into())),
                key(write.record, &write.field),
                pred,
            );
            self.ops.insert(write.dot, id);
            if write.field.as_str() == Field::GONE
                && let Some(core) = self.ops.get(&write.record)
            {
                let pred = SortedVec::from(vec![core.clone()]);
                push(&mut operations, OpType::Delete, key(write.record, &Field::named(Field::CORE)), pred);
            }
        }
        let change = Change::from(ExpandedChange {
            operations,
            actor_id: actor,
            hash: None,
            seq: 1,
            start_op: NonZeroU64::new(start_op).unwrap_or(NonZeroU64::MIN),
            time: 0,
            message: None,
            deps,
            extra_bytes: Vec::new(),
            author: None,
        });
        self.made.insert(entry, (change.hash(), counter - 1));
        self.changes.push(change);
    }
}

/// The key of a field in the root map.
fn key(record: Dot, field: &Field) -> String {
    match field.as_str() {
        Field::CORE => record.to_string(),
        name => format!("{record}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Core;
    use crate::fold::Fold;
    use crate::record::{Target, Write, Writes};
    use automerge::ReadDoc;
    use proptest::prelude::*;

    fn index() -> impl Strategy<Value = prop::sample::Index> {
        any::<prop::sample::Index>()
    }

    /// Entries of several writes each: creations, edits of any earlier record over any earlier dots
    /// (also of other fields), and a few forgets.
    fn history() -> impl Strategy<Value = Vec<(EntryId, Writes)>> {
        let write = (0_u8..10, index(), 0_usize..2, prop::collection::vec(index(), 0..4));
        prop::collection::vec(prop::collection::vec(write, 1..4), 1..16).prop_map(|plan| {
            let mut made = Vec::new();
            let (mut dots, mut records): (Vec<Dot>, Vec<Dot>) = (Vec::new(), Vec::new());
            for (n, steps) in (0_u8..).zip(plan) {
                let entry = EntryId::of(&[n]);
                let mut writes = Vec::new();
                let mut places = BTreeSet::new();
                for (what, target, field, over) in steps {
                    if what < 3 || records.is_empty() {
                        let value = Core { text: n.to_string(), ..Core::default() }.to_json();
                        writes.push(Write {
                            target: Target::Create { page: 0 },
                            field: Field::named(Field::CORE),
                            value,
                            over: vec![],
                        });
                    } else {
                        let record = *target.get(&records);
                        let (field, value) = if what == 9 {
                            (Field::GONE, "true".to_owned())
                        } else {
                            (["text", "mood"][field], format!("\"{n}\""))
                        };
                        if !places.insert((record, field)) {
                            continue;
                        }
                        let over: BTreeSet<Dot> = over.iter().map(|index| *index.get(&dots)).collect();
                        writes.push(Write {
                            target: Target::Edit { record },
                            field: Field::named(field),
                            value,
                            over: over.into_iter().collect(),
                        });
                    }
                }
                let base = dots.len();
                for (i, write) in (0_u16..).zip(&writes) {
                    let dot = Dot { entry, index: i };
                    dots.push(dot);
                    if matches!(write.target, Target::Create { .. }) {
                        records.push(dot);
                    }
                }
                if dots.len() > base {
                    made.push((entry, Writes(writes)));
                }
            }
            made
        })
    }

    fn page_writes(made: &[(EntryId, Writes)]) -> Vec<PageWrite> {
        let each = made.iter().flat_map(|(entry, writes)| {
            (0..).zip(&writes.0).map(|(index, write)| (Dot { entry: *entry, index }, write))
        });
        each.map(|(dot, write)| {
            let record = match write.target {
                Target::Create { .. } => dot,
                Target::Edit { record } => record,
            };
            PageWrite { dot, record, field: write.field.clone(), value: write.value.clone(), over: write.over.clone() }
        })
        .collect()
    }

    proptest! {
        /// promise: Entries and memories | A page is the fold, with equal heads wherever the same writes are held
        #[test]
        fn a_page_is_the_fold_and_its_heads_depend_on_the_set_alone(
            (made, shuffled) in history().prop_flat_map(|made| { let writes = page_writes(&made); (Just(made), Just(writes).prop_shuffle()) })
        ) {
            let page = project(page_writes(&made)).unwrap();
            prop_assert_eq!(page.get_heads(), project(shuffled).unwrap().get_heads());
            let mut fold = Fold::default();
            for (entry, writes) in &made {
                fold.insert(*entry, writes);
            }
            for record in fold.records() {
                for (field, live) in fold.fields(record) {
                    let key = key(record, &field);
                    let mut shown: Vec<String> = page.get_all(automerge::ROOT, key).unwrap().into_iter().map(|(value, _)| value.as_str().unwrap().to_owned()).collect();
                    let mut expected: Vec<String> = live.into_iter().map(|live| live.value).collect();
                    shown.sort();
                    expected.sort();
                    prop_assert_eq!(shown, expected, "{:?}", field);
                }
            }
            for (record, _) in made.iter().flat_map(|(entry, writes)| (0..).zip(&writes.0).map(|(index, write)| (Dot { entry: *entry, index }, write))) {
                if fold.is_gone(record) {
                    prop_assert!(page.get(automerge::ROOT, record.to_string()).unwrap().is_none());
                }
            }
            let saved = page.save();
            prop_assert_eq!(Automerge::load(&saved).unwrap().get_heads(), page.get_heads());
        }
    }
}
