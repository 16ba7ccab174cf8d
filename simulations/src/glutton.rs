//! A member that writes without end: each node gets more of its log than a member's quota. Then it changes its key, and
//! writes on with the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::{Pin, Succession, Verified};
use nexus_identity::{Chain, Did};
use nexus_mesh::{Membership, MeshConfig, Rooms};
use nexus_node::Invite;

use crate::dice::Dice;
use crate::faults::{Faults, LOOK_EVERY};
use crate::forger::{Writer, send};
use crate::outsiders::note_open;
use crate::tap::TapLog;
use crate::world::{Crash, Outsider, Sim, WRITER_BYTES};

/// The bytes of a memory's text.
pub(crate) const TEXT_BYTES: usize = 12 << 10;
/// Entries sent at once.
const TOGETHER: usize = 12;
/// The most entries for one node: twice the quota.
const MOST: usize = 2 * WRITER_BYTES as usize / TEXT_BYTES;

/// A member with one of its keys.
struct Glutton {
    outsider: Outsider,
    chain: Chain,
    log: Vec<Verified>,
    last: Option<Pin>,
}

impl Glutton {
    fn new(outsider: Outsider, chain: Chain) -> Self {
        Self { outsider, chain, log: Vec::new(), last: None }
    }
}

impl Faults {
    /// Joins, introduces itself, and sends one long log to all nodes, with one key and then with another.
    pub(crate) async fn writes_without_end(&self, no: usize, last: Duration, choice: u64) {
        let sim = &self.sim;
        let (mut dice, end) = (Dice::new(choice), sim.now() + last);
        let Some(mut first) = self.joins_to_write(no, end).await else { return };
        self.ledger.borrow_mut().gluttons.insert(no, BTreeSet::from([first.outsider.key.did()]));
        self.feeds(&mut first, &mut dice, sim.now() + last / 2).await;
        let Some(mut second) = self.changes_its_key(no, &first, end).await else { return };
        sim.network().fire("glutton_changed_its_key");
        self.feeds(&mut second, &mut dice, end).await;
    }

    /// A new member, by a ticket of the founder.
    async fn joins_to_write(&self, no: usize, end: Duration) -> Option<Glutton> {
        let sim = &self.sim;
        let outsider = sim.outsider(&format!("glutton{no}"), TapLog::default()).ok()?;
        while sim.now() < end {
            if let Ok(invited) = sim.on(0, async |node| node.invite(Invite::default()).await).await
                && let Ok(chain) = sim.knock(outsider.no, &invited.ticket).await
            {
                return Some(Glutton::new(sim.in_its_place(outsider.no, TapLog::default()), chain));
            }
            sim.sleep(LOOK_EVERY).await;
        }
        None
    }

    /// Another key of the same member, which the founder's node admits by itself.
    async fn changes_its_key(&self, no: usize, former: &Glutton, end: Duration) -> Option<Glutton> {
        let sim = &self.sim;
        let heir = sim.outsider(&format!("glutton{no}again"), TapLog::default()).ok()?;
        self.ledger.borrow_mut().gluttons.entry(no).or_default().insert(heir.key.did());
        let succession = Succession::new(&sim.mesh(), &former.outsider.key, &heir.key, former.last).encode();
        while sim.now() < end {
            if let Ok(invited) = sim.on(0, async |node| node.invite(Invite::default()).await).await
                && let Ok(chain) = sim.knock_with(heir.no, &invited.ticket, succession.clone()).await
            {
                return Some(Glutton::new(sim.in_its_place(heir.no, TapLog::default()), chain));
            }
            sim.sleep(LOOK_EVERY).await;
        }
        None
    }

    /// Sends one long log to all nodes.
    async fn feeds(&self, glutton: &mut Glutton, dice: &mut Dice, end: Duration) {
        let sim = &self.sim;
        let Glutton { outsider, chain, log, last } = glutton;
        let Some((mesh, mut events)) = as_member(sim, outsider, chain.clone(), self.nodes) else { return };
        let writer = Writer::new(sim, &outsider.key, dice);
        let (mut open, mut introduced) = (BTreeSet::new(), false);
        let mut sent: BTreeMap<Did, usize> = BTreeMap::new();
        while sim.now() < end {
            let pause = tokio::time::sleep(Duration::from_millis(dice.between(100, 400)));
            tokio::select! {
                biased;
                event = events.recv() => if !note_open(&mut open, event) { break },
                () = pause => {
                    let peers: Vec<Did> = open.iter().copied().collect();
                    let Some(&peer) = dice.pick(&peers) else { continue };
                    if !introduced {
                        let entry = writer.credentials(chain);
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
        *last = log.last().map(Writer::pin);
        let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
        sim.crash(outsider.no, Crash::Process);
    }
}

/// Starts a swarm with these credentials.
fn as_member(
    sim: &Sim,
    outsider: &Outsider,
    chain: Chain,
    nodes: usize,
) -> Option<(nexus_mesh::Mesh, nexus_mesh::MeshEvents)> {
    let mut config = MeshConfig::new(outsider.key.clone());
    config.membership = Some(Membership { mesh: sim.mesh(), chain });
    outsider.mesh(config, Rooms::new(), nodes)
}
