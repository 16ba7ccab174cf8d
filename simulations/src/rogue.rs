//! A voter that was taken over: a member with a seat among the coordinators, and a program of its own.
//!
//! It claims elections that nobody won, and falls silent as a leader. It sends entries that do not follow each other,
//! and snapshots of its own making. A voter that votes twice in one term breaks any Raft: no move here does that.

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_identity::{Did, Domain, Keypair, Role};
use nexus_mesh::{Mesh, Rooms};
use nexus_node::Node;
use nexus_node::critical::Manage;
use nexus_node::internals::coordinator::fuzzed::seeds;

use crate::dice::Dice;
use crate::faults::{Faults, LOOK_EVERY};
use crate::outsiders::note_open;
use crate::raft_frames::{Append, Envelope, Install, Nothing, RAFT, Vote, ask};
use crate::tap::TapLog;
use crate::world::Crash;

/// The longest extension for a member that has no vote yet, and the shortest time of another program in its place.
const LONGER_MAX: Duration = Duration::from_secs(45);

impl Faults {
    /// A member joins and gets a vote. Then another program runs in its place. At last its membership ends.
    pub(crate) async fn voter_turns(&self, no: usize, last: Duration, choice: u64) {
        let sim = &self.sim;
        let end = sim.now() + last;
        let Some(rogue) = self.admitted(&format!("rogue{no}"), 0, Role::Member, end).await else { return };
        let did = sim.did(rogue);
        while !self.votes(did).await {
            let _ = sim.on(0, async |node: Node| node.critical()?.manage(Manage::Add(did)).await).await;
            if sim.now() >= end + LONGER_MAX {
                return;
            }
            sim.sleep(LOOK_EVERY).await;
        }
        let end = end.max(sim.now() + LONGER_MAX);
        // its program knows the number that it drew
        let Ok(seat) = sim.on(rogue, async |node: Node| Ok(node.critical()?.voter())).await else { return };
        sim.cast_out(rogue);
        sim.crash(rogue, Crash::Process);
        if let Some(mesh) = self.takes_over(rogue, &seat, choice, end).await {
            let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
        }
        sim.crash(rogue, Crash::Process);
        let late = sim.now() + LONGER_MAX;
        while sim.on(0, async |founder| founder.revoke(did, None).await).await.is_err() && sim.now() < late {
            sim.sleep(LOOK_EVERY).await;
        }
    }

    /// Whether a member votes, as the founder's node knows.
    async fn votes(&self, did: Did) -> bool {
        let seen = self.sim.on(0, async |node: Node| Ok(node.critical()?.coordinators().await)).await;
        seen.ok().flatten().is_some_and(|seen| seen.voters.iter().any(|voter| voter.did == did))
    }

    /// Runs another program with the key of a machine.
    async fn takes_over(&self, machine: usize, seat: &[u8; 40], choice: u64, end: Duration) -> Option<Mesh> {
        let (sim, mut dice) = (&self.sim, Dice::new(choice));
        let program = sim.in_its_place(machine, TapLog::default());
        let (mesh, mut events) = program.as_member(sim, Rooms::new(), self.nodes)?;
        let mut open: BTreeSet<Did> = BTreeSet::new();
        while sim.now() < end {
            let pause = tokio::time::sleep(Duration::from_millis(dice.between(300, 2_500)));
            tokio::select! {
                biased;
                event = events.recv() => if !note_open(&mut open, event) { break },
                () = pause => {
                    let peers: Vec<Did> = open.iter().copied().collect();
                    let Some(&peer) = dice.pick(&peers) else { continue };
                    let attack = attack(&mesh, &program.key, peer, seat, &mut dice);
                    if let Ok(Some(name)) = tokio::time::timeout(Duration::from_secs(8), attack).await {
                        sim.network().note(Some(machine), format_args!("{name} to {}", peer.short()));
                        sim.network().fire("rogue_seat");
                        sim.network().fire(name);
                    }
                }
            }
        }
        Some(mesh)
    }
}

/// One attack on a peer. Returns its name, if it was sent. `seat` is its voter in bytes.
async fn attack(mesh: &Mesh, key: &Keypair, peer: Did, seat: &[u8; 40], dice: &mut Dice) -> Option<&'static str> {
    let mut stream = mesh.open(peer, &RAFT).await.ok()?;
    let hello = Envelope { id: 1, hello: Some(Nothing {}), ..Envelope::default() };
    let Envelope { group, overview: Some(overview), .. } = ask(&mut stream, hello).await? else { return None };
    let term = overview.term + dice.between(1, 3);
    let ballot = |committed: u8| [&term.to_le_bytes()[..], seat, &[committed]].concat();
    let at = |index: u64| [&term.to_le_bytes()[..], seat, &index.to_le_bytes()].concat();
    let some = |bytes: Vec<u8>| [vec![1], bytes].concat();
    let nothing = vec![0];
    let last = overview.applied + dice.between(1, 100);
    let envelope = Envelope { id: 2, group: group.clone(), to: overview.voter.clone(), ..Envelope::default() };
    let (name, envelope) = match dice.below(5) {
        0 => {
            let vote = Vote { vote: ballot(0), last: some(at(last)) };
            ("rogue_candidate", Envelope { vote: Some(vote), ..envelope })
        }
        1 => {
            let (previous, committed) = (nothing.clone(), nothing);
            let append = Append { vote: ballot(1), previous, entries: Vec::new(), committed };
            ("rogue_leader", Envelope { append: Some(append), ..envelope })
        }
        2 => {
            // a blank entry far behind the last one, which is said to be committed
            let entries = vec![[at(last + 1_000), vec![0]].concat()];
            let (previous, committed) = (nothing, some(at(last + 1_000)));
            let append = Append { vote: ballot(1), previous, entries, committed };
            ("rogue_gap", Envelope { append: Some(append), ..envelope })
        }
        3 => ("rogue_call", Envelope { elect: Some(Nothing {}), ..envelope }),
        _ => {
            let install = forged(&group, key, seat, ballot(1), &at(last));
            ("rogue_snapshot", Envelope { install: Some(install), ..envelope })
        }
    };
    ask(&mut stream, envelope).await;
    Some(name)
}

/// A snapshot of its own making, in which it votes alone, signed by itself.
fn forged(group: &[u8], key: &Keypair, seat: &[u8], vote: Vec<u8>, at: &[u8]) -> Install {
    let one = 1_u32.to_le_bytes();
    let seats = [&one[..], &one, seat, &one, seat].concat();
    let place = [&[1], at, &[1], at, &seats].concat();
    let head = [&place[..], &one, b"1"].concat();
    let mut of_any = seeds().into_iter().filter(|(of, ..)| *of == "machine").map(|(.., bytes)| bytes);
    let data = of_any.next_back().unwrap_or_default();
    let state = blake3::derive_key("nexus critical state v1", &data);
    let digest = blake3::derive_key("nexus critical snapshot v1", &[group, &place, &state].concat());
    let signature = key.sign(Domain::Snapshot, &digest);
    let certificate = [&one[..], key.did().as_bytes(), signature.as_bytes()].concat();
    Install { vote, head, offset: 0, data, done: true, state: state.to_vec(), certificate }
}
