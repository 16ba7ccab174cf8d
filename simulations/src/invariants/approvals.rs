//! No task is handed out without an approval by somebody who may give it, and no approval is lost.
//!
//! Nodes hear of members, keys and revocations at different times, so a node may take somebody for an approver who is none
//! any more. At every moment this checks a bound: the member whose word decides may say it, by something that some node
//! may have known of the members. Once all hold the same, it checks the rules themselves.

use std::time::Duration;

use nexus_node::tasks::TaskId;

use crate::approvals::{Approvals, Said};

use super::moment::{Invariant, Moment, Record, Recovery, Verdict};

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct ByTheRule(Record);

impl Invariant for ByTheRule {
    fn name(&self) -> &'static str {
        "approvals"
    }

    fn promise(&self) -> &'static str {
        "a task is approved by somebody who may, on every node alike, and is handed out after that alone"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        let approvals = &moment.ledger.approvals;
        let people = &approvals.people;
        let might = |said: &&Said| {
            let asked = approvals.asked(said.task);
            asked.is_some_and(|asked| people.might(asked.rule, &said.by, &asked.submitter))
        };
        for said in approvals.words.values().filter(|said| said.acknowledged.is_some() && !might(said)) {
            let (by, task) = (said.by.short(), said.task);
            self.0.broke(moment.at, || format!("{by} never might say a word about {task}, and its node wrote it"));
        }
        let approved = |task: TaskId| approvals.words_of(task).any(|said| said.approves && might(&said));
        for task in approvals.handed_out.keys().filter(|task| approvals.asked(**task).is_some() && !approved(**task)) {
            self.0.broke(moment.at, || format!("a worker got {task}, and nobody who may has approved it"));
        }
        for (seen, (task, shown)) in moment.seen.iter().flat_map(|seen| seen.approvals.iter().map(move |it| (seen, it)))
        {
            if approvals.asked(*task).is_none() {
                // its submitter's caller got no answer
                continue;
            }
            self.0.looked(1);
            let no = seen.node;
            if shown.was_handed_out && !approved(*task) {
                self.0.broke(moment.at, || format!("n{no} shows that a worker had {task}, without an approval"));
            }
            if let Some((approves, by)) = shown.verdict
                && !approvals.words_of(*task).filter(might).any(|said| (said.approves, said.by) == (approves, by))
            {
                let by = by.short();
                self.0.broke(moment.at, || format!("n{no} counts a word of {by} about {task}, which never might"));
            }
        }
        if moment.last {
            self.look_at_the_end(moment, approvals);
        }
    }

    fn record(&self) -> &Record {
        &self.0
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.0.verdict("no task needed an approval")
    }
}

impl ByTheRule {
    /// All nodes hold the same: each decides by the same word, which is of a member that may say it now. A member that
    /// stays has its word counted, unless somebody else's came first.
    fn look_at_the_end(&mut self, moment: &Moment<'_>, approvals: &Approvals) {
        let people = &approvals.people;
        if let Some(fault) = approvals.faults.first() {
            self.0.broke(moment.at, || fault.clone());
        }
        self.0.looked(approvals.asked_who_may);
        for seen in moment.seen {
            self.0.looked(1);
            if let Some((one, other)) = people.mistaken(&seen.persons) {
                let (no, one, other) = (seen.node, one.short(), other.short());
                self.0.broke(moment.at, || format!("n{no} is wrong about whether {one} and {other} are one person's"));
            }
        }
        for (task, asked) in &approvals.asked {
            let may = |said: &&Said| people.may(asked.rule, &said.by, &asked.submitter);
            let lasting = |said: &&Said| {
                let answered = said.acknowledged;
                may(said) && answered.is_some_and(|(node, at)| !moment.ledger.is_in_doubt(node, at))
            };
            let must = approvals.words_of(*task).find(lasting);
            let mut first = None;
            for seen in moment.seen {
                let Some(shown) = seen.approvals.get(task) else { continue };
                self.0.looked(1);
                let no = seen.node;
                match (shown.verdict, must) {
                    (None, Some(said)) => {
                        let by = said.by.short();
                        self.0.broke(moment.at, || format!("n{no} counts no word about {task}, which {by} decided"));
                    }
                    (Some((approves, by)), _) => {
                        let counts = |said: &Said| (said.approves, said.by) == (approves, by);
                        if !approvals.words_of(*task).filter(may).any(counts) {
                            let (by, rule) = (by.short(), asked.rule);
                            self.0.broke(moment.at, || {
                                format!("n{no} counts a word of {by} about {task}, who may not by the rule {rule}")
                            });
                        }
                    }
                    (None, None) => {}
                }
                let (of, verdict) = first.get_or_insert((no, shown.verdict));
                if *verdict != shown.verdict {
                    let of = *of;
                    self.0.broke(moment.at, || format!("n{of} and n{no} do not agree on the approval of {task}"));
                }
            }
        }
    }
}
