//! A node takes no more of a member's entries than the quota, however many keys the member has.

use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};
use crate::glutton::TEXT_BYTES;
use crate::world::WRITER_BYTES;

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Record);

impl Invariant for Quotas {
    fn name(&self) -> &'static str {
        "quotas"
    }

    fn promise(&self) -> &'static str {
        "a node takes of a member at most its quota, by all of its keys"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        for seen in moment.seen {
            for keys in moment.ledger.gluttons.values() {
                let logs = seen.frontier.iter().filter(|(log, _)| keys.contains(&log.author));
                let entries: u64 = logs.map(|(_, head)| head.seq).sum();
                // each is a little more than its text
                let bytes = entries * TEXT_BYTES as u64;
                self.0.looked(u64::from(bytes > WRITER_BYTES / 2));
                if bytes > WRITER_BYTES {
                    let name = keys.first().map(nexus_identity::Did::short).unwrap_or_default();
                    self.0.broke(moment.at, || format!("n{} holds {bytes} bytes of {name}", seen.node));
                }
            }
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("no member came near its quota")
    }
}
