//! Inputs and outputs that are too long for an event: a blob has them.
//!
//! The node that writes an event puts a long JSON into a blob of its own, and the event has an object that stands for it.
//! A worker's node gets the blob before the worker gets the task. A submitter's node gets an output as soon as it is told
//! of it: the worker's machine may be gone later.

use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::{BadTaskEvent, JsonText, TASK_ATTACHMENT_BYTES_MAX, TASK_JSON_BYTES_MAX, TaskAttachment};
use nexus_identity::Did;

use super::here::Here;
use crate::error::{InputError, NodeError};

/// The time for which a blob is looked for that nobody in reach has, while a worker or a caller waits.
const WAIT: Duration = Duration::from_secs(10);
/// The time for which an output is looked for that a worker's node has told of.
const OUTPUT_WAIT: Duration = Duration::from_secs(600);

/// The blob for which a JSON stands. Most stand for themselves.
pub(super) fn attachment(json: &JsonText) -> Option<TaskAttachment> {
    TaskAttachment::of(json.as_str())
}

/// An input or an output as an event has it.
#[derive(Default)]
pub(super) struct Shortened {
    pub(super) json: String,
    /// The blob for which it stands: it stays until the event is written.
    pub(super) blob: Option<Attached>,
}

/// The error for a part of a task that is longer than allowed.
fn too_large(part: &'static str, size: usize, max: usize) -> NodeError {
    InputError::Task(BadTaskEvent::TooLarge { part, size, max }).into()
}

/// The inputs and outputs in blobs, cheap to clone.
#[derive(Clone)]
pub(super) struct Attachments {
    here: Here,
    outputs: Arc<Outputs>,
}

impl Attachments {
    pub(super) fn new(here: Here) -> Self {
        Self { here, outputs: Arc::default() }
    }

    /// An input or an output as an event has it: its JSON, or one that stands for the blob with it.
    ///
    /// # Errors
    /// [`BadTaskEvent::TooLarge`]; those of the disk.
    pub(super) async fn shortened(&self, part: &'static str, json: JsonText) -> Result<Shortened, NodeError> {
        let json = json.to_string();
        if JsonText::check(&json).is_err() {
            // a value of the caller's may have more levels than others read
            return Err(InputError::Task(BadTaskEvent::Json(part)).into());
        }
        match json.len() {
            size if size > TASK_ATTACHMENT_BYTES_MAX => Err(too_large(part, size, TASK_ATTACHMENT_BYTES_MAX)),
            size if size > TASK_JSON_BYTES_MAX => self.attach(part, json).await,
            _ => Ok(Shortened { json, blob: None }),
        }
    }

    /// Keeps what an output of another node's task needs, until that node has it.
    pub(super) fn use_for_a_while(&self, output: Shortened) {
        if output.blob.is_some() {
            let world = self.here.world.clone();
            self.here.world.spawn("task output in use", async move {
                world.sleep_until(world.now() + OUTPUT_WAIT).await;
                drop(output);
            });
        }
    }

    /// The whole of an input or an output: itself, or the JSON in the blob for which it stands.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if nobody in reach has the blob. [`NodeError::Invalid`] if it is too large or no JSON. Those of
    /// `Blobs::fetch`.
    pub(super) async fn whole(&self, json: JsonText) -> Result<JsonText, NodeError> {
        match attachment(&json) {
            Some(attachment) => self.fetch_attachment(attachment).await,
            None => Ok(json),
        }
    }
}

#[cfg(feature = "blobs")]
pub(super) use with_blobs::Attached;
#[cfg(feature = "blobs")]
use with_blobs::Outputs;
#[cfg(not(feature = "blobs"))]
pub(super) use without_blobs::Attached;
#[cfg(not(feature = "blobs"))]
use without_blobs::Outputs;

#[cfg(feature = "blobs")]
mod with_blobs {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::{Arc, Mutex, PoisonError};

    use tokio::sync::{OwnedSemaphorePermit, Semaphore};
    use tokio::time::Instant;

    use super::*;
    use crate::blobs::BlobHash;
    pub(in super::super) use crate::blobs::InUse as Attached;
    use crate::budget::Budget;

    /// The most outputs that are fetched at a time.
    const AT_ONCE: usize = 64;
    /// Outputs are counted in steps of so many bytes.
    const STEP: u64 = 1 << 20;
    /// The outputs of one member's workers that are fetched unasked: 1 GiB, and as much more each day.
    const STEPS: u32 = 1_024;
    const STEP_EVERY: Duration = Duration::from_secs(24 * 60 * 60 / STEPS as u64);

    /// The bounds of what is fetched from workers' nodes unasked.
    pub(in super::super) struct Outputs {
        places: Arc<Semaphore>,
        /// The budget of each member, by the lowest key of its line.
        left: Mutex<BTreeMap<Did, Budget>>,
    }

    impl Default for Outputs {
        fn default() -> Self {
            Self { places: Arc::new(Semaphore::new(AT_ONCE)), left: Mutex::default() }
        }
    }

    impl Outputs {
        /// A place for an output of so many bytes; `None` if there is none, or if the day of this line of keys is used up.
        pub(super) fn take(&self, line: &BTreeSet<Did>, bytes: u64, now: Instant) -> Option<OwnedSemaphorePermit> {
            let place = self.places.clone().try_acquire_owned().ok()?;
            let steps = u32::try_from(bytes.div_ceil(STEP).max(1)).unwrap_or(u32::MAX);
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            // a new key may be the lowest one, and takes over what the former ones left
            let of_line = line.iter().filter_map(|key| left.remove(key)).min_by_key(Budget::left);
            let mut of_line = of_line.unwrap_or_else(|| Budget::full(STEPS, STEP_EVERY, now));
            let has_room = of_line.take_all(steps, now);
            left.insert(*line.first()?, of_line);
            has_room.then_some(place)
        }
    }

