//! Critical state under faults: operations on the coordinators, and the answers that clients saw.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use nexus_identity::Did;
use nexus_node::critical::{AuditEntry, AuditQuery, CoordinatorRole, DeedResult, KeyQuery, Manage, RequestId, Seat};
use nexus_node::critical::{DeleteOptions, LockOptions, PutOptions, RequestOutcome};
use nexus_node::internals::coordinator::Action as Deed;
use nexus_node::{Critical, Node, NodeError};

use crate::ledger::{Grant, Ledger};
use crate::linearizability::{Action, Operation};
use crate::plan::{Op, OpKind};
use crate::world::{Sim, SimError};

/// The time of a lease.
const TTL: Duration = Duration::from_secs(2);
/// The longest wait in line.
const WAIT: Duration = Duration::from_millis(1_500);
/// The longest wait of a client for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// The key that shows that a node can write.
pub(crate) const WHOLE: &str = "whole";
/// Questions for the end of an unknown write, each for as long as an answer takes at most.
const ASKED_MAX: usize = 2;
/// The longest use of a lock.
const HELD_MAX_MS: u64 = 3_000;

/// Does one operation and records its client's view.
pub(crate) async fn operate(sim: &Sim, ledger: &RefCell<Ledger>, number: usize, op: Op) {
    let Some(node) = sim.node(op.node) else { return };
    let Ok(critical) = node.critical() else { return };
    let led = critical.coordinators().await.is_some_and(|seen| seen.role == Some(CoordinatorRole::Leader));
    let begin = sim.now();
    let asked = sim.on(op.node, async |_| {
        let done = tokio::time::timeout(ANSWER_MAX, ask(sim, ledger, &critical, number, op)).await;
        Ok(done.unwrap_or(Saw::Nothing))
    });
    let saw = asked.await.unwrap_or(Saw::Nothing);
    let cut = !sim.network().cut_links().is_empty();
    let mut ledger = ledger.borrow_mut();
    let history = &mut ledger.critical;
    match saw {
        Saw::Answer => {
            history.answered += 1;
            if led && cut {
                sim.network().fire("leader_in_majority");
            }
        }
        Saw::NoQuorum => {
            history.refused += 1;
            history.longest_refusal = history.longest_refusal.max(sim.now() - begin);
            if led && cut {
                sim.network().fire("leader_in_minority");
            }
        }
        Saw::Unknown => sim.network().fire("outcome_unknown"),
        Saw::Nothing => {}
    }
    if let (Some(copy), Some(generation)) = (critical.digest(), critical.generation()) {
        history.see(op.node, generation, copy);
    }
}

/// A client's answer.
enum Saw {
    Answer,
    NoQuorum,
    /// It may have happened, by its own answer.
    Unknown,
    Nothing,
}

/// The end of a write that was not answered as asked.
enum End {
    Done(Option<u64>),
    /// It was refused with a reason of the state: a key has another value, or is not there.
    Refused,
    /// It did not happen, and never will.
    Never,
    Unknown,
}

/// A client that writes. Every other one gives its writes an id.
struct Writer {
    plain: Critical,
    once: Option<Critical>,
}

impl Writer {
    fn new(critical: &Critical, number: usize) -> Self {
        let once = (number % 2 == 1).then(|| critical.once(&format!("operation {number}")).ok()).flatten();
        Self { plain: critical.clone(), once }
    }

    /// Writes, without an id while critical state does not know ids yet.
    async fn write(&mut self, change: &impl AsyncFn(&Critical) -> Result<u64, NodeError>) -> Result<u64, NodeError> {
        if let Some(once) = &self.once {
            match change(once).await {
                Err(NodeError::NotRaised { .. }) => self.once = None,
                done => return done,
            }
        }
        change(&self.plain).await
    }

