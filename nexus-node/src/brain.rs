//! The brain: a handle for writing, reading and watching memories.

mod cursor;
mod export;
mod read;
mod watch;
