use std::sync::atomic::AtomicBool;

use super::super::disk::Fault;
use super::*;

fn large(key: &str, fill: u8, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Records, key.as_bytes(), &vec![fill; bytes]);
    batch
}

type Opening = fn(&Disk) -> Result<Store, StoreError>;

/// The ways of opening a store: without a log, and with one.
const OPENINGS: [Opening; 2] = [open, |disk| open_logged(disk, 256 << 10)];

fn model(store: &Store) -> Model {
    everything(&store.snapshot().unwrap()).unwrap()
}

/// promise: Bad input | A full disk: nothing acknowledged is lost, reads go on, and writes once there is room
#[test]
fn a_full_disk_refuses_a_commit_as_a_whole_and_reads_on() {
    OPENINGS.into_iter().for_each(refuses_as_a_whole);
}

fn refuses_as_a_whole(open: Opening) {
    let disk = Disk::new();
    let store = open(&disk).unwrap();
    store.commit(&[put("kept", "1")]).unwrap();
    let before = store.snapshot().unwrap();
    disk.set_fault(Fault::FullAt(2 << 20));
    let expected = model(&store);
    for _ in 0..3 {
        let error = store.commit(&[put("small", "2"), large("large", 7, 4 << 20)]).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert_eq!(model(&store), expected);
    }
    assert_eq!(everything(&before).unwrap(), expected, "whoever reads meanwhile reads on");
    disk.set_fault(Fault::None);
    store.commit(&[put("small", "2"), large("large", 7, 4 << 20)]).unwrap();
    let expected = model(&store);
    assert_eq!(expected.len(), 3);
    drop((before, store));
    assert_eq!(model(&open(&disk).unwrap()), expected);
}

/// promise: Bad input | A full disk: nothing acknowledged is lost, reads go on, and writes once there is room
#[test]
fn whenever_the_disk_is_full_and_the_power_goes_what_was_acknowledged_is_there_and_nothing_refused_is() {
    let mut refused = 0;
    for seed in 0..80_u64 {
        let open = OPENINGS[(seed % 2) as usize];
        let mut random = Random(seed);
        let (mut disk, mut expected) = (Disk::new(), Model::new());
        let mut store = open(&disk).unwrap();
        for n in 0..40 {
            match random.next() % 8 {
                0 => disk.set_fault(Fault::FullAt(disk.bytes() - random.next() % (disk.bytes() / 2))),
                1 => disk.set_fault(Fault::None),
                2 => {
                    disk = disk.lose_power(seed + n);
                    disk.set_fault(Fault::FullAt(random.next() % (2 << 20)));
                    store = open(&disk).unwrap();
                    assert_eq!(model(&store), expected, "seed {seed}, step {n}");
                }
                _ => {}
            }
            let key = (random.next() % 20).to_string();
            let mut batch = large(&key, n as u8, (random.next() % 60_000) as usize);
            if random.next().is_multiple_of(16) {
                batch.clear(Table::Records);
            }
            match store.commit(std::slice::from_ref(&batch)) {
                Ok(()) => apply(&mut expected, &batch),
                Err(StoreError::Full { .. }) => refused += 1,
                Err(error) => panic!("seed {seed}, step {n}: {error}"),
            }
            assert_eq!(model(&store), expected, "seed {seed}, step {n}");
        }
    }
    assert!(refused > 100, "{refused}");
}

/// promise: Bad input | A store opens and is read on a disk without room
#[test]
fn a_store_that_a_crash_left_opens_on_a_full_disk_and_is_not_changed_until_there_is_room() {
    OPENINGS.into_iter().for_each(opens_on_a_full_disk);
}

fn opens_on_a_full_disk(open: Opening) {
    let disk = Disk::new();
    let store = open(&disk).unwrap();
    store.commit(&[put("kept", "1"), large("large", 7, 100_000)]).unwrap();
    let (expected, crashed) = (model(&store), disk.lose_power(1));
    crashed.set_fault(Fault::FullAt(0));
    let image = crashed.image();
    let store = open(&crashed).unwrap();
    assert_eq!(model(&store), expected);
    assert!(matches!(store.commit(&[put("later", "2")]), Err(StoreError::Full { .. })));
    assert_eq!(model(&store), expected);
    assert!(crashed.image() == image, "nothing is written without room");
    crashed.set_fault(Fault::None);
    store.commit(&[put("later", "2")]).unwrap();
    let expected = model(&store);
    assert_eq!(model(&open(&crashed.lose_power(2)).unwrap()), expected);
}

