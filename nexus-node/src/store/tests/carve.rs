use std::collections::BTreeSet;
use std::fs;

use super::*;

fn all_tables(_: &[u8]) -> &'static [Table] {
    Table::ALL
}

/// Rows with their table, key and value.
type Rows = BTreeSet<(Table, Vec<u8>, Vec<u8>)>;

/// The rows in the pages of an image, with those of freed pages.
fn carved(image: &[u8]) -> Rows {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("image");
    fs::write(&path, image).unwrap();
    let mut carving = Carving::open(&path).unwrap();
    let mut places = Vec::new();
    carving.rows(&all_tables, &mut |found| places.push((found.table, found.key.to_vec(), found.place))).unwrap();
    let rows = places.into_iter().map(|(table, key, place)| {
        let value = carving.read(table, &key, place).unwrap().expect("it was there a moment ago");
        (table, key, value)
    });
    // the store's own row is no caller's
    rows.filter(|(table, key, _)| (*table, key.as_slice()) != (Table::Meta, FORMAT_KEY)).collect()
}

/// A store after some commits: its image, its rows, and all rows that it ever had.
fn image() -> (Vec<u8>, Model, Rows) {
    let disk = Disk::new();
    let store = open(&disk).unwrap();
    let (mut random, mut model, mut ever) = (Random(5), Model::new(), BTreeSet::new());
    for n in 0..60 {
        let mut batch = random_batch(&mut random);
        // leaves of one page and of many
        batch.put(Table::Payloads, &[n], &vec![n; 1 << (n % 17)]);
        store.commit(std::slice::from_ref(&batch)).unwrap();
        apply(&mut model, &batch);
        ever.extend(
            everything(&store.snapshot().unwrap())
                .unwrap()
                .into_iter()
                .map(|((table, key), value)| (table, key, value)),
        );
    }
    drop(store);
    (disk.image(), model, ever)
}

/// promise: Store and data directory | Rows that only the write-ahead log has are found without the file
#[test]
fn rows_of_the_log_are_found_as_those_of_the_file_are() {
    let disk = Disk::new();
    let store = open_logged(&disk, 4 << 20).unwrap();
    let (mut random, mut put) = (Random(6), Rows::new());
    for _ in 0..40 {
        let batch = random_batch(&mut random);
        store.commit(std::slice::from_ref(&batch)).unwrap();
        put.extend(batch.changes().filter_map(|change| match change {
            TableChange::Put { table, key, value } => Some((table, key.to_vec(), value.to_vec())),
            TableChange::Delete { .. } | TableChange::Clear { .. } => None,
        }));
    }
    assert!(put.is_subset(&carved(&disk.log().image())));
}

/// promise: Store and data directory | The rows of a store are in its pages, whatever becomes of its trees
#[test]
fn every_row_is_found_without_the_trees_and_no_row_that_never_was() {
    let (whole, model, ever) = image();
    let headless = [vec![0; 4_096], whole[4_096..].to_vec()].concat();
    for image in [&whole, &headless] {
        let found = carved(image);
        for ((table, key), value) in &model {
            assert!(found.contains(&(*table, key.clone(), value.clone())), "{table} {key:?}");
        }
        assert!(found.is_subset(&ever));
    }
}

/// promise: Bad input | A damaged page loses its damaged rows alone
#[test]
fn damage_costs_the_rows_that_it_hits_and_invents_none() {
    let (whole, _, ever) = image();
    let all = carved(&whole).len();
    let mut random = Random(6);
    for _ in 0..60 {
        let mut damaged = whole.clone();
        let at = random.next() as usize % damaged.len();
        let end = damaged.len().min(at + 1 + random.next() as usize % 64);
        damaged[at..end].fill(random.next() as u8);
        let found = carved(&damaged);
        assert!(found.is_subset(&ever), "{at}..{end}");
        assert!(found.len() + 200 > all, "{at}..{end}: {} of {all}", found.len());
    }
    for length in [0, 1, 4_095, 4_097, whole.len() / 2] {
        assert!(carved(&whole[..length]).is_subset(&ever));
    }
}

/// promise: Bad input | A page whose ends lie costs no more than its bytes
#[test]
fn ends_that_lie_do_not_have_bytes_read_again_and_again() {
    let rows = u16::MAX;
    let mut page = vec![1, 0];
    page.extend(rows.to_le_bytes());
    for end in 0..2 * u32::from(rows) {
        page.extend(if end % 2 == 0 { 900_000_u32 } else { 600_000 }.to_le_bytes());
    }
    page.resize(1 << 20, 0);
    assert!(carved(&page).is_empty());
}
