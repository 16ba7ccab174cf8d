use super::super::disk::Fault;
use super::super::wal::{Form, Label, LogPlace, Replayed, Wal, Writes};
use super::power::commits_opened_with;
use super::*;

/// Segments in which few commits have room, some, and most.
const SEGMENTS: [u64; 3] = [96 << 10, 512 << 10, 4 << 20];

/// promise: Store and data directory | Nothing acknowledged is lost in power losses on a disk that drops or tears
#[test]
fn nothing_acknowledged_is_lost_with_a_log() {
    for seed in 0..120 {
        let segment = SEGMENTS[(seed % 3) as usize];
        commits_opened_with(seed, 1_500, Fault::None, &|disk| open_logged(disk, segment)).unwrap();
        // most of these end while the log is played
        commits_opened_with(seed, 60, Fault::None, &|disk| open_logged(disk, segment)).unwrap();
    }
}

/// promise: Store and data directory | Nothing acknowledged is lost in power losses on a disk that drops or tears
#[test]
fn a_disk_whose_sync_lies_is_caught_with_a_log() {
    let lies = |seed| commits_opened_with(seed, 150, Fault::SyncLies, &|disk| open_logged(disk, 512 << 10)).is_err();
    let caught = (0..20).filter(|&seed| lies(seed)).count();
    assert!(caught > 10, "caught only {caught} of 20");
}

/// A crashed store of which the log has commits that the file has in part. Its content, and that before the last commit.
fn crashed(seed: u64) -> (Disk, [Model; 2]) {
    let (disk, mut random) = (Disk::new(), Random(seed));
    let mut expected = [Model::new(), Model::new()];
    let store = open_logged(&disk, 256 << 10).unwrap();
    for _ in 0..12 {
        let batch = random_batch(&mut random);
        store.commit(std::slice::from_ref(&batch)).unwrap();
        expected[1] = expected[0].clone();
        apply(&mut expected[0], &batch);
    }
    (disk.lose_power(seed), expected)
}

/// promise: Store and data directory | A damaged write-ahead log is refused, or lacks its last record at most
#[test]
fn flipped_bits_in_the_log_are_refused_or_cost_the_last_record() {
    let (mut refused, mut opened) = (0, 0);
    for seed in 0..120 {
        let (disk, expected) = crashed(seed);
        let mut random = Random(seed);
        let log = disk.log();
        log.flip((random.next() % log.bytes()) as usize, 1 << (random.next() % 8));
        let before = (disk.image(), log.image());
        match open_logged(&disk, 256 << 10) {
            Ok(store) => {
                opened += 1;
                // a broken last record looks like one that a crash broke off
                let found = everything(&store.snapshot().unwrap()).unwrap();
                assert!(expected.contains(&found), "seed {seed}");
            }
            Err(StoreError::Damaged { .. }) => {
                refused += 1;
                assert!((disk.image(), log.image()) == before, "seed {seed}: a refused file does not change");
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(refused > 10 && opened > 10, "{refused} refused, {opened} opened");
}

/// promise: Store and data directory | The write-ahead log of another state of the file is refused, and nothing changes
#[test]
fn a_file_of_another_state_is_refused_beside_a_log() {
    let disk = Disk::new();
    let store = open_logged(&disk, 256 << 10).unwrap();
    store.commit(&[put("kept", "1")]).unwrap();
    drop(store);
    let older = disk.image();
    let mut random = Random(1);
    let store = open_logged(&disk, 4 << 20).unwrap();
    for _ in 0..12 {
        store.commit(&[random_batch(&mut random)]).unwrap();
    }
    let left = disk.as_read();
    drop(store);
    for image in [older, Vec::new()] {
        let mixed = Disk::from_image(image.clone());
        let log = left.log().image();
        mixed.log().write(0, &log).unwrap();
        let error = open_logged(&mixed, 4 << 20).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { what: StoreDamage::OtherLog, .. }), "{error}");
        assert!(mixed.image() == image && mixed.log().image() == log, "nothing changes");
    }
}

/// promise: Store and data directory | A store that was closed needs no log, and its format says so
#[test]
fn a_clean_stop_leaves_no_log_and_the_format_without_one() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("brain.redb");
    let options = StoreOptions::default();
    for n in 0..3 {
        let store = Store::open(&path, options).unwrap();
        assert_eq!(store.0.format().unwrap(), Some(FORMAT_IN_USE));
        store.commit(&[put(&n.to_string(), "1")]).unwrap();
        assert!(log_path(&path).exists());
        drop(store);
        assert!(!log_path(&path).exists());
        let store = Store::open(&path, options.segment_bytes(0)).unwrap();
        assert_eq!(store.0.format().unwrap(), Some(FORMAT));
        assert_eq!(everything(&store.snapshot().unwrap()).unwrap().len(), n + 1);
    }
}

