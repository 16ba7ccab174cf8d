//! Questions, made step by step: `RecallQuery::of("harbour").limit(5).tag("ops")`.

use std::time::Duration;

use super::{ListQuery, RecallQuery, ValidAt, WatchQuery};

impl ListQuery {
    /// The 100 newest memories of all readable spaces.
    pub fn newest() -> Self {
        Self::default()
    }

    /// Of one space alone, by name or id.
    #[must_use]
    pub fn space(mut self, space: impl Into<String>) -> Self {
        self.space = Some(space.into());
        self
    }

    /// At most this many, 1 to 1,000.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Without those that have aliases.
    #[must_use]
    pub fn no_aliases(mut self) -> Self {
        self.no_aliases = true;
        self
    }

    /// With this tag, and those named before.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Of this kind, or of one named before.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// With groups of words that mean the same and the records of projects, which are no texts to read.
    #[must_use]
    pub fn all(mut self) -> Self {
        self.all = true;
        self
    }

    /// Of this project.
    #[must_use]
    pub fn project(mut self, name: impl Into<String>) -> Self {
        self.project = Some(name.into());
        self
    }

    /// Of those in conflict.
    #[must_use]
    pub fn conflicts(mut self) -> Self {
        self.conflicts = true;
        self
    }

    /// From where an earlier page ended, its [`next`](super::Listing::next); from the newest for `None`.
    #[must_use]
    pub fn after(mut self, cursor: impl Into<Option<String>>) -> Self {
        self.after = cursor.into();
        self
    }
}

impl RecallQuery {
    /// The same in other words, beside those given before: at most three times.
    #[must_use]
    pub fn or(mut self, text: impl Into<String>) -> Self {
        self.or.push(text.into());
        self
    }

    /// With this score or a higher one, 0 to 1.
    #[must_use]
    pub fn min(mut self, score: f64) -> Self {
        self.min = Some(score);
        self
    }

    /// Of this space, and of those named before, by name or id.
    #[must_use]
    pub fn space(mut self, space: impl Into<String>) -> Self {
        self.spaces.push(space.into());
        self
    }

    /// At most this many, 1 to 1,000.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// With this tag, and those named before.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Of this kind, or of one named before.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// Of this author: a member by DID or name, or else a program by its own name.
    #[must_use]
    pub fn by(mut self, author: impl Into<String>) -> Self {
        self.by = Some(author.into());
        self
    }

    /// Of this project, and this person's own that are of none.
    #[must_use]
    pub fn project(mut self, name: impl Into<String>) -> Self {
        self.project = Some(name.into());
        self
    }

    /// Edited or created within this time.
    #[must_use]
    pub fn since(mut self, since: Duration) -> Self {
        self.since = Some(since);
        self
    }

    /// Of what holds at this time.
    #[must_use]
    pub fn valid_at(mut self, at: ValidAt) -> Self {
        self.valid_at = at;
        self
    }

    /// As many as fit into so many tokens, four characters to a token.
    #[must_use]
    pub fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = Some(tokens);
        self
    }
}

impl From<&str> for RecallQuery {
    fn from(text: &str) -> Self {
        Self::of(text)
    }
}

impl From<String> for RecallQuery {
    fn from(text: String) -> Self {
        Self::of(text)
    }
}

impl From<&Self> for RecallQuery {
    fn from(query: &Self) -> Self {
        query.clone()
    }
}

impl From<&Self> for ListQuery {
    fn from(query: &Self) -> Self {
        query.clone()
    }
}

impl WatchQuery {
    /// Changes of all readable spaces from now on.
    pub fn from_now() -> Self {
        Self::default()
    }

    /// Changes of all readable spaces after the one of a [`cursor`](super::Change::cursor).
    pub fn after(cursor: impl Into<String>) -> Self {
        Self { after: Some(cursor.into()), space: None }
    }

    /// Of one space alone, by name or id.
    #[must_use]
    pub fn space(mut self, space: impl Into<String>) -> Self {
        self.space = Some(space.into());
        self
    }
}
