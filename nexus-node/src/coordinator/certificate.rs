//! Certificates of snapshots: a copy takes a snapshot if a quorum has signed its digest.
//!
//! A snapshot replaces a copy without a proposal of any member, so nothing in it shows whether it is true. All copies
//! make their snapshots at the same places of the log. Each voter signs the digest of its own, and the leader sends
//! the signatures along. The idea is the stable checkpoint of PBFT (Castro and Liskov, 1999).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use nexus_identity::plants::planted;
use nexus_identity::{Did, Domain, Keypair, Signature};

use super::Coordinator;
use super::command::Group;
use super::format::{self, encode};
use super::group::Running;
use super::propose::Reply;
use super::raft::{Position, Seats, SnapshotHead};
use super::state::DIGEST_CONTEXT;
use super::wire::{Body, Bytes, Install};

/// The time between two questions for signatures that are missing.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The time between two questions for those that are not needed as far as this node knows.
const ASK_THE_REST_EVERY: Duration = Duration::from_secs(10);
/// The longest such wait: it doubles while nobody signs.
const ASK_THE_REST_RARELY: Duration = Duration::from_secs(160);
/// The time after which a seat that was not heard of is gone.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// The most bytes of a snapshot from another copy: they are in memory until the last has come.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;
/// The most signatures that are read from a leader.
const SIGNATURES_MAX: usize = 64;

/// The digest of a snapshot: of its group, its place, its voters and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SnapshotDigest([u8; 32]);

impl SnapshotDigest {
    /// `state` is the digest of the machine.
    pub(super) fn of(group: Group, head: &SnapshotHead, state: &[u8; 32]) -> Self {
        #[derive(BorshSerialize)]
        struct Parts<'a> {
            group: Group,
            at: Option<Position>,
            seats_at: Option<Position>,
            seats: &'a Seats,
            state: &'a [u8; 32],
        }
        let parts = Parts { group, at: head.at, seats_at: head.seats_at, seats: &head.seats, state };
        Self(blake3::derive_key("nexus critical snapshot v1", &encode(&parts)))
    }
}

/// The signatures of a snapshot, by member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Certificate(BTreeMap<Did, Signature>);

impl Certificate {
    /// Reads what a leader sent: of each member one signature.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let read: Vec<(Did, Signature)> = borsh::from_slice(bytes).ok()?;
        (read.len() <= SIGNATURES_MAX).then(|| Self(read.into_iter().collect()))
    }

    /// The bytes for another copy: as many signatures as it reads.
    pub(super) fn write(&self) -> Vec<u8> {
        let signatures = self.0.iter().map(|(did, signature)| (*did, *signature)).take(SIGNATURES_MAX);
        let signatures: Vec<(Did, Signature)> = signatures.collect();
        encode(&signatures)
    }

    /// Adds a member's signature of this digest. Returns whether it is one.
    pub(super) fn add(&mut self, digest: &SnapshotDigest, by: Did, signature: Signature) -> bool {
        let signed = by.verify(Domain::Snapshot, &digest.0, &signature).is_ok();
        if signed {
            self.0.insert(by, signature);
        }
        signed
    }

    /// Adds the signature of a key's own member.
    pub(super) fn sign(&mut self, digest: &SnapshotDigest, key: &Keypair) -> Signature {
        let signature = key.sign(Domain::Snapshot, &digest.0);
        self.0.insert(key.did(), signature);
        signature
    }

    /// The signatures of this digest among these.
    pub(super) fn of(mut self, digest: &SnapshotDigest) -> Self {
        let signers = self.signers(digest, |_| true);
        self.0.retain(|by, _| signers.contains(by));
        self
    }

    fn has(&self, did: &Did) -> bool {
        self.0.contains_key(did)
    }

    /// The members with a seat that signed this digest.
    fn signers(&self, digest: &SnapshotDigest, has_seat: impl Fn(&Did) -> bool) -> BTreeSet<Did> {
        let signed = |by: &Did, signature| has_seat(by) && by.verify(Domain::Snapshot, &digest.0, signature).is_ok();
        self.0.iter().filter(|(by, signature)| signed(by, signature)).map(|(by, _)| *by).collect()
    }
}

