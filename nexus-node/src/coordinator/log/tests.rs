use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use nexus_identity::Did;
use openraft::storage::RaftLogStorageExt;
use openraft::{CommittedLeaderId, EntryPayload, LeaderId};

use super::*;
use crate::coordinator::raft::Position;
use crate::headroom::Headroom;
use crate::store::disk::{Disk, Random};
use crate::store::{ALL_KEYS, Order, StoreOptions, Table, View};
use crate::world::World;

const MESH: Did = Did::from_bytes([1; 32]);
const ME: Did = Did::from_bytes([2; 32]);
const OTHER: Voter = Voter { did: Did::from_bytes([3; 32]), draw: 3 };

/// Both files of a machine.
#[derive(Clone)]
struct Disks {
    raft: Disk,
    journal: Disk,
}

impl Disks {
    fn new() -> Self {
        Self { raft: Disk::new(), journal: Disk::new() }
    }

    fn store(&self) -> Result<Store, StoreError> {
        Store::with_backend("raft.redb", self.raft.clone(), StoreOptions { cache_bytes: 1 << 20, ..<_>::default() })
    }

    fn open_in(&self, mesh: Did) -> Result<(Log, Writer, Place), StoreError> {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let draw = || DRAWN.fetch_add(1, Ordering::Relaxed);
        Log::open(World::inline(), self.store()?, Box::new(self.journal.clone()), ME, mesh, false, draw)
    }

    fn open(&self) -> Result<(Log, Writer, Place), StoreError> {
        self.open_in(MESH)
    }

    fn lose_power(&self, seed: u64) -> Self {
        Self { raft: self.raft.lose_power(seed), journal: self.journal.lose_power(!seed) }
    }
}

/// The content that openraft would find.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, u64>,
}

impl Kept {
    fn of(log: &Log) -> Self {
        let entries = log.entries(0, u64::MAX, usize::MAX).unwrap();
        let entries = entries.iter().map(|entry| (entry.log_id.index, entry.log_id.leader_id.term)).collect();
        let state = log.state();
        assert!(state.snapshot >= state.purged, "purged to {:?}, with {:?} written", state.purged, state.snapshot);
        Self { vote: state.vote, purged: state.purged, entries }
    }

    fn next(&self) -> u64 {
        self.entries.keys().next_back().copied().or(self.purged.map(|purged| purged.index)).map_or(0, |last| last + 1)
    }
}

/// promise: Keys and locks | A copy that meets the writing of a later version stops and says `too_new`; its node and the next start go on, and the copy does after its upgrade
#[test]
fn a_log_that_a_later_version_wrote_opens_as_far_as_it_reads() {
    let disks = Disks::new();
    let found = rows::open(&disks.store().unwrap(), Box::new(disks.journal.clone()), ME, MESH, false, || 7).unwrap();
    let mut journal = found.journal;
    let known = encode_entry(&blank(0, 3));
    let mut unknown = encode_entry(&blank(1, 3));
    let tag = unknown.len() - 1;
    unknown[tag] = 99;
    unknown.extend([1, 2, 3]);
    journal.append(0, &[known, unknown], None).unwrap();
    drop(journal);
    let (log, ..) = disks.open().unwrap();
    assert_eq!((log.state().last, log.stopped()), (Some(at(1, 3)), None));
    assert_eq!(log.entries(0, 1, usize::MAX).unwrap(), [blank(0, 3)]);
    log.entries(0, 2, usize::MAX).unwrap_err();
    assert_eq!(log.stopped(), Some(TooNew::LogEntry(99)));
    log.close();

    let store = disks.store().unwrap();
    let mut batch = Batch::new();
    batch.put(Table::RaftMeta, b"snapshot", &[2, 0, 0]);
    store.commit(&[batch]).unwrap();
    store.close();
    let (log, ..) = disks.open().unwrap();
    assert_eq!(log.stopped(), Some(TooNew::Snapshot));
}

fn at(index: u64, term: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, OTHER), index)
}

fn blank(index: u64, term: u64) -> Entry {
    Entry { log_id: at(index, term), payload: EntryPayload::Blank }
}

fn vote(term: u64) -> Vote {
    Vote { leader_id: LeaderId::new(term, OTHER), committed: false }
}

fn snapshot(at: LogId) -> SnapshotMeta {
    SnapshotMeta { last_log_id: Some(at), ..SnapshotMeta::default() }
}

/// Works on a log beside the task that writes.
fn with_log<T>(log: Log, writer: Writer, work: impl AsyncFnOnce(Log) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (writing, working) = (writer.run(World::inline(), Headroom::new(None, 0), |_| {}), work(log));
        tokio::pin!(working);
        tokio::select! {
            result = &mut working => result,
            () = writing => working.await,
        }
    })
}

