use futures::FutureExt;
use nexus_identity::Did;
use nexus_mesh::Spawner;

use super::*;
use crate::coordinator::command::Group;
use crate::coordinator::state::{Action, Deed, DeedResult, Source};
use crate::headroom::Headroom;
use crate::store::Store;
use crate::store::disk::Disk;
use crate::world::{Tasks, World};

const ME: Did = Did::from_bytes([2; 32]);

/// A log with its writer, and an empty copy.
fn log() -> (Log, Applied, Tasks) {
    let (store, mesh) = (Store::memory().unwrap(), Did::from_bytes([1; 32]));
    let (log, writer, _) = Log::open(World::inline(), store, Box::new(Disk::new()), ME, mesh, false, || 7).unwrap();
    let tasks = Tasks::current();
    tasks.spawn("writer", writer.run(World::inline(), Headroom::new(None, 0), |reason| panic!("{reason}")).boxed());
    (log, Applied::new(Group::default(), None, 0, Default::default(), 1).unwrap(), tasks)
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
    let exactly = Room { common: bytes, apart: 0 };
    let shares = || shares(&log, &log.view().unwrap()).unwrap();
    assert!(shares().over(exactly).is_none() && shares().over(Room { common: bytes - 1, ..exactly }).is_some());
    // backwards, as a member asks, from the disk and from memory
    applied.waiting(|waiting| waiting.add(Some(record(7))));
    let page = read_back(&log, &applied, 8).unwrap();
    assert_eq!(page, [7, 5, 3, 1].map(|first| record(first).encode()));
    assert_eq!(read_back(&log, &applied, 4).unwrap().len(), 2);
    assert_eq!(read_back(&log, &applied, u64::MAX).unwrap(), page);
}

/// A member's record of one deed.
fn record_of(by: u8, first: u64, action: Action, whose: Option<u8>, result: DeedResult) -> Record {
    let deed = Deed { action, name: "n".repeat(400), whose: whose.map(|whose| Did::from_bytes([whose; 32])), result };
    let source = Source::Proposal {
        by: Did::from_bytes([by; 32]),
        at_ms: 0,
        digest: [0; 32],
        signature: nexus_identity::Signature::from_bytes([0; 64]),
    };
    Record { before: [0; 32], first, index: first, source, deeds: vec![deed] }
}

/// promise: Keys and locks | No flood of requests pushes a stolen lock, a change of the voters or another member's requests out of the audit
#[tokio::test]
async fn a_flood_of_refusals_pushes_out_nothing_but_its_own_member_s_requests() {
    let (log, _, _tasks) = log();
    let refused = || DeedResult::Refused("no_lock".to_owned());
    let room = Room { common: 40 * 700, apart: 8 * 700 };
    let keep = async |records: &[Record]| log.keep(batch_within(&log, records, room).unwrap()).await.unwrap();
    let (victim, thief) = (3, 4);
    let mut honest = Vec::new();
    for first in 1..=5 {
        honest.push(record_of(victim, first, Action::Put, None, DeedResult::Revision(first)));
    }
    keep(&honest).await;
    keep(&[record_of(thief, 6, Action::Steal, Some(victim), DeedResult::Granted(9))]).await;
    let mut seats = record(7);
    seats.source = Source::Leader(ME);
    seats.deeds.truncate(1);
    seats.deeds[0].action = Action::VoterRemoved;
    keep(&[seats]).await;
    for round in 0..20 {
        // locks that nobody holds, and its own
        let flood = (0..20).map(|n| {
            let (whose, result) = if n % 2 == 0 { (None, refused()) } else { (Some(thief), DeedResult::Granted(n)) };
            record_of(thief, 8 + round * 20 + n, Action::Steal, whose, result)
        });
        keep(&flood.collect::<Vec<_>>()).await;
    }
    let kept = rows(&log);
    assert!((1..=7).all(|first| kept.contains(&first)), "{kept:?}");
    assert!(kept.len() < 60, "there is a bound: {}", kept.len());
    assert_eq!(kept.last(), Some(&407), "the newest stay");
    assert!(has_let_go(&log, &log.view().unwrap()).unwrap());
    // an earlier version kept no shares: they are counted, and are the same
    let counted = {
        let mut batch = Batch::new();
        batch.delete(Table::RaftAudit, SHARES);
        let before = shares(&log, &log.view().unwrap()).unwrap();
        log.keep(batch).await.unwrap();
        (before, shares(&log, &log.view().unwrap()).unwrap())
    };
    for apart in (0..20).map(|n| n * 300) {
        let room = Room { common: 25 * 700, apart };
        assert_eq!(counted.0.over(room).is_some(), counted.1.over(room).is_some());
    }
}

/// promise: Keys and locks | A new key has no other share of the audit: its flood pushes out its own line's requests alone
#[tokio::test]
async fn a_new_key_has_no_other_share_of_the_audit() {
    let (log, _, _tasks) = log();
    let room = Room { common: 40 * 700, apart: 8 * 700 };
    let keep = async |records: &[Record]| log.keep(batch_within(&log, records, room).unwrap()).await.unwrap();
    let honest = 3;
    // as many as one of two members has, and far more than one of eleven
    let first: Vec<Record> =
        (1..=18).map(|n| record_of(honest, n, Action::Put, None, DeedResult::Revision(n))).collect();
    keep(&first).await;
    let mut next = 19;
    // a key that is no point of the curve has no DID that is read again
    let is_key = |key: &u8| Did::from_bytes([*key; 32]).to_string().parse::<Did>().is_ok();
    let keys: Vec<u8> = (10..).filter(is_key).take(11).collect();
    for (key, later) in keys.iter().copied().zip(keys[1..].iter().copied()) {
        let flood = (next..next + 20)
            .map(|n| record_of(key, n, Action::Steal, None, DeedResult::Refused("no_lock".to_owned())));
        keep(&flood.collect::<Vec<_>>()).await;
        let mut ended = record_of(9, next + 20, Action::MemberEnded, Some(later), DeedResult::Noted);
        ended.deeds[0].name = Did::from_bytes([key; 32]).to_string();
        keep(&[ended]).await;
        next += 21;
    }
    let kept = rows(&log);
    assert!((1..=18).all(|first| kept.contains(&first)), "{kept:?}");
    // counted anew it is the same
    let before = shares(&log, &log.view().unwrap()).unwrap();
    assert_eq!(before.heirs.len(), 10);
    assert!(before.over(room).is_none());
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
