//! Blobs from other members: the shell around [`Fetch`], which moves parts between streams and the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use nexus_blobs::{Ask, BlobHash, Fetch, FetchEnd, IN_FLIGHT_MAX, PartSet, SliceError};
use nexus_identity::Did;
use nexus_identity::plants::planted;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::directory::too_large;
use super::shelf::Partial;
use super::wire::{self, Body};
use super::{BlobChange, BlobInfo, BlobProgress, Blobs, Budget, FETCHED_MAX, Fetching, Seen, Wanted, missing, stopped};
use crate::error::NodeError;

/// The pause before a member that lacks a blob is asked for it again.
const WANT_AGAIN: Duration = Duration::from_secs(5);
/// The pause before a fetch that waits for others looks whether it is its turn.
const TURN_EVERY: Duration = Duration::from_millis(500);
/// The time in which a member tells whether it has a blob, and in which it sends a part.
pub(super) const WANT_WITHIN: Duration = Duration::from_secs(10);
const PART_WITHIN: Duration = Duration::from_secs(600);
/// The time without a part after which a fetch ends, though somebody has the blob. A longer wait of the caller counts.
const NOTHING_CAME: Duration = Duration::from_secs(120);
/// The time after which a fetch ends if all that have the blob say that parts of it are damaged, and all others lack it. A
/// shorter wait of the caller counts.
const DAMAGED_ALONE: Duration = Duration::from_secs(1);
/// The parts that are noted together, once they are on the disk: 16 MiB. As much is fetched again after a crash.
const NOTE_PARTS: u64 = 64;

/// The end of something that a fetch waits for.
enum Came {
    /// The word of a member about the blob.
    Said(Did, Said),
    Part(Ask<Did>, PartEnd),
    Noted(Result<(), NodeError>),
}

/// The word of a member about a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has the blob, of so many bytes.
    Whole(u64),
    /// It has the blob, of so many bytes, and knows that parts of it are damaged.
    Damaged(u64),
    /// It lacks the blob, or did not answer.
    Lacks,
}

enum PartEnd {
    Here,
    Lied,
    Failed,
    /// The member says that this part of its copy is damaged.
    Damaged,
    /// The disk of this node is at fault.
    Disk(NodeError),
}

/// A fetch that runs.
struct Running {
    blobs: Blobs,
    hash: BlobHash,
    /// Held until all parts that came are noted.
    place: Option<Fetching>,
    fetch: Fetch<Did>,
    partial: Arc<Partial>,
    waiting: FuturesUnordered<BoxFuture<'static, Option<Came>>>,
    /// The asks on their way, to be cancelled when they are not needed any more.
    asks: BTreeMap<u64, AbortHandle>,
    /// The connected members that are asked for the blob, or answered; with the time at which one that lacks it is asked
    /// again.
    wanted: BTreeMap<Did, Duration>,
    /// The last time that a part came, or that somebody said it has the blob.
    last: Duration,
    noted: u64,
    is_noting: bool,
    /// The number of members that have not told yet whether they have it.
    wants: usize,
    /// The largest size that is taken now.
    most: u64,
    /// The same for each of those who wait.
    bounds: watch::Receiver<Vec<u64>>,
    /// The bytes that it shares with others, until its size is proven and counted.
    budget: Option<Arc<Budget>>,
    /// The members that say that their copy is damaged.
    damaged: BTreeSet<Did>,
    /// Held while somebody has the blob: those that are waited for keep no others from theirs.
    permit: Option<OwnedSemaphorePermit>,
}

