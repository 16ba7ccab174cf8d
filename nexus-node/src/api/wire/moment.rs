//! Moments of a caller, as the library takes them.

use nexus_client::wire::{Deadline, Span, ValidAt};

use crate::memory;
use crate::tasks::TaskDeadline;

impl From<Deadline> for TaskDeadline {
    fn from(deadline: Deadline) -> Self {
        match deadline {
            Deadline::At(at) => Self::At(at),
            Deadline::In(Span(time)) => Self::In(time),
        }
    }
}

impl From<ValidAt> for memory::ValidAt {
    fn from(at: ValidAt) -> Self {
        match at {
            ValidAt::Now => Self::Now,
            ValidAt::At(at) => Self::Time(at),
            ValidAt::Ever => Self::Ever,
        }
    }
}
