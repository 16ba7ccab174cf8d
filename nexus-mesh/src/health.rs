//! The failure detector: which peers are up, judged by signs of life.
//!
//! A sign of life is anything that only the living peer can cause: a verified beat, even over several
//! hops, or a ping on a direct connection, received or answered.

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_identity::Did;
use nexus_identity::plants::planted;
use tokio::time::Instant;

use crate::event::{DownCause, PeerState};

/// The most watched peers; further ones are not watched.
pub(crate) const WATCHED_MAX: usize = 4_096;

/// A peer's state changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthChange {
    /// The peer.
    pub(crate) peer: Did,
    /// Its new state.
    pub(crate) state: PeerState,
    /// The cause; `None` for `Up`.
    pub(crate) cause: Option<DownCause>,
}

/// The state of one peer.
#[derive(Clone, Debug)]
pub(crate) struct Vital {
    /// Its state.
    pub(crate) state: PeerState,
    /// The cause, if it is not up.
    pub(crate) cause: Option<DownCause>,
    /// The last sign of life.
    pub(crate) heard_at: Instant,
}

/// The failure detector: pure, `now` is an argument and never goes back.
#[derive(Debug)]
pub(crate) struct Health {
    suspect_after: Duration,
    down_after: Duration,
    peers: BTreeMap<Did, Vital>,
}

impl Health {
    /// A detector that suspects after `suspect_after` of silence, and counts as down after `down_after`.
    pub(crate) fn new(suspect_after: Duration, down_after: Duration) -> Self {
        Self { suspect_after, down_after, peers: BTreeMap::new() }
    }

    /// Notes a sign of life.
    ///
    /// # State transition
    /// any → `Up`.
    pub(crate) fn heard(&mut self, peer: Did, now: Instant) -> Option<HealthChange> {
        if !self.peers.contains_key(&peer) && self.peers.len() >= WATCHED_MAX {
            return None;
        }
        if planted("down_for_ever") && self.peers.get(&peer).is_some_and(|vital| vital.state == PeerState::Down) {
            return None;
        }
        let up = Vital { state: PeerState::Up, cause: None, heard_at: now };
        let before = self.peers.insert(peer, up);
        let changed = before.is_none_or(|before| before.state != PeerState::Up);
        changed.then_some(HealthChange { peer, state: PeerState::Up, cause: None })
    }

    /// Notes the end of the connection to the peer.
    ///
    /// # State transition
    /// `Up → Suspect` for a cause that a detour or a redial may mend. Any → `Down` for a final one
    /// ([`DownCause::is_final`]).
    pub(crate) fn closed(&mut self, peer: Did, cause: DownCause) -> Option<HealthChange> {
        let vital = self.peers.get_mut(&peer)?;
        let state = if cause.is_final() { PeerState::Down } else { vital.state.max(PeerState::Suspect) };
        let changed = vital.state != state;
        vital.state = state;
        vital.cause = Some(cause.clone());
        changed.then_some(HealthChange { peer, state, cause: Some(cause) })
    }

