//! The documents of critical state: keys, transactions, changes, locks, coordinators.

use nexus_client::wire::{
    Coordinator, KvChange, KvCheck, KvItem, KvPage, KvSet, KvStep, KvTxn, KvWritten, Lease, Seat, shown_value,
};

use crate::coordinator::{self, Condition, CriticalChange, CriticalEvent, Lock, Step, Txn};
use crate::critical;

pub(in crate::api) fn kv_item(key: String, item: coordinator::Item) -> KvItem {
    let coordinator::Item { value, revision, created, by, ttl_ms } = item;
    let (value, value_base64) = shown_value(value);
    KvItem { key, value, value_base64, revision, created, by: by.to_string(), ttl_ms, local: false, age_ms: None }
}

impl From<critical::KeyPage> for KvPage {
    fn from(page: critical::KeyPage) -> Self {
        let items = page.items.into_iter().map(|(key, item)| kv_item(key, item)).collect();
        Self { items, next: page.next, revision: page.revision }
    }
}

pub(in crate::api) fn kv_written(key: String, value: Option<Vec<u8>>, revision: u64) -> KvWritten {
    let (value, value_base64) = value.map_or((None, None), shown_value);
    KvWritten { key, value, value_base64, revision }
}

impl TryFrom<KvTxn> for Txn {
    /// Names the check with none of the conditions, or with several, and the step without a value.
    type Error = String;

    fn try_from(txn: KvTxn) -> Result<Self, String> {
        let checks = txn.checks.into_iter().map(coordinator::Check::try_from).collect::<Result<_, _>>()?;
        let steps = |steps: Vec<KvStep>| steps.into_iter().map(Step::try_from).collect::<Result<_, _>>();
        Ok(Self { checks, then: steps(txn.then)?, otherwise: steps(txn.otherwise)? })
    }
}

impl TryFrom<KvCheck> for coordinator::Check {
    type Error = String;

    fn try_from(check: KvCheck) -> Result<Self, String> {
        let value = check.bytes().map_err(|error| format!("the check of {:?}: {error}", check.key))?;
        let is = match (check.exists, value, check.revision) {
            (Some(true), None, None) => Condition::Present,
            (Some(false), None, None) => Condition::Absent,
            (None, Some(value), None) => Condition::Value(value),
            (None, None, Some(revision)) => Condition::Revision(revision),
            _ => {
                return Err(format!(
                    "the check of {:?} needs one of exists, value, value_base64 and revision",
                    check.key
                ));
            }
        };
        Ok(Self { key: check.key, is })
    }
}

impl TryFrom<KvStep> for Step {
    type Error = String;

    fn try_from(step: KvStep) -> Result<Self, String> {
        Ok(match step {
            KvStep::Put(put) => {
                let value = put.bytes().map_err(|error| format!("the step that puts {:?}: {error}", put.key))?;
                let KvSet { key, ttl, fence, .. } = put;
                let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.0.as_millis()).unwrap_or(u64::MAX));
                Self::Put(coordinator::Put { key, value, ttl_ms, fence })
            }
            KvStep::Delete(key) => Self::Delete(key),
            KvStep::Get(key) => Self::Get(key),
        })
    }
}

pub(in crate::api) fn kv_change(change: CriticalChange, by_name: Option<String>) -> KvChange {
    let by = change.by.to_string();
    let key = change.name().to_owned();
    let (mut value, mut value_base64) = (None, None);
    let (kind, token, stolen_from) = match change.event {
        CriticalEvent::Put { value: written, .. } => {
            (value, value_base64) = shown_value(written);
            ("put", None, None)
        }
        CriticalEvent::Deleted { expired, .. } => (if expired { "expired" } else { "deleted" }, None, None),
        CriticalEvent::Granted { token, stolen_from, .. } => {
            let kind = if stolen_from.is_some() { "lock_stolen" } else { "lock_acquired" };
            (kind, Some(token), stolen_from.map(|did| did.to_string()))
        }
        CriticalEvent::Renewed { token, .. } => ("lock_renewed", Some(token), None),
        CriticalEvent::Released { token, expired, .. } => {
            (if expired { "lock_expired" } else { "lock_released" }, Some(token), None)
        }
        CriticalEvent::Line { waits, .. } => (if waits { "lock_waits" } else { "lock_left" }, None, None),
    };
    let (revision, kind) = (change.revision, kind.to_owned());
    KvChange { revision, kind, key, value, value_base64, token, stolen_from, by, by_name }
}

/// A lock in the view of other nodes.
pub(in crate::api) fn lease(name: String, lock: &Lock, holder_name: Option<String>) -> Lease {
    let coordinator::Lease { token, by, ttl_ms, .. } = lock.lease;
    Lease { name, token, holder: by.to_string(), holder_name, expires_in_ms: ttl_ms, waiting: lock.line.len() }
}

impl From<coordinator::Coordinators> for Coordinator {
    fn from(seen: coordinator::Coordinators) -> Self {
        let mode = Some(seen.mode().as_str().to_owned());
        let seats = |seats: Vec<coordinator::Seat>| seats.into_iter().map(Seat::from).collect();
        Self {
            mode,
            leader: seen.leader.map(|did| did.to_string()),
            term: seen.term,
            commit: seen.commit,
            applied: seen.applied,
            voters: seats(seen.voters),
            learners: seats(seen.learners),
            quorum: seen.quorum,
            generation: seen.generation,
            role: seen.role.map(|role| role.as_str().to_owned()),
            one_machine: seen.one_machine,
            format: seen.format,
        }
    }
}

impl From<coordinator::Seat> for Seat {
    fn from(seat: coordinator::Seat) -> Self {
        Self { did: seat.did.to_string(), name: seat.name, state: seat.state.as_str().to_owned() }
    }
}