/// The number of members that must have signed a snapshot: a majority of the voters in it, or of those that this node's
/// own copy names if these are more. One is enough where no other can be: `others` tells whether this node votes itself,
/// or has lately heard of a seat besides the sender's.
///
/// The snapshot names its voters itself. A single voter that names nobody else meets this node's own voters, or two.
fn needed(head: &Seats, own: Option<&Seats>, others: bool) -> usize {
    let sets = [Some(head), own].into_iter().flatten().flat_map(|seats| &seats.voters);
    let most = sets.map(|voters| voters.iter().map(|voter| voter.did).collect::<BTreeSet<_>>().len()).max();
    (most.unwrap_or_default() / 2 + 1).max(if others { 2 } else { 1 })
}

/// A snapshot that this node's copy made by itself, with the signatures that have come.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    pub(super) head: SnapshotHead,
    /// The digest of the machine.
    pub(super) state: [u8; 32],
    pub(super) digest: SnapshotDigest,
    pub(super) certificate: Certificate,
    /// Whether the signatures are enough, as far as this node knows.
    pub(super) enough: bool,
}

impl Checkpoint {
    /// One without signatures. `state` are the machine's bytes.
    pub(super) fn of(group: Group, head: SnapshotHead, state: &[u8]) -> Self {
        let state = blake3::derive_key(DIGEST_CONTEXT, state);
        let digest = SnapshotDigest::of(group, &head, &state);
        Self { head, state, digest, certificate: Certificate::default(), enough: false }
    }

    /// The index of the last entry in it.
    pub(super) fn index(&self) -> u64 {
        self.head.at.map_or(0, |at| at.index)
    }
}

/// A snapshot on its way to this node, of which some parts have come.
#[derive(Debug)]
pub(super) struct Incoming {
    by: Did,
    head: Vec<u8>,
    read: SnapshotHead,
    /// The digest that enough have signed, if it needs signatures.
    signed: Option<SnapshotDigest>,
    state: blake3::Hasher,
    next: u64,
}

/// The answer to a part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It is taken.
    Taken,
    /// It does not follow the one before: the snapshot must be sent from its beginning.
    Astray,
    /// Too few have signed it, or its bytes are not those that were signed.
    Refused,
}

impl Incoming {
    fn begin(by: Did, part: &Install, read: SnapshotHead, signed: Option<SnapshotDigest>) -> Self {
        let state = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
        Self { by, head: part.head.clone(), read, signed, state, next: 0 }
    }

    /// Takes one part after the other. A later one that wrote over the first could make another format of it.
    fn take(&mut self, group: Group, by: Did, part: &Install) -> Part {
        if self.by != by || self.head != part.head || self.next != part.offset {
            return Part::Astray;
        }
        self.state.update(&part.data);
        self.next += part.data.len() as u64;
        if self.next > SNAPSHOT_BYTES_MAX {
            return Part::Refused;
        }
        let digest = || SnapshotDigest::of(group, &self.read, self.state.finalize().as_bytes());
        match self.signed {
            Some(signed) if part.done && digest() != signed => Part::Refused,
            _ => Part::Taken,
        }
    }
}

/// The digest of a snapshot with this first part, if enough members with a seat signed it.
fn signed(
    group: Group,
    part: &Install,
    head: &SnapshotHead,
    has_seat: impl Fn(&Did) -> bool,
    needed: usize,
) -> Option<SnapshotDigest> {
    let state: [u8; 32] = part.state.as_slice().try_into().ok()?;
    let digest = SnapshotDigest::of(group, head, &state);
    let certificate = Certificate::read(&part.certificate)?;
    (certificate.signers(&digest, has_seat).len() >= needed).then_some(digest)
}

