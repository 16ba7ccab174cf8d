use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::VerifyingKey;

use crate::error::DidError;
use crate::signed::{Domain, Signature};

/// The multicodec of an Ed25519 public key, as an unsigned varint.
const ED25519_PUB: [u8; 2] = [0xed, 0x01];
const PREFIX: &str = "did:key:z";

/// A decentralized identifier of the `did:key` method over an Ed25519 public key.
///
/// Text form: `did:key:z` and base58btc of the multicodec `0xed01` and the key, as in
/// <https://w3c-ccg.github.io/did-key-spec/>. Parsing accepts that one spelling alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Did([u8; 32]);

/// A signature does not verify. The signer's or a forger's fault; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify for {signer}")]
pub struct BadSignature {
    /// The claimed signer.
    pub signer: Did,
}

impl Did {
    /// The DID of public-key bytes. If the bytes are no point on the curve, no signature verifies for it.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The last eight characters of the text form, for logs. The first ones are the same in all DIDs.
    pub fn short(&self) -> String {
        let text = self.to_string();
        text[text.len() - 8..].to_owned()
    }

    /// Checks a signature of this key over a digest (strict: no small-order keys, no
    /// non-canonical encodings).
    ///
    /// # Errors
    /// [`BadSignature`] if it does not verify or these bytes are no usable key.
    pub fn verify(&self, domain: Domain, digest: &[u8; 32], signature: &Signature) -> Result<(), BadSignature> {
        let message = domain.message(digest);
        let check = || {
            let held = VerifyingKey::from_bytes(&self.0).and_then(|key| {
                key.verify_strict(&message, &ed25519_dalek::Signature::from_bytes(signature.as_bytes()))
            });
            held.map_err(|_| BadSignature { signer: *self })
        };
        #[cfg(feature = "memo")]
        return crate::memo::checked(&self.0, &message, signature, check);
        #[cfg(not(feature = "memo"))]
        check()
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&ED25519_PUB);
        bytes[2..].copy_from_slice(&self.0);
        write!(f, "{PREFIX}{}", bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Did(…{})", self.short())
    }
}

impl FromStr for Did {
    type Err = DidError;

    fn from_str(text: &str) -> Result<Self, DidError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(DidError::NotDidKey)?;
        let mut bytes = [0; 34];
        let len = bs58::decode(encoded).onto(&mut bytes).map_err(|_| DidError::NotDidKey)?;
        if bytes[..2] != ED25519_PUB {
            return Err(DidError::NotEd25519);
        }
        let key: [u8; 32] = bytes[2..len].try_into().map_err(|_| DidError::NotDidKey)?;
        let reduced = |point: &VerifyingKey| point.to_edwards().compress().to_bytes() == key;
        let usable = VerifyingKey::from_bytes(&key).is_ok_and(|point| !point.is_weak() && reduced(&point));
        let did = Self(key);
        // base58 has one spelling per byte string, and the key must have one per point
        (usable && did.to_string() == text).then_some(did).ok_or(DidError::BadKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keypair;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_did_survives_being_written_down(seed: [u8; 32]) {
            let did = Keypair::from_seed(&seed).did();
            prop_assert_eq!(did.to_string().parse::<Did>().unwrap(), did);
        }

        /// promise: Identities | A signature is good for one domain, digest and key only
        #[test]
        fn a_signature_is_good_for_one_domain_digest_and_key_only(seed: [u8; 32], digest: [u8; 32], bit in 0_usize..512) {
            let key = Keypair::from_seed(&seed);
            let signature = key.sign(Domain::Entry, &digest);
            prop_assert!(key.did().verify(Domain::Entry, &digest, &signature).is_ok());
            prop_assert!(key.did().verify(Domain::Credential, &digest, &signature).is_err());
            let mut flipped = *signature.as_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(key.did().verify(Domain::Entry, &digest, &Signature::from_bytes(flipped)).is_err());
            let mut other = digest;
            other[bit % 32] ^= 1;
            prop_assert!(key.did().verify(Domain::Entry, &other, &signature).is_err());
        }

        /// promise: Identities | Any text is a DID or an error, never a panic
        #[test]
        fn any_text_is_a_did_or_an_error_and_never_a_panic(text in "(did:key:z)?[1-9A-Za-z]{0,60}") {
            if let Ok(did) = text.parse::<Did>() {
                prop_assert_eq!(did.to_string(), text);
            }
        }
    }

    /// promise: Identities | Other DID methods, codecs, lengths and weak keys are refused
    #[test]
    fn other_methods_codecs_lengths_and_weak_keys_are_refused() {
        let good = Keypair::from_seed(&[7; 32]).did().to_string();
        let encode =
            |codec: [u8; 2], key: &[u8]| format!("did:key:z{}", bs58::encode([&codec[..], key].concat()).into_string());
        for text in
            ["", "did:key:", "did:web:example.org", &good[..good.len() - 1], &format!("{good}1"), &good.to_uppercase()]
        {
            assert!(text.parse::<Did>().is_err(), "{text}");
        }
        assert!(matches!(encode([0xec, 0x01], &[9; 32]).parse::<Did>(), Err(DidError::NotEd25519)));
        assert!(encode(ED25519_PUB, &[9; 31]).parse::<Did>().is_err());
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        assert!(matches!(encode(ED25519_PUB, &identity_point).parse::<Did>(), Err(DidError::BadKey)));
        // y = p + 3 stands for the same point as y = 3
        let mut unreduced = [0xff; 32];
        (unreduced[0], unreduced[31]) = (0xf0, 0x7f);
        assert!(encode(ED25519_PUB, &unreduced).parse::<Did>().is_err());
    }
}
