//! Once everything has healed, the mesh is whole again within a bound of virtual time. All nodes hold
//! the same, see each other and take writes, and these are everywhere within seconds.
//!
//! Machines that are meant to be down are excused, and so are strangers.

use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Liveness(Record);

impl Invariant for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn promise(&self) -> &'static str {
        "after the heal the mesh is whole again, in time"
    }

    fn look(&mut self, _: &Moment<'_>) {}

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, recovery: &Recovery, now: Duration) -> Verdict {
        self.0.looked(1);
        if recovery.settled.is_none() {
            self.0.broke(now, || format!("{:?} after the heal {}", recovery.bound, recovery.lacks));
        }
        for what in recovery.dead.iter().chain(&recovery.mute).chain(&recovery.unseen).chain(&recovery.late) {
            self.0.broke(now, || what.clone());
        }
        self.0.verdict("")
    }
}
