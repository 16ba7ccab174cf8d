//! A stolen laptop: a member whose membership is revoked, and a thief with its key and an older disk.

use std::time::Duration;

use nexus_crdt::Succession;
use nexus_mesh::{MeshEvent, Rooms};
use nexus_node::net::PeerState;
use nexus_node::{Invite, NewMemory, Node};

use crate::documents;
use crate::faults::{Faults, LOOK_EVERY, around};
use crate::ledger::Written;
use crate::plan::NodeNo;
use crate::tap::TapLog;
use crate::world::{Crash, Sim};

/// The memories that the thief writes: more than the laptop had.
const FORGED: usize = 3;
/// The time in which a thief tries to get in with a program of its own.
const TRIES: Duration = Duration::from_secs(10);

impl Faults {
    /// A laptop joins and writes. It is stolen, cut off and revoked. The thief starts it from an older copy
    /// of its disk, so that its log forks, and comes back with forged memories.
    pub(crate) async fn laptop_is_stolen(&self, no: usize, last: Duration) {
        let sim = &self.sim;
        let end = sim.now() + last;
        let Some(laptop) = self.newcomer(no, "laptop", last).await else { return };
        let older = sim.disk(laptop).as_read();
        if let Some(revoked) = self.write_and_be_revoked(no, laptop, end).await {
            self.ledger.borrow_mut().thefts.thieves.insert(sim.did(laptop));
            sim.crash(laptop, Crash::Process);
            sim.put_disk(laptop, older);
            self.come_back(no, laptop, end).await;
            sim.mend_all(&revoked);
            sim.network().fire("stolen_laptop");
            if self.spy(laptop, end).await {
                sim.cast_out(laptop);
                sim.crash(laptop, Crash::Process);
                self.try_doors(laptop).await;
            }
        }
        sim.cast_out(laptop);
        sim.crash(laptop, Crash::Process);
    }

    /// Writes a memory, and has the founder revoke the laptop once it holds that memory. Returns the label of
    /// the cut.
    async fn write_and_be_revoked(&self, no: usize, laptop: NodeNo, end: Duration) -> Option<String> {
        let sim = &self.sim;
        let remember = async |node: Node| node.brain().remember(NewMemory::note(format!("before theft {no}"))).await;
        let kept = sim.on(laptop, remember).await.ok()?.id.to_string();
        let written = Written { node: laptop, life: sim.starts(laptop), at: sim.now(), key: None };
        if !self.until_founder_has(&kept, end).await {
            return None;
        }
        self.ledger.borrow_mut().written.insert(kept, written);
        // every other thief has a live session, and changes the key
        if no % 2 == 1 {
            self.change_key(no, laptop).await;
        }
        let away = format!("founder_away#{no}");
        if no.is_multiple_of(2) && sim.has_documents() {
            // the others have shown this word when they hear that it is void
            sim.cut_all(&away, &around(0, sim.len()));
            documents::forge(sim, &self.ledger, laptop, &format!("unseen{no}x"), LOOK_EVERY).await;
            sim.sleep(4 * LOOK_EVERY).await;
        }
        let label = format!("stolen#{no}");
        sim.cut_all(&label, &around(laptop, sim.len()));
        sim.cast_out(laptop);
        let did = sim.did(laptop);
        while sim.on(0, async |founder| founder.revoke(did, None).await).await.is_err() {
            if sim.now() >= end {
                sim.mend_all(&away);
                return None;
            }
            sim.sleep(LOOK_EVERY).await;
        }
        sim.mend_all(&away);
        Some(label)
    }

    /// Has the founder admit another key in the place of the laptop's, and writes with it.
    async fn change_key(&self, no: usize, laptop: NodeNo) {
        let sim = &self.sim;
        let (Ok(heir), Ok(pins)) = (sim.machine(&format!("heir{no}")), sim.own_pins(laptop)) else { return };
        let succession = Succession::new(&sim.mesh(), &sim.key(laptop), &sim.key(heir), pins).encode();
        let Ok(door) = sim.on(0, async |node| node.invite(Invite::default()).await).await else { return };
        let Ok(chain) = sim.knock_with(heir, &door.ticket, succession).await else { return };
        if sim.move_in(heir, chain).await.is_ok() {
            sim.network().fire("stolen_key_changed");
        }
        self.ledger.borrow_mut().thefts.thieves.insert(sim.did(heir));
        sim.cast_out(heir);
        // the former key goes on: nothing of that counts, whether or not its node has heard of the change
        self.forge(laptop, format!("with the former key {no}"), LOOK_EVERY).await;
        sim.sleep(3 * LOOK_EVERY).await;
    }

