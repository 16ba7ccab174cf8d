//! The id of a request whose end nobody knew: with it the request's outcome is asked for, and settled.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::BASE32_NOPAD;
use nexus_identity::Did;

/// The beginning of each id's text.
const PREFIX: &str = "nexus-";

/// The id of a request to the coordinators, for [`Critical::outcome`](crate::Critical::outcome).
///
/// It names the place of the request among those of its node, so it needs no memory there. Only the node that asked
/// can use it.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The coordinators that it was sent to first: the number of groups before them, and their own random number.
    pub(crate) group: (u32, u64),
    pub(crate) session: u64,
    pub(crate) seq: u64,
    /// The index that the proposal named.
    pub(crate) base: u64,
    /// The place among the commands of the proposal.
    pub(crate) place: u16,
    /// The part of a hash of all that and of the node, against mistyped and foreign ids.
    check: [u8; 3],
}

/// The text is no id of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request's id begins with {PREFIX} and is shown by the error of the request")]
pub struct NotARequestId;

impl RequestId {
    pub(crate) fn new(by: &Did, group: (u32, u64), session: u64, seq: u64, base: u64, place: u16) -> Self {
        let id = Self { group, session, seq, base, place, check: [0; 3] };
        Self { check: id.check(by), ..id }
    }

    /// Whether it is of a request of this node.
    pub(crate) fn is_of(&self, by: &Did) -> bool {
        self.check == self.check(by)
    }

    fn check(&self, by: &Did) -> [u8; 3] {
        let mut hasher = blake3::Hasher::new_derive_key("nexus request id v1");
        hasher.update(by.as_bytes()).update(&Self { check: [0; 3], ..*self }.to_bytes());
        let [a, b, c, ..] = *hasher.finalize().as_bytes();
        [a, b, c]
    }

    /// Numbers without their leading zeros, so that the text is short.
    fn to_bytes(self) -> Vec<u8> {
        let (generation, id) = self.group;
        let numbers = [u64::from(generation), id, self.session, self.seq, self.base];
        let mut bytes = Vec::with_capacity(40);
        for number in numbers.into_iter().chain([u64::from(self.place)]) {
            let some = number.to_be_bytes();
            let zeros = some.iter().take_while(|byte| **byte == 0).count();
            bytes.push(u8::try_from(8 - zeros).unwrap_or_default());
            bytes.extend(&some[zeros..]);
        }
        bytes.extend(self.check);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut number = || {
            let (len, after) = rest.split_first()?;
            let (some, after) = after.split_at_checked(usize::from(*len))?;
            rest = after;
            (some.len() <= 8 && some.first() != Some(&0))
                .then(|| some.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        };
        let generation = u32::try_from(number()?).ok()?;
        let (id, session, seq, base) = (number()?, number()?, number()?, number()?);
        let place = u16::try_from(number()?).ok()?;
        Some(Self { group: (generation, id), session, seq, base, place, check: rest.try_into().ok()? })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&self.to_bytes()).to_ascii_lowercase())
    }
}

impl FromStr for RequestId {
    type Err = NotARequestId;

    fn from_str(text: &str) -> Result<Self, NotARequestId> {
        let text = text.strip_prefix(PREFIX).filter(|text| text.len() <= 128).ok_or(NotARequestId)?;
        let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| NotARequestId)?;
        Self::from_bytes(&bytes).ok_or(NotARequestId)
    }
}

#[cfg(test)]
mod tests {
    use nexus_identity::Keypair;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_read_as_it_is_written_and_is_of_one_node(
            generation: u32, numbers: [u64; 4], place: u16, other: u8,
        ) {
            let (by, group) = (Keypair::from_seed(&[1; 32]).did(), (generation, numbers[0]));
            let id = RequestId::new(&by, group, numbers[1], numbers[2], numbers[3], place);
            let read: RequestId = id.to_string().parse().unwrap();
            prop_assert_eq!(read, id);
            prop_assert!(read.is_of(&by) && read.to_string().to_uppercase().replace("NEXUS-", PREFIX).parse() == Ok(id));
            let other = Keypair::from_seed(&[other.max(2); 32]).did();
            prop_assert!(!read.is_of(&other));
        }

        #[test]
        fn no_text_panics(text in ".{0,64}", bytes: Vec<u8>) {
            prop_assert!(text.parse::<RequestId>().is_err());
            let coded = format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_lowercase());
            if let Ok(id) = coded.parse::<RequestId>() {
                prop_assert_eq!(id.to_string(), coded, "one text for each id");
            }
        }
    }
}
