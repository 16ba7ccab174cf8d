//! Damaged parts of blobs that are here: how they are noted, mended and looked for.
//!
//! A part that the disk changed is noted beside the content, in a [`Mark`]. The blob does not count as whole from then on. A
//! fetch takes over the parts that are sound and gets the others from whoever has them, and its end takes the note away.
//!
//! All that is here is looked through once in [`LOOK_EVERY`], slowly. The time of the last look is kept beside the blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use nexus_blobs::{BLOB_BYTES_MAX, BlobHash, PART_BYTES, Part, Shape, SliceError, read_part};
use nexus_identity::Timestamp;
use nexus_identity::plants::reached;

use super::shelf::{Mark, RACKS};
use super::{BlobChange, Blobs, Wanted};
use crate::error::NodeError;

/// The most damaged parts of a blob that are noted one by one. With more, all of it counts as damaged.
pub(super) const NOTED_MAX: usize = 1_024;
/// The time between two looks through all blobs.
const LOOK_EVERY: Duration = Duration::from_secs(30 * 86_400);
/// The time after a start before a look begins or goes on.
const LOOK_AFTER: Duration = Duration::from_secs(300);
/// The longest sleep until a look: a clock of the machine may be set meanwhile.
const LOOK_SLEEP: Duration = Duration::from_secs(86_400);
/// The most bytes that a look by itself reads in a second.
const LOOK_BYTES_PER_SECOND: u64 = 5_000_000;
/// The parts that are read in one go.
const PARTS_AT_ONCE: u64 = 4;
/// The time for which a damaged blob is looked for among the members.
const MEND_WAIT: Duration = Duration::from_secs(10);
/// The first pause between two attempts to mend. Each further one in a row doubles it, up to [`MEND_AGAIN_MAX`].
const MEND_AGAIN: Duration = Duration::from_secs(60);
const MEND_AGAIN_MAX: Duration = Duration::from_secs(3_600);
/// The shortest time between two attempts, whoever comes.
const MEND_REST: Duration = Duration::from_secs(10);

/// The damaged parts of a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Damage {
    parts: BTreeSet<Part>,
    /// More than could be noted.
    all: bool,
}

impl Damage {
    /// The damage in the text of a mark.
    pub(super) fn read(text: &str) -> Self {
        let mut damage = Self::default();
        for word in text.split_whitespace() {
            match word.parse() {
                Ok(part) => damage.add(Part(part)),
                Err(_) => damage.all = true,
            }
        }
        damage.all |= damage.parts.is_empty();
        damage
    }

    pub(super) fn text(&self) -> String {
        if self.all {
            return "all\n".to_owned();
        }
        let parts: Vec<String> = self.parts.iter().map(|part| part.0.to_string()).collect();
        parts.join(" ") + "\n"
    }

    pub(super) fn add(&mut self, part: Part) {
        self.parts.insert(part);
        self.all |= self.parts.len() > NOTED_MAX;
    }

    pub(super) fn has(&self, part: Part) -> bool {
        self.all || self.parts.contains(&part)
    }

    /// The number of damaged parts of a blob of this shape.
    pub(super) fn count(&self, shape: Shape) -> u64 {
        if self.all { shape.parts() } else { self.parts.len() as u64 }
    }
}

/// A blob that was looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobVerified {
    /// Its name.
    pub hash: BlobHash,
    /// The number of its parts, of 256 KiB each.
    pub parts: u64,
    /// The number of parts that were damaged.
    pub damaged: u64,
    /// The number of those that are sound again, since another member has the blob.
    pub mended: u64,
}

/// How far a look through blobs is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The bytes that were looked at.
    pub bytes: u64,
    /// All of them.
    pub size: u64,
    /// The number of blobs of which parts are damaged, so far.
    pub damaged: u64,
}

/// The last look through all blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The time at which it began, or at which a node began to count.
    pub(super) begun: Timestamp,
    /// The rack that comes next; `None` after the end.
    pub(super) next: Option<usize>,
}

impl Look {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let begun = Timestamp::from_ms(words.next()?.parse().ok()?);
        let next = words.next().and_then(|next| next.parse().ok()).filter(|next| *next < RACKS);
        Some(Self { begun, next })
    }

    pub(super) fn text(self) -> String {
        let next = self.next.map_or_else(|| "-".to_owned(), |next| next.to_string());
        format!("{} {next}\n", self.begun.as_ms())
    }

    /// The time until it begins, or goes on.
    fn due_in(self, now: Timestamp) -> Duration {
        let since = Duration::from_millis(now.as_ms().saturating_sub(self.begun.as_ms()));
        if self.next.is_some() { Duration::ZERO } else { LOOK_EVERY.saturating_sub(since) }
    }
}

