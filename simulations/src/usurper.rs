//! A member without a seat that claims to lead the coordinators, or to have begun them anew.

use std::time::Duration;

use libp2p::StreamProtocol;
use nexus_identity::Did;
use nexus_mesh::{FRAME_BYTES_MAX, Mesh, Stream, read_frame, write_frame};
use prost::Message;

use crate::dice::Dice;

const RAFT: StreamProtocol = StreamProtocol::new("/nexus/raft/1");
/// The longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The part of a frame that a usurper writes and reads.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(uint64, tag = "1")]
    id: u64,
    /// Generation and random number.
    #[prost(bytes = "vec", tag = "2")]
    group: Vec<u8>,
    #[prost(bytes = "vec", tag = "18")]
    to: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    append: Option<Claim>,
    #[prost(message, optional, tag = "4")]
    vote: Option<Claim>,
    #[prost(message, optional, tag = "8")]
    hello: Option<Nothing>,
    #[prost(message, optional, tag = "9")]
    elect: Option<Nothing>,
    #[prost(message, optional, tag = "16")]
    overview: Option<Overview>,
}

/// A ballot, and no entry.
#[derive(Clone, PartialEq, Message)]
struct Claim {
    #[prost(bytes = "vec", tag = "1")]
    vote: Vec<u8>,
    /// Of a vote the last entry, of an append the entry before.
    #[prost(bytes = "vec", tag = "2")]
    at: Vec<u8>,
    /// Of an append the last committed entry.
    #[prost(bytes = "vec", tag = "4")]
    committed: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Overview {
    #[prost(bytes = "vec", tag = "1")]
    voter: Vec<u8>,
    #[prost(uint64, tag = "4")]
    term: u64,
}

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
            let vote = Claim { vote: ballot(0), at: far, ..Claim::default() };
            Envelope { vote: Some(vote), ..envelope }
        }
        _ => {
            let append = Claim { vote: ballot(1), at: nothing.clone(), committed: nothing };
            Envelope { append: Some(append), ..envelope }
        }
    };
    ask(&mut stream, claim).await;
    true
}

async fn ask(stream: &mut Stream, envelope: Envelope) -> Option<Envelope> {
    write_frame(stream, &envelope.encode_to_vec()).await.ok()?;
    let answer = tokio::time::timeout(ANSWER_MAX, read_frame(stream, FRAME_BYTES_MAX)).await.ok()?.ok()??;
    Envelope::decode(answer.as_slice()).ok()
}
