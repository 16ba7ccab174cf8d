use nexus_crdt::{SALT_BYTES, Salt};

/// Random bytes from the shell, for the salts of one input.
pub type Seed = [u8; 32];

/// The salts of one input, one after the other. Whoever sees some of them learns nothing of the others.
pub(super) struct Salts(blake3::OutputReader);

impl Salts {
    pub(super) fn of(seed: &Seed) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("nexus payload salts v2");
        hasher.update(seed);
        Self(hasher.finalize_xof())
    }

    pub(super) fn next(&mut self) -> Salt {
        let mut salt = [0; SALT_BYTES];
        self.0.fill(&mut salt);
        salt
    }
}
