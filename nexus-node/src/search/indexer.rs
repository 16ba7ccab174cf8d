use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::disk::{DiskIndex, guarded};
use super::tail::{Forms, Looked, Next, Room};
use super::{Kept, Scrub, Scrubbed, Search, TAIL_MAX};
use crate::NodeError;
use crate::follow::{Source, Vantage};
use crate::ledger::rows::Eno;

/// Memories written to disk at a time, and bytes of their words: a bound on memory.
const PASS: Room = Room { memories: 2_000, bytes: 4 << 20 };
/// How long changes gather before they are looked at.
const GATHER: Duration = Duration::from_millis(500);
/// How long few changes are kept in memory, where searches find them, too. A write costs some milliseconds of a processor,
/// however little it writes.
const FEW_WAIT: Duration = Duration::from_secs(10);
/// So many changed memories are no few, nor are so many bytes of their words.
const FEW: Room = Room { memories: 1_000, bytes: PASS.bytes };
/// The time without changes after which the writer is dropped.
const REST_AFTER: Duration = Duration::from_secs(5);
/// The entries that the index may lack and still give way to other work. Each holds one memory, or a batch.
const BEHIND_MAX: Eno = 10_000;
/// The entries that it may lack to give way again.
const BEHIND_LITTLE: Eno = BEHIND_MAX / 2;

/// Brings the index on disk up to the committed state again and again, until the node stops.
///
/// The disk is written when the processors have nothing better to do, as whoever asks has the tail. An index that is far
/// behind gives way no more.
pub(crate) async fn keep_up(search: Arc<Search>, mut source: Source) {
    if search.disk.is_none() {
        return;
    }
    let wished = search.wished.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut wished) = wished else { return };
    let mut pace = Pace::default();
    loop {
        source.mark_seen();
        match pass(&search, &source, &mut pace).await {
            Ok(0) => {}
            Ok(_) => {
                let Some(until) = pace.few_until else { continue };
                tokio::select! {
                    Some(wish) = wished.recv() => scrub(&search, &source, &mut pace, wish).await,
                    moved = tokio::time::timeout_at(until, source.moved()) => match moved {
                        Ok(true) => tokio::time::sleep(GATHER).await,
                        Ok(false) => return,
                        Err(_) => {}
                    },
                }
                continue;
            }
            Err(NodeError::Stopping(_)) => return,
            Err(error) => tracing::warn!(%error, "the search index stands still"),
        }
        let moved = tokio::select! {
            Some(wish) = wished.recv() => {
                scrub(&search, &source, &mut pace, wish).await;
                continue;
            }
            moved = tokio::time::timeout(REST_AFTER, source.moved()) => moved,
        };
        match moved {
            Ok(true) => tokio::time::sleep(GATHER).await,
            Ok(false) => return,
            Err(_) => {
                let at = search.clone();
                let _ = source.world.blocking(move || at.rest()).await;
                tokio::select! {
                    Some(wish) = wished.recv() => scrub(&search, &source, &mut pace, wish).await,
                    goes_on = source.more(GATHER) => if !goes_on { return },
                }
            }
        }
    }
}

/// Brings the index up to an entry, and has the words of what was deleted until then leave the disk.
async fn scrub(search: &Arc<Search>, source: &Source, pace: &mut Pace, Scrub { upto, done }: Scrub) {
    let scrubbed = async {
        let disk = || search.disk.as_ref().map(Kept::index);
        pace.at_once = true;
        while disk().is_some_and(|disk| disk.covered() < upto) && pass(search, source, pace).await? > 0 {}
        let (at, is_behind) = (search.clone(), disk().is_some_and(|disk| disk.covered() < upto));
        let scrubbed = source.world.background(move || at.scrub_disk()).await??;
        Ok(Scrubbed { is_clean: scrubbed.is_clean && !is_behind, ..scrubbed })
    };
    let scrubbed = scrubbed.await;
    pace.at_once = false;
    // whoever wished it may be gone
    let _ = done.send(scrubbed);
}

