//! A member that shows different pasts to different nodes: its log forks on purpose, and nobody gets all of it.

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_identity::Did;
use nexus_mesh::Rooms;

use crate::dice::Dice;
use crate::faults::Faults;
use crate::forger::{Writer, send};
use crate::outsiders::note_open;
use crate::tap::TapLog;
use crate::world::Crash;

/// The most entries of a branch after the fork.
const BRANCH_MAX: u64 = 4;

impl Faults {
    /// Joins, introduces itself to one node, and gives each of two nodes another continuation of the same log, again and
    /// again.
    pub(crate) async fn shows_two_pasts(&self, no: usize, last: Duration, choice: u64) {
        let sim = &self.sim;
        let mut dice = Dice::new(choice);
        let Ok(outsider) = sim.outsider(&format!("twoface{no}"), TapLog::default()) else { return };
        self.ledger.borrow_mut().two_faces.insert(outsider.key.did());
        let Some((mesh, mut events)) = outsider.as_member(sim, Rooms::new(), self.nodes) else { return };
        let (mut open, mut introduced) = (BTreeSet::new(), false);
        let end = sim.now() + last;
        while sim.now() < end {
            let pause = tokio::time::sleep(Duration::from_millis(dice.between(1_000, 4_000)));
            tokio::select! {
                biased;
                event = events.recv() => if !note_open(&mut open, event) { break },
                () = pause => {
                    let mut peers: Vec<Did> = open.iter().copied().collect();
                    let Some(&first) = dice.pick(&peers) else { continue };
                    peers.retain(|peer| *peer != first);
                    let Some(&second) = dice.pick(&peers) else { continue };
                    let writer = Writer::new(sim, &outsider.key, &mut dice);
                    if !introduced {
                        let Some(entry) = writer.introduction(sim, outsider.no) else { break };
                        introduced = send(&mesh, first, &[entry]).await.is_some();
                        continue;
                    }
                    let base = writer.memory(None, "base");
                    let (mut one, mut other) = (vec![base.clone()], vec![base]);
                    for n in 0..dice.between(1, BRANCH_MAX) {
                        one.push(writer.memory(one.last(), &format!("one {n}")));
                    }
                    for n in 0..dice.between(1, BRANCH_MAX) {
                        other.push(writer.memory(other.last(), &format!("other {n}")));
                    }
                    let sent = (send(&mesh, first, &one).await, send(&mesh, second, &other).await);
                    if let (Some(()), Some(())) = sent {
                        sim.network().fire("two_faces");
                    }
                }
            }
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
        sim.crash(outsider.no, Crash::Process);
    }
}