/// A store from before there was a journal, with the entries from 3 to 19.
fn before_the_journal(disks: &Disks) -> Kept {
    let store = disks.store().unwrap();
    let mut batch = Batch::new();
    let mut put = |key: &[u8], value: Vec<u8>| batch.put(Table::RaftMeta, key, &value);
    put(b"mesh", MESH.as_bytes().to_vec());
    put(b"draw", borsh::to_vec(&5_u64).unwrap());
    put(b"vote", borsh::to_vec(&Ballot::from(vote(9))).unwrap());
    put(b"purged", borsh::to_vec(&Position::from(at(2, 1))).unwrap());
    let head = SnapshotHead::from(&snapshot(at(2, 1)));
    put(b"snapshot", borsh::to_vec(&head).unwrap());
    put(b"committed", borsh::to_vec(&Position::from(at(11, 4))).unwrap());
    for index in 3..20_u64 {
        batch.put(Table::RaftLog, &index.to_be_bytes(), &encode_entry(&blank(index, 4)));
    }
    store.commit(&[batch]).unwrap();
    store.close();
    Kept { vote: Some(vote(9)), purged: Some(at(2, 1)), entries: (3..20).map(|index| (index, 4)).collect() }
}

/// promise: Keys and locks | A log from before it had a file of its own is moved into one
#[test]
fn entries_from_before_the_journal_are_moved_whatever_happens_meanwhile() {
    let mut cut_short = 0;
    for steps in 0..60 {
        let mut disks = Disks::new();
        let kept = before_the_journal(&disks);
        // each disk is gone first in half of the cases
        if steps % 2 == 0 {
            disks.journal.set_steps_left(steps / 2);
        } else {
            disks.raft.set_steps_left(steps / 2);
        }
        let opened = disks.open();
        cut_short += u64::from(opened.is_err());
        drop(opened);
        for seed in 0..2 {
            disks = disks.lose_power(steps + seed);
            let (log, writer, place) = disks.open().unwrap();
            assert_eq!((Kept::of(&log), place.me.draw), (kept.clone(), 5));
            let committed = with_log(log, writer, async |mut log| log.read_committed().await.unwrap());
            assert_eq!(committed, Some(at(11, 4)));
            let left = disks.store().unwrap();
            assert_eq!(left.snapshot().unwrap().first(Table::RaftLog, ALL_KEYS, Order::Forward).unwrap(), None);
        }
    }
    assert!(cut_short > 10, "only {cut_short} moves were cut short");
}

/// promise: Keys and locks | A log with a flipped byte is refused or right, or ends before its last record
#[test]
fn a_store_without_its_journal_is_refused() {
    let disks = Disks::new();
    let (log, writer, _) = disks.open().unwrap();
    with_log(log, writer, async |mut log| log.blocking_append([blank(0, 1)]).await.unwrap());
    let another = Disks::new();
    drop(another.open().unwrap());
    for journal in [Disk::new(), another.journal] {
        let lost = Disks { journal: journal.clone(), ..disks.clone() };
        let before = journal.image();
        let Err(error) = lost.open() else { panic!("opened without its journal") };
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().starts_with("raft.log is damaged: it is missing, or not the one"), "{error}");
        assert!(journal.image() == before);
    }
    assert_eq!(Kept::of(&disks.open().unwrap().0).entries.len(), 1);
}

/// promise: Keys and locks | A log from before it had a file of its own is moved into one
#[test]
fn a_journal_without_its_store_is_begun_anew() {
    let disks = Disks::new();
    let (log, writer, _) = disks.open().unwrap();
    with_log(log, writer, async |mut log| log.blocking_append([blank(0, 1)]).await.unwrap());
    let lost = Disks { raft: Disk::new(), ..disks };
    assert_eq!(Kept::of(&lost.open().unwrap().0), Kept::default());
}

/// promise: Keys and locks | A log from before it had a file of its own is moved into one
#[test]
fn a_node_of_another_mesh_has_nothing_of_the_one_before() {
    let disks = Disks::new();
    let (log, writer, _) = disks.open().unwrap();
    with_log(log, writer, async |mut log| {
        log.blocking_append([blank(0, 1)]).await.unwrap();
        log.save_vote(&vote(3)).await.unwrap();
    });
    let older = Disks::new();
    before_the_journal(&older);
    for disks in [&disks, &disks, &older, &older] {
        let (log, _, place) = disks.open_in(OTHER.did).unwrap();
        assert_eq!((Kept::of(&log), place.group.is_none()), (Kept::default(), true));
    }
}

