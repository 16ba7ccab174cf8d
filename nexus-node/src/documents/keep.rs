//! Saving documents as they come, so that their verdicts are made before anybody opens them.
//!
//! It looks at each entry once, and takes the documents with new or turned entries in turn. All that it does may be slow: who
//! opens a document that it has not come to builds the document from what is saved and the entries since.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use nexus_crdt::SpaceId;
use nexus_documents::DocumentId;
use nexus_identity::Did;
use tokio::sync::Mutex;

use super::open::Shared;
use super::opened::Opened;
use super::pen::Pen;
use super::saved;
use crate::brain::Brain;
use crate::engine::Command;
use crate::error::NodeError;
use crate::ledger::rows::{Eno, SpaceNo};
use crate::ledger::{DocumentPlace, each_touched, last_eno};
use crate::store::{Batch, Snapshot, StoreError};

/// How long entries gather before they are looked at.
const GATHER: Duration = Duration::from_secs(2);
/// The most entries, and the most documents, of one look.
const ENTRIES_MAX: Eno = 10_000;
const DOCUMENTS_MAX: usize = 1_000;
/// The pause after the work for a document, in times of that work: so nobody has the node work all the time.
const PAUSE_TIMES: u32 = 4;
/// The same before the next work for that document. Each of a few entries may have a large document built again.
const AGAIN_TIMES: u32 = 30;
/// Work that is long: the document has to wait that time before the next.
const LONG: Duration = Duration::from_secs(1);
/// The bytes that are written a second for one document.
const BYTES_A_SECOND: usize = 256 << 10;
/// The entries after which a restart looks again at those that it has looked at before.
const LOOKED_EVERY: Eno = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Touched {
    space: SpaceId,
    no: SpaceNo,
    document: DocumentId,
}

/// The documents that entries touched.
#[derive(Default)]
struct Look {
    /// Each once, by the line of the first author, in the order of their entries.
    by_line: BTreeMap<Did, Vec<Touched>>,
    number: usize,
}

/// The one task that saves documents.
pub(super) struct Keeper {
    pen: Arc<Pen>,
    opened: Opened,
    /// One form is written or dropped at a time.
    saving: Arc<Mutex<()>>,
    brain: Brain,
    /// The last entry that was looked at, and the last one that the store has as such.
    looked: Eno,
    noted: Eno,
    /// Documents that wait for their time.
    later: BTreeMap<Touched, Duration>,
}

impl Keeper {
    pub(super) fn new(pen: Arc<Pen>, opened: Opened, saving: Arc<Mutex<()>>, brain: Brain) -> Self {
        Self { pen, opened, saving, brain, looked: 0, noted: 0, later: BTreeMap::new() }
    }

    /// Saves documents until the node stops.
    pub(super) async fn run(mut self) {
        let (brain, world) = (self.brain.clone(), self.pen.world.clone());
        let looked = world.blocking(move || Ok::<_, NodeError>(saved::looked(&brain.snapshot()?)?)).await;
        self.looked = looked.map_err(NodeError::from).flatten().unwrap_or(0);
        self.noted = self.looked;
        let mut committed = self.pen.engine.committed();
        loop {
            committed.borrow_and_update();
            match self.pass().await {
                Ok(()) => {}
                Err(NodeError::Stopping(_)) => return,
                Err(error) => tracing::warn!(%error, "documents are not saved for now"),
            }
            let moved = Box::pin(committed.changed());
            let moved = match self.next_due() {
                None => moved.await.map(|()| true),
                // a pass that failed is not tried again at once
                Some(due) => match select(moved, Box::pin(world.sleep_until(due.max(world.now() + GATHER)))).await {
                    Either::Left((moved, _)) => moved.map(|()| true),
                    Either::Right(_) => Ok(false),
                },
            };
            match moved {
                Ok(true) => world.sleep_until(world.now() + GATHER).await,
                Ok(false) => {}
                Err(_) => return,
            }
        }
    }

    /// The time at which there is something to do without a new entry.
    fn next_due(&self) -> Option<Duration> {
        let open = self.opened.all().into_iter().filter_map(|shared| shared.rests_at());
        self.later.values().copied().chain(open).min()
    }

