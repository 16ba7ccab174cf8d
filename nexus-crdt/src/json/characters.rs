use std::borrow::Cow;
use std::ops::Range;

/// A JSON text in which every escape is a character: half a surrogate pair (`\ud83d` alone) becomes `\ufffd`, and bytes that
/// are not UTF-8 become U+FFFD. Everything else stays byte for byte.
///
/// Programs that cut a text by UTF-16 units write half a pair, which no JSON reader takes for a character.
pub fn whole_characters(json: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(json);
    if !text.contains("\\u") {
        return text;
    }
    let halves: Vec<Range<usize>> = halves(text.as_bytes()).collect();
    if halves.is_empty() {
        return text;
    }
    let mut whole = String::with_capacity(text.len());
    let mut from = 0;
    for half in halves {
        whole.push_str(&text[from..half.start]);
        whole.push_str("\\ufffd");
        from = half.end;
    }
    whole.push_str(&text[from..]);
    whole.into()
}

/// The escapes that are half a pair, in order.
fn halves(json: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += json.get(at..)?.iter().position(|byte| *byte == b'\\')?;
            let unit = unit_at(json, at);
            let length = if unit.is_some() { 6 } else { 2 };
            match unit {
                Some(0xd800..=0xdbff) if matches!(unit_at(json, at + 6), Some(0xdc00..=0xdfff)) => at += 12,
                Some(0xd800..=0xdfff) => {
                    at += length;
                    return Some(at - length..at);
                }
                _ => at += length,
            }
        }
    })
}

/// The unit of the escape that begins here.
fn unit_at(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_a_pair_is_no_character_and_the_rest_stays() {
        for (given, whole) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""\uDE00 \uD83D\uDE00""#, r#""\ufffd \uD83D\uDE00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\n\ude00""#, r#""\ufffd\n\ufffd""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            // an escaped backslash begins no escape
            (r#""\\ud83d \\\ud83d""#, r#""\\ud83d \\\ufffd""#),
            (r#"{"\udc00":1}"#, r#"{"\ufffd":1}"#),
            (r#""\ud83""#, r#""\ud83""#),
            (r#""\u+ab1 \ud83d\u""#, r#""\u+ab1 \ufffd\u""#),
            (r#"{"a": 1.50}"#, r#"{"a": 1.50}"#),
            ("\"\\", "\"\\"),
        ] {
            assert_eq!(whole_characters(given.as_bytes()), whole, "{given}");
        }
        assert_eq!(whole_characters(b"\"\xed\xa0\xbd\""), "\"\u{fffd}\u{fffd}\u{fffd}\"");
    }

    proptest! {
        #[test]
        fn what_json_can_say_stays_as_it_is(text in ".{0,40}") {
            let plain = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(whole_characters(plain.as_bytes()), plain.as_str());
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let escaped = format!("\"{units}\"");
            prop_assert_eq!(whole_characters(escaped.as_bytes()), escaped.as_str());
        }

        #[test]
        fn any_units_are_read_as_a_program_with_utf_16_reads_them(units in prop::collection::vec(
            prop_oneof![Just(0xd83d_u16), Just(0xde00), Just(0x5c), any::<u16>()], 0..12))
        {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04X}")).collect();
            let read: String = serde_json::from_str(&whole_characters(format!("\"{escaped}\"").as_bytes())).unwrap();
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }
    }
}
