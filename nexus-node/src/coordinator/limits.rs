//! What may be proposed: sizes, counts and names, checked where a caller hands them in and again
//! on every node before they are applied.

use super::command::{Command, Put, Step};

/// The longest key and the longest name of a lock, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// The largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Checks and steps in one transaction.
pub const TXN_STEPS_MAX: usize = 128;
/// A proposal, in bytes: with what else an entry holds it fits a frame.
pub(super) const PROPOSAL_BYTES_MAX: usize = 512 * 1024;
/// Commands in one proposal.
pub(super) const COMMANDS_MAX: usize = 512;
/// All keys and values together, in bytes.
pub(super) const STATE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Locks that are held at one time.
pub(super) const LOCKS_MAX: usize = 10_000;
/// Who may wait in line for one lock.
pub(super) const WAITERS_MAX: usize = 256;
/// The shortest time to live of keys and leases, in milliseconds.
pub const TTL_MS_MIN: u64 = 1_000;
/// The longest time to live, in milliseconds: 30 days.
pub const TTL_MS_MAX: u64 = 30 * 24 * 3_600 * 1_000;
/// The longest wait in line, in milliseconds: an hour.
pub const WAIT_MS_MAX: u64 = 3_600 * 1_000;
/// Answers that are kept for one session; over it proposals are refused until some are let go of.
pub(super) const ANSWERS_MAX: usize = 1_024;
/// Log entries within which a proposal counts, and for which a silent session is kept.
pub(super) const SESSION_SPAN: u64 = 100_000;
/// Keys that begin so are the mesh's own.
pub const RESERVED_PREFIX: &str = "nexus/";

/// What breaks a rule of form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A key or a lock's name is empty, or has control characters.
    #[error("{what} must have 1 to {KEY_BYTES_MAX} bytes and no control characters")]
    Name {
        /// What it names.
        what: &'static str,
    },
    /// A key is the mesh's own.
    #[error("keys that begin with {RESERVED_PREFIX} are the mesh's own")]
    Reserved,
    /// Too large.
    #[error("{what} has {size}, at most {max} are allowed")]
    TooLarge {
        /// What is.
        what: &'static str,
        /// How large.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// A time is out of its range.
    #[error("{what} is {ms} ms, and must be {min} to {max} ms")]
    Time {
        /// Which.
        what: &'static str,
        /// What it is.
        ms: u64,
        /// The shortest.
        min: u64,
        /// The longest.
        max: u64,
    },
}

/// Whether commands keep the rules of form.
///
/// # Errors
/// The first [`FormError`].
pub(super) fn check(commands: &[Command]) -> Result<(), FormError> {
    at_most("a proposal", commands.len(), COMMANDS_MAX)?;
    commands.iter().try_for_each(check_one)
}

fn check_one(command: &Command) -> Result<(), FormError> {
    match command {
        Command::Put(put) => check_put(put),
        Command::Delete { key, .. } => check_key(key),
        Command::Cas { expect, put } => {
            expect.as_ref().map_or(Ok(()), |expect| check_value(expect))?;
            check_put(put)
        }
        Command::Txn(txn) => {
            let steps = txn.checks.len() + txn.then.len() + txn.otherwise.len();
            at_most("a transaction", steps, TXN_STEPS_MAX)?;
            txn.checks.iter().try_for_each(|check| check_name("a key", &check.key))?;
            txn.then.iter().chain(&txn.otherwise).try_for_each(|step| match step {
                Step::Get(key) => check_name("a key", key),
                Step::Put(put) => check_put(put),
                Step::Delete(key) => check_key(key),
            })
        }
        Command::Acquire { name, ttl_ms, wait_ms } => {
            check_lock(name, Some(*ttl_ms))?;
            check_time("the wait", *wait_ms, 0, WAIT_MS_MAX)
        }
        Command::Steal { name, ttl_ms } => check_lock(name, Some(*ttl_ms)),
        Command::Renew { name, ttl_ms, .. } => check_lock(name, *ttl_ms),
        Command::Release { name, .. } | Command::Withdraw { name, .. } => check_lock(name, None),
        Command::Expire(expired) => at_most("an expiry", expired.len(), COMMANDS_MAX),
    }
}

fn check_put(put: &Put) -> Result<(), FormError> {
    check_key(&put.key)?;
    check_value(&put.value)?;
    put.ttl_ms.map_or(Ok(()), |ms| check_time("the time to live", ms, TTL_MS_MIN, TTL_MS_MAX))
}

/// Whether a key may be written.
///
/// # Errors
/// [`FormError::Name`] or [`FormError::Reserved`].
pub(super) fn check_key(key: &str) -> Result<(), FormError> {
    check_name("a key", key)?;
    if key.starts_with(RESERVED_PREFIX) { Err(FormError::Reserved) } else { Ok(()) }
}

fn check_value(value: &str) -> Result<(), FormError> {
    at_most("a value", value.len(), VALUE_BYTES_MAX)
}

fn check_lock(name: &str, ttl_ms: Option<u64>) -> Result<(), FormError> {
    check_name("a lock's name", name)?;
    ttl_ms.map_or(Ok(()), |ms| check_time("the time to live", ms, TTL_MS_MIN, TTL_MS_MAX))
}

fn check_name(what: &'static str, name: &str) -> Result<(), FormError> {
    let good = (1..=KEY_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if good { Ok(()) } else { Err(FormError::Name { what }) }
}

fn check_time(what: &'static str, ms: u64, min: u64, max: u64) -> Result<(), FormError> {
    if (min..=max).contains(&ms) { Ok(()) } else { Err(FormError::Time { what, ms, min, max }) }
}

fn at_most(what: &'static str, size: usize, max: usize) -> Result<(), FormError> {
    if size <= max { Ok(()) } else { Err(FormError::TooLarge { what, size, max }) }
}