impl Coordinator {
    /// Whether a part of a snapshot is taken. Before critical state is of a format of which every copy signs its
    /// snapshots, all are, as before.
    pub(super) fn takes_part(&self, running: &Running, peer: Did, part: &Install, head: &SnapshotHead) -> Part {
        let mut incoming = running.incoming();
        if part.offset == 0 {
            *incoming = None;
            let signed = if self.needs_certificate(running.group, part) && !planted("unsigned_snapshots") {
                let has_seat = |did: &Did| self.has_seat_in(running.group, did);
                match signed(running.group, part, head, has_seat, self.needed_here(running, &peer, head)) {
                    None => return Part::Refused,
                    signed => signed,
                }
            } else {
                None
            };
            *incoming = Some(Incoming::begin(peer, part, head.clone(), signed));
        }
        let Some(known) = incoming.as_mut() else { return Part::Astray };
        let taken = known.take(running.group, peer, part);
        if part.done || taken != Part::Taken {
            *incoming = None;
        }
        taken
    }

    /// The number of seats that must have signed a snapshot from a peer.
    fn needed_here(&self, running: &Running, by: &Did, head: &SnapshotHead) -> usize {
        let own = running.seats();
        let votes = own.as_ref().is_some_and(|own| own.has_voter(&self.did()));
        let others = votes || self.seated_here(running.group).iter().any(|did| did != by);
        needed(&head.seats, own.as_ref(), others)
    }

    /// Whether a snapshot with this first part must be signed.
    fn needs_certificate(&self, group: Group, first: &Install) -> bool {
        let format = format::split(&first.data, u16::MAX).map_or(u16::MAX, |(format, _)| format);
        let is_short = first.data.len() < format::MARKED_BYTES && !first.done;
        is_short || format >= format::SEATS || self.must_be_signed(group)
    }

    /// Whether this group's snapshots are signed, by this node's copy or by the word of a seat.
    fn must_be_signed(&self, group: Group) -> bool {
        let raised = || *self.formats.raised.borrow() >= format::SEATS;
        let said = || {
            let said = self.said();
            said.into_iter().any(|(did, said)| {
                said.group == Some(group) && said.format >= format::SEATS && self.has_seat_in(group, &did)
            })
        };
        raised() || said()
    }

    fn has_seat_in(&self, group: Group, did: &Did) -> bool {
        self.may_propose(did) && self.identity.members().has_seat_of(group.generation, group.id, did)
    }

    /// The others with a seat in a group that were heard of lately.
    fn seated_here(&self, group: Group) -> BTreeSet<Did> {
        let (me, gone) = (self.did(), self.silent_for(GONE_AFTER));
        let members = self.identity.members();
        let all = members.iter().map(|(did, _)| *did).filter(|did| *did != me && !gone.contains(did));
        all.filter(|did| self.has_seat_in(group, did)).collect()
    }

    /// Signs the digest of a snapshot that this node's copy has made by itself, for another seat.
    pub(super) fn certify(&self, running: &Running, peer: &Did, index: u64) -> Option<Signature> {
        let checkpoint = running.applied.checkpoint(index).filter(|_| self.has_seat_in(running.group, peer))?;
        Some(Certificate::default().sign(&checkpoint.digest, &self.key))
    }

    /// Asks the others for the signatures that the latest snapshot lacks, and keeps each as it comes. Members of
    /// `differing` have answered for another state: they are not asked again.
    async fn gather(&self, running: &Running, differing: &mut BTreeSet<Did>) -> Gathered {
        let Some(mut checkpoint) = running.applied.latest_checkpoint() else { return Gathered::All };
        let (index, digest) = (checkpoint.index(), checkpoint.digest);
        checkpoint.certificate.sign(&digest, &self.key);
        self.keep(running, &mut checkpoint).await;
        let seated = self.seated_here(running.group);
        let lacks = |did: &&Did| !checkpoint.certificate.has(did) && !differing.contains(did);
        let lacking: Vec<Did> = seated.iter().filter(lacks).copied().collect();
        let ask = async |did: Did| {
            let body = Body::Certify(Bytes { bytes: encode(&index) });
            match self.ask(did, running.group, body).await {
                Ok(Reply { body: Body::Answer(answer), .. }) => {
                    Some((did, Signature::try_from_slice(&answer.bytes).ok()?))
                }
                _ => None,
            }
        };
        let mut asked: FuturesUnordered<_> = lacking.into_iter().map(ask).collect();
        while let Some(answer) = asked.next().await {
            let Some((did, signature)) = answer else { continue };
            if checkpoint.certificate.add(&digest, did, signature) {
                self.keep(running, &mut checkpoint).await;
            } else {
                differing.insert(did);
                tracing::warn!(peer = %did.short(), index, "its copy differs from this one at the same place of the log");
            }
        }
        let mut all = checkpoint.head.seats.all.iter().map(|voter| &voter.did);
        match checkpoint.enough {
            true if all.all(|did| checkpoint.certificate.has(did) || differing.contains(did)) => Gathered::All,
            true => Gathered::Enough,
            false => Gathered::TooFew,
        }
    }

