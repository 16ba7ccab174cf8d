//! Backups: a node's directory as one stream, and back into an empty directory.
//!
//! A backup is written while the node runs. It holds the rows of both stores at one moment each, without derived ones. After
//! them come the blobs that this node keeps for itself, or to which entries refer, unless they are left out. With them go the files that make the directory this node's: the keys and the configuration. It has no token of the
//! API, no ports and no log.
//!
//! Whoever has the keys is this node. A backup with keys is therefore as secret as the directory.
//!
//! | module | content |
//! |---|---|
//! | `frame` | the stream: its frames, writing and reading them |
//! | `unpack` | frames into files |
//! | `files` | the files of the directory that go along |
//! | `blobs` | the blobs of a backup, verified again |
//! | `restore` | a backup or a copy of a directory becomes a node's directory |
//! | `error` | the reasons why a backup is refused |
//!
//! A restored directory says of itself that it was put back. Its node goes on in a new log and as another voter, since
//! the entries after the backup may be known to others.

#[cfg(feature = "blobs")]
mod blobs;
mod contents;
mod error;
mod files;
mod frame;
mod head;
mod restore;
#[cfg(test)]
mod tests;
mod unpack;

pub use self::contents::Contents;
pub use self::error::BackupError;
pub use self::files::key_files;
pub use self::frame::{Frame, Reader, Writer};
pub use self::head::{Head, StoreKind};
pub use self::restore::{Choice, Restored, Source, restore};
pub use self::unpack::Unpacker;

use crate::ledger::rows::meta;
use crate::store::{Portions, Row, Snapshot, Store, StoreError, Table};

/// The rows of the brain's store that a backup has: all that cannot be derived from others.
#[derive(Debug)]
pub(crate) struct BrainRows(Portions);

impl BrainRows {
    /// The rows of one state.
    pub(crate) fn of(view: Snapshot) -> Self {
        Self(Portions::new(view, Table::ALL.iter().copied().filter(|table| !table.derived())))
    }

    /// The next rows, all of one table. Blocks for the disk.
    pub(crate) fn next(&mut self) -> Result<Option<(Table, Vec<Row>)>, StoreError> {
        let Some((table, mut rows)) = self.0.next_portion()? else { return Ok(None) };
        if table == Table::Meta {
            // the derived tables are not there, and neither is the word that they are complete
            rows.retain(|(key, _)| key != meta::VIEW);
        }
        Ok(Some((table, rows)))
    }
}

/// A small backup, for `nexus-fuzz`.
#[cfg(all(feature = "testing", feature = "coordinators", feature = "mcp"))]
pub(crate) fn small() -> Vec<u8> {
    use nexus_identity::Did;

    let row = |key: &[u8]| (key.to_vec(), b"value".to_vec());
    let frames = [
        Frame::Head(
            Head::new(Did::from_bytes([1; 32]), Did::from_bytes([2; 32]), "laptop".to_owned(), 1_000).with_blobs(),
        ),
        Frame::Rows { store: StoreKind::Brain, table: "meta".to_owned(), rows: vec![row(b"mesh"), row(b"store")] },
        Frame::Blobs { count: 1, bytes: 5 },
        Frame::Blob { hash: [3; 32], size: 5, pinned: true, directory: None, copies: None },
        Frame::BlobBytes { bytes: b"bytes".to_vec() },
        Frame::BlobEnd { is_whole: true },
        Frame::BlobTag { tag: "report".to_owned(), hash: [3; 32] },
        Frame::File { name: "config.toml".to_owned(), bytes: b"mdns = false".to_vec() },
    ];
    let mut bytes = Vec::new();
    // writing to memory does not fail
    if let Ok(mut writer) = Writer::new(&mut bytes) {
        let _ = frames.iter().try_for_each(|frame| writer.put(frame)).and_then(|()| writer.end());
    }
    bytes
}

/// Notes in a store that its directory was put back.
fn mark_restored(store: &Store) -> Result<(), StoreError> {
    let mut batch = crate::store::Batch::new();
    batch.put(Table::Meta, meta::FINGERPRINT, crate::datadir::PUT_BACK);
    store.commit(&[batch])
}
