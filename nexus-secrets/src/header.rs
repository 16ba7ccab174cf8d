//! Credentials in headers: JSON web tokens, and whatever stands behind a scheme.

use std::ops::Range;

use super::SecretKind;
use super::run::{self, ALNUM, BASE64, DASH, DOT, URL64};
use super::secret::Secret;
use super::value::{is_example, is_random};

/// The most bytes of the header of a JSON web token.
const JWT_HEADER_BYTES_MAX: usize = 4096;
const CREDENTIAL_BYTES_MAX: usize = 1024;

/// A JSON web token, or an encrypted one: parts with dots between them, the first of which is JSON with `alg`.
pub(super) fn json_web_token(text: &str, start: Range<usize>) -> Option<Secret> {
    const PARTS_MAX: usize = 5;
    let bytes = text.as_bytes();
    // a token within a run is no token, and the run is not read again
    if !run::begins(bytes, start.start) || (start.start > 0 && run::is(bytes[start.start - 1], DASH)) {
        return None;
    }
    let head = run::end(bytes, start.start, URL64, JWT_HEADER_BYTES_MAX);
    let json = data_encoding::BASE64URL_NOPAD.decode(bytes.get(start.start..head)?).ok()?;
    let is_head = json.first() == Some(&b'{') && json.last() == Some(&b'}') && run::contains(&json, "\"alg\"");
    if !is_head || bytes.get(head) != Some(&b'.') {
        return None;
    }
    let (mut end, mut parts) = (head, 1);
    while parts < PARTS_MAX && bytes.get(end) == Some(&b'.') {
        let part = run::end(bytes, end + 1, URL64, usize::MAX);
        // the parts in the middle of an encrypted token may be empty, and a full stop ends a sentence
        if part == end + 1 && bytes.get(part) != Some(&b'.') {
            break;
        }
        (end, parts) = (part, parts + 1);
    }
    (parts >= 3 && end > head + 32).then(|| Secret::new(SecretKind::JsonWebToken, start.start..end))
}

/// The token behind `Bearer `.
pub(super) fn bearer(text: &str, scheme: Range<usize>) -> Option<Secret> {
    let credential = credential(text, scheme.end)?;
    let value = text.get(credential.clone())?;
    let is_token = run::begins(text.as_bytes(), scheme.start) && is_random(value) && !is_example(value);
    is_token.then(|| Secret::new(SecretKind::AuthorizationHeader, credential))
}

/// The user and password in base64 behind `Basic `.
pub(super) fn basic(text: &str, scheme: Range<usize>) -> Option<Secret> {
    let credential = credential(text, scheme.end)?;
    let is_pair = run::begins(text.as_bytes(), scheme.start) && is_user_and_password(text.get(credential.clone())?);
    is_pair.then(|| Secret::new(SecretKind::AuthorizationHeader, credential))
}

/// The credential behind the scheme in the value of a header `Authorization`.
pub(super) fn authorization(text: &str, value: usize) -> Option<Secret> {
    const SCHEME_BYTES_MAX: usize = 16;
    let bytes = text.as_bytes();
    let scheme = run::end(bytes, value, ALNUM | DASH, SCHEME_BYTES_MAX);
    let start = if bytes.get(scheme) == Some(&b' ') && scheme > value { scheme + 1 } else { value };
    let credential = credential(text, start)?;
    let shown = text.get(credential.clone())?;
    let is_credential = (is_random(shown) && !is_example(shown)) || is_user_and_password(shown);
    is_credential.then(|| Secret::new(SecretKind::AuthorizationHeader, credential))
}

fn credential(text: &str, start: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let is_of_token = |byte: &&u8| run::is(**byte, BASE64 | DASH | DOT) || **byte == b'~';
    let length = bytes.get(start..)?.iter().take(CREDENTIAL_BYTES_MAX).take_while(is_of_token).count();
    let length = text.get(start..start + length)?.trim_end_matches('.').len();
    (length > 0).then(|| start..start + length)
}

/// Whether a value is `user:password` in base64, and the password is no example.
pub(super) fn is_user_and_password(value: &str) -> bool {
    let padded = data_encoding::BASE64.decode(value.as_bytes());
    let Ok(decoded) = padded.or_else(|_| data_encoding::BASE64_NOPAD.decode(value.as_bytes())) else { return false };
    let Ok(pair) = String::from_utf8(decoded) else { return false };
    let is_printed = !pair.chars().any(char::is_control);
    pair.split_once(':').is_some_and(|(user, password)| {
        is_printed && !user.is_empty() && password.len() >= 4 && password != user && !is_example(password)
    })
}
