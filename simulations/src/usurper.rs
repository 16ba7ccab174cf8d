//! A member without a seat that claims to lead the coordinators, or to have begun them anew.

use nexus_identity::Did;
use nexus_mesh::Mesh;

use crate::dice::Dice;
use crate::raft_frames::{Append, Envelope, Nothing, RAFT, Vote, ask};

/// Asks a peer for its group and its term, and claims to stand above both. Returns whether the claim was sent.
pub(crate) async fn usurp(mesh: &Mesh, me: Did, peer: Did, dice: &mut Dice) -> bool {
    let Ok(mut stream) = mesh.open(peer, &RAFT).await else { return false };
    let hello = Envelope { id: 1, hello: Some(Nothing {}), ..Envelope::default() };
    let Some(Envelope { group, overview: Some(overview), .. }) = ask(&mut stream, hello).await else { return false };
    let generation = group.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let (Some(generation), true) = (generation, group.len() == 12) else { return false };
    let voter = [me.as_bytes().as_slice(), &7_u64.to_le_bytes()].concat();
    let term = overview.term + 1_000;
    let ballot = |committed: u8| [term.to_le_bytes().as_slice(), &voter, &[committed]].concat();
    // an entry that no honest log has reached
    let far = [&[1], term.to_le_bytes().as_slice(), &voter, &1_000_000_u64.to_le_bytes()].concat();
    let later = [(generation + 1).to_le_bytes().as_slice(), &dice.below(u64::MAX).to_le_bytes()].concat();
    let envelope = Envelope { id: 2, group, to: overview.voter, ..Envelope::default() };
    let nothing = vec![0];
    let claim = match dice.below(3) {
        0 => Envelope { group: later, elect: Some(Nothing {}), ..envelope },
        1 => {
            let vote = Vote { vote: ballot(0), last: far };
            Envelope { vote: Some(vote), ..envelope }
        }
        _ => {
            let (previous, committed) = (nothing.clone(), nothing);
            let append = Append { vote: ballot(1), previous, entries: Vec::new(), committed };
            Envelope { append: Some(append), ..envelope }
        }
    };
    ask(&mut stream, claim).await;
    true
}
