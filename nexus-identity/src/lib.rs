//! The identities of a Nexus mesh.
//!
//! One Ed25519 key identifies an instance everywhere: its [`Did`] (`did:key:z6Mk…`), its libp2p peer id
//! and the author of its log entries are the same 32 bytes. The DID of its root key names a mesh. A
//! [`Chain`] of [`Credential`]s leads from that root to each member. People carry a [`Ticket`] from one
//! machine to the next.
//!
//! This crate does no I/O, reads no clock and is not async: times are arguments.
//!
//! ```
//! use nexus_identity::{Chain, Claims, Keypair, Role, Timestamp};
//!
//! let root = Keypair::generate();
//! let laptop = Keypair::generate();
//! let claims = Claims::new(root.did(), laptop.did(), "laptop".parse()?, [Role::Admin], Timestamp::from_ms(0));
//! let chain = Chain::found(claims.sign(&root))?;
//! assert_eq!(chain.verify(&root.did())?.subject, laptop.did());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[doc(hidden)]
pub mod claimed;
mod credential;
mod did;
mod error;
mod key;
mod limits;
#[cfg(feature = "memo")]
pub mod memo;
mod name;
#[doc(hidden)]
pub mod plants;
mod role;
mod signed;
mod ticket;
mod time;

pub use credential::{Chain, Claims, Credential};
pub use did::{BadSignature, Did};
pub use error::{ChainError, DidError, NameError, RoleError, TicketError};
pub use key::Keypair;
pub use limits::{CHAIN_LINKS_MAX, NAME_BYTES_MAX};
pub use name::{Name, folded};
pub use role::{Role, Roles};
pub use signed::{Domain, Signature};
pub use ticket::{TICKET_ADDRESSES_MAX, Ticket, TicketId, TicketPerson};
pub use time::Timestamp;
