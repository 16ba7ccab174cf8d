//! Critical state behaves like one copy. Every history of a key is linearizable, tokens grow, no write
//! happens under the token of an ended lease, and machines at the same index hold the same.

use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};
use crate::linearizability::{self, Verdict as Judged};

/// Every history of a key is linearizable.
#[derive(Debug, Default)]
pub(crate) struct Linearizable(Record);

impl Invariant for Linearizable {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn promise(&self) -> &'static str {
        "critical reads and writes are those of one copy"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        if !moment.last {
            return;
        }
        let keys = &moment.ledger.critical.keys;
        self.0.looked(keys.values().map(|operations| operations.len() as u64).sum());
        match linearizability::check_all(keys) {
            None => {}
            Some((key, Judged::Unknown)) => {
                self.0.broke(moment.at, || format!("whether the history of {key:?} is linearizable was not found out"));
            }
            Some((key, verdict)) => {
                let explained = if let Judged::Broken { explained } = verdict { explained } else { 0 };
                let mut operations = keys[key].clone();
                operations.sort_by_key(|operation| operation.began);
                let from = explained.saturating_sub(4);
                self.0.broke(moment.at, || {
                    let around = &operations[from..operations.len().min(explained + 6)];
                    format!("the history of {key:?} is not linearizable; near its operation {explained}: {around:?}")
                });
            }
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("no critical operation had an answer")
    }
}

/// Tokens of locks grow, and the token of an ended lease stops writes.
#[derive(Debug, Default)]
pub(crate) struct Fencing(Record);

impl Invariant for Fencing {
    fn name(&self) -> &'static str {
        "fencing"
    }

    fn promise(&self) -> &'static str {
        "a lock has one holder, by the order of its tokens"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        // all of it is past, so what is wrong now stays wrong
        for (name, grants) in &moment.ledger.critical.grants {
            self.0.looked(grants.len() as u64);
            for (number, earlier) in grants.iter().enumerate() {
                for later in grants.iter().skip(number + 1) {
                    if earlier.token == later.token {
                        self.0.broke(moment.at, || format!("{name} was granted twice with token {}", later.token));
                    }
                }
                for later in grants.iter().filter(|later| later.began > earlier.ended) {
                    if later.token < earlier.token {
                        self.0.broke(moment.at, || {
                            format!("{name} was granted with token {} after {}", later.token, earlier.token)
                        });
                    }
                }
                for later in grants.iter().filter(|later| later.token > earlier.token) {
                    if earlier.sure > later.ended {
                        self.0.broke(moment.at, || {
                            let (old, new) = (earlier.token, later.token);
                            format!(
                                "at {} us the holder of {name} was sure of token {old}, and {new} was given out before",
                                earlier.sure
                            )
                        });
                    }
                    if let Some(wrote) = earlier.wrote.iter().find(|wrote| **wrote > later.ended) {
                        self.0.broke(moment.at, || {
                            format!(
                                "at {wrote} us something was written under token {} of {name}, which {} had replaced",
                                earlier.token, later.token
                            )
                        });
                    }
                }
            }
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("no lock was granted")
    }
}

/// The audit explains every key, and has no request that nobody made.
#[derive(Debug, Default)]
pub(crate) struct Replayed(Record);

impl Invariant for Replayed {
    fn name(&self) -> &'static str {
        "replayed"
    }

    fn promise(&self) -> &'static str {
        "the keys are what the requests of members make of them, each once"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        if !moment.last {
            return;
        }
        let (requests, differences) = &moment.ledger.critical.replayed;
        self.0.looked(*requests);
        if let Some(difference) = differences.first() {
            self.0.broke(moment.at, || difference.clone());
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("no request was in the audit")
    }
}

/// All machines at the same index hold the same, and after the heal there is soon a leader.
#[derive(Debug, Default)]
pub(crate) struct Agreement(Record);

impl Invariant for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn promise(&self) -> &'static str {
        "coordinators that applied the same hold the same, refuse within 5 s, and lead soon after the heal"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        let history = &moment.ledger.critical;
        self.0.looked(history.answered);
        if let Some(fork) = history.forks.first() {
            self.0.broke(moment.at, || fork.clone());
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, recovery: &Recovery, now: Duration) -> Verdict {
        if let Some(why) = &recovery.leaderless {
            self.0.broke(now, || why.clone());
        }
        self.0.verdict("no critical operation had an answer")
    }
}