/// promise: Store and data directory | A log that a crash left counts, also where a store is opened without one
#[test]
fn a_log_that_is_left_is_played_where_none_is_wanted() {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [path, left] = [&homes[0], &homes[1]].map(|home| home.path().join("brain.redb"));
    let store = Store::open(&path, StoreOptions::default()).unwrap();
    store.commit(&[put("kept", "1")]).unwrap();
    let synced = std::fs::read(&path).unwrap();
    store.commit(&[put("later", "2")]).unwrap();
    // the file as a power loss may leave it, without pages of the second commit
    std::fs::write(&left, synced).unwrap();
    std::fs::copy(log_path(&path), log_path(&left)).unwrap();
    let store = Store::open(&left, StoreOptions::default().segment_bytes(0)).unwrap();
    assert_eq!(everything(&store.snapshot().unwrap()).unwrap().len(), 2);
    drop(store);
    assert!(!log_path(&left).exists());
    let store = Store::open(&left, StoreOptions::default().segment_bytes(0)).unwrap();
    assert_eq!(everything(&store.snapshot().unwrap()).unwrap().len(), 2);
    assert_eq!(store.0.format().unwrap(), Some(FORMAT));
}

/// promise: Store and data directory | A store that is open is in use, also to whoever reads its log meanwhile
#[test]
fn a_store_with_a_log_is_in_use_while_it_writes() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("brain.redb");
    let store = Store::open(&path, StoreOptions::default()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..400).for_each(|n| store.commit(&[put(&n.to_string(), "1")]).unwrap()));
        while !writer.is_finished() {
            let error = Store::open(&path, StoreOptions::default()).unwrap_err();
            assert!(matches!(error, StoreError::InUse { .. }), "{error}");
        }
    });
}

/// promise: Store and data directory | A commit syncs one place: the log alone, whatever the number of its rows
#[test]
fn a_commit_syncs_the_log_and_not_the_file() {
    let disk = Disk::new();
    let store = open_logged(&disk, 4 << 20).unwrap();
    store.commit(&[put("first", "1")]).unwrap();
    let syncs = [disk.syncs(), disk.log().syncs()];
    for n in 0..20 {
        store.commit(&[put(&n.to_string(), "1")]).unwrap();
    }
    assert_eq!([disk.syncs() - syncs[0], disk.log().syncs() - syncs[1]], [0, 20]);
}

/// promise: Store and data directory | A small commit writes its rows alone, once: no pages, and nothing to the file
#[test]
fn a_small_commit_leaves_the_file_as_it_is_and_takes_two_blocks_of_the_log() {
    let disk = Disk::new();
    let store = open_logged(&disk, 4 << 20).unwrap();
    store.commit(&[put("first", "1")]).unwrap();
    let (file, used) = (disk.image(), blocks_in_use(&disk));
    for n in 0..20 {
        store.commit(&[put(&n.to_string(), "1")]).unwrap();
    }
    assert!(disk.image() == file);
    assert_eq!(blocks_in_use(&disk) - used, 2 * 20);
    assert_eq!(everything(&store.snapshot().unwrap()).unwrap().len(), 21);
    let expected = everything(&store.snapshot().unwrap()).unwrap();
    let store = open_logged(&disk.lose_power(1), 4 << 20).unwrap();
    assert_eq!(everything(&store.snapshot().unwrap()).unwrap(), expected);
}

