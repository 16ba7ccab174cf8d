//! Values for the templates of `tests/secrets`, from a seed.

use std::collections::BTreeMap;
use std::ops::Range;

use data_encoding::{BASE64, BASE64URL_NOPAD};

const FORMATS: &str = include_str!("../../tests/texts/formats.txt");

const WORDS: [&str; 40] = [
    "falcon", "summer", "river", "banana", "purple", "castle", "winter", "dragon", "silver", "marble", "tulip",
    "harbor", "copper", "meadow", "rocket", "sailor", "pepper", "violet", "walnut", "thunder", "basket", "candle",
    "forest", "garden", "island", "jacket", "kitten", "lemon", "mirror", "orange", "pencil", "rabbit", "saddle",
    "turtle", "velvet", "window", "yellow", "zebra", "anchor", "breeze",
];

/// Random numbers that are the same for the same seed.
pub(super) struct Random(blake3::OutputReader);

impl Random {
    pub(super) fn of(seed: u64, line: &str) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).update(line.as_bytes()).finalize_xof())
    }

    fn below(&mut self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % bound as u64) as usize
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }

    fn of_class(&mut self, signs: &str, count: usize) -> String {
        let signs: Vec<char> = signs.chars().collect();
        (0..count).map(|_| signs[self.below(signs.len())]).collect()
    }
}

const DIGITS: &str = "0123456789";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The characters of a class.
fn class(name: &str) -> Option<String> {
    Some(match name {
        "hex" => format!("{DIGITS}abcdef"),
        "HEX" => format!("{DIGITS}ABCDEF"),
        "alnum" => format!("{DIGITS}{LOWER}{UPPER}"),
        "base64" => format!("{DIGITS}{LOWER}{UPPER}+/"),
        "url64" => format!("{DIGITS}{LOWER}{UPPER}-_"),
        "lower" => format!("{DIGITS}{LOWER}"),
        "upper" => format!("{DIGITS}{UPPER}"),
        "letters" => format!("{LOWER}{UPPER}"),
        "digits" => DIGITS.to_owned(),
        "base32" => format!("{UPPER}234567"),
        "base32_lower" => format!("{LOWER}234567"),
        "base58" => "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".to_owned(),
        "bech32" => "qpzry9x8gf2tvdw0s3jn54khce6mua7l".to_owned(),
        "bech32_upper" => "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".to_owned(),
        _ => return None,
    })
}

/// A value by its name in a template.
fn value(name: &str, formats: &BTreeMap<&str, &str>, random: &mut Random) -> Option<String> {
    if let Some(template) = formats.get(name) {
        return Some(filled(template, formats, random).0);
    }
    let (kind, count) = name.split_once(':').unwrap_or((name, "0"));
    let count: usize = count.parse().ok()?;
    if let Some(signs) = class(kind) {
        return Some(random.of_class(&signs, count));
    }
    let signs = class("base64")?;
    let mut lines = |between: &str| {
        let lines: Vec<String> = (0..count).map(|_| random.of_class(&signs, 64)).collect();
        lines.join(between)
    };
    Some(match kind {
        "pem" => lines("\n"),
        "pem_escaped" => lines("\\n"),
        "pem_flat" => lines(" "),
        "pem_indented" => lines("\n  "),
        "pem_quoted" => lines("\n> "),
        "kube_key" => {
            let body = random.of_class(&signs, 640);
            BASE64
                .encode(format!("-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n").as_bytes())
        }
        "HEX_colons" => {
            let signs = class("HEX")?;
            let pairs: Vec<String> = (0..count).map(|_| random.of_class(&signs, 2)).collect();
            pairs.join(":")
        }
        "uuid" => {
            let hex = class("hex")?;
            let lengths = [8, 4, 4, 4, 12];
            lengths.map(|length| random.of_class(&hex, length)).join("-")
        }
        "jwt" => {
            let head = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
            let subject = random.of_class(DIGITS, 10);
            let payload = format!(r#"{{"sub":"{subject}","iat":1700000000,"scope":"read write"}}"#);
            let signature = random.of_class(&class("url64")?, 43);
            format!("{head}.{}.{signature}", BASE64URL_NOPAD.encode(payload.as_bytes()))
        }
        "basic" => {
            let password = random.of_class(&class("alnum")?, 14);
            BASE64.encode(format!("{}:{password}", random.word()).as_bytes())
        }
        "discord" => {
            let id = BASE64URL_NOPAD.encode(random.of_class(DIGITS, 18).as_bytes());
            let signs = class("url64")?;
            format!("{id}.G{}.{}", random.of_class(&signs, 5), random.of_class(&signs, 38))
        }
        // as a generator of passwords makes them: at least one of each kind of character
        "password" => {
            let signs = format!("{DIGITS}{LOWER}{UPPER}!*-_.+~^");
            let [a, b, c] = [LOWER, UPPER, DIGITS].map(|signs| random.of_class(signs, 1));
            format!("{a}{b}{}{c}", random.of_class(&signs, 11))
        }
        // as people make them
        "weak" => {
            let (word, digits) = (random.word(), random.of_class(DIGITS, 2));
            let capital = word[..1].to_uppercase() + &word[1..];
            match random.below(5) {
                0 => format!("{word}{digits}"),
                1 => format!("{capital}{digits}!"),
                2 => format!("{capital}-20{digits}"),
                3 => format!("{word}{}{digits}", random.word()),
                _ => format!("{digits}{capital}{}", random.of_class("!#*", 1)),
            }
        }
        "passphrase" => [(); 5].map(|()| random.word()).join("-"),
        _ => return None,
    })
}

fn formats() -> BTreeMap<&'static str, &'static str> {
    FORMATS.lines().filter(|line| !line.starts_with("##")).filter_map(|line| line.split_once(' ')).collect()
}

/// A template with values, and where those that are credentials are.
fn filled(template: &str, formats: &BTreeMap<&str, &str>, random: &mut Random) -> (String, Vec<Range<usize>>) {
    let (mut text, mut secrets, mut rest) = (String::new(), Vec::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        text += before;
        let made = after.split_once('}').and_then(|(name, behind)| {
            let plain = name.strip_prefix('~');
            Some((value(plain.unwrap_or(name), formats, random)?, plain.is_none(), behind))
        });
        match made {
            Some((value, is_secret, behind)) => {
                if is_secret {
                    secrets.push(text.len()..text.len() + value.len());
                }
                text += &value;
                rest = behind;
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    (text + rest, secrets)
}

/// A line of a set as a text, and where its credentials are.
pub(super) fn text(line: &str, seed: u64) -> (String, Vec<Range<usize>>) {
    filled(&line.replace('⏎', "\n"), &formats(), &mut Random::of(seed, line))
}
