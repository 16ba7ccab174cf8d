//! A file of another program without ours: as it was before, wherever that can be told.

use super::file::Held;

/// Takes ours out of a file; `None` where nothing else was in it.
///
/// A backup, or no file at all, is what was there before if putting ours into it gives this very text. So a
/// former file comes back byte for byte. A file that changed since loses ours and nothing else.
pub(super) fn without(
    held: &Held<'_>,
    has: impl Fn(&str) -> Result<bool, String>,
    put: impl Fn(&str) -> Result<String, String>,
    take: impl Fn(&str) -> Result<String, String>,
) -> Result<Option<String>, String> {
    if !held.exists {
        return Ok(None);
    }
    if !has(held.text)? {
        return Ok(Some(held.text.to_owned()));
    }
    let gives_this = |text: &str| put(text).is_ok_and(|after| after == held.text);
    if let Some(former) = held.earlier().find(|text| has(text) == Ok(false) && gives_this(text)) {
        return Ok(Some(former));
    }
    if gives_this("") {
        return Ok(None);
    }
    take(held.text).map(Some)
}
