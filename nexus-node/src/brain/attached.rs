//! Texts that are too long for an entry. The entry has their beginning, and a blob all of it.

use std::collections::BTreeMap;

use nexus_crdt::{Field, TEXT_ATTACHMENT_BYTES_MAX, TextAttachment};
use serde_json::Value;

use super::Brain;
use crate::error::{ConflictError, NodeError};
use crate::memory::{Memory, MemoryRef, NewMemory, Patch};

/// A blob with a text. It stays until the entry that refers to it is written.
#[cfg(feature = "blobs")]
pub(super) type Held = Option<crate::blobs::InUse>;
#[cfg(not(feature = "blobs"))]
pub(super) type Held = Option<()>;

impl Brain {
    /// Leaves the beginning of a long text in a memory, and puts the whole of it into a blob.
    ///
    /// # Errors
    /// [`NodeError::TooLarge`]; those of the disk.
    pub(super) async fn shorten(&self, memory: &mut NewMemory) -> Result<Held, NodeError> {
        if let Some((beginning, attachment, held)) = self.attached(&memory.text).await? {
            (memory.text, memory.attachment) = (beginning, Some(attachment));
            return Ok(held);
        }
        let text = &memory.text;
        memory.attachment = memory.attachment.filter(|attachment| attachment.is_of(text));
        Ok(None)
    }

    /// The values of a patch. A beginning that is written as it was keeps the rest of its text.
    ///
    /// # Errors
    /// Those of [`Brain::get`]; [`NodeError::TooLarge`]; those of the disk.
    pub(super) async fn values_of(
        &self,
        id: &MemoryRef,
        patch: &mut Patch,
    ) -> Result<(BTreeMap<&'static str, Value>, Held), NodeError> {
        let Some(text) = patch.text.take() else { return Ok((patch.values(), None)) };
        let (text, attachment, held) = match self.attached(&text).await? {
            Some((beginning, attachment, held)) => (beginning, Some(attachment), held),
            None => {
                let known = match TextAttachment::may_begin(&text) {
                    true => self.attachments_of(id.clone()).await?,
                    false => Vec::new(),
                };
                let attachment = known.into_iter().find(|attachment| attachment.is_of(&text));
                (text, attachment, None)
            }
        };
        patch.text = Some(text);
        let mut values = patch.values();
        values.insert(Field::ATTACHMENT, serde_json::to_value(attachment).unwrap_or_default());
        Ok((values, held))
    }

    /// All attachments that a memory has: of the text that is shown, and of texts that were written apart.
    async fn attachments_of(&self, id: MemoryRef) -> Result<Vec<TextAttachment>, NodeError> {
        let read = self.reading(move |brain| {
            let memory = brain.get_blocking(id)?;
            let core = brain.reader(&brain.snapshot()?)?.core_of(&memory.id.to_string())?;
            Ok((core.attachment, memory.conflicts))
        });
        let (shown, mut conflicts) = read.await?;
        let others = conflicts.remove(Field::ATTACHMENT).into_iter().flatten();
        let others = others.filter_map(|conflict| serde_json::from_value(conflict.value).ok());
        Ok(shown.into_iter().chain(others).collect())
    }

    /// The beginning of a text that is too long for an entry, with its blob; `None` if it is short enough, or if texts have a
    /// lower limit here.
    async fn attached(&self, text: &str) -> Result<Option<(String, TextAttachment, Held)>, NodeError> {
        let max = self.0.limits.text_bytes_max();
        let beginning = TextAttachment::beginning(text);
        if beginning.len() == text.len() || size_as_json(text) <= max || size_as_json(beginning) > max {
            return Ok(None);
        }
        if text.len() > TEXT_ATTACHMENT_BYTES_MAX {
            let what = "text";
            return Err(NodeError::TooLarge { what, bytes: text.len(), max: TEXT_ATTACHMENT_BYTES_MAX });
        }
        self.attach(text, beginning).await
    }

