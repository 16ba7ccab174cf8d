//! The scheduler of one node: which worker gets which of its own tasks, and when an attempt is over. It is pure: no I/O, no
//! clock, no randomness.
//!
//! | file | content |
//! |---|---|
//! | `core` | the place of each task, and what is to be written next |
//! | `route` | the choice of a node for a task |
//! | `records` | the records of workers |
//! | `audience` | the members that may read the tasks of a space |
//! | `approved` | how far a task is approved, and workers that insist on it |
//! | `parked` | tasks that wait on the disk behind many others |

pub(super) mod approved;
pub(super) mod audience;
pub(super) mod core;
pub(super) mod parked;
pub(super) mod records;
pub(super) mod route;
#[cfg(test)]
mod tests;
