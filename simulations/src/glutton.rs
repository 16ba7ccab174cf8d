//! A member that writes without end: each node gets more of its log than a member's quota.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::Verified;
use nexus_identity::Did;
use nexus_mesh::Rooms;

use crate::dice::Dice;
use crate::faults::Faults;
use crate::forger::{Writer, send};
use crate::outsiders::note_open;
use crate::tap::TapLog;
use crate::world::{Crash, WRITER_BYTES};

/// The bytes of a memory's text.
pub(crate) const TEXT_BYTES: usize = 12 << 10;
/// Entries sent at once.
const TOGETHER: usize = 12;
/// The most entries for one node: twice the quota.
const MOST: usize = 2 * WRITER_BYTES as usize / TEXT_BYTES;

impl Faults {
    /// Joins, introduces itself, and sends one long log to all nodes.
    pub(crate) async fn writes_without_end(&self, no: usize, last: Duration, choice: u64) {
        let sim = &self.sim;
        let mut dice = Dice::new(choice);
        let Ok(outsider) = sim.outsider(&format!("glutton{no}"), TapLog::default()) else { return };
        self.ledger.borrow_mut().gluttons.insert(outsider.key.did());
        let Some((mesh, mut events)) = outsider.as_member(sim, Rooms::new(), self.nodes) else { return };
        let writer = Writer::new(sim, &outsider.key, &mut dice);
        let (mut open, mut introduced) = (BTreeSet::new(), false);
        let (mut log, mut sent): (Vec<Verified>, BTreeMap<Did, usize>) = Default::default();
        let end = sim.now() + last;
        while sim.now() < end {
            let pause = tokio::time::sleep(Duration::from_millis(dice.between(100, 400)));
            tokio::select! {
                biased;
                event = events.recv() => if !note_open(&mut open, event) { break },
                () = pause => {
                    let peers: Vec<Did> = open.iter().copied().collect();
                    let Some(&peer) = dice.pick(&peers) else { continue };
                    if !introduced {
                        let Some(entry) = writer.introduction(sim, outsider.no) else { break };
                        introduced = send(&mesh, peer, &[entry]).await.is_some();
                        continue;
                    }
                    let from = sent.get(&peer).copied().unwrap_or(0);
                    let to = (from + TOGETHER).min(MOST);
                    while log.len() < to {
                        let text = "more ".repeat(TEXT_BYTES / 5);
                        log.push(writer.memory(log.last(), &text));
                    }
                    if from < to && send(&mesh, peer, &log[from..to]).await.is_some() {
                        sent.insert(peer, to);
                        sim.network().fire("glutton");
                    }
                }
            }
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
        sim.crash(outsider.no, Crash::Process);
    }
}
