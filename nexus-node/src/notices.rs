//! Warnings for a person, kept for `status`.

use std::sync::{Arc, Mutex, PoisonError};

/// A warning for a person.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) code: &'static str,
    subject: String,
    pub(crate) message: String,
    pub(crate) hint: String,
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

    pub(crate) fn all(&self) -> Vec<Notice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