    /// The end of an unknown write, by the same request or by a question for its end.
    async fn ask(&self, id: &RequestId, change: &impl AsyncFn(&Critical) -> Result<u64, NodeError>) -> Option<End> {
        if let Some(once) = &self.once {
            return match change(once).await {
                Ok(revision) => Some(End::Done(Some(revision))),
                Err(NodeError::Conflict(_) | NodeError::NotFound { .. }) => Some(End::Refused),
                // this question was not heard, or its end is not known either
                Err(NodeError::NoQuorum { .. } | NodeError::OutcomeUnknown { .. }) => None,
                Err(_) => Some(End::Unknown),
            };
        }
        Some(match self.plain.outcome(id).await {
            Ok(RequestOutcome::Done { revision, .. }) => End::Done(revision),
            Ok(RequestOutcome::Refused { why: Some(_) }) => End::Refused,
            Ok(RequestOutcome::Refused { why: None }) => End::Never,
            Ok(_) => End::Unknown,
            Err(_) => return None,
        })
    }
}

impl End {
    /// The end of a write with this error. An unknown end is asked for until it is certain, or time is over.
    async fn of(
        sim: &Sim,
        writer: &Writer,
        error: &NodeError,
        change: &impl AsyncFn(&Critical) -> Result<u64, NodeError>,
    ) -> Self {
        match error {
            NodeError::NoQuorum { .. } => Self::Never,
            NodeError::OutcomeUnknown { id, .. } => {
                for _ in 0..ASKED_MAX {
                    let Some(end) = writer.ask(id, change).await else { continue };
                    if matches!(end, Self::Unknown) {
                        return end;
                    }
                    if writer.once.is_some() {
                        sim.network().fire("asked_again");
                    }
                    sim.network().fire(if matches!(end, Self::Done(_)) {
                        "unknown_was_done"
                    } else {
                        "unknown_was_not"
                    });
                    return end;
                }
                Self::Unknown
            }
            _ => Self::Unknown,
        }
    }
}

fn us(sim: &Sim) -> u64 {
    u64::try_from(sim.now().as_micros()).unwrap_or(u64::MAX)
}

async fn ask(sim: &Sim, ledger: &RefCell<Ledger>, critical: &Critical, number: usize, op: Op) -> Saw {
    match op.kind {
        OpKind::Lock => return lock(sim, ledger, critical, op).await,
        OpKind::Manage => return manage(sim, critical, op).await,
        _ => {}
    }
    let key = format!("key {}", op.n % 8);
    let value = number as u64 + 1;
    let text = value.to_string();
    let began = us(sim);
    // a read without an answer proves nothing; any other operation may happen from now on
    let place = (op.kind != OpKind::KvGet).then(|| {
        let action = match op.kind {
            OpKind::KvDelete => Action::Delete(false),
            OpKind::KvCas => Action::Cas { expect: None, value, done: false },
            _ => Action::Put(value),
        };
        let mut ledger = ledger.borrow_mut();
        *ledger.critical.asked.entry((sim.did(op.node), key.clone())).or_default() += 1;
        let history = ledger.critical.keys.entry(key.clone()).or_default();
        history.push(Operation { began, ended: None, action, revision: None });
        history.len() - 1
    });
    let did = sim.did(op.node);
    // a write that was refused must not be seen from then on
    let never = |ledger: &RefCell<Ledger>| {
        let mut ledger = ledger.borrow_mut();
        if let Some(times) = ledger.critical.asked.get_mut(&(did, key.clone())) {
            *times -= 1;
        }
        let history = ledger.critical.keys.entry(key.clone()).or_default();
        if let Some(open) = place.and_then(|place| history.get_mut(place)) {
            open.action = Action::Nothing;
        }
    };
    let answered = |action: Action, revision: Option<u64>| {
        let operation = Operation { began, ended: Some(us(sim)), action, revision };
        let mut ledger = ledger.borrow_mut();
        let history = ledger.critical.keys.entry(key.clone()).or_default();
        match place {
            Some(place) => history[place] = operation,
            None => history.push(operation),
        }
        Saw::Answer
    };
    let mut writer = Writer::new(critical, number);
    match op.kind {
        OpKind::KvGet => match critical.get(&key).await {
            Ok(item) => {
                let revision = item.as_ref().map(|item| item.revision);
                answered(Action::Get(item.and_then(|item| item.text()?.parse().ok())), revision)
            }
            Err(error) => saw(&error),
        },
        OpKind::KvDelete => {
            let delete = async |critical: &Critical| critical.delete(&key, DeleteOptions::default()).await;
            match writer.write(&delete).await {
                Ok(revision) => answered(Action::Delete(true), Some(revision)),
                Err(NodeError::NotFound { .. }) => answered(Action::Delete(false), None),
                Err(error) => {
                    match End::of(sim, &writer, &error, &delete).await {
                        End::Done(revision) => drop(answered(Action::Delete(true), revision)),
                        End::Refused => drop(answered(Action::Delete(false), None)),
                        End::Never => never(ledger),
                        End::Unknown => {}
                    }
                    saw(&error)
                }
            }
        }
        OpKind::KvCas => {
            // expects this node's copy, which is stale at times
            let expect = critical.get_local(&key).ok().and_then(|local| local.item).map(|item| item.value);
            let expected = expect.as_deref().and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
            let action = |done| Action::Cas { expect: expected, value, done };
            if let Some(place) = place {
                // without an answer the write may have happened, against this value
                let mut ledger = ledger.borrow_mut();
                if let Some(open) = ledger.critical.keys.get_mut(&key).and_then(|all| all.get_mut(place)) {
                    open.action = action(false);
                }
            }
            let cas =
                async |critical: &Critical| critical.cas(&key, expect.as_deref(), &text, PutOptions::default()).await;
            match writer.write(&cas).await {
                Ok(revision) => answered(action(true), Some(revision)),
                Err(NodeError::Conflict(_)) => answered(action(false), None),
                Err(error) => {
                    match End::of(sim, &writer, &error, &cas).await {
                        End::Done(revision) => drop(answered(action(true), revision)),
                        End::Refused => drop(answered(action(false), None)),
                        End::Never => never(ledger),
                        End::Unknown => {}
                    }
                    saw(&error)
                }
            }
        }
        _ => {
            let put = async |critical: &Critical| critical.put(&key, &text, PutOptions::default()).await;
            match writer.write(&put).await {
                Ok(revision) => answered(Action::Put(value), Some(revision)),
                Err(error) => {
                    match End::of(sim, &writer, &error, &put).await {
                        End::Done(revision) => drop(answered(Action::Put(value), revision)),
                        End::Never => never(ledger),
                        End::Refused | End::Unknown => {}
                    }
                    saw(&error)
                }
            }
        }
    }
}

