//! Critical state for those who embed a node: keys and locks that must not conflict.
//!
//! Every change is decided by a quorum of the coordinators, every read is linearizable unless it
//! says otherwise, and without a quorum both are refused within five seconds with
//! [`NodeError::NoQuorum`]. What a program does not need so strictly belongs into the
//! [brain](crate::Brain), which works on every node at any time.

mod guard;

use std::sync::Arc;
use std::time::Duration;

use nexus_identity::Did;
use tokio::sync::watch;
use tokio::time::Instant;

use self::guard::Since;

pub use self::guard::LockGuard;
use crate::NodeError;
use crate::coordinator::{
    Answer, AuditCheck, AuditPage, Change, Command, Coordinator, Coordinators, Found, Item, Lock, Manage, Outcome, Put,
    Query, Refusal, TTL_MS_MAX, Txn,
};

/// How often a lock is looked at from a node without a copy of the state.
const LOOK: Duration = Duration::from_millis(250);

/// A handle on critical state, cheap to clone.
///
/// ```no_run
/// # async fn example(node: nexus_node::Node) -> Result<(), nexus_node::NodeError> {
/// let critical = node.critical()?;
/// critical.put("deploy/target", "blue", Default::default()).await?;
/// let mut lock = critical.lock("deploy", Default::default()).await?;
/// // whatever is written under the lock's token is refused once the lock is somebody else's
/// let fence = Some(lock.token());
/// critical.put("deploy/state", "running", nexus_node::PutOptions { fence, ..Default::default() }).await?;
/// lock.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Critical {
    pub(crate) coordinator: Arc<Coordinator>,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// After how long the key goes away by itself, one second to 30 days; never if not given.
    pub ttl: Option<Duration>,
    /// A lock's token that must be good at that moment.
    pub fence: Option<u64>,
}

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockOptions {
    /// How long the lease runs unless it is renewed, one second to 30 days. Default: 30 s.
    pub ttl: Duration,
    /// How long to wait in line if somebody holds it. Default: not at all.
    pub wait: Duration,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(30), wait: Duration::ZERO }
    }
}

/// A right to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What proves it: later grants, of any lock, have larger ones.
    pub token: u64,
    /// How much longer it lasts at the least, from when this was made.
    pub lasts: Duration,
}

/// A page of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Keys and what they hold, in order.
    pub items: Vec<(String, Item)>,
    /// The key to go on after, if there are more.
    pub next: Option<String>,
    /// The revision of all critical state it is as of.
    pub revision: u64,
}

/// Changes of critical state, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The changes; none if there were none in time.
    pub changes: Vec<Change>,
    /// Ask for what comes after this revision next.
    pub revision: u64,
    /// Some changes in between are not kept any more: read the keys themselves, and go on after
    /// `revision`.
    pub missed: bool,
}

/// What a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnDone {
    /// Whether its checks held.
    pub held: bool,
    /// The revision of all critical state after it.
    pub revision: u64,
    /// What its steps met: the key as it was after each.
    pub items: Vec<Option<Item>>,
}

