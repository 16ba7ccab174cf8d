use std::path::Path;
use std::time::Duration;

use super::super::beside::Beside;
use super::super::disk::Fault;
use super::super::error::NotCompacted;
use super::*;

/// The bytes that are looked for.
const CANARY: &[u8] = b"a bird that sings in the dark mine";

/// The files beside a store on a simulated disk.
#[derive(Debug)]
struct DiskBeside(Disk);

impl Beside for DiskBeside {
    fn clear(&self) -> io::Result<()> {
        let beside = self.0.beside();
        let len = StorageBackend::len(&beside)?;
        if len > 0 {
            beside.write(0, &vec![0; len as usize])?;
            beside.sync_data()?;
            beside.set_len(0)?;
        }
        Ok(())
    }

    fn make(&self) -> io::Result<std::sync::Arc<dyn StorageBackend>> {
        Ok(std::sync::Arc::new(self.0.beside()))
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn exchange(&self) -> io::Result<()> {
        self.0.exchange()
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_names()
    }

    fn free(&self) -> Option<u64> {
        None
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

type Opening = fn(&Disk) -> Result<Store, StoreError>;

/// The ways of opening a store: without a log, and with one.
const OPENINGS: [Opening; 2] = [
    |disk| open(disk).map(|store| beside(store, disk)),
    |disk| open_logged(disk, 256 << 10).map(|store| beside(store, disk)),
];

fn beside(store: Store, disk: &Disk) -> Store {
    store.0.beside.set(Arc::new(DiskBeside(disk.clone()))).unwrap();
    store
}

fn model(store: &Store) -> Model {
    everything(&store.snapshot().unwrap()).unwrap()
}

fn nothing_more(_: &Snapshot, _: Option<&Path>) -> Result<Batch, StoreError> {
    Ok(Batch::new())
}

fn compact(store: &Store) -> Result<Compacted, StoreError> {
    store.compact(&nothing_more, &mut |_| ControlFlow::Continue(()))
}

fn has(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY)
}

fn put_long(key: &str, value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Payloads, key.as_bytes(), value);
    batch
}

fn delete(key: &str) -> Batch {
    let mut batch = Batch::new();
    batch.delete(Table::Payloads, key.as_bytes());
    batch
}

/// promise: Deleted bytes | After a compaction no deleted value is in the store's file or its log, nor in the file that was replaced
#[test]
fn what_was_deleted_is_in_no_file_after_a_compaction() {
    for open in OPENINGS {
        let disk = Disk::new();
        let store = open(&disk).unwrap();
        for n in 0..40 {
            store.commit(&[put_long(&n.to_string(), &CANARY.repeat(1 + n * 20))]).unwrap();
        }
        store.commit(&[put_long("stays", b"something else")]).unwrap();
        for n in 0..40 {
            // some are overwritten first
            store.commit(&[put_long(&n.to_string(), b"short")]).unwrap();
            store.commit(&[delete(&n.to_string())]).unwrap();
        }
        let expected = model(&store);
        assert!(has(&disk.named().image()), "a deleted row leaves its bytes");
        let compacted = compact(&store).unwrap();
        assert!(compacted.overwritten && compacted.after < compacted.before, "{compacted:?}");
        assert_eq!(model(&store), expected);
        for (name, file) in [("store", disk.named()), ("log", disk.log()), ("former file", disk.beside())] {
            assert!(!has(&file.image()), "{name}");
        }
        store.commit(&[put_long("later", b"1")]).unwrap();
        let expected = model(&store);
        let crashed = disk.lose_power(1);
        assert_eq!(model(&open(&crashed).unwrap()), expected);
    }
}

/// promise: Deleted bytes | A power loss at any step of a compaction leaves a whole store, with all that was acknowledged
#[test]
fn a_power_loss_at_any_step_leaves_the_former_store_or_the_new_one() {
    let mut exchanged = 0;
    for open in OPENINGS {
        for seed in 0.. {
            // the same steps each time, and one more of them
            let (disk, mut random) = (Disk::new(), Random(7));
            let store = open(&disk).unwrap();
            let mut expected = Model::new();
            for _ in 0..30 {
                let batch = random_batch(&mut random);
                store.commit(std::slice::from_ref(&batch)).unwrap();
                apply(&mut expected, &batch);
            }
            disk.set_steps_left(seed);
            let ended = compact(&store);
            exchanged += u64::from(ended.is_err() && disk.exchanged());
            let after = disk.lose_power(seed);
            let store = open(&after).unwrap_or_else(|error| panic!("step {seed}: {error}"));
            assert_eq!(model(&store), expected, "step {seed}");
            // the next start clears what is left, and the next compaction is whole
            DiskBeside(after.clone()).clear().unwrap();
            compact(&store).unwrap();
            assert_eq!(model(&store), expected, "step {seed}");
            drop(store);
            assert_eq!(model(&super::open_logged(&after.as_read(), 256 << 10).unwrap()), expected);
            if ended.is_ok() {
                break;
            }
        }
    }
    assert!(exchanged > 3, "{exchanged} power losses came after the exchange");
}

/// promise: Deleted bytes | Commits and reads go on while a store is compacted, and lose nothing
#[test]
fn commits_during_a_compaction_are_in_the_new_file_whatever_they_change() {
    for seed in 0..24 {
        let disk = Disk::new();
        let mut random = Random(seed);
        let store = OPENINGS[(seed % 2) as usize](&disk).unwrap();
        let mut expected = Model::new();
        let commit = |random: &mut Random, expected: &mut Model| {
            let mut batch = random_batch(random);
            // large enough for several portions
            batch.put(Table::Payloads, &(random.next() % 16).to_be_bytes(), &vec![random.next() as u8; 1 << 20]);
            store.commit(std::slice::from_ref(&batch)).unwrap();
            apply(expected, &batch);
        };
        for _ in 0..24 {
            commit(&mut random, &mut expected);
        }
        let (mut before, as_before) = (Some(store.snapshot().unwrap()), expected.clone());
        let mut steps = 0;
        let compacted = store.compact(&nothing_more, &mut |step| {
            steps += 1;
            for _ in 0..random.next() % 4 {
                commit(&mut random, &mut expected);
            }
            assert_eq!(model(&store), expected, "seed {seed}");
            if let (Some(before), CompactStep::Copying { .. }) = (&before, step) {
                assert_eq!(everything(before).unwrap(), as_before, "seed {seed}: a state does not change");
            }
            if steps == 3 && seed % 3 > 0 {
                before = None;
            }
            ControlFlow::Continue(())
        });
        compacted.unwrap();
        assert!(steps > 3, "{steps}");
        assert_eq!(model(&store), expected, "seed {seed}");
        commit(&mut random, &mut expected);
        if let Some(before) = before {
            // its file was taken away
            assert!(matches!(everything(&before), Err(StoreError::Reopened { .. })), "seed {seed}");
        }
        drop(store);
        let reopened = OPENINGS[(seed % 2) as usize](&disk.as_read()).unwrap();
        assert_eq!(model(&reopened), expected, "seed {seed}");
    }
}

/// promise: Deleted bytes | A full disk breaks a compaction off, and the store goes on as before
#[test]
fn a_disk_without_room_for_the_new_file_leaves_the_store_as_it_is() {
    for open in OPENINGS {
        let disk = Disk::new();
        let store = open(&disk).unwrap();
        for n in 0..24 {
            store.commit(&[put_long(&n.to_string(), &vec![n; 200_000])]).unwrap();
        }
        let expected = model(&store);
        disk.set_fault(Fault::FullAt(3 << 20));
        let error = compact(&store).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert_eq!(model(&store), expected);
        assert_eq!(disk.beside().bytes(), 0, "nothing is left of it");
        disk.set_fault(Fault::None);
        store.commit(&[put_long("later", b"1")]).unwrap();
        let expected = model(&store);
        compact(&store).unwrap();
        assert_eq!(model(&store), expected);
    }
}

#[test]
fn a_compaction_is_broken_off_at_any_step_and_only_one_runs_at_a_time() {
    let disk = Disk::new();
    let store = OPENINGS[1](&disk).unwrap();
    for n in 0..24 {
        store.commit(&[put_long(&n.to_string(), &vec![n; 1 << 20])]).unwrap();
    }
    let expected = model(&store);
    let why = |error| match error {
        StoreError::NotCompacted { why, .. } => why,
        error => panic!("{error}"),
    };
    for step in 1..5 {
        let mut left = step;
        let error = store.compact(&nothing_more, &mut |_| {
            assert_eq!(why(compact(&store).unwrap_err()), NotCompacted::Running);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(why(error.unwrap_err()), NotCompacted::BrokenOff);
        assert_eq!((model(&store), disk.beside().bytes()), (expected.clone(), 0));
    }
    compact(&store).unwrap();
    let other = Disk::new();
    assert_eq!(why(compact(&super::open(&other).unwrap()).unwrap_err()), NotCompacted::NoFile);
}

#[test]
fn rows_that_come_with_the_exchange_are_in_the_new_file_alone() {
    let disk = Disk::new();
    let store = OPENINGS[1](&disk).unwrap();
    store.commit(&[put_long("a", b"1")]).unwrap();
    let with = |view: &Snapshot, _: Option<&Path>| {
        assert_eq!(view.get(Table::Payloads, b"a").unwrap(), Some(b"1".to_vec()));
        let mut batch = delete("a");
        batch.append(&put_long("b", b"2"));
        Ok(batch)
    };
    store.compact(&with, &mut |_| ControlFlow::Continue(())).unwrap();
    let view = store.snapshot().unwrap();
    assert_eq!(view.get(Table::Payloads, b"a").unwrap(), None);
    assert_eq!(view.get(Table::Payloads, b"b").unwrap(), Some(b"2".to_vec()));
}

/// promise: Deleted bytes | After a compaction no deleted value is in the store's file or its log, nor in the file that was replaced
#[test]
fn files_are_exchanged_and_what_a_broken_compaction_left_is_gone_after_a_start() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("brain.redb");
    let names = || {
        let entries = std::fs::read_dir(home.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let store = Store::open(&path, StoreOptions::default()).unwrap();
    store.commit(&[put_long("a", CANARY), put_long("b", b"2")]).unwrap();
    store.commit(&[delete("a")]).unwrap();
    let expected = model(&store);
    compact(&store).unwrap();
    assert_eq!((store.gone(), model(&store)), (None, expected.clone()));
    assert_eq!(names(), ["brain.redb", "brain.redb.wal"]);
    for name in names() {
        assert!(!has(&std::fs::read(home.path().join(&name)).unwrap()), "{name}");
    }
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777, 0o600);
    store.commit(&[put_long("c", b"3")]).unwrap();
    let expected = model(&store);
    drop(store);
    // killed while it copied, before the exchange, and after it
    let [new, old] = ["compact", "old"].map(|ending| home.path().join(format!("brain.redb.{ending}")));
    std::fs::write(&new, CANARY).unwrap();
    std::fs::hard_link(&path, &old).unwrap();
    assert_eq!(model(&Store::open(&path, StoreOptions::default()).unwrap()), expected);
    assert_eq!(names(), ["brain.redb"]);
    std::fs::copy(&path, &old).unwrap();
    let open = std::fs::File::open(&old).unwrap();
    assert_eq!(model(&Store::open(&path, StoreOptions::default()).unwrap()), expected);
    assert_eq!(names(), ["brain.redb"]);
    let mut left = Vec::new();
    std::io::Read::read_to_end(&mut &open, &mut left).unwrap();
    assert!(!left.is_empty() && left.iter().all(|byte| *byte == 0), "it was overwritten before its name went");
}

/// promise: Deleted bytes | Commits and reads go on while a store is compacted, and lose nothing
#[test]
fn an_engine_at_rest_reads_on_and_nobody_waits_for_it() {
    let store = Store::memory().unwrap();
    store.commit(&[put("a", "1")]).unwrap();
    let mut overlay = Overlay::new(store.clone()).unwrap();
    overlay.push(1, &put("b", "2"));
    // committed, and not yet noted
    store.commit(&[put("b", "2")]).unwrap();
    compact(&store).unwrap();
    let expected: Vec<&str> = vec!["1", "2"];
    let found: Vec<Vec<u8>> = everything(&overlay).unwrap().into_values().collect();
    assert_eq!(found, expected.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>());
    overlay.committed(1).unwrap();
    assert_eq!(overlay.get(Table::Records, b"b").unwrap(), Some(b"2".to_vec()));
}

/// Prints how long commits take before a compaction and during it. `NEXUS_COMPACT_MB` is the size of the store.
#[test]
#[ignore = "a measurement: it takes minutes, and a disk"]
#[expect(clippy::disallowed_methods, reason = "it measures the time of the machine")]
fn measure_commits_during_a_compaction() {
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    const ROW_BYTES: usize = 1_000;
    let mb = std::env::var("NEXUS_COMPACT_MB").ok().and_then(|mb| mb.parse().ok()).unwrap_or(200_u64);
    let home = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let store = Store::open(home.path().join("brain.redb"), StoreOptions::default()).unwrap();
    let mut random = Random(1);
    let mut row = || -> Vec<u8> { (0..ROW_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect() };
    for portion in 0..mb {
        let mut batch = Batch::new();
        for n in 0..1_000_u64 {
            batch.put(Table::Payloads, &(portion * 1_000 + n).to_be_bytes(), &row());
        }
        store.commit(&[batch]).unwrap();
    }
    let commits = |ended: &AtomicBool, least: Duration| {
        let (begun, mut took) = (Instant::now(), Vec::new());
        while begun.elapsed() < least || !ended.load(Ordering::Relaxed) {
            let mut batch = Batch::new();
            batch.put(Table::Entries, &(took.len() as u64).to_be_bytes(), &[7; 600]);
            batch.put(Table::Live, &(took.len() as u64).to_be_bytes(), &[7; 300]);
            let at = Instant::now();
            store.commit(&[batch]).unwrap();
            took.push(at.elapsed());
            std::thread::sleep(Duration::from_millis(2));
        }
        took.sort();
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
        (took.len(), at(0.5), at(0.99), at(1.0))
    };
    let before = commits(&AtomicBool::new(true), Duration::from_secs(10));
    let ended = AtomicBool::new(false);
    let (during, compacted) = std::thread::scope(|scope| {
        let committing = scope.spawn(|| commits(&ended, Duration::ZERO));
        let begun = Instant::now();
        let compacted = compact(&store).unwrap();
        ended.store(true, Ordering::Relaxed);
        (committing.join().unwrap(), (compacted, begun.elapsed()))
    });
    println!("number, median, p99 and longest of commits before: {before:?}");
    println!("during: {during:?}");
    println!("{compacted:?}");
}
