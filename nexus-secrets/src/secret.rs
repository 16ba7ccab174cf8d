use std::ops::Range;

use super::kind::SecretKind;

/// A credential in a text. The value itself is left out: findings end up in logs and answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Secret {
    /// The form by which it was found.
    pub kind: SecretKind,
    /// Its bytes in the text, from one character to another.
    pub range: Range<usize>,
}

impl Secret {
    pub(super) fn new(kind: SecretKind, range: Range<usize>) -> Self {
        Self { kind, range }
    }

    /// The line of the text on which it begins, from 1.
    pub fn line(&self, text: &str) -> usize {
        let before = text.get(..self.range.start).unwrap_or(text);
        1 + before.bytes().filter(|byte| *byte == b'\n').count()
    }

    /// Its place in that line in characters, from 1.
    pub fn column(&self, text: &str) -> usize {
        let before = text.get(..self.range.start).unwrap_or(text);
        1 + before.rsplit('\n').next().unwrap_or_default().chars().count()
    }
}
