use std::collections::{BTreeMap, VecDeque};

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::outcome::{CriticalEvent, Full, Outcome, Refusal, Tell, Timed, Used};
use crate::coordinator::command::Expiry;
use crate::coordinator::limits::Limits;

/// The tokens of one generation. The lower part of a token is the number of its change, the upper part
/// the group's generation. Both fit into the integers of JSON (2^53).
const TOKENS_PER_GENERATION: u64 = 1 << 40;
/// The time that a place in line outlives its wait, in milliseconds. A caller ends its own wait; this
/// is for callers that are gone.
const WAITER_GRACE_MS: u64 = 2_000;

/// A held lock.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lock {
    /// The lease of its holder.
    pub lease: Lease,
    /// The line, the next holder first.
    pub line: VecDeque<Waiter>,
}

/// The right to a lock for a time.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The token that proves it.
    pub token: u64,
    /// The holder.
    pub by: Did,
    /// The time from its grant or last renewal, in milliseconds.
    pub ttl_ms: u64,
    /// The number of renewals.
    pub renewals: u64,
    /// The place in line that it was granted to, if its holder had to wait.
    pub waiter: Option<u64>,
}

/// A place in line for a lock.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// Its number, which is never used again.
    pub id: u64,
    /// The waiting node.
    pub by: Did,
    /// The time of the lease, in milliseconds.
    pub ttl_ms: u64,
    /// The longest wait, in milliseconds.
    pub wait_ms: u64,
}

/// The held locks; free ones have no row.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Locks {
    locks: BTreeMap<String, Lock>,
    /// The lock of each token that stands.
    tokens: BTreeMap<u64, String>,
    /// The locks and places of each member.
    #[borsh(skip)]
    parts: BTreeMap<Did, Part>,
}

/// A member's locks and places in line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    locks: usize,
    places: usize,
}

impl Part {
    /// The bytes that they count.
    fn bytes(self, limits: &Limits) -> u64 {
        self.locks as u64 * limits.lock_bytes + self.places as u64 * limits.place_bytes
    }
}

impl Locks {
    /// Counts the members' parts, which are not in the bytes of the state.
    pub(super) fn count(&mut self) {
        self.parts.clear();
        for lock in self.locks.values() {
            self.parts.entry(lock.lease.by).or_default().locks += 1;
            for waiter in &lock.line {
                self.parts.entry(waiter.by).or_default().places += 1;
            }
        }
    }

    /// Whether no lease was renewed more often than anything changed.
    pub(super) fn is_sound(&self, revision: u64) -> bool {
        self.locks.values().all(|lock| lock.lease.renewals <= revision)
    }

    /// The bytes of all locks and places, and of this member's.
    pub(super) fn used(&self, by: Did, limits: &Limits) -> Used {
        let all = self.parts.values().map(|part| part.bytes(limits)).sum();
        Used { all, part: self.part(by).bytes(limits) }
    }

    fn part(&self, by: Did) -> Part {
        self.parts.get(&by).copied().unwrap_or_default()
    }

