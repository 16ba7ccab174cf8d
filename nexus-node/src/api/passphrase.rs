//! The passphrase for approving, if its person has set one.
//!
//! It is asked for on the page and on the terminal, and the node compares. A program that has the account's shell gets a
//! session, and does not know the passphrase. The file has a hash that is slow to guess by, and is read at the start alone.
//! While it cannot be read nothing is approved here.

mod routes;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

pub(super) use self::routes::{change, check, show};
use super::problem::Problem;
use crate::NodeError;
use crate::datadir::DataDir;
use crate::world::random;

/// The shortest passphrase, in characters, and the longest, in bytes.
const CHARS_MIN: usize = 8;
const BYTES_MAX: usize = 1_024;
/// The most wrong ones within their time.
const WRONG_MAX: usize = 5;
const WRONG_WITHIN: Duration = Duration::from_secs(60);
/// The cost of a guess: 19 MiB and two passes, as OWASP has it.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const FORMAT: u32 = 1;

/// The passphrase of one node.
pub(super) struct Passphrase {
    directory: Option<PathBuf>,
    state: Mutex<PassphraseState>,
}

struct PassphraseState {
    kept: Kept,
    tries: Tries,
}

#[derive(Clone)]
enum Kept {
    None,
    Set(Hashed),
    /// The file cannot be read, and why.
    Unread(String),
}

/// A passphrase as it is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hashed {
    format: u32,
    /// In hexadecimal digits, as is the hash.
    salt: String,
    hash: String,
}

impl Hashed {
    fn of(passphrase: &str) -> Self {
        let salt = random::<16>();
        Self { format: FORMAT, salt: HEXLOWER.encode(&salt), hash: HEXLOWER.encode(&hash(passphrase, &salt)) }
    }

    fn is(&self, passphrase: &str) -> bool {
        let salt = HEXLOWER.decode(self.salt.as_bytes()).unwrap_or_default();
        let shown = HEXLOWER.encode(&hash(passphrase, &salt));
        // Comparing hashes takes equally long wherever they differ.
        blake3::hash(shown.as_bytes()) == blake3::hash(self.hash.as_bytes())
    }
}

/// Takes some tenths of a second. A hash that cannot be made is one that nothing else has.
fn hash(passphrase: &str, salt: &[u8]) -> [u8; 32] {
    let mut out = random::<32>();
    let Ok(params) = Params::new(MEMORY_KIB, PASSES, 1, Some(out.len())) else { return out };
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    if argon.hash_password_into(passphrase.as_bytes(), salt, &mut out).is_err() {
        out = random();
    }
    out
}

/// The wrong passphrases of late. Pure: `now` is an argument.
#[derive(Clone, Debug, Default)]
struct Tries(VecDeque<Duration>);

impl Tries {
    /// Counts a try as wrong until it is known to be right. So many at once are no more than one after the other.
    ///
    /// # Errors
    /// The time until the next try.
    fn begin(&mut self, now: Duration) -> Result<(), Duration> {
        while self.0.front().is_some_and(|at| *at + WRONG_WITHIN <= now) {
            self.0.pop_front();
        }
        match self.0.front().filter(|_| self.0.len() >= WRONG_MAX) {
            Some(first) => Err(*first + WRONG_WITHIN - now),
            None => {
                self.0.push_back(now);
                Ok(())
            }
        }
    }

    fn was_right(&mut self) {
        self.0.clear();
    }
}

