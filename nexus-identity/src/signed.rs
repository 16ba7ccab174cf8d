use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

/// The purpose of a signature. Each domain puts its own prefix before the signed digest, so a signature
/// made for one purpose is worthless for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Domain {
    /// A log entry's id.
    Entry,
    /// A credential's claims.
    Credential,
    /// A presence beat.
    Presence,
    /// A proposal to the coordinators.
    Proposal,
    /// A revocation by the root itself.
    Revocation,
    /// A new key that takes the place of a former one.
    Succession,
    /// A snapshot of the coordinators' state.
    Snapshot,
    /// The key of a certificate of the API.
    Certificate,
}

impl Domain {
    /// The bytes before the digest.
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Entry => b"nexus/entry/1",
            Self::Credential => b"nexus/credential/1",
            Self::Presence => b"nexus/presence/1",
            Self::Proposal => b"nexus/proposal/1",
            Self::Revocation => b"nexus/revocation/1",
            Self::Succession => b"nexus/succession/1",
            Self::Snapshot => b"nexus/snapshot/1",
            Self::Certificate => b"nexus/certificate/1",
        }
    }

    /// The signed bytes: the prefix, then the digest.
    pub(crate) fn message(self, digest: &[u8; 32]) -> Vec<u8> {
        [self.prefix(), digest].concat()
    }
}

/// An Ed25519 signature (RFC 8032), 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature([u8; 64]);

impl Signature {
    /// A signature from its bytes, not verified.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The bytes, R then s.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", data_encoding::HEXLOWER.encode(&self.0[..6]))
    }
}