    /// The whole text of a memory: what it shows, or what is in the blob of which that is the beginning. It is fetched from
    /// whoever has it.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if nobody in reach has the blob. [`ConflictError::TextDiffers`] if the blob is not what the
    /// memory's author says. Those of `Blobs::fetch`.
    pub async fn whole_text(&self, memory: &Memory) -> Result<String, NodeError> {
        let Some(attachment) = memory.attachment else { return Ok(memory.text.clone()) };
        let content = self.fetch_text(attachment).await?.ok_or(ConflictError::TextDiffers)?;
        let is_as_said = content.len() as u64 == attachment.bytes() && content.starts_with(memory.text.as_bytes());
        let text = String::from_utf8(content).ok().filter(|_| is_as_said);
        text.ok_or_else(|| ConflictError::TextDiffers.into())
    }

    /// The whole text of a memory of which this is the beginning; `None` if it is not here, or is not what its author says.
    /// It is not fetched. May wait for the disk.
    #[cfg(feature = "http")]
    pub(crate) fn whole_text_here(&self, beginning: &str, attachment: TextAttachment) -> Option<String> {
        let content = self.text_here(attachment)?;
        let is_as_said = content.len() as u64 == attachment.bytes() && content.starts_with(beginning.as_bytes());
        String::from_utf8(content).ok().filter(|_| is_as_said)
    }
}

fn size_as_json(text: &str) -> usize {
    Value::from(text).to_string().len()
}

#[cfg(feature = "blobs")]
mod with_blobs {
    use std::time::Duration;

    use super::*;
    use crate::blobs::BlobHash;
    use crate::error::Resource;

    /// The time for which a blob is looked for that nobody in reach has.
    const WAIT: Duration = Duration::from_secs(10);

    impl Brain {
        pub(super) async fn attach(
            &self,
            text: &str,
            beginning: &str,
        ) -> Result<Option<(String, TextAttachment, Held)>, NodeError> {
            let Some(blobs) = &self.here().blobs else { return Ok(None) };
            let (hash, in_use) = blobs.attach(text.as_bytes()).await?;
            let attachment = TextAttachment::new(*hash.as_bytes(), text.len() as u64, beginning);
            Ok(Some((beginning.to_owned(), attachment, Some(in_use))))
        }

        /// The content of an attachment's blob; `None` if it is longer than its author says, or than a text may be.
        pub(super) async fn fetch_text(&self, attachment: TextAttachment) -> Result<Option<Vec<u8>>, NodeError> {
            let hash = BlobHash::from_bytes(*attachment.blob());
            let most = attachment.bytes().min(TEXT_ATTACHMENT_BYTES_MAX as u64);
            let missing = || NodeError::NotFound { what: Resource::Blob, name: hash.to_string() };
            self.here().blobs.as_ref().ok_or_else(missing)?.content(hash, most, WAIT).await
        }

        /// The content of an attachment's blob that is here.
        #[cfg(feature = "http")]
        pub(super) fn text_here(&self, attachment: TextAttachment) -> Option<Vec<u8>> {
            let hash = BlobHash::from_bytes(*attachment.blob());
            let most = attachment.bytes().min(TEXT_ATTACHMENT_BYTES_MAX as u64);
            self.here().blobs.as_ref()?.content_here(hash, most)
        }
    }
}

#[cfg(not(feature = "blobs"))]
mod without_blobs {
    use data_encoding::HEXLOWER;

    use super::*;
    use crate::error::Resource;

    #[expect(clippy::unused_async, reason = "as with blobs")]
    #[expect(clippy::unused_self, reason = "as with blobs")]
    impl Brain {
        pub(super) async fn attach(
            &self,
            _: &str,
            _: &str,
        ) -> Result<Option<(String, TextAttachment, Held)>, NodeError> {
            // the limit of texts refuses it
            Ok(None)
        }

        pub(super) async fn fetch_text(&self, attachment: TextAttachment) -> Result<Option<Vec<u8>>, NodeError> {
            Err(NodeError::NotFound { what: Resource::Blob, name: HEXLOWER.encode(attachment.blob()) })
        }

        #[cfg(feature = "http")]
        pub(super) fn text_here(&self, _: TextAttachment) -> Option<Vec<u8>> {
            None
        }
    }
}
