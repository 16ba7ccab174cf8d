use std::collections::{BTreeMap, BTreeSet};

use crate::entry_id::EntryId;
use crate::record::{Dot, Field, Target, Write, Writes};
use crate::writes::PlacedWrite;

/// A value that no held write replaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Live {
    /// The write.
    pub dot: Dot,
    /// The value: JSON text.
    pub value: String,
}

/// The fold of writes in its plainest form. For each field of each record, *live = the writes − the
/// union of what they overwrite*.
///
/// It depends on the set of entries alone, never on their order of arrival. One live value is the
/// value; several are a conflict; a live `gone` beats everything. A node's engine keeps the same result
/// incrementally in its store. This fold is the oracle for the engine's tests.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    fields: BTreeMap<(Dot, Field), FieldWrites>,
    entries: BTreeSet<EntryId>,
}

#[derive(Clone, Debug, Default)]
struct FieldWrites {
    values: BTreeMap<Dot, String>,
    over: BTreeSet<Dot>,
}

impl Fold {
    /// Adds an entry's writes. Adding them again changes nothing.
    pub fn insert(&mut self, entry: EntryId, writes: &Writes) {
        self.insert_each(entry, (0..).zip(&writes.0));
    }

    /// Takes the writes that are left of an entry.
    pub fn insert_placed(&mut self, entry: EntryId, writes: &[PlacedWrite]) {
        self.insert_each(entry, writes.iter().map(|placed| (placed.index, &placed.write)));
    }

    fn insert_each<'a>(&mut self, entry: EntryId, writes: impl Iterator<Item = (u16, &'a Write)>) {
        if !self.entries.insert(entry) {
            return;
        }
        for (index, write) in writes {
            let dot = Dot { entry, index };
            let record = match write.target {
                Target::Create { .. } => dot,
                Target::Edit { record } => record,
            };
            let field = self.fields.entry((record, write.field.clone())).or_default();
            field.values.insert(dot, write.value.clone());
            field.over.extend(&write.over);
        }
    }

    /// The live values of a field, by dot.
    pub fn live(&self, record: Dot, field: &str) -> Vec<Live> {
        let Some(writes) = self.fields.get(&(record, Field::named(field))) else {
            return Vec::new();
        };
        let live = writes.values.iter().filter(|(dot, _)| !writes.over.contains(dot));
        live.map(|(dot, value)| Live { dot: *dot, value: value.clone() }).collect()
    }

    /// Whether a record is forgotten: `gone` was written, and nothing brings it back.
    pub fn is_gone(&self, record: Dot) -> bool {
        self.fields.contains_key(&(record, Field::named(Field::GONE)))
    }

    /// The records that exist and are not forgotten.
    pub fn records(&self) -> impl Iterator<Item = Dot> {
        let created = self.fields.keys().filter(|(_, field)| field.as_str() == Field::CORE);
        created.map(|(record, _)| *record).filter(|record| !self.is_gone(*record))
    }

    /// All fields of a record that have live values.
    pub fn fields(&self, record: Dot) -> BTreeMap<Field, Vec<Live>> {
        let from = (record, Field::named(""));
        let of_record = self.fields.range(from..).take_while(|((of, _), _)| *of == record);
        of_record
            .map(|((_, field), _)| (field.clone(), self.live(record, field.as_str())))
            .filter(|(_, live)| !live.is_empty())
            .collect()
    }
}

