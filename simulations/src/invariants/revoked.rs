//! A membership that ended is over everywhere: nothing that a thief with its key writes is shown, and the thief
//! learns nothing more once all know.

use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    record: Record,
    /// Whether a laptop was stolen at all.
    stolen: bool,
}

impl Invariant for Revocations {
    fn name(&self) -> &'static str {
        "revoked"
    }

    fn promise(&self) -> &'static str {
        "a former member's key writes nothing that counts, and reads nothing new"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        let thefts = &moment.ledger.thefts;
        self.stolen |= !thefts.thieves.is_empty();
        // while a node has not heard of the theft, the thief is a member for it
        for seen in moment.seen.iter().filter(|_| moment.last) {
            for id in &thefts.forged {
                self.record.looked(1);
                if seen.view.contains_key(id) {
                    self.record.broke(moment.at, || format!("n{} shows {id}, which a thief forged", seen.node));
                }
            }
        }
        self.record.looked(thefts.spied);
        if let Some(leak) = thefts.leaks.first() {
            self.record.broke(moment.at, || leak.clone());
        }
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        match self.stolen {
            true => self.record.verdict("no thief wrote anything"),
            // the founder was away all the time: nobody was revoked
            false => Verdict::Held { looked: 0 },
        }
    }
}
