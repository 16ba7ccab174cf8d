//! Critical state for embedders: keys and locks that must not conflict.
//!
//! A quorum of the coordinators decides every change. Every read is linearizable unless its method says
//! otherwise. Within five seconds a change is done, refused, or unknown:
//!
//! - [`NodeError::NoQuorum`]: it did not happen, and will not.
//! - [`NodeError::OutcomeUnknown`]: a leader may have it, and did not answer. [`Critical::outcome`] tells later.
//!
//! Data that can do with less belongs in the [brain](crate::Brain), which works on every node at any time.

mod guard;
mod options;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use nexus_identity::Did;
use tokio::sync::{oneshot, watch as channel};
use tokio::time::Instant;

use self::guard::Since;

pub use self::guard::LockGuard;
pub use self::options::{AuditQuery, CriticalWatchQuery, DeleteOptions, KeyQuery, LockOptions, PutOptions};
pub use self::watch::{CriticalNews, CriticalWatch};
pub use crate::coordinator::{
    Action, AuditBreak, AuditCheck, AuditEntry, AuditFault, AuditOther, AuditPage, Check, Condition, CoordinatorRole,
    Coordinators, CriticalChange, CriticalEvent, Deed, DeedResult, Item, Lease, Lock, Manage, Mode, NotARequestId,
    OldMember, Put, RequestId, Seat, SeatState, Step, TooNew, Txn, Waiter,
};
use crate::coordinator::{
    Answer, Command, Content, Coordinator, Outcome, Query, Refusal, RequestKey, Settled, TTL_MS_MAX,
};
use crate::error::{AccessError, ConflictError, InputError, NodeError, OpaqueError, Resource, StopError};

/// The waits between two questions for the end of an acquisition. Each question takes some seconds, too.
const AGAIN: [Duration; 128] = [Duration::from_millis(500); 128];
/// The time between two looks at a lock, on a node without a copy of the state.
const LOOK: Duration = Duration::from_millis(250);

/// A handle to critical state, cheap to clone.
///
/// ```no_run
/// # async fn example(node: nexus_node::Node) -> Result<(), nexus_node::NodeError> {
/// let critical = node.critical()?;
/// critical.put("deploy/target", "blue", Default::default()).await?;
/// let lock = critical.lock("deploy", Default::default()).await?;
/// // a write under the lock's token is refused once another node has the lock
/// let fenced = nexus_node::critical::PutOptions::default().fence(lock.token());
/// critical.put("deploy/state", "running", fenced).await?;
/// lock.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Critical {
    pub(crate) coordinator: Arc<Coordinator>,
    request: Option<RequestKey>,
}

/// A right to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The token that proves it. Later grants, of any lock, have larger tokens.
    pub token: u64,
    /// The least remaining time, from the making of this value on.
    pub lasts: Duration,
}

/// A key in this node's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalItem {
    /// Its content; `None` if it does not exist in the copy.
    pub item: Option<Item>,
    /// The time since this node's last contact with a quorum; `None` if there was none since it started.
    pub age: Option<Duration>,
}

/// A page of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyPage {
    /// Keys and their values, in order.
    pub items: Vec<(String, Item)>,
    /// The key to continue after, if there are more.
    pub next: Option<String>,
    /// The revision of critical state that the page shows.
    pub revision: u64,
}

/// Changes of critical state, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CriticalChanges {
    /// The changes; empty if there were none in time.
    pub changes: Vec<CriticalChange>,
    /// The revision to continue after.
    pub revision: u64,
    /// Whether changes in between are lost. Then read the keys themselves, and continue after `revision`.
    pub missed: bool,
}

/// The result of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxnDone {
    /// Whether its checks held.
    pub held: bool,
    /// The revision of critical state after it.
    pub revision: u64,
    /// For each step, the key after it; `None` for a key that does not exist.
    pub items: Vec<Option<Item>>,
}

/// The end of a request that was unknown, from [`Critical::outcome`].
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestOutcome {
    /// It was done.
    Done {
        /// The revision of critical state after it, if it changed or read keys.
        revision: Option<u64>,
        /// The token of the lock that it was given, which may be over since.
        token: Option<u64>,
    },
    /// It was not done, and never will be.
    Refused {
        /// The reason, if the coordinators refused it; `None` if it never reached them.
        why: Option<NodeError>,
    },
    /// Nobody knows any more: the answer was let go of, or the coordinators began anew since.
    Forgotten,
}

