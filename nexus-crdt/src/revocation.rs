use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{BadSignature, Chain, ChainError, Claims, Did, Domain, Keypair, Signature};

use crate::entry_id::EntryId;
use crate::error::FormError;
use crate::frontier::Head;
use crate::hlc::Hlc;
use crate::log_id::{Incarnation, LogId};
use crate::payload::PAYLOAD_BYTES_MAX;
use crate::space::SpaceId;

/// The most logs that a revocation pins. With all of them it still fits an entry.
pub const PINS_MAX: usize = 768;

const FORMAT: u16 = 1;
const _: () = assert!(PINS_MAX * 80 + 256 <= PAYLOAD_BYTES_MAX);

/// The last entry of a log that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pin {
    /// The log's space.
    pub space: SpaceId,
    /// The log's incarnation.
    pub incarnation: Incarnation,
    /// The entry.
    pub last: Head,
}

impl Pin {
    pub(crate) const fn log(&self) -> (SpaceId, Incarnation) {
        (self.space, self.incarnation)
    }
}

/// The pins of the longest logs, at most `max`, ascending by space and incarnation.
pub(crate) fn pinned(pins: impl IntoIterator<Item = Pin>, max: usize) -> Vec<Pin> {
    let mut pins: Vec<Pin> = pins.into_iter().collect();
    pins.sort_by_key(|pin| (std::cmp::Reverse(pin.last.seq), pin.log()));
    pins.truncate(max);
    pins.sort_by_key(|pin| (pin.log(), pin.last.seq));
    pins.dedup_by_key(|pin| pin.log());
    pins
}

/// Checks that pins are few, and ascending by space and incarnation.
pub(crate) fn check_pins(pins: &[Pin], max: usize) -> Result<(), FormError> {
    if pins.len() > max {
        return Err(FormError::Count { what: "pins", count: pins.len(), max });
    }
    pins.is_sorted_by(|a, b| a.log() < b.log()).then_some(()).ok_or(FormError::NotCanonical)
}

/// The end of a membership: the payload of an entry of kind [`crate::Kind::REVOCATION`] in the mesh's own
/// space. Canonical bytes: borsh, fields in this order, pins ascending by space and incarnation.
///
/// The member's logs count up to their pins. A log without a pin counts nowhere.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Revocation {
    /// 1; a later format is not read.
    format: u16,
    /// The member.
    pub member: Did,
    pins: Vec<Pin>,
    /// The root's signature. Without it the entry's author revokes.
    root: Option<Signature>,
}

impl Revocation {
    /// The end of `member`'s membership. Of more than [`PINS_MAX`] logs the longest are pinned.
    pub fn new(member: Did, pins: impl IntoIterator<Item = Pin>) -> Self {
        Self { format: FORMAT, member, pins: pinned(pins, PINS_MAX), root: None }
    }

    /// The same, signed by the root of the mesh. Then it counts whoever writes it down.
    #[must_use]
    pub fn by_root(self, root: &Keypair) -> Self {
        let signature = root.sign(Domain::Revocation, &self.digest(&root.did()));
        Self { root: Some(signature), ..self }
    }

    /// The last entries that count, ascending by space and incarnation.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Reads canonical payload bytes.
    ///
    /// # Errors
    /// [`FormError::NotCanonical`] or [`FormError::Count`].
    pub fn decode(payload: &[u8]) -> Result<Self, FormError> {
        let read: Self = borsh::from_slice(payload).map_err(|_| FormError::NotCanonical)?;
        check_pins(&read.pins, PINS_MAX)?;
        (read.format == FORMAT).then_some(read).ok_or(FormError::NotCanonical)
    }

    /// The canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a revocation encodes")
    }

    /// Whether the root of `mesh` signed it.
    ///
    /// # Errors
    /// The signature is another's.
    pub fn is_by_root(&self, mesh: &Did) -> Result<bool, BadSignature> {
        let Some(root) = &self.root else { return Ok(false) };
        mesh.verify(Domain::Revocation, &self.digest(mesh), root)?;
        Ok(true)
    }

    /// The digest that the root's signature covers.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    fn digest(&self, mesh: &Did) -> [u8; 32] {
        let unsigned = borsh::to_vec(&(mesh, self.format, self.member, &self.pins)).expect("a revocation encodes");
        blake3::derive_key("nexus revocation v1", &unsigned)
    }
}

/// The end of a membership as the root is to sign it: prepared on a node, signed where the root key is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RevocationDraft {
    /// The mesh.
    pub mesh: Did,
    /// The revocations: of the member, then of those whose membership ends with it.
    pub revocations: Vec<Revocation>,
    /// The claims by which the root admits the node that prepared it. The node needs them if its own
    /// membership would end, too, or if it must admit others who stay.
    pub admits: Option<Claims>,
}

