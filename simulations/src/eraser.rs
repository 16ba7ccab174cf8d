//! A member with its own program that abuses erasures. It erases what others wrote and what nobody wrote, sends entries again
//! of which leaves were erased, and writes in documents that are erased.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use nexus_crdt::{ALL_LEAVES, Entry, EntryFrame, EntryId, Erase, Kind, Verified, document_of};
use nexus_identity::Did;
use nexus_mesh::Verdict;
use prost::Message;

use crate::dice::Dice;
use crate::documents::{change_of, hash_of};
use crate::faults::Faults;
use crate::forger::{Writer, send};
use crate::outsiders::{Listener, note_open};
use crate::tap::TapLog;
use crate::world::Crash;

/// The most entries of others that it remembers, and the most of its own in a log.
const SEEN_MAX: usize = 48;
const SAID_MAX: usize = 48;
/// The most leaves that it names of an entry.
const LEAVES_MAX: u64 = 6;

impl Faults {
    /// Joins, listens to what others write, and abuses erasures until its time is over.
    pub(crate) async fn abuses_erasures(&self, no: usize, last: Duration, choice: u64) {
        let (sim, mut dice) = (&self.sim, Dice::new(choice));
        let Ok(outsider) = sim.outsider(&format!("eraser{no}"), TapLog::default()) else { return };
        let Some(Listener { mesh, mut events, mut gossip }) = Listener::start(sim, &outsider, self.nodes) else {
            return;
        };
        let writer = Writer::new(sim, &outsider.key, &mut dice);
        let Some(introduction) = writer.introduction(sim, outsider.no) else { return };
        let (mut erasures, mut changes) = (vec![introduction], Vec::new());
        let (mut open, mut seen) = (BTreeSet::new(), VecDeque::new());
        let end = sim.now() + last;
        // messages do not put it off
        let mut next = sim.now();
        while sim.now() < end {
            let pause = sim.sleep(next.saturating_sub(sim.now()));
            tokio::select! {
                biased;
                event = events.recv() => if !note_open(&mut open, event) { break },
                message = gossip.recv() => {
                    let Some((_, message)) = message else { break };
                    mesh.settle(message.token, Verdict::Accept);
                    seen.extend(entry_in(&message.bytes).and_then(|entry| entry.verify(&sim.mesh()).ok()));
                    while seen.len() > SEEN_MAX {
                        seen.pop_front();
                    }
                }
                () = pause => {
                    next = sim.now() + Duration::from_millis(dice.between(100, 500));
                    let peers: Vec<Did> = open.iter().copied().collect();
                    let Some(&peer) = dice.pick(&peers) else { continue };
                    let known: Vec<Verified> = seen.iter().cloned().collect();
                    let Some(entry) = dice.pick(&known) else { continue };
                    let said: &[Verified] = match dice.below(10) {
                        0..4 => {
                            let leaves = leaves_of(entry, &mut dice);
                            if let Some(erase) = Erase::of(leaves).ok().filter(|_| erasures.len() < SAID_MAX) {
                                erasures.push(writer.erasure(erasures.last(), &erase));
                            }
                            &erasures
                        }
                        4..8 => std::slice::from_ref(entry),
                        _ => {
                            if let Ok(said) = document_of(entry)
                                && changes.len() < SAID_MAX
                            {
                                let bytes = change_of(&dice.next().to_le_bytes(), 1, changes.len());
                                let change = hash_of(&bytes).map(|hash| (hash, bytes));
                                let said = change.map(|change| writer.change(changes.last(), said.document, change));
                                changes.extend(said);
                            }
                            &changes
                        }
                    };
                    if send(&mesh, peer, &erasures[..1]).await.is_some() && send(&mesh, peer, said).await.is_some() {
                        sim.network().fire("eraser");
                    }
                }
            }
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
        sim.crash(outsider.no, Crash::Process);
    }
}

/// Leaves of somebody else's entry, or of one that is nowhere.
fn leaves_of(entry: &Verified, dice: &mut Dice) -> Vec<(EntryId, u16)> {
    let mut nowhere = [0; 32];
    nowhere[..8].copy_from_slice(&dice.next().to_le_bytes());
    let id = if dice.chance(0.3) { EntryId::from_bytes(nowhere) } else { entry.id() };
    let last = u16::try_from(dice.below(LEAVES_MAX)).unwrap_or(0);
    (0..=last).chain([ALL_LEAVES]).map(|leaf| (id, leaf)).collect()
}

/// The entry in a message of the topic of entries, if it has texts.
fn entry_in(bytes: &[u8]) -> Option<Entry> {
    let entry: Entry = EntryFrame::decode(bytes).ok()?.parse().ok()?;
    [Kind::WRITES, Kind::DOCUMENT].contains(&entry.header().kind).then_some(entry)
}