/// A lock's token with the earliest beginning of its lease, or the reason why it was not taken.
type Acquired = Result<(u64, Since), NodeError>;

impl Critical {
    pub(crate) fn new(coordinator: Arc<Coordinator>) -> Self {
        Self { coordinator, request: None }
    }

    /// A handle for one change that is done once, however often it is asked for: [`put`](Self::put),
    /// [`cas`](Self::cas), [`delete`](Self::delete), [`txn`](Self::txn), [`acquire`](Self::acquire),
    /// [`lock`](Self::lock) or [`steal`](Self::steal).
    ///
    /// The id is chosen by the caller, and shared by all callers of this node. The same change under the same id is
    /// answered as the first time, also after a restart: with the same revision, the same refusal, or the same lease.
    /// A node's last 1,024 answers are kept, for some 100,000 changes at most.
    ///
    /// A lock that is taken so is not given back when its caller goes away: it runs out by its lease's time, so that
    /// its caller can ask again. Nor is an acquisition of unknown end withdrawn.
    ///
    /// ```no_run
    /// # async fn example(critical: nexus_node::Critical) -> Result<(), nexus_node::NodeError> {
    /// let once = critical.once("release-42")?;
    /// let first = once.put("deploy/target", "blue", Default::default()).await?;
    /// assert_eq!(once.put("deploy/target", "blue", Default::default()).await?, first);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for an id that is empty, longer than 255 bytes, or has control characters. The change
    /// itself fails with [`ConflictError::OtherRequest`] if the id was given to another change, and with
    /// [`NodeError::NotRaised`] while members run a version that does not know such ids.
    pub fn once(&self, id: &str) -> Result<Self, NodeError> {
        let key = RequestKey::of(id).ok_or(InputError::RequestId { max: RequestKey::ID_BYTES_MAX })?;
        Ok(Self { coordinator: self.coordinator.clone(), request: Some(key) })
    }

    /// This handle for changes of its own.
    fn anew(&self) -> Self {
        Self::new(self.coordinator.clone())
    }

    async fn propose(&self, command: Command) -> Result<Outcome, NodeError> {
        self.coordinator.propose(command, self.request).await
    }