    /// Lets the entries go that are in the latest snapshot, if they may. Returns whether they are gone.
    async fn let_go(&self, running: &Running) -> bool {
        let Some(checkpoint) = running.applied.latest_checkpoint() else { return true };
        self.may_go(running, &checkpoint) && running.purge(checkpoint.index()).await
    }

    /// Whether copies that lag behind will take the latest snapshot, so that the entries in it may go.
    ///
    /// A copy that was cut off may ask for a second signature, even of a voter that is the only one by now. Another member
    /// can sign only after it has followed the log to that place. If the entries were gone before, no copy could follow.
    fn may_go(&self, running: &Running, checkpoint: &Checkpoint) -> bool {
        let me = self.did();
        let members = self.identity.members();
        let mut others = members.iter().filter(|(did, _)| **did != me);
        let are_more = others.any(|(did, _)| self.has_seat_in(running.group, did));
        let signed = checkpoint.certificate.0.len();
        signed >= needed(&checkpoint.head.seats, None, are_more)
            || !self.must_be_signed(running.group)
            || running.is_long(checkpoint.index())
    }

    async fn keep(&self, running: &Running, checkpoint: &mut Checkpoint) {
        let signed = checkpoint.certificate.0.len();
        checkpoint.enough = signed >= needed(&checkpoint.head.seats, None, false);
        if !running.applied.certified(checkpoint.clone()) {
            return;
        }
        // without it, they are asked again after a start
        if let Err(error) = self.log.save_certificate(checkpoint.index(), &checkpoint.certificate).await {
            tracing::debug!(%error, "the signatures of a snapshot were not kept");
        }
    }
}

/// The signatures of the latest snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    TooFew,
    Enough,
    /// Those of all seats, or there is no snapshot.
    All,
}