/// Moves the leadership, or a voter's place, to another member.
async fn manage(sim: &Sim, critical: &Critical, op: Op) -> Saw {
    let Some(seen) = critical.coordinators().await else { return Saw::Nothing };
    let pick =
        |seats: &[Seat]| seats.get(usize::try_from(op.n / 3).unwrap_or(0) % seats.len().max(1)).map(|seat| seat.did);
    let (what, manage) = match (op.n % 3, pick(&seen.voters), pick(&seen.learners)) {
        (0, Some(voter), _) => ("voter_removed", Manage::Remove(voter)),
        (1, _, Some(learner)) => ("voter_added", Manage::Add(learner)),
        _ => ("stepped_down", Manage::StepDown),
    };
    match critical.manage(manage).await {
        Ok(()) => {
            sim.network().fire(what);
            Saw::Answer
        }
        Err(error) => saw(&error),
    }
}

fn saw(error: &NodeError) -> Saw {
    match error {
        NodeError::NoQuorum { .. } => Saw::NoQuorum,
        NodeError::OutcomeUnknown { .. } => Saw::Unknown,
        _ => Saw::Nothing,
    }
}

/// Takes a lock, writes under its token while it believes to have the lock, and gives it back.
async fn lock(sim: &Sim, ledger: &RefCell<Ledger>, critical: &Critical, op: Op) -> Saw {
    let name = format!("lock {}", op.n % 2);
    let began = us(sim);
    let guard = match critical.lock(&name, LockOptions::default().ttl(TTL).wait(WAIT)).await {
        Ok(guard) => guard,
        Err(NodeError::Conflict(_)) => return Saw::Answer,
        Err(error) => return saw(&error),
    };
    let token = guard.token();
    let place = {
        let mut ledger = ledger.borrow_mut();
        let grants = ledger.critical.grants.entry(name.clone()).or_default();
        grants.push(Grant { token, began, ended: us(sim), wrote: Vec::new(), sure: 0 });
        grants.len() - 1
    };
    let until = sim.now() + Duration::from_millis(op.bytes % HELD_MAX_MS);
    // keeps writing after the lease is over: the token must stop these writes
    loop {
        let began = us(sim);
        if guard.is_held()
            && let Some(grant) =
                ledger.borrow_mut().critical.grants.get_mut(&name).and_then(|grants| grants.get_mut(place))
        {
            grant.sure = began;
        }
        let options = PutOptions::default().fence(token);
        let key = format!("under {name}");
        *ledger.borrow_mut().critical.asked.entry((sim.did(op.node), key.clone())).or_default() += 1;
        if critical.put(&key, &token.to_string(), options).await.is_ok()
            && let Some(grant) =
                ledger.borrow_mut().critical.grants.get_mut(&name).and_then(|grants| grants.get_mut(place))
        {
            grant.wrote.push(began);
        }
        if sim.now() >= until {
            break;
        }
        sim.sleep(Duration::from_millis(400)).await;
    }
    let _ = guard.release().await;
    Saw::Answer
}

