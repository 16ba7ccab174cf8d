use futures::FutureExt;
use nexus_identity::Did;
use nexus_mesh::Spawner;

use super::*;
use crate::coordinator::command::Group;
use crate::coordinator::state::{Action, Deed, DeedResult, Source};
use crate::store::Store;
use crate::store::disk::Disk;
use crate::world::{Tasks, World};

const ME: Did = Did::from_bytes([2; 32]);

/// A log with its writer, and an empty copy.
fn log() -> (Log, Applied, Tasks) {
    let (store, mesh) = (Store::memory().unwrap(), Did::from_bytes([1; 32]));
    let (log, writer, _) = Log::open(World::inline(), store, Box::new(Disk::new()), ME, mesh, false, || 7).unwrap();
    let tasks = Tasks::current();
    tasks.spawn("writer", writer.run(World::inline(), |reason| panic!("{reason}")).boxed());
    (log, Applied::new(Group::default(), None, 0, Default::default()).unwrap(), tasks)
}

/// A record of two deeds.
fn record(first: u64) -> Record {
    let deed =
        Deed { action: Action::Put, name: format!("k{first}"), whose: None, result: DeedResult::Revision(first) };
    let source = Source::Recovery { by: ME, at_ms: 0 };
    Record { before: [0; 32], first, index: first, source, deeds: vec![deed.clone(), deed] }
}

/// The first deeds of the rows on disk.
fn rows(log: &Log) -> Vec<u64> {
    let mut found = Vec::new();
    let all = (Bound::Included(FIRST.as_slice()), Bound::Included(LAST.as_slice()));
    let view = log.view().unwrap();
    view.scan(Table::RaftAudit, all, Order::Forward, &mut |key, _| {
        found.push(u64::from_be_bytes(key.try_into().unwrap()));
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// promise: Keys and locks | `audit verify` finds whatever was changed, left out or exchanged
#[tokio::test]
async fn records_that_come_again_with_the_log_are_kept_once() {
    let (log, applied, _tasks) = log();
    for _ in 0..2 {
        applied.waiting(|waiting| [1, 3, 5].into_iter().for_each(|first| waiting.add(Some(record(first)))));
        keep(&log, &applied).await.unwrap();
        assert!(applied.read().waiting.records.is_empty());
    }
    assert_eq!(rows(&log), [1, 3, 5]);
    let bytes: u64 = [1, 3, 5].into_iter().map(|first| record(first).encode().len() as u64).sum();
    assert_eq!(kept_bytes(&log, &log.view().unwrap()).unwrap(), bytes);
    // backwards, as a member asks, from the disk and from memory
    applied.waiting(|waiting| waiting.add(Some(record(7))));
    let page = read_back(&log, &applied, 8).unwrap();
    assert_eq!(page, [7, 5, 3, 1].map(|first| record(first).encode()));
    assert_eq!(read_back(&log, &applied, 4).unwrap().len(), 2);
    assert_eq!(read_back(&log, &applied, u64::MAX).unwrap(), page);
}

/// promise: Keys and locks | A node gets the past before its snapshot from others, and believes no wrong one
#[tokio::test]
async fn a_snapshot_takes_the_place_of_what_was_written_before_a_crash_took_the_copy_back() {
    let (log, applied, _tasks) = log();
    applied.waiting(|waiting| [1, 3, 5].into_iter().for_each(|first| waiting.add(Some(record(first)))));
    keep(&log, &applied).await.unwrap();
    skip(&log, &applied, 2, 20, [9; 32]).await.unwrap();
    assert_eq!(rows(&log), [1]);
    assert_eq!(gaps(&log).unwrap(), [Gap { from: 3, to: 20, hash: [9; 32] }]);
    // nothing new: nothing is missing
    skip(&log, &applied, 20, 20, [9; 32]).await.unwrap();
    assert_eq!(gaps(&log).unwrap().len(), 1);
}
