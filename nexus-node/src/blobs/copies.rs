//! Copies that others keep for this node, and those that it keeps for others.
//!
//! [`Copies`] decides who is asked. Marks beside the content remember who has said so, and for whom a blob is kept here. A
//! blob that is kept for a member counts against what that member may have kept here. It stays until the member lets go of
//! it, or is none any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use nexus_blobs::{BlobHash, COPIES_MAX, Copies, CopyStep, Part, Shape};
use nexus_identity::plants::planted;
use nexus_identity::{Did, Role};
use tokio::sync::{Notify, Semaphore};

use super::directory::{Extent, too_large};
use super::evicting::rank;
use super::keeping::Gate;
use super::shelf::{Mark, RACKS};
use super::wire::{self, Body, KeptState};
use super::{BlobEntry, Blobs, missing};
use crate::error::{InputError, NodeError};
use crate::world::random;

/// The longest wait for an answer.
const WITHIN: Duration = Duration::from_secs(30);
/// The time between two looks at all copies.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// The time between two looks while copies are on their way: it doubles up to the longest.
const LOOK_SOON: Duration = Duration::from_secs(1);
const LOOK_SOON_MAX: Duration = Duration::from_secs(30);
/// The time between two looks while there are too few and none is on its way.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// The time in which further changes may come.
const GATHER: Duration = Duration::from_secs(1);
/// The most blobs that are fetched for others at a time, and for one of them. Whoever has that many come slowly keeps nobody
/// else from theirs.
const FETCHED_MAX: usize = 32;
const FETCHED_FOR_EACH: usize = 4;
/// The most blobs of one member that are fetched or wait for that.
const COMING_MAX: usize = 64;
/// The bytes that each file counts beside its content: it takes a place on the disk, and so does its mark.
const FILE_COST: u64 = 8 << 10;
/// Of so many holders that say again that they keep a copy, one has to show it.
const SHOWN_OF: u8 = 8;
/// The time for which a blob is looked for that somebody wants to be kept.
const FETCH_WAIT: Duration = Duration::from_secs(120);

/// The copies of a blob that a node has others keep.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobCopies {
    /// The number that is wanted, this node's among them.
    pub wanted: usize,
    /// The number that counts, this node's among them: of those who said within a week that they keep one.
    pub count: usize,
    /// The members that keep one, or did when they were heard of.
    pub holders: Vec<Did>,
}

/// The state of copies that is not on the disk.
pub(super) struct CopyDesk {
    /// Told when copies are wanted.
    pub(super) changed: Notify,
    /// The blobs of which others keep copies, once they were looked for.
    wanted: Mutex<Option<BTreeSet<BlobHash>>>,
    /// Those of which all holders are asked at the next look.
    asked_now: Mutex<BTreeSet<BlobHash>>,
    /// The bytes that are kept for each member, with those on their way, once they were counted.
    kept: Mutex<Option<BTreeMap<Did, u64>>>,
    /// The blobs that are fetched for others, each with what counts for it until it is here.
    coming: Mutex<Coming>,
    places: Semaphore,
    /// The places of the members for whom something comes.
    places_of: Mutex<BTreeMap<Did, Arc<Semaphore>>>,
}

type Coming = BTreeMap<(Did, BlobHash), Charge>;

/// The bytes that a blob counts for a member for whom it is kept, or was. It counts until it is removed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Charge {
    bytes: u64,
    /// Whether the member still wants it.
    wanted: bool,
}

impl Default for CopyDesk {
    fn default() -> Self {
        let (changed, places) = (Notify::new(), Semaphore::new(FETCHED_MAX));
        let (wanted, asked_now, kept, coming, places_of) = Default::default();
        Self { changed, wanted, asked_now, kept, coming, places, places_of }
    }
}

impl CopyDesk {
    /// The places in which blobs are fetched for a member.
    fn places_for(&self, peer: Did) -> Arc<Semaphore> {
        let mut places = locked(&self.places_of);
        // those of members for whom nothing comes
        places.retain(|_, places| Arc::strong_count(places) > 1);
        places.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(FETCHED_FOR_EACH))).clone()
    }
}

/// The text of the mark of a blob of which others keep copies: the wanted number, then a line for each holder.
fn to_text(copies: &Copies<Did>) -> String {
    let lines = copies.holders().map(|(holder, at)| format!("{holder} {at}\n"));
    format!("{}\n{}", copies.wanted(), lines.collect::<String>())
}

