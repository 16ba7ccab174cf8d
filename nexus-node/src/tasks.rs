//! Tasks: work that is handed over to whoever can do it, done once as far as that can be known, and never lost.
//!
//! A task is an event in its submitter's log, and so are its claims and its end. The submitter's node settles it, or an heir
//! that took it over: it alone says who has it and that it is over. Workers ask for work, and say that they live while they
//! do it.
//!
//! Each service names those above it in this table alone:
//!
//! | file | content |
//! |---|---|
//! | `why`, `agent`, `task`, `claim` | tasks and workers as callers see them |
//! | `schema` | JSON schemas of inputs and outputs |
//! | `scheduler` | the worker of each task, and the end of its attempts: pure |
//! | `once` | the keys of tasks that are done once |
//! | `read`, `offered` | tasks in a committed state, and the proof of an offer |
//! | `wire` | the messages between nodes |
//! | `here` | the handles of every service |
//! | `attached` | inputs and outputs in blobs |
//! | `settler` | it alone has the scheduler, and writes what that decides |
//! | `guests` | tasks of other nodes that workers here have |
//! | `shows` | tasks as they are shown |
//! | `watch` | tasks as something happens to them |
//! | `log` | the stderr of commands that workers run |
//! | `workers` | the workers of this node |
//! | `registry` | the workers of all nodes, by their nodes' words |
//! | `peers` | the answers to other nodes |
//! | `board` | the handle for callers, over all of these |

mod agent;
mod attached;
mod board;
mod claim;
mod guests;
mod here;
mod log;
mod offered;
mod once;
mod peers;
mod read;
mod registry;
mod scheduler;
mod schema;
mod settler;
mod shows;
mod task;
mod watch;
mod why;
mod wire;
mod workers;

pub use self::agent::{Agent, AgentHealth, TaskCandidate};
pub use self::board::TaskBoard;
pub use self::claim::{ClaimQuery, ClaimedTask, Renewal, TaskResult};
pub(crate) use self::here::Handles;
pub use self::once::TaskFence;
pub use self::schema::SCHEMA_BYTES_MAX;
pub use self::task::{
    ApprovalGiven, Assignee, NewTask, Task, TaskDeadline, TaskError, TaskHistory, TaskLog, TaskLogQuery, TaskPage,
    TaskProgress, TaskQuery, TaskRef, TaskSandbox, TaskStatus,
};
pub use self::watch::{TaskNews, TaskWatch};
pub use self::why::{AgentRest, Waits as TaskWaits, WhyNot as TaskWhyNot};
pub(crate) use self::wire::register;
pub use nexus_crdt::{ApprovalRule, BadJson, JsonText, Priority, TaskId, TaskToken};
