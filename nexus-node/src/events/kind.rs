use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A kind of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventKind {
    /// Memories are remembered, edited, forgotten.
    Memories,
    /// Members are admitted, named, revoked.
    Members,
    /// Spaces are created.
    Spaces,
    /// Something is said of a task: it is submitted, claimed, over.
    Tasks,
    /// Documents are created and changed.
    Documents,
    /// Keys and locks change.
    Critical,
    /// Connections to members open and close.
    Peers,
    /// Blobs come to this node, leave it, or are found damaged.
    Blobs,
    /// The coordinators' mode changes.
    Mode,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Memories,
        Self::Members,
        Self::Spaces,
        Self::Tasks,
        Self::Documents,
        Self::Critical,
        Self::Peers,
        Self::Blobs,
        Self::Mode,
    ];

    /// The word in JSON and in addresses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memories => "memories",
            Self::Members => "members",
            Self::Spaces => "spaces",
            Self::Tasks => "tasks",
            Self::Documents => "documents",
            Self::Critical => "critical",
            Self::Peers => "peers",
            Self::Blobs => "blobs",
            Self::Mode => "mode",
        }
    }

    /// Whether such events are read from the log.
    pub(super) const fn is_of_log(self) -> bool {
        matches!(self, Self::Memories | Self::Members | Self::Spaces | Self::Tasks | Self::Documents)
    }

    /// Whether each such event belongs to a space.
    pub(crate) const fn has_space(self) -> bool {
        self.is_of_log()
    }

    /// Whether there are places among such events. The mode is as it is now.
    pub(super) const fn is_kept(self) -> bool {
        !matches!(self, Self::Mode)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word is no kind of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kinds of events are memories, members, spaces, tasks, documents, critical, peers, blobs and mode")]
pub struct NoEventKind;

impl FromStr for EventKind {
    type Err = NoEventKind;

    fn from_str(word: &str) -> Result<Self, NoEventKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or(NoEventKind)
    }
}

/// The events that a reader follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventsQuery {
    /// The cursor after which they begin; from now on without one.
    pub after: Option<String>,
    /// Their kinds.
    pub kinds: BTreeSet<EventKind>,
    /// The only space, by name or id. Events of keys, peers, blobs and the mode have none.
    pub space: Option<String>,
}

impl EventsQuery {
    /// All events from now on.
    pub fn from_now() -> Self {
        Self { after: None, kinds: EventKind::ALL.into(), space: None }
    }

    /// All events after a cursor.
    pub fn after(cursor: impl Into<String>) -> Self {
        Self { after: Some(cursor.into()), ..Self::from_now() }
    }

    /// The same for these kinds alone.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }

    /// The same for one space alone.
    #[must_use]
    pub fn space(mut self, space: impl Into<String>) -> Self {
        self.space = Some(space.into());
        self
    }
}
