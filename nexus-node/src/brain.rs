//! The brain: a handle for writing, reading and watching memories.

mod cursor;
mod export;
pub(crate) mod read;
mod watch;