/// Does one step on a log. Returns the content if it was done.
async fn step(log: &mut Log, kept: &Kept, random: &mut Random, term: u64) -> (Kept, bool) {
    let mut after = kept.clone();
    let (first, next) = (kept.purged.map_or(0, |purged| purged.index + 1), kept.next());
    let done = match random.next() % 12 {
        0..5 => {
            let entries: Vec<Entry> = (next..next + 1 + random.next() % 4).map(|index| blank(index, term)).collect();
            after.entries.extend(entries.iter().map(|entry| (entry.log_id.index, term)));
            log.blocking_append(entries).await.is_ok()
        }
        5 | 6 if next > first => {
            let from = next - 1 - random.next() % (next - first).min(3);
            let term = after.entries[&from];
            after.entries.split_off(&from);
            log.truncate(at(from, term)).await.is_ok()
        }
        7 | 8 => {
            let upto = first + random.next() % (next - first + 3);
            let at = at(upto, after.entries.get(&upto).copied().unwrap_or(term));
            after.purged = Some(at);
            after.entries = after.entries.split_off(&(upto + 1));
            let (saving, head) = (log.clone(), snapshot(at));
            // in the order in which openraft's tasks may come
            let (purged, saved) = futures::join!(log.purge(at), saving.save_snapshot(&head, b"state"));
            saved.is_ok() && purged.is_ok()
        }
        9 | 10 => {
            after.vote = Some(vote(term));
            log.save_vote(&vote(term)).await.is_ok()
        }
        11 if random.next().is_multiple_of(4) => {
            after = Kept::default();
            log.reset(MESH, term, Group { generation: 1, id: term }).await.is_ok()
        }
        _ => true,
    };
    (after, done)
}

/// promise: Keys and locks | Acknowledged entries are in the log after any power loss; votes agree with them
#[test]
fn votes_and_entries_survive_power_losses_of_both_files() {
    let mut losses = 0;
    for seed in 0..150 {
        let mut random = Random(seed);
        let (mut disks, mut expected) = (Disks::new(), vec![Kept::default()]);
        for life in 0..6 {
            let opened = disks.open();
            let Ok((log, writer, _)) = opened else {
                disks = disks.lose_power(seed + life);
                continue;
            };
            let kept = Kept::of(&log);
            assert!(expected.contains(&kept), "seed {seed}, life {life}: {kept:?}, not one of {expected:?}");
            if random.next().is_multiple_of(2) {
                disks.raft.set_steps_left(random.next() % 40);
            } else {
                disks.journal.set_steps_left(random.next() % 40);
            }
            let steps = 1 + random.next() % 40;
            expected = with_log(log, writer, async |mut log| {
                let mut kept = kept;
                for number in 0..steps {
                    let (after, done) = step(&mut log, &kept, &mut random, life * 100 + number + 1).await;
                    if !done {
                        return vec![kept, after];
                    }
                    assert_eq!(Kept::of(&log), after, "seed {seed}, life {life}");
                    kept = after;
                }
                vec![kept]
            });
            losses += usize::from(expected.len() == 2);
            disks = disks.lose_power(random.next());
        }
    }
    assert!(losses > 100, "the power went {losses} times only");
}

/// promise: Keys and locks | Acknowledged entries are in the log after any power loss; votes agree with them
#[test]
fn nothing_is_purged_before_a_snapshot_has_it() {
    let disks = Disks::new();
    let (log, writer, _) = disks.open().unwrap();
    with_log(log, writer, async |mut log| {
        log.blocking_append((0..6).map(|index| blank(index, 1))).await.unwrap();
        let kept = Kept::of(&log);
        let (saving, mut purging) = (log.clone(), log.clone());
        let purged = purging.purge(at(3, 1));
        tokio::pin!(purged);
        for _ in 0..20 {
            tokio::select! {
                biased;
                _ = &mut purged => panic!("purged without a snapshot"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(Kept::of(&disks.lose_power(1).open().unwrap().0), kept);
        assert!(saving.save_snapshot(&snapshot(at(3, 1)), b"").await.is_err(), "the power is gone");
    });
    let disks = disks.lose_power(2);
    let (log, writer, _) = disks.open().unwrap();
    with_log(log, writer, async |mut log| {
        let (saving, head) = (log.clone(), snapshot(at(3, 1)));
        let (purged, saved) = futures::join!(log.purge(at(3, 1)), saving.save_snapshot(&head, b""));
        assert!(saved.is_ok() && purged.is_ok());
        assert_eq!(Kept::of(&log).entries.len(), 2);
    });
}

/// promise: Keys and locks | A commit is one write and one sync, and the log's file stays small
#[test]
fn a_log_that_is_purged_keeps_its_file_small_and_opens_again() {
    const ENTRIES: u64 = 2_100;
    let disks = Disks::new();
    for round in 0..5 {
        let (log, writer, _) = disks.open().unwrap();
        with_log(log, writer, async |mut log| {
            let first = round * ENTRIES;
            assert_eq!(Kept::of(&log).next(), first);
            for index in first..first + ENTRIES {
                log.blocking_append([blank(index, 1)]).await.unwrap();
            }
            let upto = at(first + ENTRIES - 10, 1);
            log.save_snapshot(&snapshot(upto), b"").await.unwrap();
            log.purge(upto).await.unwrap();
            assert_eq!(Kept::of(&log).entries.len(), 9);
        });
    }
    // each round fills more than one segment
    assert!(disks.journal.bytes() < 6 << 20, "{} bytes", disks.journal.bytes());
}
