//! The entries that nodes hold and lack, and the moment from which all hold the same.

use std::time::Duration;

use nexus_crdt::Frontier;

use super::{LOOK_EVERY, Machine, Sim, SimError};
use crate::machine::lock;
use crate::plan::NodeNo;

impl Sim {
    /// The frontier of a node.
    ///
    /// # Errors
    /// [`SimError::Down`], or the store's.
    pub fn frontier(&self, no: NodeNo) -> Result<Frontier, SimError> {
        let node = self.node(no).ok_or(SimError::Down(no))?;
        node.frontier_blocking().map_err(|error| SimError::Node(no, error))
    }

    /// Whether all running nodes hold the same entries.
    pub fn is_settled(&self) -> bool {
        let mut digests = self.up().into_iter().map(|no| self.frontier(no).map(|frontier| frontier.digest()).ok());
        let first = digests.next();
        digests.all(|digest| digest.is_some() && Some(digest) == first)
    }

    /// Waits until all running nodes hold the same entries. Returns the time that it took.
    ///
    /// # Errors
    /// [`SimError::TooLate`] with the missing entries by node.
    pub async fn settled(&self, within: Duration) -> Result<Duration, SimError> {
        let start = self.now();
        loop {
            if self.is_settled() {
                return Ok(self.now() - start);
            }
            if self.now() - start >= within {
                return Err(SimError::TooLate(within, self.who_lacks_what()));
            }
            self.sleep(LOOK_EVERY).await;
        }
    }

    /// The number of missing entries by node, for people.
    pub fn who_lacks_what(&self) -> String {
        let mut all = Frontier::default();
        let frontiers: Vec<(NodeNo, Frontier)> =
            self.up().into_iter().filter_map(|no| Some((no, self.frontier(no).ok()?))).collect();
        for (_, frontier) in &frontiers {
            for (log, head) in frontier.iter() {
                all.advance(*log, *head);
            }
        }
        let lacks = frontiers.iter().map(|(no, frontier)| (no, all.ahead_of(frontier))).filter(|(_, lacks)| *lacks > 0);
        let lacks: Vec<String> = lacks.map(|(no, lacks)| format!("n{no} lacks {lacks} entries")).collect();
        if lacks.is_empty() { "all hold the same".to_owned() } else { lacks.join(", ") }
    }

    /// Panics of nodes' tasks.
    pub fn panics(&self) -> Vec<String> {
        let mut panics = lock(&self.0.panics).clone();
        let machines = lock(&self.0.machines);
        panics.extend(machines.iter().filter_map(|machine| machine.life.as_ref()).flat_map(|life| life.panics()));
        panics
    }

    /// The most tasks that each machine's node had at a time.
    pub fn most_tasks(&self) -> Vec<usize> {
        let machines = lock(&self.0.machines);
        let most = |machine: &Machine| machine.life.as_ref().map_or(0, |life| life.tasks().1).max(machine.most_tasks);
        machines.iter().map(most).collect()
    }
}
