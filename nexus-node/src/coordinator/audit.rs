//! Who did what to critical state, as this node keeps it: the newest records in memory until there
//! are enough for a commit or a snapshot is made, the others in rows beside the snapshot. What a
//! crash takes from memory comes again with the log.
//!
//! A node that got a snapshot in place of log entries lacks their records. It asks the others for
//! them, newest first: the hash that the state holds proves each page, whoever sent it.

mod check;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use nexus_identity::Did;

use self::check::{check, proven};
use self::rows::{AuditRows, GAPS, batch, gaps, read, read_back};
use super::govern::Said;
use super::group::Running;
use super::log::Log;
use super::network::encode;
use super::query::Query;
use super::state::Deed;
use super::wire::{Body, Bytes};
use super::{AGAIN, Coordinator};
use crate::error::{NodeError, Resource};
use crate::store::{StoreError, Table};

pub(super) use self::rows::{KeepError, Waiting, keep, keep_now, skip};

/// Between two looks at whether records are missing.
const FILL_EVERY: Duration = Duration::from_secs(5);
/// How long somebody who has just joined waits for a copy.
const COPY_MAX: Duration = Duration::from_secs(5);
/// How long a reader waits for its copy to hold what was done before.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// What an audit shows of one deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number, from 1.
    pub n: u64,
    /// The index of the log entry that brought it.
    pub index: u64,
    /// When, by the clock of who did it, in milliseconds; `None` for what the leader notes.
    pub at_ms: Option<u64>,
    /// Who: signed, except for what the leader notes.
    pub by: Did,
    /// What.
    pub deed: Deed,
}

/// A page of an audit, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// What was done.
    pub items: Vec<AuditEntry>,
    /// The number to go on after, if there is more.
    pub next: Option<u64>,
}

/// What a check of the chain found, or a step of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditCheck {
    /// How many deeds were checked.
    pub entries: u64,
    /// The first of them.
    pub first: Option<u64>,
    /// The hash of the last record that was checked.
    pub head: [u8; 32],
    /// The first deed that is not what it was, and why.
    pub broken: Option<(u64, &'static str)>,
    /// Deeds of which this node has no record, from and to.
    pub missing: Vec<(u64, u64)>,
    /// The deed to go on after, if this was not all.
    pub next: Option<u64>,
    /// What other members' copies say, once all was checked.
    pub others: Vec<AuditOther>,
}

/// What another member's copy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOther {
    /// Who.
    pub did: Did,
    /// How many deeds its copy had.
    pub entries: u64,
    /// Whether its past is this node's; `None` if that cannot be told yet.
    pub agrees: Option<bool>,
}

impl AuditCheck {
    /// Whether all that was looked at is as it was.
    pub fn ok(&self) -> bool {
        self.broken.is_none() && self.others.iter().all(|other| other.agrees != Some(false))
    }
}

impl Coordinator {
    /// What was done after a deed, and since a time by the clocks of those who did it.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if this node has no copy.
    pub(crate) async fn audit(&self, after: u64, since_ms: Option<u64>, limit: usize) -> Result<AuditPage, NodeError> {
        let running = self.copy().await?;
        let (log, applied) = (self.log.clone(), running.applied.clone());
        let page = move || -> Result<AuditPage, StoreError> {
            // with the record that the last page ended in, for its time
            let AuditRows { records, count, .. } = read(&log, &applied, after)?;
            let mut page = AuditPage::default();
            let mut seen = after;
            // what the leader notes is of the time of what stands before it
            let mut counts = since_ms.is_none();
            for record in records {
                counts = record.at_ms().map_or(counts, |at_ms| since_ms.is_none_or(|since| at_ms >= since));
                let (index, at_ms, by) = (record.index, record.at_ms(), record.by());
                for (n, deed) in (record.first..).zip(record.deeds).filter(|(n, _)| *n > after) {
                    if page.items.len() >= limit {
                        page.next = Some(seen);
                        return Ok(page);
                    }
                    seen = n;
                    if counts {
                        page.items.push(AuditEntry { n, index, at_ms, by, deed });
                    }
                }
            }
            page.next = (seen < count && seen > after).then_some(seen);
            Ok(page)
        };
        let page = self.world.blocking(page).await;
        Ok(page??)
    }

