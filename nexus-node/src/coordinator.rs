//! The overlay for the few writes that must not conflict: a Raft group among the members.
//!
//! | module | content |
//! |---|---|
//! | `command`, `limits` | the commands that may be proposed, and their form |
//! | `format` | the versions of all these bytes |
//! | `state` | the machine that committed proposals are applied to: keys, locks, sessions |
//! | `expiry` | the moment when a leader proposes that something has run out of time |
//! | `voters` | the choice of voters, one step at a time |
//! | `raft`, `runtime`, `log`, `applied`, `network` | openraft with our types, tasks, disk, machine, peers |
//! | `copied` | a copy's files as rows, for a backup |
//! | `journal` | the file that the log's entries are in |
//! | `rest` | heartbeats that are spared, and elections that are not held |
//! | `group` | this node's part in a group, and the batches of a leader |
//! | `audit` | the record of each command and its author, kept and checked |
//! | `wire` | requests and answers between members, and their room |
//! | `serve` | this node's answers to others |
//! | `propose`, `query`, `read` | the questions of callers here, done wherever the leader is |
//! | `govern` | a leader's duties; everybody's view of the others |
//! | `seats` | the voters whose messages of Raft are taken, by an admin's word |
//! | `certificate` | the snapshots that a copy takes, by the signatures of a majority of the seats |
//! | `hearsay` | the leader by the words of others, and when they are believed |
//! | `overview`, `look` | the state of all this, for people, and the way to see it |
//! | `part` | this node's part in all this; `absent` in a build without feature `coordinators` |
//! | `fuzzed` | the decoders of all this, for `nexus-fuzz` |
//! | `audited`, `manage`, `answer` | answers about the audit; changes by a person; answers from the state |

#[cfg(feature = "coordinators")]
mod answer;
#[cfg(feature = "coordinators")]
mod applied;
#[cfg(feature = "coordinators")]
mod audit;
mod audited;
#[cfg(feature = "coordinators")]
mod certificate;
mod command;
#[cfg(feature = "coordinators")]
mod copied;
#[cfg(feature = "coordinators")]
mod expiry;
mod format;
#[cfg(all(feature = "testing", feature = "coordinators"))]
pub mod fuzzed;
#[cfg(feature = "coordinators")]
mod govern;
#[cfg(feature = "coordinators")]
mod group;
#[cfg(feature = "coordinators")]
mod hearsay;
#[cfg(feature = "coordinators")]
mod journal;
mod limits;
#[cfg(feature = "coordinators")]
mod log;
#[cfg(feature = "coordinators")]
mod look;
mod manage;
#[cfg(feature = "coordinators")]
mod network;
mod overview;
#[cfg_attr(not(feature = "coordinators"), path = "coordinator/absent.rs")]
mod part;
#[cfg(feature = "coordinators")]
mod propose;
mod query;
#[cfg(feature = "coordinators")]
mod raft;
#[cfg(feature = "coordinators")]
mod read;
mod requests;
#[cfg(feature = "coordinators")]
mod rest;
#[cfg(feature = "coordinators")]
mod runtime;
#[cfg(feature = "coordinators")]
mod seats;
#[cfg(feature = "coordinators")]
mod serve;
mod settled;
mod state;
#[cfg(feature = "coordinators")]
#[cfg(test)]
mod vectors;
#[cfg(feature = "coordinators")]
mod voters;
#[cfg(feature = "coordinators")]
mod wire;

#[cfg(feature = "coordinators")]
use std::time::Duration;

pub use self::audited::{AuditBreak, AuditCheck, AuditEntry, AuditFault, AuditOther, AuditPage};
pub use self::command::{Check, Command, Condition, Group, Put, Step, Txn};
pub use self::format::{FORMAT_MAX, TooNew};
pub use self::limits::{
    FormError, KEY_BYTES_MAX, OWN_PREFIX, RESERVED_PREFIX, TTL_MS_MAX, TTL_MS_MIN, TXN_STEPS_MAX, VALUE_BYTES_MAX,
    WAIT_MS_MAX,
};
pub use self::manage::Manage;
pub use self::overview::{CoordinatorRole, Coordinators, Mode, OldMember, Seat, SeatState};
pub use self::settled::Settled;
pub use self::state::{
    Action, CriticalChange, CriticalEvent, Deed, DeedResult, Full, Item, Lease, Lock, Malformed, Outcome, Refusal,
    Waiter,
};
pub use crate::request::{NotARequestId, RequestId};

#[cfg(feature = "coordinators")]
pub(crate) use self::copied::CopiedRows;
pub(crate) use self::part::Coordinator;
#[cfg(not(feature = "coordinators"))]
pub(crate) use self::part::CopiedRows;
#[cfg(feature = "coordinators")]
pub(crate) use self::part::{Handles, Origin};
pub(crate) use self::query::{Answer, Content, Query};
pub(crate) use self::requests::RequestKey;
#[cfg(feature = "coordinators")]
pub(crate) use self::seats::{SeatWish, WANTED_MAX as SEATS_MAX};
#[cfg(feature = "coordinators")]
pub(crate) use self::wire::register;

/// Within this a critical request is done, refused or unknown.
#[cfg(feature = "coordinators")]
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(4_500);
/// How soon another try is made when nobody leads.
#[cfg(feature = "coordinators")]
const AGAIN: Duration = Duration::from_millis(50);