impl RevocationDraft {
    /// Its bytes, to carry to the root key.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn to_bytes(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a draft encodes")
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`FormError::NotCanonical`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        borsh::from_slice(bytes).map_err(|_| FormError::NotCanonical)
    }

    /// Signs all of it.
    ///
    /// # Errors
    /// [`ChainError`] if the key is not the root's of this mesh.
    pub fn sign(&self, root: &Keypair) -> Result<RootRevocation, ChainError> {
        if root.did() != self.mesh {
            return Err(ChainError::OtherMesh { expected: self.mesh, found: root.did() });
        }
        let chain = self.admits.as_ref().map(|claims| Chain::found(claims.sign(root))).transpose()?;
        let revocations = self.revocations.iter().map(|revocation| revocation.clone().by_root(root)).collect();
        Ok(RootRevocation { revocations, chain })
    }
}

/// The end of a membership, signed by the root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RootRevocation {
    /// The revocations: of the member, then of those whose membership ends with it.
    pub revocations: Vec<Revocation>,
    /// The credentials of the node that writes it down, if it gets new ones.
    pub chain: Option<Chain>,
}

impl RootRevocation {
    /// Its bytes, to carry back to the node.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn to_bytes(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a revocation encodes")
    }

    /// Reads the bytes. Whether the root signed them says [`holds`](Self::holds).
    ///
    /// # Errors
    /// [`FormError::NotCanonical`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        borsh::from_slice(bytes).map_err(|_| FormError::NotCanonical)
    }

    /// Whether the root of `mesh` signed all of it, and its credentials are those of `me`.
    pub fn holds(&self, mesh: &Did, me: &Did) -> bool {
        let signed = |revocation: &Revocation| revocation.is_by_root(mesh) == Ok(true);
        let own = |chain: &Chain| chain.verify(mesh).is_ok_and(|claims| claims.subject == *me);
        self.revocations.iter().all(signed) && self.chain.as_ref().is_none_or(own)
    }

    /// Whether it ends this membership.
    pub fn ends(&self, member: &Did) -> bool {
        self.revocations.iter().any(|revocation| revocation.member == *member)
    }
}

/// A revocation with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedRevocation {
    /// The log that it is written in.
    pub log: LogId,
    /// Its entry in that log.
    pub entry: Head,
    /// The time by its author's clock, for people.
    pub hlc: Hlc,
    /// The revocation itself.
    pub revocation: Revocation,
    /// Whether the root signed it.
    pub by_root: bool,
}

impl PlacedRevocation {
    /// The order of an author's revocations: the first ones count if there are too many.
    pub(crate) fn order(&self) -> (u64, EntryId) {
        (self.entry.seq, self.entry.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pin(space: u8, incarnation: u8, seq: u64) -> Pin {
        let (space, incarnation) = (SpaceId::from_bytes([space; 32]), Incarnation([incarnation; 8]));
        Pin { space, incarnation, last: Head { seq, id: EntryId::of(&[1]) } }
    }

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    #[test]
    fn a_revocation_reads_as_it_was_written() {
        let all = Revocation::new(key(2).did(), [pin(2, 1, 7), pin(1, 2, 3), pin(1, 1, 9), pin(1, 1, 4)]);
        assert_eq!(all.pins(), [pin(1, 1, 4), pin(1, 2, 3), pin(2, 1, 7)]);
        assert_eq!(Revocation::decode(&all.encode()), Ok(all.clone()));
        let root = all.by_root(&key(0));
        assert_eq!(Revocation::decode(&root.encode()), Ok(root.clone()));
        assert_eq!(root.is_by_root(&key(0).did()), Ok(true));
        assert!(root.is_by_root(&key(1).did()).is_err());
        let (member, pins) = (key(3).did(), root.pins.clone());
        assert!(Revocation { member, ..root.clone() }.is_by_root(&key(0).did()).is_err());
        assert!(Revocation { pins: pins[..1].to_vec(), ..root }.is_by_root(&key(0).did()).is_err());
    }

    #[test]
    fn of_too_many_logs_the_longest_are_pinned() {
        let logs = (0..1_000_u64).map(|n| Pin { incarnation: Incarnation(n.to_be_bytes()), ..pin(1, 0, n) });
        let most = Revocation::new(key(2).did(), logs);
        assert_eq!(most.pins().len(), PINS_MAX);
        assert!(most.pins().iter().all(|pin| pin.last.seq >= 1_000 - PINS_MAX as u64));
        let bytes = most.by_root(&key(0)).encode();
        assert!(bytes.len() <= PAYLOAD_BYTES_MAX);
    }

    #[test]
    fn pins_out_of_order_and_a_later_format_are_refused() {
        let one = Revocation::new(key(2).did(), [pin(1, 1, 4), pin(1, 2, 3)]);
        let swapped = Revocation { pins: vec![pin(1, 2, 3), pin(1, 1, 4)], ..one.clone() };
        assert_eq!(Revocation::decode(&swapped.encode()), Err(FormError::NotCanonical));
        let twice = Revocation { pins: vec![pin(1, 1, 3), pin(1, 1, 4)], ..one.clone() };
        assert_eq!(Revocation::decode(&twice.encode()), Err(FormError::NotCanonical));
        assert_eq!(Revocation::decode(&Revocation { format: 2, ..one }.encode()), Err(FormError::NotCanonical));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_revocation_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(read) = Revocation::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }
}
