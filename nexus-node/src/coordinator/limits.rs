//! The limits of proposals: sizes, counts and names. A caller's input is checked, and every node checks
//! again before it applies.

use nexus_identity::Did;

use super::command::{Command, Put, Step};

/// The longest key and the longest name of a lock, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// The largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The most checks and steps in one transaction.
pub const TXN_STEPS_MAX: usize = 128;
/// The largest proposal, in bytes. With the rest of an entry it fits a frame.
pub(super) const PROPOSAL_BYTES_MAX: usize = 512 * 1024;
/// The most bytes of values in the answer to one proposal. With the rest of an answer they fit a frame.
pub(super) const REPLY_BYTES_MAX: u64 = 512 * 1024;
/// The most values that a proposal may ask for before format 2, where no copy bounds them.
pub(super) const REPLY_ITEMS_MAX: usize = 1_024;
/// The most commands in one proposal.
pub(super) const COMMANDS_MAX: usize = 512;
/// The shortest time to live of keys and leases, in milliseconds.
pub const TTL_MS_MIN: u64 = 1_000;
/// The longest time to live, in milliseconds: 30 days.
pub const TTL_MS_MAX: u64 = 30 * 24 * 3_600 * 1_000;
/// The longest wait in line, in milliseconds: an hour.
pub const WAIT_MS_MAX: u64 = 3_600 * 1_000;
/// The log entries within which a proposal counts, and for which a silent session is kept.
#[cfg(test)]
pub(super) const SESSION_SPAN: u64 = 100_000;
/// The prefix of the mesh's own keys.
pub const RESERVED_PREFIX: &str = "nexus/";

/// The beginning of names of keys and locks that are one member's alone: its DID and a slash follow.
pub const OWN_PREFIX: &str = "own/";

/// The member whose name of a key or lock this is, if it is one member's alone.
pub(super) fn owner_of(name: &str) -> Option<Did> {
    name.strip_prefix(OWN_PREFIX)?.split_once('/')?.0.parse().ok()
}

/// The bounds that count when a proposal is applied. Copies with different bounds would differ, so the
/// bounds are part of a format. A change of one needs a later format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    key_bytes: usize,
    value_bytes: usize,
    txn_steps: usize,
    commands: usize,
    ttl_ms: (u64, u64),
    wait_ms: u64,
    /// All keys and values together, in bytes, with what else counts here.
    pub(super) state_bytes: u64,
    /// Bytes that a key counts beyond itself and its value.
    pub(super) item_bytes: u64,
    /// Bytes that a held lock counts.
    pub(super) lock_bytes: u64,
    /// Bytes that a place in line counts.
    pub(super) place_bytes: u64,
    /// The part of one member of all these bytes: the keys that it wrote last, its locks and its places.
    pub(super) share_bytes: u64,
    /// Locks held by one member.
    pub(super) share_locks: usize,
    /// Places of one member in the line for one lock.
    pub(super) share_waiters: usize,
    /// Locks held at one time.
    pub(super) locks: usize,
    /// Places in the line for one lock.
    pub(super) waiters: usize,
    /// Bytes of values in the outcomes of one proposal. A command that would pass it is refused.
    pub(super) reply_bytes: u64,
    /// Answers kept for one session. Beyond that, proposals are refused until some answers are dropped.
    pub(super) answers: usize,
    /// Bytes of the answers kept for one member, in all its sessions.
    pub(super) kept_bytes: u64,
    /// Sessions kept for one member. The oldest goes.
    pub(super) sessions: usize,
    /// Answers to requests with an id that are kept for one member. The oldest goes.
    pub(super) requests: usize,
    /// Bytes of these answers.
    pub(super) request_bytes: u64,
    /// Log entries within which a proposal counts, and for which a silent session or a request is kept.
    pub(super) session_span: u64,
}