/// Whether an error of reading a part is one of the disk about that part.
fn is_damage(error: &SliceError) -> bool {
    /// EIO: a sector of the disk cannot be read.
    const UNREADABLE: i32 = 5;
    match error {
        SliceError::Damaged(_) | SliceError::Bad(_) => true,
        SliceError::Io(error) => {
            error.kind() == std::io::ErrorKind::UnexpectedEof
                || (cfg!(unix) && error.raw_os_error() == Some(UNREADABLE))
        }
        _ => false,
    }
}

impl Blobs {
    /// The damage of a blob that is here; `None` if it is whole as far as it is known.
    pub(super) fn damage_of(&self, hash: BlobHash) -> Result<Option<Damage>, NodeError> {
        Ok(self.here().shelf.marked(hash, Mark::Damaged)?.map(|text| Damage::read(&text)))
    }

    /// The number of damaged parts of each blob that has some, as far as it is known.
    pub fn damaged(&self) -> BTreeMap<BlobHash, u64> {
        self.known_damage().clone()
    }

    fn known_damage(&self) -> MutexGuard<'_, BTreeMap<BlobHash, u64>> {
        self.0.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an error of reading a part, if the disk damaged it. Returns whether it did.
    pub(super) fn note_damage(&self, hash: BlobHash, size: u64, part: Part, error: &SliceError) -> bool {
        if !is_damage(error) {
            return false;
        }
        // held until it is noted: a caller may hold the gate
        let mut known = self.known_damage();
        let noted = || {
            let mut damage = self.damage_of(hash)?.unwrap_or_default();
            if damage.has(part) {
                return Ok(damage.count(Shape::of(size)));
            }
            reached("damaged_part_of_a_blob");
            tracing::error!(blob = %hash.short(), part = part.0, "the disk damaged a part of a blob");
            damage.add(part);
            self.here().shelf.mark(hash, Mark::Damaged, Some(&damage.text()))?;
            Ok::<_, NodeError>(damage.count(Shape::of(size)))
        };
        match noted() {
            Ok(count) => {
                let former = known.insert(hash, count);
                if former != Some(count) {
                    self.0.damage_noted.notify_one();
                    self.tell(hash, BlobChange::Damaged);
                }
            }
            Err(error) => tracing::warn!(blob = %hash.short(), %error, "the damage of a blob could not be noted"),
        }
        true
    }

    /// The blob is whole again, or gone.
    pub(super) fn forget_damage(&self, hash: BlobHash) {
        self.known_damage().remove(&hash);
    }

    /// Looks again at the parts that are noted as damaged. Returns whether the blob is damaged still.
    fn is_damaged_still(&self, hash: BlobHash) -> Result<bool, NodeError> {
        let Some(damage) = self.damage_of(hash)? else {
            self.forget_damage(hash);
            return Ok(false);
        };
        let Some(info) = self.here().shelf.info(hash)? else {
            self.forget_damage(hash);
            return Ok(false);
        };
        let shape = Shape::of(info.size);
        let mut noted = (0..shape.parts()).map(Part).filter(|part| damage.has(*part));
        if damage.count(shape) > 0
            && noted.all(|part| self.look_at(hash, shape, part).is_ok_and(|error| error.is_none()))
        {
            let mut known = self.known_damage();
            self.here().shelf.mark(hash, Mark::Damaged, None)?;
            known.remove(&hash);
            return Ok(false);
        }
        self.known_damage().insert(hash, damage.count(shape));
        Ok(true)
    }

    /// Reads a part. Returns why it is damaged, if it is.
    fn look_at(&self, hash: BlobHash, shape: Shape, part: Part) -> Result<Option<SliceError>, NodeError> {
        let shelf = &self.here().shelf;
        let Some((content, _)) = shelf.content_of(hash, Timestamp::default())? else { return Ok(None) };
        // an index that is gone is damage of every part
        let read = match shelf.index_of(hash, shape)? {
            Some(index) => read_part(hash, shape, part, content, index).map(drop),
            None => Err(SliceError::Damaged(part)),
        };
        match read {
            Ok(()) => Ok(None),
            Err(error) if is_damage(&error) => Ok(Some(error)),
            Err(error) => Err(shelf.fault(error)),
        }
    }

