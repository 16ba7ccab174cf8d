use std::ops::Bound;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<Edit>),
    /// Commits this number of waiting batches in one transaction.
    Commit(usize),
    Get(Vec<u8>),
    Scan {
        start: Bound<Vec<u8>>,
        end: Bound<Vec<u8>>,
        backward: bool,
        limit: usize,
    },
}

#[derive(Clone, Debug)]
enum Edit {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Clear,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![0..4_u8, Just(0xff)], 0..3)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded)]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        10 => (key(), vec(any::<u8>(), 0..4)).prop_map(|(key, value)| Edit::Put(key, value)),
        6 => key().prop_map(Edit::Delete),
        1 => Just(Edit::Clear),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(edit(), 0..6).prop_map(Step::Push),
        2 => (0..4_usize).prop_map(Step::Commit),
        2 => key().prop_map(Step::Get),
        6 => (bound(), bound(), any::<bool>(), 0..8_usize)
            .prop_map(|(start, end, backward, limit)| Step::Scan { start, end, backward, limit }),
    ]
}

fn batch_of(edits: &[Edit]) -> Batch {
    let mut batch = Batch::new();
    for edit in edits {
        match edit {
            Edit::Put(key, value) => batch.put(Table::Live, key, value),
            Edit::Delete(key) => batch.delete(Table::Live, key),
            Edit::Clear => batch.clear(Table::Live),
        }
    }
    batch
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// The rows of a scan. The visitor ends it after `limit` rows (0: never).
fn rows(view: &dyn View, range: KeyRange<'_>, order: Order, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    view.scan(Table::Live, range, order, &mut visit).unwrap();
    rows
}

fn expected(model: &Model, range: KeyRange<'_>, order: Order, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    use std::ops::RangeBounds;
    let mut rows: Vec<_> = model
        .iter()
        .filter(|((_, key), _)| RangeBounds::<[u8]>::contains(&range, key.as_slice()))
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect();
    if order == Order::Backward {
        rows.reverse();
    }
    if limit > 0 {
        rows.truncate(limit);
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn an_overlay_shows_what_a_plain_map_would(steps in vec(step(), 1..60)) {
        let store = Store::memory().unwrap();
        let mut overlay = Overlay::new(store.clone()).unwrap();
        let mut model = Model::new();
        let mut waiting = std::collections::VecDeque::new();
        let mut commit_no = 0;
        for step in steps {
            match step {
                Step::Push(edits) => {
                    commit_no += 1;
                    let batch = batch_of(&edits);
                    overlay.push(commit_no, &batch);
                    apply(&mut model, &batch);
                    waiting.push_back((commit_no, batch));
                }
                Step::Commit(count) => {
                    let group: Vec<_> = waiting.drain(..count.min(waiting.len())).collect();
                    let batches: Vec<_> = group.iter().map(|(_, batch)| batch.clone()).collect();
                    store.commit(&batches).unwrap();
                    // The overlay may hear of the commit late, and only of a part.
                    if let Some((up_to, _)) = group.get(group.len() / 2) {
                        overlay.committed(*up_to).unwrap();
                    }
                }
                Step::Get(key) => {
                    let expected = model.get(&(Table::Live, key.clone())).cloned();
                    prop_assert_eq!(overlay.get(Table::Live, &key).unwrap(), expected);
                }
                Step::Scan { start, end, backward, limit } => {
                    let order = if backward { Order::Backward } else { Order::Forward };
                    let range = (as_slice(&start), as_slice(&end));
                    prop_assert_eq!(rows(&overlay, range, order, limit), expected(&model, range, order, limit));
                }
            }
        }
        prop_assert_eq!(everything(&overlay).unwrap(), model);
    }

    #[test]
    fn a_draft_over_an_overlay_reads_its_own_changes(below in vec(edit(), 0..10), above in vec(edit(), 0..10), prefix in key()) {
        let mut overlay = Overlay::new(Store::memory().unwrap()).unwrap();
        overlay.push(1, &batch_of(&below));
        let mut draft = Draft::new(&overlay);
        for edit in &above {
            match edit {
                Edit::Put(key, value) => draft.put(Table::Live, key, value),
                Edit::Delete(key) => draft.delete(Table::Live, key),
                Edit::Clear => draft.clear(Table::Live),
            }
        }
        let mut model = Model::new();
        apply(&mut model, &batch_of(&below));
        apply(&mut model, &batch_of(&above));
        prop_assert_eq!(&everything(&draft).unwrap(), &model);

        let mut found = Vec::new();
        draft.scan_prefix(Table::Live, &prefix, Order::Forward, &mut |key, _| {
            found.push(key.to_vec());
            ControlFlow::Continue(())
        }).unwrap();
        let keys: Vec<_> = model.keys().map(|(_, key)| key.clone()).filter(|key| key.starts_with(&prefix)).collect();
        prop_assert_eq!(found, keys);

        let batch = draft.finish();
        overlay.push(2, &batch);
        prop_assert_eq!(everything(&overlay).unwrap(), model);
    }
}

#[test]
fn an_overlay_is_empty_again_when_all_is_committed() {
    let store = Store::memory().unwrap();
    let mut overlay = Overlay::new(store.clone()).unwrap();
    let batches = [put("a", "1"), put("b", "2")];
    overlay.push(1, &batches[0]);
    overlay.push(2, &batches[1]);
    assert_eq!(overlay.pending(), 2);
    store.commit(&batches).unwrap();
    overlay.committed(2).unwrap();
    assert_eq!(overlay.pending(), 0);
    let last = overlay.first(Table::Records, ALL_KEYS, Order::Backward).unwrap();
    assert_eq!(last, Some((b"b".to_vec(), b"2".to_vec())));
}
