//! After the heal no row of any node has a text of an erased memory: neither its first one nor that of an edit that came later.

use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Erasures(Record);

impl Invariant for Erasures {
    fn name(&self) -> &'static str {
        "erased"
    }

    fn promise(&self) -> &'static str {
        "no text that was erased is in a store after the heal"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        if !moment.last {
            return;
        }
        for seen in moment.seen {
            self.0.looked(moment.ledger.erased.len() as u64);
            for id in &seen.erased {
                self.0.broke(moment.at, || format!("n{} has a text that was erased, of {id}", seen.node));
            }
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("nothing was erased")
    }
}