fn blocks_in_use(disk: &Disk) -> usize {
    disk.log().image().chunks(4_096).filter(|block| block.iter().any(|byte| *byte != 0)).count()
}

/// A log with a number in the head of a record, and its checksum made anew.
fn patched(mut log: Vec<u8>, record: usize, at: usize, number: &[u8]) -> Vec<u8> {
    log[record + at..][..number.len()].copy_from_slice(number);
    let bytes = u64::from_le_bytes(log[record + 64..record + 72].try_into().unwrap()) as usize;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&log[record..record + 88]).update(&log[record + 104..record + bytes]);
    log[record + 88..record + 104].copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    log
}

/// promise: Store and data directory | A write-ahead log that lacks rows in the middle is refused, and nothing changes
#[test]
fn rows_without_those_before_them_are_refused() {
    const RECORD_BYTES: usize = 2 * 4_096;
    let disk = Disk::new();
    let store = open_logged(&disk, 4 << 20).unwrap();
    store.commit(&[put("first", "1")]).unwrap();
    store.commit(&[put("second", "2")]).unwrap();
    let mixed = Disk::from_image(disk.image());
    let mut log = disk.log().image();
    log.drain(4_096..4_096 + RECORD_BYTES);
    mixed.log().write(0, &patched(log, 4_096, 32, &0_u64.to_le_bytes())).unwrap();
    let before = (mixed.image(), mixed.log().image());
    let error = open_logged(&mixed, 4 << 20).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { what: StoreDamage::OtherLog, .. }), "{error}");
    assert!((mixed.image(), mixed.log().image()) == before, "nothing changes");
}

/// An earlier version knows no rows. It must come as far as the format, and refuse that, and not what it cannot read.
///
/// promise: Store and data directory | Rows are only in the log of a file whose format says so
#[test]
fn without_its_rows_a_log_leaves_the_format_that_earlier_versions_refuse() {
    for commits in [1, 40, 400] {
        let disk = Disk::new();
        let store = open_logged(&disk, 256 << 10).unwrap();
        for n in 0..commits {
            store.commit(&[put(&n.to_string(), "1")]).unwrap();
        }
        let left = disk.lose_power(commits);
        let mut log = left.log().image();
        let rows = (0..log.len()).step_by(4_096).filter(|at| log[*at..].starts_with(b"nexusrow"));
        let rows: Vec<_> = rows.collect();
        assert!(!rows.is_empty());
        rows.into_iter().for_each(|at| log[at..at + 8].fill(0));
        left.log().write(0, &log).unwrap();
        let store = open_logged(&left, 256 << 10).unwrap();
        assert_eq!(store.0.format().unwrap(), Some(FORMAT_IN_USE));
        assert!(everything(&store.snapshot().unwrap()).unwrap().len() < commits as usize);
    }
}

/// promise: Store and data directory | Durable commits come the more often the more pages their rows have
#[test]
fn rows_with_too_many_pages_for_a_record_are_fewer_the_next_time() {
    const SEGMENT_BYTES: u64 = 1 << 20;
    let disk = Disk::new();
    let (wal, _) = Wal::open(Arc::new(disk.clone()), LogPlace::Backend(Arc::new(disk.log())), SEGMENT_BYTES).unwrap();
    wal.use_after(0).unwrap();
    let mut commits = 0_u64;
    let mut rows_until_durable = |pages: u64| {
        let rows = std::iter::repeat_with(|| wal.append_rows(&[put("key", "value")]).unwrap())
            .take_while(|is_there| *is_there);
        let rows = rows.count();
        commits += 1;
        let mut head = [0; 4_096];
        head[168..176].copy_from_slice(&commits.to_le_bytes());
        wal.write(0, &head).unwrap();
        for page in 0..pages {
            wal.write((1 + page) * 4_096, &[1; 4_096]).unwrap();
        }
        wal.sync_data().unwrap();
        rows
    };
    let rows = [400, 400, 10, 10, 10, 10].map(&mut rows_until_durable);
    // two blocks each, in a segment of 256
    assert_eq!(rows[..4], [128, 64, 32, 64], "{rows:?}");
    // the fifth fill what is left of their segment
    assert!(rows[5] > 100, "{rows:?}");
}