    impl Attachments {
        pub(super) async fn attach(&self, _: &'static str, json: String) -> Result<Shortened, NodeError> {
            let (hash, in_use) = self.here.blobs.attach(json.as_bytes()).await?;
            Ok(Shortened { json: TaskAttachment::stand_in(hash.as_bytes(), &json), blob: Some(in_use) })
        }

        pub(super) async fn fetch_attachment(&self, attachment: TaskAttachment) -> Result<JsonText, NodeError> {
            let hash = BlobHash::from_bytes(*attachment.blob());
            let most = TASK_ATTACHMENT_BYTES_MAX as u64;
            let json = self.here.blobs.content(hash, most, WAIT).await?;
            let json = json.ok_or_else(|| {
                let size = attachment.bytes().map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
                too_large("the blob", size, TASK_ATTACHMENT_BYTES_MAX)
            })?;
            let json = String::from_utf8(json).ok().and_then(|json| JsonText::parse(json).ok());
            json.ok_or_else(|| InputError::Task(BadTaskEvent::Json("the blob")).into())
        }

        /// Gets the output of a task from its worker's node, in the background.
        pub(in super::super) fn keep_output(&self, worker: Did, output: &str) {
            let Some(attachment) = TaskAttachment::of(output) else { return };
            let blobs = self.here.blobs.clone();
            let hash = BlobHash::from_bytes(*attachment.blob());
            // it has no more bytes than it is counted with
            let most = attachment.bytes().unwrap_or(u64::MAX).min(TASK_ATTACHMENT_BYTES_MAX as u64);
            // the others are fetched when somebody reads them
            let line = self.here.identity.members().line(&worker);
            let Some(place) = self.outputs.take(&line, most, Instant::now()) else { return };
            self.here.world.spawn("task output", async move {
                let _place = place;
                if let Err(error) = blobs.content(hash, most, OUTPUT_WAIT).await {
                    tracing::warn!(%hash, %error, "the output of a task is not here");
                }
            });
        }
    }
}

#[cfg(not(feature = "blobs"))]
mod without_blobs {
    use super::*;

    /// No blob: there is none.
    pub(in super::super) enum Attached {}

    #[derive(Default)]
    pub(in super::super) struct Outputs;

    #[expect(clippy::unused_async, reason = "as with blobs")]
    #[expect(clippy::unused_self, reason = "as with blobs")]
    impl Attachments {
        pub(super) async fn attach(&self, part: &'static str, json: String) -> Result<Shortened, NodeError> {
            Err(too_large(part, json.len(), TASK_JSON_BYTES_MAX))
        }

        pub(super) async fn fetch_attachment(&self, _: TaskAttachment) -> Result<JsonText, NodeError> {
            // nothing of another size can be had here
            Err(too_large("the blob", TASK_JSON_BYTES_MAX + 1, TASK_JSON_BYTES_MAX))
        }

        pub(in super::super) const fn keep_output(&self, _: Did, _: &str) {}
    }
}

#[cfg(all(test, feature = "blobs"))]
mod tests {
    use std::collections::BTreeSet;

    use tokio::time::Instant;

    use super::*;

    /// The outputs that are taken of a member with these keys, of so many bytes each.
    fn taken(outputs: &Outputs, keys: &[u8], bytes: u64, at: Instant) -> usize {
        let line: BTreeSet<Did> = keys.iter().map(|n| Did::from_bytes([*n; 32])).collect();
        (0..10_000).take_while(|_| outputs.take(&line, bytes, at).is_some()).count()
    }

    /// promise: Tasks | Of one member's workers 1 GiB of outputs a day is fetched unasked, whatever others send; further ones are fetched when they are read
    #[test]
    fn a_members_outputs_are_bounded_by_its_day() {
        let (rogue, honest) = ([1].as_slice(), [2].as_slice());
        let (outputs, start) = (Outputs::default(), Instant::now());
        let most = TASK_ATTACHMENT_BYTES_MAX as u64;
        let taken = |keys, bytes, at| taken(&outputs, keys, bytes, at);
        assert_eq!(taken(rogue, most, start), 256);
        assert_eq!(taken(honest, 0, start), 1_024);
        let hour = start + Duration::from_secs(3_600);
        assert_eq!(taken(rogue, most, hour), 10);
        assert_eq!(taken(rogue, most, start + Duration::from_secs(5 * 86_400)), 256);
    }

    /// promise: Tasks | A new key gives a member no other day of outputs that are fetched unasked
    #[test]
    fn a_new_key_has_no_day_of_its_own() {
        let (outputs, start) = (Outputs::default(), Instant::now());
        let most = TASK_ATTACHMENT_BYTES_MAX as u64;
        assert_eq!(taken(&outputs, &[5], most, start), 256);
        // the third key is the lowest one, and the name of the line
        for line in [[5, 7].as_slice(), &[3, 5, 7]] {
            assert_eq!(taken(&outputs, line, 1, start), 0, "{line:?}");
        }
        assert_eq!(taken(&outputs, &[4], most, start), 256, "another member's day is its own");
        let hour = start + Duration::from_secs(3_600);
        assert_eq!(taken(&outputs, &[3, 5, 7], most, hour), 10);
    }
}