    /// Has a thief write a memory, and wait for it no longer than `within`.
    async fn forge(&self, laptop: NodeNo, text: String, within: Duration) {
        let forge = self.sim.on(laptop, async |node| node.brain().remember(NewMemory::note(text)).await);
        if let Ok(Ok(forged)) = tokio::time::timeout(within, forge).await {
            self.ledger.borrow_mut().thefts.forged.insert(forged.id.to_string());
        }
    }

    /// Starts the laptop from its older disk, and forges memories.
    async fn come_back(&self, no: usize, laptop: NodeNo, end: Duration) {
        let sim = &self.sim;
        if sim.start(laptop).await.is_err() {
            return;
        }
        for n in 0..FORGED {
            let text = format!("forged {n} in theft {no}");
            self.forge(laptop, text, end.saturating_sub(sim.now())).await;
            if sim.has_documents() {
                let word = format!("forged{n}in{no}x");
                documents::forge(sim, &self.ledger, laptop, &word, end.saturating_sub(sim.now())).await;
            }
        }
    }

    /// Dials all nodes with a program that does not ask whether its own membership ended.
    async fn try_doors(&self, laptop: NodeNo) {
        let sim = &self.sim;
        let program = sim.in_its_place(laptop, TapLog::default());
        let did = program.key.did();
        let Some((mesh, mut events)) = program.as_member(sim, Rooms::new(), self.nodes) else { return };
        let tries = async {
            while let Some(event) = events.recv().await {
                let MeshEvent::PeerOpen { peer, .. } = event else { continue };
                let inside = sim.up().into_iter().find(|no| sim.did(*no) == peer && knows(sim, *no, &did));
                if let Some(no) = inside {
                    let leak = format!("n{no} knows of the theft, and let the thief's program in");
                    self.ledger.borrow_mut().thefts.leaks.push(leak);
                }
            }
        };
        let _ = tokio::time::timeout(TRIES, tries).await;
        sim.network().fire("thief_tried_doors");
        let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
    }

    /// Once all know of the theft, looks whether the thief still learns something. Returns whether all came to know.
    async fn spy(&self, laptop: NodeNo, end: Duration) -> bool {
        let sim = &self.sim;
        let (did, machines) = (sim.did(laptop), sim.len());
        let thieves = self.ledger.borrow().thefts.thieves.clone();
        let mut secret = None;
        while sim.now() < end {
            let informed = sim.up().into_iter().filter(|no| thieves.iter().all(|thief| knows(sim, *no, thief))).count();
            if secret.is_none() && informed == sim.up().len() {
                let remember = async |node: Node| node.brain().remember(NewMemory::note("after the theft")).await;
                secret = sim.on(0, remember).await.ok().map(|written| written.id.to_string());
            }
            sim.sleep(LOOK_EVERY).await;
        }
        let all_know = secret.is_some();
        if all_know {
            for no in sim.up() {
                let peers = sim.on(no, async |node| Ok(node.peers().await)).await.unwrap_or_default();
                if knows(sim, no, &did) && peers.iter().any(|peer| peer.did == did && peer.state == PeerState::Up) {
                    let leak = format!("n{no} knows of the theft, and is connected with the thief on n{laptop}");
                    self.ledger.borrow_mut().thefts.leaks.push(leak);
                }
            }
        }
        // a newcomer may not have heard of the theft yet
        let Some(secret) = secret.filter(|_| sim.len() == machines) else { return all_know };
        let learnt = sim.node(laptop).is_some_and(|thief| thief.brain().get_blocking(&secret).is_ok());
        let thefts = &mut self.ledger.borrow_mut().thefts;
        thefts.spied += 1;
        sim.network().fire("spied_by_thief");
        if learnt {
            thefts.leaks.push(format!("the thief on n{laptop} has {secret}, written when all knew of the theft"));
        }
        all_know
    }
}

fn knows(sim: &Sim, no: NodeNo, thief: &nexus_identity::Did) -> bool {
    sim.node(no).is_some_and(|node| node.former_members().iter().any(|(member, _)| member.did == *thief))
}