impl Blobs {
    /// Fetches a blob that is not here.
    pub(super) async fn run_fetch(
        &self,
        place: Fetching,
        mut bounds: watch::Receiver<Vec<u64>>,
        wanted: Wanted,
        told: &(impl Fn(&BlobProgress) + Send),
    ) -> Result<BlobInfo, NodeError> {
        let hash = place.hash;
        let now = self.here().world.wall();
        let partial = Arc::new(self.blocking(move |blobs| blobs.here().shelf.begin(hash, now)).await?);
        let fetch = partial.had.clone().map_or_else(Fetch::new, Fetch::resume);
        let Wanted { wait, holders, budget, .. } = wanted;
        let mut running = Running {
            blobs: self.clone(),
            hash,
            place: Some(place),
            noted: fetch.parts().map_or(0, PartSet::count),
            fetch,
            partial,
            waiting: FuturesUnordered::new(),
            asks: BTreeMap::new(),
            wanted: BTreeMap::new(),
            last: self.here().world.now(),
            is_noting: false,
            wants: 0,
            most: largest(&mut bounds),
            bounds,
            budget,
            damaged: BTreeSet::new(),
            permit: None,
        };
        running.check().await?;
        running.count_size()?;
        for (holder, size) in holders {
            running.wanted.insert(holder, Duration::MAX);
            running.offered(holder, Said::Whole(size));
        }
        let mut contacts = self.here().sessions.contacts();
        loop {
            if running.fetch.end() == Some(FetchEnd::Whole) {
                running.show(told);
                return running.finish().await;
            }
            contacts.mark_unchanged();
            let now = self.here().world.now();
            running.ask(now);
            running.show(told);
            let ends = running.last + running.patience(wait);
            if ends <= now {
                return running.give_up(wait);
            }
            let wakes = running.wakes_at(now).min(ends);
            tokio::select! {
                Some(came) = running.waiting.next() => if let Some(came) = came
                    && let Err(error) = running.hear(came)
                {
                    return Err(error);
                },
                changed = contacts.changed() => if changed.is_err() { return Err(stopped()) },
                Ok(()) = running.bounds.changed() => running.bound_anew()?,
                () = self.here().world.sleep_until(wakes) => {}
            }
        }
    }

    async fn size_at(self, peer: Did, hash: BlobHash) -> Option<Came> {
        let said = self.said_at(peer, &[hash]).await;
        Some(Came::Said(peer, said.and_then(|said| said.first().copied()).unwrap_or(Said::Lacks)))
    }

    /// The sizes that a member says these blobs have, each `None` if it lacks the blob or a part of it; `None` if it does not
    /// answer. [`wire::WANTED_MAX`] are asked for at most.
    pub(super) async fn sizes_at(&self, peer: Did, hashes: &[BlobHash]) -> Option<Vec<Option<u64>>> {
        let size = |said: Said| if let Said::Whole(size) = said { Some(size) } else { None };
        Some(self.said_at(peer, hashes).await?.into_iter().map(size).collect())
    }

    async fn said_at(&self, peer: Did, hashes: &[BlobHash]) -> Option<Vec<Said>> {
        let all = hashes.to_vec();
        // a member that may not have a blob is not told its hash either
        let named = self.blocking(move |blobs| Ok((blobs.here().may_have)(&peer, &all)?)).await.ok()?;
        let named: Vec<BlobHash> = named.into_iter().collect();
        let said = if named.is_empty() { Vec::new() } else { self.ask_for(peer, &named).await? };
        let said: BTreeMap<BlobHash, Said> = named.into_iter().zip(said).collect();
        Some(hashes.iter().map(|hash| said.get(hash).copied().unwrap_or(Said::Lacks)).collect())
    }

    async fn ask_for(&self, peer: Did, hashes: &[BlobHash]) -> Option<Vec<Said>> {
        let want = wire::Want { hashes: hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect() };
        let answer = self.0.asker.ask(peer, Body::Want(want).into(), WANT_WITHIN).await.ok()?;
        let Some(Body::Has(has)) = answer.body else { return None };
        let said = (has.sizes.len() == hashes.len()).then_some(has.sizes)?;
        let damaged = has.damaged.into_iter().chain(std::iter::repeat(0));
        let said =
            said.into_iter().zip(damaged).map(|(size, damaged)| match (size.checked_sub(1), damaged.checked_sub(1)) {
                (Some(size), _) => Said::Whole(size),
                (None, Some(size)) => Said::Damaged(size),
                (None, None) => Said::Lacks,
            });
        Some(said.collect())
    }

    /// The members that can be asked now.
    pub(super) fn able(&self) -> BTreeSet<Did> {
        let here = self.here();
        here.sessions.that_serve(wire::ROOM).into_iter().filter(|peer| here.identity.is_member(peer)).collect()
    }

