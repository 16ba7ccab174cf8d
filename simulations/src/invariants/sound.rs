//! No task of a node panics, or spins without virtual time passing. The content of a node's disk always
//! opens.

use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Sound(Record);

impl Invariant for Sound {
    fn name(&self) -> &'static str {
        "sound"
    }

    fn promise(&self) -> &'static str {
        "no panic, no spinning, no store that does not open"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        self.0.looked(1);
        if let Some(first) = moment.panics.first() {
            self.0.broke(moment.at, || first.clone());
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, recovery: &Recovery, now: Duration) -> Verdict {
        // the last look is before the last step
        if let Some(first) = recovery.panics.first() {
            self.0.broke(now, || first.clone());
        }
        self.0.verdict("nothing ran")
    }
}