/// The version of a record, equal on all nodes that hold the same edits: sixteen letters of base32 over
/// the live dots, in any order.
pub fn version_of(live: impl IntoIterator<Item = Dot>) -> String {
    let dots: BTreeSet<Dot> = live.into_iter().collect();
    let mut hasher = blake3::Hasher::new_derive_key("nexus record version v1");
    for dot in dots {
        hasher.update(&dot.to_bytes());
    }
    data_encoding::BASE32_NOPAD.encode(&hasher.finalize().as_bytes()[..10]).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Core;
    use proptest::prelude::*;

    /// A history: each entry edits a field of an earlier record, over some earlier dots.
    fn history() -> impl Strategy<Value = Vec<(EntryId, Writes)>> {
        let step = (
            any::<prop::sample::Index>(),
            0_usize..3,
            prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            any::<bool>(),
        );
        prop::collection::vec(step, 1..24).prop_map(|steps| {
            let mut made: Vec<(EntryId, Writes)> = Vec::new();
            let mut dots: Vec<Dot> = Vec::new();
            for (n, (target, field, over, create)) in (0_u8..).zip(steps) {
                let entry = EntryId::of(&[n]);
                let write = if create || dots.is_empty() {
                    let value = Core { text: n.to_string(), ..Core::default() }.to_json();
                    Write { target: Target::Create { page: 0 }, field: Field::named(Field::CORE), value, over: vec![] }
                } else {
                    let field = [Field::TEXT, Field::META, "mood"][field];
                    let mut over: Vec<Dot> = over.iter().map(|index| *index.get(&dots)).collect();
                    over.sort_unstable();
                    over.dedup();
                    Write {
                        target: Target::Edit { record: *target.get(&dots) },
                        field: Field::named(field),
                        value: format!("\"{n}\""),
                        over,
                    }
                };
                dots.push(Dot { entry, index: 0 });
                made.push((entry, Writes(vec![write])));
            }
            made
        })
    }

    fn view(entries: &[(EntryId, Writes)]) -> BTreeMap<Dot, BTreeMap<Field, Vec<Live>>> {
        let mut fold = Fold::default();
        for (entry, writes) in entries {
            fold.insert(*entry, writes);
        }
        let records: Vec<Dot> = fold.records().collect();
        records.into_iter().map(|record| (record, fold.fields(record))).collect()
    }

    proptest! {
        /// promise: Entries and memories | The fold depends on the set of entries alone
        #[test]
        fn the_fold_depends_on_the_set_of_entries_alone(
            (made, shuffled) in history().prop_flat_map(|made| {
                let twice: Vec<_> = made.iter().chain(made.iter().take(5)).cloned().collect();
                (Just(made), Just(twice).prop_shuffle())
            })
        ) {
            prop_assert_eq!(view(&made), view(&shuffled));
        }
    }

    fn edit(entry: u8, record: Dot, field: &str, value: &str, over: Vec<Dot>) -> (EntryId, Writes) {
        let write =
            Write { target: Target::Edit { record }, field: Field::named(field), value: value.to_owned(), over };
        (EntryId::of(&[entry]), Writes(vec![write]))
    }

    fn created() -> (Dot, (EntryId, Writes)) {
        let entry = EntryId::of(&[0]);
        let value = Core::default().to_json();
        let write = Write { target: Target::Create { page: 0 }, field: Field::named(Field::CORE), value, over: vec![] };
        (Dot { entry, index: 0 }, (entry, Writes(vec![write])))
    }

    /// promise: Entries and memories | Concurrent edits are a conflict in sight until a later write overwrites them
    #[test]
    fn concurrent_edits_are_a_conflict_until_a_later_write_overwrites_both() {
        let (record, creation) = created();
        let (a, b) = (edit(1, record, "text", "\"a\"", vec![]), edit(2, record, "text", "\"b\"", vec![]));
        let mut over = vec![Dot { entry: a.0, index: 0 }, Dot { entry: b.0, index: 0 }];
        over.sort_unstable();
        let settled = edit(3, record, "text", "\"c\"", over);
        assert_eq!(view(&[creation.clone(), a.clone(), b.clone()])[&record][&Field::named("text")].len(), 2);
        let live = &view(&[settled, b, a, creation])[&record][&Field::named("text")];
        assert_eq!(live.iter().map(|live| live.value.as_str()).collect::<Vec<_>>(), ["\"c\""]);
    }

    /// promise: Entries and memories | Forget beats concurrent edits
    #[test]
    fn forget_beats_a_concurrent_edit_in_either_order() {
        let (record, creation) = created();
        let gone = edit(1, record, "gone", "true", vec![]);
        let later = edit(2, record, "text", "\"still here?\"", vec![]);
        assert!(view(&[creation.clone(), gone.clone(), later.clone()]).is_empty());
        assert!(view(&[later, gone, creation]).is_empty());
    }

    /// promise: Bad input | Writes that overwrite what they do not know, or another field or record
    #[test]
    fn what_overwrites_a_write_of_another_field_or_record_has_no_effect() {
        let (record, creation) = created();
        let text = edit(1, record, "text", "\"a\"", vec![]);
        let text_dot = Dot { entry: text.0, index: 0 };
        let other_field = edit(2, record, "kind", "\"k\"", vec![text_dot]);
        let other_record = edit(3, text_dot, "text", "\"x\"", vec![text_dot]);
        let view = view(&[creation, text, other_field, other_record]);
        assert_eq!(view[&record][&Field::named("text")][0].dot, text_dot);
    }
}
