use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{BadSignature, Did, Domain, Keypair, Signature};

use crate::entry_id::EntryId;
use crate::error::FormError;
use crate::hlc::Hlc;
use crate::revocation::{Pin, check_pins, pinned};

const FORMAT: u16 = 1;

/// The most logs that a succession pins: a request for a new key must fit the join door.
pub const SUCCESSION_PINS_MAX: usize = 256;

/// A member's new key: the payload of an entry of kind [`crate::Kind::SUCCESSION`] in the mesh's own space, written
/// by the admin that admits the new key. Canonical bytes: borsh, fields in this order, pins ascending by space and
/// incarnation.
///
/// Both keys sign. The former key's membership ends with it: its logs count up to their pins.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Succession {
    /// 1; a later format is not read.
    format: u16,
    /// The member's key until now.
    pub former: Did,
    /// The member's new key.
    pub member: Did,
    pins: Vec<Pin>,
    by_former: Signature,
    by_member: Signature,
}

impl Succession {
    /// A new key takes the place of a former one in a mesh. Of more than [`SUCCESSION_PINS_MAX`] logs the longest are
    /// pinned.
    pub fn new(mesh: &Did, former: &Keypair, member: &Keypair, pins: impl IntoIterator<Item = Pin>) -> Self {
        let pins = pinned(pins, SUCCESSION_PINS_MAX);
        let digest = digest(mesh, &former.did(), &member.did(), &pins);
        let (by_former, by_member) =
            (former.sign(Domain::Succession, &digest), member.sign(Domain::Succession, &digest));
        Self { format: FORMAT, former: former.did(), member: member.did(), pins, by_former, by_member }
    }

    /// The last entries of the former key that count, ascending by space and incarnation.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Reads canonical payload bytes.
    ///
    /// # Errors
    /// [`FormError::NotCanonical`] or [`FormError::Count`].
    pub fn decode(payload: &[u8]) -> Result<Self, FormError> {
        let read: Self = borsh::from_slice(payload).map_err(|_| FormError::NotCanonical)?;
        check_pins(&read.pins, SUCCESSION_PINS_MAX)?;
        let sound = read.format == FORMAT && read.former != read.member;
        sound.then_some(read).ok_or(FormError::NotCanonical)
    }

    /// The canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a succession encodes")
    }

    /// Checks that both keys signed it for this mesh.
    ///
    /// # Errors
    /// A signature is another's.
    pub fn verify(&self, mesh: &Did) -> Result<(), BadSignature> {
        let digest = digest(mesh, &self.former, &self.member, &self.pins);
        self.former.verify(Domain::Succession, &digest, &self.by_former)?;
        self.member.verify(Domain::Succession, &digest, &self.by_member)
    }
}

/// The digest that both keys sign.
#[expect(clippy::expect_used, reason = "borsh writes to memory")]
fn digest(mesh: &Did, former: &Did, member: &Did, pins: &[Pin]) -> [u8; 32] {
    let unsigned = borsh::to_vec(&(mesh, FORMAT, former, member, pins)).expect("a succession encodes");
    blake3::derive_key("nexus succession v1", &unsigned)
}

/// A succession with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedSuccession {
    /// The author of its entry.
    pub author: Did,
    /// The entry's number in its log, and the entry.
    pub order: (u64, EntryId),
    /// The time by its author's clock, for people.
    pub hlc: Hlc,
    /// The succession itself, which both keys signed.
    pub succession: Succession,
}

impl PlacedSuccession {
    /// The order of the successions of one former key: the first one counts.
    pub(crate) fn rank(&self) -> (Did, Hlc, (u64, EntryId)) {
        (self.succession.member, self.hlc, self.order)
    }
}

/// The successions that an author wrote down, by their order in its log. The first ones are kept, up to a bound.
///
/// The first ones of each former key are judged: a member that changes its key without end takes the place of nobody
/// else. One line of keys takes at most a 64th of the bounds (64 keys, each with all its pins).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WrittenSuccessions {
    kept: BTreeMap<(u64, EntryId), PlacedSuccession>,
    pins: usize,
    /// The first one beyond the bound: none from there on is kept, however few pins it has.
    beyond: Option<(u64, EntryId)>,
}

