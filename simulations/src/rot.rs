//! A disk that changes bytes of a store by itself, and what its node makes of that.

use std::time::Duration;

use crate::dice::Dice;
use crate::faults::{Faults, START_MAX};
use crate::plan::NodeNo;
use crate::scenario::FaultKind;
use crate::world::{Crash, Sim, SimError};

/// The time without the node before a start on changed bytes.
const DOWN: Duration = Duration::from_secs(1);

impl Faults {
    /// Changes `amount` bytes of a node's store, half of the times while the node runs. The node goes on for a while, if it
    /// can. Then its store is read whole: a damaged one is exchanged for a backup from before.
    pub(crate) async fn disk_rots(&self, node: NodeNo, amount: u64, last: Duration, choice: u64) {
        let (sim, mut dice) = (&self.sim, Dice::new(choice));
        if sim.node(node).is_none() {
            return;
        }
        let (backup, from) = (sim.disk(node).as_read(), sim.now());
        let runs = dice.chance(0.5);
        if !runs {
            sim.crash(node, Crash::Process);
            sim.sleep(DOWN).await;
        }
        rot(sim, node, amount.max(1), &mut dice);
        sim.network().fire(FaultKind::Rot.as_str());
        let goes_on = runs || self.starts_on_rot(node).await;
        let ended = if goes_on { sim.failed(node, last).await } else { None };
        if let Some(why) = &ended {
            sim.network().note(Some(node), format_args!("ended: {why}"));
        }
        // also a node that goes on: it may not have met the damage yet
        let now = sim.now();
        sim.crash(node, Crash::Process);
        let sound = sim.store_of(node).and_then(|store| {
            let sound = store.verify();
            store.close();
            sound.map_err(|error| SimError::Store(node, error))
        });
        if let Err(error) = sound {
            sim.network().note(Some(node), format_args!("goes back to its backup: {error}"));
            sim.network().fire("rot_found");
            self.ledger.borrow_mut().in_doubt.push((node, from, now));
            sim.put_disk(node, backup);
        } else if ended.is_some() || !goes_on {
            // it ended for bytes that a start does without, as those of a cache
            sim.network().fire("rot_gone");
        }
        self.start(node, now).await;
    }

    /// Whether a node starts on a store with changed bytes. It need not, but it must say so.
    async fn starts_on_rot(&self, node: NodeNo) -> bool {
        match tokio::time::timeout(START_MAX, self.sim.start(node)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                self.sim.network().note(Some(node), format_args!("does not start: {error}"));
                false
            }
            Err(_) => {
                let what = format!("n{node} neither started nor refused in {START_MAX:?} on changed bytes");
                self.aftermath.borrow_mut().dead.push(what);
                false
            }
        }
    }
}

/// Changes bytes of both files of a store, of which the first one is never empty.
fn rot(sim: &Sim, node: NodeNo, bytes: u64, dice: &mut Dice) {
    let (store, log) = (sim.disk(node), sim.disk(node).log());
    for _ in 0..bytes {
        let file = if dice.chance(0.75) { &store } else { &log };
        let len = usize::try_from(file.bytes()).unwrap_or(usize::MAX);
        if len > 0 {
            let mask = u8::try_from(dice.between(1, 255)).unwrap_or(1);
            file.flip(dice.index(len), mask);
        }
    }
}
