use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn number(snapshot: &Snapshot) -> u64 {
    let row = snapshot.get(Table::Records, b"number").unwrap();
    row.map_or(0, |row| u64::from_be_bytes(row.try_into().unwrap()))
}

fn set(number: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Records, b"number", &number.to_be_bytes());
    batch
}

#[test]
fn a_snapshot_shows_what_was_committed_before_it_and_stays_as_it_is() {
    let store = Store::memory().unwrap();
    let mut snapshots = vec![store.snapshot().unwrap()];
    for n in 1..20 {
        // a snapshot is taken and read before each commit: a state kept by mistake would be an old one
        assert_eq!(number(&store.snapshot().unwrap()), n - 1);
        store.commit(&[set(n)]).unwrap();
        snapshots.push(store.snapshot().unwrap());
    }
    for (n, snapshot) in (0..).zip(&snapshots) {
        assert_eq!(number(snapshot), n);
        assert_eq!(snapshot.number() == snapshots[0].number(), n == 0, "another state has another number");
    }
}

#[test]
fn snapshots_of_one_state_have_one_number() {
    let store = Store::memory().unwrap();
    let (a, b) = (store.snapshot().unwrap(), store.snapshot().unwrap());
    assert_eq!(a.number(), b.number());
    store.commit(&[set(1)]).unwrap();
    assert_ne!(store.snapshot().unwrap().number(), a.number());
}

#[test]
fn readers_on_other_threads_never_see_less_than_was_acknowledged() {
    const LAST: u64 = 300;
    let (store, acknowledged) = (Store::memory().unwrap(), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let mut before = 0;
                while before < LAST {
                    let least = acknowledged.load(Ordering::Acquire);
                    before = number(&store.snapshot().unwrap());
                    assert!(before >= least, "{before} was read after {least} was acknowledged");
                }
            });
        }
        for n in 1..=LAST {
            store.commit(&[set(n)]).unwrap();
            acknowledged.store(n, Ordering::Release);
        }
    });
}

#[test]
fn a_closed_store_has_no_state_left_to_read() {
    let disk = Disk::new();
    let store = open(&disk).unwrap();
    store.commit(&[set(1)]).unwrap();
    assert_eq!(number(&store.snapshot().unwrap()), 1);
    store.close();
    assert!(matches!(store.snapshot().unwrap_err(), StoreError::Closed { .. }));
    assert_eq!(number(&open(&disk).unwrap().snapshot().unwrap()), 1);
}
