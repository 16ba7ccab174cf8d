//! Blobs on the disk of one node.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use nexus_blobs::PART_BYTES;
use nexus_identity::Timestamp;
use positioned_io::ReadAt;
use tempfile::TempDir;

use super::shelf::RACKS;
use super::*;

fn content(size: u64) -> Vec<u8> {
    (0..size).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect()
}

const NOW: Timestamp = Timestamp::from_ms(1_795_163_472_000);

fn read(shelf: &Shelf, hash: BlobHash) -> Option<Vec<u8>> {
    let (content, size) = shelf.content_of(hash, NOW).unwrap()?;
    let mut bytes = vec![0; size as usize];
    content.read_exact_at(0, &mut bytes).unwrap();
    Some(bytes)
}

fn add(shelf: &Shelf, content: &[u8]) -> BlobInfo {
    let mut draft = shelf.draft().unwrap();
    draft.write(content).unwrap();
    shelf.place(shelf.seal(draft).unwrap(), NOW).unwrap()
}

fn list(shelf: &Shelf) -> Vec<BlobInfo> {
    (0..RACKS).flat_map(|rack| shelf.rack(rack).unwrap()).map(|held| held.info).collect()
}

/// promise: Blobs | Content is kept once under its hash, is the same after a restart, and is gone once it is removed
#[test]
fn content_is_kept_under_its_hash() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("blobs");
    for size in [0, 1, 16_384, 16_385, PART_BYTES, 3 * PART_BYTES + 5] {
        let bytes = content(size);
        let hash = BlobHash::of(&bytes);
        for _ in 0..2 {
            let shelf = Shelf::open(root.clone()).unwrap();
            assert_eq!(add(&shelf, &bytes), BlobInfo { hash, size });
        }
        let shelf = Shelf::open(root.clone()).unwrap();
        assert_eq!(list(&shelf), [BlobInfo { hash, size }]);
        assert_eq!(read(&shelf, hash), Some(bytes));
        assert!(shelf.remove(hash).unwrap() && !shelf.remove(hash).unwrap());
        assert_eq!((list(&shelf), shelf.content_of(hash, NOW).unwrap().is_none()), (vec![], true));
    }
    assert!(!root.join("new").exists() || fs::read_dir(root.join("new")).unwrap().next().is_none());
}

/// promise: Blobs | Content that was being added when a node ended is removed at its next start, and other files are no blobs
#[test]
fn what_is_left_of_adding_goes_at_the_next_start() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("blobs");
    let shelf = Shelf::open(root.clone()).unwrap();
    let kept = add(&shelf, b"kept");
    fs::write(root.join("new/7"), b"half").unwrap();
    fs::write(root.join("note.txt"), b"of somebody").unwrap();
    let strange = BlobHash::of(b"elsewhere").to_string();
    fs::create_dir_all(root.join("zz")).unwrap();
    fs::write(root.join("zz").join(strange), b"elsewhere").unwrap();
    let shelf = Shelf::open(root.clone()).unwrap();
    assert_eq!(list(&shelf), [kept]);
    assert!(!root.join("new").exists());
}

/// promise: Blobs | Parts that came stay over a restart, unless the disk lost or changed them
#[test]
fn parts_stay_over_a_restart() {
    let dir = TempDir::new().unwrap();
    let (from, to) = (Shelf::Memory(MemoryBlobs::default()), Shelf::open(dir.path().join("blobs")).unwrap());
    let info = add(&from, &content(5 * PART_BYTES + 9));
    let shape = nexus_blobs::Shape::of(info.size);
    let sent = |part| {
        let (bytes, _) = from.content_of(info.hash, NOW).unwrap().unwrap();
        let index = from.index_of(info.hash, shape).unwrap().unwrap();
        nexus_blobs::slice(info.hash, shape, part, bytes, index).unwrap()
    };
    let mut have = nexus_blobs::PartSet::none(shape);
    let partial = to.begin(info.hash, NOW).unwrap();
    assert_eq!(partial.had, None);
    for part in [5, 0, 3].map(nexus_blobs::Part) {
        partial.take(shape, part, &sent(part)).unwrap();
        have.add(part);
    }
    partial.note(&have, NOW).unwrap();
    assert!(partial.take(shape, nexus_blobs::Part(1), &sent(nexus_blobs::Part(2))).is_err());
    drop(partial);

    let partial = to.begin(info.hash, NOW).unwrap();
    assert_eq!((partial.had.as_ref(), partial.damaged(&have).unwrap()), (Some(&have), vec![]));
    let path = dir.path().join("blobs/part").join(info.hash.to_string());
    let mut bytes = fs::read(&path).unwrap();
    bytes[3 * PART_BYTES as usize + 1] ^= 1;
    fs::write(&path, bytes).unwrap();
    let partial = to.begin(info.hash, NOW).unwrap();
    assert_eq!(partial.damaged(&have).unwrap(), [nexus_blobs::Part(3)]);
    for part in [1, 2, 3, 4].map(nexus_blobs::Part) {
        partial.take(shape, part, &sent(part)).unwrap();
    }
    to.finish(&partial, shape, NOW).unwrap();
    assert_eq!((read(&to, info.hash), list(&to)), (read(&from, info.hash), vec![info]));
    assert_eq!(fs::read_dir(dir.path().join("blobs/part")).unwrap().count(), 0);
}

