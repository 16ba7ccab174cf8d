//! Two nodes that hold the same entries show the same memories, to the last field, and find the same, whatever the order
//! of arrival. After everything has healed, all nodes do.

use std::time::Duration;

use super::moment::{Invariant, Moment, NodeContent, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Convergence(Record);

impl Invariant for Convergence {
    fn name(&self) -> &'static str {
        "convergence"
    }

    fn promise(&self) -> &'static str {
        "equal entries, equal memories; after the heal everywhere"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        for (place, one) in moment.seen.iter().enumerate() {
            let equal = moment.seen[..place].iter().find(|other| other.frontier == one.frontier);
            if let Some(other) = equal {
                self.0.looked(1);
                // the evidence of a fork may be on its way: a frontier does not show the second branch
                let forks = [one, other].into_iter().any(|seen| knows_two_faces(seen, moment));
                if other.view == one.view && other.hits != one.hits {
                    self.0.broke(moment.at, || {
                        format!("n{} and n{} show the same and find other memories", other.node, one.node)
                    });
                }
                if other.view != one.view && (moment.last || !forks) {
                    self.0.broke(moment.at, || difference(other, one));
                }
            }
            if moment.last && one.view != moment.seen[0].view {
                self.0.broke(moment.at, || format!("after the heal, {}", difference(&moment.seen[0], one)));
            }
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("no two nodes ever held the same entries")
    }
}

/// Whether a node knows of a fork that a member made on purpose.
fn knows_two_faces(seen: &NodeContent, moment: &Moment<'_>) -> bool {
    let mut forks = seen.warnings.iter().filter(|(code, _)| *code == "fork");
    forks.any(|(_, message)| moment.ledger.two_faces.iter().any(|did| message.contains(&did.to_string())))
}

fn difference(a: &NodeContent, b: &NodeContent) -> String {
    let differs = |id: &&String| a.view.get(*id) != b.view.get(*id);
    let ids: Vec<&str> = a.view.keys().chain(b.view.keys()).filter(differs).map(String::as_str).take(4).collect();
    format!(
        "n{} and n{} show {} and {} memories and differ in {}",
        a.node,
        b.node,
        a.view.len(),
        b.view.len(),
        ids.join(", ")
    )
}
