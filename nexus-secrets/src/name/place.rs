use std::ops::Range;

use super::super::run::{self, ALNUM, SPACE};

/// The most bytes of a value.
const VALUE_BYTES_MAX: usize = 512;
/// The most spaces before a value.
const SPACES_MAX: usize = 32;

/// How a value belongs to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// `name = value`, `"name": "value"`, `<name>value</name>`.
    Assigned,
    /// `the name of this is value`.
    Said,
    /// `name value`. Any word may stand there.
    Beside,
}

/// A value that belongs to a name.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) value: Range<usize>,
    pub(super) how: How,
    pub(super) is_quoted: bool,
    /// Whether it is an argument, as in `String::from("value")` or `getpass("Password: ")`.
    pub(super) is_in_call: bool,
}

/// The values that may belong to a name, the likelier one first.
pub(super) fn places(text: &str, name_start: usize, name_end: usize) -> [Option<Place>; 2] {
    let bytes = text.as_bytes();
    let closed = closed(bytes, name_end);
    if bytes.get(closed) == Some(&b'>') && name_start > 0 && bytes[name_start - 1] == b'<' {
        return [at(text, closed + 1, How::Assigned), None];
    }
    if let Some(start) = assigned(bytes, closed) {
        return [at(text, start, How::Assigned), None];
    }
    if closed > name_end && bytes.get(closed) == Some(&b',') {
        return [at(text, closed + 1, How::Beside), None];
    }
    if !matches!(bytes.get(closed), Some(b' ' | b'\t')) {
        return [None, None];
    }
    let said = said(bytes, closed).and_then(|start| at(text, start, How::Said));
    [said, at(text, closed, How::Beside)]
}

/// The place behind the quotes and brackets that close a name.
fn closed(bytes: &[u8], from: usize) -> usize {
    let close = |byte: &&u8| matches!(**byte, b'"' | b'\'' | b'`' | b'\\' | b']' | b'*');
    from + bytes.get(from..).unwrap_or_default().iter().take(3).take_while(close).count()
}

fn spaces(bytes: &[u8], from: usize) -> usize {
    let is_space = |byte: &&u8| matches!(**byte, b' ' | b'\t');
    from + bytes.get(from..).unwrap_or_default().iter().take(SPACES_MAX).take_while(is_space).count()
}

/// The place behind `=`, `:` and their like.
fn assigned(bytes: &[u8], from: usize) -> Option<usize> {
    let at = spaces(bytes, from);
    let next = bytes.get(at + 1);
    match bytes.get(at)? {
        b'=' if next == Some(&b'>') => Some(at + 2),
        b'=' if matches!(next, Some(b'=' | b'~')) => None,
        b'=' => Some(at + 1),
        b':' | b'?' if next == Some(&b'=') => Some(at + 2),
        b':' if run::follows(bytes, at, "::=") => Some(at + 3),
        b':' if matches!(next, Some(b':' | b'/')) => None,
        b':' => Some(behind_a_type(bytes, at + 1).unwrap_or(at + 1)),
        b'%' if run::follows(bytes, at, "%3D") || run::follows(bytes, at, "%3A") => Some(at + 3),
        _ => behind_value(bytes, at),
    }
}

/// The place behind the `=` of `name: TYPE = value`.
fn behind_a_type(bytes: &[u8], from: usize) -> Option<usize> {
    const TYPE_BYTES_MAX: usize = 32;
    let rest = bytes.get(from..)?;
    let is_of_type =
        |byte: &&u8| run::is(**byte, ALNUM) || matches!(**byte, b' ' | b'&' | b'<' | b'>' | b'_' | b':' | b'\'');
    let length = rest.iter().take(TYPE_BYTES_MAX).take_while(is_of_type).count();
    (length > 2 && rest[length - 1] == b' ' && rest.get(length) == Some(&b'=')).then_some(from + length + 1)
}

