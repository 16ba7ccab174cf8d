//! A submitted task ends once, alike on all nodes, and a result that was acknowledged is its end for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_node::tasks::TaskStatus;

use crate::meddler::STOLEN;

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    record: Record,
    /// The end of each task that was ever seen.
    ended: BTreeMap<String, (TaskStatus, String)>,
}

impl Invariant for Tasks {
    fn name(&self) -> &'static str {
        "tasks"
    }

    fn promise(&self) -> &'static str {
        "a submitted task ends, once and alike on all nodes, and begins again only where it may"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        for seen in moment.seen {
            for (id, end) in &seen.tasks {
                let Some(end) = end else { continue };
                self.record.looked(1);
                if end.1.contains(STOLEN) {
                    let node = seen.node;
                    self.record.broke(moment.at, || format!("n{node} shows a meddler's output for task {id}"));
                }
                let known = self.ended.entry(id.clone()).or_insert_with(|| end.clone());
                if known != end {
                    let (node, known) = (seen.node, known.clone());
                    self.record
                        .broke(moment.at, || format!("n{node} shows {end:?} for task {id}, which ended as {known:?}"));
                }
            }
        }
        for (id, promise) in &moment.ledger.tasks {
            let lasting = |(node, at, _): &&(usize, Duration, String)| !moment.ledger.is_in_doubt(*node, *at);
            let mut results = promise.results.iter().filter(lasting).map(|(_, _, output)| output);
            let Some(first) = results.next() else { continue };
            if let Some(other) = results.next() {
                self.record
                    .broke(moment.at, || format!("task {id} was acknowledged as done with {first} and with {other}"));
            }
            let end = (TaskStatus::Succeeded, first.clone());
            if self.ended.get(id).is_some_and(|ended| *ended != end) {
                let ended = self.ended[id].clone();
                self.record
                    .broke(moment.at, || format!("task {id} was acknowledged as done with {first}, and is {ended:?}"));
            }
        }
        for ((node, id), kept) in &moment.ledger.kept_for_others {
            self.record.looked(1);
            if *kept > 1 {
                self.record.broke(moment.at, || {
                    format!("n{node} keeps {kept} results of the task {id}, whose settler never answers")
                });
            }
        }
        for (id, begun) in &moment.ledger.begun {
            self.record.looked(1);
            let grow = begun.windows(2).all(|pair| pair[0].0 < pair[1].0);
            let given_up = begun.split_last().is_none_or(|(_, before)| before.iter().all(|(_, given_up)| *given_up));
            if !grow || !given_up {
                self.record.broke(moment.at, || {
                    format!("task {id}, which is done once, was begun with the tokens (given up?) {begun:?}")
                });
            }
        }
        if !moment.last {
            return;
        }
        for (id, promise) in &moment.ledger.tasks {
            // a word that a machine said to nobody is gone with it
            let is_gone = moment.ledger.gone.contains(&promise.node);
            let is_in_doubt = moment.ledger.is_in_doubt(promise.node, promise.at);
            if is_in_doubt && !is_gone || !moment.ledger.must_end(id) {
                continue;
            }
            for seen in moment.seen {
                self.record.looked(1);
                let (by, ms) = (promise.node, promise.at.as_millis());
                let what = match seen.tasks.get(id) {
                    Some(Some(_)) => continue,
                    None if is_gone => continue,
                    Some(None) => "shows no end of",
                    None => "lacks",
                };
                self.record.broke(moment.at, || {
                    format!("n{} {what} the task {id}, which n{by} acknowledged at {ms} ms", seen.node)
                });
            }
        }
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.record.verdict("no task was submitted")
    }
}
