//! An acknowledged write is there: on the acknowledging node after every restart, on all nodes after
//! the heal. Only memories that somebody wanted forgotten may be missing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};
use crate::plan::NodeNo;

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Durability(Record);

impl Invariant for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn promise(&self) -> &'static str {
        "nothing acknowledged is lost"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        let seen: BTreeMap<NodeNo, _> = moment.seen.iter().map(|seen| (seen.node, seen)).collect();
        for (id, written) in &moment.ledger.written {
            // a machine that was put back has forgotten some of its own until others bring it
            let put_back = moment.ledger.put_back.contains_key(&written.node);
            if moment.ledger.may_be_gone(id) || put_back && !moment.last {
                continue;
            }
            let at = if moment.last { None } else { Some(written.node) };
            for (node, seen) in seen.iter().filter(|(node, _)| at.is_none_or(|at| at == **node)) {
                self.0.looked(1);
                let by_another_id = put_back && seen.former.contains(id);
                if !seen.view.contains_key(id) && !seen.answers.contains(id) && !by_another_id {
                    self.0.broke(moment.at, || {
                        let (by, ms) = (written.node, written.at.as_millis());
                        format!("n{node} lacks {id}, which n{by} acknowledged at {ms} ms in life {}", written.life)
                    });
                }
            }
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, recovery: &Recovery, now: Duration) -> Verdict {
        self.0.looked(recovery.edits_looked_for);
        if let Some(first) = recovery.lost_edits.first() {
            self.0.broke(now, || first.clone());
        }
        self.0.verdict("nothing was acknowledged")
    }
}
