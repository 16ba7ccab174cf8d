//! Memories and changes to them, made step by step: `NewMemory::note("…").tag("ops")`.

use std::time::Duration;

use nexus_crdt::{Field, Origin, Was};
use nexus_identity::Timestamp;
use serde_json::Value;

use super::{NewMemory, Patch};
use crate::memory::Secrets;

impl NewMemory {
    /// A note with this text.
    pub fn note(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// In this space, by name or id.
    #[must_use]
    pub fn space(mut self, space: impl Into<String>) -> Self {
        self.space = Some(space.into());
        self
    }

    /// Of this kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// With this tag after those given before.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// With this in its metadata.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// With these words beside those given before, by which somebody may look for it.
    #[must_use]
    pub fn alias(mut self, words: impl Into<String>) -> Self {
        self.aliases.push(words.into());
        self
    }

    /// With a key of the caller's: a live memory of the space with that key is edited, and keeps kind, tags and metadata
    /// that are not given.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Without tags, also where a live memory with its key has some.
    #[must_use]
    pub fn no_tags(mut self) -> Self {
        self.tags.clear();
        self.no_tags = true;
        self
    }

    /// In place of another memory, by its id or key, which no longer holds from then on.
    #[must_use]
    pub fn supersedes(mut self, id: impl Into<String>) -> Self {
        self.supersedes = Some(id.into());
        self
    }

    /// Holding from this time on.
    #[must_use]
    pub fn valid_from(mut self, at: Timestamp) -> Self {
        self.valid_from = Some(at);
        self
    }

    /// Holding until this time.
    #[must_use]
    pub fn valid_to(mut self, at: Timestamp) -> Self {
        self.valid_to = Some(at);
        self
    }

    /// For this long.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Of this program, and on this word.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// The fields in which a live memory with its key stays as it is.
    pub(crate) fn keeps(&self) -> Vec<&'static str> {
        self.keeps.clone().unwrap_or_else(|| self.not_given(self.tags.is_empty() && !self.no_tags))
    }

    /// The fields that are not given, by name.
    pub(crate) fn not_given(&self, no_tags: bool) -> Vec<&'static str> {
        let missing = [
            (self.kind.is_none(), "kind"),
            (no_tags, "tags"),
            (self.meta.is_empty(), Field::META),
            (self.aliases.is_empty(), "aliases"),
            (self.supersedes.is_none(), "supersedes"),
        ];
        missing.into_iter().filter_map(|(missing, name)| missing.then_some(name)).collect()
    }

    /// With its former id and author.
    #[must_use]
    pub fn was(mut self, was: Was) -> Self {
        self.was = Some(was);
        self
    }

    /// With this way for credentials in it.
    #[must_use]
    pub fn secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }
}

impl Patch {
    /// A new text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// A new kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// These aliases in place of the old ones.
    #[must_use]
    pub fn aliases(mut self, aliases: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.aliases = Some(aliases.into_iter().map(Into::into).collect());
        self
    }

    /// Holding from this time on; `None` takes the time away.
    #[must_use]
    pub fn valid_from(mut self, at: Option<Timestamp>) -> Self {
        self.valid_from = Some(at);
        self
    }

    /// Holding until this time; `None` takes the time away.
    #[must_use]
    pub fn valid_to(mut self, at: Option<Timestamp>) -> Self {
        self.valid_to = Some(at);
        self
    }

    /// These tags in place of the old ones.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Of this program, and on this word.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// This metadata in place of the old one.
    #[must_use]
    pub fn meta(mut self, meta: impl IntoIterator<Item = (impl Into<String>, impl Into<Value>)>) -> Self {
        self.meta = Some(meta.into_iter().map(|(key, value)| (key.into(), value.into())).collect());
        self
    }

    /// With this way for credentials in it.
    #[must_use]
    pub fn secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }
}