/// The copies in a mark. A line that is none counts as absent.
fn of_text(text: &str) -> Copies<Did> {
    let mut lines = text.lines();
    let mut copies = Copies::new(lines.next().and_then(|wanted| wanted.parse().ok()).unwrap_or(1));
    for (holder, at) in lines.filter_map(|line| line.split_once(' ')) {
        if let (Ok(holder), Ok(at)) = (holder.parse(), at.parse()) {
            copies.keeps(holder, at);
        }
    }
    copies
}

/// The text of the mark of a blob that is kept for others: a line for each with its bytes, and `-` if it let go of it.
fn charges_to_text(charges: &BTreeMap<Did, Charge>) -> String {
    let line = |(did, charge): (&Did, &Charge)| {
        let end = if charge.wanted { "" } else { " -" };
        format!("{did} {}{end}\n", charge.bytes)
    };
    charges.iter().map(line).collect()
}

/// The charges in a mark. A line that is none counts as absent.
fn charges_of_text(text: &str) -> BTreeMap<Did, Charge> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (did, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((did, Charge { bytes, wanted: words.next().is_none() }))
    };
    text.lines().filter_map(line).collect()
}

fn extent(entry: &BlobEntry) -> Extent {
    Extent { bytes: entry.size, files: entry.files.unwrap_or(0) }
}

/// The bytes that a copy counts.
const fn cost(extent: Extent) -> u64 {
    extent.files.saturating_add(1).saturating_mul(FILE_COST).saturating_add(extent.bytes)
}