impl WrittenSuccessions {
    /// The most successions of one author.
    const COUNT_MAX: usize = 65_536;
    /// The most pins in the successions of one author, of 80 bytes each.
    const PINS_MAX: usize = 1_048_576;
    /// The most successions of one former key by one author: more than one only if their writer does not keep to the
    /// rules.
    const OF_KEY_MAX: usize = 16;

    /// Takes one within the bound. Returns whether it is kept and was not before.
    pub(crate) fn take(&mut self, placed: PlacedSuccession) -> bool {
        let order = placed.order;
        if self.beyond.is_some_and(|beyond| order >= beyond) {
            return false;
        }
        self.pins += placed.succession.pins.len();
        let before = self.kept.insert(order, placed);
        self.pins -= before.as_ref().map_or(0, |before| before.succession.pins.len());
        while self.kept.len() > Self::COUNT_MAX || self.pins > Self::PINS_MAX {
            let Some((last, placed)) = self.kept.pop_last() else { break };
            self.pins -= placed.succession.pins.len();
            self.beyond = Some(last);
        }
        before.is_none() && self.kept.contains_key(&order)
    }

    /// The successions that are judged.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &PlacedSuccession> {
        let mut of_key: BTreeMap<Did, usize> = BTreeMap::new();
        self.kept.values().filter(move |placed| {
            let number = of_key.entry(placed.succession.former).or_default();
            *number += 1;
            *number <= Self::OF_KEY_MAX
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontier::Head;
    use crate::log_id::Incarnation;
    use crate::space::SpaceId;
    use proptest::prelude::*;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn pin(n: u64) -> Pin {
        let (space, incarnation) = (SpaceId::from_bytes([7; 32]), Incarnation(n.to_be_bytes()));
        Pin { space, incarnation, last: Head { seq: n, id: EntryId::of(&[1]) } }
    }

    #[test]
    fn both_keys_say_who_succeeds_whom_and_up_to_where() {
        let (mesh, other) = (key(0).did(), key(9).did());
        let succession = Succession::new(&mesh, &key(1), &key(2), [pin(3), pin(2)]);
        assert_eq!(Succession::decode(&succession.encode()), Ok(succession.clone()));
        assert_eq!((succession.verify(&mesh), succession.pins()), (Ok(()), [pin(2), pin(3)].as_slice()));
        assert!(succession.verify(&other).is_err(), "of another mesh");
        assert!(Succession { former: other, ..succession.clone() }.verify(&mesh).is_err());
        assert!(Succession { member: other, ..succession.clone() }.verify(&mesh).is_err());
        assert!(Succession { pins: Vec::new(), ..succession.clone() }.verify(&mesh).is_err());
        let (by_former, by_member) = (succession.by_member, succession.by_former);
        assert!(Succession { by_former, by_member, ..succession.clone() }.verify(&mesh).is_err());
        for bad in [
            Succession { format: 2, ..succession.clone() }.encode(),
            Succession { pins: vec![pin(3), pin(2)], ..succession.clone() }.encode(),
            Succession::new(&mesh, &key(2), &key(2), []).encode(),
            [succession.encode(), vec![0]].concat(),
        ] {
            assert_eq!(Succession::decode(&bad), Err(FormError::NotCanonical));
        }
        let many = Succession::new(&mesh, &key(1), &key(2), (0..300).map(pin));
        assert_eq!((many.pins().len(), many.pins()[0]), (SUCCESSION_PINS_MAX, pin(300 - SUCCESSION_PINS_MAX as u64)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// promise: Revocations | The first successions of one key by one author are judged, in whichever order they come
        #[test]
        fn the_first_successions_of_a_key_are_judged_in_any_order(
            order in Just((0..100_u64).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let succession = Succession::new(&key(0).did(), &key(1), &key(2), (0..250).map(pin));
            let mut written = WrittenSuccessions::default();
            for n in order.iter().chain(&order) {
                let order = (*n, EntryId::of(&n.to_le_bytes()));
                let (author, hlc, succession) = (key(3).did(), Hlc(*n), succession.clone());
                written.take(PlacedSuccession { author, order, hlc, succession });
            }
            let kept: Vec<u64> = written.iter().map(|placed| placed.order.0).collect();
            prop_assert_eq!(kept, (0..16).collect::<Vec<_>>());
            prop_assert_eq!(written.pins, 100 * 250);
        }

        #[test]
        fn any_bytes_are_a_succession_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(read) = Succession::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }
}
