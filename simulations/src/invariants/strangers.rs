//! Strangers learn nothing: no byte of a memory is among the decrypted bytes that reached one.

use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Record);

impl Invariant for Strangers {
    fn name(&self) -> &'static str {
        "strangers"
    }

    fn promise(&self) -> &'static str {
        "strangers learn nothing"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        let super::Outsiders { strangers, bytes, canaries } = moment.outsiders;
        if bytes > 0 {
            self.0.looked(1);
        }
        if canaries > 0 {
            self.0.broke(moment.at, || {
                format!("{canaries} memories among the {bytes} bytes that reached {strangers} strangers")
            });
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("no byte reached a stranger")
    }
}
