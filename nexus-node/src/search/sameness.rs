//! Whether two texts say the same.
//!
//! Numbers, negations and names decide: where they differ, the texts never say the same. Other words may differ a
//! little. A name is a word with a capital letter inside a sentence, or one of several parts.

use std::collections::BTreeSet;

use super::language::Language;
use super::vocabulary;
use super::words::{PieceKind, language_among, pieces};

/// The words that turn a sentence round, in lower case and without accents.
const NEGATIONS: &[&str] = &[
    "aren", "cannot", "couldn", "didn", "doesn", "don", "hadn", "hasn", "haven", "isn", "kein", "keine", "keinem",
    "keinen", "keiner", "keines", "never", "nicht", "nichts", "nie", "niemals", "no", "nobody", "none", "nor", "not",
    "nothing", "ohne", "shouldn", "wasn", "weren", "without", "won", "wouldn",
];
/// The share of equal words of texts that say nearly the same, and of those where one says all that the other does.
const NEARLY_SHARE: (usize, usize) = (1, 2);
const SAME_SHARE: (usize, usize) = (4, 5);

/// The longest text that is compared, in bytes. A longer one is a document, of which two seldom say the same.
const TEXT_BYTES_MAX: usize = 2 << 10;

/// How alike two texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Likeness {
    /// They say different things, or nobody can tell.
    Other,
    /// A person should look: most words are the same, and no number, negation or name differs.
    Near,
    /// One says what the other does, and a word or two more.
    Same,
    /// They say the same in the same words, in any order.
    Equal,
}

/// The beginnings of a text's words: enough to tell most texts apart without cutting them up.
#[derive(Clone, Debug)]
pub(crate) struct Outline(Vec<[u8; 3]>);

impl Outline {
    pub(crate) fn of(text: &str) -> Self {
        let text = if text.len() > TEXT_BYTES_MAX { "" } else { text };
        let words = text.split(|c: char| !c.is_alphanumeric());
        let begins = words.filter_map(|word| word.as_bytes().first_chunk::<3>());
        let mut begins: Vec<[u8; 3]> = begins.map(|word| word.map(|byte| byte.to_ascii_lowercase())).collect();
        begins.sort_unstable();
        begins.dedup();
        Self(begins)
    }

    /// Whether half of the shorter text's words may be in the other.
    pub(crate) fn may_be(&self, other: &Self) -> bool {
        let (less, more) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        let common = less.0.iter().filter(|word| more.0.binary_search(word).is_ok()).count();
        2 * common >= less.0.len()
    }
}

/// A text as it is compared with others.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    language: Language,
    content: BTreeSet<String>,
    numbers: BTreeSet<String>,
    names: BTreeSet<String>,
    negations: usize,
}

impl Said {
    pub(crate) fn of(text: &str) -> Self {
        let text = if text.len() > TEXT_BYTES_MAX { "" } else { text };
        let pieces = pieces(text);
        let language = language_among(&pieces);
        let (mut said, mut last) = (
            Self { language, content: BTreeSet::new(), numbers: BTreeSet::new(), names: BTreeSet::new(), negations: 0 },
            None,
        );
        for piece in pieces {
            if piece.kind != PieceKind::Token {
                continue;
            }
            // pairs of characters lie over each other
            let between = last.map(|end: usize| text.get(end..piece.at.start).unwrap_or_default());
            let begins = between.is_none_or(|between| between.contains(['.', '!', '?', ':', ';', '\n', '(', '`']));
            last = Some(piece.at.end);
            said.negations += usize::from(NEGATIONS.binary_search(&piece.folded.as_str()).is_ok());
            if language.drops(&piece.folded) || NEGATIONS.contains(&piece.folded.as_str()) {
                continue;
            }
            let stem = language.stem(&piece.folded).into_owned();
            if piece.folded.bytes().any(|byte| byte.is_ascii_digit()) {
                said.numbers.insert(piece.folded);
            } else if !begins && text[piece.at].starts_with(char::is_uppercase) {
                said.names.insert(stem.clone());
            }
            said.content.insert(stem);
        }
        said
    }

