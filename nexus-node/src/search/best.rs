use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Match;

/// The best offers. Of equally good ones the earlier wins.
pub(super) struct Best {
    limit: usize,
    /// The worst of the kept ones on top.
    kept: BinaryHeap<Reverse<Offer>>,
    offered: u64,
}

/// An offer, with its number.
struct Offer {
    found: Match,
    number: u64,
}

impl Best {
    /// Room for `limit` offers, at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), kept: BinaryHeap::new(), offered: 0 }
    }

    /// The score above which an offer is taken.
    pub(super) fn threshold(&self) -> f32 {
        match self.kept.peek() {
            Some(Reverse(worst)) if self.kept.len() >= self.limit => worst.found.score,
            _ => f32::MIN,
        }
    }

    /// `is_alone`: whether no other offer has its place. The best of several with one place counts.
    pub(super) fn offer(&mut self, found: Match, is_alone: bool) {
        self.offered += 1;
        if !is_alone && let Some(known) = self.kept.iter().find(|known| known.0.found.place == found.place) {
            if known.0.found.score < found.score {
                self.kept.retain(|known| known.0.found.place != found.place);
                self.kept.push(Reverse(Offer { found, number: self.offered }));
            }
            return;
        }
        let offer = Reverse(Offer { found, number: self.offered });
        if self.kept.len() < self.limit {
            self.kept.push(offer);
        } else if found.score > self.threshold()
            && let Some(mut worst) = self.kept.peek_mut()
        {
            *worst = offer;
        }
    }

    /// Best first.
    pub(super) fn into_sorted(self) -> Vec<Match> {
        // ascending by the reverse of their order
        self.kept.into_sorted_vec().into_iter().map(|Reverse(offer)| offer.found).collect()
    }
}

impl Ord for Offer {
    fn cmp(&self, other: &Self) -> Ordering {
        self.found.score.total_cmp(&other.found.score).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Offer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Offer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Offer {}

#[cfg(test)]
mod tests {
    use nexus_identity::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::rows::Place;

    proptest! {
        #[test]
        fn the_best_are_those_that_sorting_everything_gives(
            scores in prop::collection::vec((0_u8..20, 1_u8..4), 0..60),
            limit in 1_usize..30,
        ) {
            let mut best = Best::new(limit);
            let mut all: Vec<Match> = Vec::new();
            for (eno, (score, parts)) in (0..).zip(scores) {
                let found = Match { place: Place { eno, index: 0 }, score: score.into(), stamp: Timestamp::from_ms(0) };
                all.push(found);
                for part in 1..parts {
                    best.offer(Match { score: found.score - f32::from(part), ..found }, false);
                }
                best.offer(found, parts == 1);
            }
            all.sort_by(|a, b| b.score.total_cmp(&a.score));
            all.truncate(limit);
            prop_assert_eq!(best.into_sorted(), all);
        }
    }
}
