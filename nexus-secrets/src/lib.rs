//! Secrets do not travel by accident: a text that looks like a credential is known before it is written.
//!
//! All that a mesh knows reaches all its machines and stays there, so a credential among it is lost for good.
//! [`find`] names the first credential of a text, [`find_all`] all of them, and [`mask`] takes them out. They are
//! a guard against accidents. Somebody who wants to write a credential gets it past them.
//!
//! | found | by |
//! |---|---|
//! | tokens of services | the prefix that the service documents, and the length behind it |
//! | private keys | the line `BEGIN … PRIVATE KEY` with a body behind it, on many lines or on one |
//! | JSON web tokens | a header that is JSON with `alg` |
//! | connection strings | a password between `//` and `@`, `password=` among settings of a database |
//! | authorization headers | the scheme, and a credential behind it |
//! | passwords and keys | a telling name, and a value that is neither an example nor words |
//! | passwords in other languages | the word for a password in some thirty languages, and a value as above |
//! | tickets of a mesh | `nexus1`. An expired ticket is found too, since no clock is read |
//!
//! Examples pass: `<password>`, `${PASSWORD}`, `***`, `changeme`, a user that is its own password, repeated
//! characters, values that name themselves (`my-secret-token`). A password for a local or an example host passes
//! unless it looks random. Hashes and ids pass unless a telling name stands before them: a key in hex looks like a
//! hash, so the name alone decides.
//!
//! A password of plain words passes, too, unless it has four of them joined by hyphens. Any text with `password: ` or
//! `secret is ` before a word would be refused otherwise. Digits alone pass, and a bare value that looks like a call.
//!
//! All of this is one pass over the text, for the anchors of `anchors`. Each rule behind an anchor reads a bounded
//! piece of the text, or a piece without further anchors. So the time is linear in the text, whoever wrote it.
//!
//! ```
//! let text = format!("token: ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
//! let found = nexus_secrets::find(&text).unwrap();
//! assert_eq!((found.kind, found.line(&text), found.column(&text)), (nexus_secrets::SecretKind::GithubToken, 1, 8));
//! assert_eq!(nexus_secrets::mask(&text), format!("token: {}", "[GitHub token removed]"));
//! ```

mod abroad;
mod address;
mod anchors;
mod block;
mod command;
mod header;
mod kind;
mod name;
mod run;
mod secret;
#[cfg(test)]
mod tests;
mod token;
mod value;
mod words;

use std::borrow::Cow;

use aho_corasick::FindOverlappingIter;

pub use kind::SecretKind;
pub use secret::Secret;

/// How often [`mask`] looks again at a text that it masked.
const ROUNDS_MAX: usize = 4;

/// The first credential of a text.
pub fn find(text: &str) -> Option<Secret> {
    find_all(text).next()
}

/// All credentials of a text in order, none of which overlaps another.
pub fn find_all(text: &str) -> impl Iterator<Item = Secret> {
    Scan { text, anchors: anchors::all().find_overlapping_iter(text), end: 0, waiting: None }
}

/// The text with `[KIND removed]` in the place of each credential. Nothing is found in it any more.
pub fn mask(text: &str) -> Cow<'_, str> {
    let mut masked = Cow::Borrowed(text);
    for _ in 0..ROUNDS_MAX {
        match masked_once(&masked) {
            Some(next) => masked = Cow::Owned(next),
            None => return masked,
        }
    }
    // only a text made for it reveals a credential more each time that one is taken out
    if find(&masked).is_some() { Cow::Borrowed("[text removed]") } else { masked }
}

/// The text without the credentials that are found in it, or `None` if there are none.
fn masked_once(text: &str) -> Option<String> {
    let mut secrets = find_all(text).peekable();
    secrets.peek()?;
    let (mut masked, mut end) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        masked.push_str(text.get(end..secret.range.start).unwrap_or_default());
        masked.push_str(&secret.kind.removed());
        end = secret.range.end;
    }
    masked.push_str(text.get(end..).unwrap_or_default());
    Some(masked)
}

/// One pass over the anchors of a text.
struct Scan<'t> {
    text: &'t str,
    anchors: FindOverlappingIter<'static, 't>,
    /// The end of the last credential. Anchors before it are part of it.
    end: usize,
    /// The second half of a pair, whose first half was just found.
    waiting: Option<Secret>,
}

impl Iterator for Scan<'_> {
    type Item = Secret;

    fn next(&mut self) -> Option<Secret> {
        if let Some(secret) = self.waiting.take() {
            return Some(secret);
        }
        loop {
            let anchor = self.anchors.next()?;
            if anchor.start() < self.end {
                continue;
            }
            let Some(mut secret) = anchors::rule(anchor.pattern()).apply(self.text, anchor.range()) else { continue };
            secret.range.start = secret.range.start.max(self.end);
            if secret.range.is_empty() || self.text.get(secret.range.clone()).is_none() {
                continue;
            }
            self.end = secret.range.end;
            if secret.kind == SecretKind::AwsAccessKey {
                self.waiting = token::aws_secret_behind(self.text, self.end);
                self.end = self.waiting.as_ref().map_or(self.end, |secret| secret.range.end);
            }
            return Some(secret);
        }
    }
}
