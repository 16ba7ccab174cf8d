mod chain;

pub use self::chain::ChainError;
use crate::limits::NAME_BYTES_MAX;

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
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a name has at most {max} bytes, this one has {bytes}", max = NAME_BYTES_MAX)]
    TooLong {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// Control characters, or white space at an end.
    #[error("a name has no control characters and no white space at its ends")]
    Unprintable,
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