    async fn part_of(self, hash: BlobHash, ask: Ask<Did>, partial: Arc<Partial>) -> Came {
        let question = Body::Part(wire::Part { hash: hash.as_bytes().to_vec(), part: ask.part.0 }).into();
        let sent = match self.0.asker.ask(ask.peer, question, PART_WITHIN).await.map(|answer| answer.body) {
            Ok(Some(Body::Slice(sent))) => sent,
            Ok(Some(Body::Lacks(lacks))) if lacks.damaged => return Came::Part(ask, PartEnd::Damaged),
            Ok(Some(Body::Lacks(_))) | Err(_) => return Came::Part(ask, PartEnd::Failed),
            Ok(_) => return Came::Part(ask, PartEnd::Lied),
        };
        let taken = self.blocking(move |blobs| {
            blobs.room()?;
            match partial.take(ask.shape, ask.part, &sent) {
                Ok(()) => {
                    blobs.here().headroom.wrote(sent.len());
                    Ok(true)
                }
                Err(SliceError::Io(error)) => Err(blobs.here().shelf.fault(SliceError::Io(error))),
                Err(_) => Ok(false),
            }
        });
        Came::Part(
            ask,
            match taken.await {
                Ok(true) => PartEnd::Here,
                Ok(false) => PartEnd::Lied,
                Err(error) => PartEnd::Disk(error),
            },
        )
    }
}

fn largest(bounds: &mut watch::Receiver<Vec<u64>>) -> u64 {
    bounds.borrow_and_update().iter().copied().max().unwrap_or_default()
}

impl Running {
    /// Asks all that can be asked now.
    fn ask(&mut self, now: Duration) {
        let able = self.blobs.able();
        let gone: Vec<Did> = self.wanted.keys().filter(|peer| !able.contains(peer)).copied().collect();
        for peer in gone {
            self.wanted.remove(&peer);
            self.damaged.remove(&peer);
            self.fetch.gone(peer);
        }
        for peer in able {
            if self.wanted.get(&peer).is_none_or(|again| *again <= now) {
                self.wanted.insert(peer, Duration::MAX);
                self.wants += 1;
                self.waiting.push(self.blobs.clone().size_at(peer, self.hash).boxed());
            }
        }
        if self.fetch.end().is_some() {
            self.permit = None;
        } else if self.permit.is_none() {
            self.permit = self.blobs.0.fetching.clone().try_acquire_owned().ok();
            self.last = now;
        }
        // those that have something to fetch share the room on the way
        let fetches = FETCHED_MAX - self.blobs.0.fetching.available_permits();
        let share = IN_FLIGHT_MAX / fetches.max(1);
        let asks = if self.permit.is_some() { self.fetch.asks(share, now) } else { Vec::new() };
        for ask in asks {
            let (handle, registration) = AbortHandle::new_pair();
            self.asks.insert(ask.no, handle);
            let part = self.blobs.clone().part_of(self.hash, ask, self.partial.clone());
            self.waiting.push(Abortable::new(part, registration).map(Result::ok).boxed());
        }
    }

    fn wakes_at(&self, now: Duration) -> Duration {
        let again = self.wanted.values().copied().min().unwrap_or(Duration::MAX);
        // a member that connects tells its rooms a little later than that it is there
        let again = again.min(now + if self.has_turn() { WANT_AGAIN } else { TURN_EVERY });
        self.fetch.wakes_at(now).map_or(again, |wakes| wakes.min(again))
    }

    /// Whether it may ask for parts, or has nobody to ask.
    fn has_turn(&self) -> bool {
        self.permit.is_some() || self.fetch.end().is_some()
    }

    /// The time for which it goes on while nothing comes.
    fn patience(&self, wait: Duration) -> Duration {
        match self.fetch.end() {
            // it may be in line behind others for long
            None if self.permit.is_none() => Duration::from_secs(86_400),
            None => wait.max(NOTHING_CAME),
            Some(_) if self.wants > 0 => wait.max(WANT_WITHIN),
            // all others have told that they lack it
            Some(_) if !self.damaged.is_empty() => wait.min(DAMAGED_ALONE),
            Some(_) => wait,
        }
    }