/// A number below another one that nobody can foresee.
fn below(end: u64) -> u64 {
    u64::from_le_bytes(random()) % end.max(1)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Blobs {
    /// Has other members keep copies of a blob that is here, so that there are so many in all: 1 to 16. This node keeps its
    /// own. With 1 the others let go of theirs.
    ///
    /// It returns before they have them: [`BlobEntry::copies`] tells how many there are. A holder that was not heard of for a
    /// week is replaced.
    ///
    /// # Errors
    /// [`InputError::BlobCopies`]; [`ConflictError::FilesMissing`](crate::error::ConflictError::FilesMissing) if files of a directory
    /// are not here; [`NodeError::NotFound`]; those of the disk; [`NodeError::Stopping`].
    pub async fn want_copies(&self, hash: BlobHash, wanted: usize) -> Result<BlobEntry, NodeError> {
        if !(1..=COPIES_MAX).contains(&wanted) {
            return Err(InputError::BlobCopies { wanted, max: COPIES_MAX }.into());
        }
        let entry = self.blocking(move |blobs| {
            let gate = blobs.gate();
            let shelf = &blobs.here().shelf;
            if shelf.info(hash)?.is_none() {
                return Err(missing(hash));
            }
            blobs.check_files(hash)?;
            let mut copies = of_text(&shelf.marked(hash, Mark::Copies)?.unwrap_or_default());
            copies.want(wanted);
            blobs.note_copies(&gate, hash, &copies)?;
            blobs.entry_now(hash)
        });
        let entry = entry.await?;
        locked(&self.0.desk.asked_now).insert(hash);
        self.0.desk.changed.notify_one();
        Ok(entry)
    }

    fn note_copies(&self, _: &Gate<'_>, hash: BlobHash, copies: &Copies<Did>) -> Result<(), NodeError> {
        self.changed_what_is_kept();
        let text = (!copies.is_over()).then(|| to_text(copies));
        self.here().shelf.mark(hash, Mark::Copies, text.as_deref())?;
        if let Some(wanted) = &mut *locked(&self.0.desk.wanted) {
            match copies.is_over() {
                true => wanted.remove(&hash),
                false => wanted.insert(hash),
            };
        }
        Ok(())
    }

    /// The copies of a blob that others keep; `None` if none are wanted.
    pub(super) fn copies_of(&self, hash: BlobHash) -> Result<Option<BlobCopies>, NodeError> {
        let Some(text) = self.here().shelf.marked(hash, Mark::Copies)? else { return Ok(None) };
        let copies = of_text(&text);
        let count = copies.count(self.here().world.wall().as_ms());
        let holders = copies.holders().map(|(holder, _)| holder).collect();
        Ok(Some(BlobCopies { wanted: copies.wanted(), count, holders }))
    }

    /// The members for whom a blob is kept here.
    pub(super) fn kept_for(&self, hash: BlobHash) -> Result<Vec<Did>, NodeError> {
        let wanted = self.charges(hash)?.into_iter().filter(|(_, charge)| charge.wanted).map(|(did, _)| did);
        Ok(wanted.filter(|did| self.here().identity.is_member(did)).collect())
    }

    fn charges(&self, hash: BlobHash) -> Result<BTreeMap<Did, Charge>, NodeError> {
        Ok(charges_of_text(&self.here().shelf.marked(hash, Mark::ForOthers)?.unwrap_or_default()))
    }

    /// Charges are counted anew after something was removed.
    pub(super) fn count_charges_anew(&self, _: &Gate<'_>) {
        *locked(&self.0.desk.kept) = None;
    }

    /// Tells the holders of a blob that is removed here that they may let go of theirs, if they are in reach.
    pub(super) fn release(&self, hash: BlobHash, copies: &BlobCopies) {
        locked(&self.0.desk.wanted).as_mut().map(|wanted| wanted.remove(&hash));
        let (blobs, holders) = (self.clone(), copies.holders.clone());
        self.here().world.spawn("copies let go", async move {
            let none = Extent { bytes: 0, files: 0 };
            join_all(holders.into_iter().map(|holder| blobs.ask_about(hash, none, CopyStep::Release(holder), false)))
                .await;
        });
    }

    /// Looks after the copies that are wanted, until the node ends.
    pub(crate) async fn keep_copies(self) {
        let here = self.here();
        // it closes with the engine
        let (mut contacts, mut members) = (here.sessions.contacts(), here.identity.follow());
        let mut soon = LOOK_SOON;
        loop {
            let next = match self.look_after_copies().await {
                Ok(Duration::ZERO) => {
                    let next = soon;
                    soon = (soon * 2).min(LOOK_SOON_MAX);
                    next
                }
                Ok(next) => {
                    soon = LOOK_SOON;
                    next
                }
                Err(NodeError::Stopping(_)) => return,
                Err(error) => {
                    tracing::warn!(%error, "the copies of blobs were not looked after");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                changed = contacts.changed() => if changed.is_err() { return },
                changed = members.changed() => if changed.is_err() { return },
                () = self.0.desk.changed.notified() => {}
                () = here.world.sleep_until(here.world.now() + next) => {}
            }
            here.world.sleep_until(here.world.now() + GATHER).await;
        }
    }

    /// Asks whoever has to be asked about copies. Returns the time until the next look: none if some are on their way.
    async fn look_after_copies(&self) -> Result<Duration, NodeError> {
        let mut next = LOOK_EVERY;
        for hash in self.blocking(Self::with_copies).await? {
            next = next.min(self.tend(hash).await?);
        }
        Ok(next)
    }

    /// The blobs of which others keep copies, or are to.
    fn with_copies(&self) -> Result<BTreeSet<BlobHash>, NodeError> {
        if let Some(wanted) = &*locked(&self.0.desk.wanted) {
            return Ok(wanted.clone());
        }
        // nothing is wanted meanwhile that is not found
        let _gate = self.gate();
        let mut found = BTreeSet::new();
        for rack in 0..RACKS {
            let held = self.here().shelf.rack(rack)?.into_iter().filter(|held| held.has_copies);
            found.extend(held.map(|held| held.info.hash));
        }
        *locked(&self.0.desk.wanted) = Some(found.clone());
        Ok(found)
    }

    /// The same for the copies of one blob.
    async fn tend(&self, hash: BlobHash) -> Result<Duration, NodeError> {
        let read = self.blocking(move |blobs| {
            let here = blobs.here();
            let Some(text) = here.shelf.marked(hash, Mark::Copies)? else { return Ok(None) };
            let mut in_reach = Vec::new();
            for peer in blobs.able() {
                if here.identity.may_write(&peer) && !(here.may_have)(&peer, &[hash])?.is_empty() {
                    in_reach.push(peer);
                }
            }
            Ok(Some((of_text(&text), extent(&blobs.entry_now(hash)?), in_reach)))
        });
        let Some((mut copies, extent, mut in_reach)) = read.await? else { return Ok(LOOK_EVERY) };
        let all = locked(&self.0.desk.asked_now).remove(&hash);
        let identity = &self.here().identity;
        in_reach.sort_by_key(|peer| std::cmp::Reverse(rank(*peer, hash)));
        let former: Vec<Did> =
            copies.holders().map(|(holder, _)| holder).filter(|did| !identity.is_member(did)).collect();
        former.into_iter().for_each(|did| copies.keeps_none(did));
        let (mut no, mut coming, mut asked) = (BTreeSet::new(), false, BTreeSet::new());
        loop {
            let now = self.here().world.wall().as_ms();
            let steps = copies.steps(&in_reach, &no, all, now).into_iter();
            let steps: Vec<CopyStep<Did>> = steps.filter(|step| asked.insert(*step)).collect();
            if steps.is_empty() {
                break;
            }
            let known: BTreeSet<Did> = copies.holders().filter(|(_, at)| *at > 0).map(|(holder, _)| holder).collect();
            let answers = steps.iter().map(|step| {
                let is_new = matches!(step, CopyStep::Keep(peer) if !known.contains(peer));
                let shows = all || is_new || random::<1>()[0].is_multiple_of(SHOWN_OF);
                self.ask_about(hash, extent, *step, shows)
            });
            for (step, answer) in steps.iter().zip(join_all(answers).await) {
                match (*step, answer) {
                    (CopyStep::Keep(peer), Some(KeptState::Kept)) => copies.keeps(peer, now),
                    (CopyStep::Keep(peer), Some(KeptState::Coming)) => {
                        copies.comes(peer);
                        coming = true;
                    }
                    (CopyStep::Keep(peer), Some(KeptState::No | KeptState::Full)) => {
                        copies.keeps_none(peer);
                        no.insert(peer);
                    }
                    (CopyStep::Release(peer), Some(_)) => copies.keeps_none(peer),
                    // it counts until it is gone for long
                    (CopyStep::Keep(peer), None) => drop(no.insert(peer)),
                    (CopyStep::Release(_), None) => {}
                }
            }
        }
        let next = match copies.count(self.here().world.wall().as_ms()) < copies.wanted() {
            _ if coming => Duration::ZERO,
            true => LOOK_AGAIN,
            false => LOOK_EVERY,
        };
        self.blocking(move |blobs| {
            let gate = blobs.gate();
            // another number may be wanted by now, or it is removed
            let Some(text) = blobs.here().shelf.marked(hash, Mark::Copies)? else { return Ok(()) };
            copies.want(of_text(&text).wanted());
            blobs.note_copies(&gate, hash, &copies)
        })
        .await?;
        Ok(next)
    }

    /// Asks a member about its copy, which it may have to show; `None` if it does not answer.
    async fn ask_about(&self, hash: BlobHash, extent: Extent, step: CopyStep<Did>, shows: bool) -> Option<KeptState> {
        let (bytes, Extent { bytes: size, files }) = (hash.as_bytes().to_vec(), extent);
        let (peer, question) = match step {
            CopyStep::Keep(peer) => (peer, Body::Keep(wire::Keep { hash: bytes, size, files })),
            CopyStep::Release(peer) => (peer, Body::Release(wire::Release { hash: bytes })),
        };
        match self.0.asker.ask(peer, question.into(), WITHIN).await.ok()?.body {
            Some(Body::Kept(kept)) if shows && kept.state() == KeptState::Kept => self.proof_of(hash, peer).await,
            Some(Body::Kept(kept)) => Some(kept.state()),
            // a node of an earlier version keeps nothing for others
            _ => Some(KeptState::No),
        }
    }

    /// Has a member that says it keeps a copy show some part of it, which it cannot foresee; `None` if it does not answer.
    /// Of a directory it shows a part of the list of files, and one of some file.
    async fn proof_of(&self, hash: BlobHash, peer: Did) -> Option<KeptState> {
        let file = self.blocking(move |blobs| blobs.some_file_of(hash)).await.ok()?;
        for blob in [Some(hash), file].into_iter().flatten() {
            let shown = self.shows_a_part(blob, peer).await?;
            if !shown {
                return Some(KeptState::No);
            }
        }
        Some(KeptState::Kept)
    }

    /// Some file of a directory, that nobody can foresee; `None` of a file, and of a directory without files.
    fn some_file_of(&self, hash: BlobHash) -> Result<Option<BlobHash>, NodeError> {
        let links = self.links_of(hash)?;
        // the first link is of the names
        let files = links.get(1..).unwrap_or_default();
        let place = usize::try_from(below(files.len() as u64)).unwrap_or(usize::MAX);
        Ok(files.get(place).copied())
    }

    async fn shows_a_part(&self, hash: BlobHash, peer: Did) -> Option<bool> {
        let shape = Shape::of(self.info(hash).await.ok()??.size);
        let part = Part(below(shape.parts()));
        let question = Body::Part(wire::Part { hash: hash.as_bytes().to_vec(), part: part.0 });
        Some(match self.0.asker.ask(peer, question.into(), WITHIN).await.ok()?.body {
            Some(Body::Slice(sent)) => nexus_blobs::check(hash, shape, part, &sent).is_ok(),
            _ => false,
        })
    }

    /// Answers a member that wants this node to keep a blob.
    pub(super) async fn keep_for_other(&self, peer: Did, asked: wire::Keep) -> KeptState {
        let Ok(hash) = asked.hash.try_into().map(BlobHash::from_bytes) else { return KeptState::No };
        if !self.here().identity.members().allows(&peer, Role::Member) {
            return KeptState::No;
        }
        let said = Extent { bytes: asked.size, files: asked.files };
        let look = self.blocking(move |blobs| blobs.take_for(peer, hash, said));
        match look.await {
            Ok(Some(state)) => state,
            Ok(None) => {
                let blobs = self.clone();
                self.here().world.spawn("copy for another", async move { blobs.fetch_for(peer, hash, said).await });
                KeptState::Coming
            }
            Err(error) => {
                tracing::warn!(%hash, peer = %peer.short(), %error, "a copy was not kept");
                KeptState::No
            }
        }
    }

    /// Marks a blob that is here as kept for a member; `None` if it has to be fetched first, and may be.
    fn take_for(&self, peer: Did, hash: BlobHash, said: Extent) -> Result<Option<KeptState>, NodeError> {
        let gate = self.gate();
        let whole = match self.entry_now(hash) {
            // else it is the links of a directory of which the files are not here
            Ok(entry) if extent(&entry) == said => Some(entry),
            Ok(_) | Err(NodeError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut charges = self.charges(hash)?;
        let before = charges.get(&peer).copied();
        if whole.is_some() && before.is_some_and(|charge| charge.wanted) {
            return Ok(Some(KeptState::Kept));
        }
        let mut coming = locked(&self.0.desk.coming);
        if let Some(charge) = coming.get_mut(&(peer, hash)) {
            charge.wanted = true;
            return Ok(Some(KeptState::Coming));
        }
        let mut kept = locked(&self.0.desk.kept);
        let kept = match &mut *kept {
            Some(kept) => kept,
            none => none.insert(self.kept_bytes(&coming)?),
        };
        // a copy that it let go of counts already, and one that its former key had is its own
        let mut before = before.map_or(0, |charge| charge.bytes);
        let line = self.here().identity.members().line(&peer);
        for former in line.iter().filter(|key| **key != peer && whole.is_some()) {
            let Some(charge) = charges.remove(former) else { continue };
            before = before.saturating_add(charge.bytes);
            if let Some(bytes) = kept.get_mut(former) {
                *bytes = bytes.saturating_sub(charge.bytes);
            }
            let bytes = kept.entry(peer).or_default();
            *bytes = bytes.saturating_add(charge.bytes);
        }
        let more = cost(said).saturating_sub(before);
        // all keys of a member have one room
        let of_line = line.iter().filter_map(|key| kept.get(key)).fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
        if more > self.here().kept_for_each.saturating_sub(of_line) {
            return Ok(Some(KeptState::Full));
        }
        let bytes = kept.entry(peer).or_default();
        match whole {
            Some(_) => {
                charges.insert(peer, Charge { bytes: before.saturating_add(more), wanted: true });
                self.note_charges(&gate, hash, &charges)?;
                *bytes = bytes.saturating_add(more);
                Ok(Some(KeptState::Kept))
            }
            None if coming.keys().filter(|(did, _)| *did == peer).count() >= COMING_MAX => Ok(Some(KeptState::Full)),
            None if self.room().is_err() => Ok(Some(KeptState::Full)),
            None => {
                *bytes = bytes.saturating_add(more);
                coming.insert((peer, hash), Charge { bytes: more, wanted: true });
                Ok(None)
            }
        }
    }

    fn note_charges(&self, _: &Gate<'_>, hash: BlobHash, charges: &BTreeMap<Did, Charge>) -> Result<(), NodeError> {
        self.changed_what_is_kept();
        if planted("copies_unmarked") {
            return Ok(());
        }
        self.here().shelf.mark(hash, Mark::ForOthers, Some(&charges_to_text(charges))).map(drop)
    }

    /// The bytes that count for each member, with those on their way.
    fn kept_bytes(&self, coming: &Coming) -> Result<BTreeMap<Did, u64>, NodeError> {
        let mut kept: BTreeMap<Did, u64> = BTreeMap::new();
        let mut count = |did: Did, charge: Charge| {
            let bytes = kept.entry(did).or_default();
            *bytes = bytes.saturating_add(charge.bytes);
        };
        coming.iter().for_each(|((did, _), charge)| count(*did, *charge));
        for rack in 0..RACKS {
            for held in self.here().shelf.rack(rack)?.iter().filter(|held| held.is_for_others) {
                self.charges(held.info.hash)?.into_iter().for_each(|(did, charge)| count(did, charge));
            }
        }
        Ok(kept)
    }

    /// Fetches a blob that a member wants to be kept. If it is something else than that member said, it is not kept.
    async fn fetch_for(&self, peer: Did, hash: BlobHash, said: Extent) {
        let fetched = async {
            let own = self.0.desk.places_for(peer);
            let Ok(_own) = own.acquire().await else { return Err(super::stopped()) };
            let Ok(_place) = self.0.desk.places.acquire().await else { return Err(super::stopped()) };
            self.fetch_within(hash, FETCH_WAIT, Some(said), |_| {}).await
        };
        let fetched = fetched.await;
        let noted = self.blocking(move |blobs| {
            let gate = blobs.gate();
            let Some(Charge { bytes, wanted }) = locked(&blobs.0.desk.coming).remove(&(peer, hash)) else {
                return Ok(());
            };
            let is_so = match fetched {
                Ok(entry) if extent(&entry) != said => Err(too_large("a copy", entry.size, said.bytes)),
                fetched => fetched.map(drop),
            };
            let shelf = &blobs.here().shelf;
            if shelf.info(hash)?.is_some() {
                // whatever came counts, also if it is not kept
                let mut charges = blobs.charges(hash)?;
                let charge = charges.entry(peer).or_insert(Charge { bytes: 0, wanted: false });
                charge.bytes = charge.bytes.saturating_add(bytes);
                charge.wanted |= wanted && is_so.is_ok();
                blobs.note_charges(&gate, hash, &charges)?;
            } else if !blobs.is_used(hash) {
                shelf.remove_parts(hash)?;
                blobs.count_charges_anew(&gate);
            }
            is_so
        });
        if let Err(error) = noted.await {
            tracing::info!(%hash, peer = %peer.short(), %error, "a copy for another member did not come");
        }
    }

    /// Lets go of a blob that was kept for a member. It counts until it is removed.
    pub(super) async fn let_go(&self, peer: Did, asked: wire::Release) -> KeptState {
        let Ok(hash) = asked.hash.try_into().map(BlobHash::from_bytes) else { return KeptState::No };
        let let_go = self.blocking(move |blobs| {
            let gate = blobs.gate();
            if let Some(charge) = locked(&blobs.0.desk.coming).get_mut(&(peer, hash)) {
                charge.wanted = false;
            }
            let mut charges = blobs.charges(hash)?;
            let Some(charge) = charges.get_mut(&peer).filter(|charge| charge.wanted) else { return Ok(()) };
            charge.wanted = false;
            blobs.note_charges(&gate, hash, &charges)
        });
        if let Err(error) = let_go.await {
            tracing::warn!(%hash, peer = %peer.short(), %error, "a copy was not let go of");
        }
        KeptState::No
    }
}

#[cfg(test)]
mod tests {
    use nexus_identity::Keypair;

    use super::*;

    #[test]
    fn a_mark_of_copies_is_read_as_it_was_written_and_odd_lines_are_none() {
        let [one, two] = [1, 2].map(|n| Keypair::from_seed(&[n; 32]).did());
        let mut copies = Copies::new(3);
        copies.keeps(one, 7);
        copies.keeps(two, u64::MAX);
        assert_eq!(of_text(&to_text(&copies)), copies);
        let odd = format!("x\n\n{one}\n{one} -1\n{two} 5\nnobody 7\n");
        let mut read = Copies::new(1);
        read.keeps(two, 5);
        assert_eq!(of_text(&odd), read);
        assert!(of_text("").is_over());

        let charge = |bytes, wanted| Charge { bytes, wanted };
        let charges = BTreeMap::from([(one, charge(7, true)), (two, charge(u64::MAX, false))]);
        assert_eq!(charges_of_text(&charges_to_text(&charges)), charges);
        let odd = format!("\n{one}\n{one} x\nnobody 5\n{two} 5 -\n");
        assert_eq!(charges_of_text(&odd), BTreeMap::from([(two, charge(5, false))]));
    }
}
