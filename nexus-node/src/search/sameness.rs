//! Whether two texts say the same.
//!
//! Numbers, negations and names decide: where they differ, the texts never say the same. Other words may differ a
//! little. A name is a word with a capital letter inside a sentence, or one of several parts.

use std::collections::BTreeSet;

use super::language::{Language, Words, cut};
use super::vocabulary;
use super::words::{PieceKind, language_among, pieces};

/// The words that turn a sentence round, in lower case and without accents.
static NEGATIONS: Words = Words::new(|| {
    cut("aren cannot couldn didn doesn don hadn hasn haven isn kein keine keinem keinen keiner keines never nicht \
         nichts nie niemals no nobody none nor not nothing ohne shouldn wasn weren without won wouldn")
});
/// The share of equal words of texts that say nearly the same, and of those where one says all that the other does.
const NEARLY_SHARE: (usize, usize) = (1, 2);
const SAME_SHARE: (usize, usize) = (4, 5);

/// Numbers that are written as words, in lower case and without accents, with their digits. The words for one are
/// articles, too, and left out.
const NUMBERS: &[(&str, &str)] = &[
    ("acht", "8"),
    ("drei", "3"),
    ("eight", "8"),
    ("eleven", "11"),
    ("elf", "11"),
    ("five", "5"),
    ("four", "4"),
    ("funf", "5"),
    ("neun", "9"),
    ("nine", "9"),
    ("sechs", "6"),
    ("seven", "7"),
    ("sieben", "7"),
    ("six", "6"),
    ("ten", "10"),
    ("three", "3"),
    ("twelve", "12"),
    ("two", "2"),
    ("vier", "4"),
    ("zehn", "10"),
    ("zwei", "2"),
    ("zwolf", "12"),
];

/// The words by which people say that something is no longer as it was, in lower case and without accents.
const CHANGES: &[&str] = &[
    "abgelost",
    "anymore",
    "became",
    "bumped",
    "changed",
    "cut",
    "dropped",
    "ersetzt",
    "geandert",
    "instead",
    "jetzt",
    "longer",
    "lowered",
    "moved",
    "neu",
    "neue",
    "neuer",
    "neues",
    "new",
    "now",
    "nun",
    "raised",
    "renamed",
    "replaced",
    "replaces",
    "retired",
    "seit",
    "since",
    "statt",
    "superseded",
    "switched",
    "takes",
    "took",
    "umgezogen",
    "upgraded",
];
/// The share of the shorter text's words that two texts of one subject have in common, and how many they are at least.
const SUBJECT_SHARE: (usize, usize) = (2, 5);
const SUBJECT_WORDS: usize = 3;
/// The longest text that is taken for a statement, in bytes. A longer one has many, of which most stay true.
const STATEMENT_BYTES_MAX: usize = 300;

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
pub(crate) struct Outline {
    /// Three bytes each, in order.
    begins: Vec<u32>,
    /// Whether a word may say that something has changed.
    may_change: bool,
    is_statement: bool,
    /// Without that its words may have no spaces between them.
    is_ascii: bool,
}

impl Outline {
    pub(crate) fn of(text: &str) -> Self {
        let text = if text.len() > TEXT_BYTES_MAX { "" } else { text };
        let (mut begins, mut may_change) = (Vec::new(), false);
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            may_change = may_change || may_say_change(word);
            if let Some(begin) = word.as_bytes().first_chunk::<3>() {
                let [a, b, c] = begin.map(|byte| byte.to_ascii_lowercase());
                begins.push(u32::from_be_bytes([0, a, b, c]));
            }
        }
        begins.sort_unstable();
        begins.dedup();
        Self { begins, may_change, is_statement: is_statement(text), is_ascii: text.is_ascii() }
    }

    /// Whether both may say nearly the same: such texts have half of their words in common, and words that say nothing
    /// are among these here.
    pub(crate) fn may_be_near(&self, other: &Self) -> bool {
        const SHARE: (usize, usize) = (1, 4);
        let least = self.begins.len().min(other.begins.len());
        !(self.is_ascii && other.is_ascii) || self.has_share(other, least, SHARE)
    }

    /// Whether both may have the same words.
    pub(crate) fn may_equal(&self, other: &Self) -> bool {
        const SHARE: (usize, usize) = (1, 2);
        let most = self.begins.len().max(other.begins.len());
        self.has_share(other, most, SHARE)
    }

    /// Whether both may say something else of one subject.
    pub(crate) fn may_contradict(&self, other: &Self) -> bool {
        let least = self.begins.len().min(other.begins.len());
        self.is_statement
            && other.is_statement
            && self.has_share(other, least, SUBJECT_SHARE)
            && (self.may_change || other.may_change || self.may_equal(other))
    }

    fn has_share(&self, other: &Self, all: usize, (part, of): (usize, usize)) -> bool {
        let (mut common, mut rest) = (0, other.begins.as_slice());
        for word in &self.begins {
            while let [first, after @ ..] = rest
                && first <= word
            {
                common += usize::from(first == word);
                rest = after;
            }
        }
        of * common >= part * all
    }
}

/// Whether a text is short enough for a statement, of which another one may say the opposite.
fn is_statement(text: &str) -> bool {
    (1..=STATEMENT_BYTES_MAX).contains(&text.len())
}