    /// Checks the chain after a deed: that each record names the one before, that whoever is said to
    /// have proposed has signed, that the end is the one that the state holds; and at the end, that
    /// the members that are up have the same past. Looks at so many records at a time.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if this node has no copy.
    pub(crate) async fn verify_audit(&self, after: u64) -> Result<AuditCheck, NodeError> {
        let running = self.copy().await?;
        let (log, applied) = (self.log.clone(), running.applied.clone());
        let check = move || -> Result<AuditCheck, StoreError> {
            let gaps = gaps(&log)?;
            Ok(check(&read(&log, &applied, after)?, after, &gaps))
        };
        let check = self.world.blocking(check).await;
        let mut check = check??;
        if check.next.is_none() && check.broken.is_none() {
            self.look_around().await;
            let said = join_all(self.up().into_iter().map(|member| self.hear(member))).await;
            let (running, here) = (running.clone(), self.log.clone());
            let compare =
                move || said.into_iter().flatten().filter_map(|said| compare(&here, &running, said)).collect();
            check.others = self.world.blocking(compare).await.unwrap_or_default();
        }
        Ok(check)
    }

    /// This node's part in the group, once its copy holds what was done before, if somebody says in
    /// time what that is.
    async fn copy(&self) -> Result<Arc<Running>, NodeError> {
        let missing = || NodeError::NotFound { what: Resource::Replica, name: "on this node".to_owned() };
        let mut part = self.running.subscribe();
        // one that has just joined gets its copy in a moment; a reader never does
        let there = tokio::time::timeout(COPY_MAX, part.wait_for(Option::is_some));
        let running = match self.running() {
            None if self.may_propose(&self.identity.me()) => there.await.ok().and_then(|part| part.ok()?.clone()),
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

    /// Asks for the records of one page that this node lacks. Whether it got any.
    async fn fill(&self, running: &Running) -> Result<bool, KeepError> {
        let Some(gap) = gaps(&self.log)?.pop() else { return Ok(false) };
        for member in self.up() {
            let asked = self.ask(member, running.group, Body::Audit(Bytes { bytes: encode(&gap.to) })).await;
            let Ok(Body::Answer(answer)) = asked else { continue };
            let page: Vec<Vec<u8>> = borsh::from_slice(&answer.bytes).unwrap_or_default();
            let (records, rest) = proven(gap, &page);
            if records.is_empty() {
                continue;
            }
            let _one = running.applied.keeping().await;
            let mut gaps = gaps(&self.log)?;
            // a snapshot may have come meanwhile; its gap is another one
            let Some(place) = gaps.iter().position(|one| *one == gap) else { return Ok(true) };
            match rest {
                Some(rest) => gaps[place] = rest,
                None => drop(gaps.remove(place)),
            }
            let mut batch = batch(&self.log, &records)?;
            batch.put(Table::RaftAudit, GAPS, &encode(&gaps));
            self.log.keep(batch).await?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// What a member said of its copy, beside this one; `None` if it has none, or cannot be compared.
fn compare(log: &Log, running: &Running, (did, said): (Did, Said)) -> Option<AuditOther> {
    let (entries, head) = said.audit.filter(|_| said.group == Some(running.group))?;
    let AuditRows { records, count, head: own, .. } = read(log, &running.applied, entries.saturating_add(1)).ok()?;
    let here = match records.first() {
        _ if entries == count => Some(own),
        Some(record) if record.first == entries.saturating_add(1) => Some(record.before),
        // in the middle of a record: of another chain
        Some(record) if record.first <= entries => Some([0; 32]),
        _ => None,
    };
    Some(AuditOther { did, entries, agrees: here.map(|here| here == head) })
}

/// Asks for what is missing, as long as there is any and somebody has it.
pub(super) async fn run(here: Arc<Coordinator>) {
    loop {
        tokio::time::sleep(FILL_EVERY).await;
        let Some(running) = here.running() else { continue };
        if gaps(&here.log).is_ok_and(|gaps| gaps.is_empty()) {
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