    /// The words by which texts that say the same are found.
    pub(crate) fn content(&self) -> impl Iterator<Item = &str> {
        self.content.iter().map(String::as_str)
    }

    pub(crate) fn likeness(&self, other: &Self) -> Likeness {
        let names_there = |of: &Self, there: &Self| of.names.iter().all(|name| there.content.contains(name));
        let alike = self.language == other.language
            && self.numbers == other.numbers
            && self.negations == other.negations
            && names_there(self, other)
            && names_there(other, self);
        if !alike || self.content.is_empty() || other.content.is_empty() {
            return Likeness::Other;
        }
        // most have little in common
        let common = self.content.intersection(&other.content).count();
        if 3 * common < self.content.len().min(other.content.len()) {
            return Likeness::Other;
        }
        // `db` is no other word than `database`
        let has = |there: &Self, word: &str| {
            there.content.contains(word)
                || vocabulary::related(word).any(|other| there.content.contains(&*self.language.stem(other)))
        };
        let left: usize = self.content.iter().filter(|word| !has(other, word)).count();
        let right: usize = other.content.iter().filter(|word| !has(self, word)).count();
        let common = self.content.len() - left;
        let all = common + left + right;
        let is_share = |(part, of): (usize, usize)| common * of >= all * part;
        match (left == 0 || right == 0, common) {
            (true, _) if left == right => Likeness::Equal,
            (true, _) if is_share(SAME_SHARE) => Likeness::Same,
            // two words in common are too few to tell
            (_, 2..) if is_share(NEARLY_SHARE) => Likeness::Near,
            _ => Likeness::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeness(a: &str, b: &str) -> Likeness {
        let (a, b) = (Said::of(a), Said::of(b));
        assert_eq!(a.likeness(&b), b.likeness(&a));
        a.likeness(&b)
    }

    #[test]
    fn what_a_person_calls_the_same_is_the_same() {
        for (a, b) in [
            ("use pnpm and not npm in the frontend", "use pnpm, not npm, in the frontend"),
            ("The release build needs a C compiler", "the release build needs a C compiler!"),
            ("Delete your branch after merging.", "Merged branches are deleted."),
            ("Ask Jun before you change anything in DNS.", "DNS changes only after asking Jun."),
        ] {
            assert!(likeness(a, b) >= Likeness::Same, "{a} | {b}");
        }
    }

    #[test]
    fn other_words_are_near_and_no_more() {
        for (a, b) in [
            ("All timestamps are in UTC with a trailing Z", "timestamps: in UTC and ending in Z"),
            ("deploys to production are allowed", "deploys to production are allowed after a review"),
            ("the local database has demo data after seed", "demo data for the local db: seed"),
        ] {
            assert!(likeness(a, b) >= Likeness::Near, "{a} | {b}");
        }
        assert_eq!(likeness("restart the api every night", "restart the worker every night"), Likeness::Near);
    }

    /// promise: Recall | Texts that differ in a number, a negation or a name never count as the same
    #[test]
    fn a_number_a_negation_or_a_name_makes_another_text() {
        for (a, b) in [
            ("staging is on port 5432", "staging is on port 5433"),
            ("pg-1 may be restarted during the day", "pg-1 may not be restarted during the day"),
            ("Only Tomasz is allergic to peanuts", "Only Sunniva is allergic to peanuts"),
            ("Crash on iOS when a tour ends", "Crash on Android when a tour ends"),
            ("retries are made without jitter", "retries are made with jitter"),
        ] {
            assert_eq!(likeness(a, b), Likeness::Other, "{a} | {b}");
        }
        assert_eq!(likeness("the", "the"), Likeness::Other);
    }

    #[test]
    fn texts_of_any_script_are_compared() {
        assert_eq!(likeness("東京タワー, 한국어 ไทย", "한국어 ไทย 東京タワー"), Likeness::Equal);
        assert_eq!(likeness("ไทย", "日本"), Likeness::Other);
    }

    #[test]
    fn negations_are_in_order() {
        assert!(NEGATIONS.is_sorted());
    }
}
