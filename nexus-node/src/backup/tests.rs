use std::fs;

use nexus_identity::{Did, Keypair};

use super::head::VERSION;
use super::*;
use crate::datadir::{DataDir, DataDirError};
use crate::store::{ROWS_FORMAT, StoreOptions, View};

const DID: Did = Did::from_bytes([1; 32]);
const MESH: Did = Did::from_bytes([2; 32]);

fn rows(store: StoreKind, table: &str) -> Frame {
    Frame::Rows { store, table: table.to_owned(), rows: vec![(b"key".to_vec(), b"value".to_vec())] }
}

/// The bytes of a backup with these frames.
fn backup(head: Head, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).unwrap();
    writer.put(&Frame::Head(head)).unwrap();
    frames.iter().for_each(|frame| writer.put(frame).unwrap());
    writer.end().unwrap();
    bytes
}

fn head() -> Head {
    Head::new(DID, MESH, "laptop".to_owned(), 1_000)
}

fn read(bytes: &[u8]) -> Result<Vec<Frame>, BackupError> {
    let mut reader = Reader::new(bytes)?;
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}

fn stream(bytes: &[u8]) -> Source {
    Source::Stream(Box::new(std::io::Cursor::new(bytes.to_vec())))
}

/// The refusal of a restore of these bytes, and the names in the directory afterwards.
fn refused(bytes: &[u8]) -> (BackupError, Vec<String>) {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("data");
    let error = restore(stream(bytes), &target, Choice::default()).unwrap_err();
    assert_eq!(DataDir::inspect(&target).unwrap(), crate::datadir::Contents::Empty);
    let left = fs::read_dir(&target)
        .map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), usize::from(target.exists()));
    (error, left)
}

/// promise: Bad input | A backup with a changed bit, cut short, or with bytes after its end
#[test]
fn each_changed_bit_and_each_missing_byte_of_a_backup_is_noticed() {
    let frames = [rows(StoreKind::Brain, "meta"), rows(StoreKind::Raft, "raft_meta")];
    let whole = backup(head(), &frames);
    assert_eq!(read(&whole).unwrap()[1..], frames);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            assert!(read(&changed).is_err(), "bit {bit} of byte {at}");
        }
        assert!(matches!(read(&whole[..at]), Err(BackupError::Short | BackupError::NotABackup)), "{at} bytes");
    }
    assert!(matches!(read(&[whole.as_slice(), b"!"].concat()), Err(BackupError::Damaged(_))));
}

/// promise: Bad input | A backup of a later version, with unknown tables, with files that no backup has
#[test]
fn a_backup_writes_no_file_and_no_table_but_its_own() {
    let later = backup(Head { version: VERSION + 1, ..head() }, &[]);
    assert!(matches!(refused(&later).0, BackupError::TooNew { format: 3, known: 2 }));
    let later = backup(Head { store_format: ROWS_FORMAT + 1, ..head() }, &[]);
    assert!(matches!(refused(&later).0, BackupError::TooNew { .. }));

    for name in ["../escaped", "/tmp/escaped", "api-token", "brain.redb", "lock", ""] {
        let frame = Frame::File { name: name.to_owned(), bytes: b"x".to_vec() };
        let (error, left) = refused(&backup(head(), &[frame]));
        assert!(matches!(error, BackupError::Damaged(_)), "{name}: {error}");
        assert_eq!(left, ["lock"]);
    }
    let long = Frame::File { name: "config.toml".to_owned(), bytes: vec![b'#'; 65 << 10] };
    assert!(matches!(refused(&backup(head(), &[long])).0, BackupError::Damaged(_)));
    let (error, _) = refused(&backup(head(), &[rows(StoreKind::Brain, "nothing")]));
    assert!(matches!(error, BackupError::Damaged(_)), "{error}");
    let (error, _) = refused(&backup(head(), &[]));
    assert!(matches!(error, BackupError::Damaged(_)), "{error}");
    // rows of no mesh at all
    let (error, left) = refused(&backup(head(), &[rows(StoreKind::Brain, "meta")]));
    assert!(matches!(error, BackupError::NoKey), "{error}");
    assert_eq!(left, ["lock"]);
    assert!(matches!(refused(b"PK\x03\x04 something else altogether").0, BackupError::NotABackup));
}