    /// A key, exact as of now.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn get(&self, key: &str) -> Result<Option<Item>, NodeError> {
        let answer = self.coordinator.read(&Query::Get(key.to_owned())).await?;
        Ok(first(answer.found))
    }

    /// A key in this node's copy, which may lack the latest changes. It needs no quorum, and does not wait.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if this node has no copy, [`NodeError::TooNew`] if it has stopped where a
    /// later version wrote.
    pub fn get_local(&self, key: &str) -> Result<LocalItem, NodeError> {
        let none = || self.coordinator.no_copy("on this node");
        let (answer, age) = self.coordinator.read_local(&Query::Get(key.to_owned())).ok_or_else(none)?;
        Ok(LocalItem { item: first(answer.found), age })
    }

    /// A page of keys, in order.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn list(&self, query: KeyQuery) -> Result<KeyPage, NodeError> {
        let KeyQuery { prefix, after, limit } = query;
        let query = Query::List { prefix, after, limit: u32::try_from(limit).unwrap_or(u32::MAX) };
        let answer = self.coordinator.read(&query).await?;
        let (items, more) = match answer.found {
            Content::Items { items, more } => (items, more),
            _ => (Vec::new(), false),
        };
        let next = items.last().filter(|_| more).map(|(key, _)| key.clone());
        Ok(KeyPage { items, next, revision: answer.revision })
    }

    /// Writes a key. The value is text or any bytes; [`Item::text`] reads text back. Returns the revision.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`]. [`NodeError::Invalid`] and [`NodeError::TooLarge`] for key and value.
    /// [`NodeError::Conflict`] if the token's lease is over. [`NodeError::NotRaised`] for a value that is no
    /// text, while members run a version that cannot read it.
    pub async fn put(&self, key: &str, value: impl AsRef<[u8]> + Send, options: PutOptions) -> Result<u64, NodeError> {
        self.done(Command::Put(put(key, value.as_ref(), options))).await
    }

    /// Writes a key if it has the expected value; with `None`, if it does not exist.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if it has another value; else as [`put`](Self::put).
    pub async fn cas(
        &self,
        key: &str,
        expect: Option<&[u8]>,
        value: impl AsRef<[u8]> + Send,
        options: PutOptions,
    ) -> Result<u64, NodeError> {
        let put = put(key, value.as_ref(), options);
        self.done(Command::Cas { expect: expect.map(<[u8]>::to_vec), put }).await
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if it does not exist; else as [`put`](Self::put).
    pub async fn delete(&self, key: &str, options: DeleteOptions) -> Result<u64, NodeError> {
        self.done(Command::Delete { key: key.to_owned(), fence: options.fence }).await
    }

    /// Does several steps at one revision, or none.
    ///
    /// # Errors
    /// As [`put`](Self::put). Checks that do not hold are no error.
    pub async fn txn(&self, txn: Txn) -> Result<TxnDone, NodeError> {
        match self.propose(Command::Txn(txn)).await? {
            Outcome::Txn { held, revision, items } => Ok(TxnDone { held, revision, items }),
            other => Err(refused(other)),
        }
    }

    /// The changes after a revision of keys and locks with this prefix, oldest first. Waits until there
    /// are some, or the time is over. After a revision that there is not, as after a restore, they are missed.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn changes(&self, prefix: &str, after: u64, wait: Duration) -> Result<CriticalChanges, NodeError> {
        let until = Instant::now() + wait;
        let query = Query::Changes { prefix: prefix.to_owned(), after };
        let mut copy = self.copy();
        let mut may_be_ahead = true;
        loop {
            // this node's copy has committed changes only; it may lack the latest
            let answer = copy.look(self, &query).await?;
            if may_be_ahead && after > answer.revision {
                // the watcher may come from a copy that is further than this one, or from a state that is gone
                if let Ok(revision) = self.revision().await
                    && after > revision
                {
                    return Ok(CriticalChanges { changes: Vec::new(), revision, missed: true });
                }
                may_be_ahead = false;
            }
            let over = Instant::now() >= until;
            match answer.found {
                Content::Changes(Some(changes)) if changes.is_empty() && !over => {}
                Content::Changes(Some(changes)) => {
                    // if there are more changes than fit, continue after the last one
                    let revision = changes.last().map_or(answer.revision.max(after), |last| last.revision);
                    return Ok(CriticalChanges { changes, revision, missed: false });
                }
                _ => return Ok(CriticalChanges { changes: Vec::new(), revision: answer.revision, missed: true }),
            }
            copy.moved(until).await;
        }
    }

    /// The end of a request of this node that was unknown. It is certain from then on: a request that did not happen
    /// until now never will. Answers are kept for some 100,000 changes at most.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`] as long as it is unknown; [`NodeError::NotFound`] for the id of another node.
    pub async fn outcome(&self, id: &RequestId) -> Result<RequestOutcome, NodeError> {
        let done = |revision, token| RequestOutcome::Done { revision, token };
        Ok(match self.coordinator.outcome(id).await? {
            Settled::Answered(Outcome::Done { revision } | Outcome::Txn { revision, .. }) => done(Some(revision), None),
            Settled::Answered(Outcome::Granted { token }) => done(None, Some(token)),
            Settled::Answered(Outcome::Waiting { .. }) => done(None, None),
            Settled::Answered(outcome @ Outcome::Refused(_)) => RequestOutcome::Refused { why: Some(refused(outcome)) },
            Settled::Never => RequestOutcome::Refused { why: None },
            Settled::Forgotten => RequestOutcome::Forgotten,
        })
    }

    /// The current revision of critical state.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn revision(&self) -> Result<u64, NodeError> {
        Ok(self.coordinator.read(&Query::Revision).await?.revision)
    }

    /// The revision of this node's copy, if it has one. It may lack the latest changes.
    pub(crate) fn copied(&self) -> Option<u64> {
        Some(self.coordinator.read_local(&Query::Revision)?.0.revision)
    }

    /// Takes a lock, and waits in line for it if asked to. The guard keeps it until it is released or
    /// dropped.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if another node holds it, also at the end of the wait;
    /// [`NodeError::NoQuorum`].
    pub async fn lock(&self, name: &str, options: LockOptions) -> Result<LockGuard, NodeError> {
        let (token, since) = self.acquire_since(name, options).await?;
        Ok(LockGuard::keep(self.anew(), name.to_owned(), token, options.ttl, since))
    }

    /// Takes a lock without keeping it: the caller must renew it. If this future is dropped, neither the lock nor a
    /// place in its line is kept.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub async fn acquire(&self, name: &str, options: LockOptions) -> Result<Grant, NodeError> {
        let (token, since) = self.acquire_since(name, options).await?;
        Ok(Grant { token, lasts: options.ttl.saturating_sub(since.elapsed()) })
    }

    /// Takes a lock. Returns its token and the earliest beginning of its lease. A caller that goes away meanwhile
    /// must not become the holder, nor keep a place in the line.
    async fn acquire_since(&self, name: &str, options: LockOptions) -> Acquired {
        let (tell, told) = oneshot::channel();
        let (critical, name) = (self.clone(), name.to_owned());
        self.spawn("acquire", async move { critical.acquire_for(&name, options, tell).await }.boxed());
        told.await.map_err(|_| StopError::CriticalWrites)?
    }

    /// Takes a lock for a caller, as long as it is there.
    async fn acquire_for(&self, name: &str, options: LockOptions, mut tell: oneshot::Sender<Acquired>) {
        let LockOptions { ttl, wait } = options;
        let command = Command::Acquire { name: name.to_owned(), ttl_ms: ms(ttl), wait_ms: ms(wait) };
        let (before, until) = (Since::now(self.coordinator.world()), Instant::now() + wait);
        let proposed = self.propose(command).await;
        // the rest are changes of their own
        let (may_ask_again, this) = (self.request.is_some(), self.anew());
        let acquired = match proposed {
            // a lease that an earlier question began has an unknown beginning
            Ok(Outcome::Granted { token }) if may_ask_again => this.begin_anew(name, token).await,
            Ok(Outcome::Granted { token }) => Ok((token, before)),
            Ok(Outcome::Waiting { waiter }) => {
                tokio::select! {
                    granted = this.wait_for_turn(name, waiter, until) => granted,
                    () = tell.closed() => return this.leave_line(name, waiter, may_ask_again).await,
                }
            }
            Ok(other) => Err(refused(other)),
            Err(error) => Err(error),
        };
        let unknown = if let Err(NodeError::OutcomeUnknown { id, .. }) = &acquired { Some(*id) } else { None };
        let untold = tell.send(acquired);
        if may_ask_again {
            return;
        }
        if let Err(Ok((token, _))) = untold
            && let Err(error) = this.release(name, token).await
        {
            tracing::debug!(%error, "a lock that nobody waits for any more runs out by itself");
        }
        if let Some(id) = unknown {
            this.give_back(name, &id).await;
        }
    }

    /// Gives back whatever an acquisition of unknown end took, as soon as a quorum tells: its caller has no token.
    async fn give_back(&self, name: &str, id: &RequestId) {
        for wait in AGAIN {
            match self.coordinator.outcome(id).await {
                Ok(Settled::Answered(Outcome::Granted { token })) => {
                    // if that fails, too, it runs out by itself
                    let _ = self.release(name, token).await;
                    return;
                }
                Ok(Settled::Answered(Outcome::Waiting { waiter })) => {
                    return self.leave_line(name, waiter, false).await;
                }
                Ok(_) => return,
                Err(error) => tracing::debug!(%error, "not known yet whether a lock was taken"),
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn wait_for_turn(&self, name: &str, waiter: u64, until: Instant) -> Acquired {
        let token = self.wait_in_line(name, waiter, until).await?;
        self.begin_anew(name, token).await
    }

    /// Renews a lease whose beginning is unknown here.
    async fn begin_anew(&self, name: &str, token: u64) -> Acquired {
        let renewed = Since::now(self.coordinator.world());
        match self.renew(name, token, None).await {
            Ok(()) => Ok((token, renewed)),
            // it is over, whether somebody else has the lock now or not
            Err(NodeError::NotFound { .. }) => Err(ConflictError::StaleToken { token }.into()),
            Err(error) => Err(error),
        }
    }

    /// Gives up a place in line, or the lock if its turn came before and nobody may ask for it again.
    async fn leave_line(&self, name: &str, waiter: u64, may_ask_again: bool) {
        let left = match self.propose(Command::Withdraw { name: name.to_owned(), waiter }).await {
            Ok(Outcome::Granted { token }) if !may_ask_again => self.release(name, token).await,
            left => left.map(drop),
        };
        if let Err(error) = left {
            tracing::debug!(%error, "a place in line that nobody waits in any more ends by itself");
        }
    }

    async fn wait_in_line(&self, name: &str, waiter: u64, until: Instant) -> Result<u64, NodeError> {
        let mut copy = self.copy();
        let query = Query::Lock(name.to_owned());
        while Instant::now() < until {
            let answer = copy.look(self, &query).await;
            let lock = answer.ok().and_then(|answer| first_lock(answer.found));
            if let Some(lock) = lock.filter(|lock| lock.lease.waiter == Some(waiter)) {
                return Ok(lock.lease.token);
            }
            copy.moved(until).await;
        }
        match self.propose(Command::Withdraw { name: name.to_owned(), waiter }).await? {
            Outcome::Granted { token } => Ok(token),
            _ => Err(ConflictError::StillHeld { name: name.to_owned() }.into()),
        }
    }

    /// Starts a lease's time anew, or with a new time.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if it is over, [`NodeError::NotFound`] if nobody holds the lock.
    pub async fn renew(&self, name: &str, token: u64, ttl: Option<Duration>) -> Result<(), NodeError> {
        self.done(Command::Renew { name: name.to_owned(), token, ttl_ms: ttl.map(ms) }).await.map(drop)
    }

    /// Gives a lock back.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn release(&self, name: &str, token: u64) -> Result<(), NodeError> {
        self.done(Command::Release { name: name.to_owned(), token }).await.map(drop)
    }

    /// Takes a lock from its holder. The audit records it.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if nobody holds it, [`NodeError::NoQuorum`].
    pub async fn steal(&self, name: &str, ttl: Duration) -> Result<Grant, NodeError> {
        let before = Instant::now();
        match self.propose(Command::Steal { name: name.to_owned(), ttl_ms: ms(ttl) }).await? {
            Outcome::Granted { token } if self.request.is_some() => {
                let (_, since) = self.anew().begin_anew(name, token).await?;
                Ok(Grant { token, lasts: ttl.saturating_sub(since.elapsed()) })
            }
            Outcome::Granted { token } => Ok(Grant { token, lasts: ttl.saturating_sub(before.elapsed()) }),
            other => Err(refused(other)),
        }
    }

    /// The lock of that name, if it is held.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn lock_of(&self, name: &str) -> Result<Option<Lock>, NodeError> {
        let answer = self.coordinator.read(&Query::Lock(name.to_owned())).await?;
        Ok(first_lock(answer.found))
    }

    /// All held locks, by name.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn locks(&self) -> Result<Vec<(String, Lock)>, NodeError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let Content::Locks { locks, more } = self.coordinator.read(&Query::Locks { after }).await?.found else {
                return Ok(all);
            };
            after = locks.last().map(|(name, _)| name.clone());
            all.extend(locks);
            if !more {
                return Ok(all);
            }
        }
    }

    /// The coordinators as this node sees them; `None` while it knows of none.
    pub async fn coordinators(&self) -> Option<Coordinators> {
        self.coordinator.overview().await
    }

    /// Gives a member a vote, takes it, or moves the leadership.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] with the reason, [`NodeError::NoQuorum`], [`NodeError::Refused`]
    /// unless this node is an admin.
    pub async fn manage(&self, manage: Manage) -> Result<(), NodeError> {
        self.coordinator.manage(manage).await
    }

    /// A page of the audit, oldest first. It reads this node's copy, and waits a moment for changes that
    /// were made elsewhere before.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if this node has no copy.
    pub async fn audit(&self, query: AuditQuery) -> Result<AuditPage, NodeError> {
        let AuditQuery { after, since, limit } = query;
        let since = since.map(|since| self.coordinator.world().wall().as_ms().saturating_sub(ms(since)));
        self.coordinator.audit(after, since, limit).await
    }

    /// Checks the audit after a record, some thousands of records at a time. At the end it also
    /// compares the other members' copies.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if this node has no copy.
    pub async fn verify_audit(&self, after: u64) -> Result<AuditCheck, NodeError> {
        self.coordinator.verify_audit(after).await
    }

    /// Begins the coordinators anew from this node's copy, after the quorum is lost for good. Committed
    /// changes that are not in this copy are lost.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] while a quorum is there, [`NodeError::NotFound`] without a copy,
    /// [`NodeError::Refused`] unless this node is an admin.
    pub async fn recover(&self) -> Result<u32, NodeError> {
        Ok(self.coordinator.recover().await?.generation)
    }

    /// A digest, equal on all nodes whose copies have applied the same, with the index of the last entry.
    pub fn digest(&self) -> Option<(u64, [u8; 32])> {
        self.coordinator.digest()
    }

    /// The number of times that the coordinators began anew, if this node has a copy.
    pub fn generation(&self) -> Option<u32> {
        self.coordinator.generation()
    }

    /// This node as a voter, as it stands in Raft's messages: its DID, and the number that it drew.
    #[cfg(all(feature = "testing", feature = "coordinators"))]
    #[doc(hidden)]
    pub fn voter(&self) -> [u8; 40] {
        self.coordinator.voter()
    }

    /// This node's DID.
    pub(crate) fn me(&self) -> Did {
        self.coordinator.did()
    }

    /// This node's copy, for waiting on its changes.
    fn copy(&self) -> LocalCopy {
        LocalCopy(self.coordinator.applied_index())
    }

    async fn done(&self, command: Command) -> Result<u64, NodeError> {
        match self.propose(command).await? {
            Outcome::Done { revision } => Ok(revision),
            other => Err(refused(other)),
        }
    }

    pub(crate) fn spawn(&self, name: &'static str, task: futures::future::BoxFuture<'static, ()>) {
        self.coordinator.spawn(name, task);
    }
}

