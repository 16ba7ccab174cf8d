//! The audit of critical state on this node. The newest records are in memory until there are enough
//! for a commit, or a snapshot is made. The others are in rows beside the snapshot. Records lost in a
//! crash come again with the log.
//!
//! A node that got a snapshot instead of log entries lacks their records. It asks the others for them,
//! newest first. The hash in the state proves each page, whichever member sent it.

mod check;
mod page;
mod past;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use nexus_identity::Did;

use self::check::{check, proven};
use self::page::page;
use self::past::{Parting, compared, goes_on};
use self::rows::{AuditRows, GAPS, batch, gaps, read, read_back};
use super::format::encode;
use super::govern::Report;
use super::group::Running;
use super::log::Log;
use super::propose::Reply;
use super::query::Query;
use super::wire::{Body, Bytes};
use super::{AGAIN, AuditBreak, AuditCheck, AuditFault, AuditOther, AuditPage, Coordinator};
use crate::error::NodeError;
use crate::store::{StoreError, Table};

/// The number of records in a page that lead back from the first one, which is taken for the wanted one.
#[cfg(feature = "testing")]
pub(super) fn proven_by(page: &[u8]) -> usize {
    let page: Vec<Vec<u8>> = borsh::from_slice(page).unwrap_or_default();
    let Some(first) = page.first() else { return 0 };
    let Ok(record) = borsh::from_slice::<super::state::Record>(first) else { return 0 };
    let gap = rows::Gap { from: 1, to: record.last(), hash: super::state::audit_hash(first) };
    proven(gap, &page).0.len()
}

pub(super) use self::rows::{KeepError, Waiting, keep, keep_now, skip};

/// The time between two looks for missing records.
const FILL_EVERY: Duration = Duration::from_secs(5);
/// The wait after a snapshot.
const FILL_SOON: Duration = Duration::from_secs(1);
/// The longest wait of a new member for its copy.
const COPY_MAX: Duration = Duration::from_secs(5);
/// The longest wait of a reader until its copy has all earlier changes.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

impl Coordinator {
    /// The deeds after one, and since a time by the requesters' clocks.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if this node has no copy.
    pub(crate) async fn audit(&self, after: u64, since_ms: Option<u64>, limit: usize) -> Result<AuditPage, NodeError> {
        let running = self.copy().await?;
        let (log, applied) = (self.log.clone(), running.applied.clone());
        let page = move || -> Result<AuditPage, StoreError> {
            // with the last record of the page before, for its time
            Ok(page(read(&log, &applied, after)?, after, since_ms, limit))
        };
        let page = self.world.blocking(page).await;
        Ok(page??)
    }

    /// Checks the chain after a deed. Each record must name the one before, each proposer must have
    /// signed, and the end must be the one in the state. At the end the members that are up must have
    /// the same past. One call checks a bounded number of records.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if this node has no copy.
    pub(crate) async fn verify_audit(&self, after: u64) -> Result<AuditCheck, NodeError> {
        let running = self.copy().await?;
        let (log, applied) = (self.log.clone(), running.applied.clone());
        let check = move || -> Result<AuditCheck, StoreError> { Ok(check(&read(&log, &applied, after)?, after)) };
        let check = self.world.blocking(check).await;
        let mut check = check??;
        if check.next.is_none() && check.broken.is_none() {
            self.look_around().await;
            let said = join_all(self.up().into_iter().map(|member| self.hear(member))).await;
            let others = said.into_iter().flatten().map(|said| self.compare(&running, said));
            check.others = join_all(others).await.into_iter().flatten().collect();
        }
        Ok(check)
    }

    /// A comparison with a member's copy; `None` if it has none, or is of another group.
    async fn compare(&self, running: &Arc<Running>, (did, said): (Did, Report)) -> Option<AuditOther> {
        let (entries, head) = said.audit.filter(|_| said.group == Some(running.group))?;
        let (log, part) = (self.log.clone(), running.clone());
        let here = self.world.blocking(move || here(&log, &part, entries)).await.ok()?.ok()?;
        let (upto, agrees) = match here {
            Here::Same(own) => (entries, Some(own == head)),
            Here::Behind { count, head } => {
                let theirs = self.audit_of(running, did, count).await;
                (count, theirs.and_then(|theirs| goes_on(count, head, &theirs)))
            }
            Here::Unknown => (entries, None),
        };
        let differs_from = if agrees == Some(false) { self.parting(running, did, upto).await } else { None };
        Some(AuditOther { did, entries, agrees, differs_from })
    }

    /// Another member's records up to a deed, newest first; `None` if it does not answer.
    async fn audit_of(&self, running: &Running, member: Did, upto: u64) -> Option<Vec<Vec<u8>>> {
        let asked = self.ask(member, running.group, Body::Audit(Bytes { bytes: encode(&upto) })).await;
        let Ok(Reply { body: Body::Answer(answer), .. }) = asked else { return None };
        Some(borsh::from_slice(&answer.bytes).unwrap_or_default())
    }

