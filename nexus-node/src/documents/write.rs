use std::sync::{Arc, PoisonError};
use std::time::Duration;

use nexus_crdt::{DOCUMENT_PARTS_MAX, DocumentPart, PAYLOAD_BYTES_MAX};
use nexus_documents::{Edit, EditError, Made};
use nexus_identity::plants::planted;
use tokio::sync::oneshot;

use super::front::Held;
use super::open::{Answer, Job, Shared, broken};
use super::pen::Pen;
use super::replica::own_actor;
use super::version::Version;
use super::work::Work;
use crate::brain::Brain;
use crate::error::{DocumentError, NodeError, StopError};

/// The most bytes of the parts of one entry.
const FILL_BYTES: usize = PAYLOAD_BYTES_MAX - 256;
/// The time within which edits after the first one wait for the disk together.
const TOGETHER: Duration = Duration::from_millis(20);
/// The most bytes of letters that become one insertion.
const JOINED_BYTES_MAX: usize = 4_096;
/// How often a write is tried again for another incarnation of this node's log.
const INCARNATIONS_MAX: usize = 3;

impl Shared {
    /// Makes edits, and waits until they are on the disk. `key` is the key by which the document was found; one that was found by
    /// its address takes none after its key began anew.
    pub(super) async fn edit(self: &Arc<Self>, pen: &Arc<Pen>, brain: &Brain, work: Work, key: Option<&str>) -> Answer {
        let admitted = self.front.admit(work.bytes(), &pen.waiting)?;
        let anew = self.front.anew.clone().read_owned().await;
        let former_key = match key {
            Some(key) => anew.get(key).cloned(),
            None => {
                let (names, no, document) = (self.front.names.clone(), self.no, self.document);
                let called = brain.reading(move |brain| {
                    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
                    Ok(names.called(&brain.snapshot()?, no, document)?)
                });
                called.await?.former_key
            }
        };
        if let Some(key) = former_key {
            return Err(DocumentError::Former { key, id: self.document.to_string() }.into());
        }
        let held = Held { _admitted: admitted, _anew: anew };
        let (answer, answered) = oneshot::channel();
        let serves = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.jobs.push_back(Job { work, answer, held });
            !std::mem::replace(&mut queue.is_served, true)
        };
        if serves {
            // a caller that goes away takes no edit of others along
            let (shared, pen, brain) = (self.clone(), pen.clone(), brain.clone());
            let world = pen.world.clone();
            world.spawn("edits of a document", async move { shared.serve(&pen, &brain).await });
        }
        answered.await.map_err(|_| NodeError::from(StopError::NoAnswer))?
    }

    /// Writes what waits, until nothing does. The first edits after a pause go at once; those that come within a while after a
    /// write go together.
    async fn serve(&self, pen: &Pen, brain: &Brain) {
        loop {
            let world = &pen.world;
            let last = self.queue.lock().unwrap_or_else(PoisonError::into_inner).last;
            if let Some(next) = last.map(|last| last + TOGETHER).filter(|next| *next > world.now()) {
                world.sleep_until(next).await;
            }
            let jobs: Vec<Job> = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                if queue.jobs.is_empty() {
                    queue.is_served = false;
                    return;
                }
                queue.jobs.drain(..).collect()
            };
            // from its beginning: the time that the disk takes is no wait on top of the others
            self.queue.lock().unwrap_or_else(PoisonError::into_inner).last = Some(world.now());
            self.write_all(pen, brain, jobs).await;
        }
    }

    async fn write_all(&self, pen: &Pen, brain: &Brain, jobs: Vec<Job>) {
        let mut together = Vec::new();
        for Job { work, answer, held } in jobs {
            match work {
                Work::Edits(edits) => together.push((edits, answer, held)),
                // it reads what was written before it
                program @ (Work::Program(_) | Work::Content(_)) => {
                    self.write_together(pen, brain, std::mem::take(&mut together)).await;
                    let _ = answer.send(self.write(pen, brain, program, "").await);
                }
            }
        }
        self.write_together(pen, brain, together).await;
    }

    async fn write_together(&self, pen: &Pen, brain: &Brain, jobs: Vec<(Vec<Edit>, oneshot::Sender<Answer>, Held)>) {
        if jobs.is_empty() {
            return;
        }
        let (mut edits, mut answers, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for (of_one, answer, holds) in jobs {
            edits.push(of_one);
            answers.push(answer);
            held.push(holds);
        }
        let whole = joined(edits.iter().flatten().cloned());
        let written = self.write(pen, brain, Work::Edits(whole), "").await;
        // an edit that does not fit must not keep the others from the disk
        if edits.len() > 1 && matches!(written, Err(NodeError::Document(_))) {
            for (at, (edits, answer)) in edits.into_iter().zip(answers).enumerate() {
                if at > 0 && planted("edit_lost_on_conflict") {
                    let _ = answer.send(Ok((Version::default(), true)));
                    continue;
                }
                let _ = answer.send(self.write(pen, brain, Work::Edits(edits), "").await);
            }
            return;
        }
        match written {
            Ok(written) => answers.into_iter().for_each(|answer| {
                let _ = answer.send(Ok(written.clone()));
            }),
            Err(error) => {
                // one caller gets the error itself, which is all of them where only one waits
                let last = answers.pop();
                for answer in answers {
                    let _ = answer.send(Err(again(&error)));
                }
                last.map(|answer| answer.send(Err(error)));
            }
        }
    }

    /// Writes what a caller wants, with a word about it: all of it or nothing, unless the disk or the node fails between two entries.
    pub(super) async fn write(&self, pen: &Pen, brain: &Brain, work: Work, word: &str) -> Answer {
        for _ in 0..INCARNATIONS_MAX {
            let log = pen.log(self.space);
            let mut current = self.current(brain).await?;
            let mut replica = current.take().ok_or_else(|| broken(self.document, "it was closed"))?;
            let (actor, time) = (own_actor(&log, self.document), pen.world.wall().as_ms() / 1_000);
            let time = i64::try_from(time).unwrap_or(i64::MAX);
            let document = self.document;
            // it is built again unless all of it comes to the disk
            let (work, word) = (work.clone(), word.to_owned());
            let edited = pen.world.reading(move || {
                let made = replica.edit(|living| work.make(living, &actor, (time, &word)));
                (replica, made)
            });
            let (mut replica, made) = edited.await?;
            let made = match made {
                Ok(made) => made,
                Err(EditError::Broken(why)) => return Err(broken(document, &why.to_string())),
                Err(error @ EditError::Panicked(_)) => return Err(refused(&error).into()),
                Err(error) => {
                    *current = Some(replica);
                    return Err(refused(&error).into());
                }
            };
            if made.is_empty() {
                let version = Version(replica.living().heads());
                *current = Some(replica);
                return Ok((version, false));
            }
            if let Err(fault) = replica.adopt(&made) {
                return Err(broken(document, &fault.to_string()));
            }
            let parts = made.into_iter().map(|Made { hash, bytes }| DocumentPart::Change { hash: hash.0, bytes });
            if planted("shows_before_the_disk") {
                let version = Version(replica.living().heads());
                *current = Some(replica);
                drop(current);
                for parts in portions(parts) {
                    pen.write(self.space, document, Some(log.incarnation), parts).await?;
                }
                return Ok((version, true));
            }
            let mut written = Ok(());
            for parts in portions(parts) {
                written = pen.write(self.space, document, Some(log.incarnation), parts).await;
                if written.is_err() {
                    break;
                }
            }
            match written {
                Ok(()) => {
                    let version = Version(replica.living().heads());
                    *current = Some(replica);
                    return Ok((version, true));
                }
                // this node's log has another incarnation, and the changes another actor
                Err(NodeError::Stopping(StopError::NoAnswer)) if pen.log(self.space) != log => {}
                Err(error) => return Err(error),
            }
        }
        Err(StopError::NoAnswer.into())
    }
}

