use std::collections::BTreeSet;
use std::fmt;

use super::shortened;

/// The longest path that an error repeats, in parts.
const PARTS_MAX: usize = 8;

/// A part of a JSON text that is lost or changed in a [`serde_json::Value`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{kind}", Place(.path))]
pub struct Inexact {
    /// The way to it: names of members, and places in lists.
    pub path: Vec<String>,
    /// The kind of loss.
    pub kind: InexactKind,
}

/// The kind of loss.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InexactKind {
    /// A number with more digits than 64 bits have, as it was written.
    Number(String),
    /// A key that comes twice: the first of its values would be lost.
    Key(String),
}

impl fmt::Display for InexactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => {
                write!(f, "the number {} has more digits than are kept", shortened(number))
            }
            Self::Key(key) => write!(f, "the key {:?} comes twice", shortened(key)),
        }
    }
}

/// The words for a path, before the rest of an error.
struct Place<'a>(&'a [String]);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.0.iter().take(PARTS_MAX).enumerate() {
            match part.starts_with('[') || n == 0 {
                true => f.write_str(&shortened(part))?,
                false => write!(f, ".{}", shortened(part))?,
            }
        }
        if self.0.len() > PARTS_MAX {
            f.write_str("…")?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str(": ") }
    }
}

/// The first part of a JSON text that a value in memory would lose or change; `None` if there is none.
///
/// A number may be written in another way afterwards: `1.50` as `1.5`. It stays the same number. A text that is no JSON has
/// no such part: whoever reads it says so.
pub fn inexact(json: &str) -> Option<Inexact> {
    let mut scan = Scan { bytes: json.as_bytes(), at: 0, open: Vec::new() };
    scan.first().map(|kind| Inexact { path: scan.path(), kind })
}

/// An array or an object that is open.
enum Open {
    Array(usize),
    Object { seen: BTreeSet<String>, key: String, is_key: bool },
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open>,
}

