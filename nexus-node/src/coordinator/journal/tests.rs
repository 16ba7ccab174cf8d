use proptest::collection::vec;
use proptest::prelude::*;
use redb::StorageBackend;

use super::*;
use crate::store::disk::{Disk, Fault};

/// Small, so that records often need another segment.
const SEGMENT: u32 = 4 * SECTOR_BYTES as u32;
const ID: [u8; 16] = [7; 16];

type Model = BTreeMap<u64, Vec<u8>>;

/// A journal, its root in the store, and its expected entries.
struct Bench {
    disk: Disk,
    journal: Option<Journal>,
    root: Root,
    purged: Option<u64>,
    model: Model,
    /// The last index that was acknowledged, and the last that was handed in.
    committed: (Option<u64>, Option<u64>),
}

#[derive(Clone, Debug)]
enum Step {
    /// Appends entries of these sizes, some of them in place of others.
    Append {
        back: u64,
        sizes: Vec<usize>,
    },
    Truncate {
        back: u64,
    },
    /// Purges this number of eighths of the entries, or beyond them.
    Purge {
        eighths: u64,
        beyond: u64,
    },
    Begin,
    Prepare,
    Scrub,
    Reopen,
    /// Cuts the power after this number of writes and syncs, or now if there are none.
    PowerIn {
        steps: u64,
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0..200_usize, 2 => 200..900_usize, 1 => Just(SEGMENT as usize - RECORD_HEAD_BYTES - 4)];
    prop_oneof![
        8 => (prop_oneof![3 => Just(0_u64), 1 => 0..4_u64], vec(size, 1..5))
            .prop_map(|(back, sizes)| Step::Append { back, sizes }),
        2 => (1..6_u64).prop_map(|back| Step::Truncate { back }),
        2 => (0..9_u64, prop_oneof![3 => Just(0_u64), 1 => 1..9_u64])
            .prop_map(|(eighths, beyond)| Step::Purge { eighths, beyond }),
        1 => Just(Step::Begin),
        1 => Just(Step::Prepare),
        2 => Just(Step::Scrub),
        1 => Just(Step::Reopen),
        3 => (0..14_u64, any::<u64>()).prop_map(|(steps, seed)| Step::PowerIn { steps, seed }),
    ]
}

fn name() -> &'static Path {
    Path::new("simulated.log")
}

fn open(disk: &Disk, root: Root, purged: Option<u64>) -> Result<Opened, StoreError> {
    Journal::open(name(), Box::new(disk.clone()), root, purged)
}