impl Passphrase {
    /// The one of a data directory, if there is one.
    pub(super) fn open(directory: Option<&Path>) -> Self {
        let kept = match directory.map(DataDir::approve_passphrase_in) {
            None | Some(Ok(None)) => Kept::None,
            Some(Ok(Some(text))) => match serde_json::from_str::<Hashed>(&text) {
                Ok(hashed) if hashed.format == FORMAT => Kept::Set(hashed),
                Ok(hashed) => Kept::Unread(format!("approve-passphrase has format {}", hashed.format)),
                Err(error) => Kept::Unread(format!("approve-passphrase: {error}")),
            },
            Some(Err(error)) => Kept::Unread(error.to_string()),
        };
        let state = PassphraseState { kept, tries: Tries::default() };
        Self { directory: directory.map(Path::to_owned), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, PassphraseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether approving takes one.
    fn is_set(&self) -> bool {
        !matches!(self.lock().kept, Kept::None)
    }

    /// Checks what a person gave. Takes some tenths of a second where there is one.
    ///
    /// # Errors
    /// `passphrase` if one is to be given, `refused` for a wrong one, `too_many` after too many of them.
    fn check(&self, given: Option<&str>, now: Duration) -> Result<(), Problem> {
        let kept = self.lock().kept.clone();
        let hashed = match kept {
            Kept::None => return Ok(()),
            Kept::Unread(why) => {
                return Err(Problem::new(
                    "data_dir",
                    format!("the passphrase cannot be read, so nothing is approved: {why}"),
                )
                .hint("mend the file `approve-passphrase` of the data directory, and start the node again"));
            }
            Kept::Set(hashed) => hashed,
        };
        let Some(given) = given else {
            return Err(Problem::new("passphrase", "approving takes the passphrase of this node's person")
                .hint("the page asks for it, and so does `nexus-node task approve ID` on a terminal"));
        };
        self.lock().tries.begin(now).map_err(|wait| {
            let seconds = wait.as_secs() + 1;
            Problem::new("too_many", "the passphrase was wrong too often").hint(format!("try again in {seconds} s"))
        })?;
        if given.len() > BYTES_MAX || !hashed.is(given) {
            return Err(
                Problem::new("refused", "the passphrase is wrong").hint("try again, five times a minute at most")
            );
        }
        self.lock().tries.was_right();
        Ok(())
    }

    /// Sets another one, or none.
    ///
    /// # Errors
    /// As [`check`](Self::check) for the former one, `invalid` for one that is too short, or an error while writing.
    fn change(&self, new: Option<&str>, former: Option<&str>, now: Duration) -> Result<(), Problem> {
        self.check(former, now)?;
        let fits = |new: &str| new.chars().count() >= CHARS_MIN && new.len() <= BYTES_MAX;
        if new.is_some_and(|new| !fits(new)) {
            let message = format!("a passphrase has {CHARS_MIN} characters at least, and {BYTES_MAX} bytes at most");
            return Err(Problem::new("invalid", message).hint("nothing was changed"));
        }
        let hashed = new.map(Hashed::of);
        if let Some(directory) = &self.directory {
            // Our documents have string keys, so writing them as JSON cannot fail.
            let text = hashed.as_ref().map(|hashed| serde_json::to_string(hashed).unwrap_or_default());
            DataDir::put_approve_passphrase(directory, text.as_deref()).map_err(NodeError::from)?;
        }
        self.lock().kept = hashed.map_or(Kept::None, Kept::Set);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "correct horse";

    fn code(result: Result<(), Problem>) -> &'static str {
        result.map_or_else(|problem| problem.code, |()| "ok")
    }

    /// promise: Tasks | With a passphrase, approving takes it; it is kept as a hash, and changed or removed with the former one alone
    #[test]
    fn a_passphrase_is_asked_for_until_it_is_removed_with_itself() {
        let directory = tempfile::tempdir().unwrap();
        let mut later = Duration::ZERO;
        let mut now = || {
            later += WRONG_WITHIN;
            later
        };
        let open = || Passphrase::open(Some(directory.path()));
        let first = open();
        assert_eq!((code(first.check(None, now())), first.is_set()), ("ok", false));
        assert_eq!(code(first.change(Some("short"), None, now())), "invalid");
        assert_eq!(code(first.change(Some(GOOD), None, now())), "ok");
        let file = std::fs::read_to_string(directory.path().join("approve-passphrase")).unwrap();
        assert!(!file.contains("horse"), "{file}");
        for passphrase in [&first, &open()] {
            assert!(passphrase.is_set());
            assert_eq!(code(passphrase.check(None, now())), "passphrase");
            for wrong in ["", "correct horse ", "Correct horse", &"x".repeat(BYTES_MAX + 1)] {
                assert_eq!(code(passphrase.check(Some(wrong), now())), "refused", "{wrong}");
            }
            assert_eq!(code(passphrase.check(Some(GOOD), now())), "ok");
            assert_eq!(code(passphrase.change(None, None, now())), "passphrase");
            assert_eq!(code(passphrase.change(Some("another one"), Some("wrong one"), now())), "refused");
        }
        assert_eq!(code(first.change(None, Some(GOOD), now())), "ok");
        assert_eq!((code(first.check(None, now())), open().is_set()), ("ok", false));
    }

    /// promise: Bad input | While the file of the passphrase cannot be read, nothing is approved
    #[test]
    fn a_damaged_file_approves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{", "{}", "{\"format\":2,\"salt\":\"00\",\"hash\":\"00\"}"] {
            std::fs::write(directory.path().join("approve-passphrase"), text).unwrap();
            let passphrase = Passphrase::open(Some(directory.path()));
            assert!(passphrase.is_set());
            for given in [None, Some(""), Some(GOOD)] {
                assert_eq!(code(passphrase.check(given, Duration::ZERO)), "data_dir", "{text}");
                assert_eq!(code(passphrase.change(None, given, Duration::ZERO)), "data_dir", "{text}");
            }
        }
    }

    #[test]
    fn the_sixth_wrong_one_of_a_minute_is_not_heard() {
        let passphrase = Passphrase::open(None);
        passphrase.change(Some(GOOD), None, Duration::ZERO).unwrap();
        let at = |seconds| Duration::from_secs(seconds);
        for second in 1..=5 {
            assert_eq!(code(passphrase.check(Some("wrong"), at(second))), "refused");
        }
        assert_eq!(code(passphrase.check(Some(GOOD), at(6))), "too_many", "also the right one");
        assert_eq!(code(passphrase.check(Some(GOOD), at(60))), "too_many");
        assert_eq!(code(passphrase.check(Some(GOOD), at(61))), "ok");
    }

    proptest! {
        #[test]
        fn no_more_tries_are_heard_in_any_minute(pauses in proptest::collection::vec(0_u64..30_000, 1..200)) {
            let (mut tries, mut now, mut heard) = (Tries::default(), Duration::ZERO, Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                if tries.begin(now).is_ok() {
                    heard.push(now);
                }
            }
            for (number, at) in heard.iter().enumerate() {
                let within = heard[number..].iter().take_while(|later| **later < *at + WRONG_WITHIN).count();
                prop_assert!(within <= WRONG_MAX);
            }
        }
    }
}
