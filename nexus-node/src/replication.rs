//! Replication: the exchange between a node and one peer until both hold the same entries.
//!
//! [`SyncSession`] is pure: it reads the committed store, decides the next frame to a peer, and interprets
//! frames from it. No queue holds entries for a peer: a session has cursors over the store, so a slow
//! peer costs no memory. The runtime moves its frames.

mod attempts;
mod audience;
mod branched;
mod holdings;
mod in_flight;
mod lacking;
mod refusals;
mod sending;
mod session;
#[cfg(test)]
pub(crate) mod tests;

pub use audience::Audience;
pub use holdings::Holdings;
pub use session::{Progress, Received, Rest, SessionError, SyncSession};