/// Gathers the signatures of each snapshot, before a copy that lags needs them.
pub(super) async fn run(here: Arc<Coordinator>) {
    let mut parts = here.running.subscribe();
    while let Ok(running) = parts.wait_for(Option::is_some).await.map(|part| part.clone()) {
        let Some(running) = running else { continue };
        let mut made = running.applied.made();
        let gather = async {
            let (mut differing, mut rest) = (BTreeSet::new(), ASK_THE_REST_EVERY);
            loop {
                if made.has_changed().unwrap_or(false) {
                    differing.clear();
                    rest = ASK_THE_REST_EVERY;
                }
                made.mark_unchanged();
                let gathered = here.gather(&running, &mut differing).await;
                let are_gone = here.let_go(&running).await;
                let again = match gathered {
                    Gathered::TooFew => Some(ASK_EVERY),
                    // another member may count at the one that lags
                    Gathered::Enough if running.leads() || !are_gone => Some(rest),
                    Gathered::All if !are_gone => Some(rest),
                    Gathered::Enough | Gathered::All => None,
                };
                rest = match gathered {
                    Gathered::TooFew => ASK_THE_REST_EVERY,
                    Gathered::Enough | Gathered::All => (rest * 2).min(ASK_THE_REST_RARELY),
                };
                let again = async {
                    match again {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => std::future::pending().await,
                    }
                };
                // a copy that was cut off may know of more voters than the snapshot names
                let refused = async {
                    tokio::time::sleep(ASK_EVERY).await;
                    running.applied.refused().await;
                };
                tokio::select! {
                    changed = made.changed() => if changed.is_err() { return },
                    () = again => {}
                    () = refused => {}
                }
            }
        };
        let mut others = here.running.subscribe();
        let other = async {
            let _ = others.wait_for(|part| part.as_ref().is_none_or(|part| !Arc::ptr_eq(part, &running))).await;
        };
        tokio::select! {
            () = gather => return,
            () = other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::raft::Voter;
    use super::*;

    const GROUP: Group = Group { generation: 1, id: 7 };

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn did(n: u8) -> Did {
        key(n).did()
    }

    fn head(index: u64) -> SnapshotHead {
        let voters = BTreeSet::from([Voter { did: did(1), draw: 1 }]);
        let at = Some(Position { term: 3, leader: Voter { did: did(1), draw: 1 }, index });
        SnapshotHead {
            at,
            seats_at: at,
            seats: Seats { all: voters.clone(), voters: vec![voters] },
            id: index.to_string(),
        }
    }

    fn voters(count: u8) -> Seats {
        let voters: BTreeSet<Voter> = (1..=count).map(|n| Voter { did: did(n), draw: 1 }).collect();
        Seats { all: voters.clone(), voters: vec![voters] }
    }

    #[test]
    fn a_member_with_two_numbers_is_one_voter() {
        let two = [Voter { did: did(1), draw: 1 }, Voter { did: did(1), draw: 2 }];
        let seats = Seats { all: BTreeSet::from(two), voters: vec![BTreeSet::from(two)] };
        assert_eq!((needed(&seats, None, false), needed(&voters(3), Some(&seats), false)), (1, 2));
    }

    /// The parts of a snapshot, signed by these.
    fn parts(state: &[u8], chunk: usize, signers: &[u8]) -> Vec<Install> {
        let checkpoint = Checkpoint::of(GROUP, head(9), state);
        let mut certificate = Certificate::default();
        for n in signers {
            certificate.sign(&checkpoint.digest, &key(*n));
        }
        let chunks: Vec<&[u8]> = state.chunks(chunk).collect();
        let part = |n: usize, data: &[u8]| Install {
            vote: Vec::new(),
            head: encode(&checkpoint.head),
            offset: (n * chunk) as u64,
            data: data.to_vec(),
            done: n + 1 == chunks.len(),
            state: if n == 0 { checkpoint.state.to_vec() } else { Vec::new() },
            certificate: if n == 0 { certificate.write() } else { Vec::new() },
        };
        chunks.iter().enumerate().map(|(n, data)| part(n, data)).collect()
    }

    fn begin(part: &Install) -> Option<Incoming> {
        let signed = signed(GROUP, part, &head(9), |_| true, 2)?;
        Some(Incoming::begin(did(1), part, head(9), Some(signed)))
    }

    proptest! {
        /// promise: Keys and locks | A minority of the voters that a copy knows cannot replace it, whichever voters their snapshot names
        #[test]
        fn a_minority_of_the_voters_certifies_nothing(own in 1..8_u8, named in 1..8_u8, others: bool) {
            let needed_of = needed(&voters(named), Some(&voters(own)), others);
            prop_assert!(needed_of * 2 > usize::from(own) && needed_of * 2 > usize::from(named));
            prop_assert!(needed_of > 1 || !others, "one voter alone replaces no copy");
            // and the majority that committed what is in it can certify it
            prop_assert!(needed_of <= (usize::from(own.max(named)) / 2 + 1).max(2));
        }

        #[test]
        fn a_snapshot_is_taken_part_by_part_and_as_it_was_signed(
            state in proptest::collection::vec(any::<u8>(), 1..200),
            chunk in 1..64_usize,
            flip in any::<prop::sample::Index>(),
        ) {
            let sent = parts(&state, chunk, &[1, 2]);
            let mut incoming = begin(&sent[0]).unwrap();
            for part in &sent {
                prop_assert_eq!(incoming.take(GROUP, did(1), part), Part::Taken);
                prop_assert_eq!(incoming.take(GROUP, did(1), part), Part::Astray, "twice");
            }
            // one other byte, wherever it is
            let (mut changed, at) = (sent.clone(), flip.index(state.len()));
            changed[at / chunk].data[at % chunk] ^= 1;
            let mut incoming = begin(&changed[0]).unwrap();
            let answers: Vec<Part> = changed.iter().map(|part| incoming.take(GROUP, did(1), part)).collect();
            prop_assert_eq!(answers.last(), Some(&Part::Refused));
        }
    }

    #[test]
    fn a_signature_is_for_a_group_a_place_voters_and_a_state() {
        let sent = parts(b"state", 64, &[1]);
        let taken = |group, head: &SnapshotHead, part: &Install, needed| {
            signed(group, part, head, |by| [did(1), did(2)].contains(by), needed).is_some()
        };
        assert!(taken(GROUP, &head(9), &sent[0], 1) && !taken(GROUP, &head(9), &sent[0], 2));
        let unseated = parts(b"state", 64, &[3]);
        assert!(!taken(GROUP, &head(9), &unseated[0], 1), "without a seat");
        let mut others = vec![(Group { id: 8, ..GROUP }, head(9), sent[0].clone()), (GROUP, head(10), sent[0].clone())];
        let more = Voter { did: did(2), draw: 2 };
        let mut voters = head(9);
        voters.seats.voters[0].insert(more);
        others.push((GROUP, voters, sent[0].clone()));
        others.push((GROUP, head(9), Install { state: vec![7; 32], ..sent[0].clone() }));
        for (group, head, part) in others {
            assert!(!taken(group, &head, &part, 1));
        }
        // a signature in the name of another
        let mut certificate = Certificate::default();
        let digest = Checkpoint::of(GROUP, head(9), b"state").digest;
        let signature = certificate.sign(&digest, &key(1));
        assert!(!certificate.add(&digest, did(2), signature));
        certificate.0.insert(did(2), signature);
        let part = Install { certificate: certificate.write(), ..sent[0].clone() };
        assert!(taken(GROUP, &head(9), &part, 1) && !taken(GROUP, &head(9), &part, 2));
        // no digest, no certificate, too many signatures
        let many: Vec<(Did, Signature)> = (0..=64).map(|n| (did(n), signature)).collect();
        for part in [
            Install { state: Vec::new(), ..sent[0].clone() },
            Install { certificate: vec![9], ..sent[0].clone() },
            Install { certificate: encode(&many), ..sent[0].clone() },
        ] {
            assert!(!taken(GROUP, &head(9), &part, 0));
        }
    }

    #[test]
    fn as_many_signatures_are_written_as_are_read() {
        let digest = Checkpoint::of(GROUP, head(9), b"state").digest;
        let mut certificate = Certificate::default();
        for n in 0..=SIGNATURES_MAX as u8 {
            certificate.sign(&digest, &key(n));
        }
        assert_eq!(certificate.0.len(), SIGNATURES_MAX + 1);
        let read = Certificate::read(&certificate.write()).unwrap();
        assert_eq!(read.signers(&digest, |_| true).len(), SIGNATURES_MAX);
    }

    /// promise: Bad input | A snapshot that does not end is refused at a bound in bytes, also one whose first part is signed
    #[test]
    fn a_snapshot_that_does_not_end_is_refused() {
        let sent = parts(&[7; 100], 40, &[1, 2]);
        let mut incoming = begin(&sent[0]).unwrap();
        incoming.next = SNAPSHOT_BYTES_MAX - 50;
        for (offset, answer) in [(SNAPSHOT_BYTES_MAX - 50, Part::Taken), (SNAPSHOT_BYTES_MAX - 10, Part::Refused)] {
            let part = Install { offset, done: false, ..sent[1].clone() };
            assert_eq!(incoming.take(GROUP, did(1), &part), answer);
        }
    }

    #[test]
    fn parts_of_another_sender_or_snapshot_are_astray() {
        let sent = parts(&[7; 100], 40, &[1, 2]);
        let other = Install { head: encode(&head(10)), ..sent[1].clone() };
        for (by, part) in [(did(2), &sent[1]), (did(1), &other), (did(1), &sent[2])] {
            let mut incoming = begin(&sent[0]).unwrap();
            assert_eq!(incoming.take(GROUP, did(1), &sent[0]), Part::Taken);
            assert_eq!(incoming.take(GROUP, by, part), Part::Astray);
        }
    }
}
