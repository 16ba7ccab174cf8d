use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nexus_identity::Did;
use tokio::time::Instant;

/// The part of a core that one peer may have for work that brings nothing: a twentieth.
const SHARE: u32 = 20;
/// Such work of one peer that is done at once.
const AT_ONCE: Duration = Duration::from_millis(250);
/// The longest wait before a peer's next frame. The work is measured by the clock: where the disk or the machine stands
/// still, an honest peer must not pay for that for long.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The work that a broken rule counts as: mostly that of the connection which it ends, and of the next one.
pub(super) const BROKEN_RULE: Duration = Duration::from_millis(50);

/// Work for peers that brought nothing: sessions that were opened, frontiers, entries that are held or do not verify.
///
/// All of it is part of an honest sync, too, but little of it. A peer that causes more is read more slowly, over
/// however many streams and connections: else one member could take a whole core with frames that cost it nothing.
#[derive(Debug, Default)]
pub(crate) struct VainWork {
    /// The time until which the work of each peer is too much, less what is done at once.
    until: Mutex<BTreeMap<Did, Instant>>,
}

impl VainWork {
    /// Notes such work for a peer.
    pub(super) fn note(&self, peer: Did, work: Duration, now: Instant) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.retain(|_, until| *until > now);
        let until = until.entry(peer).or_insert(now);
        *until = (*until + work.min(AT_ONCE) * SHARE).min(now + AT_ONCE * SHARE + WAIT_MAX);
    }

    /// When to read on from a peer, if not at once.
    pub(super) fn wait(&self, peer: &Did, now: Instant) -> Option<Instant> {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.get(peer).and_then(|until| until.checked_sub(AT_ONCE * SHARE)).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Bad input | Work that brings nothing has a twentieth of a core for each peer, and delays it by seconds
    #[test]
    fn a_peer_has_some_vain_work_at_once_and_a_twentieth_of_a_core_after_that() {
        let (vain, peer, other) = (VainWork::default(), Did::from_bytes([1; 32]), Did::from_bytes([2; 32]));
        let start = Instant::now() + Duration::from_secs(100);
        vain.note(peer, AT_ONCE, start);
        assert_eq!(vain.wait(&peer, start), None);
        vain.note(peer, Duration::from_millis(150), start);
        let later = start + Duration::from_secs(3);
        assert_eq!(vain.wait(&peer, start), Some(later));
        assert_eq!((vain.wait(&other, start), vain.wait(&peer, later)), (None, None));
        vain.note(peer, Duration::from_secs(3_600), start);
        vain.note(peer, Duration::from_secs(3_600), start);
        assert_eq!(vain.wait(&peer, start), Some(start + WAIT_MAX), "a clock that jumped");
        let later = start + WAIT_MAX;
        // all of it is over after some time
        let end = later + AT_ONCE * SHARE;
        vain.note(peer, AT_ONCE, end);
        assert_eq!(vain.wait(&peer, end), None);
    }
}