impl Critical {
    /// A key, as of now.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn get(&self, key: &str) -> Result<Option<Item>, NodeError> {
        let answer = self.coordinator.read(&Query::Get(key.to_owned())).await?;
        Ok(first(answer.found))
    }

    /// A key as this node's copy has it, and how long ago this node was in contact with a quorum.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if this node has no copy, [`NodeError::TooNew`] if it has stopped where a
    /// later version wrote.
    pub fn get_local(&self, key: &str) -> Result<(Option<Item>, Option<Duration>), NodeError> {
        let none = || self.coordinator.no_copy("on this node");
        let read = self.coordinator.read_local(&Query::Get(key.to_owned())).ok_or_else(none)?;
        Ok((first(read.0.found), read.1))
    }

    /// Keys that begin with a prefix, in order, after a key; at most 1,000 at a time.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, NodeError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let query = Query::List { prefix: prefix.to_owned(), after: after.map(str::to_owned), limit };
        let answer = self.coordinator.read(&query).await?;
        let (items, more) = match answer.found {
            Found::Items { items, more } => (items, more),
            _ => (Vec::new(), false),
        };
        let next = items.last().filter(|_| more).map(|(key, _)| key.clone());
        Ok(Page { items, next, revision: answer.revision })
    }

    /// Gives a key a value; the revision that made.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`], [`NodeError::Invalid`] and [`NodeError::TooLarge`] for key and
    /// value, [`NodeError::Conflict`] for a token of a lease that is over.
    pub async fn put(&self, key: &str, value: &str, options: PutOptions) -> Result<u64, NodeError> {
        self.done(Command::Put(put(key, value, options))).await
    }

    /// Gives a key a value if it has the expected one; `None`: if it does not exist.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if it is another; else as [`put`](Self::put).
    pub async fn cas(
        &self,
        key: &str,
        expect: Option<&str>,
        value: &str,
        options: PutOptions,
    ) -> Result<u64, NodeError> {
        self.done(Command::Cas { expect: expect.map(str::to_owned), put: put(key, value, options) }).await
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if it does not exist; else as [`put`](Self::put).
    pub async fn delete(&self, key: &str, fence: Option<u64>) -> Result<u64, NodeError> {
        self.done(Command::Delete { key: key.to_owned(), fence }).await
    }

    /// Does several things at one revision, or nothing.
    ///
    /// # Errors
    /// As [`put`](Self::put). That the checks did not hold is no error.
    pub async fn txn(&self, txn: Txn) -> Result<TxnDone, NodeError> {
        match self.coordinator.propose(Command::Txn(txn)).await? {
            Outcome::Txn { held, revision, items } => Ok(TxnDone { held, revision, items }),
            other => Err(refused(other)),
        }
    }

    /// The changes after a revision of keys and locks whose names begin so, oldest first: waits
    /// until there are some, or the time is over.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn changes(&self, prefix: &str, after: u64, wait: Duration) -> Result<Changes, NodeError> {
        let until = Instant::now() + wait;
        let query = Query::Changes { prefix: prefix.to_owned(), after };
        let mut copy = self.copy();
        loop {
            // what this node's copy has was committed; it only may not be all yet
            let answer = copy.look(self, &query).await?;
            let over = Instant::now() >= until;
            match answer.found {
                Found::Changes(Some(changes)) if changes.is_empty() && !over => {}
                Found::Changes(Some(changes)) => {
                    // where there are more than fit, it goes on after the last
                    let revision = changes.last().map_or(answer.revision.max(after), |last| last.revision);
                    return Ok(Changes { changes, revision, missed: false });
                }
                _ => return Ok(Changes { changes: Vec::new(), revision: answer.revision, missed: true }),
            }
            copy.moved(until).await;
        }
    }

    /// The revision of all critical state.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn revision(&self) -> Result<u64, NodeError> {
        Ok(self.coordinator.read(&Query::Revision).await?.revision)
    }

    /// Takes a lock, waiting in line for it if asked to, and keeps it until the guard is released
    /// or dropped.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] if somebody holds it, still when the wait is over;
    /// [`NodeError::NoQuorum`].
    pub async fn lock(&self, name: &str, options: LockOptions) -> Result<LockGuard, NodeError> {
        let (token, since) = self.acquire_since(name, options).await?;
        Ok(LockGuard::keep(self.clone(), name.to_owned(), token, options.ttl, since))
    }

    /// Takes a lock without keeping it: the caller renews it.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub async fn acquire(&self, name: &str, options: LockOptions) -> Result<Grant, NodeError> {
        let (token, since) = self.acquire_since(name, options).await?;
        Ok(Grant { token, lasts: options.ttl.saturating_sub(since.elapsed()) })
    }

    /// Takes a lock; since when its lease runs at the earliest.
    async fn acquire_since(&self, name: &str, options: LockOptions) -> Result<(u64, Since), NodeError> {
        let LockOptions { ttl, wait } = options;
        let command = Command::Acquire { name: name.to_owned(), ttl_ms: ms(ttl), wait_ms: ms(wait) };
        let (before, until) = (Since::now(), Instant::now() + wait);
        match self.coordinator.propose(command).await? {
            Outcome::Granted { token } => Ok((token, before)),
            Outcome::Waiting { waiter } => {
                let token = self.wait_in_line(name, waiter, until).await?;
                // since when it runs is not known here: from now on it is
                let renewed = Since::now();
                self.renew(name, token, None).await?;
                Ok((token, renewed))
            }
            other => Err(refused(other)),
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
        match self.coordinator.propose(Command::Withdraw { name: name.to_owned(), waiter }).await? {
            Outcome::Granted { token } => Ok(token),
            _ => Err(NodeError::Conflict(format!("the lock {name} is still held"))),
        }
    }

    /// Lets a lease run its whole time again, or a new one.
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

    /// Takes a lock from whoever holds it; who did stays visible.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if nobody holds it, [`NodeError::NoQuorum`].
    pub async fn steal(&self, name: &str, ttl: Duration) -> Result<Grant, NodeError> {
        let before = Instant::now();
        match self.coordinator.propose(Command::Steal { name: name.to_owned(), ttl_ms: ms(ttl) }).await? {
            Outcome::Granted { token } => Ok(Grant { token, lasts: ttl.saturating_sub(before.elapsed()) }),
            other => Err(refused(other)),
        }
    }

    /// The lock of that name, if somebody holds it.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn lock_of(&self, name: &str) -> Result<Option<Lock>, NodeError> {
        let answer = self.coordinator.read(&Query::Lock(name.to_owned())).await?;
        Ok(first_lock(answer.found))
    }

    /// All locks that are held, by name.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`].
    pub async fn locks(&self) -> Result<Vec<(String, Lock)>, NodeError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let Found::Locks { locks, more } = self.coordinator.read(&Query::Locks { after }).await?.found else {
                return Ok(all);
            };
            after = locks.last().map(|(name, _)| name.clone());
            all.extend(locks);
            if !more {
                return Ok(all);
            }
        }
    }

    /// The coordinators as this node sees them; `None` before it has heard of any.
    pub async fn coordinators(&self) -> Option<Coordinators> {
        self.coordinator.overview().await
    }

    /// Makes a member a voter, or a voter none, or has another lead.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] with the reason, [`NodeError::NoQuorum`], [`NodeError::Refused`]
    /// unless this node is an admin.
    pub async fn manage(&self, manage: Manage) -> Result<(), NodeError> {
        self.coordinator.manage(manage).await
    }

    /// What was done after an entry and within some time, by the clocks of those who did it; so many
    /// entries at most. From this node's copy: it waits a moment for what was done elsewhere before.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if this node has no copy.
    pub async fn audit(&self, after: u64, since: Option<Duration>, limit: usize) -> Result<AuditPage, NodeError> {
        let since = since.map(|since| crate::clock::wall().as_ms().saturating_sub(ms(since)));
        self.coordinator.audit(after, since, limit).await
    }

    /// Checks that the log of who did what is as it was written, from after an entry on, some
    /// thousands at a time; and at the end, that the other members have the same.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] if this node has no copy.
    pub async fn verify_audit(&self, after: u64) -> Result<AuditCheck, NodeError> {
        self.coordinator.verify_audit(after).await
    }

    /// Begins the coordinators anew from this node's copy, after the loss of the quorum for good.
    /// What was committed and is not in this copy is lost.
    ///
    /// # Errors
    /// [`NodeError::Conflict`] while a quorum is there, [`NodeError::NotFound`] without a copy,
    /// [`NodeError::Refused`] unless this node is an admin.
    pub async fn recover(&self) -> Result<u32, NodeError> {
        Ok(self.coordinator.recover().await?.generation)
    }

    /// Equal on all nodes whose copies have applied the same; with the index of the last entry.
    pub fn digest(&self) -> Option<(u64, [u8; 32])> {
        self.coordinator.running().map(|running| running.digest())
    }

    /// How often the coordinators were begun anew, if this node has a copy.
    pub fn generation(&self) -> Option<u32> {
        self.coordinator.running().map(|running| running.generation())
    }

    /// Who this node is.
    pub(crate) fn me(&self) -> Did {
        self.coordinator.did()
    }

    /// This node's copy, to wait for what happens to it.
    fn copy(&self) -> Copy {
        Copy(self.coordinator.running().map(|running| running.applied_index()))
    }

    async fn done(&self, command: Command) -> Result<u64, NodeError> {
        match self.coordinator.propose(command).await? {
            Outcome::Done { revision } => Ok(revision),
            other => Err(refused(other)),
        }
    }

    pub(crate) fn spawn(&self, name: &'static str, task: futures::future::BoxFuture<'static, ()>) {
        self.coordinator.spawn(name, task);
    }
}

