//! A node takes no more of a member's entries than the quota.

use std::time::Duration;

use super::{Invariant, Moment, Record, Recovery, Verdict};
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
        "a node takes of a member at most its quota"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        for seen in moment.seen {
            for author in &moment.ledger.gluttons {
                let logs = seen.frontier.iter().filter(|(log, _)| log.author == *author);
                let entries: u64 = logs.map(|(_, head)| head.seq).sum();
                // each is a little more than its text
                let bytes = entries * TEXT_BYTES as u64;
                self.0.looked(u64::from(bytes > WRITER_BYTES / 2));
                if bytes > WRITER_BYTES {
                    self.0.broke(moment.at, || format!("n{} holds {bytes} bytes of {}", seen.node, author.short()));
                }
            }
        }
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("no member came near its quota")
    }
}