#[test]
fn tables_have_codes_of_their_own() {
    for &table in Table::ALL {
        assert_eq!(Table::of_code(table.code()), Some(table));
    }
}

/// A member had us keep bytes of its own that look like records. They lie in the log where a start looks for the next record,
/// and behind it.
///
/// promise: Store and data directory | Bytes of a member that look like records of the write-ahead log are none
#[test]
fn records_that_a_member_made_up_are_not_played_and_stop_no_start() {
    const SEGMENT_BYTES: u64 = 64 << 10;
    const TARGET: u64 = 1 << 20;
    let form = Form { key: [0; 16], segment_bytes: SEGMENT_BYTES };
    let mut made_up = Writes::default();
    assert!(made_up.write(TARGET, &[], SEGMENT_BYTES));
    let (disk, mut random, mut generation) = (Disk::new(), Random(1), 2);
    let open = |disk: &Disk| {
        Wal::open(Arc::new(disk.clone()), LogPlace::Backend(Arc::new(disk.log())), SEGMENT_BYTES).unwrap()
    };
    let (wal, _) = open(&disk);
    wal.sync_data().unwrap();
    wal.use_after(0).unwrap();
    for commit in 0..2_000_u64 {
        let mut head = [0; 4_096];
        head[168..176].copy_from_slice(&(commit + 1).to_le_bytes());
        wal.write(0, &head).unwrap();
        // of the next filling of this segment, and of each number that may be next there
        for no in 0..random.next() % 6 {
            let sequence = 1 + random.next() % 6;
            let label = Label { generation: generation + 2, sequence, commits: commit, ..Label::default() };
            wal.write((no + 1) * 4_096, &made_up.head(form, label)).unwrap();
        }
        wal.sync_data().unwrap();
        let (_, found) = open(&disk.as_read());
        let is_made_up = |step: &Replayed| matches!(step, Replayed::Write { offset: TARGET, .. });
        assert!(!found.steps.iter().any(is_made_up), "after {commit} commits");
        generation = found.last_generation();
    }
}

/// The same in the values of rows, which a member chooses with their length: so also where they lie in a block.
///
/// promise: Store and data directory | Bytes of a member that look like records of the write-ahead log are none
#[test]
fn rows_that_a_member_made_up_are_not_played() {
    // a commit may have a quarter of it
    const SEGMENT_BYTES: u64 = 256 << 10;
    const MARK: &[u8] = b"the value begins here";
    let form = Form { key: [0; 16], segment_bytes: SEGMENT_BYTES };
    let (disk, mut random, mut generation, mut commits) = (Disk::new(), Random(1), 2, 0_u64);
    let open = |disk: &Disk| {
        Wal::open(Arc::new(disk.clone()), LogPlace::Backend(Arc::new(disk.log())), SEGMENT_BYTES).unwrap()
    };
    let value = |value: &[u8]| {
        let mut batch = Batch::new();
        batch.put(Table::Records, b"key", value);
        [batch]
    };
    let (wal, _) = open(&disk);
    wal.sync_data().unwrap();
    wal.use_after(0).unwrap();
    assert!(wal.append_rows(&value(MARK)).unwrap());
    let log = disk.log().image();
    let at = log.windows(MARK.len()).position(|bytes| bytes == MARK).unwrap();
    let until_block = at.next_multiple_of(4_096) - at;
    let mut looked = 0;
    for _ in 0..400 {
        let mut bytes = vec![0; until_block];
        for _ in 0..1 + random.next() % 5 {
            let made_up = Writes::rows(wal.last_rows() + 1, &value(b"made up"), 1 << 16).unwrap();
            let (generation, sequence) = (generation + random.next() % 3, 1 + random.next() % 12);
            let label = Label { generation, sequence, commits, begins: commits, ..Label::default() };
            bytes.extend(made_up.head(form, label));
            bytes.extend(made_up.data());
        }
        while !wal.append_rows(&value(&bytes)).unwrap() {
            assert!(commits < 1_000, "a row has room");
            // the next segment is begun, and has bytes of the one before the last
            commits += 1;
            let mut head = [0; 4_096];
            head[168..176].copy_from_slice(&commits.to_le_bytes());
            wal.write(0, &head).unwrap();
            wal.sync_data().unwrap();
        }
        let (_, found) = open(&disk.as_read());
        for step in &found.steps {
            let Replayed::Rows { batch, .. } = step else { continue };
            let is_made_up = |change: TableChange<'_>| matches!(change, TableChange::Put { value: b"made up", .. });
            assert!(!batch.changes().any(is_made_up));
            looked += 1;
        }
        generation = found.last_generation();
    }
    assert!(commits > 20 && looked > 1_000, "{commits} {looked}");
}

