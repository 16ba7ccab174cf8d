//! Critical state: keys, transactions, their changes, and locks.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use futures::FutureExt;
use nexus_identity::Did;

use super::caller::Caller;
use super::extract::{Json, OptionalJson, Parameters, Path};
use super::pass::Pass;
use super::problem::Problem;
use super::{Api, wire};
use crate::critical::{CriticalChanges, DeleteOptions, KeyQuery, NotARequestId, RequestId, RequestOutcome};
use crate::critical::{LockOptions, PutOptions};
use crate::error::{ConflictError, Resource};
use crate::memory::Secrets;
use crate::{Critical, Node, NodeError};

/// The default length of a page, in keys or records.
const PAGE: usize = 100;
/// The longest page.
const PAGE_MAX: usize = 1_000;
/// The longest wait of a poll.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) async fn get(
    critical: Critical,
    Path(key): Path,
    mut parameters: Parameters,
) -> Result<Answer<wire::KvItem>, Problem> {
    let local = parameters.one_as::<bool>("local")?.unwrap_or(false);
    parameters.end()?;
    if !local {
        let item = critical.get(&key).await?.ok_or_else(|| no_key(&key))?;
        return Ok(Answer(wire::kv_item(key, item)));
    }
    let local = critical.get_local(&key)?;
    let mut item = wire::kv_item(key.clone(), local.item.ok_or_else(|| no_key(&key))?);
    (item.local, item.age_ms) = (true, local.age.map(ms));
    Ok(Answer(item))
}

pub(super) async fn put(
    State(api): State<Api>,
    critical: Critical,
    caller: Caller,
    Path(key): Path,
    Json(mut put): Json<wire::KvPut>,
) -> Result<Answer<wire::KvWritten>, Problem> {
    let (value, expect) = put.values().map_err(|error| Problem::new("invalid", error))?;
    let way = caller.secrets(put.allow_secret)?;
    without_secrets(way, [(key.as_str(), Some(value.as_slice()))])?;
    let wire::KvPut { ttl, fence, absent, .. } = put;
    let options = PutOptions { ttl: ttl.map(|ttl| ttl.0), fence };
    if absent && expect.is_some() {
        return Err(Problem::new("invalid", "a key that is to be absent has no value to expect")
            .hint("give `expect` or `absent`, not both"));
    }
    let compares = absent || expect.is_some();
    let written = if compares {
        critical.cas(&key, expect.as_deref(), &value, options).boxed()
    } else {
        critical.put(&key, &value, options).boxed()
    };
    match api.0.proposals.count(written.await) {
        Ok(revision) => Ok(Answer(wire::kv_written(key, Some(value), revision))),
        Err(error) => Err(unwritten(error, &key, fence.filter(|_| !compares))),
    }
}

/// Refuses credentials in keys and in values that are text. [`Critical`] itself takes any bytes.
fn without_secrets<'a>(
    way: Secrets,
    written: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> Result<(), Problem> {
    for (key, value) in written {
        way.check("key", key).map_err(NodeError::from)?;
        if let Some(text) = value.and_then(|value| std::str::from_utf8(value).ok()) {
            way.check("value", text).map_err(NodeError::from)?;
        }
    }
    Ok(())
}

pub(super) async fn delete(
    State(api): State<Api>,
    critical: Critical,
    Path(key): Path,
    mut parameters: Parameters,
) -> Result<Answer<wire::KvWritten>, Problem> {
    let fence = parameters.one_as::<u64>("fence")?;
    parameters.end()?;
    match api.0.proposals.count(critical.delete(&key, DeleteOptions { fence }).await) {
        Ok(revision) => Ok(Answer(wire::kv_written(key, None, revision))),
        Err(error) => Err(unwritten(error, &key, fence)),
    }
}

/// The length of a page. Must be the last parameter that is read.
pub(super) fn limit(mut parameters: Parameters) -> Result<usize, Problem> {
    let limit = parameters.one_as::<usize>("limit")?.unwrap_or(PAGE);
    parameters.end()?;
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::new("invalid", format!("limit is {limit}, and must be 1 to {PAGE_MAX}")));
    }
    Ok(limit)
}

pub(super) async fn list(critical: Critical, mut parameters: Parameters) -> Result<Answer<wire::KvPage>, Problem> {
    let (prefix, after) = (parameters.one("prefix")?.unwrap_or_default(), parameters.one("after")?);
    let limit = limit(parameters)?;
    Ok(Answer(critical.list(KeyQuery::prefix(prefix).after(after).limit(limit)).await?.into()))
}