fn all(journal: &Journal) -> Result<Model, StoreError> {
    let mut model = Model::new();
    journal.entries().scan(0..u64::MAX, &mut |index, bytes| {
        model.insert(index, bytes.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(model)
}

/// Bytes that differ for entries of one index.
fn entry(index: u64, stamp: u64, bytes: usize) -> Vec<u8> {
    let text = format!("{index}/{stamp};");
    text.bytes().cycle().take(bytes).collect()
}

impl Bench {
    fn new() -> Self {
        let disk = Disk::new();
        let journal = Journal::create(name(), Box::new(disk.clone()), ID, SEGMENT).unwrap();
        let root = journal.root();
        Self { disk, journal: Some(journal), root, purged: None, model: Model::new(), committed: (None, None) }
    }

    fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().unwrap()
    }

    fn next(&self) -> u64 {
        self.model.keys().next_back().copied().or(self.purged).map_or(0, |last| last + 1)
    }

    fn append(&mut self, entries: Vec<Vec<u8>>) {
        let (first, committed) = (self.next(), self.committed.0);
        self.journal().append(first, &entries, committed).unwrap();
        self.model.extend((first..).zip(entries));
    }

    fn purge(&mut self, upto: u64) {
        let root = self.journal().purged(upto);
        (self.root, self.purged) = (root, Some(upto));
        self.model.retain(|index, _| *index > upto);
        self.journal().let_go(root, upto);
    }

    /// Does a step. If the power was cut: the entries that may be there afterwards.
    fn step(&mut self, step: &Step, stamp: u64) -> Result<(), Vec<Model>> {
        let (first, next) = (self.purged.map_or(0, |purged| purged + 1), self.next());
        match step {
            Step::Append { back, sizes } => {
                let from = next.saturating_sub(*back).max(first);
                let entries: Vec<Vec<u8>> =
                    (from..).zip(sizes).map(|(index, bytes)| entry(index, stamp, *bytes)).collect();
                let committed = from.checked_sub(1);
                self.committed.1 = self.committed.1.max(committed);
                let before = self.model.clone();
                let done = self.journal().append(from, &entries, committed);
                self.model.split_off(&from);
                let mut partly = vec![before];
                for (index, entry) in (from..).zip(entries) {
                    self.model.insert(index, entry);
                    partly.push(self.model.clone());
                }
                done.map_err(|_| partly)?;
                self.committed.0 = self.committed.0.max(committed);
            }
            Step::Truncate { back } => {
                let from = next.saturating_sub(*back).max(first);
                let before = self.model.clone();
                let done = self.journal().truncate(from);
                self.model.split_off(&from);
                done.map_err(|_| vec![before, self.model.clone()])?;
            }
            Step::Purge { eighths, beyond } => {
                if *eighths > 0 && next > 0 {
                    let upto = first + (next - first) * eighths / 8 + beyond;
                    self.purge(upto.max(1) - 1);
                }
            }
            Step::Begin => {
                let root = self.journal().emptied();
                (self.root, self.purged, self.committed) = (root, None, (None, None));
                self.model.clear();
                self.journal().begin(root);
            }
            Step::Prepare => {
                let model = self.model.clone();
                self.journal().prepare().map_err(|_| vec![model])?;
            }
            Step::Scrub => {
                let model = self.model.clone();
                for segment in 0..self.journal().segments {
                    self.journal().scrub(segment).map_err(|_| vec![model.clone()])?;
                }
            }
            Step::Reopen => {
                self.journal = None;
                self.reopen(vec![self.model.clone()]);
            }
            Step::PowerIn { steps, .. } => self.disk.set_steps_left(*steps),
        }
        Ok(())
    }

    /// Opens the disk's content, which must be one of these.
    fn reopen(&mut self, expected: Vec<Model>) {
        let opened = match open(&self.disk, self.root, self.purged) {
            Ok(opened) => opened,
            // the power is not cut yet
            Err(StoreError::Disk { .. }) => return self.power_goes(1, expected),
            Err(error) => panic!("what a power loss left is refused: {error}"),
        };
        let found = all(&opened.journal).unwrap();
        assert!(expected.contains(&found), "found {found:?}, not one of {expected:?}");
        let (least, most) = self.committed;
        assert!(opened.committed <= most, "{:?} was never said to be committed", opened.committed);
        if self.root.start.lsn == 0 {
            assert!(opened.committed >= least, "{least:?} was on disk as committed");
        }
        self.model = found;
        self.committed = (opened.committed, opened.committed);
        self.journal = Some(opened.journal);
    }

    fn power_goes(&mut self, seed: u64, expected: Vec<Model>) {
        self.journal = None;
        self.disk = self.disk.lose_power(seed);
        self.reopen(expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// promise: Keys and locks | Acknowledged entries are in the log after any power loss; votes agree with them
    #[test]
    fn what_was_acknowledged_is_there_after_any_power_loss(steps in vec(step(), 1..60)) {
        let mut bench = Bench::new();
        let mut seed = 1;
        for (stamp, step) in (0..).zip(&steps) {
            if let Step::PowerIn { seed: next, .. } = step {
                seed = *next;
            }
            if let Err(expected) = bench.step(step, stamp) {
                bench.power_goes(seed, expected);
            }
            assert_eq!(all(bench.journal()).unwrap(), bench.model);
        }
        let expected = vec![bench.model.clone()];
        bench.power_goes(seed, expected);
    }
}

/// A journal of several segments whose last record is larger than a sector, and the expected entries
/// before it.
fn filled() -> (Bench, Model) {
    let mut bench = Bench::new();
    for stamp in 0..40 {
        let next = bench.next();
        bench.append(vec![entry(next, stamp, 90), entry(next + 1, stamp, 300)]);
        if stamp == 20 {
            bench.purge(18);
        }
    }
    bench.journal().truncate(70).unwrap();
    bench.model.split_off(&70);
    let before = bench.model.clone();
    bench.append(vec![entry(70, 99, 700)]);
    (bench, before)
}

/// promise: Keys and locks | A log with a flipped byte is refused or right, or ends before its last record
#[test]
fn a_flipped_byte_is_damage_or_reads_right_or_ends_the_log_before_its_last_record() {
    let (bench, before) = filled();
    let image = bench.disk.image();
    let (mut refused, mut torn) = (0, 0);
    for at in 0..image.len() {
        let disk = Disk::from_image(image.clone());
        disk.flip(at, 1 << (at % 8));
        let damaged = disk.image();
        match open(&disk, bench.root, bench.purged) {
            Ok(opened) => {
                let found = all(&opened.journal).unwrap();
                torn += usize::from(found == before);
                assert!(found == bench.model || found == before, "wrong entries after a flip at {at}");
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
                assert!(disk.image() == damaged, "a refused file changed after a flip at {at}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10_000, "only {refused} flips were noticed");
    // flips in the last record, and in the head before it
    assert_eq!(torn, RECORD_HEAD_BYTES + 4 + 700, "flips that ended the log early");
}

/// promise: Keys and locks | A log with a flipped byte is refused or right, or ends before its last record
#[test]
fn a_file_that_is_cut_off_is_refused() {
    let (bench, _) = filled();
    let image = bench.disk.image();
    for len in (0..image.len()).step_by(97) {
        let disk = Disk::from_image(image[..len].to_vec());
        let opened = open(&disk, bench.root, bench.purged);
        assert!(matches!(opened, Err(StoreError::Damaged { .. })), "cut off at {len}");
    }
}

/// promise: Keys and locks | A log with a flipped byte is refused or right, or ends before its last record
#[test]
fn a_byte_that_flips_later_is_not_read() {
    let (mut bench, _) = filled();
    let (offset, bytes) = {
        let entries = bench.journal().entries();
        let place = entries.index()[&60];
        (place.offset as usize, place.bytes as usize)
    };
    for at in offset..offset + bytes {
        bench.disk.flip(at, 4);
        assert!(matches!(all(bench.journal()), Err(StoreError::Damaged { .. })));
        bench.disk.flip(at, 4);
    }
    assert_eq!(all(bench.journal()).unwrap(), bench.model);
}

/// promise: Keys and locks | A commit is one write and one sync, and the log's file stays small
#[test]
fn what_is_purged_makes_room_for_what_comes() {
    let mut bench = Bench::new();
    for stamp in 0..2_000 {
        let next = bench.next();
        bench.append(vec![entry(next, stamp, 300)]);
        if stamp % 10 == 0 {
            bench.purge(next.saturating_sub(4));
        }
    }
    let segments = bench.journal().segments;
    assert!(segments <= 6, "{segments} segments for at most 15 sectors of entries");
    bench.journal = None;
    let expected = vec![bench.model.clone()];
    bench.reopen(expected);
}

/// promise: Erasure | A deleted key's value is overwritten in the coordinators' log once it is in no entry there
#[test]
fn what_is_dropped_can_be_overwritten() {
    let mut bench = Bench::new();
    let canary = |at: usize| format!("canary {at:04}").into_bytes();
    for at in 0..40 {
        bench.append(vec![canary(at)]);
    }
    // in the root's own segment, and in others
    bench.purge(36);
    let found = |bench: &Bench| {
        let image = bench.disk.image();
        (0..40).filter(|at| image.windows(11).any(|bytes| bytes == canary(*at))).collect::<Vec<_>>()
    };
    assert!(found(&bench).len() > 3, "nothing was left to overwrite");
    for segment in 0.. {
        if !bench.journal().scrub(segment).unwrap() {
            break;
        }
    }
    assert_eq!(found(&bench), [37, 38, 39]);
    bench.journal = None;
    let expected = vec![bench.model.clone()];
    bench.reopen(expected);
    bench.append(vec![canary(40)]);
    assert_eq!(all(bench.journal()).unwrap(), bench.model);
}

/// promise: Keys and locks | Acknowledged entries are in the log after any power loss; votes agree with them
#[test]
fn a_segment_at_whose_end_the_log_begins_is_not_overwritten_once_it_was_taken_again() {
    let mut bench = Bench::new();
    bench.append(vec![entry(0, 0, 0)]);
    bench.purge(0);
    // it does not fit behind the root
    bench.append(vec![entry(1, 1, SEGMENT as usize - RECORD_HEAD_BYTES - 4)]);
    bench.journal = None;
    let expected = vec![bench.model.clone()];
    bench.reopen(expected);
    for stamp in 2..5 {
        let next = bench.next();
        bench.append(vec![entry(next, stamp, 0)]);
    }
    for segment in 0..bench.journal().segments {
        assert!(bench.journal().scrub(segment).unwrap());
    }
    assert_eq!(all(bench.journal()).unwrap(), bench.model);
}

/// promise: Keys and locks | Acknowledged entries are in the log after any power loss; votes agree with them
#[test]
fn a_log_that_begins_anew_has_nothing_of_the_one_before() {
    let (mut bench, _) = filled();
    let root = bench.journal().emptied();
    bench.journal().begin(root);
    bench.journal().append(0, &[entry(0, 1, 40)], None).unwrap();
    let opened = open(&bench.disk, root, None).unwrap();
    assert_eq!(all(&opened.journal).unwrap(), Model::from([(0, entry(0, 1, 40))]));
    // while the store does not have the root, nothing has begun
    let (bench, _) = filled();
    bench.journal.as_ref().unwrap().emptied();
    assert_eq!(all(&open(&bench.disk, bench.root, bench.purged).unwrap().journal).unwrap(), bench.model);
}

/// promise: Keys and locks | A log with a flipped byte is refused or right, or ends before its last record
#[test]
fn a_record_of_another_history_is_not_read() {
    // the remains of a disk that lied about a sync: the third record is there, the second is not, and
    // its place was reused
    let mut bench = Bench::new();
    bench.append(vec![entry(0, 1, 40)]);
    let beginning = Disk::from_image(bench.disk.image());
    bench.append(vec![entry(1, 1, 40)]);
    bench.append(vec![entry(2, 1, 40)]);
    let mut again = open(&beginning, bench.root, None).unwrap().journal;
    again.append(1, &[entry(1, 2, 40)], None).unwrap();
    let third = again.offset(0, 2 * SECTOR_BYTES as u32);
    let mut sector = [0; SECTOR_BYTES];
    bench.disk.read(third, &mut sector).unwrap();
    beginning.write(third, &sector).unwrap();
    assert!(matches!(open(&beginning, bench.root, None), Err(StoreError::Damaged { .. })));
}

/// promise: Keys and locks | Acknowledged entries are in the log after any power loss; votes agree with them
#[test]
fn what_is_read_after_a_kill_stays_after_a_power_loss() {
    let mut bench = Bench::new();
    bench.append(vec![entry(0, 1, 40)]);
    bench.disk.set_fault(Fault::SyncFails);
    let next = entry(1, 2, 40);
    assert!(bench.journal().append(1, std::slice::from_ref(&next), None).is_err());
    bench.disk.set_fault(Fault::None);
    // the record was written and never synced; a reader may count on it
    let opened = open(&bench.disk, bench.root, None).unwrap();
    assert_eq!(all(&opened.journal).unwrap().len(), 2);
    for seed in 0..40 {
        let opened = open(&bench.disk.lose_power(seed), bench.root, None).unwrap();
        assert_eq!(all(&opened.journal).unwrap(), Model::from([(0, entry(0, 1, 40)), (1, next.clone())]));
    }
}

/// promise: Keys and locks | A log with a flipped byte is refused or right, or ends before its last record
#[test]
fn after_a_failed_write_nothing_more_is_written() {
    let mut bench = Bench::new();
    bench.append(vec![entry(0, 1, 40)]);
    bench.disk.set_fault(Fault::SyncFails);
    let error = bench.journal().append(1, &[entry(1, 1, 40)], None).unwrap_err();
    assert!(matches!(error, StoreError::Disk { .. }), "{error}");
    bench.disk.set_fault(Fault::None);
    let steps = bench.disk.steps();
    for error in [bench.journal().append(1, &[vec![]], None), bench.journal().truncate(0)] {
        assert!(matches!(error, Err(StoreError::Poisoned { .. })), "{error:?}");
    }
    assert_eq!(bench.disk.steps(), steps);
}

/// promise: Keys and locks | A value that looks like a part of the log is none
#[test]
fn a_value_that_looks_like_a_record_is_none() {
    // somebody who knows the form and the length of the log writes the next record into a value
    let forged = Draft::new(Kind::Append, 0, None);
    let (forged, _) = forged.finish(&Key::new([8; 16], 0), 9, &[0; 16]);
    let mut value = vec![0; SECTOR_BYTES - RECORD_HEAD_BYTES - 4];
    value.extend_from_slice(&forged);
    let mut bench = Bench::new();
    bench.append(vec![value.clone()]);
    let at = bench.journal().offset(0, SECTOR_BYTES as u32);
    let mut there = vec![0; forged.len()];
    bench.disk.read(at, &mut there).unwrap();
    assert_eq!(there, forged, "it lies where a record could");
    let opened = open(&bench.disk, bench.root, None).unwrap();
    assert_eq!(all(&opened.journal).unwrap(), Model::from([(0, value)]));
}

/// promise: Keys and locks | A commit is one write and one sync, and the log's file stays small
#[test]
fn one_commit_is_one_write_and_one_sync() {
    let mut bench = Bench::new();
    let steps = bench.disk.steps();
    bench.append(vec![entry(0, 1, 40), entry(1, 1, 40), entry(2, 1, 40)]);
    assert_eq!(bench.disk.steps() - steps, 2);
}

/// promise: Keys and locks | A value that looks like a part of the log is none
#[test]
fn an_entry_that_fits_no_segment_is_refused() {
    let mut bench = Bench::new();
    let entry = vec![0; SEGMENT as usize - RECORD_HEAD_BYTES - 3];
    assert!(bench.journal().append(0, &[entry], None).is_err());
    assert_eq!(all(&open(&bench.disk, bench.root, None).unwrap().journal).unwrap(), Model::new());
}
