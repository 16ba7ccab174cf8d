use std::fmt;
use std::io;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use icu_normalizer::ComposingNormalizerBorrowed;

use crate::claimed;
use crate::error::NameError;
use crate::limits::NAME_BYTES_MAX;

/// The name of a member or a space, for people: 1 to [`NAME_BYTES_MAX`] bytes without control
/// characters and without white space at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Name {
    /// Whether a reader may take it for another one: equal once both are [`folded`].
    pub fn is_like(&self, other: &str) -> bool {
        // most differ in the plain letters, which need no table
        if self.0.is_ascii() && other.is_ascii() {
            return self.0.eq_ignore_ascii_case(other);
        }
        folded(&self.0) == folded(other)
    }
}

/// The form in which texts are compared that look alike or mean the same letters. Compatibility forms are composed
/// (NFKC), case is folded, and characters without a shape are left out. Unicode calls this form `NFKC_Casefold`.
///
/// ```
/// use nexus_identity::folded;
/// assert_eq!(folded("ＬＡＰＴＯＰ"), folded("laptop"));
/// assert_eq!(folded("Straße"), folded("STRASSE"));
/// ```
pub fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let composed = ComposingNormalizerBorrowed::new_nfkc();
    let mut text = composed.normalize(text).into_owned();
    // a second pass takes in what the first one made: of two forms that are equal both end as the same
    for _ in 0..2 {
        let folded: String = text.chars().filter(|letter| !is_ignored(*letter)).flat_map(in_one_case).collect();
        text = composed.normalize(&folded).into_owned();
    }
    text
}

/// The letters of a character without their case. By way of the upper case, `ß` is `ss` and every sigma is one; the
/// lower case before it takes in capitals that have no further one.
fn in_one_case(letter: char) -> impl Iterator<Item = char> {
    // the dotless i has a capital of its own in no table, and would become another letter
    let keeps = letter == 'ı';
    let lower = letter.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    lower.filter(move |_| !keeps).chain(keeps.then_some(letter))
}

/// Characters without a shape (Unicode's `Default_Ignorable_Code_Point`).
const fn is_ignored(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { bytes: text.len() });
        }
        if text.trim() != text || text.chars().any(char::is_control) {
            return Err(NameError::Unprintable);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BorshSerialize for Name {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.0.serialize(writer)
    }
}

impl BorshDeserialize for Name {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        claimed::text(reader)?.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// promise: Meeting | Equal names are told apart: compared without case and form, refused at `join`, else shown with ids
    #[test]
    fn names_that_look_alike_are_equal() {
        for (one, other) in [
            ("laptop", "Laptop"),
            ("laptop", "ＬＡＰＴＯＰ"),
            ("Straße", "STRASSE"),
            ("straẞe", "strasse"),
            ("Ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ"),
            ("ofﬁce", "OFFICE"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
            ("ноутбук", "НОУТБУК"),
            ("ﾊﾟｿｺﾝ", "パソコン"),
            ("①", "1"),
            ("alice", "al\u{200b}ice"),
            ("alice", "alice\u{ad}"),
            ("K", "\u{212a}"),
            ("ſerver", "Server"),
            ("İ", "i\u{307}"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
            assert!(one.parse::<Name>().unwrap().is_like(other), "{one} {other}");
        }
        for (one, other) in
            [("laptop", "laptop2"), ("ı", "i"), ("ö", "o"), ("か", "が"), ("alice", "аlice"), ("a b", "ab")]
        {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing_more(text in "\\PC{0,24}") {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once);
        }

        #[test]
        fn case_makes_no_difference(text in "[a-zß-ÿα-ωа-я ]{0,24}") {
            prop_assert_eq!(folded(&text.to_uppercase()), folded(&text));
        }
    }
}