/// The longest wait for the records before a snapshot: members are asked for them each five seconds, a page at a time.
const FILLED_MAX: Duration = Duration::from_secs(20);

/// A node's audit. A copy that came as a snapshot gets the records before it a little later.
async fn whole_audit(sim: &Sim, no: usize) -> Result<Vec<AuditEntry>, SimError> {
    let end = sim.now() + FILLED_MAX;
    loop {
        let (mut entries, mut whole, mut after) = (Vec::new(), true, Some(0));
        while let Some(from) = after {
            let query = AuditQuery::default().after(from).limit(1_000);
            let page = sim.on(no, async |node: Node| node.critical()?.audit(query).await).await?;
            entries.extend(page.items);
            whole &= page.missing.is_empty();
            after = page.next;
        }
        if whole || sim.now() >= end {
            return Ok(entries);
        }
        sim.sleep(Duration::from_secs(1)).await;
    }
}

/// Makes the keys anew from the requests in a node's audit, and compares. Requests that no client made are told, too.
pub(crate) async fn replay(sim: &Sim, ledger: &RefCell<Ledger>, no: usize) -> Result<(), SimError> {
    let mut keys: BTreeMap<String, u64> = BTreeMap::new();
    let mut made: BTreeMap<(Did, String), u64> = BTreeMap::new();
    let mut requests = 0;
    for entry in whole_audit(sim, no).await? {
        let (name, action) = (entry.deed.name, entry.deed.action);
        let DeedResult::Revision(revision) = entry.deed.result else { continue };
        match action {
            Deed::Put | Deed::Cas => drop(keys.insert(name.clone(), revision)),
            Deed::Delete | Deed::Expire => drop(keys.remove(&name)),
            _ => continue,
        }
        if action != Deed::Expire {
            requests += 1;
            *made.entry((entry.by, name)).or_default() += 1;
        }
    }
    let page = sim.on(no, async |node: Node| node.critical()?.list(KeyQuery::prefix("")).await).await?;
    let mut now: BTreeMap<String, u64> = page.items.into_iter().map(|(key, item)| (key, item.revision)).collect();
    // nodes keep these themselves, also while the audit and the keys are read
    let is_quiet = |key: &String| !key.starts_with("own/") || !key.contains("/settles/") && !key.contains("/ended/");
    keys.retain(|key, _| is_quiet(key));
    now.retain(|key, _| is_quiet(key));
    let mut differences = Vec::new();
    if now != keys {
        differences.push(format!("n{no} holds {now:?}, and its audit makes {keys:?}"));
    }
    let mut ledger = ledger.borrow_mut();
    let history = &mut ledger.critical;
    for ((by, key), times) in made.into_iter().filter(|((_, key), _)| key != WHOLE && !key.starts_with("own/")) {
        let asked = history.asked.get(&(by, key.clone())).copied().unwrap_or(0);
        if times > asked {
            differences.push(format!("{} wrote {key} {times} times, and was asked to {asked} times", by.short()));
        }
    }
    history.replayed = (requests, differences);
    Ok(())
}