    fn hear(&mut self, came: Came) -> Result<(), NodeError> {
        let now = self.blobs.here().world.now();
        match came {
            Came::Said(peer, said) => {
                self.wants -= 1;
                self.offered(peer, said);
            }
            Came::Part(ask, end) => {
                self.asks.remove(&ask.no);
                self.end_ask(ask, end, now)?;
            }
            Came::Noted(noted) => {
                self.is_noting = false;
                noted?;
            }
        }
        let parts = self.fetch.parts().filter(|parts| parts.count() >= self.noted + NOTE_PARTS && !self.is_noting);
        if let Some(parts) = parts.cloned() {
            (self.noted, self.is_noting) = (parts.count(), true);
            self.waiting.push(self.note(parts).map(|noted| Some(Came::Noted(noted))).boxed());
        }
        Ok(())
    }

    /// A member told whether it has the blob. Its word about damage counts for its own copy alone.
    fn offered(&mut self, peer: Did, said: Said) {
        let now = self.blobs.here().world.now();
        let (size, is_damaged) = match said {
            Said::Whole(size) => (Some(size), false),
            Said::Damaged(size) => (Some(size), true),
            Said::Lacks => (None, false),
        };
        if is_damaged {
            self.damaged.insert(peer);
        } else if self.damaged.remove(&peer) && size.is_some() {
            self.fetch.mended(peer);
        }
        match size.filter(|size| *size <= self.most) {
            Some(size) => {
                if is_damaged {
                    // it may be mended meanwhile
                    self.wanted.insert(peer, now + WANT_AGAIN);
                }
                // a member that comes and goes, and sends nothing, is not waited for again and again
                if self.fetch.peers().all(|known| known.peer != peer) {
                    self.last = now;
                }
                self.fetch.offer(peer, size, now);
            }
            None => {
                let again = if planted("asks_once") { Duration::MAX } else { now + WANT_AGAIN };
                self.wanted.insert(peer, again);
            }
        }
    }

    /// Takes what those who wait now take at most. Asks those again that had a larger one, or lacked it.
    fn bound_anew(&mut self) -> Result<(), NodeError> {
        let most = largest(&mut self.bounds);
        if std::mem::replace(&mut self.most, most) < most {
            self.wanted.values_mut().filter(|again| **again < Duration::MAX).for_each(|again| *again = Duration::ZERO);
        }
        self.check_bound()
    }

    /// Whoever took as much may be gone.
    fn check_bound(&self) -> Result<(), NodeError> {
        match self.fetch.parts().map(|parts| parts.shape().size()) {
            Some(size) if size > self.most => Err(too_large("a blob", size, self.most)),
            _ => Ok(()),
        }
    }

    /// Counts the size among the bytes that may come, once it is proven.
    fn count_size(&mut self) -> Result<(), NodeError> {
        let Some(size) = self.fetch.parts().map(|parts| parts.shape().size()) else { return Ok(()) };
        match self.budget.take() {
            Some(budget) if !budget.take(size) => Err(too_large("a file of the directory", size, budget.left())),
            _ => Ok(()),
        }
    }

    fn end_ask(&mut self, ask: Ask<Did>, end: PartEnd, now: Duration) -> Result<(), NodeError> {
        match end {
            PartEnd::Here => {
                self.last = now;
                let came = ask.shape.bytes(ask.part);
                self.blobs.0.tally.fetched_bytes.fetch_add(came.end - came.start, Relaxed);
                for moot in self.fetch.came(ask, now) {
                    if let Some(handle) = self.asks.remove(&moot.no) {
                        handle.abort();
                    }
                }
                self.check_bound()?;
                self.count_size()?;
            }
            PartEnd::Lied => {
                tracing::warn!(peer = %ask.peer.short(), blob = %self.hash.short(), "sent something else than a part of the blob");
                self.blobs.0.tally.bad_parts.fetch_add(1, Relaxed);
                self.fetch.lied(ask);
            }
            PartEnd::Damaged => {
                self.damaged.insert(ask.peer);
                self.fetch.lacks(ask);
                self.wanted.insert(ask.peer, now + WANT_AGAIN);
            }
            PartEnd::Failed => self.fetch.failed(ask, now),
            PartEnd::Disk(error) => return Err(error),
        }
        Ok(())
    }

