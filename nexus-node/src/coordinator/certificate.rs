//! Certificates of snapshots: a copy takes a snapshot if a quorum has signed its digest, and from one coordinator
//! alone never.
//!
//! A snapshot replaces a copy without a proposal of any member, so nothing in it shows whether it is true. All copies
//! make their snapshots at the same places of the log. Each voter signs the digest of its own, and the leader sends
//! the signatures along. The idea is the stable checkpoint of PBFT (Castro and Liskov, 1999).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use futures::future::join_all;
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
const ASK_EVERY: Duration = Duration::from_secs(2);
/// The time between two questions of a leader for those that are not needed as far as it knows.
const ASK_THE_REST_EVERY: Duration = Duration::from_secs(10);
/// The time after which the signature of a member that is away is not waited for. Until then a voter that is alone
/// with a copy cannot replace it.
const GONE_AFTER: Duration = Duration::from_secs(60);
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

    pub(super) fn write(&self) -> Vec<u8> {
        let signatures: Vec<(Did, Signature)> = self.0.iter().map(|(did, signature)| (*did, *signature)).collect();
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

    /// The members that signed this digest.
    fn signers(&self, digest: &SnapshotDigest) -> BTreeSet<Did> {
        let signed = |by: &Did, signature| by.verify(Domain::Snapshot, &digest.0, signature).is_ok();
        self.0.iter().filter(|(by, signature)| signed(by, signature)).map(|(by, _)| *by).collect()
    }
}

/// Whether a snapshot that these members with seats have signed is taken: by a majority of the seats. `counted` are
/// the members with a seat that were heard of lately.
///
/// The voters that the snapshot itself names do not matter: whoever makes it chooses them. The signature of a member
/// that has gone counts all the same.
fn suffices(signers: &BTreeSet<Did>, counted: &BTreeSet<Did>) -> bool {
    signers.len() * 2 > counted.len()
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
        let digest = || SnapshotDigest::of(group, &self.read, self.state.finalize().as_bytes());
        match self.signed {
            Some(signed) if part.done && digest() != signed => Part::Refused,
            _ => Part::Taken,
        }
    }
}

/// The digest of a snapshot with this first part, if its signers are enough.
fn signed(
    group: Group,
    part: &Install,
    head: &SnapshotHead,
    enough: impl FnOnce(&BTreeSet<Did>) -> bool,
) -> Option<SnapshotDigest> {
    let state: [u8; 32] = part.state.as_slice().try_into().ok()?;
    let digest = SnapshotDigest::of(group, head, &state);
    let certificate = Certificate::read(&part.certificate)?;
    enough(&certificate.signers(&digest)).then_some(digest)
}

