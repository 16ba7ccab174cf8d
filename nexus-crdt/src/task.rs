//! Tasks: work that a member hands over, as events in the logs of members, and the state that follows from them.
//!
//! A task is the [`Submission`] in an entry of kind [`crate::Kind::TASKS`]; its id is the dot of that event. Later
//! events name it. One member at a time *settles* the task: its submitter, who has ownership 0, or an heir that it named
//! and that took it over. Claims, returns and settlements count only from that member. Whoever claims, works and dies, the
//! task has one end on every node.

mod attachment;
mod event;
mod state;

pub use attachment::{TASK_ATTACHMENT_BYTES_MAX, TaskAttachment};
pub(crate) use event::has_texts;
pub use event::{
    ApprovalRule, BadTaskEvent, CAPABILITY_BYTES_MAX, PlacedTaskEvent, Priority, ReturnCause, Settlement, Submission,
    TASK_AFTER_MAX, TASK_ATTEMPT_MAX, TASK_ATTEMPTS_MAX, TASK_ERROR_BYTES_MAX, TASK_HEIRS_MAX, TASK_JSON_BYTES_MAX,
    TASK_NAME_BYTES_MAX, TaskClaim, TaskEnd, TaskEvent, TaskId, TaskReturn, TaskToken, TaskVerb, TaskWord,
    is_capability, task_event_alone, task_event_at, task_events_of,
};
pub use state::{HeardEvent, TASK_OWNERSHIP_MAX, TaskOwners, TaskPhase, TaskRights, TaskSaid, TaskState, task_state};
