//! The ancestors of a change: of each actor the number of its changes among them.

use std::fmt;
use std::sync::Arc;

const CHUNK: usize = 32;

/// The number of changes of each actor, by the actor's place.
///
/// Somebody who types makes changes after one another: their clocks differ in the number of one actor. That number stands beside the
/// others, which such clocks share.
#[derive(Clone, Default)]
pub(crate) struct Clock {
    others: Arc<Vec<Arc<[u32; CHUNK]>>>,
    /// The place that was set last, with its number. It holds, and not the number that `others` has for it.
    last: Option<(u32, u32)>,
}

impl fmt::Debug for Clock {
    /// The numbers alone: equal clocks may stand in memory differently.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Clock {
    pub(crate) fn get(&self, actor: usize) -> u32 {
        match self.last {
            Some((last, changes)) if last as usize == actor => changes,
            _ => self.others.get(actor / CHUNK).and_then(|chunk| chunk.get(actor % CHUNK)).copied().unwrap_or_default(),
        }
    }

    pub(crate) fn set(&mut self, actor: usize, changes: u32) {
        let Ok(actor) = u32::try_from(actor) else { return };
        if self.last.is_some_and(|(last, _)| last != actor) {
            self.settle();
        }
        self.last = Some((actor, changes));
    }

    /// Notes the place that was set last among the others.
    fn settle(&mut self) {
        let Some((actor, changes)) = self.last.take() else { return };
        let (chunk, at) = (actor as usize / CHUNK, actor as usize % CHUNK);
        let others = Arc::make_mut(&mut self.others);
        if others.len() <= chunk {
            others.resize(chunk + 1, Arc::new([0; CHUNK]));
        }
        if let Some(slot) = others.get_mut(chunk).and_then(|chunk| Arc::make_mut(chunk).get_mut(at)) {
            *slot = changes;
        }
    }

    /// Takes in the ancestors of another change.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.last.is_none() && self.others.is_empty() {
            self.clone_from(other);
            return;
        }
        if !Arc::ptr_eq(&self.others, &other.others) {
            self.settle();
            let is_behind = |own: &Arc<[u32; CHUNK]>, theirs: &Arc<[u32; CHUNK]>| {
                !Arc::ptr_eq(own, theirs) && own.iter().zip(theirs.iter()).any(|(own, theirs)| theirs > own)
            };
            let others = Arc::make_mut(&mut self.others);
            let more = other.others.get(others.len()..).unwrap_or_default();
            others.extend_from_slice(more);
            for (own, theirs) in
                others.iter_mut().zip(other.others.iter()).filter(|(own, theirs)| is_behind(own, theirs))
            {
                for (own, theirs) in Arc::make_mut(own).iter_mut().zip(theirs.iter()) {
                    *own = (*own).max(*theirs);
                }
            }
        }
        if let Some((actor, changes)) = other.last
            && changes > self.get(actor as usize)
        {
            self.set(actor as usize, changes);
        }
    }

    /// The places where it has another number than an earlier clock, with its number.
    pub(crate) fn differs(&self, before: &Self) -> Vec<(usize, u32)> {
        let mut places: Vec<usize> =
            [self.last, before.last].into_iter().flatten().map(|(at, _)| at as usize).collect();
        if !Arc::ptr_eq(&self.others, &before.others) {
            for chunk in 0..self.others.len().max(before.others.len()) {
                let both = (self.others.get(chunk), before.others.get(chunk));
                if !matches!(both, (Some(own), Some(theirs)) if Arc::ptr_eq(own, theirs)) {
                    places.extend(chunk * CHUNK..(chunk + 1) * CHUNK);
                }
            }
        }
        places.sort_unstable();
        places.dedup();
        let changed = |at: usize| Some((at, self.get(at))).filter(|(_, changes)| *changes != before.get(at));
        places.into_iter().filter_map(changed).collect()
    }

    /// The actors with at least one change, with its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let last = self.last.map_or(0, |(last, _)| last as usize + 1);
        let all = (0..last.max(self.others.len() * CHUNK)).map(|at| (at, self.get(at)));
        all.filter(|(_, changes)| *changes > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Plain = BTreeMap<usize, u32>;

    fn plain(clock: &Clock) -> Plain {
        clock.iter().collect()
    }

    proptest! {
        /// Clocks that are set and merged in any order say what maps say.
        #[test]
        fn a_clock_is_a_map(steps in prop::collection::vec((0_usize..4, 0_usize..4, 0_usize..100, 1_u32..9), 0..80)) {
            let mut clocks = vec![(Clock::default(), Plain::new()); 4];
            for (of, from, actor, more) in steps {
                let (theirs, their_map) = clocks[from].clone();
                let (clock, map) = &mut clocks[of];
                let before = (clock.clone(), map.clone());
                if from == of {
                    let next = clock.get(actor) + more;
                    clock.set(actor, next);
                    map.insert(actor, next);
                } else {
                    clock.merge(&theirs);
                    for (actor, changes) in &their_map {
                        let own = map.entry(*actor).or_default();
                        *own = (*own).max(*changes);
                    }
                }
                prop_assert_eq!(&plain(clock), &*map);
                let differs: Plain = clock.differs(&before.0).into_iter().collect();
                let changed = map.iter().filter(|(actor, changes)| before.1.get(actor) != Some(changes));
                prop_assert_eq!(differs, changed.map(|(actor, changes)| (*actor, *changes)).collect::<Plain>());
                prop_assert!((0..128).all(|actor| clock.get(actor) == map.get(&actor).copied().unwrap_or_default()));
            }
        }
    }

    #[test]
    fn clocks_of_changes_in_a_row_share_the_others() {
        let mut clock = Clock::default();
        (0..40).for_each(|actor| clock.set(actor, 1));
        let before = clock.clone();
        clock.set(39, 2);
        assert!(Arc::ptr_eq(&clock.others, &before.others));
        assert_eq!((clock.differs(&before), before.get(39)), (vec![(39, 2)], 1));
    }
}