/// The pace of an index.
#[derive(Default)]
struct Pace {
    /// Whether it gives way no more.
    hurries: bool,
    /// Until when few changes stay in memory, if some do.
    few_until: Option<Instant>,
    /// Whether the disk is written now, however few they are.
    at_once: bool,
}

impl Pace {
    /// Whether so many changed memories, with so many bytes of words, stay in memory for now.
    fn keeps(&mut self, memories: usize, bytes: usize, now: Instant) -> bool {
        let until = self.few_until.take().unwrap_or(now + FEW_WAIT);
        let keeps = FEW.beside(memories, bytes).is_some() && now < until && !self.at_once;
        self.few_until = keeps.then_some(until);
        keeps
    }
}

/// Moves some changes to disk. Returns the number of entries that the index lacks then.
async fn pass(search: &Arc<Search>, source: &Source, pace: &mut Pace) -> Result<Eno, NodeError> {
    // searches wait for the tail while it is held, so work that gives way takes it for moments alone
    loop {
        let (at, reading) = (search.clone(), source.vantage());
        let read = move || at.read_on(&reading);
        let next = if pace.hurries { source.world.blocking(read).await } else { source.world.background(read).await };
        let Some(next) = next?? else { break };
        let at = search.clone();
        source.world.blocking(move || at.tail().take_in(next)).await?;
    }
    // the disk and the tail share their words
    let at = search.clone();
    let (memories, bytes, lacks) = source.world.blocking(move || at.kept()).await?;
    if lacks > 0 && pace.keeps(memories, bytes, Instant::now()) {
        return Ok(lacks);
    }
    pace.few_until = None;
    let (at, reading) = (search.clone(), source.vantage());
    let Some(stock) = source.world.blocking(move || at.stock(&reading)).await?? else { return Ok(0) };
    let (behind, covers) = (stock.last.saturating_sub(stock.covers), stock.covers);
    if covers <= stock.disk.covered() {
        return Ok(behind);
    }
    let hurried = pace.hurries;
    pace.hurries = is_hurried(hurried, behind, bytes);
    if hurried != pace.hurries {
        // the writer's threads have the priority of the one that made it
        let at = search.clone();
        source.world.blocking(move || at.rest()).await?;
    }
    let (at, disk) = (search.clone(), stock.disk.clone());
    let write = move || at.write(stock);
    let written = if pace.hurries { source.world.blocking(write).await } else { source.world.background(write).await };
    match written?? {
        Written::Anew => Ok(behind.max(1)),
        Written::All => {
            let at = search.clone();
            source.world.blocking(move || at.prune(&disk, covers)).await?;
            Ok(behind)
        }
    }
}

/// Whether an index that lacks so many entries gives way no more. Nor does it beside a tail with so many bytes that searches
/// put no more there: they do not see the rest.
const fn is_hurried(was: bool, behind: Eno, bytes: usize) -> bool {
    let (behind_max, bytes_max) =
        if was { (BEHIND_LITTLE, TAIL_MAX.bytes / 2) } else { (BEHIND_MAX, TAIL_MAX.bytes - 1) };
    behind > behind_max || bytes > bytes_max
}

/// Changes on their way to the disk.
struct Stock {
    disk: Arc<DiskIndex>,
    changed: Forms,
    /// The last entry that they include.
    covers: Eno,
    /// The last entry that there is.
    last: Eno,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    All,
    /// The index was damaged, and begins anew.
    Anew,
}

impl Search {
    /// Reads some changes that follow on the tail, unless there are enough for a pass.
    fn read_on(&self, from: &Vantage) -> Result<Option<Next>, NodeError> {
        let (seen, wanted) = {
            let tail = self.tail();
            (tail.seen(), tail.wants(PASS))
        };
        let Some(wanted) = wanted else { return Ok(None) };
        from.read(|snapshot, reader| Next::read(snapshot, reader, seen, wanted, &mut Looked::default()))
    }

