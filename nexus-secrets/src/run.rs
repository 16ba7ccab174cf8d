//! Runs of bytes of a class. All classes are ASCII, so that a run begins and ends between characters.

/// Classes of bytes, to be joined with `|`.
pub(super) const DIGIT: u8 = 1;
pub(super) const LOWER: u8 = 2;
pub(super) const UPPER: u8 = 4;
/// `-` and `_`.
pub(super) const DASH: u8 = 8;
/// `+` and `/` and `=`.
pub(super) const BASE64_SIGNS: u8 = 16;
pub(super) const DOT: u8 = 32;
/// Digits and `a` to `f`.
pub(super) const HEX: u8 = 64;
/// Space, tab, and ends of lines.
pub(super) const SPACE: u8 = 128;

pub(super) const LETTER: u8 = LOWER | UPPER;
pub(super) const ALNUM: u8 = DIGIT | LETTER;
pub(super) const URL64: u8 = ALNUM | DASH;
pub(super) const BASE64: u8 = ALNUM | BASE64_SIGNS;
/// Identifiers with dots and hyphens, as in `spring.mail.api-key`.
pub(super) const NAME: u8 = URL64 | DOT;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT | HEX,
            b'a'..=b'f' => LOWER | HEX,
            b'g'..=b'z' => LOWER,
            b'A'..=b'Z' => UPPER,
            b'-' | b'_' => DASH,
            b'+' | b'/' | b'=' => BASE64_SIGNS,
            b'.' => DOT,
            b' ' | b'\t' | b'\r' | b'\n' => SPACE,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// Whether a byte has one of the classes.
pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Whether the text has a byte of a class at a place.
pub(super) fn has(bytes: &[u8], at: usize, class: u8) -> bool {
    bytes.get(at).is_some_and(|byte| is(*byte, class))
}

/// The end of the run that begins at a place: at most `most` bytes behind it.
pub(super) fn end(bytes: &[u8], at: usize, class: u8, most: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take(most).take_while(|byte| is(**byte, class)).count()
}

/// The start of the run that ends at a place: at most `most` bytes before it.
pub(super) fn start(bytes: &[u8], at: usize, class: u8, most: usize) -> usize {
    let before = bytes.get(..at).unwrap_or_default();
    at - before.iter().rev().take(most).take_while(|byte| is(**byte, class)).count()
}

/// Whether a token may begin at a place: no letter and no digit is before it.
///
/// The `n` of an escaped `\n` is not part of what follows, and neither are the digits of `%3D`.
pub(super) fn begins(bytes: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|at| bytes.get(at)).copied();
    let Some(last) = before(1) else { return true };
    let is_escape = matches!(last, b'n' | b'r' | b't') && before(2) == Some(b'\\');
    let is_percent = before(3) == Some(b'%') && last.is_ascii_hexdigit();
    !is(last, ALNUM) || is_escape || is_percent
}

/// Whether the text goes on with this at a place.
pub(super) fn follows(bytes: &[u8], at: usize, word: &str) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(word.as_bytes()))
}

/// Whether a piece of the text has this in it. Pieces are short: all of them are tried.
pub(super) fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}