    /// Tells all who wait for the blob how far it is.
    fn show(&self, told: &(impl Fn(&BlobProgress) + Send)) {
        let progress = self.progress();
        told(&progress);
        if let Some(place) = &self.place {
            place.seen.send_replace(Seen { progress, somebody: self.fetch.end() != Some(FetchEnd::Starved) });
        }
    }

    fn progress(&self) -> BlobProgress {
        let parts = self.fetch.parts();
        BlobProgress {
            size: parts.map(|parts| parts.shape().size()),
            bytes: parts.map_or(0, PartSet::bytes),
            sources: self.fetch.peers().collect(),
            damaged: self.damaged.iter().copied().collect(),
        }
    }

    fn note(&self, parts: PartSet) -> impl Future<Output = Result<(), NodeError>> + Send + 'static {
        let (blobs, partial) = (self.blobs.clone(), self.partial.clone());
        let now = self.blobs.here().world.wall();
        async move { blobs.blocking(move |_| partial.note(&parts, now)).await }
    }

    /// Checks the parts that an earlier fetch left: the disk may have lost some of them.
    async fn check(&mut self) -> Result<(), NodeError> {
        let Some(had) = self.fetch.parts().cloned() else { return Ok(()) };
        let partial = self.partial.clone();
        let damaged = self.blobs.blocking(move |_| partial.damaged(&had)).await?;
        damaged.into_iter().for_each(|part| self.fetch.damaged(part));
        Ok(())
    }

    async fn finish(mut self) -> Result<BlobInfo, NodeError> {
        // a note that is being written would come after the end
        while self.is_noting {
            match self.waiting.next().await {
                Some(Some(Came::Noted(noted))) => {
                    self.is_noting = false;
                    noted?;
                }
                Some(_) => {}
                None => return Err(stopped()),
            }
        }
        let Some(shape) = self.fetch.parts().map(PartSet::shape) else { return Err(missing(self.hash)) };
        let (hash, partial) = (self.hash, self.partial.clone());
        let now = self.blobs.here().world.wall();
        let finish = move |blobs: &Blobs| {
            let finished = blobs.here().shelf.finish(&partial, shape, now);
            blobs.content_moved();
            if finished.is_ok() {
                blobs.forget_damage(hash);
            }
            finished
        };
        self.blobs.blocking(finish).await?;
        self.noted = u64::MAX;
        self.blobs.0.fetched.notify_one();
        self.blobs.tell(hash, BlobChange::Fetched);
        Ok(BlobInfo { hash, size: shape.size() })
    }

    /// Ends without the blob. The parts that came stay for the next fetch.
    fn give_up(self, wait: Duration) -> Result<BlobInfo, NodeError> {
        let identity = &self.blobs.here().identity;
        let is_damaged_here = self.blobs.damaged().contains_key(&self.hash);
        if is_damaged_here || !self.damaged.is_empty() {
            let name =
                |did: &Did| identity.name_of(did).map_or_else(|| did.to_string(), |name| format!("{name} ({did})"));
            let own = is_damaged_here.then(|| format!("this node ({})", identity.me()));
            let holders = own.into_iter().chain(self.damaged.iter().map(name)).collect();
            return Err(NodeError::BlobDamaged { hash: self.hash.to_string(), holders });
        }
        let somebody = self.fetch.end().is_none();
        Err(if somebody { NodeError::TimedOut(wait.max(NOTHING_CAME)) } else { missing(self.hash) })
    }
}

impl Drop for Running {
    /// The caller is gone. The parts that came stay for the next fetch, which waits for the note.
    fn drop(&mut self) {
        let (Some(place), Some(parts)) = (self.place.take(), self.fetch.parts()) else { return };
        if parts.count() > self.noted {
            let note = self.note(parts.clone());
            let noting = async move {
                if let Err(error) = note.await {
                    tracing::warn!(blob = %place.hash.short(), %error, "the parts that came are not noted");
                }
                drop(place);
            };
            self.blobs.here().world.spawn("blob note", noting);
        }
    }
}
