//! A rolling upgrade: nodes of an earlier version get the present one, one after the other.

use std::time::Duration;

use nexus_node::internals::formats::Formats;

use crate::dice::Dice;
use crate::faults::Faults;
use crate::plan::NodeNo;
use crate::world::Crash;

/// The shortest and the longest time without a process, in milliseconds.
const DOWN_MS: [u64; 2] = [200, 6_000];

impl Faults {
    /// Ends each node, in good order or not, and starts it with the present version.
    pub(crate) async fn upgrades(&self, nodes: &[NodeNo], last: Duration, choice: u64) {
        let sim = &self.sim;
        let mut dice = Dice::new(choice);
        sim.with_formats(Formats::LATEST);
        let begin = sim.now();
        for (done, node) in (0_u32..).zip(nodes) {
            let slot = begin + last * done / u32::try_from(nodes.len()).unwrap_or(1);
            sim.sleep(slot.saturating_sub(sim.now())).await;
            sim.reads(*node, Formats::LATEST);
            let down = Duration::from_millis(dice.between(DOWN_MS[0], DOWN_MS[1]));
            match dice.between(0, 3) {
                0 => self.down_and_up(*node, Crash::Process, "upgraded", down).await,
                1 => self.down_and_up(*node, Crash::Power, "upgraded", down).await,
                _ => self.stop_and_start(*node, "upgraded", down).await,
            }
        }
        sim.network().fire("rolling_upgrade");
    }
}
