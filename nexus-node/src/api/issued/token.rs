//! One token: its agent, what it may do, and when it is over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_crdt::AgentName;
use nexus_identity::Timestamp;
use nexus_mesh::{Clock, SystemClock};
use tokio::sync::watch;

use super::rate::{Bucket, Rate};
use super::scope::{Scope, Scopes};

/// The longest sleep until a look at the clock, which somebody may have set.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A token to make.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The agent.
    pub name: AgentName,
    /// Its scopes: the things that it may do.
    pub scopes: Scopes,
    /// The spaces that it may use, by name or id; empty for all.
    pub spaces: Vec<String>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// How often it may ask.
    pub rate: Option<Rate>,
}

/// A token that was issued, without the token itself.
#[derive(Debug)]
pub struct IssuedToken {
    pub(super) hash: [u8; 32],
    pub(super) new: NewToken,
    pub(super) spaces: Arc<[String]>,
    pub(super) created_at: Timestamp,
    asked: Mutex<Bucket>,
    /// Whether it was revoked.
    pub(super) revoked: watch::Sender<bool>,
}

impl IssuedToken {
    pub(super) fn new(hash: [u8; 32], new: NewToken, created_at: Timestamp) -> Self {
        let spaces = new.spaces.clone().into();
        Self { hash, new, spaces, created_at, asked: Mutex::default(), revoked: watch::Sender::new(false) }
    }

    /// The agent's name, which this node signs.
    pub fn name(&self) -> &AgentName {
        &self.new.name
    }

    /// Its scopes: the things that it may do.
    pub fn scopes(&self) -> &Scopes {
        &self.new.scopes
    }

    /// Whether it may do this.
    pub fn allows(&self, scope: Scope) -> bool {
        self.new.scopes.allow(scope)
    }

    /// The spaces that it may use, by name or id; `None` for all.
    pub fn spaces(&self) -> Option<Arc<[String]>> {
        (!self.spaces.is_empty()).then(|| self.spaces.clone())
    }

    /// When it was made.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When it ends by itself.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.new.expires_at
    }

    /// How often it may ask.
    pub fn rate(&self) -> Option<Rate> {
        self.new.rate
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.new.expires_at.is_some_and(|end| end <= now)
    }

    /// Counts a request at a time, counted from any moment that stays the same.
    ///
    /// # Errors
    /// The time until the next one is let through.
    pub(crate) fn ask(&self, now: Duration) -> Result<(), Duration> {
        let Some(rate) = self.new.rate else { return Ok(()) };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take(rate, now)
    }

    /// The secret of the proof that a node knows this token.
    pub(crate) fn proof_secret(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_hex().to_string()
    }

    /// The name of the token in a question for the proof. It tells nothing about the token.
    pub(crate) fn mark(&self) -> String {
        nexus_client::proof::mark(&self.hash)
    }

    /// Resolves when it is revoked, or its time is over.
    pub(crate) async fn over(self: Arc<Self>) {
        let (clock, mut revoked) = (SystemClock::new(), self.revoked.subscribe());
        let expires = async {
            let Some(end) = self.new.expires_at else { return std::future::pending().await };
            loop {
                let left = end.since(clock.wall());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LOOK_EVERY)).await;
            }
        };
        tokio::select! {
            // an error says that the token is gone, which it is not while `self` lives
            _ = revoked.wait_for(|revoked| *revoked) => {}
            () = expires => {}
        }
    }
}
