use super::*;

/// promise: Store and data directory | Committed rows are there after reopening; a snapshot does not see later ones
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

#[cfg(unix)]
#[test]
fn a_new_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("brain.redb");
    drop(Store::open(&path, StoreOptions::default()).unwrap());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_open_is_not_opened_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("brain.redb");
    let _store = Store::open(&path, StoreOptions::default()).unwrap();
    let error = Store::open(&path, StoreOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

/// promise: Bad input | A data directory of a newer version: refused, unchanged
#[test]
fn a_newer_format_is_refused_and_the_file_unchanged() {
    let disk = Disk::new();
    let store = open(&disk).unwrap();
    let mut batch = Batch::new();
    batch.put(Table::Meta, FORMAT_KEY, &(FORMAT_IN_USE + 1).to_le_bytes());
    store.commit(&[batch]).unwrap();
    let unclean = disk.image();
    drop(store);
    for image in [disk.image(), unclean] {
        let disk = Disk::from_image(image.clone());
        let error = open(&disk).unwrap_err();
        assert!(matches!(error, StoreError::TooNew { format: 7, known: FORMAT_IN_USE, .. }), "{error}");
        assert!(disk.image() == image, "a refused file changed");
        assert_eq!(disk.steps(), 0);
    }
}

/// promise: Bad input | A damaged or foreign data directory: refused, unchanged, naming the file
#[test]
fn something_else_is_refused_and_unchanged() {
    for image in [b"a letter to a friend".to_vec(), vec![0; 9 << 20], [vec![0; 8192], vec![1; 10]].concat()] {
        let disk = Disk::from_image(image.clone());
        let error = open(&disk).unwrap_err();
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
        assert!(disk.image() == image, "a refused file changed");
    }
}

/// promise: Bad input | A damaged or foreign data directory: refused, unchanged, naming the file
#[test]
fn a_database_of_another_program_is_refused_and_unchanged() {
    let disk = Disk::new();
    let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let image = disk.image();
    let disk = Disk::from_image(image.clone());
    assert!(matches!(open(&disk), Err(StoreError::NotAStore { .. })));
    assert!(disk.image() == image, "a refused file changed");
}

#[test]
fn table_names_are_unique() {
    let names: std::collections::BTreeSet<_> = Table::ALL.iter().map(|table| table.name()).collect();
    assert_eq!(names.len(), Table::ALL.len());
}

#[test]
fn a_batch_of_many_tables_clears_and_fills_again() {
    let store = Store::memory().unwrap();
    store.commit(&[put("old", "1")]).unwrap();
    let mut batch = put("early", "1");
    batch.clear(Table::Records);
    batch.append(&put("late", "2"));
    assert_eq!(batch.len(), 3);
    store.commit(&[batch]).unwrap();
    let rows = everything(&store.snapshot().unwrap()).unwrap();
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), [((Table::Records, b"late".to_vec()), b"2".to_vec())]);
}

/// promise: Store and data directory | Committed rows are there after reopening; a snapshot does not see later ones
#[test]
fn a_snapshot_does_not_see_what_comes_later() {
    let store = Store::memory().unwrap();
    let before = store.snapshot().unwrap();
    store.commit(&[put("a", "1")]).unwrap();
    assert_eq!(before.get(Table::Records, b"a").unwrap(), None);
    assert!(store.snapshot().unwrap().contains(Table::Records, b"a").unwrap());
}

#[test]
fn everything_can_move_to_another_thread() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Store>();
    is_shared::<Snapshot>();
    moves::<Overlay>();
    moves::<Batch>();
}

/// promise: Store and data directory | Many threads commit in groups and read together
#[test]
fn handles_on_many_threads_commit_and_read_together() {
    let store = Store::memory().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for round in 0..20 {
                    let key = format!("{thread}/{round}");
                    store.commit(&[put(&key, "1")]).unwrap();
                    assert!(store.snapshot().unwrap().contains(Table::Records, key.as_bytes()).unwrap());
                }
            });
        }
    });
    assert_eq!(everything(&store.snapshot().unwrap()).unwrap().len(), 80);
}
