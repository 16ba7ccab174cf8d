//! Results that this node keeps in its own log for others: those of tasks that another node settles, and late ones of
//! tasks that it settles itself. Each names whose word it is, and how much is kept for one member has a bound.

use std::ops::ControlFlow;

use nexus_crdt::{HeardEvent, Hlc, Members, Settlement, TaskEvent, TaskId, TaskSaid};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::io::TaskAnswer;
use crate::ledger::rows::{self, TaskRow};
use crate::ledger::{said_by_member, said_by_owners};
use crate::store::{ALL_KEYS, Draft, Order, StoreError, Table, View};

/// The most bytes that are kept for one member and its former keys in a day of 24 hours, by the stamps of this node.
const KEPT_DAY_BYTES_MAX: u64 = 4 << 20;
/// The most bytes that are ever kept for one member and its former keys.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// The most bytes that are ever kept for all members: a quarter of a writer's usual quota, so that all of them together
/// leave room for this node's own words.
const KEPT_FOR_ALL_BYTES_MAX: u64 = 256 << 20;
const DAY_MS: u64 = 86_400_000;

/// The answer to a result that this node would keep for the settler of another's task; `None` if it may.
///
/// One result is kept until its settler has answered it, so an offer that is repeated fills nobody's log.
pub(super) fn of_other_settler(
    task: TaskId,
    row: &TaskRow,
    kept: &Settlement,
    (me, members): (Did, &Members),
    (hlc, draft): (Hlc, &Draft<'_>),
) -> Result<Option<TaskAnswer>, StoreError> {
    let (Some(settler), Some(token)) = (kept.settler(), kept.token) else { return Ok(Some(TaskAnswer::Stale)) };
    if !row.may_settle(&settler) {
        return Ok(Some(TaskAnswer::Stale));
    }
    if !planted("keeps_every_result") {
        let heard = said_by_owners(draft, task, row)?;
        let is_answered = |of| heard.iter().any(|heard| ends(heard, of));
        let waits = |heard: &HeardEvent| match heard.said {
            TaskSaid::Settled { token: Some(of), .. } => of == token || !is_answered(of),
            _ => false,
        };
        if said_by_member(draft, task, &me)?.iter().any(waits) {
            return Ok(Some(TaskAnswer::Stale));
        }
        if !has_room_for(&settler, bytes_of(kept), members, (hlc, draft))? {
            return Ok(Some(TaskAnswer::KeptEnough));
        }
    }
    Ok(None)
}

/// The answer to a late result of a task that this node may settle; `None` if it is kept.
///
/// It is the word of the worker to which the claim was given, and of nobody else.
pub(super) fn late(
    kept: &Settlement,
    heard: &[HeardEvent],
    (me, members): (Did, &Members),
    (hlc, draft): (Hlc, &Draft<'_>),
) -> Result<Option<TaskAnswer>, StoreError> {
    let whose = kept.worker();
    let is_claim = |heard: &HeardEvent| match heard.said {
        TaskSaid::Claimed { token, worker, .. } => {
            Some(token) == kept.token && (Some(worker) == whose || planted("takes_anybodys_result"))
        }
        _ => false,
    };
    let is_kept = |heard: &HeardEvent| matches!(heard.said, TaskSaid::Settled { token, .. } if token == kept.token);
    if !heard.iter().any(is_claim) || heard.iter().any(is_kept) {
        return Ok(Some(TaskAnswer::Stale));
    }
    let Some(other) = whose.filter(|whose| *whose != me) else { return Ok(None) };
    let has_room = has_room_for(&other, bytes_of(kept), members, (hlc, draft))?;
    Ok((!has_room).then_some(TaskAnswer::KeptEnough))
}

/// Whether an event ends the claim with a token.
fn ends(heard: &HeardEvent, of: nexus_crdt::TaskToken) -> bool {
    match heard.said {
        TaskSaid::Settled { token, .. } => token == Some(of),
        TaskSaid::Returned { token, .. } => token == of,
        TaskSaid::Claimed { .. } | TaskSaid::Word(_) => false,
    }
}

/// The bytes that count of a result.
fn bytes_of(kept: &Settlement) -> u64 {
    TaskEvent::Settled(Box::new(kept.clone())).encode().len() as u64
}

/// Whether so many more bytes may be kept for a member and its former keys.
fn has_room_for(
    member: &Did,
    bytes: u64,
    members: &Members,
    (hlc, draft): (Hlc, &Draft<'_>),
) -> Result<bool, StoreError> {
    let line = members.line(member);
    let (mut of_day, mut of_line, mut of_all) = (bytes, bytes, bytes);
    draft.try_scan(Table::KeptFor, ALL_KEYS, Order::Forward, &mut |key, row| {
        let (of, day) = rows::read_kept_key(key)?;
        let kept = rows::read_kept(row)?;
        of_all = of_all.saturating_add(kept);
        if line.contains(&of) {
            of_line = of_line.saturating_add(kept);
            of_day = of_day.saturating_add(if day == day_of(hlc) { kept } else { 0 });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(of_day <= KEPT_DAY_BYTES_MAX && of_line <= KEPT_BYTES_MAX && of_all <= KEPT_FOR_ALL_BYTES_MAX)
}

fn day_of(hlc: Hlc) -> u32 {
    u32::try_from(hlc.time().as_ms() / DAY_MS).unwrap_or(u32::MAX)
}

/// Counts a result that this node kept, or takes it out of the count.
pub(super) fn count(event: &TaskEvent, hlc: Hlc, is_added: bool, draft: &mut Draft<'_>) -> Result<(), StoreError> {
    let TaskEvent::Settled(kept) = event else { return Ok(()) };
    let Some(member) = kept.settler().or(kept.worker()) else { return Ok(()) };
    let key = rows::kept_key(&member, day_of(hlc));
    let before = draft.get(Table::KeptFor, &key)?.map_or(Ok(0), |row| rows::read_kept(&row))?;
    let bytes = bytes_of(kept);
    let after = if is_added { before.saturating_add(bytes) } else { before.saturating_sub(bytes) };
    match after {
        0 => draft.delete(Table::KeptFor, &key),
        after => draft.put(Table::KeptFor, &key, &after.to_le_bytes()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nexus_identity::Timestamp;

    use super::*;
    use crate::store::{Overlay, Store};

    const TODAY: u32 = 20_000;

    fn has_room(kept: &[(u8, u32, u64)], bytes: u64) -> bool {
        let below = Overlay::new(Store::memory().unwrap()).unwrap();
        let mut draft = Draft::new(&below);
        for (member, day, bytes) in kept {
            let key = rows::kept_key(&Did::from_bytes([*member; 32]), *day);
            draft.put(Table::KeptFor, &key, &bytes.to_le_bytes());
        }
        let now = Hlc::at(Timestamp::from_ms(u64::from(TODAY) * DAY_MS + 5));
        has_room_for(&Did::from_bytes([1; 32]), bytes, &Members::of(Did::from_bytes([9; 32])), (now, &draft)).unwrap()
    }

    /// promise: Tasks | Results that a node keeps for others have bounds in bytes: per day, per member, and for all
    #[test]
    fn what_is_kept_for_others_has_room_for_so_many_bytes() {
        // a day
        assert!(has_room(&[], KEPT_DAY_BYTES_MAX) && !has_room(&[], KEPT_DAY_BYTES_MAX + 1));
        assert!(!has_room(&[(1, TODAY, KEPT_DAY_BYTES_MAX)], 1));
        assert!(has_room(&[(1, TODAY - 1, KEPT_DAY_BYTES_MAX)], 1), "a day later there is room again");
        assert!(has_room(&[(2, TODAY, KEPT_DAY_BYTES_MAX)], 1), "another's day is another's");
        // one member: its days together
        let of = |bytes: u64| -> Vec<(u8, u32, u64)> { (1..=16).map(|day| (1, TODAY - day, bytes / 16)).collect() };
        assert!(has_room(&of(KEPT_BYTES_MAX - 16), 1) && !has_room(&of(KEPT_BYTES_MAX), 1));
        // all: others' share leaves none
        let all = |bytes: u64| -> Vec<(u8, u32, u64)> { (2..6).map(|member| (member, TODAY, bytes / 4)).collect() };
        assert!(has_room(&all(KEPT_FOR_ALL_BYTES_MAX - 4), 1) && !has_room(&all(KEPT_FOR_ALL_BYTES_MAX), 1));
        // a count of a store that was tampered with adds up to no small number
        assert!(!has_room(&[(2, TODAY, u64::MAX), (3, TODAY, 5)], 1) && !has_room(&[(1, TODAY, u64::MAX)], u64::MAX));
    }
}