/// promise: Blobs | A size that a member only claims changes nothing of what is stored
#[test]
fn a_claimed_size_changes_nothing_of_what_is_stored() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("blobs");
    let (from, to) = (Shelf::Memory(MemoryBlobs::default()), Shelf::open(root.clone()).unwrap());
    let info = add(&from, b"small");
    let (shape, part) = (nexus_blobs::Shape::of(info.size), nexus_blobs::Part(0));
    let (bytes, _) = from.content_of(info.hash, NOW).unwrap().unwrap();
    let sent = nexus_blobs::slice(info.hash, shape, part, bytes, [].as_slice()).unwrap();
    let partial = to.begin(info.hash, NOW).unwrap();
    let claimed = nexus_blobs::Shape::of(3 * PART_BYTES);
    assert!(partial.take(claimed, claimed.last(), &sent).is_err());
    partial.take(shape, part, &sent).unwrap();
    to.finish(&partial, shape, NOW).unwrap();
    assert_eq!((read(&to, info.hash), list(&to)), (Some(b"small".to_vec()), vec![info]));
    assert_eq!(fs::read_dir(root.join("part")).unwrap().count(), 0);
}

/// promise: Blobs | A crash between the steps of a fetch's end leaves nothing behind, and nothing that must come again
#[test]
fn a_crash_at_the_end_of_a_fetch_is_settled_by_the_next_start() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("blobs");
    let (from, to) = (Shelf::Memory(MemoryBlobs::default()), Shelf::open(root.clone()).unwrap());
    let info = add(&from, &content(3 * PART_BYTES + 9));
    let shape = nexus_blobs::Shape::of(info.size);
    let (bytes, index) =
        (from.content_of(info.hash, NOW).unwrap().unwrap().0, from.index_of(info.hash, shape).unwrap());
    let mut have = nexus_blobs::PartSet::none(shape);
    let partial = to.begin(info.hash, NOW).unwrap();
    for part in (0..4).map(nexus_blobs::Part) {
        let sent = nexus_blobs::slice(info.hash, shape, part, &bytes, index.as_ref().unwrap()).unwrap();
        partial.take(shape, part, &sent).unwrap();
        have.add(part);
    }
    partial.note(&have, NOW).unwrap();
    drop(partial);
    let name = info.hash.to_string();
    let (part, whole) = (root.join("part").join(&name), root.join(&name[..2]).join(&name));
    fs::create_dir_all(whole.parent().unwrap()).unwrap();
    // the index has its place, the content not yet
    fs::rename(part.with_extension("obao4"), whole.with_extension("obao4")).unwrap();
    let to = Shelf::open(root.clone()).unwrap();
    assert_eq!(to.begin(info.hash, NOW).unwrap().damaged(&have).unwrap(), []);
    // both have, and the note is there
    for ending in ["obao4", ""] {
        fs::rename(part.with_extension(ending), whole.with_extension(ending)).unwrap();
    }
    let to = Shelf::open(root.clone()).unwrap();
    assert_eq!((list(&to), read(&to, info.hash)), (vec![info], read(&from, info.hash)));
    assert_eq!(fs::read_dir(root.join("part")).unwrap().count(), 0);
}

/// Whether files in a directory can share their blocks.
fn shares(dir: &std::path::Path) -> bool {
    let (from, to) = (dir.join("from"), dir.join("to"));
    fs::write(&from, b"shared").unwrap();
    sharing::share(&fs::File::open(&from).unwrap(), &fs::File::create(&to).unwrap()).unwrap()
}

