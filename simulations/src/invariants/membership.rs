//! All nodes agree on who is a member: whom somebody above revoked is out, and nobody else.

use std::time::Duration;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Membership(Record);

impl Invariant for Membership {
    fn name(&self) -> &'static str {
        "membership"
    }

    fn promise(&self) -> &'static str {
        "all nodes agree on the members; whom somebody above revoked is out, and nobody else"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        for quarrel in moment.ledger.quarrels.iter().filter(|quarrel| quarrel.upwards) {
            let by = quarrel.stays.first().map(ToString::to_string).unwrap_or_default();
            self.0.broke(moment.at, || format!("{by} ended the membership of {}, who is above it", quarrel.out));
        }
        let Some(first) = moment.seen.first().filter(|_| moment.last) else { return };
        for seen in moment.seen {
            self.0.looked(1);
            if seen.members != first.members {
                let differ: Vec<String> =
                    seen.members.symmetric_difference(&first.members).map(ToString::to_string).collect();
                let (a, b) = (first.node, seen.node);
                self.0.broke(moment.at, || format!("n{a} and n{b} do not agree on {}", differ.join(", ")));
            }
            for quarrel in &moment.ledger.quarrels {
                let (no, out) = (seen.node, quarrel.out);
                if seen.members.contains(&out) {
                    self.0.broke(moment.at, || format!("n{no} takes {out} for a member, which was revoked"));
                }
                if let Some(gone) = quarrel.stays.iter().find(|did| !seen.members.contains(did)) {
                    self.0
                        .broke(moment.at, || format!("n{no} does not take {gone} for a member, which nobody revoked"));
                }
            }
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("no node was seen after the heal")
    }
}
