//! Warnings for a person, kept for `status`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A warning for a person.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) code: &'static str,
    pub(crate) subject: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// The code of the warning about a forked log.
pub(crate) const FORK: &str = "fork";

const FORK_HINT: &str = "was that machine's data directory copied or restored? its node goes on in a new log and writes \
                         again what it still has; if two copies run, end one";

/// The warning about a log of an author that has two entries with one seq, and the remedy.
pub(crate) fn fork(author: impl fmt::Display, seq: u64) -> (String, &'static str) {
    (format!("{author} wrote two entries with seq {seq} in one log; nothing counts there from then on"), FORK_HINT)
}

/// The warning about a log that goes on elsewhere from another entry with this seq than here, and the remedy.
pub(crate) fn astray(author: impl fmt::Display, seq: u64) -> (String, &'static str) {
    (
        format!("{author} wrote two entries with seq {seq} in one log; what follows the other one is not taken here"),
        FORK_HINT,
    )
}

/// A handle to the notices of one node: at most [`Notices::MAX`], the first of each code and subject.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices(Arc<Mutex<Vec<Notice>>>);

impl Notices {
    const MAX: usize = 64;

    /// Adds a warning about `subject`, once.
    pub(crate) fn note(&self, code: &'static str, subject: String, message: String, hint: &str) {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = notices.iter().any(|notice| notice.code == code && notice.subject == subject);
        if notices.len() < Self::MAX && !noted {
            tracing::warn!(code, %message);
            notices.push(Notice { code, subject, message, hint: hint.to_owned() });
        }
    }

    /// Takes a warning about `subject` back, if there is one.
    pub(crate) fn end(&self, code: &'static str, subject: &str) {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notices.retain(|notice| notice.code != code || notice.subject != subject);
    }

    pub(crate) fn all(&self) -> Vec<Notice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A budget of log lines that others cause by asking: strangers at the door, peers that are refused.
#[derive(Debug, Default)]
pub(crate) struct LineBudget(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    since: Duration,
    written: u32,
    left_out: u64,
}

impl LineBudget {
    /// The most lines in one [`WINDOW`](Self::WINDOW).
    const MAX: u32 = 30;
    const WINDOW: Duration = Duration::from_secs(60);

    /// Whether a line is written now: then with the number of those left out since the last one.
    pub(crate) fn take(&self, now: Duration) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(window.since) >= Self::WINDOW {
            (window.since, window.written) = (now, 0);
        }
        if window.written >= Self::MAX {
            window.left_out += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Bad input | Whoever asks again and again writes few lines into the log, and how many were left out is told
    #[test]
    fn others_cause_few_lines_and_the_rest_is_counted() {
        let (lines, second) = (LineBudget::default(), Duration::from_secs);
        let written = (0..10_000).filter(|_| lines.take(second(1)).is_some()).count();
        assert_eq!(written, 30);
        assert_eq!(lines.take(second(59)), None);
        assert_eq!((lines.take(second(60)), lines.take(second(60))), (Some(9_971), Some(0)));
    }
}
