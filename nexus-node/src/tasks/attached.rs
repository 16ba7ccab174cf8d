//! Inputs and outputs that are too long for an event: a blob has them.
//!
//! The node that writes an event puts a long JSON into a blob of its own, and the event has an object that stands for it.
//! A worker's node gets the blob before the worker gets the task. A submitter's node gets an output as soon as it is told
//! of it: the worker's machine may be gone later.

use std::time::Duration;

use nexus_crdt::{BadTaskEvent, TASK_ATTACHMENT_BYTES_MAX, TASK_JSON_BYTES_MAX, TaskAttachment, TaskId, TaskToken};
use serde_json::Value;

use super::board::TaskBoard;
use crate::error::{ConflictError, InputError, NodeError};

/// The time for which a blob is looked for that nobody in reach has, while a worker or a caller waits.
const WAIT: Duration = Duration::from_secs(10);

/// The blob for which a value stands. Most stand for themselves, and are not written out as JSON to see that.
fn attachment(value: &Value) -> Option<TaskAttachment> {
    value.get("$blob")?;
    TaskAttachment::of(&value.to_string())
}

/// The error for a part of a task that is longer than allowed.
fn too_large(part: &'static str, size: usize, max: usize) -> NodeError {
    InputError::Task(BadTaskEvent::TooLarge { part, size, max }).into()
}

impl TaskBoard {
    /// An input or an output as an event has it: itself, or an object that stands for the blob with it.
    ///
    /// # Errors
    /// [`BadTaskEvent::TooLarge`]; those of the disk.
    pub(super) async fn shortened(&self, part: &'static str, value: Value) -> Result<Value, NodeError> {
        let json = value.to_string();
        match json.len() {
            size if size > TASK_ATTACHMENT_BYTES_MAX => Err(too_large(part, size, TASK_ATTACHMENT_BYTES_MAX)),
            size if size > TASK_JSON_BYTES_MAX => self.attach(part, json).await,
            _ => Ok(value),
        }
    }

    /// The whole of an input or an output: itself, or the JSON in the blob for which it stands.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if nobody in reach has the blob. [`NodeError::Invalid`] if it is too large or no JSON. Those of
    /// `Blobs::fetch`.
    pub async fn whole(&self, value: Value) -> Result<Value, NodeError> {
        match attachment(&value) {
            Some(attachment) => self.fetch_attachment(attachment).await,
            None => Ok(value),
        }
    }

    /// Checks that an input in a blob can be read here, and that it is what its submitter says of it: whoever approves the
    /// task may have seen no more.
    pub(super) async fn check_input(&self, id: &str) -> Result<(), NodeError> {
        let input = self.get(id).await?.input;
        let Some(said) = attachment(&input) else { return Ok(()) };
        let whole = self.whole(input.clone()).await?.to_string();
        let stand_in: Value = serde_json::from_str(&TaskAttachment::stand_in(said.blob(), &whole)).unwrap_or_default();
        let agrees = |member: &str| input.get(member).is_none_or(|said| stand_in.get(member) == Some(said));
        if agrees("bytes") && agrees("begin") { Ok(()) } else { Err(ConflictError::InputDiffers.into()) }
    }

    /// The whole input of a claimed task. The worker is said to live meanwhile.
    pub(super) async fn whole_input(
        &self,
        task: TaskId,
        token: TaskToken,
        lease: Duration,
        input: Value,
    ) -> Result<Value, NodeError> {
        if attachment(&input).is_none() {
            return Ok(input);
        }
        let world = &self.here().world;
        let mut whole = std::pin::pin!(self.whole(input));
        loop {
            let beat = world.now().saturating_add(lease / 3);
            tokio::select! {
                whole = &mut whole => return whole,
                () = world.sleep_until(beat) => drop(self.heard(task, token, None)?),
            }
        }
    }
}

#[cfg(feature = "blobs")]
mod with_blobs {
    use super::*;
    use crate::blobs::{BlobHash, Keep};

    /// The time for which an output is looked for that a worker's node has told of.
    const OUTPUT_WAIT: Duration = Duration::from_secs(600);

    impl TaskBoard {
        pub(super) async fn attach(&self, _: &'static str, json: String) -> Result<Value, NodeError> {
            // the event refers to it: it needs no pin
            let mut writer = self.here().blobs.writer(Keep::Cached).await?;
            writer.write(json.as_bytes()).await?;
            let info = writer.finish().await?;
            let stand_in = TaskAttachment::stand_in(info.hash.as_bytes(), &json);
            Ok(serde_json::from_str(&stand_in).unwrap_or_default())
        }

        pub(super) async fn fetch_attachment(&self, attachment: TaskAttachment) -> Result<Value, NodeError> {
            let hash = BlobHash::from_bytes(*attachment.blob());
            let most = TASK_ATTACHMENT_BYTES_MAX as u64;
            let json = self.here().blobs.content(hash, most, WAIT).await?;
            let json = json.ok_or_else(|| {
                let size = attachment.bytes().map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
                too_large("the blob", size, TASK_ATTACHMENT_BYTES_MAX)
            })?;
            serde_json::from_slice(&json).map_err(|_| InputError::Task(BadTaskEvent::Json("the blob")).into())
        }

        /// Gets the output of a task from its worker's node, in the background.
        pub(in super::super) fn keep_output(&self, output: &str) {
            let Some(attachment) = TaskAttachment::of(output) else { return };
            let blobs = self.here().blobs.clone();
            let hash = BlobHash::from_bytes(*attachment.blob());
            // the others are fetched when somebody reads them
            let Ok(place) = self.0.outputs.clone().try_acquire_owned() else { return };
            self.here().world.spawn("task output", async move {
                let _place = place;
                if let Err(error) = blobs.content(hash, TASK_ATTACHMENT_BYTES_MAX as u64, OUTPUT_WAIT).await {
                    tracing::warn!(%hash, %error, "the output of a task is not here");
                }
            });
        }
    }
}

#[cfg(not(feature = "blobs"))]
mod without_blobs {
    use super::*;

    #[expect(clippy::unused_async, reason = "as with blobs")]
    #[expect(clippy::unused_self, reason = "as with blobs")]
    impl TaskBoard {
        pub(super) async fn attach(&self, part: &'static str, json: String) -> Result<Value, NodeError> {
            Err(too_large(part, json.len(), TASK_JSON_BYTES_MAX))
        }

        pub(super) async fn fetch_attachment(&self, _: TaskAttachment) -> Result<Value, NodeError> {
            // nothing of another size can be had here
            Err(too_large("the blob", TASK_JSON_BYTES_MAX + 1, TASK_JSON_BYTES_MAX))
        }

        pub(in super::super) const fn keep_output(&self, _: &str) {}
    }
}
