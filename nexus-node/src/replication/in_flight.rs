use std::collections::BTreeMap;
use std::time::Duration;

use nexus_crdt::LogId;

/// Bytes of relayed entries that the peer has not acknowledged, beside those of the last frame.
const BYTES_MAX: usize = 1 << 20;
/// How long an acknowledgement is waited for. A peer need not take an entry, and then never acknowledges it.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Entries of third parties on their way to the peer.
///
/// A peer that has other work takes few of an eager author. If the stream to it were full of those, what this node
/// wrote itself would wait behind them.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// The bytes of each entry, by its place in its log.
    entries: BTreeMap<(LogId, u64), usize>,
    bytes: usize,
    /// When there was room last, or the peer acknowledged something.
    moved: Duration,
    /// Whether it has acknowledged some since the last look.
    heard: bool,
}

impl InFlight {
    pub(super) fn add(&mut self, log: LogId, seq: u64, bytes: usize) {
        self.bytes += bytes;
        *self.entries.entry((log, seq)).or_default() += bytes;
    }

    /// Notes that the peer has a log up to some entry.
    pub(super) fn acknowledged(&mut self, log: &LogId, seq: u64) {
        let had = self.entries.range((*log, 0)..=(*log, seq)).map(|(at, _)| *at).collect::<Vec<_>>();
        for at in had {
            self.bytes -= self.entries.remove(&at).unwrap_or_default();
            self.heard = true;
        }
    }

    /// Whether more may be sent.
    pub(super) fn has_room(&mut self, now: Duration) -> bool {
        let heard = std::mem::take(&mut self.heard);
        if !heard && now >= self.moved + WAIT_MAX {
            self.forget();
        }
        if heard || self.bytes < BYTES_MAX {
            self.moved = now;
        }
        self.bytes < BYTES_MAX
    }

    /// When there is room without an acknowledgement; `None` if there is now.
    pub(super) fn room_at(&self) -> Option<Duration> {
        (self.bytes >= BYTES_MAX).then(|| self.moved + WAIT_MAX)
    }

    /// Waits for nothing of what was sent.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use nexus_crdt::{Incarnation, SpaceId};
    use nexus_identity::Did;

    use super::*;

    fn log(n: u8) -> LogId {
        LogId {
            space: SpaceId::from_bytes([n; 32]),
            author: Did::from_bytes([n; 32]),
            incarnation: Incarnation([n; 8]),
        }
    }

    #[test]
    fn what_the_peer_has_makes_room_and_so_does_time() {
        let (mut on_way, start) = (InFlight::default(), Duration::from_secs(100));
        assert!(on_way.has_room(start) && on_way.room_at().is_none());
        (0..4).for_each(|seq| on_way.add(log(1), seq, BYTES_MAX / 8));
        (0..4).for_each(|seq| on_way.add(log(2), seq, BYTES_MAX / 8));
        assert!(!on_way.has_room(start) && on_way.room_at() == Some(start + WAIT_MAX));
        // another log, and entries that were not sent
        on_way.acknowledged(&log(3), 9);
        assert!(!on_way.has_room(start));
        on_way.acknowledged(&log(2), 1);
        assert_eq!(on_way.bytes, BYTES_MAX / 8 * 6);
        on_way.add(log(2), 4, BYTES_MAX);
        let later = start + WAIT_MAX;
        assert!(!on_way.has_room(later), "it took some since then");
        assert!(on_way.room_at() == Some(later + WAIT_MAX) && !on_way.entries.is_empty());
        assert!(on_way.has_room(later + WAIT_MAX) && on_way.entries.is_empty());
        // one entry in two branches
        on_way.add(log(1), 7, 5);
        on_way.add(log(1), 7, 6);
        on_way.acknowledged(&log(1), u64::MAX);
        assert_eq!(on_way.bytes, 0);
    }
}