#[test]
fn a_new_store_needs_room() {
    let disk = Disk::new();
    disk.set_fault(Fault::FullAt(100));
    let error = open(&disk).unwrap_err();
    assert!(
        matches!(&error, StoreError::Disk { source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_is_opened_again_under_its_lock() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("brain.redb");
    /// A file with a bound on its length.
    #[derive(Debug)]
    struct Narrow(redb::backends::FileBackend, Arc<Mutex<u64>>);
    impl StorageBackend for Narrow {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            if len > *self.1.lock().unwrap() { Err(io::ErrorKind::StorageFull.into()) } else { self.0.set_len(len) }
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
        fn close(&self) -> io::Result<()> {
            self.0.close()
        }
        fn try_lock_range(
            &self,
            start: std::ops::Bound<u64>,
            end: std::ops::Bound<u64>,
        ) -> Result<bool, redb::BackendError> {
            self.0.try_lock_range(start, end)
        }
        fn unlock_range(
            &self,
            start: std::ops::Bound<u64>,
            end: std::ops::Bound<u64>,
        ) -> Result<(), redb::BackendError> {
            self.0.unlock_range(start, end)
        }
        fn query_lock_range(
            &self,
            start: std::ops::Bound<u64>,
            end: std::ops::Bound<u64>,
        ) -> Result<bool, redb::BackendError> {
            self.0.query_lock_range(start, end)
        }
    }
    let room = Arc::new(Mutex::new(u64::MAX));
    let backend = Narrow(open_file(&path).unwrap(), Arc::clone(&room));
    let store = Store::with_backend(&path, backend, SMALL).unwrap();
    store.commit(&[put("kept", "1")]).unwrap();
    let reading = store.snapshot().unwrap();
    *room.lock().unwrap() = 0;
    assert!(matches!(store.commit(&[large("large", 7, 8 << 20)]), Err(StoreError::Full { .. })));
    drop(reading);
    assert!(matches!(Store::open(&path, SMALL), Err(StoreError::InUse { .. })), "the lock stays");
    *room.lock().unwrap() = u64::MAX;
    store.commit(&[large("large", 7, 8 << 20)]).unwrap();
    drop(store);
    assert_eq!(model(&Store::open(&path, SMALL).unwrap()).len(), 2);
}

/// promise: Bad input | A full disk: nothing acknowledged is lost, reads go on, and writes once there is room
#[test]
fn readers_notice_nothing_of_commits_without_room() {
    let disk = Disk::new();
    let store = open(&disk).unwrap();
    for n in 0..50_u8 {
        store.commit(&[large(&n.to_string(), n, 10_000)]).unwrap();
    }
    let expected = model(&store);
    disk.set_fault(Fault::FullAt(disk.bytes()));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let read = || {
            let mut times = 0;
            while !ended.load(Ordering::Relaxed) {
                times += 1;
                let snapshot = store.snapshot().unwrap();
                assert!(snapshot.get(Table::Records, b"7").unwrap() == Some(vec![7; 10_000]));
                assert!(everything(&snapshot).unwrap() == expected);
            }
            times
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for _ in 0..40 {
            let error = store.commit(&[large("more", 7, 4 << 20)]).unwrap_err();
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
        }
        ended.store(true, Ordering::Relaxed);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    });
}

#[test]
fn one_reading_goes_on_however_often_a_commit_has_no_room() {
    let disk = Disk::new();
    let store = open(&disk).unwrap();
    for n in 10..60_u8 {
        store.commit(&[large(&n.to_string(), n, 10_000)]).unwrap();
    }
    disk.set_fault(Fault::FullAt(disk.bytes()));
    let snapshot = store.snapshot().unwrap();
    let mut shown = Vec::new();
    snapshot
        .scan(Table::Records, ALL_KEYS, Order::Forward, &mut |key, _| {
            if shown.len() % 10 == 5 {
                let error = store.commit(&[large("more", 7, 4 << 20)]).unwrap_err();
                assert!(matches!(error, StoreError::Full { .. }), "{error}");
            }
            shown.push(String::from_utf8_lossy(key).into_owned());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(shown, (10..60).map(|n| n.to_string()).collect::<Vec<_>>());
}
