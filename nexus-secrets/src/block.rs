//! Private keys in blocks: PEM with all of its relatives, PuTTY's files, JSON web keys, PEM within base64.

use std::ops::Range;

use super::SecretKind;
use super::run::{self, ALNUM, BASE64, SPACE, URL64};
use super::secret::Secret;
use super::value::is_filler;

/// The fewest characters of base64 in a body. Documents have `...` there.
const BODY_BYTES_MIN: usize = 32;
const LABEL_BYTES_MAX: usize = 64;

/// The block behind `-----BEGIN ` or `---- BEGIN `, if its label is that of a private key.
pub(super) fn pem(text: &str, begin: Range<usize>) -> Option<Secret> {
    let bytes = text.as_bytes();
    let label_end = begin.end + bytes.get(begin.end..)?.iter().take(LABEL_BYTES_MAX).position(|byte| *byte == b'-')?;
    let label = text.get(begin.end..label_end)?;
    if !label.contains("PRIVATE KEY") {
        return None;
    }
    let dashes = label_end + bytes.get(label_end..)?.iter().take(5).take_while(|byte| **byte == b'-').count();
    let body = body(bytes, dashes, true);
    let is_key = body.longest >= BODY_BYTES_MIN && body.all >= BODY_BYTES_MIN && !body.is_filler;
    is_key.then(|| Secret::new(SecretKind::PrivateKey, begin.start..closing(bytes, body.end)))
}

struct Body {
    end: usize,
    /// The length of its longest line.
    longest: usize,
    all: usize,
    is_filler: bool,
}

/// The body of a block: lines of base64, headers, and whatever joins lines in code, mail and YAML.
///
/// A body has no five hyphens, so the bodies of a text do not overlap, and are read once.
fn body(bytes: &[u8], from: usize, has_headers: bool) -> Body {
    let mut body = Body { end: from, longest: 0, all: 0, is_filler: false };
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        let end = run::end(bytes, at, BASE64, usize::MAX);
        if end > at {
            // headers are lines of their own, as `Proc-Type: 4,ENCRYPTED`
            if has_headers && is_header(bytes, end) {
                at = header_end(bytes, end);
                continue;
            }
            let start = escaped(bytes, at);
            if end - start > body.longest {
                body.longest = end - start;
                body.is_filler = is_filler(&bytes[start..end]);
            }
            body.all += end.saturating_sub(start);
            (at, body.end) = (end, end);
        } else if run::is(*byte, SPACE)
            || matches!(byte, b'\\' | b'"' | b'\'' | b',' | b'>' | b'|' | b'#' | b'*' | b';' | b'`')
        {
            at += 1;
        } else {
            break;
        }
    }
    body.end = body.end.max(from);
    // the search for the end goes on from here
    if body.all > 0 {
        body.end = at;
    }
    body
}

/// The place behind the letters of an escaped end of line: `\n` is two characters there.
fn escaped(bytes: &[u8], at: usize) -> usize {
    let is_escape = at > 0 && bytes[at - 1] == b'\\' && matches!(bytes.get(at), Some(b'n' | b'r'));
    at + usize::from(is_escape)
}

/// The end of a header's line, or the hyphens of the next block in it.
fn header_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.windows(2).position(|pair| pair[0] == b'\n' || pair == b"--" || pair == b"\\n");
    at + end.unwrap_or(rest.len())
}

/// Whether a word ends here that is the name of a header.
fn is_header(bytes: &[u8], at: usize) -> bool {
    bytes.get(at) == Some(&b':') || (bytes.get(at) == Some(&b'-') && run::has(bytes, at + 1, ALNUM))
}

/// The end of the line `-----END …-----`, if it is at a place.
fn closing(bytes: &[u8], at: usize) -> usize {
    let dashes = run::end(bytes, at, run::DASH, 5);
    let is_end = run::follows(bytes, dashes, "END ") || run::follows(bytes, dashes, " END ");
    if dashes == at || !is_end {
        return at;
    }
    let label = bytes[dashes..].iter().take(LABEL_BYTES_MAX).position(|byte| *byte == b'-');
    label.map_or(dashes, |label| run::end(bytes, dashes + label, run::DASH, 5))
}

/// The private half of a key in PuTTY's format, behind `Private-Lines: `.
pub(super) fn putty(text: &str, name: Range<usize>) -> Option<Secret> {
    let bytes = text.as_bytes();
    let count = run::end(bytes, name.end, run::DIGIT, 4);
    let body = body(bytes, count, false);
    (body.all >= BODY_BYTES_MIN).then(|| Secret::new(SecretKind::PrivateKey, name.start..body.end))
}

/// PEM within base64, as in the files of Kubernetes. The run begins with `-----BEGIN`.
pub(super) fn pem_in_base64(text: &str, start: Range<usize>) -> Option<Secret> {
    const FIRST_LINE_BYTES: usize = 60;
    let bytes = text.as_bytes();
    let first = bytes.get(start.start..start.start + FIRST_LINE_BYTES)?;
    let line = data_encoding::BASE64.decode(first).ok()?;
    let is_key = run::contains(&line, "PRIVATE KEY") && run::begins(bytes, start.start);
    is_key.then(|| Secret::new(SecretKind::PrivateKey, start.start..run::end(bytes, start.end, BASE64, usize::MAX)))
}

/// The private part of a JSON web key: `"d"`, with `"kty"` near it.
pub(super) fn json_web_key(text: &str, name: Range<usize>) -> Option<Secret> {
    const NEAR_BYTES: usize = 1024;
    const PART_BYTES_MIN: usize = 40;
    const PART_BYTES_MAX: usize = 2048;
    let bytes = text.as_bytes();
    let between =
        bytes.get(name.end..)?.iter().take(4).take_while(|byte| run::is(**byte, SPACE) || **byte == b':').count();
    let at = name.end + between;
    let start = at + 1;
    let end = run::end(bytes, start, URL64, PART_BYTES_MAX);
    let fits = bytes.get(at) == Some(&b'"') && end - start >= PART_BYTES_MIN;
    let near = bytes.get(name.start.saturating_sub(NEAR_BYTES)..bytes.len().min(end + NEAR_BYTES))?;
    (fits && run::contains(near, "\"kty\"")).then(|| Secret::new(SecretKind::PrivateKey, start..end))
}
