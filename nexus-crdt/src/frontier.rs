use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::entry_id::EntryId;
use crate::log_id::LogId;
use crate::space::SpaceId;

/// The last held entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// Its number in the log.
    pub seq: u64,
    /// Its id.
    pub id: EntryId,
}

/// The frontier of a node: for each log, all entries up to its [`Head`] are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier(BTreeMap<LogId, Head>);

impl Frontier {
    /// The head of a log, if any of it is held.
    pub fn head(&self, log: &LogId) -> Option<&Head> {
        self.0.get(log)
    }

    /// Moves a log's head forward. An earlier head changes nothing.
    pub fn advance(&mut self, log: LogId, head: Head) {
        let known = self.0.entry(log).or_insert(head);
        if head.seq > known.seq {
            *known = head;
        }
    }

    /// Whether a log is held up to `seq`.
    pub fn covers(&self, log: &LogId, seq: u64) -> bool {
        self.0.get(log).is_some_and(|head| head.seq >= seq)
    }

    /// All logs with their heads, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&LogId, &Head)> {
        self.0.iter()
    }

    /// The logs of all spaces but these.
    pub fn without(&self, hidden: &BTreeSet<SpaceId>) -> Cow<'_, Self> {
        if hidden.is_empty() {
            return Cow::Borrowed(self);
        }
        let shown = self.0.iter().filter(|(log, _)| !hidden.contains(&log.space));
        Cow::Owned(Self(shown.map(|(log, head)| (*log, *head)).collect()))
    }

    /// The number of held logs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no log is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of held entries that `theirs` lacks. Both may be a peer's claim, with any numbers.
    pub fn ahead_of(&self, theirs: &Self) -> u64 {
        let lacking = |(log, head): (&LogId, &Head)| match theirs.0.get(log) {
            Some(their) => head.seq.saturating_sub(their.seq),
            None => head.seq.saturating_add(1),
        };
        self.0.iter().map(lacking).fold(0, u64::saturating_add)
    }

    /// A digest, equal on all nodes that hold the same entries.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("nexus frontier v1");
        for (log, head) in &self.0 {
            hasher.update(log.space.as_bytes());
            hasher.update(log.author.as_bytes());
            hasher.update(&log.incarnation.0);
            hasher.update(&head.seq.to_le_bytes());
            hasher.update(head.id.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

impl FromIterator<(LogId, Head)> for Frontier {
    fn from_iter<I: IntoIterator<Item = (LogId, Head)>>(logs: I) -> Self {
        let mut frontier = Self::default();
        for (log, head) in logs {
            frontier.advance(log, head);
        }
        frontier
    }
}