    /// Notes a change of a member's part.
    fn note(&mut self, by: Did, change: impl FnOnce(&mut Part)) {
        let part = self.parts.entry(by).or_default();
        change(part);
        if *part == Part::default() {
            self.parts.remove(&by);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Lock> {
        self.locks.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Lock)> {
        self.locks.iter()
    }

    /// The members with a lock or a place in line.
    pub(super) fn holders(&self) -> impl Iterator<Item = &Did> {
        self.parts.keys()
    }

    /// The names of the locks that a member holds.
    pub(super) fn held_by(&self, by: &Did) -> Vec<String> {
        self.iter().filter(|(_, lock)| lock.lease.by == *by).map(|(name, _)| name.clone()).collect()
    }

    /// A member's places in line, each with its lock.
    pub(super) fn places_of(&self, by: &Did) -> Vec<(String, u64)> {
        let of_lock = |(name, lock): (&String, &Lock)| {
            let own = lock.line.iter().filter(|waiter| waiter.by == *by);
            own.map(|waiter| (name.clone(), waiter.id)).collect::<Vec<_>>()
        };
        self.iter().flat_map(of_lock).collect()
    }

    /// Whether a token's lease stands.
    pub(super) fn stands(&self, token: u64) -> bool {
        self.tokens.contains_key(&token)
    }

    pub(super) fn acquire(
        &mut self,
        name: &str,
        ttl_ms: u64,
        wait_ms: u64,
        generation: u32,
        tell: &mut Tell<'_>,
    ) -> Result<Outcome, Refusal> {
        let limits = tell.limits;
        let held = self.part(tell.by).locks;
        let Some(lock) = self.locks.get_mut(name) else {
            if self.locks.len() >= limits.locks {
                return Err(Refusal::Full(Full::Locks));
            }
            if held >= limits.share_locks {
                return Err(Refusal::Full(Full::Share));
            }
            tell.used.check(tell.used.with(limits.lock_bytes), limits)?;
            let token =
                self.grant(name, Claim { by: tell.by, ttl_ms, waiter: None }, VecDeque::new(), generation, tell);
            return Ok(Outcome::Granted { token });
        };
        if wait_ms == 0 {
            return Err(Refusal::Held { holder: lock.lease.by, token: lock.lease.token });
        }
        if lock.line.len() >= limits.waiters {
            return Err(Refusal::Full(Full::Line));
        }
        if lock.line.iter().filter(|waiter| waiter.by == tell.by).count() >= limits.share_waiters {
            return Err(Refusal::Full(Full::Share));
        }
        tell.used.check(tell.used.with(limits.place_bytes), limits)?;
        let waiter = tell.next();
        lock.line.push_back(Waiter { id: waiter, by: tell.by, ttl_ms, wait_ms });
        self.note(tell.by, |part| part.places += 1);
        tell.change(waiter, tell.by, CriticalEvent::Line { name: name.to_owned(), waiter, waits: true });
        Ok(Outcome::Waiting { waiter })
    }

    pub(super) fn renew(
        &mut self,
        name: &str,
        token: u64,
        ttl_ms: Option<u64>,
        tell: &mut Tell<'_>,
    ) -> Result<Outcome, Refusal> {
        let lease = &mut self.held(name, token)?.lease;
        lease.renewals += 1;
        lease.ttl_ms = ttl_ms.unwrap_or(lease.ttl_ms);
        let (by, revision) = (lease.by, tell.next());
        tell.change(revision, by, CriticalEvent::Renewed { name: name.to_owned(), token });
        Ok(tell.done())
    }

    pub(super) fn release(
        &mut self,
        name: &str,
        token: u64,
        generation: u32,
        tell: &mut Tell<'_>,
    ) -> Result<Outcome, Refusal> {
        self.held(name, token)?;
        self.end(name, false, generation, tell);
        Ok(tell.done())
    }

    pub(super) fn expire(&mut self, name: &str, generation: u32, tell: &mut Tell<'_>) {
        self.end(name, true, generation, tell);
    }

    pub(super) fn withdraw(&mut self, name: &str, waiter: u64, tell: &mut Tell<'_>) -> Result<Outcome, Refusal> {
        let lock = self.locks.get_mut(name).ok_or(Refusal::NoWaiter)?;
        if lock.lease.waiter == Some(waiter) {
            // its turn came before it left
            return Ok(Outcome::Granted { token: lock.lease.token });
        }
        let place = lock.line.iter().position(|other| other.id == waiter).ok_or(Refusal::NoWaiter)?;
        let gone = lock.line.remove(place);
        if let Some(gone) = gone {
            self.note(gone.by, |part| part.places -= 1);
        }
        let revision = tell.next();
        tell.change(revision, tell.by, CriticalEvent::Line { name: name.to_owned(), waiter, waits: false });
        Ok(tell.done())
    }

    pub(super) fn steal(
        &mut self,
        name: &str,
        ttl_ms: u64,
        generation: u32,
        tell: &mut Tell<'_>,
    ) -> Result<Outcome, Refusal> {
        let holder = self.locks.get(name).ok_or(Refusal::NoLock)?.lease.by;
        if holder != tell.by && self.part(tell.by).locks >= tell.limits.share_locks {
            return Err(Refusal::Full(Full::Share));
        }
        let lock = self.locks.remove(name).ok_or(Refusal::NoLock)?;
        self.note(holder, |part| part.locks -= 1);
        self.tokens.remove(&lock.lease.token);
        let token = self.grant_from(
            name,
            Claim { by: tell.by, ttl_ms, waiter: None },
            lock.line,
            Some(lock.lease.by),
            generation,
            tell,
        );
        Ok(Outcome::Granted { token })
    }

    /// The holder of a lease, if it stands with this token and this number of renewals.
    pub(super) fn owner_of(&self, name: &str, token: u64, renewals: u64) -> Option<Did> {
        let lease = &self.locks.get(name)?.lease;
        (lease.token == token && lease.renewals == renewals).then_some(lease.by)
    }

    pub(super) fn waiter(&self, name: &str, waiter: u64) -> Option<&Waiter> {
        self.locks.get(name)?.line.iter().find(|other| other.id == waiter)
    }

    pub(super) fn timed(&self) -> impl Iterator<Item = Timed> {
        self.locks.keys().flat_map(|name| self.timed_lease(name).into_iter().chain(self.timed_line(name)))
    }

    /// The lease of a lock.
    pub(super) fn timed_lease(&self, name: &str) -> Option<Timed> {
        let Lease { token, renewals, ttl_ms, .. } = self.locks.get(name)?.lease;
        Some(Timed { expiry: Expiry::Lease { name: name.to_owned(), token, renewals }, ms: ttl_ms })
    }

    /// The places in the line for a lock.
    pub(super) fn timed_line(&self, name: &str) -> impl Iterator<Item = Timed> {
        self.locks.get_key_value(name).into_iter().flat_map(|(name, lock)| {
            lock.line.iter().map(|waiter| Timed {
                expiry: Expiry::Waiter { name: name.clone(), waiter: waiter.id },
                ms: waiter.wait_ms.saturating_add(WAITER_GRACE_MS),
            })
        })
    }

    fn held(&mut self, name: &str, token: u64) -> Result<&mut Lock, Refusal> {
        let lock = self.locks.get_mut(name).ok_or(Refusal::NoLock)?;
        if lock.lease.token == token { Ok(lock) } else { Err(Refusal::StaleToken { token }) }
    }

    /// Ends a lease. The first in line gets the lock.
    fn end(&mut self, name: &str, expired: bool, generation: u32, tell: &mut Tell<'_>) {
        let Some(mut lock) = self.locks.remove(name) else { return };
        let (token, by) = (lock.lease.token, lock.lease.by);
        self.tokens.remove(&token);
        self.note(by, |part| part.locks -= 1);
        let revision = tell.next();
        tell.change(revision, by, CriticalEvent::Released { name: name.to_owned(), token, expired });
        if let Some(next) = lock.line.pop_front() {
            self.note(next.by, |part| part.places -= 1);
            let claim = Claim { by: next.by, ttl_ms: next.ttl_ms, waiter: Some(next.id) };
            self.grant(name, claim, lock.line, generation, tell);
        }
    }

    fn grant(&mut self, name: &str, claim: Claim, line: VecDeque<Waiter>, generation: u32, tell: &mut Tell<'_>) -> u64 {
        self.grant_from(name, claim, line, None, generation, tell)
    }

    fn grant_from(
        &mut self,
        name: &str,
        claim: Claim,
        line: VecDeque<Waiter>,
        stolen_from: Option<Did>,
        generation: u32,
        tell: &mut Tell<'_>,
    ) -> u64 {
        let revision = tell.next();
        let mut token = u64::from(generation) * TOKENS_PER_GENERATION + revision;
        if planted("reuses_tokens") {
            token = self.locks.len() as u64 + 1;
        }
        let Claim { by, ttl_ms, waiter } = claim;
        self.note(by, |part| part.locks += 1);
        self.tokens.insert(token, name.to_owned());
        self.locks.insert(name.to_owned(), Lock { lease: Lease { token, by, ttl_ms, renewals: 0, waiter }, line });
        tell.change(revision, by, CriticalEvent::Granted { name: name.to_owned(), token, stolen_from });
        token
    }
}

/// A claim to a lock.
struct Claim {
    by: Did,
    ttl_ms: u64,
    waiter: Option<u64>,
}
