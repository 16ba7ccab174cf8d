//! Passwords in addresses: `scheme://user:password@host`.

use std::ops::Range;

use super::SecretKind;
use super::run::{self, ALNUM, DASH, DOT};
use super::secret::Secret;
use super::value::{is_example, is_random_from};

const USER_BYTES_MAX: usize = 256;
const HOST_BYTES_MAX: usize = 255;

/// Hosts of this machine. A password for them is worth nothing elsewhere, unless it is used twice.
const LOCAL: [&str; 6] = ["localhost", "127.0.0.1", "0.0.0.0", "::1", "host.docker.internal", "[::1]"];

/// Hosts of documents.
const OF_DOCUMENTS: [&str; 8] =
    ["host", "hostname", "server", "example.com", "example.org", "example.net", "myhost", "domain.com"];

/// The password between `://` and `@`, or the user alone where it is a random token.
pub(super) fn password(text: &str, sign: Range<usize>) -> Option<Secret> {
    let bytes = text.as_bytes();
    let start = sign.end;
    let ends =
        |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\');
    let rest = bytes.get(start..)?;
    let length = rest.iter().take(USER_BYTES_MAX).position(ends).unwrap_or(rest.len().min(USER_BYTES_MAX));
    let authority = &rest[..length];
    let at = start + authority.iter().rposition(|byte| *byte == b'@')?;
    let user = start + bytes[start..at].iter().position(|byte| *byte == b':').unwrap_or(at - start);
    let host_end = run::end(bytes, at + 1, ALNUM | DASH | DOT, HOST_BYTES_MAX);
    let host = text.get(at + 1..host_end)?;
    if user == at {
        // a token takes the place of the user at GitHub and elsewhere
        let token = text.get(start..at)?;
        return (is_random_from(token, 20) && !is_example(token))
            .then(|| Secret::new(SecretKind::ConnectionString, start..at));
    }
    let (name, password) = (text.get(start..user)?, text.get(user + 1..at)?);
    let host = host.to_ascii_lowercase();
    let is_of_documents = OF_DOCUMENTS.iter().any(|of| host == *of || host.ends_with(&format!(".{of}")));
    let is_away = !LOCAL.contains(&&*host) && !is_of_documents && !host.is_empty();
    let is_weak = password.len() < 4 || password.eq_ignore_ascii_case(name) || is_example(password);
    let is_word = password.bytes().all(|byte| run::is(byte, run::UPPER) || byte == b'_');
    let counts = !is_weak && !is_word && (is_away || is_random_from(password, 12));
    counts.then(|| Secret::new(SecretKind::ConnectionString, user + 1..at))
}
