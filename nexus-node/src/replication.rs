//! Replication: what a node and one peer tell each other so that both hold the same entries.
//!
//! [`Session`] is pure: it decides what the next frame to a peer is, and what a frame from it
//! means, reading the committed store. There is no queue of entries to a peer: a session holds
//! cursors over the store, so a slow peer costs no memory. The runtime moves its frames.

mod audience;
mod session;
#[cfg(test)]
pub(crate) mod tests;

pub use audience::Audience;
pub use session::{Progress, Received, Session, SessionError};
