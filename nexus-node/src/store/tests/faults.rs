use super::super::disk::Fault;
use super::*;

fn poisoned_by(fault: Fault) -> (Store, Disk, StoreError) {
    let disk = Disk::new();
    let store = open(&disk).unwrap();
    store.commit(&[put("kept", "1")]).unwrap();
    let before = store.snapshot().unwrap();
    disk.set_fault(fault);
    let mut batch = Batch::new();
    batch.put(Table::Records, b"lost", &vec![7; 4 << 20]);
    let error = store.commit(&[batch]).unwrap_err();
    assert!(before.get(Table::Records, b"kept").is_err(), "an earlier snapshot goes on as if nothing happened");
    (store, disk, error)
}

fn is_fatal(store: Store, disk: &Disk) {
    disk.set_fault(Fault::None);
    for error in [store.snapshot().unwrap_err(), store.commit(&[put("later", "2")]).unwrap_err()] {
        assert!(matches!(error, StoreError::Poisoned { .. }), "{error}");
        assert!(error.to_string().contains("a failed commit is fatal: reopen"), "{error}");
    }
    drop(store);
    for disk in [disk.clone(), disk.lose_power(3)] {
        if let Ok(store) = open(&disk) {
            let snapshot = store.snapshot().unwrap();
            assert_eq!(snapshot.get(Table::Records, b"kept").unwrap(), Some(b"1".to_vec()));
            assert_eq!(snapshot.get(Table::Records, b"later").unwrap(), None);
        }
    }
}

/// promise: Bad input | A failing fsync: nothing acknowledged is lost
#[test]
fn a_failing_sync_poisons_the_store_and_loses_nothing_acknowledged() {
    let (store, disk, error) = poisoned_by(Fault::SyncFails);
    assert!(matches!(error, StoreError::Disk { .. }), "{error}");
    is_fatal(store, &disk);
}

/// promise: Bad input | A failing fsync: nothing acknowledged is lost
#[test]
fn an_unreadable_disk_is_an_error_with_its_reason() {
    let disk = Disk::new();
    drop(open(&disk).unwrap());
    disk.set_fault(Fault::ReadFails);
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, StoreError::Disk { .. }), "{error}");
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn an_overlay_over_a_poisoned_store_says_so() {
    let disk = Disk::new();
    let store = open(&disk).unwrap();
    let mut overlay = Overlay::new(store.clone()).unwrap();
    overlay.push(1, &put("a", "1"));
    disk.set_fault(Fault::SyncFails);
    store.commit(&[put("a", "1")]).unwrap_err();
    assert!(matches!(overlay.committed(1), Err(StoreError::Poisoned { .. })));
    assert!(matches!(overlay.get(Table::Records, b"b"), Err(StoreError::Poisoned { .. })));
}
