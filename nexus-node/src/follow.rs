//! Following the log: the changes since an entry, for every room that keeps something derived from entries.
//!
//! The index of words, vectors, watchers and the graph are followers: each has a place in the log and reads on from there,
//! at its own pace. A follower keeps nothing that it could not make anew from place 0. So a slow one costs nothing, and a
//! new one, a restarted one and one that was there all along end up with the same.
//!
//! | room | content |
//! |---|---|
//! | `place` | a place in the order of this node's commits |
//! | `cursor` | such a place, and places in what is no log, as a text for callers |
//! | `steps` | the entries after a place, a bounded portion at a time |
//! | `touched` | the records that a step touched, turned or erased |
//! | `source` | the committed state that a follower reads, and the wait for more |

mod cursor;
mod place;
mod source;
mod steps;
#[cfg(test)]
pub(crate) mod tests;
mod touched;

pub(crate) use self::cursor::{CriticalPlace, Cursor, Given, RecentPlace};
pub(crate) use self::place::LogPlace;
pub(crate) use self::source::{Source, Vantage};
pub(crate) use self::steps::Steps;
pub(crate) use self::touched::{shown_instead, touched_after};
