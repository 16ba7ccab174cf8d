//! Values behind telling names: `api_key=…`, `"password": "…"`, `the token is …`.

mod place;
mod telling;

use std::ops::Range;

use super::run::{self, LOWER, NAME, UPPER};
use super::secret::Secret;
use super::value::{is_constant, is_example, is_hex, is_key_like, is_password, is_random, is_random_from, is_uuid};
use super::{SecretKind, anchors, header};
use place::{How, Place};
use telling::Telling;

/// The words of names, in lower case. Each is an anchor in three spellings.
pub(super) use telling::NAMES;

/// The most bytes of a name, before its telling word and behind it.
const NAME_BYTES_MAX: usize = 48;

/// The value behind the name around a telling word.
pub(super) fn value(text: &str, word: Range<usize>) -> Option<Secret> {
    let bytes = text.as_bytes();
    // `passed` and `tokens` are other words
    let case = if run::has(bytes, word.end - 1, UPPER) { UPPER } else { LOWER };
    if run::has(bytes, word.end, case) {
        return None;
    }
    let end = run::end(bytes, word.end, NAME, NAME_BYTES_MAX);
    let start = run::start(bytes, word.start, NAME, NAME_BYTES_MAX);
    let name = text.get(start..end)?;
    let end = start + name.trim_end_matches(['.', '-']).len();
    let places = place::places(text, start, end);
    if places.iter().all(Option::is_none) {
        return None;
    }
    let telling = telling::of(text, start, end)?;
    let is_variable = run::contains(&bytes[start..end], "_") && case == UPPER;
    let flag = start < word.start && bytes[start] == b'-' || is_variable;
    // `key` and `pass` are words of prose, too
    let is_long = word.len() >= "token".len();
    let of_name = |place: &Place| place.how != How::Beside || is_long || flag;
    places.into_iter().flatten().filter(of_name).find_map(|place| judge(text, &place, telling, flag, is_variable))
}

/// The value at a place, if it is a credential for a name of this kind.
fn judge(text: &str, place: &Place, telling: Telling, is_flag: bool, is_variable: bool) -> Option<Secret> {
    if telling == Telling::Authorization {
        return header::authorization(text, place.value.start);
    }
    let value = text.get(place.value.clone())?;
    let is_random_key = |least| is_random_key(value, place.is_quoted, least);
    let counts = match (telling, place.how) {
        (Telling::Password, How::Assigned | How::Said) if place.is_in_call => is_random_key(12),
        (Telling::Password, How::Assigned | How::Said) => {
            is_password(value, place.is_quoted) || is_random_key(super::value::RANDOM_BYTES_MIN)
        }
        (Telling::Password, How::Beside) if is_flag => is_password(value, place.is_quoted),
        (Telling::Password, How::Beside) => is_random_key(12) && !is_hex(value),
        (Telling::Key | Telling::Token, How::Beside) => is_random_key(20) && (is_flag || !is_hex(value)),
        (Telling::Key, _) => is_random_key(16) || is_uuid(value),
        // a UUID in a variable of the environment is a token, and elsewhere the id of one
        (Telling::Token, how) => is_random_key(16) && (!is_uuid(value) || how == How::Assigned && is_variable),
        (Telling::Auth, How::Assigned) => header::is_user_and_password(value) || is_random_key(20),
        (Telling::Auth | Telling::Authorization, _) => false,
    };
    if !counts {
        return None;
    }
    let kind = match telling {
        Telling::Password if is_of_a_connection(text, place.value.start) => SecretKind::ConnectionString,
        Telling::Password => SecretKind::Password,
        Telling::Auth if !is_random(value) => SecretKind::AuthorizationHeader,
        _ => SecretKind::NamedSecret,
    };
    // the form of a service says more than a name
    let kind = anchors::kind_of_token(value).unwrap_or(kind);
    Some(Secret::new(kind, place.value.clone()))
}

/// Whether a value is random enough for a key of so many characters, and is neither an example nor code.
pub(super) fn is_random_key(value: &str, is_quoted: bool, least: usize) -> bool {
    let is_code = !is_quoted && (value.contains('(') || is_constant(value));
    is_random_from(value, least) && is_key_like(value) && !is_example(value) && !is_code
}

/// Whether the settings of a database are on the line before a password.
fn is_of_a_connection(text: &str, value: usize) -> bool {
    const BEFORE_BYTES: usize = 192;
    const SETTINGS: [&str; 8] =
        ["host=", "dbname=", "Server=", "server=", "Data Source=", "User Id=", "jdbc:", "Host="];
    let before = &text.as_bytes()[value.saturating_sub(BEFORE_BYTES)..value];
    let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    SETTINGS.iter().any(|setting| run::contains(line, setting))
}