/// The end of a request that was unknown.
pub(super) async fn outcome(critical: Critical, Path(id): Path) -> Result<Answer<wire::RequestOutcome>, Problem> {
    let request: RequestId = id.parse().map_err(|error: NotARequestId| Problem::new("invalid", error.to_string()))?;
    let answer = |outcome| wire::RequestOutcome { id, outcome, revision: None, token: None, reason: None };
    Ok(Answer(match critical.outcome(&request).await {
        Ok(RequestOutcome::Done { revision, token }) => {
            wire::RequestOutcome { revision, token, ..answer(wire::OutcomeWord::Done) }
        }
        Ok(RequestOutcome::Refused { why }) => {
            let reason = why.map(|why| why.to_string());
            wire::RequestOutcome { reason, ..answer(wire::OutcomeWord::Refused) }
        }
        Ok(RequestOutcome::Forgotten) => answer(wire::OutcomeWord::Forgotten),
        Err(error @ NodeError::NoQuorum { .. }) => {
            wire::RequestOutcome { reason: Some(error.to_string()), ..answer(wire::OutcomeWord::Unknown) }
        }
        Err(error) => return Err(error.into()),
    }))
}

pub(super) async fn txn(
    State(api): State<Api>,
    critical: Critical,
    caller: Caller,
    Json(txn): Json<wire::KvTxn>,
) -> Result<Answer<wire::KvTxnDone>, Problem> {
    let way = caller.secrets(txn.allow_secret)?;
    let (then, otherwise) = (txn.keys(true), txn.keys(false));
    let txn: crate::critical::Txn = txn.try_into().map_err(|error: String| Problem::new("invalid", error))?;
    without_secrets(way, txn.written())?;
    let done = api.0.proposals.count(critical.txn(txn).await)?;
    let keys = if done.held { then } else { otherwise };
    let items = keys.into_iter().zip(done.items).map(|(key, item)| Some(wire::kv_item(key, item?))).collect();
    Ok(Answer(wire::KvTxnDone { held: done.held, revision: done.revision, items }))
}

/// Changes after a revision, oldest first. Waits for the first one if asked to.
pub(super) async fn watch(
    State(api): State<Api>,
    node: Node,
    mut parameters: Parameters,
) -> Result<Answer<wire::KvChanges>, Problem> {
    let prefix = parameters.one("prefix")?.unwrap_or_default();
    let (after, wait) = (parameters.one("after")?, parameters.one_as::<wire::Span>("wait")?);
    let revision = after.as_deref().map(str::parse::<u64>);
    parameters.end()?;
    let critical = node.critical()?;
    let after = match (revision, &after) {
        (Some(Ok(revision)), _) => Some(revision),
        // no number: a cursor of the node's events
        (Some(Err(_)), Some(cursor)) => node.revision_in(cursor)?,
        _ => None,
    };
    let after = match after {
        Some(after) => after,
        None => critical.revision().await?,
    };
    let wait = wait.map_or(Duration::ZERO, |wait| wait.0.min(WAIT_MAX));
    let CriticalChanges { changes, revision, missed } = tokio::select! {
        changes = critical.changes(&prefix, after, wait) => changes?,
        () = api.closing() => return Err(Problem::stopping()),
    };
    let names = if changes.is_empty() { BTreeMap::new() } else { names(&node) };
    let change = |change: crate::coordinator::CriticalChange| {
        let by = names.get(&change.by).cloned();
        wire::kv_change(change, by)
    };
    Ok(Answer(wire::KvChanges { changes: changes.into_iter().map(change).collect(), revision, missed }))
}

pub(super) async fn locks(node: Node) -> Result<Answer<Vec<wire::Lease>>, Problem> {
    let locks = node.critical()?.locks().await?;
    let names = names(&node);
    let lease =
        |(name, lock): (String, crate::coordinator::Lock)| wire::lease(name, &lock, names.get(&lock.lease.by).cloned());
    Ok(Answer(locks.into_iter().map(lease).collect()))
}

pub(super) async fn lock(node: Node, Path(name): Path) -> Result<Answer<wire::Lease>, Problem> {
    let lock = node.critical()?.lock_of(&name).await?;
    let lock = lock.ok_or_else(|| NodeError::NotFound { what: Resource::Lock, name: name.clone() })?;
    let holder = names(&node).get(&lock.lease.by).cloned();
    Ok(Answer(wire::lease(name, &lock, holder)))
}