/// A look at what is applied here, again and again; without a copy, at what the leader says.
struct Copy(Option<watch::Receiver<u64>>);

impl Copy {
    async fn look(&mut self, critical: &Critical, query: &Query) -> Result<Answer, NodeError> {
        if let Some(index) = &mut self.0 {
            index.mark_unchanged();
        }
        match critical.coordinator.read_local(query) {
            Some((answer, _)) => Ok(answer),
            None => critical.coordinator.read(query).await,
        }
    }

    /// Waits until something was applied since the last look, or the time is over.
    async fn moved(&mut self, until: Instant) {
        match &mut self.0 {
            Some(index) => {
                let moved = tokio::time::timeout_at(until, index.changed()).await;
                if matches!(moved, Ok(Err(_))) {
                    // this copy ends, and perhaps another begins
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

fn put(key: &str, value: &str, options: PutOptions) -> Put {
    let PutOptions { ttl, fence } = options;
    Put { key: key.to_owned(), value: value.to_owned(), ttl_ms: ttl.map(ms), fence }
}

/// Milliseconds; more than any limit for what is longer than that.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(TTL_MS_MAX + 1)
}

fn first(found: Found) -> Option<Item> {
    match found {
        Found::Items { items, .. } => items.into_iter().next().map(|(_, item)| item),
        _ => None,
    }
}

fn first_lock(found: Found) -> Option<Lock> {
    match found {
        Found::Locks { locks, .. } => locks.into_iter().next().map(|(_, lock)| lock),
        _ => None,
    }
}

/// The error for an outcome that is not the one that was asked for.
fn refused(outcome: Outcome) -> NodeError {
    let Outcome::Refused(refusal) = outcome else {
        return NodeError::Conflict("it was answered with something else".to_owned());
    };
    match refusal {
        Refusal::NoKey => NodeError::NotFound { what: "key", name: "of that name".to_owned() },
        Refusal::NoLock => NodeError::NotFound { what: "lock", name: "of that name is held".to_owned() },
        Refusal::NoWaiter => NodeError::NotFound { what: "place in line", name: "of that number".to_owned() },
        Refusal::Mismatch { .. } | Refusal::StaleToken { .. } | Refusal::Held { .. } => {
            NodeError::Conflict(refusal.to_string())
        }
        Refusal::Full(_) | Refusal::TooLate | Refusal::OtherGroup { .. } | Refusal::Malformed(_) => {
            NodeError::Refused(refusal.to_string())
        }
    }
}