/// The bounds of formats 0 and 1.
const FIRST: Limits = Limits {
    key_bytes: 512,
    value_bytes: 65_536,
    txn_steps: 128,
    commands: 512,
    ttl_ms: (1_000, 2_592_000_000),
    wait_ms: 3_600_000,
    state_bytes: 67_108_864,
    item_bytes: 0,
    lock_bytes: 0,
    place_bytes: 0,
    share_bytes: u64::MAX,
    share_locks: usize::MAX,
    share_waiters: usize::MAX,
    locks: 10_000,
    waiters: 256,
    reply_bytes: u64::MAX,
    answers: 1_024,
    kept_bytes: u64::MAX,
    sessions: usize::MAX,
    requests: 0,
    request_bytes: 0,
    session_span: 100_000,
};

/// The bounds of format 2.
const SECOND: Limits = Limits {
    item_bytes: 256,
    lock_bytes: 1_536,
    place_bytes: 256,
    share_bytes: 33_554_432,
    share_locks: 5_000,
    share_waiters: 128,
    reply_bytes: 524_288,
    kept_bytes: 2_097_152,
    sessions: 16,
    ..FIRST
};

/// The bounds from format 3 on.
const THIRD: Limits = Limits { requests: 1_024, request_bytes: 1_048_576, ..SECOND };

/// The bounds of a format.
pub(super) const fn of(format: u16) -> &'static Limits {
    match format {
        0 | 1 => &FIRST,
        2 => &SECOND,
        3.. => &THIRD,
    }
}

/// A broken rule of form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A key or a lock's name is empty, or has control characters.
    #[error("{what} must have 1 to {KEY_BYTES_MAX} bytes and no control characters")]
    Name {
        /// The named thing.
        what: &'static str,
    },
    /// The key is the mesh's own.
    #[error("keys that begin with {RESERVED_PREFIX} are the mesh's own")]
    Reserved,
    /// A part is too large.
    #[error("{what} has {size}, at most {max} are allowed")]
    TooLarge {
        /// The part.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// A time is out of its range.
    #[error("{what} is {ms} ms, and must be {min} to {max} ms")]
    Time {
        /// The time.
        what: &'static str,
        /// Its value, in milliseconds.
        ms: u64,
        /// The shortest, in milliseconds.
        min: u64,
        /// The longest, in milliseconds.
        max: u64,
    },
    /// The keys of requests are out of order, or of no change of a caller.
    #[error("keys of requests that this format does not have, or that are of no change")]
    Requests,
    /// A command of another format than the proposal's, or a value that this format does not have.
    #[error("a command or a value that format {format} does not have")]
    Format {
        /// The proposal's format.
        format: u16,
    },
}

/// Checks the commands of a proposal by the rules of form of its format.
///
/// # Errors
/// The first [`FormError`].
pub(super) fn check(format: u16, commands: &[Command]) -> Result<(), FormError> {
    let limits = of(format);
    at_most("a proposal", commands.len(), limits.commands)?;
    commands.iter().try_for_each(|command| limits.check_one(format, command))
}

impl Limits {
    /// Whether a member's answers and sessions are bounded in bytes and in number.
    pub(super) const fn bounds_members(&self) -> bool {
        self.kept_bytes < u64::MAX
    }

