use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use crate::did::Did;
use crate::signed::{Domain, Signature};

/// An Ed25519 key pair: one instance, or the root of a mesh. The secret is wiped on drop.
#[derive(Clone)]
pub struct Keypair(SigningKey);

impl Keypair {
    /// A new key from the operating system's randomness.
    ///
    /// # Panics
    /// If the operating system gives no randomness: no key would be safe then.
    #[expect(clippy::expect_used, reason = "a machine without randomness cannot make keys")]
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).expect("the operating system gives randomness");
        Self::from_seed(&seed)
    }

    /// The key of a 32-byte seed (RFC 8032's private key).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for writing the key to its file.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn did(&self) -> Did {
        Did::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs a digest for one purpose.
    pub fn sign(&self, domain: Domain, digest: &[u8; 32]) -> Signature {
        Signature::from_bytes(self.0.sign(&domain.message(digest)).to_bytes())
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({})", self.did().short())
    }
}