pub(super) async fn acquire(
    State(api): State<Api>,
    node: Node,
    critical: Critical,
    pass: Pass,
    Path(name): Path,
    OptionalJson(acquire): OptionalJson<wire::Acquire>,
) -> Result<Answer<wire::Lease>, Problem> {
    let ttl = acquire.ttl.map_or(LockOptions::default().ttl, |ttl| ttl.0);
    let options = LockOptions { ttl, wait: acquire.wait.map_or(Duration::ZERO, |wait| wait.0) };
    // if the caller goes away, or its token ends, this is dropped, and so is its place in line
    let granted = pass.while_good(critical.acquire(&name, options)).await?;
    match api.0.proposals.count(granted) {
        Ok(grant) => Ok(Answer(ours(&node, name, grant.token, grant.lasts))),
        Err(NodeError::Conflict(ConflictError::Held { .. } | ConflictError::StillHeld { .. })) => {
            Err(held(&node, &critical, &name).await)
        }
        // a repeated request whose lease is over
        Err(error @ NodeError::Conflict(ConflictError::StaleToken { .. })) => Err(not_ours(error, &name)),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn renew(
    State(api): State<Api>,
    node: Node,
    Path(name): Path,
    Json(renew): Json<wire::Renew>,
) -> Result<Answer<wire::Lease>, Problem> {
    let critical = node.critical()?;
    let began = tokio::time::Instant::now();
    let renewed = critical.renew(&name, renew.token, renew.ttl.map(|ttl| ttl.0)).await;
    api.0.proposals.count(renewed).map_err(|error| not_ours(error, &name))?;
    let took = began.elapsed();
    let lock = critical.lock_of(&name).await?.filter(|lock| lock.lease.token == renew.token);
    let lock = lock.ok_or_else(|| lease_over(&name, renew.token))?;
    let lasts = Duration::from_millis(lock.lease.ttl_ms).saturating_sub(took);
    let lease = wire::lease(name, &lock, names(&node).remove(&lock.lease.by));
    Ok(Answer(wire::Lease { expires_in_ms: ms(lasts), ..lease }))
}

pub(super) async fn release(
    State(api): State<Api>,
    node: Node,
    Path(name): Path,
    Json(release): Json<wire::Release>,
) -> Result<Answer<wire::Lease>, Problem> {
    let released = node.critical()?.release(&name, release.token).await;
    api.0.proposals.count(released).map_err(|error| not_ours(error, &name))?;
    Ok(Answer(ours(&node, name, release.token, Duration::ZERO)))
}

pub(super) async fn steal(
    State(api): State<Api>,
    node: Node,
    critical: Critical,
    Path(name): Path,
    OptionalJson(steal): OptionalJson<wire::Steal>,
) -> Result<Answer<wire::Lease>, Problem> {
    let ttl = steal.ttl.map_or(LockOptions::default().ttl, |ttl| ttl.0);
    let stolen = critical.steal(&name, ttl).await;
    let grant = api.0.proposals.count(stolen).map_err(|error| not_ours(error, &name))?;
    Ok(Answer(ours(&node, name, grant.token, grant.lasts)))
}

/// A lease of this node, also one that has ended.
fn ours(node: &Node, name: String, token: u64, lasts: Duration) -> wire::Lease {
    let (holder, holder_name) = (node.did().to_string(), Some(node.name()));
    wire::Lease { name, token, holder, holder_name, expires_in_ms: ms(lasts), waiting: 0 }
}

/// The problem of a held lock, with its holder.
async fn held(node: &Node, critical: &Critical, name: &str) -> Problem {
    let hint = "`--wait 10s` waits in line, `nexus-node lock list` shows who holds what";
    let lock = critical.lock_of(name).await.ok().flatten();
    let who = lock.map(|lock| {
        let who = names(node).remove(&lock.lease.by);
        format!(" by {} under token {}", who.unwrap_or_else(|| lock.lease.by.to_string()), lock.lease.token)
    });
    Problem::new("conflict", format!("the lock {name} is held{}", who.unwrap_or_default())).hint(hint)
}

fn no_key(key: &str) -> Problem {
    Problem::new("not_found", format!("there is no key {key}")).hint("`nexus-node kv list` shows the keys")
}

/// The problem of a key that was not written.
fn unwritten(error: NodeError, key: &str, fence: Option<u64>) -> Problem {
    match error {
        NodeError::NotFound { .. } => no_key(key),
        error @ NodeError::Conflict(ConflictError::OtherRequest) => error.into(),
        NodeError::Conflict(why) => Problem::new("conflict", why.to_string()).hint(match fence {
            Some(_) => "the lease is over: take the lock again, look at what changed meanwhile, and use the new token",
            None => "nothing was written: read it again with `nexus-node kv get`, and decide anew",
        }),
        error => error.into(),
    }
}

/// The problem of a lease that was not renewed, released or taken.
fn not_ours(error: NodeError, name: &str) -> Problem {
    let list = "`nexus-node lock list` shows who holds what";
    match error {
        NodeError::NotFound { .. } => Problem::new("not_found", format!("nobody holds the lock {name}")).hint(list),
        error @ NodeError::Conflict(ConflictError::OtherRequest) => error.into(),
        NodeError::Conflict(why) => Problem::new("conflict", why.to_string())
            .hint(format!("that lease is over; take it anew with `nexus-node lock acquire`, {list}")),
        error => error.into(),
    }
}

fn lease_over(name: &str, token: u64) -> Problem {
    Problem::new("conflict", format!("the token {token} is of no lease of {name} that stands"))
}

pub(super) fn names(node: &Node) -> BTreeMap<Did, String> {
    node.members().into_iter().map(|member| (member.did, member.name)).collect()
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