    /// The changes in memory, bytes of their words, and the entries that the index on disk lacks of those that it has.
    fn kept(&self) -> (usize, usize, Eno) {
        let covered = self.disk.as_ref().map_or(0, |disk| disk.index().covered());
        let tail = self.tail();
        (tail.held(), tail.bytes(), tail.seen().saturating_sub(covered))
    }

    /// The changes that the disk lacks.
    fn stock(&self, from: &Vantage) -> Result<Option<Stock>, NodeError> {
        let Some(disk) = self.disk.as_ref().map(Kept::index) else { return Ok(None) };
        let (changed, covers) = self.tail().take_stock();
        Ok(Some(Stock { disk, changed, covers, last: from.last_eno()? }))
    }

    /// Writes changes to disk.
    fn write(&self, Stock { disk, changed, covers, .. }: Stock) -> Result<Written, NodeError> {
        let Err(error) = guarded(|| disk.update(changed, covers)) else { return Ok(Written::All) };
        // a full disk is no damage: what is there is searched on
        let Some(kept) = self.disk.as_ref().filter(|_| disk.is_damaged()) else {
            disk.rest();
            return Err(error.into());
        };
        self.renew(kept, &disk, &error)?;
        Ok(Written::Anew)
    }

    /// Drops from the tail what the disk includes, unless the index began anew since.
    fn prune(&self, written: &Arc<DiskIndex>, covers: Eno) {
        let mut tail = self.tail();
        if self.disk.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.index(), written)) {
            tail.prune(covers);
        }
    }

    /// Has the words of deleted documents leave the disk.
    fn scrub_disk(&self) -> Result<Scrubbed, NodeError> {
        let Some(kept) = &self.disk else { return Ok(Scrubbed { is_clean: true, ..Scrubbed::default() }) };
        let disk = kept.index();
        match guarded(|| disk.scrub(&kept.dir)) {
            Ok(scrubbed) => Ok(scrubbed),
            Err(error) => {
                if disk.is_damaged() {
                    self.renew(kept, &disk, &error)?;
                }
                Err(error.into())
            }
        }
    }

    fn rest(&self) {
        if let Some(disk) = &self.disk {
            disk.index().rest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn few_changes_are_written_after_a_while_and_many_at_once() {
        let mut pace = Pace::default();
        let begun = Instant::now();
        let mut at = |seconds, memories, bytes| pace.keeps(memories, bytes, begun + Duration::from_secs(seconds));
        let Room { memories: many, bytes: much } = FEW;
        let looks = [
            (0, 1, 9),
            (9, many - 1, 9),
            (10, many - 1, 9),
            (11, 1, 9),
            (12, many, 9),
            (20, 1, 9),
            (21, 2, much),
            (30, 2, much - 1),
            (40, 2, 9),
        ];
        let kept = looks.map(|(seconds, memories, bytes)| at(seconds, memories, bytes));
        assert_eq!(kept, [true, true, false, true, false, true, false, true, false]);
    }

    /// promise: Recall | The index of words gives way to a load, and no more once it is far behind
    #[test]
    fn an_index_far_behind_gives_way_no_more_until_it_has_half_of_that() {
        let mut hurries = false;
        let mut at = |(behind, bytes)| {
            hurries = is_hurried(hurries, behind, bytes);
            hurries
        };
        let by_entries = [0, BEHIND_MAX, BEHIND_MAX + 1, BEHIND_LITTLE + 1, BEHIND_LITTLE, BEHIND_MAX];
        assert_eq!(by_entries.map(|behind| at((behind, 0))), [false, false, true, true, false, false]);
        let full = TAIL_MAX.bytes;
        let by_bytes = [full - 1, full, full / 2 + 1, full / 2, full - 1];
        assert_eq!(by_bytes.map(|bytes| at((0, bytes))), [false, true, true, false, false]);
    }
}