    /// Judges silence. A peer that is suspect after a lost connection goes down with that cause.
    ///
    /// # State transition
    /// `Up → Suspect` after `suspect_after` without a sign of life, `Suspect → Down` after
    /// `down_after`.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<HealthChange> {
        let mut changes = Vec::new();
        for (peer, vital) in &mut self.peers {
            let silent = now.saturating_duration_since(vital.heard_at);
            let state = match vital.state {
                PeerState::Down => continue,
                _ if silent >= self.down_after => PeerState::Down,
                _ if silent >= self.suspect_after => PeerState::Suspect,
                state => state,
            };
            if state != vital.state {
                vital.state = state;
                let cause = vital.cause.get_or_insert(DownCause::Silent).clone();
                changes.push(HealthChange { peer: *peer, state, cause: Some(cause) });
            }
        }
        changes
    }

    /// Shifts all signs of life by a time in which this node did not listen: that silence is no peer's fault.
    pub(crate) fn forgive(&mut self, deaf: Duration, now: Instant) {
        for vital in self.peers.values_mut() {
            vital.heard_at = (vital.heard_at + deaf).min(now);
        }
    }

    /// The next time at which [`Health::tick`] may change something.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let due = |vital: &Vital| match vital.state {
            PeerState::Up => Some(vital.heard_at + self.suspect_after),
            PeerState::Suspect => Some(vital.heard_at + self.down_after),
            PeerState::Down => None,
        };
        self.peers.values().filter_map(due).min()
    }

    /// The state of a peer.
    pub(crate) fn vital(&self, peer: &Did) -> Option<&Vital> {
        self.peers.get(peer)
    }

    /// All watched peers, by DID.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &Did> {
        self.peers.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUSPECT: Duration = Duration::from_secs(10);
    const DOWN: Duration = Duration::from_secs(15);

    fn did(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    #[test]
    fn three_missed_beats_are_down() {
        let (start, mut health) = (Instant::now(), Health::new(SUSPECT, DOWN));
        assert_eq!(health.heard(did(1), start).unwrap().state, PeerState::Up);
        assert_eq!(health.heard(did(1), start), None);
        assert_eq!(health.next_tick(), Some(start + SUSPECT));
        assert!(health.tick(start + SUSPECT - Duration::from_millis(1)).is_empty());
        assert_eq!(health.tick(start + SUSPECT)[0].state, PeerState::Suspect);
        let down = health.tick(start + DOWN).remove(0);
        assert_eq!((down.state, down.cause), (PeerState::Down, Some(DownCause::Silent)));
        assert_eq!(health.next_tick(), None);
        assert_eq!(health.heard(did(1), start + DOWN).unwrap().state, PeerState::Up);
    }

    /// promise: Meeting | A silent peer is suspect, then down, with its cause; one that is heard never is
    #[test]
    fn a_lost_connection_is_suspect_at_once_and_down_with_its_cause() {
        let (start, mut health) = (Instant::now(), Health::new(SUSPECT, DOWN));
        health.heard(did(1), start);
        let change = health.closed(did(1), DownCause::RemoteClosed).unwrap();
        assert_eq!((change.state, change.cause), (PeerState::Suspect, Some(DownCause::RemoteClosed)));
        let down = health.tick(start + DOWN).remove(0);
        assert_eq!((down.state, down.cause), (PeerState::Down, Some(DownCause::RemoteClosed)));
    }

    #[test]
    fn a_node_that_did_not_listen_blames_nobody() {
        let (start, mut health) = (Instant::now(), Health::new(SUSPECT, DOWN));
        health.heard(did(1), start);
        let later = start + DOWN * 2;
        health.forgive(DOWN * 2, later);
        assert!(health.tick(later).is_empty());
        assert_eq!(health.tick(later + DOWN)[0].state, PeerState::Down);
    }

    #[test]
    fn revocation_is_down_at_once() {
        let (start, mut health) = (Instant::now(), Health::new(SUSPECT, DOWN));
        health.heard(did(1), start);
        assert_eq!(health.closed(did(1), DownCause::Revoked).unwrap().state, PeerState::Down);
    }

    proptest! {
        /// promise: Meeting | A silent peer is suspect, then down, with its cause; one that is heard never is
        #[test]
        fn a_peer_heard_within_the_limit_is_never_down_and_a_silent_one_always_is(
            gaps_ms in prop::collection::vec(0_u64..40_000, 1..50),
        ) {
            let (mut now, mut health) = (Instant::now(), Health::new(SUSPECT, DOWN));
            health.heard(did(1), now);
            for gap in gaps_ms {
                let gap = Duration::from_millis(gap);
                now += gap;
                health.tick(now);
                let expected = if gap >= DOWN { PeerState::Down } else if gap >= SUSPECT { PeerState::Suspect } else { PeerState::Up };
                prop_assert_eq!(health.vital(&did(1)).unwrap().state, expected);
                health.heard(did(1), now);
            }
        }

        #[test]
        fn ticking_at_the_announced_times_misses_nothing(gaps_ms in prop::collection::vec(1_u64..20_000, 1..30)) {
            let (mut now, mut lazy, mut eager) = (Instant::now(), Health::new(SUSPECT, DOWN), Health::new(SUSPECT, DOWN));
            for (n, gap) in gaps_ms.into_iter().enumerate() {
                let peer = did(u8::try_from(n % 3).unwrap());
                lazy.heard(peer, now);
                eager.heard(peer, now);
                let until = now + Duration::from_millis(gap);
                while let Some(due) = lazy.next_tick().filter(|due| *due <= until) {
                    lazy.tick(due);
                }
                while now < until {
                    now = (now + Duration::from_millis(1_000)).min(until);
                    eager.tick(now);
                }
                for peer in 0..3 {
                    let state = |health: &Health| health.vital(&did(peer)).map(|vital| vital.state);
                    prop_assert_eq!(state(&lazy), state(&eager));
                }
            }
        }
    }
}