impl Coordinator {
    /// Whether a part of a snapshot is taken. Before critical state is of a format of which every copy signs its
    /// snapshots, all are, as before.
    pub(super) fn takes_part(&self, running: &Running, peer: Did, part: &Install, head: &SnapshotHead) -> Part {
        let mut incoming = running.incoming();
        if part.offset == 0 {
            *incoming = None;
            let signed = match self.needs_certificate(running.group, part) && !planted("unsigned_snapshots") {
                true => match signed(running.group, part, head, |signers| self.are_enough(running.group, signers)) {
                    None => return Part::Refused,
                    signed => signed,
                },
                false => None,
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

    fn are_enough(&self, group: Group, signers: &BTreeSet<Did>) -> bool {
        let seated = |did: &&Did| self.has_seat_in(group, did);
        let mut counted = self.seated_here(group);
        counted.extend(Some(self.did()).filter(|me| self.has_seat_in(group, me)));
        suffices(&signers.iter().filter(seated).copied().collect(), &counted)
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

    /// Asks the others for the signatures that the latest snapshot lacks.
    async fn gather(&self, running: &Running) -> Gathered {
        let Some(mut checkpoint) = running.applied.latest_checkpoint() else { return Gathered::All };
        let (index, digest) = (checkpoint.index(), checkpoint.digest);
        checkpoint.certificate.sign(&digest, &self.key);
        let seated = self.seated_here(running.group);
        let lacking = seated.iter().filter(|did| !checkpoint.certificate.0.contains_key(did)).copied();
        let asked = lacking.map(async |did| {
            let body = Body::Certify(Bytes { bytes: encode(&index) });
            let Ok(Reply { body: Body::Answer(answer), .. }) = self.ask(did, running.group, body).await else {
                return None;
            };
            Some((did, Signature::try_from_slice(&answer.bytes).ok()?))
        });
        for (did, signature) in join_all(asked).await.into_iter().flatten() {
            if !checkpoint.certificate.add(&digest, did, signature) {
                tracing::warn!(peer = %did.short(), index, "its copy differs from this one at the same place of the log");
            }
        }
        let signers = checkpoint.certificate.signers(&digest);
        checkpoint.enough = self.are_enough(running.group, &signers);
        let gathered = match checkpoint.enough {
            true if seated.is_subset(&signers) => Gathered::All,
            true => Gathered::Enough,
            false => Gathered::TooFew,
        };
        if running.applied.certified(checkpoint.clone())
            && let Err(error) = self.log.save_certificate(index, &checkpoint.certificate).await
        {
            tracing::debug!(%error, "the signatures of a snapshot were not kept");
        }
        gathered
    }
}

/// The signatures of the latest snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    TooFew,
    Enough,
    /// Those of all that were heard of lately, or there is no snapshot.
    All,
}

/// Gathers the signatures of each snapshot, before a copy that lags needs them.
pub(super) async fn run(here: Arc<Coordinator>) {
    let mut parts = here.running.subscribe();
    while let Ok(running) = parts.wait_for(Option::is_some).await.map(|part| part.clone()) {
        let Some(running) = running else { continue };
        let mut made = running.applied.made();
        let gather = async {
            loop {
                made.mark_unchanged();
                let again = match here.gather(&running).await {
                    Gathered::TooFew => Some(ASK_EVERY),
                    // another member may count at the one that lags
                    Gathered::Enough if running.leads() => Some(ASK_THE_REST_EVERY),
                    Gathered::Enough | Gathered::All => None,
                };
                let again = async {
                    match again {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = made.changed() => if changed.is_err() { return },
                    () = again => {}
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
        SnapshotHead { at, seats_at: at, seats: Seats { all: voters.clone(), voters: vec![voters] }, id: index.to_string() }
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

    fn begin(part: &Install, enough: impl FnOnce(&BTreeSet<Did>) -> bool) -> Option<Incoming> {
        let signed = signed(GROUP, part, &head(9), enough)?;
        Some(Incoming::begin(did(1), part, head(9), Some(signed)))
    }

    proptest! {
        /// promise: Keys and locks | Fewer than half of the seats cannot replace a copy, however many voters their snapshot names
        #[test]
        fn a_minority_of_the_seats_certifies_nothing(seats in 1..20_u8, liars in 0..20_u8) {
            let counted: BTreeSet<Did> = (1..=seats).map(did).collect();
            let signers: BTreeSet<Did> = (1..=liars).map(did).collect();
            prop_assert_eq!(suffices(&signers, &counted), u32::from(liars) * 2 > u32::from(seats));
        }

        #[test]
        fn a_snapshot_is_taken_part_by_part_and_as_it_was_signed(
            state in proptest::collection::vec(any::<u8>(), 1..200),
            chunk in 1..64_usize,
            flip in any::<prop::sample::Index>(),
        ) {
            let sent = parts(&state, chunk, &[1, 2]);
            let both = |signers: &BTreeSet<Did>| *signers == BTreeSet::from([did(1), did(2)]);
            let mut incoming = begin(&sent[0], both).unwrap();
            for part in &sent {
                prop_assert_eq!(incoming.take(GROUP, did(1), part), Part::Taken);
                prop_assert_eq!(incoming.take(GROUP, did(1), part), Part::Astray, "twice");
            }
            // one other byte, wherever it is
            let (mut changed, at) = (sent.clone(), flip.index(state.len()));
            changed[at / chunk].data[at % chunk] ^= 1;
            let mut incoming = begin(&changed[0], both).unwrap();
            let answers: Vec<Part> = changed.iter().map(|part| incoming.take(GROUP, did(1), part)).collect();
            prop_assert_eq!(answers.last(), Some(&Part::Refused));
        }
    }

    #[test]
    fn a_signature_is_for_a_group_a_place_voters_and_a_state() {
        let sent = parts(b"state", 64, &[1]);
        let signers = |group, head: &SnapshotHead, part: &Install| {
            let mut seen = None;
            signed(group, part, head, |signers| {
                seen = Some(signers.len());
                true
            });
            seen
        };
        assert_eq!(signers(GROUP, &head(9), &sent[0]), Some(1));
        let mut others = vec![(Group { id: 8, ..GROUP }, head(9), sent[0].clone()), (GROUP, head(10), sent[0].clone())];
        let more = Voter { did: did(2), draw: 2 };
        let mut voters = head(9);
        voters.seats.voters[0].insert(more);
        others.push((GROUP, voters, sent[0].clone()));
        others.push((GROUP, head(9), Install { state: vec![7; 32], ..sent[0].clone() }));
        for (group, head, part) in others {
            assert_eq!(signers(group, &head, &part), Some(0));
        }
        // a signature in the name of another
        let mut certificate = Certificate::default();
        let digest = Checkpoint::of(GROUP, head(9), b"state").digest;
        let signature = certificate.sign(&digest, &key(1));
        assert!(!certificate.add(&digest, did(2), signature));
        certificate.0.insert(did(2), signature);
        let part = Install { certificate: certificate.write(), ..sent[0].clone() };
        assert_eq!(signers(GROUP, &head(9), &part), Some(1));
        // no digest, no certificate, too many signatures
        let many: Vec<(Did, Signature)> = (0..=64).map(|n| (did(n), signature)).collect();
        for part in [
            Install { state: Vec::new(), ..sent[0].clone() },
            Install { certificate: vec![9], ..sent[0].clone() },
            Install { certificate: encode(&many), ..sent[0].clone() },
        ] {
            assert_eq!(signers(GROUP, &head(9), &part), None);
        }
    }

    #[test]
    fn parts_of_another_sender_or_snapshot_are_astray() {
        let sent = parts(&[7; 100], 40, &[1]);
        let other = Install { head: encode(&head(10)), ..sent[1].clone() };
        for (by, part) in [(did(2), &sent[1]), (did(1), &other), (did(1), &sent[2])] {
            let mut incoming = begin(&sent[0], |_| true).unwrap();
            assert_eq!(incoming.take(GROUP, did(1), &sent[0]), Part::Taken);
            assert_eq!(incoming.take(GROUP, by, part), Part::Astray);
        }
    }
}
