//! Open tasks of this node that wait behind many others of their capability. They are on the disk, and here only by their place
//! in the order: a million of them are no load.

use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::TaskId;

/// The most tasks of a capability that are ready to be handed out, beyond which plain ones are parked.
pub(in crate::tasks) const READY_MAX: usize = 1_024;
/// The most parked tasks: each is held by its place and its id.
pub(in crate::tasks) const PARKED_MAX: usize = 2_000_000;

/// Parked tasks by capability, in the order in which they are handed out.
#[derive(Debug, Default)]
pub(in crate::tasks) struct Parked {
    tasks: BTreeMap<String, BTreeSet<(u64, TaskId)>>,
    ids: BTreeSet<TaskId>,
}

impl Parked {
    /// The number of parked tasks.
    pub(in crate::tasks) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether a task must wait here: its capability has many that are ready, or some here that come before it.
    pub(in crate::tasks) fn is_behind(
        &self,
        capability: &str,
        rank: u64,
        ready: usize,
        last_ready: Option<u64>,
    ) -> bool {
        let is_behind_here =
            || self.tasks.get(capability).and_then(|tasks| tasks.first()).is_some_and(|first| first.0 <= rank);
        ready >= READY_MAX && last_ready.is_none_or(|last| last <= rank) || is_behind_here()
    }

    /// Parks a task.
    pub(in crate::tasks) fn park(&mut self, capability: &str, rank: u64, task: TaskId) {
        let tasks = match self.tasks.get_mut(capability) {
            Some(tasks) => tasks,
            None => self.tasks.entry(capability.to_owned()).or_default(),
        };
        tasks.insert((rank, task));
        self.ids.insert(task);
    }

    /// Lets go of a task, if it is parked.
    pub(in crate::tasks) fn remove(&mut self, capability: &str, rank: u64, task: TaskId) {
        let Some(tasks) = self.tasks.get_mut(capability) else { return };
        tasks.remove(&(rank, task));
        self.ids.remove(&task);
        if tasks.is_empty() {
            self.tasks.remove(capability);
        }
    }

    /// Whether a task is parked.
    pub(in crate::tasks) fn has(&self, task: TaskId) -> bool {
        self.ids.contains(&task)
    }

    /// Lets go of the next tasks whose capability has few that are ready.
    pub(in crate::tasks) fn next(&mut self, ready: impl Fn(&str) -> usize) -> Vec<TaskId> {
        let mut next = Vec::new();
        self.tasks.retain(|capability, tasks| {
            if ready(capability) < READY_MAX / 2 {
                next.extend((0..READY_MAX / 2).map_while(|_| tasks.pop_first()).map(|(_, task)| task));
            }
            !tasks.is_empty()
        });
        for task in &next {
            self.ids.remove(task);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(n: u16) -> TaskId {
        TaskId { entry: nexus_crdt::EntryId::of(b"x"), index: n }
    }

    /// promise: Tasks | Tasks wait on the disk behind many of their capability, come in their order, and keep no other capability waiting
    #[test]
    fn a_long_line_keeps_its_order_and_nobody_else() {
        let mut parked = Parked::default();
        assert!(!parked.is_behind("build", 7, READY_MAX - 1, Some(3)));
        assert!(parked.is_behind("build", 7, READY_MAX, Some(3)));
        assert!(!parked.is_behind("build", 2, READY_MAX, Some(3)), "it comes before those that are ready");
        for n in 0..2_000 {
            parked.park("build", u64::from(n), task(n));
        }
        parked.park("build", 5, task(5));
        assert_eq!(parked.len(), 2_000);
        assert!(parked.is_behind("build", 3_000, 0, None), "others were there before");
        assert!(!parked.is_behind("review", 3_000, 0, None));
        assert!(parked.next(|_| READY_MAX / 2).is_empty());
        let next = parked.next(|_| 0);
        assert_eq!(next, (0..512).map(task).collect::<Vec<_>>());
        parked.remove("build", 9, task(9));
        parked.remove("build", 512, task(512));
        assert!(parked.has(task(513)) && !parked.has(task(512)));
        assert_eq!((parked.len(), parked.next(|_| 0)[0]), (1_487, task(513)));
    }
}