    /// Looks through a blob that is here. Tells each time how many bytes more were looked at. `None` if it is gone.
    async fn look_through(
        &self,
        hash: BlobHash,
        paced: bool,
        told: &(impl Fn(u64) + Send + Sync),
    ) -> Result<Option<BlobVerified>, NodeError> {
        let world = &self.here().world;
        let Some(info) = self.blocking(move |blobs| blobs.here().shelf.info(hash)).await? else { return Ok(None) };
        let shape = Shape::of(info.size);
        let (mut next, mut damaged) = (0, 0);
        while next < shape.parts() {
            let (begun, end) = (world.now(), shape.parts().min(next + PARTS_AT_ONCE));
            let blobs = self.clone();
            let look = move || {
                let mut damaged = 0;
                for part in (next..end).map(Part) {
                    if let Some(error) = blobs.look_at(hash, shape, part)? {
                        // a copy that was put in its place meanwhile is another one
                        damaged += u64::from(blobs.note_damage(hash, info.size, part, &error));
                    }
                }
                Ok::<_, NodeError>(damaged)
            };
            damaged += world.background(look).await??;
            let bytes = (next..end).map(|part| shape.bytes(Part(part))).map(|bytes| bytes.end - bytes.start).sum();
            told(bytes);
            next = end;
            if paced {
                let pause = Duration::from_millis(PART_BYTES * PARTS_AT_ONCE * 1_000 / LOOK_BYTES_PER_SECOND);
                world.sleep_until(begun + pause).await;
            }
        }
        Ok(Some(BlobVerified { hash, parts: shape.parts(), damaged, mended: 0 }))
    }

