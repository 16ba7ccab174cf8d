use borsh::{BorshDeserialize, BorshSerialize};

use super::command::Command;
use super::format::encode;

/// The key of a request, made from the id that its caller chose. One node's callers share their ids.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestKey([u8; 16]);

impl RequestKey {
    /// The longest id, in bytes.
    pub(crate) const ID_BYTES_MAX: usize = 255;

    /// The key of an id; `None` if it is empty, too long, or has control characters.
    pub(crate) fn of(id: &str) -> Option<Self> {
        let good = (1..=Self::ID_BYTES_MAX).contains(&id.len()) && !id.chars().any(char::is_control);
        good.then(|| Self(first_half(blake3::derive_key("nexus request key v1", id.as_bytes()))))
    }

    /// The lowest key.
    pub(super) const FIRST: Self = Self([0; 16]);
    /// The highest key.
    pub(super) const LAST: Self = Self([u8::MAX; 16]);

    #[cfg(test)]
    pub(super) const fn sample(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// The key of one command of a proposal.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The command's place in the proposal, from 0.
    pub(super) place: u16,
    /// Its key.
    pub(super) key: RequestKey,
}

/// The digest of a command, to tell a repeated request from another one with the same id.
pub(super) fn digest(command: &Command) -> [u8; 16] {
    first_half(blake3::derive_key("nexus requested command v1", &encode(command)))
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let [half, ..] = hash.as_chunks().0 else { return [0; 16] };
    *half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_texts_and_their_keys_differ() {
        let key = |id: &str| RequestKey::of(id);
        assert!(key("deploy-42").is_some() && key("deploy-42") == key("deploy-42"));
        assert_ne!(key("deploy-42"), key("deploy-43"));
        assert!(key(&"x".repeat(255)).is_some());
        for bad in ["", "a\nb", "\u{7f}", &"x".repeat(256)] {
            assert_eq!(key(bad), None, "{bad:?}");
        }
    }
}
