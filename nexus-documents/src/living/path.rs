//! Paths in a document: JSON Pointers, as RFC 6901 has them.

use std::fmt;
use std::str::FromStr;

use crate::change::KEY_BYTES_MAX;
use crate::judge::DEPTH_MAX;

/// A path in a document. Its text is a JSON Pointer: `/tasks/0/title`. The empty text is the document itself, and so is `/`. A
/// text without a `/` before it is read as if it had one. In a token `~1` stands for `/`, and `~0` for `~`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocPath(Vec<String>);

/// A text that is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPath {
    /// A `~` that begins no escape.
    #[error("in a path `~` is written `~0`, and `/` within a key is written `~1`")]
    Escape,
    /// Too many tokens.
    #[error("a path has at most {DEPTH_MAX} parts")]
    TooDeep,
    /// A token is too long.
    #[error("a part of a path has at most {KEY_BYTES_MAX} bytes")]
    TooLong,
}

impl DocPath {
    /// The document itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// A path by its keys and places.
    ///
    /// # Errors
    /// [`BadPath::TooDeep`] and [`BadPath::TooLong`].
    pub fn from_tokens(tokens: Vec<String>) -> Result<Self, BadPath> {
        if tokens.len() > DEPTH_MAX as usize {
            return Err(BadPath::TooDeep);
        }
        if tokens.iter().any(|token| token.len() > KEY_BYTES_MAX) {
            return Err(BadPath::TooLong);
        }
        Ok(Self(tokens))
    }

    /// Its keys and places.
    pub fn tokens(&self) -> &[String] {
        &self.0
    }

    /// Whether it is the document itself.
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its first tokens.
    pub(crate) fn first(&self, tokens: usize) -> Self {
        Self(self.0.iter().take(tokens).cloned().collect())
    }

    /// The path of something within it, for messages.
    pub(crate) fn within(&self, token: impl fmt::Display) -> Self {
        let mut tokens = self.0.clone();
        tokens.push(token.to_string());
        Self(tokens)
    }
}

impl FromStr for DocPath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        if text.is_empty() || text == "/" {
            return Ok(Self::root());
        }
        let text = text.strip_prefix('/').unwrap_or(text);
        let mut tokens = Vec::new();
        for part in text.split('/') {
            if tokens.len() == DEPTH_MAX as usize {
                return Err(BadPath::TooDeep);
            }
            tokens.push(unescaped(part)?);
        }
        Self::from_tokens(tokens)
    }
}

fn unescaped(part: &str) -> Result<String, BadPath> {
    let mut token = String::new();
    let mut letters = part.chars();
    while let Some(letter) = letters.next() {
        token.push(match letter {
            '~' => match letters.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(BadPath::Escape),
            },
            other => other,
        });
    }
    Ok(token)
}

/// Writes one token with its escapes.
pub(crate) fn escaped(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

impl fmt::Display for DocPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `/` alone would be read as the document itself, where RFC 6901 has an empty key
        self.0.iter().try_for_each(|token| write!(f, "/{}", escaped(token)))
    }
}