/// Blocks that are written over in place, through a log whose segments have room for a few records, on a disk that loses
/// power at random steps. A database never does that: it would hide that older blocks come back.
fn blocks_with_power_losses(seed: u64) -> Result<(), String> {
    const BLOCKS: u64 = 24;
    const BLOCK_BYTES: u64 = 4_096;
    const SEGMENT_BYTES: u64 = 64 << 10;
    let mut random = Random(seed);
    let mut disk = Disk::new();
    let mut commits = 1_u64;
    // the versions that each block may have: the synced one, and later ones
    let mut may: Vec<Vec<u64>> = vec![vec![0]; BLOCKS as usize];
    for life in 0..6 {
        disk.set_steps_left(random.next() % 400);
        let mut live = || -> io::Result<()> {
            let (wal, found) =
                Wal::open(Arc::new(disk.clone()), LogPlace::Backend(Arc::new(disk.log())), SEGMENT_BYTES)?;
            for step in &found.steps {
                match step {
                    Replayed::Write { offset, data } => wal.write(*offset, data)?,
                    Replayed::SetLen(len) => wal.set_len(*len)?,
                    Replayed::Rows { .. } => unreachable!("a storage without rows"),
                }
            }
            wal.sync_data()?;
            wal.use_after(0)?;
            loop {
                let writes = if random.next().is_multiple_of(12) { 16 } else { 1 + random.next() % 4 };
                let mut written = vec![0];
                for _ in 0..writes {
                    let block = 1 + random.next() % (BLOCKS - 1);
                    commits += 1;
                    may[block as usize].push(commits);
                    written.push(block as usize);
                    wal.write(block * BLOCK_BYTES, &commits.to_le_bytes().repeat(BLOCK_BYTES as usize / 8))?;
                }
                may[0].push(commits);
                wal.write(0, &commits.to_le_bytes().repeat(BLOCK_BYTES as usize / 8))?;
                wal.sync_data()?;
                for block in written {
                    let synced = may[block].len() - 1;
                    may[block].drain(..synced);
                }
            }
        };
        let _ = live();
        disk = disk.lose_power(random.next());
        let (wal, found) = Wal::open(Arc::new(disk.clone()), LogPlace::Backend(Arc::new(disk.log())), SEGMENT_BYTES)
            .map_err(|error| format!("seed {seed}, life {life}: {error}"))?;
        drop(wal);
        let mut image = disk.image();
        for step in &found.steps {
            let Replayed::Write { offset, data } = step else { continue };
            let end = *offset as usize + data.len();
            image.resize(image.len().max(end), 0);
            image[*offset as usize..end].copy_from_slice(data);
        }
        image.resize((BLOCKS * BLOCK_BYTES) as usize, 0);
        for (block, bytes) in image.chunks(BLOCK_BYTES as usize).enumerate() {
            for sector in bytes.chunks(512) {
                let version = u64::from_le_bytes(sector[..8].try_into().unwrap());
                if !may[block].contains(&version) {
                    let synced = may[block][0];
                    return Err(format!(
                        "seed {seed}, life {life}: block {block} is {version}, and {synced} was synced"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// promise: Store and data directory | Nothing acknowledged is lost in power losses on a disk that drops or tears
#[test]
fn no_older_block_comes_back_from_a_log() {
    for seed in 0..400 {
        blocks_with_power_losses(seed).unwrap();
    }
}
