use super::*;

/// A small store before and after its last commit, with its image after an unclean and after a clean stop.
fn two_commits() -> (Model, Model, Vec<u8>, Vec<u8>) {
    let disk = Disk::new();
    let store = open(&disk).unwrap();
    let mut random = Random(1);
    let mut before = Model::new();
    for _ in 0..60 {
        let batch = random_batch(&mut random);
        store.commit(std::slice::from_ref(&batch)).unwrap();
        apply(&mut before, &batch);
    }
    let batch = random_batch(&mut random);
    store.commit(std::slice::from_ref(&batch)).unwrap();
    let mut after = before.clone();
    apply(&mut after, &batch);
    let unclean = disk.image();
    drop(store);
    (before, after, disk.image(), unclean)
}

/// Offsets that matter: the head, and bytes that are not zero.
fn sample(image: &[u8], count: usize, random: &mut Random) -> Vec<usize> {
    let used: Vec<usize> = (0..image.len()).filter(|&at| at < 512 || image[at] != 0).collect();
    (0..count).map(|_| used[random.next() as usize % used.len()]).chain(0..320).collect()
}

fn read_back(disk: &Disk) -> Result<Model, StoreError> {
    let store = open(disk)?;
    everything(&store.snapshot()?)
}

/// promise: Bad input | A byte that flips on disk: the right value or an error
#[test]
fn a_flipped_byte_reads_right_or_is_an_error() {
    let (_, after, clean, _) = two_commits();
    let mut random = Random(2);
    let mut refused = 0;
    for at in sample(&clean, 700, &mut random) {
        let disk = Disk::from_image(clean.clone());
        disk.flip(at, 1 << (random.next() % 8));
        let damaged = disk.image();
        match read_back(&disk) {
            Ok(found) => assert!(found == after, "wrong rows after a flip at {at}"),
            Err(error) => {
                refused += 1;
                if matches!(
                    open(&disk),
                    Err(StoreError::Damaged { .. } | StoreError::TooNew { .. } | StoreError::NotAStore { .. })
                ) {
                    assert!(disk.image() == damaged, "a refused file changed after a flip at {at}: {error}");
                }
            }
        }
    }
    assert!(refused > 100, "only {refused} flips were noticed");
}

/// promise: Bad input | A byte that flips on disk: the right value or an error
#[test]
fn a_flipped_byte_after_a_crash_never_gives_half_a_commit() {
    let (before, after, _, unclean) = two_commits();
    let mut random = Random(3);
    for at in sample(&unclean, 400, &mut random) {
        let disk = Disk::from_image(unclean.clone());
        disk.flip(at, 1 << (random.next() % 8));
        // A flip in the last commit's bytes looks like a commit that a power loss interrupted.
        if let Ok(found) = read_back(&disk) {
            assert!(found == after || found == before, "wrong rows after a flip at {at}");
        }
    }
}

/// promise: Bad input | A byte that flips on disk: the right value or an error
#[test]
fn a_byte_that_flips_while_the_store_is_open_is_never_a_wrong_value() {
    let (_, after, clean, _) = two_commits();
    let options = StoreOptions { cache_bytes: 0, verify_bytes_max: 0, segment_bytes: 0 };
    let mut random = Random(4);
    let (mut right, mut errors, mut missing) = (0, 0, 0);
    for at in sample(&clean, 300, &mut random) {
        let disk = Disk::from_image(clean.clone());
        let store = Store::with_backend("simulated", disk.clone(), options).unwrap();
        let Ok(snapshot) = store.snapshot() else { continue };
        disk.flip(at, 1 << (random.next() % 8));
        for ((table, key), value) in &after {
            match snapshot.get(*table, key) {
                Ok(Some(found)) => {
                    assert!(found == *value, "a wrong value after a flip at {at}");
                    right += 1;
                }
                Ok(None) => missing += 1,
                Err(_) => errors += 1,
            }
        }
        if let Ok(found) = everything(&snapshot) {
            assert!(found.iter().all(|(key, value)| after.get(key) == Some(value)), "a wrong row after a flip at {at}");
        }
    }
    println!("{right} right, {errors} errors, {missing} missing");
    assert!(errors > 0);
}

#[test]
fn a_flipped_byte_is_noticed_by_whoever_reads_its_part_and_by_nobody_else() {
    const PART: usize = 500;
    let (disk, key) = (Disk::new(), 7_u64.to_be_bytes());
    let mut random = Random(5);
    let value: Vec<u8> = (0..12_000).map(|_| random.next() as u8).collect();
    let store = open(&disk).unwrap();
    let mut batch = Batch::new();
    batch.put(Table::Payloads, &key, &value);
    store.commit(&[batch]).unwrap();
    drop(store);
    let clean = disk.image();
    let options = StoreOptions { cache_bytes: 0, verify_bytes_max: 0, segment_bytes: 0 };
    let start = clean.windows(64).position(|window| window == &value[..64]).unwrap();
    for _ in 0..200 {
        let flipped = random.next() as usize % value.len();
        let disk = Disk::from_image(clean.clone());
        let store = Store::with_backend("simulated", disk.clone(), options).unwrap();
        let snapshot = store.snapshot().unwrap();
        disk.flip(start + flipped, 1 << (random.next() % 8));
        for (n, part) in value.chunks(PART).enumerate() {
            let range = n * PART..n * PART + part.len();
            match snapshot.get_part(Table::Payloads, &key, range.clone(), checksum(part)) {
                Ok(found) => assert!(!range.contains(&flipped) && found.as_deref() == Some(part), "{range:?}"),
                Err(error) => assert!(range.contains(&flipped), "{range:?} is sound, {flipped} flipped: {error}"),
            }
        }
    }
}

#[test]
fn part_of_a_value_ends_within_it_and_is_what_was_asked_for() {
    let store = Store::memory().unwrap();
    store.commit(&[put("key", "0123456789")]).unwrap();
    let snapshot = store.snapshot().unwrap();
    let part = |range, text: &str| snapshot.get_part(Table::Records, b"key", range, checksum(text.as_bytes()));
    assert_eq!(part(2..5, "234").unwrap(), Some(b"234".to_vec()));
    assert_eq!(part(10..10, "").unwrap(), Some(vec![]));
    // the value's own checksum follows it, and is not readable as a part
    for (range, text) in [(2..5, "345"), (8..11, "89"), (11..11, ""), (0..usize::MAX, "0123456789")] {
        assert!(matches!(part(range.clone(), text), Err(StoreError::Damaged { .. })), "{range:?}");
    }
    assert_eq!(snapshot.get_part(Table::Records, b"other", 0..1, checksum(b"")).unwrap(), None);
}

/// promise: Bad input | A damaged or foreign data directory: refused, unchanged, naming the file
#[test]
fn a_truncated_file_is_an_error() {
    let (_, after, clean, _) = two_commits();
    for len in [1, 8, 300, 4096, clean.len() / 2, clean.len() - 4096, clean.len() - 1] {
        match read_back(&Disk::from_image(clean[..len].to_vec())) {
            Ok(found) => assert!(found == after, "wrong rows in a file cut to {len}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
