//! A log never has two entries with one number: an honest node signs no second one after a crash or a
//! restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::{EntryId, LogId};
use nexus_identity::Did;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct OneSeq {
    record: Record,
    known: BTreeMap<(LogId, u64), EntryId>,
}

impl Invariant for OneSeq {
    fn name(&self) -> &'static str {
        "one_seq"
    }

    fn promise(&self) -> &'static str {
        "one log never signs two entries with one number"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        for seen in moment.seen {
            let ledger = moment.ledger;
            let forking = ledger.thefts.thieves.iter().chain(ledger.put_back.values()).chain(&ledger.two_faces);
            let forking: BTreeSet<Did> = forking.copied().collect();
            for (log, head) in seen.frontier.iter().filter(|(log, _)| !forking.contains(&log.author)) {
                self.record.looked(1);
                let known = *self.known.entry((*log, head.seq)).or_insert(head.id);
                if known != head.id {
                    self.record
                        .broke(moment.at, || format!("n{}: two entries with seq {} of {log:?}", seen.node, head.seq));
                }
            }
            let known = |message: &String| forking.iter().any(|member| message.contains(&member.to_string()));
            for (_, message) in seen.warnings.iter().filter(|(code, message)| *code == "fork" && !known(message)) {
                self.record.broke(moment.at, || format!("n{} says: {message}", seen.node));
            }
        }
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.record.verdict("no log was seen")
    }
}