    /// Looks at all entries until now, and works for the documents that they touched.
    async fn pass(&mut self) -> Result<(), NodeError> {
        let world = self.pen.world.clone();
        let now = world.now();
        let due: Vec<Touched> = self.later.iter().filter(|(_, at)| **at <= now).map(|(touched, _)| *touched).collect();
        for touched in due {
            self.later.remove(&touched);
            self.keep(touched).await?;
        }
        loop {
            let (brain, looked) = (self.brain.clone(), self.looked);
            let members = self.pen.identity.members();
            let line = move |author: &Did| members.line(author).first().copied().unwrap_or(*author);
            let look = move || Ok::<_, NodeError>(look(&brain.snapshot()?, looked, &line)?);
            let (found, to, last) = world.background(look).await??;
            for touched in in_turn(found) {
                self.keep(touched).await?;
            }
            self.looked = to;
            if to >= last {
                break;
            }
        }
        // documents that wait are looked at again after a start
        if self.later.is_empty() && self.looked >= self.noted + LOOKED_EVERY {
            self.write(vec![saved::note_looked(self.looked)]).await?;
            self.noted = self.looked;
        }
        for shared in self.opened.all() {
            shared.rest();
        }
        Ok(())
    }

    /// Brings a document to what is committed, and saves it if it has come far enough since.
    async fn keep(&mut self, touched: Touched) -> Result<(), NodeError> {
        if self.later.contains_key(&touched) {
            return Ok(());
        }
        let Touched { space, no, document } = touched;
        let world = self.pen.world.clone();
        let begun = world.now();
        let open = self.opened.if_open(space, document);
        let is_open = open.is_some();
        let shared = open.unwrap_or_else(|| Shared::new(world.clone(), space, no, document).into());
        // a form that is dropped meanwhile does not come back
        let saving = self.saving.clone().lock_owned().await;
        let mut bytes = 0;
        match shared.to_save(&self.brain, is_open).await {
            Ok(batches) => {
                bytes = batches.iter().map(Batch::bytes).sum();
                self.write(batches).await?;
            }
            Err(NodeError::Stopping(error)) => return Err(error.into()),
            // whoever opens it is told
            Err(error) => tracing::debug!(%error, "a document is not saved"),
        }
        drop(saving);
        let took = world.now().saturating_sub(begun);
        // a large document that somebody types into is not written all the time
        let of_bytes = Duration::from_secs((bytes / BYTES_A_SECOND) as u64);
        let again = of_bytes.max(if took > LONG { took * AGAIN_TIMES } else { Duration::ZERO });
        if !again.is_zero() && self.later.len() < DOCUMENTS_MAX {
            self.later.insert(touched, world.now() + again);
        }
        if !took.is_zero() {
            world.sleep_until(world.now() + took * PAUSE_TIMES).await;
        }
        Ok(())
    }

    /// Commits batches one by one, while the disk has room for more than the least.
    async fn write(&self, batches: Vec<Batch>) -> Result<(), NodeError> {
        for batch in batches {
            if !self.pen.engine.has_ample_room() {
                return Ok(());
            }
            match self.pen.engine.run(Command::Keep(batch)).await {
                Ok(_) => {}
                Err(NodeError::Stopping(error)) => return Err(error.into()),
                // a form without its last row is as good as none
                Err(error) => {
                    tracing::debug!(%error, "a document is not saved");
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The documents that entries after one touched, the last entry that was looked at, and the last that there is.
fn look(view: &Snapshot, after: Eno, line: &dyn Fn(&Did) -> Did) -> Result<(Look, Eno, Eno), StoreError> {
    let last = last_eno(view)?;
    // a store that was put back is looked at anew
    let after = if after > last { 0 } else { after };
    let most = last.min(after + ENTRIES_MAX);
    let (mut found, mut seen) = (Look::default(), BTreeSet::new());
    let to = each_touched(view, (after, most), &mut |DocumentPlace { space, no, document, author }| {
        if seen.insert((space, document)) {
            let touched = Touched { space, no, document: DocumentId::from_bytes(document) };
            found.by_line.entry(line(&author)).or_default().push(touched);
            found.number += 1;
        }
        if found.number < DOCUMENTS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok((found, to, last))
}

/// One document of each line after the other, so that nobody's many keep others' waiting.
fn in_turn(look: Look) -> Vec<Touched> {
    let mut lines: Vec<VecDeque<Touched>> = look.by_line.into_values().map(VecDeque::from).collect();
    let mut found = Vec::with_capacity(look.number);
    while found.len() < look.number {
        found.extend(lines.iter_mut().filter_map(VecDeque::pop_front));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Documents | A member that touches many documents keeps those of others from being saved by one of its own at most
    #[test]
    fn documents_are_taken_in_turn_by_the_lines_of_their_authors() {
        let mesh = Did::from_bytes([7; 32]);
        let touched = |n: u8| Touched { space: SpaceId::mesh(&mesh), no: 1, document: DocumentId::from_bytes([n; 16]) };
        let of = |n: u8| Did::from_bytes([n; 32]);
        let by_line = [(of(1), (0..9).map(touched).collect()), (of(2), vec![touched(20), touched(21)])];
        let order = in_turn(Look { by_line: by_line.into(), number: 11 });
        assert_eq!(order.len(), 11);
        assert_eq!(order[..5], [0, 20, 1, 21, 2].map(touched));
    }
}
