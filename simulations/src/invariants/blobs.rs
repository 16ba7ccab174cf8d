//! A blob that is kept stays, is what its hash says, and comes to every node that asks for it.

use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    record: Record,
    told: usize,
}

impl Invariant for Blobs {
    fn name(&self) -> &'static str {
        "blobs"
    }

    fn promise(&self) -> &'static str {
        "a blob that is kept stays, is what its hash says, and comes to every node that asks for it"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        let files = &moment.ledger.files;
        for seen in moment.seen {
            let Some(shown) = &seen.blobs else { continue };
            self.record.looked(files.promises());
            for (by, hash) in files.lacks(seen.node, shown) {
                self.record.broke(moment.at, || format!("n{} lacks {}, which {by} keeps", seen.node, hash.short()));
            }
        }
        self.record.looked(files.fetched);
        for fault in &files.faults[self.told.min(files.faults.len())..] {
            self.record.broke(moment.at, || fault.clone());
        }
        self.told = files.faults.len();
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.record.verdict("no blob was added")
    }
}
