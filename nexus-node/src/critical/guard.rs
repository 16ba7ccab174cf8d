use std::time::Duration;

use futures::FutureExt;
use nexus_identity::Timestamp;
use tokio::sync::{oneshot, watch};

use super::Critical;
use crate::error::{ConflictError, NodeError, StopError};
use crate::world::World;

/// A moment on both clocks. A machine that sleeps may stop one clock and not the other, so the one on
/// which more time has passed counts. So a holder may think too early that its lease is over, never too
/// late.
#[derive(Clone, Debug)]
pub(super) struct Since {
    world: World,
    monotonic: Duration,
    wall: Timestamp,
}

impl Since {
    pub(super) fn now(world: &World) -> Self {
        Self { world: world.clone(), monotonic: world.now(), wall: world.wall() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        let monotonic = self.world.now().saturating_sub(self.monotonic);
        let wall = Duration::from_millis(self.world.wall().as_ms().saturating_sub(self.wall.as_ms()));
        monotonic.max(wall)
    }
}

/// The share of a lease on which its holder counts. The rest is for clocks at different speeds.
const COUNTED_ON: (u32, u32) = (9, 10);
/// The renewals in the time of one lease.
const RENEWALS: u32 = 3;
/// The time between two looks at the holder's clock: nothing else shows that the machine slept.
const LOOK: Duration = Duration::from_millis(100);

/// A request to give the lock back, with the receiver of the result.
type Release = Option<oneshot::Sender<Result<(), NodeError>>>;

/// A held lock, renewed until it is released or dropped.
///
/// A lease can still end: when no quorum answers for its whole time, when another node steals it, when
/// this machine sleeps. Then [`is_held`](Self::is_held) says no and [`lost`](Self::lost) resolves,
/// before another node can have it. Writes to other systems under the lock should carry its
/// [`token`](Self::token).
#[derive(Debug)]
pub struct LockGuard {
    name: String,
    token: u64,
    good_for: Duration,
    /// The earliest beginning of the lease; `None` once it is over.
    held: watch::Receiver<Option<Since>>,
    release: Option<oneshot::Sender<Release>>,
}

impl LockGuard {
    pub(super) fn keep(critical: Critical, name: String, token: u64, ttl: Duration, since: Since) -> Self {
        let (tell, held) = watch::channel(Some(since.clone()));
        let good_for = ttl * COUNTED_ON.0 / COUNTED_ON.1;
        let (release, released) = oneshot::channel();
        let keeper = Keeper { critical: critical.clone(), name: name.clone(), token, ttl, good_for, held: tell };
        critical.spawn("lock", keeper.run(since, released).boxed());
        Self { name, token, good_for, held, release: Some(release) }
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The token that proves the lease. Later grants, of any lock, have larger tokens.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether the lease certainly stands, by this machine's clocks.
    pub fn is_held(&self) -> bool {
        self.held.borrow().as_ref().is_some_and(|since| since.elapsed() < self.good_for)
            && self.held.has_changed().is_ok()
    }

    /// Resolves when the lease is over, or may be.
    pub async fn lost(&mut self) {
        while self.is_held() {
            if self.held.changed().await.is_err() {
                return;
            }
        }
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`]: the lease then ends by its time. [`NodeError::Conflict`] or
    /// [`NodeError::NotFound`] if it was over before.
    pub async fn release(mut self) -> Result<(), NodeError> {
        let (done, waits) = oneshot::channel();
        let stopping = || NodeError::from(StopError::Lock);
        let release = self.release.take().ok_or_else(stopping)?;
        release.send(Some(done)).map_err(|_| ConflictError::LeaseOver)?;
        waits.await.map_err(|_| stopping())?
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            let _ = release.send(None);
        }
    }
}

/// Renews a lease until it is released or over.
struct Keeper {
    critical: Critical,
    name: String,
    token: u64,
    ttl: Duration,
    good_for: Duration,
    held: watch::Sender<Option<Since>>,
}

impl Keeper {
    async fn run(self, mut since: Since, mut released: oneshot::Receiver<Release>) {
        let good_for = self.good_for;
        loop {
            let renew_at = self.ttl / RENEWALS;
            tokio::select! {
                told = &mut released => {
                    self.held.send_replace(None);
                    let outcome = self.critical.release(&self.name, self.token).await;
                    if let Ok(Some(told)) = told {
                        let _ = told.send(outcome);
                    }
                    return;
                }
                () = tokio::time::sleep(LOOK.min(renew_at)) => {}
            }
            if since.elapsed() >= good_for {
                break;
            }
            if since.elapsed() >= renew_at {
                let before = Since::now(self.critical.coordinator.world());
                let left = good_for.saturating_sub(since.elapsed());
                match tokio::time::timeout(left, self.critical.renew(&self.name, self.token, None)).await {
                    Ok(Ok(())) => {
                        since = before;
                        self.held.send_replace(Some(since.clone()));
                    }
                    // tried again while the lease is good
                    Ok(Err(NodeError::NoQuorum { .. } | NodeError::OutcomeUnknown { .. } | NodeError::TimedOut(_))) => {
                    }
                    Ok(Err(_)) | Err(_) => break,
                }
                if since.elapsed() >= good_for {
                    break;
                }
            }
        }
        self.held.send_replace(None);
    }
}
