use std::fmt;
use std::str::FromStr;

use nexus_documents::{ChangeHash, Living};

use crate::error::DocumentError;

/// The heads of a document: the changes that no other one comes after. A document without changes has none.
///
/// Text form: the hashes in hexadecimal digits, with `.` between them; `0` for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub Vec<ChangeHash>);

/// The most heads in the text of a version.
const HEADS_MAX: usize = 1_024;

/// A text that is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no version of a document: it has hashes of 64 hexadecimal digits, with `.` between them")]
pub struct BadVersion;

/// The fewest digits of the beginning of a hash.
const DIGITS_MIN: usize = 8;

/// The version of hashes or their beginnings, among the changes of a document.
pub(super) fn called(text: &str, living: &Living) -> Result<Version, DocumentError> {
    let mut heads = Vec::new();
    for digits in text.split('.').take(HEADS_MAX) {
        let is_beginning = digits.len() >= DIGITS_MIN && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_beginning {
            return Err(DocumentError::Edit(format!("{BadVersion}, or with the first {DIGITS_MIN} digits of each")));
        }
        let items = living.history(usize::MAX).into_iter();
        let mut meant = items.map(|item| item.hash).filter(|hash| hash.to_string().starts_with(digits));
        match (meant.next(), meant.next()) {
            (Some(hash), None) => heads.push(hash),
            (Some(_), Some(_)) => {
                return Err(DocumentError::Missing(format!("several versions begin with {digits}: give more digits")));
            }
            (None, _) => {
                return Err(DocumentError::Missing(format!("this document has no version that begins with {digits}")));
            }
        }
    }
    heads.sort_unstable();
    heads.dedup();
    Ok(Version(heads))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0");
        }
        for (at, hash) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            write!(f, "{hash}")?;
        }
        Ok(())
    }
}

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        if text == "0" {
            return Ok(Self::default());
        }
        if text.len() > HEADS_MAX * 65 {
            return Err(BadVersion);
        }
        let hash = |digits: &str| {
            let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes()).ok()?;
            bytes.try_into().ok().map(ChangeHash)
        };
        let mut heads: Vec<ChangeHash> = text.split('.').map(hash).collect::<Option<_>>().ok_or(BadVersion)?;
        heads.sort_unstable();
        heads.dedup();
        Ok(Self(heads))
    }
}