/// The place behind `value` in `key="NAME" value="…"`, and in a list of names with values.
fn behind_value(bytes: &[u8], from: usize) -> Option<usize> {
    let is_between = |byte: &&u8| run::is(**byte, SPACE) || matches!(**byte, b',' | b'"' | b'\'');
    let between = bytes.get(from..)?.iter().take(SPACES_MAX).take_while(is_between).count();
    let end = from + between + "value".len();
    if !run::follows(bytes, from + between, "value") {
        return None;
    }
    let sign = spaces(bytes, closed(bytes, end));
    matches!(bytes.get(sign), Some(b':' | b'=')).then_some(sign + 1)
}

/// The place behind `is` in the words behind a name.
fn said(bytes: &[u8], from: usize) -> Option<usize> {
    const WORDS_BYTES_MAX: usize = 56;
    const VERBS: [&str; 6] = [" is ", " is: ", " was ", " lautet ", " ist ", " = "];
    let ends = |byte: &&u8| !matches!(**byte, b'\n' | b';' | b'"' | b'.' | b':');
    let words = bytes.get(from..)?.iter().take(WORDS_BYTES_MAX).take_while(ends).count();
    let words = &bytes[from..bytes.len().min(from + words + 2)];
    (0..words.len())
        .filter(|at| words[*at] == b' ')
        .find_map(|at| VERBS.iter().find(|verb| run::follows(words, at, verb)).map(|verb| from + at + verb.len()))
}

/// The value at a place, without its quotes.
fn at(text: &str, from: usize, how: How) -> Option<Place> {
    let bytes = text.as_bytes();
    let start = spaces(bytes, from);
    let (opened, is_in_call) = match opening(bytes, start) {
        Some(opened) => (opened, opened > start),
        None => (start, false),
    };
    // the letter of `b"…"` and `f"…"` is no call
    let is_in_call = is_in_call && opened > start + 1;
    let is_escaped = run::follows(bytes, opened, "\\\"");
    let quote = bytes.get(opened).copied().filter(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    if let Some(end_sign) = if is_escaped { Some(b'\\') } else { quote } {
        let inside = opened + 1 + usize::from(is_escaped);
        let rest = bytes.get(inside..)?;
        let length = rest.iter().take(VALUE_BYTES_MAX).position(|byte| *byte == end_sign || *byte == b'\n')?;
        let value = inside..inside + length;
        return (length > 0).then_some(Place { value, how, is_quoted: true, is_in_call });
    }
    let rest = bytes.get(start..)?;
    let ends = |byte: &u8| {
        byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b',' | b';' | b'&')
    };
    // templates and types begin with what ends a value
    if rest.first().is_none_or(|byte| matches!(byte, b'<' | b'>' | b'&')) {
        return None;
    }
    let length = rest.iter().take(VALUE_BYTES_MAX).position(ends).unwrap_or(rest.len());
    let value = text.get(start..start + length.min(VALUE_BYTES_MAX))?;
    let value = value.trim_end_matches(['.', ':', ')', ']', '}', '\\', '!', '?']);
    (!value.is_empty()).then_some(Place { value: start..start + value.len(), how, is_quoted: false, is_in_call: false })
}

/// The place of the quote that opens a value, behind a call or a letter before it.
fn opening(bytes: &[u8], from: usize) -> Option<usize> {
    const CALL_BYTES_MAX: usize = 40;
    let is_of_call =
        |byte: &&u8| run::is(**byte, ALNUM) || matches!(**byte, b':' | b'.' | b'_' | b'(' | b'!' | b'&' | b'#');
    let call = bytes.get(from..)?.iter().take(CALL_BYTES_MAX).take_while(is_of_call).count();
    let before = from + call;
    let is_quote = matches!(bytes.get(before), Some(b'"' | b'\''));
    (is_quote && (call <= 1 || bytes[before - 1] == b'(')).then_some(before)
}
