//! Options and questions, made step by step: `LockOptions::default().wait(…)`.

use std::time::Duration;

/// The options for writing a key.
///
/// ```
/// # use std::time::Duration;
/// # use nexus_node::critical::PutOptions;
/// let hourly = PutOptions::default().ttl(Duration::from_secs(3_600));
/// # assert_eq!(hourly.ttl, Some(Duration::from_secs(3_600)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutOptions {
    /// The lifetime of the key from its last write on, one second to 30 days; `None` for no end.
    pub ttl: Option<Duration>,
    /// The token of a lock, which must be good at that moment.
    pub fence: Option<u64>,
}

impl PutOptions {
    /// With this lifetime, one second to 30 days.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Under the token of a lock: the write is refused once another node has the lock.
    #[must_use]
    pub fn fence(mut self, token: u64) -> Self {
        self.fence = Some(token);
        self
    }
}

/// The options for deleting a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// The token of a lock, which must be good at that moment.
    pub fence: Option<u64>,
}

impl DeleteOptions {
    /// Under the token of a lock: the deletion is refused once another node has the lock.
    #[must_use]
    pub fn fence(mut self, token: u64) -> Self {
        self.fence = Some(token);
        self
    }
}

/// The options for taking a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockOptions {
    /// The time of the lease unless it is renewed, one second to 30 days. Default: 30 s.
    pub ttl: Duration,
    /// The longest wait in line for a held lock, at most an hour. Default: no wait.
    pub wait: Duration,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(30), wait: Duration::ZERO }
    }
}

impl LockOptions {
    /// With a lease of this time, one second to 30 days.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// After at most this wait in line, an hour at the longest.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// A question for a page of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyQuery {
    /// The prefix of the keys; empty for all.
    pub prefix: String,
    /// The key to continue after, the [`next`](super::KeyPage::next) of an earlier page.
    pub after: Option<String>,
    /// The most keys, at most 1,000. Default: 1,000.
    pub limit: usize,
}

impl KeyQuery {
    /// The first keys with this prefix; with an empty one, of all.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), after: None, limit: 1_000 }
    }

    /// From where an earlier page ended; from the first key for `None`.
    #[must_use]
    pub fn after(mut self, key: impl Into<Option<String>>) -> Self {
        self.after = key.into();
        self
    }

    /// At most this many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// Changes of critical state to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CriticalWatchQuery {
    /// The prefix of the keys and locks; empty for all.
    pub prefix: String,
    /// The revision to continue after; `None` for the current one.
    pub after: Option<u64>,
}

impl CriticalWatchQuery {
    /// Changes of all keys and locks from now on.
    pub fn from_now() -> Self {
        Self::default()
    }

    /// Changes of all keys and locks after a revision.
    pub fn after(revision: u64) -> Self {
        Self { after: Some(revision), ..Self::default() }
    }

    /// Of keys and locks with this prefix alone.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }
}

/// A question for a page of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditQuery {
    /// The number of the deed to continue after; 0 for the beginning.
    pub after: u64,
    /// Only deeds within this time, by the clocks of the requesters.
    pub since: Option<Duration>,
    /// The most deeds. Default: 100.
    pub limit: usize,
}

impl Default for AuditQuery {
    fn default() -> Self {
        Self { after: 0, since: None, limit: 100 }
    }
}

impl AuditQuery {
    /// After the deed of this number, the [`next`](super::AuditPage::next) of an earlier page.
    #[must_use]
    pub fn after(mut self, n: u64) -> Self {
        self.after = n;
        self
    }

    /// Within this time, by the clocks of the requesters.
    #[must_use]
    pub fn since(mut self, since: Duration) -> Self {
        self.since = Some(since);
        self
    }

    /// At most this many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}
