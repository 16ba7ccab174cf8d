//! Workers that insist on an approval: how far a task is approved, and how many workers wait for which.

use std::collections::BTreeMap;

use nexus_crdt::{ApprovalRule, Members};
use nexus_identity::Did;

/// How far a task is approved, and the approval on which a worker insists: each includes those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::tasks) enum Approved {
    /// Nobody has approved it, whether it asks for that or not.
    #[default]
    Not,
    /// Somebody has who may by its rule.
    ByRule,
    /// Somebody has who may by the rule `other`.
    ByOther,
}

impl Approved {
    /// The approval of a task on which somebody insists who names a rule.
    pub(in crate::tasks) const fn wanted(rule: Option<ApprovalRule>) -> Option<Self> {
        match rule {
            None => Some(Self::Not),
            Some(ApprovalRule::Person) => Some(Self::ByRule),
            Some(ApprovalRule::Other) => Some(Self::ByOther),
            Some(ApprovalRule::Later) => None,
        }
    }

    /// How far the word of a member approves what another one submitted, if the word counts by the task's own rule.
    pub(in crate::tasks) fn by(members: &Members, approver: &Did, submitter: &Did) -> Self {
        match members.may_approve_by(ApprovalRule::Other, approver, submitter) {
            true => Self::ByOther,
            false => Self::ByRule,
        }
    }

    /// The rule on which a worker insists with it: of a worker that insists on nothing it is that of persons.
    pub(in crate::tasks) const fn rule(self) -> ApprovalRule {
        match self {
            Self::Not | Self::ByRule => ApprovalRule::Person,
            Self::ByOther => ApprovalRule::Other,
        }
    }
}

/// The workers of another node that wait for tasks which this one hands out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tasks) struct WorkersElsewhere {
    /// Workers that take tasks of this node, also ones that it hands out for others.
    pub(in crate::tasks) any: WaitingWorkers,
    /// Workers that take only tasks of these submitters, whose heir this node is.
    pub(in crate::tasks) of: BTreeMap<Did, WaitingWorkers>,
}

impl From<WaitingWorkers> for WorkersElsewhere {
    fn from(any: WaitingWorkers) -> Self {
        Self { any, of: BTreeMap::new() }
    }
}

impl WorkersElsewhere {
    pub(in crate::tasks) fn is_empty(&self) -> bool {
        self.any.is_empty() && self.of.values().all(WaitingWorkers::is_empty)
    }

    /// Those that take tasks of a submitter.
    fn lists(&self, submitter: &Did) -> impl Iterator<Item = &WaitingWorkers> {
        self.of.get(submitter).into_iter().chain([&self.any]).filter(|list| !list.is_empty())
    }

    /// Whether some of them take tasks of a submitter.
    pub(in crate::tasks) fn serves(&self, submitter: &Did) -> bool {
        self.lists(submitter).next().is_some()
    }

    /// The number of those that take a task of a submitter which is approved so far.
    pub(in crate::tasks) fn for_approved(&self, submitter: &Did, approved: Approved) -> u32 {
        self.lists(submitter).fold(0, |all, list| all.saturating_add(list.for_approved(approved)))
    }

    /// The least on which one of them insists that takes tasks of a submitter.
    pub(in crate::tasks) fn least(&self, submitter: &Did) -> Option<Approved> {
        self.lists(submitter).filter_map(WaitingWorkers::least).min()
    }

    /// One of them takes a task of a submitter: one that takes no others, if there is one. Returns on what it insists.
    pub(in crate::tasks) fn take(&mut self, submitter: &Did, approved: Approved) -> Approved {
        match self.of.get_mut(submitter).filter(|list| list.for_approved(approved) > 0) {
            Some(list) => list.take(approved),
            None => self.any.take(approved),
        }
    }

    /// Leaves at most so many, in each list.
    pub(in crate::tasks) fn truncate(&mut self, most: u32) {
        self.any.truncate(most);
        self.of.values_mut().for_each(|list| list.truncate(most));
        self.of.retain(|_, list| !list.is_empty());
    }
}

/// Workers that wait, by the approval on which they insist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tasks) struct WaitingWorkers(BTreeMap<Approved, u32>);

impl WaitingWorkers {
    /// So many workers that insist on nothing.
    #[cfg(test)]
    pub(in crate::tasks) fn of(workers: u32) -> Self {
        Self::insisting(Approved::Not, workers)
    }

    /// So many workers that insist on this.
    #[cfg(test)]
    pub(in crate::tasks) fn insisting(on: Approved, workers: u32) -> Self {
        let mut waits = Self::default();
        waits.add(on, workers);
        waits
    }

    pub(in crate::tasks) fn add(&mut self, insists_on: Approved, workers: u32) {
        if workers > 0 {
            let waiting = self.0.entry(insists_on).or_default();
            *waiting = waiting.saturating_add(workers);
        }
    }

    pub(in crate::tasks) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The workers that take a task which is approved so far.
    pub(in crate::tasks) fn for_approved(&self, approved: Approved) -> u32 {
        self.0.range(..=approved).fold(0, |all, (_, workers)| all.saturating_add(*workers))
    }

    /// The number of workers that insist on exactly this.
    pub(in crate::tasks) fn that_insist_on(&self, approved: Approved) -> u32 {
        self.0.get(&approved).copied().unwrap_or_default()
    }

    /// The least on which one of them insists.
    pub(in crate::tasks) fn least(&self) -> Option<Approved> {
        self.0.keys().next().copied()
    }

    /// One of them takes a task which is approved so far: the one that insists on most, since it fits the fewest tasks.
    /// Returns on what that insists.
    pub(in crate::tasks) fn take(&mut self, approved: Approved) -> Approved {
        let Some((insists_on, workers)) = self.0.range_mut(..=approved).next_back() else { return Approved::Not };
        let insists_on = *insists_on;
        *workers = workers.saturating_sub(1);
        if *workers == 0 {
            self.0.remove(&insists_on);
        }
        insists_on
    }

    /// Leaves at most so many, those first that insist on the least.
    pub(in crate::tasks) fn truncate(&mut self, most: u32) {
        let mut left = most;
        self.0.retain(|_, workers| {
            *workers = (*workers).min(left);
            left -= *workers;
            *workers > 0
        });
    }
}