    /// The first deed that differs from a member's; `None` if one of the two no longer has the records around it.
    async fn parting(&self, running: &Arc<Running>, member: Did, upto: u64) -> Option<u64> {
        let mut parting = Parting::below(upto);
        loop {
            let n = match parting.next() {
                Ok(n) => n,
                Err(first) => return Some(first),
            };
            let theirs = self.audit_of(running, member, n).await?;
            let ours = self.audit_back(running, n).await.ok()?;
            if !parting.look(n, compared(n, &ours, &theirs)) {
                return None;
            }
        }
    }

    /// This node's part in the group, once its copy has all earlier changes, as far as a member tells
    /// in time.
    async fn copy(&self) -> Result<Arc<Running>, NodeError> {
        let missing = || self.no_copy("on this node");
        let mut part = self.running.subscribe();
        // a new member gets its copy in a moment; a reader never does
        let there = tokio::time::timeout(COPY_MAX, part.wait_for(Option::is_some));
        let running = match self.running() {
            None if self.stopped().is_none() && self.may_propose(&self.identity.me()) => {
                there.await.ok().and_then(|part| part.ok()?.clone())
            }
            running => running,
        };
        let running = running.ok_or_else(missing)?;
        let caught_up = async {
            let answer = self.read(&Query::Revision).await?;
            let mut index = running.applied_index();
            let _ = index.wait_for(|index| *index >= answer.index).await;
            Ok::<_, NodeError>(())
        };
        let _ = tokio::time::timeout(CATCH_UP_MAX, caught_up).await;
        Ok(running)
    }

    /// Records for a member that lacks them.
    pub(super) async fn audit_back(&self, running: &Running, upto: u64) -> Result<Vec<Vec<u8>>, NodeError> {
        let (log, applied) = (self.log.clone(), running.applied.clone());
        let page = self.world.blocking(move || read_back(&log, &applied, upto)).await;
        Ok(page??)
    }

    /// Asks for one page of missing records. Returns whether it got any.
    async fn fill(&self, running: &Running) -> Result<bool, KeepError> {
        let Some(gap) = self.log.reading(gaps).await?.pop() else { return Ok(false) };
        for member in self.up() {
            let Some(page) = self.audit_of(running, member, gap.to).await else { continue };
            let (records, rest) = proven(gap, &page);
            if records.is_empty() {
                continue;
            }
            let _one = running.applied.keeping().await;
            let mut gaps = self.log.reading(gaps).await?;
            // a snapshot may have come meanwhile, with another gap
            let Some(place) = gaps.iter().position(|one| *one == gap) else { return Ok(true) };
            match rest {
                Some(rest) => gaps[place] = rest,
                None => drop(gaps.remove(place)),
            }
            let mut batch = self.log.reading(move |log| batch(log, &records)).await?;
            batch.put(Table::RaftAudit, GAPS, &encode(&gaps));
            self.log.keep(batch).await?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// This node's past at the end of another one.
enum Here {
    /// The hash of the record that ends with that deed, or of none.
    Same([u8; 32]),
    /// It ends before, with this deed and record.
    Behind { count: u64, head: [u8; 32] },
    /// The record is not here.
    Unknown,
}

fn here(log: &Log, running: &Running, entries: u64) -> Result<Here, StoreError> {
    let AuditRows { records, count, head, .. } = read(log, &running.applied, entries.saturating_add(1))?;
    Ok(match records.first() {
        _ if entries == count => Here::Same(head),
        _ if entries > count => Here::Behind { count, head },
        Some(record) if record.first == entries.saturating_add(1) => Here::Same(record.before),
        // in the middle of a record: another chain
        Some(record) if record.first <= entries => Here::Same([0; 32]),
        _ => Here::Unknown,
    })
}

/// Asks for missing records while there are any and a member has them.
pub(super) async fn run(here: Arc<Coordinator>) {
    let (mut parts, mut wait) = (here.running.subscribe(), FILL_EVERY);
    loop {
        tokio::time::sleep(std::mem::replace(&mut wait, FILL_EVERY)).await;
        let Some(running) = parts.borrow_and_update().clone() else {
            if parts.changed().await.is_err() {
                return;
            }
            continue;
        };
        let mut snapshots = running.applied.made();
        snapshots.mark_unchanged();
        if here.log.reading(gaps).await.is_ok_and(|gaps| gaps.is_empty()) {
            // a gap comes with a snapshot, and is there before it
            tokio::select! {
                changed = parts.changed() => if changed.is_err() { return },
                // it closes with its part
                changed = snapshots.changed() => if changed.is_err() && parts.changed().await.is_err() { return },
            }
            wait = FILL_SOON;
            continue;
        }
        here.look_around().await;
        loop {
            match here.fill(&running).await {
                Ok(true) => tokio::time::sleep(AGAIN).await,
                Ok(false) => break,
                Err(error) => {
                    tracing::debug!(%error, "records of the audit were not kept");
                    break;
                }
            }
        }
    }
}
