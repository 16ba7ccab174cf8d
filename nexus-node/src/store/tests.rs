use super::*;

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Records, key.as_bytes(), value.as_bytes());
    batch
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("brain.redb");
    let store = Store::open(&path, StoreOptions::default()).unwrap();
    store.commit(&[put("a", "1"), put("b", "2")]).unwrap();
    drop(store);
    let store = Store::open(&path, StoreOptions::default()).unwrap();
    assert_eq!(store.snapshot().unwrap().get(Table::Records, b"b").unwrap(), Some(b"2".to_vec()));
    assert_eq!(store.verify().unwrap(), 3);
}