/// The same error for another caller.
fn again(error: &NodeError) -> NodeError {
    match error {
        NodeError::Document(error) => error.clone().into(),
        NodeError::Refused(error) => error.clone().into(),
        NodeError::Stopping(error) => error.clone().into(),
        NodeError::DiskFull(error) => NodeError::DiskFull(*error),
        NodeError::FileGone(error) => NodeError::FileGone(*error),
        _ => StopError::NoAnswer.into(),
    }
}

/// The same edits, where letters that were typed one after another, or each before the last one, are one insertion. The library
/// takes a thousand insertions a thousand times as long as one of a thousand letters, and a change has no room for all of them.
pub(super) fn joined(edits: impl IntoIterator<Item = Edit>) -> Vec<Edit> {
    let mut all: Vec<Edit> = Vec::new();
    for edit in edits {
        if let Edit::Splice { path, at, delete: 0, insert, at_heads: None } = &edit
            && let Some(Edit::Splice { path: to, at: from, insert: before, at_heads: None, .. }) = all.last_mut()
            && path == to
            && before.len() + insert.len() <= JOINED_BYTES_MAX
        {
            if at == from {
                before.insert_str(0, insert);
                continue;
            }
            if at.checked_sub(*from) == Some(before.chars().count()) {
                before.push_str(insert);
                continue;
            }
        }
        all.push(edit);
    }
    all
}

/// Parts for one entry each time, in their order.
pub(super) fn portions(parts: impl IntoIterator<Item = DocumentPart>) -> Vec<Vec<DocumentPart>> {
    let (mut portions, mut portion, mut bytes) = (Vec::new(), Vec::new(), 0);
    for part in parts {
        let more = part.payload_bytes();
        if !portion.is_empty() && (bytes + more > FILL_BYTES || portion.len() >= DOCUMENT_PARTS_MAX) {
            portions.push(std::mem::take(&mut portion));
            bytes = 0;
        }
        bytes += more;
        portion.push(part);
    }
    if !portion.is_empty() {
        portions.push(portion);
    }
    portions
}

fn refused(error: &EditError) -> DocumentError {
    let said = error.to_string();
    match error {
        EditError::NoSuchPath { .. } | EditError::UnknownHeads(_) => DocumentError::Missing(said),
        EditError::TooLarge { .. } | EditError::DocumentFull { .. } => DocumentError::TooLarge(said),
        _ => DocumentError::Edit(said),
    }
}
