use crate::did::{BadSignature, Did};
use crate::limits::CHAIN_LINKS_MAX;

/// Why a credential chain does not hold. Its sender is at fault; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No links, or more than [`CHAIN_LINKS_MAX`].
    #[error("a chain has 1 to {max} credentials, this one has {links}", max = CHAIN_LINKS_MAX)]
    Length {
        /// The number of links.
        links: usize,
    },
    /// A credential's bytes are not the canonical encoding of claims.
    #[error("credential is malformed")]
    Malformed,
    /// A credential of a later version.
    #[error("credential has format {format}, newer than this version understands")]
    TooNew {
        /// Its format number.
        format: u16,
    },
    /// A link is for another mesh.
    #[error("credential is for mesh {found}, not {expected}")]
    OtherMesh {
        /// The expected mesh.
        expected: Did,
        /// The mesh it names.
        found: Did,
    },
    /// A link is not issued by the subject of the link before it.
    #[error("credential for {subject} is issued by {issuer}, who does not precede it in the chain")]
    Broken {
        /// The subject of the link.
        subject: Did,
        /// Its issuer.
        issuer: Did,
    },
    /// A link says that the subject's machine is a third person's: neither its issuer's nor a new one's.
    #[error("{issuer} may not say that {subject} is a machine of somebody else")]
    OtherPerson {
        /// The issuer.
        issuer: Did,
        /// The subject of the link.
        subject: Did,
    },
    /// A link is issued by someone without the admin role.
    #[error("{issuer} issued a credential without being an admin")]
    NotAdmin {
        /// Its issuer.
        issuer: Did,
    },
    /// A link's signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}
