use crate::did::Did;

/// A signature does not verify. The signer's or a forger's fault; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify for {signer}")]
pub struct BadSignature {
    /// The claimed signer.
    pub signer: Did,
}

/// Why a text is not a DID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DidError {
    /// Not `did:key:z` and base58btc of the right length.
    #[error("not a did:key (expected did:key:z6Mk…)")]
    NotDidKey,
    /// A `did:key` of another kind of key.
    #[error("a did:key, but not of an Ed25519 key")]
    NotEd25519,
    /// The bytes are no usable public key, or not its one spelling.
    #[error("a did:key whose key is not usable")]
    BadKey,
}

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`](crate::NAME_BYTES_MAX).
    #[error("a name has at most {max} bytes, this one has {bytes}", max = crate::NAME_BYTES_MAX)]
    TooLong {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// Control characters, or white space at an end.
    #[error("a name has no control characters and no white space at its ends")]
    Unprintable,
}

/// Why a credential chain does not hold. Its sender is at fault; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No links, or more than [`CHAIN_LINKS_MAX`](crate::CHAIN_LINKS_MAX).
    #[error("a chain has 1 to {max} credentials, this one has {links}", max = crate::CHAIN_LINKS_MAX)]
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

/// Why a text is not a ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It does not begin with `nexus1`.
    #[error("not a ticket (a ticket starts with nexus1)")]
    NotATicket,
    /// Characters are missing, doubled or mistyped.
    #[error("ticket is incomplete or mistyped")]
    Mistyped,
    /// A ticket of a later version.
    #[error("ticket has format {format}, newer than this version understands")]
    TooNew {
        /// Its format number.
        format: u16,
    },
}

/// A text that names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no role {0:?}; roles are admin, member and reader")]
pub struct RoleError(pub String);
