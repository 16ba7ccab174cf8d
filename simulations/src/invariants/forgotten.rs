//! A forgotten memory does not come back, whatever was edited meanwhile: not where it was forgotten,
//! not where that was once seen, and nowhere after the heal.

use std::collections::BTreeSet;
use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};
use crate::plan::NodeNo;

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    record: Record,
    /// Memories that a node had, and was then seen without.
    gone: BTreeSet<(NodeNo, String)>,
    had: BTreeSet<(NodeNo, String)>,
}

impl Invariant for Forgotten {
    fn name(&self) -> &'static str {
        "forgotten"
    }

    fn promise(&self) -> &'static str {
        "nothing forgotten returns"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        for seen in moment.seen {
            for (id, (at, by)) in moment.ledger.forgotten.iter().filter(|(id, _)| !moment.ledger.may_return(id)) {
                let bound = moment.last || *by == seen.node;
                if bound {
                    self.record.looked(1);
                    if seen.view.contains_key(id) {
                        self.record.broke(moment.at, || {
                            format!("n{} shows {id}, which n{by} forgot at {} ms", seen.node, at.as_millis())
                        });
                    }
                }
            }
            for id in moment.ledger.forget_asked.iter().filter(|id| !moment.ledger.may_return(id)) {
                let place = (seen.node, id.clone());
                if seen.view.contains_key(id) {
                    if self.gone.contains(&place) {
                        self.record.broke(moment.at, || format!("{id} returned on n{}", seen.node));
                    }
                    self.had.insert(place);
                } else if self.had.contains(&place) {
                    self.record.looked(1);
                    self.gone.insert(place);
                }
            }
        }
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.record.verdict("nothing was forgotten")
    }
}
