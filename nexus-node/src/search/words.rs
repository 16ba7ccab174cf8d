use std::collections::BTreeSet;

use super::tokens::{TOKEN_BYTES_MAX, each_token};

/// The most words of a text that are indexed.
const WORDS_MAX: usize = 8_192;

/// The words of a text, in order: lower case, without accents and English endings (feature `search`).
/// Runs of Han, kana and hangul, which are written without spaces, become pairs of characters.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each_word(text, |word, _| words.push(word));
    words
}

/// The words of a text in their searched form, and as they are spelled in the text.
pub(crate) fn spelled_words(text: &str) -> Vec<(String, String)> {
    let mut words = Vec::new();
    each_word(text, |word, spelled| words.push((word, spelled.to_owned())));
    words
}

/// Calls `each` with every word of a text: the searched form and the spelling in the text.
pub(crate) fn each_word(text: &str, mut each: impl FnMut(String, &str)) {
    each_token(text, WORDS_MAX, |token, spelled| {
        if token.chars().any(is_written_without_spaces) {
            each_pair(token, &mut each);
        } else {
            each(token.to_owned(), spelled);
        }
    });
}

/// A search for some words in several texts, without cutting all of each text into words.
pub(crate) struct WordMatches<'a> {
    words: Vec<&'a str>,
    found: Vec<bool>,
    /// The first bytes of the words that are not found yet.
    beginnings: BTreeSet<u8>,
}

impl<'a> WordMatches<'a> {
    /// Words as [`words`] makes them; none is found yet.
    pub(crate) fn of(words: impl Iterator<Item = &'a str>) -> Self {
        let words: Vec<&str> = words.collect();
        let mut spoken = Self { found: vec![false; words.len()], words, beginnings: BTreeSet::new() };
        spoken.begin();
        spoken
    }

    fn begin(&mut self) {
        let missing = self.words.iter().zip(&self.found).filter(|(_, found)| !**found);
        self.beginnings = missing.filter_map(|(word, _)| word.bytes().next()).collect();
    }

    /// Searches one more text.
    pub(crate) fn look_in(&mut self, text: &str) {
        let tokens = text.split(|c: char| !c.is_alphanumeric());
        let tokens = tokens.filter(|token| !token.is_empty() && token.len() < TOKEN_BYTES_MAX);
        for token in tokens.take(WORDS_MAX) {
            if self.beginnings.is_empty() {
                return;
            }
            // folding and stemming never change the first letter of an ASCII word
            let first = token.as_bytes()[0].to_ascii_lowercase();
            if token.is_ascii() && !self.beginnings.contains(&first) {
                continue;
            }
            let before = self.found.clone();
            each_word(token, |word, _| {
                for (wanted, found) in self.words.iter().zip(&mut self.found) {
                    *found |= word == *wanted;
                }
            });
            if self.found != before {
                self.begin();
            }
        }
    }

    /// For each word, whether it was found.
    pub(crate) fn found(&self) -> &[bool] {
        &self.found
    }
}

fn each_pair(run: &str, each: &mut impl FnMut(String, &str)) {
    let chars: Vec<char> = run.chars().collect();
    // a single character is a word of its own
    for pair in chars.chunks(chars.len().min(1)).take(usize::from(chars.len() == 1)).chain(chars.windows(2)) {
        let pair: String = pair.iter().collect();
        each(pair.clone(), &pair);
    }
}

fn is_written_without_spaces(c: char) -> bool {
    matches!(u32::from(c),
        0x3040..=0x30ff   // hiragana, katakana
        | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff // Han
        | 0xac00..=0xd7af // hangul
        | 0x0e00..=0x0e7f // Thai
    )
}

/// A fingerprint of a text's [`words`] (SimHash, Charikar 2002, over words and pairs of neighbours). Texts
/// that say nearly the same differ in few bits. Zero for a text without words.
pub(crate) fn fingerprint<W: AsRef<str>>(words: &[W]) -> u64 {
    if words.is_empty() {
        return 0;
    }
    let hashes: Vec<u64> = words.iter().map(|word| hash(word.as_ref().as_bytes())).collect();
    let pairs = hashes.windows(2).map(|pair| mixed(pair[0].rotate_left(23) ^ pair[1]));
    let mut weights = [0_i32; 64];
    for feature in hashes.iter().copied().chain(pairs) {
        for (bit, weight) in weights.iter_mut().enumerate() {
            *weight += if feature >> bit & 1 == 1 { 1 } else { -1 };
        }
    }
    let bits = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
    bits.fold(0, |print, (bit, _)| print | 1 << bit).max(1)
}

/// FNV-1a (Fowler, Noll and Vo), mixed. Whoever makes two texts alike makes but a wrong hint.
fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mixed(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The last step of MurmurHash3 (Appleby): each bit changes half of all bits.
const fn mixed(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

/// The most different bits of two fingerprints whose texts count as nearly the same.
pub(crate) const SIMILAR_BITS: u32 = 3;

/// The quarters of a fingerprint. Similar ones have an equal quarter, as there are more quarters than bits that differ.
pub(super) const fn quarters(print: u64) -> [u16; 4] {
    const { assert!(SIMILAR_BITS < 4) };
    [print as u16, (print >> 16) as u16, (print >> 32) as u16, (print >> 48) as u16]
}

/// Whether two fingerprints are of texts that say nearly the same.
pub(crate) const fn similar(a: u64, b: u64) -> bool {
    a != 0 && b != 0 && (a ^ b).count_ones() <= SIMILAR_BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_found_in_any_case_accent_and_common_ending() {
        assert_eq!(words("The Builds, BUILDING: café!"), words("the build, builds cafe"));
        assert_eq!(words("rust-analyzer v1.2"), ["rust", "analyz", "v1", "2"]);
        assert!(words(" …! ").is_empty());
    }

    #[test]
    fn what_is_written_without_spaces_becomes_pairs() {
        assert_eq!(words("分散型メモリ"), ["分散", "散型", "型メ", "メモ", "モリ"]);
        assert_eq!(words("我"), ["我"]);
    }

    proptest! {
        #[test]
        fn words_are_spoken_as_making_words_of_everything_says(
            text in "([a-zA-Zéß0-9 ’'.-]{0,12}|[分散型 a]{0,4}|flies|Dying|early|YOUTH|yes|skies|news|generally){0,12}",
            question in "([a-eA-Eéß0-9 ]{0,6}|[分散型]{0,3}|fly|die|earli|youth|sky|general){0,5}",
        ) {
            let (here, wanted) = (words(&text), words(&question));
            let mut spoken = WordMatches::of(wanted.iter().map(String::as_str));
            spoken.look_in(&text);
            let expected: Vec<bool> = wanted.iter().map(|word| here.contains(word)).collect();
            prop_assert_eq!(spoken.found(), expected);
            // and each word of the text is found in it
            let mut spoken = WordMatches::of(here.iter().map(String::as_str));
            spoken.look_in(&text);
            prop_assert!(spoken.found().iter().all(|found| *found));
        }
    }

    #[test]
    fn nearly_the_same_is_similar_and_something_else_is_not() {
        let text = "the release build needs a C compiler and about ten minutes on two cores";
        let again = "The release build needs a C compiler, and about ten minutes on two cores!";
        assert!(similar(fingerprint(&words(text)), fingerprint(&words(again))));
        let other = "the staging database is restored from the nightly backup at four in the morning";
        assert!(!similar(fingerprint(&words(text)), fingerprint(&words(other))));
        assert!(!similar(fingerprint(&words("")), fingerprint(&words(""))));
    }
}