    fn check_one(&self, format: u16, command: &Command) -> Result<(), FormError> {
        if format < command.first_format() {
            return Err(FormError::Format { format });
        }
        match command {
            Command::Put(put) => self.check_put(put),
            Command::Delete { key, .. } => self.check_key(key),
            Command::Cas { expect, put } => {
                expect.as_ref().map_or(Ok(()), |expect| self.check_value(expect))?;
                self.check_put(put)
            }
            Command::Txn(txn) => {
                let steps = txn.checks.len() + txn.then.len() + txn.otherwise.len();
                at_most("a transaction", steps, self.txn_steps)?;
                txn.checks.iter().try_for_each(|check| self.check_name("a key", &check.key))?;
                txn.then.iter().chain(&txn.otherwise).try_for_each(|step| match step {
                    Step::Get(key) => self.check_name("a key", key),
                    Step::Put(put) => self.check_put(put),
                    Step::Delete(key) => self.check_key(key),
                })
            }
            Command::Acquire { name, ttl_ms, wait_ms } => {
                self.check_lock(name, Some(*ttl_ms))?;
                check_time("the wait", *wait_ms, 0, self.wait_ms)
            }
            Command::Steal { name, ttl_ms } => self.check_lock(name, Some(*ttl_ms)),
            Command::Renew { name, ttl_ms, .. } => self.check_lock(name, *ttl_ms),
            Command::Release { name, .. } | Command::Withdraw { name, .. } => self.check_lock(name, None),
            Command::Expire(expired) => at_most("an expiry", expired.len(), self.commands),
            Command::End(_) | Command::Succeed { .. } => Ok(()),
            Command::Raise(to) if format > 0 && *to == format => Ok(()),
            Command::Raise(_) => Err(FormError::Format { format }),
        }
    }

    fn check_put(&self, put: &Put) -> Result<(), FormError> {
        self.check_key(&put.key)?;
        self.check_value(&put.value)?;
        self.check_ttl(put.ttl_ms)
    }

    /// Whether a key may be written.
    fn check_key(&self, key: &str) -> Result<(), FormError> {
        self.check_name("a key", key)?;
        if key.starts_with(RESERVED_PREFIX) { Err(FormError::Reserved) } else { Ok(()) }
    }

    fn check_value(&self, value: &[u8]) -> Result<(), FormError> {
        at_most("a value", value.len(), self.value_bytes)
    }

    fn check_lock(&self, name: &str, ttl_ms: Option<u64>) -> Result<(), FormError> {
        self.check_name("a lock's name", name)?;
        self.check_ttl(ttl_ms)
    }

    fn check_name(&self, what: &'static str, name: &str) -> Result<(), FormError> {
        let good = (1..=self.key_bytes).contains(&name.len()) && !name.chars().any(char::is_control);
        if good { Ok(()) } else { Err(FormError::Name { what }) }
    }

    fn check_ttl(&self, ttl_ms: Option<u64>) -> Result<(), FormError> {
        let (min, max) = self.ttl_ms;
        ttl_ms.map_or(Ok(()), |ms| check_time("the time to live", ms, min, max))
    }
}

fn check_time(what: &'static str, ms: u64, min: u64, max: u64) -> Result<(), FormError> {
    if (min..=max).contains(&ms) { Ok(()) } else { Err(FormError::Time { what, ms, min, max }) }
}

fn at_most(what: &'static str, size: usize, max: usize) -> Result<(), FormError> {
    if size <= max { Ok(()) } else { Err(FormError::TooLarge { what, size, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::format;

    #[test]
    fn callers_are_told_the_bounds_of_the_latest_format() {
        let latest = of(format::FORMAT_MAX);
        assert_eq!((latest.key_bytes, latest.value_bytes), (KEY_BYTES_MAX, VALUE_BYTES_MAX));
        assert_eq!((latest.txn_steps, latest.commands), (TXN_STEPS_MAX, COMMANDS_MAX));
        assert_eq!((latest.ttl_ms, latest.wait_ms), ((TTL_MS_MIN, TTL_MS_MAX), WAIT_MS_MAX));
        assert_eq!(latest.session_span, SESSION_SPAN);
        assert_eq!(latest.reply_bytes, REPLY_BYTES_MAX);
    }

    #[test]
    fn a_raise_stands_in_a_proposal_of_its_own_format_alone() {
        assert_eq!(check(1, &[Command::Raise(1)]), Ok(()));
        for (format, to) in [(0, 0), (0, 1), (1, 0), (1, 2)] {
            assert_eq!(check(format, &[Command::Raise(to)]), Err(FormError::Format { format }));
        }
    }
}