/// Whether a word may be one of [`CHANGES`]. One with accents may.
fn may_say_change(word: &str) -> bool {
    let mut lower = [0; 12];
    let Some(lower) = lower.get_mut(..word.len()) else { return false };
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    !word.is_ascii() || CHANGES.binary_search_by(|change| change.as_bytes().cmp(lower)).is_ok()
}

/// A text as it is compared with others.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    language: Language,
    content: BTreeSet<String>,
    numbers: BTreeSet<String>,
    names: BTreeSet<String>,
    negations: usize,
    /// Whether it says that something has changed.
    changes: bool,
    is_statement: bool,
}

impl Said {
    pub(crate) fn of(text: &str) -> Self {
        let text = if text.len() > TEXT_BYTES_MAX { "" } else { text };
        let pieces = pieces(text);
        let language = language_among(&pieces);
        let (content, numbers, names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let is_statement = is_statement(text);
        let mut said = Self { language, content, numbers, names, negations: 0, changes: false, is_statement };
        let mut last = None;
        for piece in pieces {
            if piece.kind != PieceKind::Token {
                continue;
            }
            // pairs of characters lie over each other
            let between = last.map(|end: usize| text.get(end..piece.at.start).unwrap_or_default());
            let begins = between.is_none_or(|between| between.contains(['.', '!', '?', ':', ';', '\n', '(', '`']));
            last = Some(piece.at.end);
            said.negations += usize::from(NEGATIONS.has(&piece.folded));
            said.changes |= CHANGES.binary_search(&piece.folded.as_str()).is_ok();
            if let Ok(at) = NUMBERS.binary_search_by_key(&piece.folded.as_str(), |(word, _)| word) {
                said.numbers.insert(NUMBERS[at].1.to_owned());
                said.content.insert(NUMBERS[at].1.to_owned());
                continue;
            }
            if language.drops(&piece.folded) || NEGATIONS.has(&piece.folded) {
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

    /// Whether a later text seems to say something else of the same subject: it says that something has changed, or the
    /// same with another number.
    pub(crate) fn is_contradicted_by(&self, later: &Self) -> bool {
        if !(self.is_statement && later.is_statement && self.language == later.language) {
            return false;
        }
        let common = self.content.intersection(&later.content).count();
        let rest = |of: &Self| of.content.difference(&of.numbers).count();
        let (words, words_later) = (rest(self), rest(later));
        let numbers = self.numbers.intersection(&later.numbers).count();
        let (fewer, fewer_later) = (self.numbers.len() - numbers, later.numbers.len() - numbers);
        if fewer > 0 && fewer_later > 0 && common >= numbers + words.max(words_later) && words >= 2 {
            return self.negations == later.negations;
        }
        let least = self.content.len().min(later.content.len());
        let (part, of) = SUBJECT_SHARE;
        let of_one_subject = common >= SUBJECT_WORDS && of * common >= part * least;
        of_one_subject && later.changes && self.likeness(later) < Likeness::Same
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
            assert!(Outline::of(a).may_be_near(&Outline::of(b)), "{a} | {b}");
            let may_equal = Outline::of(a).may_equal(&Outline::of(b));
            assert!(may_equal || likeness(a, b) < Likeness::Equal, "{a} | {b}");
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
            assert!(Outline::of(a).may_be_near(&Outline::of(b)), "{a} | {b}");
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
            ("reviews need two approvals on main", "reviews need three approvals on main"),
        ] {
            assert_eq!(likeness(a, b), Likeness::Other, "{a} | {b}");
        }
        assert_eq!(likeness("the", "the"), Likeness::Other);
    }

    #[test]
    fn numbers_are_equal_as_words_and_as_digits() {
        assert_eq!(likeness("reviews need two approvals", "reviews need 2 approvals"), Likeness::Equal);
    }

    #[test]
    fn texts_of_any_script_are_compared() {
        assert_eq!(likeness("東京タワー, 한국어 ไทย", "한국어 ไทย 東京タワー"), Likeness::Equal);
        assert_eq!(likeness("ไทย", "日本"), Likeness::Other);
    }

    #[test]
    fn a_later_value_of_one_subject_contradicts_the_former() {
        let contradicts = |a: &str, b: &str| Said::of(a).is_contradicted_by(&Said::of(b));
        for (former, later) in [
            ("staging is on port 5432", "staging is on port 5433"),
            ("Reviews need one approval on main", "Reviews on main now need two approvals"),
            ("The nightly load of prices starts at 01:00", "The nightly load of prices was moved to 04:15"),
        ] {
            assert!(contradicts(former, later), "{former} | {later}");
            assert!(Outline::of(former).may_contradict(&Outline::of(later)), "{former} | {later}");
        }
        for (one, other) in [
            ("Kofi is on leave 14-25 April", "Danilo is on leave 14-17 April"),
            ("runner-a has 16 cores and 64 GB", "runner-b has 8 cores and 32 GB"),
            ("use pnpm and not npm in the frontend", "use pnpm, not npm, in the frontend now"),
            ("the build needs a C compiler", "the gateway is new"),
            ("", ""),
        ] {
            assert!(!contradicts(one, other), "{one} | {other}");
        }
    }

    #[test]
    fn word_lists_are_in_order() {
        assert!(CHANGES.is_sorted() && NUMBERS.is_sorted());
        assert!(CHANGES.iter().all(|word| word.len() <= 12 && may_say_change(&word.to_uppercase())));
    }
}