/// Reads of the state of this node's copy; without a copy, of the leader's.
struct LocalCopy(Option<channel::Receiver<u64>>);

impl LocalCopy {
    async fn look(&mut self, critical: &Critical, query: &Query) -> Result<Answer, NodeError> {
        if let Some(index) = &mut self.0 {
            index.mark_unchanged();
        }
        match critical.coordinator.read_local(query) {
            Some((answer, _)) => Ok(answer),
            None => critical.coordinator.read(query).await,
        }
    }

    /// Waits until an entry was applied since the last look, or the time is over.
    async fn moved(&mut self, until: Instant) {
        match &mut self.0 {
            Some(index) => {
                let moved = tokio::time::timeout_at(until, index.changed()).await;
                if matches!(moved, Ok(Err(_))) {
                    // this copy ends, and another may begin
                    self.0 = None;
                }
            }
            None => tokio::time::sleep_until(until.min(Instant::now() + LOOK)).await,
        }
    }
}

impl std::fmt::Debug for Critical {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Critical({})", self.me().short())
    }
}

fn put(key: &str, value: &[u8], options: PutOptions) -> Put {
    let PutOptions { ttl, fence } = options;
    Put { key: key.to_owned(), value: value.to_owned(), ttl_ms: ttl.map(ms), fence }
}

