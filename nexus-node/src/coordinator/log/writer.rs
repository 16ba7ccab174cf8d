//! The one task that writes to Raft's store and its journal, in the order of the requests. Requests
//! that wait during a commit share the next one.

use std::io;

use nexus_identity::plants::reached;
use openraft::storage::LogFlushed;
use tokio::sync::{mpsc, oneshot};

use super::rows;
use super::{Log, WAITING_MAX, WriteFailed};
use crate::coordinator::journal::Journal;
use crate::coordinator::raft::{Position, Types};
use crate::headroom::{Files, Headroom, Room};
use crate::store::{Batch, Store, StoreError};
use crate::world::World;

/// A request to write, and the receiver of its result.
pub(super) struct Write {
    pub(super) ask: Ask,
    /// The last entry that is on disk after it.
    pub(super) upto: Option<u64>,
    pub(super) done: WriteReceiver,
}

/// The content of a request.
pub(super) enum Ask {
    /// Entries, from an index on.
    Append {
        first: u64,
        entries: Vec<Vec<u8>>,
        /// The last index known to be committed.
        committed: Option<u64>,
    },
    /// Remove all entries from an index on.
    Truncate(u64),
    /// Drop the entries up to this one.
    Purge(Position),
    /// Overwrite what a segment of the journal has of dropped ones, and say whether there is such a segment.
    Scrub(u32, oneshot::Sender<bool>),
    /// Rows of the store.
    Rows(Batch),
    /// Rows of the store, and an empty log.
    Begin(Batch),
}

/// The receiver of a result.
pub(super) enum WriteReceiver {
    Appended(LogFlushed<Types>),
    /// None: openraft was told before, and [`Log::wait_durable`] waits.
    Early,
    Tell(oneshot::Sender<Result<(), WriteFailed>>),
}

/// The one task that writes.
pub(crate) struct Writer {
    pub(super) log: Log,
    pub(super) disk: Disk,
    pub(super) writes: mpsc::Receiver<Write>,
}

/// The store and the journal.
pub(super) struct Disk {
    pub(super) store: Store,
    pub(super) journal: Journal,
}

impl Writer {
    /// Writes until all senders are gone, the disk fails or has no room. `failed` gets the reason.
    pub(crate) async fn run(self, world: World, headroom: Headroom, failed: impl Fn(WriteFailed)) {
        let Self { log, mut disk, mut writes } = self;
        let mut waiting = Vec::new();
        while writes.recv_many(&mut waiting, WAITING_MAX).await > 0 {
            let (asks, rest): (Vec<Ask>, Vec<(Option<u64>, WriteReceiver)>) =
                waiting.drain(..).map(|write| (write.ask, (write.upto, write.done))).unzip();
            let (room, now, writes) = (headroom.clone(), world.now(), asks.len());
            let write = move || {
                // the last of the reserve is for the members' changes: others vote and keep the log meanwhile
                if room.look(now) == Room::Nothing {
                    return Err(StoreError::Full { file: disk.store.file().to_owned() });
                }
                disk.write(asks)?;
                match room.look_at_files_again(Some(Files::Coordinators), now) {
                    Some(_) => Err(StoreError::Full { file: disk.store.file().to_owned() }),
                    None => {
                        room.acknowledged(writes);
                        Ok(disk)
                    }
                }
            };
            let written = world.blocking(write).await;
            let (result, kept) = match written {
                Ok(Ok(disk)) => (Ok(()), Some(disk)),
                Ok(Err(error)) => (Err(error.into()), None),
                Err(interrupted) => (Err(interrupted.into()), None),
            };
            if result.is_ok() {
                log.durable(rest.iter().filter_map(|(upto, _)| *upto).max());
            }
            for (_, done) in rest {
                match done {
                    WriteReceiver::Appended(flushed) => {
                        flushed.log_io_completed(result.clone().map_err(io::Error::other))
                    }
                    WriteReceiver::Early => {}
                    WriteReceiver::Tell(tell) => drop(tell.send(result.clone())),
                }
            }
            // no request waits while room is made ahead
            let kept = match kept {
                Some(mut disk) if disk.journal.wants_room() => {
                    let made = world.blocking(move || disk.journal.prepare().map(|()| disk)).await;
                    made.map_err(WriteFailed::from).and_then(|made| made.map_err(WriteFailed::from))
                }
                Some(disk) => Ok(disk),
                None => Err(result.err().unwrap_or(WriteFailed::Closed)),
            };
            match kept {
                Ok(kept) => disk = kept,
                Err(error) => {
                    if error.is_full() {
                        reached("copy_ends_without_room");
                        headroom.ran_out(world.now());
                    }
                    failed(error);
                    return;
                }
            }
        }
    }
}

impl Disk {
    /// Does all requests in order. Entries that follow each other share a record, rows that do share a
    /// commit.
    fn write(&mut self, asks: Vec<Ask>) -> Result<(), StoreError> {
        let mut batches = Vec::new();
        let mut asks = asks.into_iter().peekable();
        while let Some(ask) = asks.next() {
            match ask {
                Ask::Rows(batch) => batches.push(batch),
                Ask::Append { first, mut entries, mut committed } => {
                    let follows = |ask: &Ask, next: u64| matches!(ask, Ask::Append { first, .. } if *first == next);
                    while let Some(Ask::Append { entries: more, committed: later, .. }) =
                        asks.next_if(|ask| follows(ask, first + entries.len() as u64))
                    {
                        entries.extend(more);
                        committed = committed.max(later);
                    }
                    self.commit(&mut batches)?;
                    self.journal.append(first, &entries, committed)?;
                }
                Ask::Truncate(from) => {
                    self.commit(&mut batches)?;
                    self.journal.truncate(from)?;
                }
                Ask::Purge(upto) => {
                    let root = self.journal.purged(upto.index);
                    let mut batch = Batch::new();
                    rows::put_purged(&mut batch, upto);
                    rows::put_root(&mut batch, root);
                    batches.push(batch);
                    self.commit(&mut batches)?;
                    self.journal.let_go(root, upto.index);
                }
                Ask::Scrub(segment, is_there) => {
                    // a root that is not on the disk yet may have another beginning
                    self.commit(&mut batches)?;
                    // nobody may wait for it any more
                    let _ = is_there.send(self.journal.scrub(segment)?);
                }
                Ask::Begin(mut batch) => {
                    let root = self.journal.emptied();
                    rows::put_root(&mut batch, root);
                    batches.push(batch);
                    self.commit(&mut batches)?;
                    self.journal.begin(root);
                }
            }
        }
        self.commit(&mut batches)
    }

    fn commit(&self, batches: &mut Vec<Batch>) -> Result<(), StoreError> {
        self.store.commit(&std::mem::take(batches))
    }
}