    /// Looks through blobs that are here: one with the files of a directory, those that something keeps, or all. Damaged
    /// parts are noted, and fetched anew from whoever has them. Tells how far it is.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if the one is not here; those of the disk; [`NodeError::Stopping`].
    pub async fn verify(
        &self,
        which: BlobsToVerify,
        told: impl Fn(VerifyProgress) + Send + Sync,
    ) -> Result<Vec<BlobVerified>, NodeError> {
        let infos = self.blocking(move |blobs| blobs.to_verify(which)).await?;
        let seen = std::sync::Mutex::new(VerifyProgress { size: infos.values().sum(), ..VerifyProgress::default() });
        let tell = |change: &dyn Fn(&mut VerifyProgress)| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut seen);
            told(*seen);
        };
        tell(&|_| {});
        let mut verified = Vec::new();
        for hash in infos.into_keys() {
            let looked = self.look_through(hash, false, &|bytes| tell(&|seen| seen.bytes += bytes)).await?;
            let Some(mut looked) = looked else { continue };
            if looked.damaged > 0 {
                tell(&|seen| seen.damaged += 1);
                looked.mended = if self.mend(hash).await? { looked.damaged } else { 0 };
            }
            verified.push(looked);
        }
        Ok(verified)
    }

    /// The blobs to look through, with their sizes.
    fn to_verify(&self, which: BlobsToVerify) -> Result<BTreeMap<BlobHash, u64>, NodeError> {
        let shelf = &self.here().shelf;
        let mut infos = BTreeMap::new();
        if let BlobsToVerify::One(hash) = which {
            let info = shelf.info(hash)?.ok_or_else(|| super::missing(hash))?;
            infos.insert(hash, info.size);
            // the links of a damaged directory cannot be read
            for file in self.links_of(hash).unwrap_or_default() {
                infos.extend(shelf.info(file)?.map(|info| (file, info.size)));
            }
            return Ok(infos);
        }
        for rack in 0..RACKS {
            infos.extend(shelf.rack(rack)?.into_iter().map(|held| (held.info.hash, held.info.size)));
        }
        if which == BlobsToVerify::Kept {
            for unit in self.units()? {
                infos.retain(|hash, _| unit.blobs.iter().all(|info| info.hash != *hash));
            }
        }
        Ok(infos)
    }

    /// Fetches the damaged parts of a blob from whoever has them. Returns whether it is whole now.
    async fn mend(&self, hash: BlobHash) -> Result<bool, NodeError> {
        if !self.blocking(move |blobs| blobs.is_damaged_still(hash)).await? {
            return Ok(true);
        }
        match self.fetch_known(hash, Wanted::of(MEND_WAIT, BLOB_BYTES_MAX), |_| {}).await {
            Ok(_) => {
                tracing::info!(blob = %hash.short(), "a damaged blob is whole again");
                self.0.tally.mended.fetch_add(1, Relaxed);
                Ok(true)
            }
            Err(error @ (NodeError::Stopping(_) | NodeError::DiskFull(_))) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Mends what is damaged as soon as somebody in reach has it, until the node ends.
    pub(crate) async fn keep_whole(self) {
        // it closes with the engine
        let mut members = self.here().identity.follow();
        let ended = async { while members.changed().await.is_ok() {} };
        tokio::select! {
            () = ended => {}
            () = self.mend_all() => {}
            () = self.look_monthly() => {}
        }
    }

    async fn mend_all(&self) {
        let world = &self.here().world;
        let found = self.blocking(|blobs| {
            let shelf = &blobs.here().shelf;
            for rack in 0..RACKS {
                for held in shelf.rack(rack)?.into_iter().filter(|held| held.is_damaged) {
                    let damage = blobs.damage_of(held.info.hash)?.unwrap_or_default();
                    blobs.known_damage().insert(held.info.hash, damage.count(Shape::of(held.info.size)));
                }
            }
            Ok(())
        });
        if let Err(error) = found.await {
            tracing::warn!(%error, "the damaged blobs could not be counted");
        }
        let mut contacts = self.here().sessions.contacts();
        let mut pause = MEND_AGAIN;
        loop {
            let damaged: Vec<BlobHash> = self.known_damage().keys().copied().collect();
            if damaged.is_empty() {
                self.0.damage_noted.notified().await;
                pause = MEND_AGAIN;
                continue;
            }
            contacts.mark_unchanged();
            let rests_until = world.now() + MEND_REST;
            for hash in damaged {
                if let Err(error) = self.mend(hash).await {
                    tracing::warn!(blob = %hash.short(), %error, "a damaged blob could not be mended");
                }
            }
            if self.known_damage().is_empty() {
                continue;
            }
            tokio::select! {
                () = self.0.damage_noted.notified() => pause = MEND_AGAIN,
                changed = contacts.changed() => if changed.is_err() { return },
                () = world.sleep_until(world.now() + pause) => pause = (pause * 2).min(MEND_AGAIN_MAX),
            }
            // members that come and go have nothing tried more often
            world.sleep_until(rests_until).await;
        }
    }

    /// Looks through all that is here once in a while, slowly.
    async fn look_monthly(&self) {
        let world = &self.here().world;
        world.sleep_until(world.now() + LOOK_AFTER).await;
        loop {
            match self.look_now().await {
                Ok(pause) => world.sleep_until(world.now() + pause.min(LOOK_SLEEP)).await,
                Err(error) => {
                    tracing::warn!(%error, "the blobs could not be looked through");
                    world.sleep_until(world.now() + LOOK_SLEEP).await;
                }
            }
        }
    }

    /// Looks through all that is here if it is time. Returns the time until the next look.
    async fn look_now(&self) -> Result<Duration, NodeError> {
        let now = self.here().world.wall();
        let known = self.blocking(|blobs| blobs.here().shelf.look()).await?;
        let note = |look: Look| self.blocking(move |blobs| blobs.here().shelf.set_look(look));
        let look = match known {
            // the clock was set back
            Some(look) if look.begun <= now => look,
            _ => {
                let first = Look { begun: now, next: None };
                note(first).await?;
                first
            }
        };
        let due = look.due_in(now);
        if due > Duration::ZERO {
            return Ok(due);
        }
        let begun = if look.next.is_some() { look.begun } else { now };
        for rack in look.next.unwrap_or(0)..RACKS {
            note(Look { begun, next: Some(rack) }).await?;
            for held in self.blocking(move |blobs| blobs.here().shelf.rack(rack)).await? {
                self.look_through(held.info.hash, true, &|_| {}).await?;
            }
        }
        note(Look { begun, next: None }).await?;
        Ok(LOOK_EVERY)
    }
}

/// Blobs to look through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobsToVerify {
    /// One, with its files if it is a directory.
    One(BlobHash),
    /// Damaged blobs that something keeps.
    Kept,
    /// All that are here.
    All,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Blobs | The note of damaged parts is the same after it was written and read, and a foreign one counts as all
    #[test]
    fn a_note_of_damage_is_read_as_it_was_written() {
        let mut damage = Damage::default();
        [3, 0, 7].map(Part).into_iter().for_each(|part| damage.add(part));
        assert_eq!((Damage::read(&damage.text()), damage.text().as_str()), (damage.clone(), "0 3 7\n"));
        assert!(damage.has(Part(3)) && !damage.has(Part(4)));
        for foreign in ["", "\n", "x", "1 x", "-1"] {
            assert!(Damage::read(foreign).has(Part(9)), "{foreign:?}");
        }
        (0..=NOTED_MAX as u64).map(Part).for_each(|part| damage.add(part));
        assert_eq!((damage.text().as_str(), damage.count(Shape::of(9_999 * PART_BYTES))), ("all\n", 9_999));
        assert!(Damage::read(&damage.text()).has(Part(5_000)));
    }

    /// promise: Blobs | A look through all blobs comes once in 30 days, and goes on where a restart cut it off
    #[test]
    fn a_look_comes_once_a_month() {
        let begun = Timestamp::from_ms(1_000_000);
        let later = |days: u64| Timestamp::from_ms(1_000_000 + days * 86_400_000);
        let done = Look { begun, next: None };
        assert_eq!(done.due_in(later(29)), Duration::from_secs(86_400));
        assert_eq!((done.due_in(later(30)), done.due_in(later(99))), (Duration::ZERO, Duration::ZERO));
        let half = Look { begun, next: Some(17) };
        assert_eq!((half.due_in(begun), Look::read(&half.text())), (Duration::ZERO, Some(half)));
        assert_eq!((Look::read(&done.text()), Look::read("x"), Look::read("")), (Some(done), None, None));
    }
}