impl Scan<'_> {
    fn first(&mut self) -> Option<InexactKind> {
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'{' => self.open.push(Open::Object { seen: BTreeSet::new(), key: String::new(), is_key: true }),
                b'[' => self.open.push(Open::Array(0)),
                b'}' | b']' => drop(self.open.pop()),
                b',' => match self.open.last_mut() {
                    Some(Open::Array(place)) => *place += 1,
                    Some(Open::Object { is_key, .. }) => *is_key = true,
                    None => {}
                },
                b'"' => {
                    let end = self.end_of_text();
                    let text = &self.bytes[self.at..end];
                    self.at = end;
                    if let Some(Open::Object { seen, key, is_key: is_key @ true }) = self.open.last_mut() {
                        *is_key = false;
                        *key = serde_json::from_slice(text).ok()?;
                        if !seen.insert(key.clone()) {
                            return Some(InexactKind::Key(key.clone()));
                        }
                    }
                    continue;
                }
                b'-' | b'0'..=b'9' => {
                    let rest = &self.bytes[self.at..];
                    let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                    let end = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                    let number = std::str::from_utf8(&rest[..end]).ok()?;
                    if !is_exact(number) {
                        return Some(InexactKind::Number(number.to_owned()));
                    }
                    self.at += end;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        None
    }

    /// The place after the text that begins here.
    fn end_of_text(&self) -> usize {
        let mut at = self.at + 1;
        while let Some(byte) = self.bytes.get(at) {
            match byte {
                b'"' => return at + 1,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.bytes.len()
    }

    fn path(&self) -> Vec<String> {
        let part = |open: &Open| match open {
            Open::Array(place) => format!("[{place}]"),
            Open::Object { key, .. } => key.clone(),
        };
        self.open.iter().map(part).collect()
    }
}

/// Whether a value in memory is the same number.
fn is_exact(number: &str) -> bool {
    // so many bytes have at most 15 digits, which a float has, too
    if number.len() <= 15 && !number.contains(['e', 'E']) {
        return true;
    }
    let Ok(kept) = serde_json::from_str::<serde_json::Number>(number) else { return false };
    if !number.contains(['.', 'e', 'E']) {
        // a longer one would come back as a fraction
        return kept.is_u64() || kept.is_i64();
    }
    Decimal::of(number) == Decimal::of(&kept.to_string())
}

/// A number as its digits, without zeros around them, and the power of ten of the last one.
#[derive(PartialEq)]
struct Decimal<'a> {
    is_negative: bool,
    digits: Vec<&'a u8>,
    power: i64,
}

impl<'a> Decimal<'a> {
    fn of(number: &'a str) -> Option<Self> {
        let (is_negative, number) = number.strip_prefix('-').map_or((false, number), |number| (true, number));
        let (number, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let mut power = exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(part.len()).ok()?)?;
        let mut digits: Vec<&u8> =
            whole.as_bytes().iter().chain(part.as_bytes()).skip_while(|digit| **digit == b'0').collect();
        while digits.pop_if(|digit| **digit == b'0').is_some() {
            power += 1;
        }
        if digits.is_empty() {
            power = 0;
        }
        Some(Self { is_negative, digits, power })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_that_would_change_is_found_by_its_path() {
        for (json, told) in [
            ("18446744073709551616", "the number 18446744073709551616 has more digits than are kept"),
            (r#"{"a":{"b":[1,{"c":3.141592653589793238462643}]}}"#, "a.b[1].c: the number 3.141592653589793238462643"),
            (r#"{"a":[[],{},"]\"{",[0,12345678901234567890123]]}"#, "a[3][1]: the number 12345678901234567890123"),
            (r#"{"x":1,"y":-9223372036854775809}"#, "y: the number -9223372036854775809"),
            ("100000000000000000000", "the number 100000000000000000000 has"),
            ("[1e-400]", "[0]: the number 1e-400"),
            ("[9007199254740993.0]", "[0]: the number 9007199254740993.0"),
            (r#"{"a":{"x":1,"\u0078":2}}"#, "a.x: the key \"x\" comes twice"),
        ] {
            let found = inexact(json).unwrap_or_else(|| panic!("{json}")).to_string();
            assert!(found.starts_with(told), "{found}");
        }
    }

    #[test]
    fn a_number_in_another_writing_is_the_same() {
        for json in [
            "0",
            "-0",
            "1.0",
            "1.50",
            "0.1",
            "12345e6",
            "1E5",
            "1e+2",
            "18446744073709551615",
            "-9223372036854775808",
            "1e300",
            "5e-324",
            "0e999999",
            "1e20",
            "\"12345678901234567890123\"",
            r#"{"a":1,"b":{"a":1},"12345678901234567890123":[{"a":1},{"a":2}]}"#,
        ] {
            assert_eq!(inexact(json), None, "{json}");
        }
    }

    #[test]
    fn a_path_of_an_error_is_short() {
        let (name, deep) = ("k".repeat(1_000), 100);
        let json = format!("{}1e-999{}", format!("{{\"{name}\":").repeat(deep), "}".repeat(deep));
        assert!(inexact(&json).unwrap().to_string().len() < 500);
    }

    proptest! {
        #[test]
        fn a_value_comes_back_from_its_own_text(number: f64, integer: i64, text in "\\PC{0,20}") {
            let value = serde_json::json!({ "n": [number, integer], "t": { "t": text } });
            prop_assert_eq!(inexact(&value.to_string()), None);
        }

        #[test]
        fn any_text_is_looked_through(text in "[\\[\\]{}\",:0-9eE.+\\- a\\\\]{0,60}") {
            // it is no JSON, mostly
            let _ = inexact(&text);
        }

        #[test]
        fn what_is_not_found_is_kept(digits in "[1-9][0-9]{0,25}", part in "[0-9]{1,25}", exponent in -20_i32..20) {
            let number = format!("{digits}.{part}e{exponent}");
            let kept: serde_json::Number = serde_json::from_str(&number).unwrap();
            let again: serde_json::Number = serde_json::from_str(&kept.to_string()).unwrap();
            prop_assert_eq!(&kept, &again);
            let significant = format!("{digits}{part}").trim_end_matches('0').len();
            if significant <= 15 {
                prop_assert_eq!(inexact(&number), None);
            }
            if significant > 17 {
                prop_assert!(inexact(&number).is_some());
            }
        }
    }
}