/// promise: Store and data directory | An interrupted restore leaves no node, and the next one begins anew
#[test]
fn what_an_interrupted_restore_left_is_no_node() {
    let home = tempfile::tempdir().unwrap();
    let (from, target) = (home.path().join("from"), home.path().join("data"));
    let node = crate::node::init(&from, None).unwrap();
    // the power went after the first files had come into their place
    let (inside, lock) = DataDir::begin_restore(&target).unwrap();
    fs::write(target.join(DataDir::STORE), b"half").unwrap();
    fs::create_dir_all(target.join("blobs/aa")).unwrap();
    fs::write(inside.join("identity.key"), b"half").unwrap();
    drop(lock);
    assert!(matches!(DataDir::inspect(&target), Err(DataDirError::Restoring { .. })));
    let made = DataDir::create(&target, Keypair::generate());
    assert!(matches!(made, Err(DataDirError::Restoring { .. })));

    let restored = restore(Source::Directory(from), &target, Choice::default()).unwrap();
    assert_eq!((restored.did, restored.mesh), (node.did, node.mesh_did));
    let dir = DataDir::open(&target).unwrap();
    let store = Store::open(dir.store_path(), StoreOptions::default()).unwrap();
    let kept = store.snapshot().unwrap().get(Table::Meta, meta::FINGERPRINT).unwrap().unwrap();
    assert_eq!(dir.sign_since(&kept), Some(crate::datadir::CopySign::PutBack));
    assert!(!target.join("restoring").exists() && !target.join("blobs").exists());
    assert!(dir.root().unwrap().is_some());
}

/// The frames of a blob.
#[cfg(feature = "blobs")]
fn blob(hash: [u8; 32], size: u64, pieces: &[&[u8]]) -> Vec<Frame> {
    let begin = Frame::Blob { hash, size, pinned: true, directory: None, copies: None };
    let pieces = pieces.iter().map(|bytes| Frame::BlobBytes { bytes: bytes.to_vec() });
    std::iter::once(begin).chain(pieces).chain([Frame::BlobEnd { is_whole: true }]).collect()
}

#[cfg(feature = "blobs")]
type IsSo<'a> = &'a dyn Fn(&BackupError) -> bool;

/// promise: Bad input | A backup whose blobs are others than their names say, longer, without end, or content of none
#[cfg(feature = "blobs")]
#[test]
fn a_blob_that_is_not_the_one_of_its_name_is_refused() {
    let hash = *crate::blobs::BlobHash::of(b"content").as_bytes();
    let bytes = |text: &[u8]| Frame::BlobBytes { bytes: text.to_vec() };
    let is_blob = |error: &BackupError| matches!(error, BackupError::Blob { .. });
    let is_damaged = |error: &BackupError| matches!(error, BackupError::Damaged(_));
    let good = blob(hash, 7, &[b"con", b"tent"]);
    let cases: [(_, IsSo<'_>); 7] = [
        (blob(hash, 7, &[b"contenT"]), &is_blob),
        (blob(hash, 7, &[b"conten"]), &is_blob),
        (blob(hash, 6, &[b"conten"]), &is_blob),
        (blob(hash, 7, &[b"content", b"!"]), &is_blob),
        (vec![bytes(b"content")], &is_damaged),
        (good[..2].to_vec(), &is_damaged),
        ([&good[..2], &good].concat(), &is_damaged),
    ];
    for (frames, is_so) in cases {
        // a store, so that all else is in order
        let frames = [vec![rows(StoreKind::Brain, "meta")], frames].concat();
        let (error, left) = refused(&backup(head().with_blobs(), &frames));
        assert!(is_so(&error), "{error}");
        assert_eq!(left, ["lock"]);
    }
    let tag = Frame::BlobTag { tag: "a\nb".to_owned(), hash };
    assert!(is_damaged(&refused(&backup(head(), &[rows(StoreKind::Brain, "meta"), tag])).0));
    // a good one gets further: the backup lacks a key
    let frames = [vec![rows(StoreKind::Brain, "meta")], good].concat();
    assert!(matches!(refused(&backup(head(), &frames)).0, BackupError::NoKey));
}
