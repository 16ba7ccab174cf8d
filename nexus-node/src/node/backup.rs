use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Node;
use crate::backup::{BrainRows, Frame, Head, StoreKind, Writer};
use crate::coordinator::CopiedRows;
use crate::error::NodeError;
use crate::store::{Row, StoreError, Table};
use crate::world::World;

/// The longest wait for the receiver of a backup. After it the stream ends without its end, so that a receiver that
/// stands still does not keep old pages in the store for ever.
const STALLED_MAX: Duration = Duration::from_secs(60);
/// The portions that are read ahead.
const AHEAD: usize = 1;

/// A backup that is being written, in portions: the stream that `restore` takes, without keys and configuration.
///
/// Each store is as it was at one moment. The node goes on meanwhile; its file grows by what changes until the backup is
/// dropped, or was not asked for more within a minute.
#[derive(Debug)]
pub struct Backup(mpsc::Receiver<Result<Vec<u8>, NodeError>>);

impl Backup {
    /// The next bytes of the stream, about 256 KiB; `None` after the last ones.
    ///
    /// # Errors
    /// [`NodeError::Store`] or [`NodeError::Stopping`]. The stream has no end then, and is no backup.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, NodeError> {
        self.0.recv().await.transpose()
    }
}

/// The writer of a backup.
struct Writing {
    world: World,
    stage: Stage,
    raft: Option<CopiedRows>,
    #[cfg(feature = "blobs")]
    blobs: Option<crate::blobs::Blobs>,
    /// The store's name in errors.
    file: PathBuf,
    writer: Writer<Vec<u8>>,
}

enum Stage {
    Brain(BrainRows),
    Raft,
    #[cfg(feature = "blobs")]
    Blobs(Box<crate::blobs::Archive>),
    Done,
}

impl Node {
    /// Begins a backup of this node's stores, and of the blobs that it keeps for itself or to which entries refer.
    ///
    /// The keys and the configuration are files of the data directory; whoever may read those adds them.
    ///
    /// # Errors
    /// [`NodeError::Store`] or [`NodeError::Stopping`].
    pub fn backup(&self) -> Result<Backup, NodeError> {
        self.backup_of(true)
    }

    /// The same without blobs. Earlier versions restore it, too.
    ///
    /// # Errors
    /// As [`Node::backup`].
    pub fn backup_without_blobs(&self) -> Result<Backup, NodeError> {
        self.backup_of(false)
    }

    fn backup_of(&self, with_blobs: bool) -> Result<Backup, NodeError> {
        #[cfg(feature = "blobs")]
        let blobs = with_blobs.then(|| self.blobs());
        let has_blobs = with_blobs && cfg!(feature = "blobs");
        let inner = &self.0;
        let rows = BrainRows::of(inner.store.snapshot()?);
        let head = Head::new(self.did(), self.mesh_did(), self.name(), inner.world.wall().as_ms());
        let head = if has_blobs { head.with_blobs() } else { head };
        let unwritten = |source| StoreError::Disk { file: inner.store.file().to_owned(), source: Arc::new(source) };
        let mut writer = Writer::new(Vec::new()).map_err(unwritten)?;
        writer.put(&Frame::Head(head)).map_err(unwritten)?;
        let raft = inner.coordinator.as_ref().map(|coordinator| coordinator.copied());
        let (world, file) = (inner.world.clone(), inner.store.file().to_owned());
        let (portions, received) = mpsc::channel(AHEAD);
        let writing = Writing {
            world,
            stage: Stage::Brain(rows),
            raft,
            #[cfg(feature = "blobs")]
            blobs,
            file,
            writer,
        };
        inner.world.spawn("backup", writing.run(portions));
        Ok(Backup(received))
    }
}

impl Writing {
    async fn run(mut self, portions: mpsc::Sender<Result<Vec<u8>, NodeError>>) {
        while let Some(next) = self.next().await.transpose() {
            let failed = next.is_err();
            let sent = tokio::time::timeout(STALLED_MAX, portions.send(next)).await;
            if sent.is_err() {
                tracing::warn!("a backup was broken off: nobody has taken more of it for a minute");
            }
            if failed || !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, NodeError> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Brain(mut rows) => {
                let (next, rows) = self.world.blocking(move || (rows.next(), rows)).await?;
                match next? {
                    Some(next) => {
                        self.stage = Stage::Brain(rows);
                        self.put(StoreKind::Brain, next).map(Some)
                    }
                    None => {
                        self.stage = Stage::Raft;
                        // the memory's pages are let go before the next store is read
                        drop(rows);
                        Ok(Some(Vec::new()))
                    }
                }
            }
            Stage::Raft => match self.raft.as_mut() {
                Some(raft) => match raft.next().await? {
                    Some(next) => {
                        self.stage = Stage::Raft;
                        self.put(StoreKind::Raft, next).map(Some)
                    }
                    None => self.blobs_or_end().await.map(Some),
                },
                None => self.blobs_or_end().await.map(Some),
            },
            #[cfg(feature = "blobs")]
            Stage::Blobs(mut archive) => {
                let (next, archive) = self.world.blocking(move || (archive.next(), archive)).await?;
                match next? {
                    Some(part) => {
                        self.stage = Stage::Blobs(archive);
                        self.put_frame(&part.into()).map(Some)
                    }
                    None => self.end().map(Some),
                }
            }
            Stage::Done => Ok(None),
        }
    }

    fn put(&mut self, store: StoreKind, (table, rows): (Table, Vec<Row>)) -> Result<Vec<u8>, NodeError> {
        self.put_frame(&Frame::Rows { store, table: table.name().to_owned(), rows })
    }

    fn put_frame(&mut self, frame: &Frame) -> Result<Vec<u8>, NodeError> {
        self.writer.put(frame).map_err(|source| self.unwritten(source))?;
        Ok(std::mem::take(self.writer.out()))
    }

    /// The blobs are listed after the moment of the rows: whatever these refer to was there before.
    #[cfg(feature = "blobs")]
    async fn blobs_or_end(&mut self) -> Result<Vec<u8>, NodeError> {
        let Some(blobs) = self.blobs.take() else { return self.end() };
        let archive = self.world.blocking(move || crate::blobs::Archive::of(&blobs)).await??;
        self.stage = Stage::Blobs(Box::new(archive));
        Ok(Vec::new())
    }

    #[cfg(not(feature = "blobs"))]
    #[expect(clippy::unused_async, reason = "as with blobs")]
    async fn blobs_or_end(&mut self) -> Result<Vec<u8>, NodeError> {
        self.end()
    }

    fn end(&mut self) -> Result<Vec<u8>, NodeError> {
        self.writer.end().map_err(|source| self.unwritten(source))?;
        Ok(std::mem::take(self.writer.out()))
    }

    /// Writing to memory fails for a row alone that is longer than a frame. No store has one.
    fn unwritten(&self, source: io::Error) -> StoreError {
        StoreError::Disk { file: self.file.clone(), source: Arc::new(source) }
    }
}