/// promise: Blobs | A file is shared with the node where the file system can do that; the hash is of the bytes that are kept, though the file changes meanwhile
#[cfg(feature = "http")]
#[test]
fn a_file_is_offered_where_it_can_be_shared() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let shelf = Shelf::open(crate::datadir::blobs_in(&data)).unwrap();
    let beside = BlobsBeside::of(&data);
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    let bytes = content(2 * PART_BYTES + 7);
    fs::write(&source, &bytes).unwrap();
    let offer = beside.offer(&fs::File::open(&source).unwrap());
    assert_eq!(offer.is_some(), shares(dir.path()));
    if let Some(offer) = offer {
        fs::write(&source, b"something else").unwrap();
        let draft = shelf.offered(offer.name()).unwrap().unwrap();
        assert!(shelf.offered(offer.name()).unwrap().is_none(), "it is taken once");
        let info = shelf.place(shelf.seal(draft).unwrap(), NOW).unwrap();
        assert_eq!((info.hash, read(&shelf, info.hash)), (BlobHash::of(&bytes), Some(bytes.clone())));
    }
    let info = add(&shelf, &bytes);
    let open = || fs::File::options().read(true).write(true).create(true).truncate(true).open(&out).unwrap();
    assert_eq!(beside.write_to(info.hash, &open(), NOW).unwrap(), shares(dir.path()));
    assert!(!shares(dir.path()) || fs::read(&out).unwrap() == bytes);
    // content that the disk has changed does not go out
    let name = info.hash.to_string();
    let mut changed = bytes;
    changed[70_000] ^= 1;
    fs::write(data.join("blobs").join(&name[..2]).join(&name), changed).unwrap();
    assert!(!beside.write_to(info.hash, &open(), NOW).unwrap());
    assert_eq!(fs::metadata(&out).unwrap().len(), 0);
    // small ones are sent
    fs::write(&source, b"small").unwrap();
    assert!(beside.offer(&fs::File::open(&source).unwrap()).is_none());
    assert_eq!(fs::read_dir(data.join("blobs/new")).unwrap().count(), 0);
}

/// promise: Blobs | An offer is a file in the node's own directory, of one name, taken once: no name leads elsewhere
#[cfg(all(unix, feature = "http"))]
#[test]
fn an_offer_leads_nowhere_else() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("blobs");
    let shelf = Shelf::open(root.clone()).unwrap();
    fs::create_dir_all(root.join("new")).unwrap();
    let (secret, other) = (dir.path().join("secret"), dir.path().join("other"));
    for path in [&secret, &other] {
        fs::write(path, b"of somebody").unwrap();
    }
    let name = |digit: &str| digit.repeat(32);
    let offer = |digit: &str| root.join("new").join(name(digit)).with_extension("offer");
    std::os::unix::fs::symlink(&secret, offer("a")).unwrap();
    fs::hard_link(&other, offer("b")).unwrap();
    fs::create_dir(offer("c")).unwrap();
    for refused in [name("a"), name("b"), name("d"), "../../secret".to_owned(), "0".to_owned(), String::new()] {
        assert!(shelf.offered(&refused).unwrap().is_none(), "{refused}");
    }
    assert!(shelf.offered(&name("c")).map_or(true, |draft| draft.is_none()));
    assert_eq!(fs::read(&secret).unwrap(), b"of somebody");
    fs::write(offer("e"), b"offered").unwrap();
    let draft = shelf.offered(&name("e")).unwrap().unwrap();
    assert!(shelf.offered(&name("e")).unwrap().is_none());
    let info = shelf.place(shelf.seal(draft).unwrap(), NOW).unwrap();
    assert_eq!(read(&shelf, info.hash), Some(b"offered".to_vec()));
}

/// promise: Blobs | A start reads no content, however long: not of a whole blob, and not of one that is partly here
#[cfg(target_os = "linux")]
#[test]
fn a_start_reads_no_content() {
    const LONG: u64 = 100_000_000_000;
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("blobs");
    // nobody looks whether they have their hashes, so holes will do
    let (whole, partly) = (BlobHash::of(b"whole"), BlobHash::of(b"partly"));
    let name = whole.to_string();
    fs::create_dir_all(root.join(&name[..2])).unwrap();
    fs::create_dir_all(root.join("part")).unwrap();
    let part = root.join("part").join(partly.to_string());
    for path in [&root.join(&name[..2]).join(name), &part] {
        fs::File::create(path).unwrap().set_len(LONG).unwrap();
    }
    fs::File::create(part.with_extension("obao4")).unwrap().set_len(LONG / 256).unwrap();
    let mut have = nexus_blobs::PartSet::none(nexus_blobs::Shape::of(LONG));
    have.add(nexus_blobs::Part(7));
    fs::write(part.with_extension("have"), [LONG.to_le_bytes().to_vec(), have.to_bytes()].concat()).unwrap();

    let read = || -> u64 {
        let figures = fs::read_to_string("/proc/thread-self/io").unwrap();
        figures.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    };
    let before = read();
    let shelf = Shelf::open(root).unwrap();
    assert_eq!(list(&shelf), [BlobInfo { hash: whole, size: LONG }]);
    assert_eq!(shelf.parts().unwrap().len(), 1);
    assert_eq!(shelf.begin(partly, NOW).unwrap().had, Some(have));
    assert!(read() - before < 1 << 20, "{} bytes", read() - before);
}