/// Milliseconds; `u64::MAX` for longer times, which is beyond every limit.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(TTL_MS_MAX + 1)
}

fn first(found: Content) -> Option<Item> {
    match found {
        Content::Items { items, .. } => items.into_iter().next().map(|(_, item)| item),
        _ => None,
    }
}

fn first_lock(found: Content) -> Option<Lock> {
    match found {
        Content::Locks { locks, .. } => locks.into_iter().next().map(|(_, lock)| lock),
        _ => None,
    }
}

/// The error for an unexpected outcome.
fn refused(outcome: Outcome) -> NodeError {
    let Outcome::Refused(refusal) = outcome else {
        return ConflictError::OtherAnswer.into();
    };
    match refusal {
        Refusal::NoKey => NodeError::NotFound { what: Resource::Key, name: "of that name".to_owned() },
        Refusal::NoLock => NodeError::NotFound { what: Resource::Lock, name: "of that name is held".to_owned() },
        Refusal::NoWaiter => NodeError::NotFound { what: Resource::Place, name: "of that number".to_owned() },
        Refusal::Mismatch { found } => ConflictError::Mismatch { revision: found.map(|item| item.revision) }.into(),
        Refusal::StaleToken { token } => ConflictError::StaleToken { token }.into(),
        Refusal::Held { holder, token } => ConflictError::Held { holder, token }.into(),
        Refusal::Full(full) => full.into(),
        Refusal::TooLate => AccessError::TooLate.into(),
        Refusal::OtherRequest => ConflictError::OtherRequest.into(),
        Refusal::NotYours { owner } => AccessError::NotYours { owner }.into(),
        Refusal::Endless => InputError::EndlessKey.into(),
        refusal @ (Refusal::OtherGroup { .. } | Refusal::Malformed(_)) => {
            AccessError::Proposal(OpaqueError::new(refusal)).into()
        }
    }
}
