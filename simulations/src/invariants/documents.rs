//! Nodes with equal versions of a document show the same, after everything has healed all do, and each edit that was
//! acknowledged is in it, in one piece. A refused one is nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::moment::{Invariant, Moment, NodeContent, Record, Recovery, Verdict};
use crate::documents::ShownDocument;
use crate::ledger::{Ledger, Outcome, Word};
use crate::plan::NodeNo;

/// The invariant of this module.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    record: Record,
    /// The words that a node has shown of each document.
    shown: BTreeMap<(NodeNo, String), BTreeSet<String>>,
    told: usize,
}

impl Invariant for Documents {
    fn name(&self) -> &'static str {
        "documents"
    }

    fn promise(&self) -> &'static str {
        "equal versions of a document are equal; after the heal all are, with all that was acknowledged and nothing refused"
    }

    fn look(&mut self, moment: &Moment<'_>) {
        let promised = &moment.ledger.documents;
        for fault in &promised.faults[self.told.min(promised.faults.len())..] {
            self.record.broke(moment.at, || fault.clone());
        }
        self.told = promised.faults.len();
        for seen in moment.seen {
            for (key, shown) in &seen.documents {
                match shown {
                    Ok(shown) => self.look_at((seen, key, shown), moment),
                    Err(why) => self.record.broke(moment.at, || format!("n{} does not show {key}: {why}", seen.node)),
                }
            }
        }
        self.compare(moment);
    }

    fn record(&self) -> &Record {
        &self.record
    }

    fn judge(&mut self, _: &Recovery, _: Duration) -> Verdict {
        self.record.verdict("nobody typed anything")
    }
}

impl Documents {
    /// Looks at one document of one node.
    fn look_at(&mut self, (seen, key, shown): (&NodeContent, &String, &ShownDocument), moment: &Moment<'_>) {
        let (ledger, no) = (moment.ledger, seen.node);
        let promised = &ledger.documents;
        for (word, Word { node, at, outcome, .. }) in promised.words.iter().filter(|(_, said)| said.key == *key) {
            let is_there = shown.words.contains(word);
            let counts = !ledger.is_in_doubt(*node, *at) && !promised.is_tainted(key, *at);
            // the node that acknowledged it shows it at once, all others in the end
            let must = *at < shown.at && counts && (moment.last || *node == no);
            match outcome {
                Outcome::Done if must => {
                    self.record.looked(1);
                    if !is_there {
                        self.record.broke(moment.at, || {
                            format!("n{no} lacks {word} in {key}, which n{node} acknowledged at {} ms", at.as_millis())
                        });
                    }
                }
                Outcome::Refused if is_there => {
                    self.record.broke(moment.at, || format!("n{no} shows {word} in {key}, which n{node} refused"));
                }
                _ => {}
            }
        }
        if let Some(strange) = shown.words.iter().find(|word| !promised.knows(word)) {
            self.record.broke(moment.at, || format!("n{no} shows {strange} in {key}, which nobody typed"));
        }
        if let Some(unsound) = promised.unsound.iter().find(|change| shown.changes.contains(*change)) {
            self.record.broke(moment.at, || format!("n{no} shows {unsound} in {key}, whose verdict does not hold"));
        }
        self.look_at_count((no, key, shown), moment);
        if moment.last {
            if let Some(forged) = promised.forged.iter().find(|word| shown.words.contains(*word)) {
                self.record.broke(moment.at, || format!("n{no} shows {forged} in {key}, which a thief typed"));
            }
            for (actor, twins) in &promised.twins {
                let done = |twin: &&Word| twin.outcome == Outcome::Done && !ledger.is_in_doubt(twin.node, twin.at);
                let twins: Vec<&Word> = twins.iter().filter(done).collect();
                let shown = twins.iter().find(|twin| twins.len() > 1 && shown.changes.contains(&twin.key));
                self.record.looked(u64::from(twins.len() > 1));
                if let Some(twin) = shown {
                    self.record.broke(moment.at, || format!("n{no} shows {}, one of several of {actor}", twin.key));
                }
            }
        }
        // a node shows nothing that is not on its disk
        let before = self.shown.entry((no, key.clone())).or_default();
        if may_forget(ledger, no) {
            before.clear();
        }
        let mut gone = before.difference(&shown.words).filter(|word| !promised.junk.contains(*word));
        if let Some(gone) = gone.next() {
            self.record.broke(moment.at, || format!("n{no} has shown {gone} in {key}, and shows it no more"));
        }
        before.extend(shown.words.iter().cloned());
    }

    fn look_at_count(&mut self, (no, key, shown): (NodeNo, &String, &ShownDocument), moment: &Moment<'_>) {
        let promised = &moment.ledger.documents;
        let Some(count) = shown.count else { return };
        let sure = promised.counted.iter().filter(|counted| {
            let counts = !moment.ledger.is_in_doubt(counted.node, counted.at);
            counts && counted.key == *key && counted.at < shown.at && !promised.is_tainted(key, counted.at)
        });
        let sure: i64 = sure.filter(|counted| moment.last || counted.node == no).map(|counted| counted.by).sum();
        let asked = promised.count_asked.get(key).copied().unwrap_or_default();
        self.record.looked(1);
        if !(sure..=asked).contains(&count) {
            self.record.broke(moment.at, || {
                format!("n{no} counts {count} in {key}: {sure} are acknowledged, and {asked} were asked for")
            });
        }
    }

    /// Compares what the nodes show.
    fn compare(&mut self, moment: &Moment<'_>) {
        let mut first: BTreeMap<(&String, &String), (NodeNo, &ShownDocument)> = BTreeMap::new();
        for seen in moment.seen {
            for (key, shown) in seen.documents.iter().filter_map(|(key, shown)| Some((key, shown.as_ref().ok()?))) {
                let (no, other) = *first.entry((key, &shown.heads)).or_insert((seen.node, shown));
                if no == seen.node {
                    continue;
                }
                self.record.looked(1);
                if other.json != shown.json || other.changes != shown.changes {
                    self.record
                        .broke(moment.at, || format!("n{no} and n{} show one version of {key}, and differ", seen.node));
                }
            }
        }
        if !moment.last {
            return;
        }
        let keys: BTreeSet<&String> = moment.seen.iter().flat_map(|seen| seen.documents.keys()).collect();
        for key in keys {
            let heads = |seen: &NodeContent| {
                let shown = seen.documents.get(key).and_then(|shown| shown.as_ref().ok());
                (seen.node, shown.map(|shown| (shown.heads.clone(), shown.changes.len())))
            };
            let all: Vec<_> = moment.seen.iter().map(heads).collect();
            self.record.looked(1);
            if let Some(other) = all.iter().find(|other| other.1 != all[0].1) {
                self.record.broke(moment.at, || {
                    let changes = |shown: &Option<(String, usize)>| shown.as_ref().map_or(0, |shown| shown.1);
                    let ((no, one), (other, two)) = (&all[0], other);
                    format!(
                        "after the heal n{no} and n{other} show {key} in two versions, of {} and {} changes",
                        changes(one),
                        changes(two)
                    )
                });
            }
        }
    }
}

/// Whether a node may show less than before: its disk failed or was replaced, or somebody's changes are void.
fn may_forget(ledger: &Ledger, no: NodeNo) -> bool {
    let doubtful = ledger.in_doubt.iter().any(|(node, ..)| *node == no);
    doubtful || !ledger.documents.tainted.is_empty()
}
