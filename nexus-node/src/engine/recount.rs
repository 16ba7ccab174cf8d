use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_crdt::{LogId, Reach};
use nexus_identity::plants::{planted, reached};

use super::kinds::{Counting, EntryKind, Placed, kind_of};
use super::{Engine, Event, LedgerError, Turn};
use crate::ledger::rows::{self, Eno, LogNo, RecountRow, Standing};
use crate::ledger::{branch, enos_of_log, read_entry, standing};
use crate::store::{Table, View};

impl Engine {
    /// Finds again which memberships stand, if something came that they depend on. Changes what counts of
    /// the logs concerned, and returns their parts.
    pub(super) fn decide(&mut self, turn: &mut Turn<'_>) -> Result<Vec<(LogNo, RecountRow)>, LedgerError> {
        let branched = std::mem::take(&mut self.state.branched);
        let undecided = std::mem::take(&mut self.state.undecided) || !branched.is_empty();
        if !undecided || !self.state.members.has_ends() {
            return Ok(Vec::new());
        }
        let before = self.state.members.clone();
        if let Some(decided) = self.state.judged(&turn.draft, |members, branches| members.decided(branches))? {
            if !decided.confirmations(&self.state.me).is_empty() {
                turn.events.push(Event::Unsettled);
            }
            self.state.members = Arc::new(decided);
            turn.events.push(Event::Members);
        }
        if planted("recounts_nothing") {
            return Ok(Vec::new());
        }
        let after = self.state.members.clone();
        let turned = self.state.logs.iter().filter_map(|(id, log)| {
            let forked_at = log.held?.cut;
            let (was, is) = (before.reach_of(id, forked_at), after.reach_of(id, forked_at));
            let recount = match (was.branch, is.branch) {
                (None, None) if is.below < was.below => row(is.below, was.below),
                (None, None) if is.below > was.below => row(was.below, is.below),
                (None, None) => return None,
                _ if was == is && !branched.contains(id) => return None,
                _ => RecountRow { from: was.below.min(is.below), to: None },
            };
            Some((*id, log.no, recount, is))
        });
        let turned: Vec<(LogId, LogNo, RecountRow, Reach)> = turned.collect();
        let mut described = BTreeSet::new();
        for (id, no, recount, is) in &turned {
            let to = recount.to.map_or(u64::MAX, |to| to.saturating_sub(1));
            let (mut counting, mut rest) = (Vec::new(), enos_of_log(&turn.draft, *no, recount.from, to)?);
            if let Some(last) = is.branch {
                if let Some(below) = is.below.checked_sub(1) {
                    counting = enos_of_log(&turn.draft, *no, recount.from, below)?;
                }
                counting.extend(branch(&turn.draft, *no, &last, is.below)?.iter().map(|(eno, _)| *eno));
                let of_branch: BTreeSet<Eno> = counting.iter().copied().collect();
                rest.retain(|eno| !of_branch.contains(eno));
            } else if is.below > recount.from {
                counting = std::mem::take(&mut rest);
            }
            if self.uncount(id, &rest, turn)? | self.count_again(&counting, turn)? {
                described.insert(id.author);
            }
            if let Some(space) = self.state.spaces.get(&id.space) {
                turn.draft.put(Table::Spaces, id.space.as_bytes(), &rows::encode(space));
            }
        }
        for author in described {
            self.describe_again(&author, turn)?;
        }
        Ok(turned.into_iter().map(|(_, no, recount, _)| (no, recount)).collect())
    }

    /// Folds entries that did not count. Returns whether profiles are among them.
    fn count_again(&mut self, enos: &[Eno], turn: &mut Turn<'_>) -> Result<bool, LedgerError> {
        let mut profiles = false;
        for eno in enos {
            if standing(&turn.draft, *eno)? != Standing::Cut {
                continue;
            }
            let Some(entry) = read_entry(&turn.draft, *eno)? else { continue };
            reached("void_entry_counts_again");
            turn.draft.delete(Table::Standing, &rows::eno_key(*eno));
            match kind_of(&self.state.mesh, &entry).map(EntryKind::counting) {
                Some(Counting::ByVerdict(kind)) => {
                    profiles |= kind.put_back(self, Placed { eno: *eno, entry: &entry, counts: true }, turn)?;
                }
                _ => self.fold_as_it_counts(*eno, &entry, true, turn)?,
            }
        }
        Ok(profiles)
    }
}

/// Tells watchers and the search index that entries of a log up to this one count otherwise since it was stored.
pub(super) fn note_recount(eno: Eno, log: LogNo, recount: RecountRow, turn: &mut Turn<'_>) -> Result<(), LedgerError> {
    let key = rows::recount_key(eno, log);
    let before = turn.draft.get(Table::Recounts, &key)?;
    let before = before.map(|row| rows::decode::<RecountRow>(Table::Recounts, &row)).transpose()?;
    turn.draft.put(Table::Recounts, &key, &rows::encode(&before.map_or(recount, |before| before.and(recount))));
    Ok(())
}

/// A part of a log from one seq to before another, or to its end.
fn row(from: u64, to: u64) -> RecountRow {
    RecountRow { from, to: (to < u64::MAX).then_some(to) }
}
