//! Whether two texts say the same.
//!
//! Two memories are the same if their texts are equal but for white space and Unicode's form ([`same_text`]). All else is a
//! hint: texts with one of these differences say different things.
//!
//! | difference | example |
//! |---|---|
//! | numbers, signs, flags | `-v` and `-V`, `m²` and `m2`, `< 5` and `> 5` |
//! | negations and names | with and without `not`; Ada and Bo |
//! | the order of the same words | Ada reports to Bo, and Bo to Ada |
//! | one word, or one word for its opposite | staging and production; allow and deny |
//!
//! A name is a word with a capital letter inside a sentence, or one of several parts.

use std::collections::BTreeSet;

use icu_normalizer::ComposingNormalizerBorrowed;

use super::vocabulary;
use crate::words::language::{Language, Words, cut};
use crate::words::{PieceKind, language_among, pieces};

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

/// The most words of a value, as a date has three.
const VALUE_WORDS_MAX: usize = 4;

/// The words that tell the way between others, in lower case and without accents.
static WAYS: Words = Words::new(|| {
    cut(
        "above after an auf aus before behind below bevor bis by from into nach onto over statt than through to toward \
         towards uber under unless unter until upon von vor without zu",
    )
});

/// Words of which only one is true of a thing: days, months, tools of one trade, states. The first ones are days.
const EXCLUSIVE: &[&[&str]] = &[
    &[
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "mondays",
        "tuesdays",
        "wednesdays",
        "thursdays",
        "fridays",
        "saturdays",
        "sundays",
        "montag",
        "dienstag",
        "mittwoch",
        "donnerstag",
        "freitag",
        "samstag",
        "sonntag",
        "montags",
        "dienstags",
        "mittwochs",
        "donnerstags",
        "freitags",
        "samstags",
        "sonntags",
    ],
    &[
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "januar",
        "februar",
        "marz",
        "mai",
        "juni",
        "juli",
        "oktober",
        "dezember",
    ],
    &["daily", "hourly", "weekly", "monthly", "nightly", "yearly", "quarterly"],
    &["npm", "pnpm", "yarn", "bun"],
    &["pip", "uv", "poetry", "pipenv", "conda"],
    &["black", "ruff", "yapf", "autopep8", "flake8", "pylint"],
    &["eslint", "biome", "prettier", "tslint"],
    &["jest", "vitest", "mocha", "jasmine", "ava"],
    &["pytest", "unittest", "nose"],
    &["webpack", "vite", "rollup", "esbuild", "parcel", "turbopack"],
    &["gradle", "maven", "bazel", "ant"],
    &["postgres", "postgresql", "mysql", "mariadb", "sqlite", "mongodb", "oracle", "cockroachdb", "cassandra"],
    &["kafka", "rabbitmq", "nats", "sqs", "pulsar"],
    &["redis", "memcached", "valkey"],
    &["docker", "podman", "nerdctl"],
    &["helm", "kustomize"],
    &["terraform", "pulumi", "opentofu", "cloudformation"],
    &["aws", "gcp", "azure", "hetzner", "digitalocean"],
    &["github", "gitlab", "bitbucket", "gitea", "forgejo"],
    &["jenkins", "circleci", "buildkite", "travis"],
    &["slack", "teams", "discord", "mattermost", "zulip"],
    &["jira", "linear", "trello", "asana"],
    &["rest", "graphql", "grpc"],
    &["json", "yaml", "toml", "xml"],
    &["react", "vue", "svelte", "angular", "solid"],
    &["express", "fastify", "koa", "hapi", "hono"],
    &["django", "flask", "fastapi"],
    &["tabs", "spaces"],
    &["merge", "rebase", "squash"],
    &["enabled", "disabled"],
    &["allowed", "denied", "forbidden", "prohibited"],
    &["optional", "mandatory", "required"],
    &["encrypted", "unencrypted"],
    &["public", "private"],
    &["synchronous", "asynchronous"],
    &["on", "off"],
    &["open", "closed"],
    &["true", "false"],
    &["always", "never"],
    &["erlaubt", "verboten"],
];

/// Words that are each other's opposites, or kinds of one thing. Both may be true of a thing, of its parts.
const OPPOSITES: &[&[&str]] = &[
    &["staging", "production", "development", "prod", "stage", "dev"],
    &["enable", "disable"],
    &["allow", "deny", "forbid"],
    &["sync", "async"],
    &["up", "down"],
    &["start", "stop"],
    &["yes", "no"],
    &["more", "less", "fewer"],
    &["first", "last"],
    &["left", "right"],
    &["read", "write"],
    &["add", "remove"],
    &["min", "max"],
    &["minimum", "maximum"],
    &["primary", "replica", "secondary"],
    &["inbound", "outbound"],
    &["upstream", "downstream"],
    &["client", "server"],
    &["safe", "unsafe"],
    &["stable", "unstable", "nightly", "beta"],
];

/// The longest text that is compared, in bytes. A longer one is a document, of which two seldom say the same.
const TEXT_BYTES_MAX: usize = 2 << 10;

/// How alike two texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Likeness {
    /// They say different things, or nobody can tell.
    Other,
    /// A person should look: most words are the same, and none of those differs that decide.
    Near,
    /// One says what the other does, and a word or two more.
    Same,
}

/// Whether two texts are the same but for white space and Unicode's form (NFC).
pub(crate) fn same_text(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    if one.is_ascii() && other.is_ascii() {
        return one.split_ascii_whitespace().eq(other.split_ascii_whitespace());
    }
    let composed = ComposingNormalizerBorrowed::new_nfc();
    let (one, other) = (composed.normalize(one), composed.normalize(other));
    one.split_whitespace().eq(other.split_whitespace())
}

/// A hash that texts have in common if they are equal but for white space and Unicode's form (NFC), and no others.
pub(crate) fn text_hash(text: &str) -> [u8; 32] {
    let composed = ComposingNormalizerBorrowed::new_nfc();
    let text = if text.is_ascii() { text.into() } else { composed.normalize(text) };
    let mut hasher = blake3::Hasher::new();
    for word in text.split_whitespace() {
        hasher.update(word.as_bytes());
        hasher.update(b" ");
    }
    *hasher.finalize().as_bytes()
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
    fn may_equal(&self, other: &Self) -> bool {
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
    /// Flags and signs of comparison, sums and the like, as they are written.
    signs: Vec<String>,
    /// The words in a row, those that only join others left out.
    row: Vec<Spoken>,
    /// Whether it says that something has changed.
    changes: bool,
    is_statement: bool,
}

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spoken {
    folded: String,
    stem: String,
    says: Says,
}

/// The part of a word in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It tells the way between others, as `from` and `before`, or turns the sentence round.
    Way,
    /// Nothing by itself.
    Little,
    /// A number, or a word with one.
    Number,
    /// A name: it has a capital letter inside a sentence.
    Name,
    /// Anything else.
    Content,
}

impl Said {
    pub(crate) fn of(text: &str) -> Self {
        let text = if text.len() > TEXT_BYTES_MAX { "" } else { text };
        let composed = ComposingNormalizerBorrowed::new_nfc();
        let pieces = pieces(text);
        let language = language_among(&pieces);
        let (content, numbers, names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let is_statement = is_statement(text);
        let (signs, row) = (signs_of(text), Vec::new());
        let mut said =
            Self { language, content, numbers, names, negations: 0, signs, row, changes: false, is_statement };
        let mut last = None;
        for piece in pieces {
            if piece.kind != PieceKind::Token {
                continue;
            }
            // pairs of characters lie over each other
            let between = last.map(|end: usize| text.get(end..piece.at.start).unwrap_or_default());
            let begins = between.is_none_or(|between| between.contains(['.', '!', '?', ':', ';', '\n', '(', '`']));
            last = Some(piece.at.end);
            let is_negation = NEGATIONS.has(&piece.folded);
            said.negations += usize::from(is_negation);
            said.changes |= CHANGES.binary_search(&piece.folded.as_str()).is_ok();
            let spelled = &text[piece.at];
            let (mut folded, mut stem) = (piece.folded.clone(), language.stem(&piece.folded).into_owned());
            let mut says = Says::Content;
            if let Ok(at) = NUMBERS.binary_search_by_key(&piece.folded.as_str(), |(word, _)| word) {
                says = Says::Number;
                (folded, stem) = (NUMBERS[at].1.to_owned(), NUMBERS[at].1.to_owned());
                said.numbers.insert(stem.clone());
                said.content.insert(stem.clone());
            } else if is_negation || WAYS.has(&piece.folded) {
                says = Says::Way;
                if !is_negation && !language.drops(&piece.folded) {
                    said.content.insert(stem.clone());
                }
            } else if language.drops(&piece.folded) {
                says = Says::Little;
            } else {
                if piece.folded.chars().any(char::is_numeric) {
                    says = Says::Number;
                    // as it is written: a square is no two
                    said.numbers.insert(composed.normalize(spelled).to_lowercase());
                } else if !begins && spelled.starts_with(char::is_uppercase) {
                    says = Says::Name;
                    said.names.insert(stem.clone());
                }
                said.content.insert(stem.clone());
            }
            said.row.push(Spoken { folded, stem, says });
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
        if self.is_of_another_subject(later) {
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
        if self.has_another_value(later) {
            return true;
        }
        let least = self.content.len().min(later.content.len());
        let (part, of) = SUBJECT_SHARE;
        let of_one_subject = common >= SUBJECT_WORDS && of * common >= part * least;
        of_one_subject && later.changes && self.likeness(later) < Likeness::Same
    }

    /// Whether another text says the same of another thing, which a number in its name tells apart.
    fn is_of_another_subject(&self, other: &Self) -> bool {
        let (one, two) = (self.row.as_slice(), other.row.as_slice());
        let before = in_common(one.iter().zip(two));
        let is_number = |row: &[Spoken]| row.get(before).is_some_and(|word| word.says == Says::Number);
        let after = |row: &[Spoken]| row.iter().skip(before + 1).filter(|word| word.says == Says::Content).count();
        let is_name = one[..before].iter().all(|word| word.says != Says::Little) && before <= 1;
        is_name && is_number(one) && is_number(two) && after(one) > 0 && after(two) > 0
    }

    /// Whether another text says the same of one subject up to a value: a number, a day, a tool, a name, a state, or that it
    /// is not so.
    fn has_another_value(&self, other: &Self) -> bool {
        let (one, two) = (self.row.as_slice(), other.row.as_slice());
        let before = in_common(one.iter().zip(two));
        let (left, right) = (&one[before..], &two[before..]);
        let after = in_common(left.iter().rev().zip(right.iter().rev()));
        let (begin, end) = (&one[..before], &left[left.len() - after..]);
        let (left, right) = (&left[..left.len() - after], &right[..right.len() - after]);
        let telling = |words: &[Spoken]| words.iter().filter(|word| word.says != Says::Little).count();
        let of_subject = telling(begin);
        let says_not = |words: &[Spoken]| match words {
            [] => Some(false),
            [word] => NEGATIONS.has(&word.folded).then_some(true),
            _ => None,
        };
        if let (Some(a), Some(b)) = (says_not(left), says_not(right)) {
            return a != b && of_subject + telling(end) >= 2;
        }
        let (Some(first), Some(second)) = (left.first(), right.first()) else { return false };
        let few = |words: &[Spoken]| words.len() <= VALUE_WORDS_MAX;
        // the value is what is said of the subject, not a part of its name
        let is_said = of_subject >= 2 || of_subject == 1 && begin.last().is_some_and(|word| word.says == Says::Little);
        let all = |says: Says| left.iter().chain(right).all(|word| word.says == says);
        let excludes = |kind: &[&str]| {
            let has = |word: &Spoken| kind.contains(&word.folded.as_str());
            has(first) && has(second)
        };
        if EXCLUSIVE.iter().any(|kind| excludes(kind)) {
            let is_day = excludes(EXCLUSIVE[0]);
            return few(left) && few(right) && (of_subject > 0 || is_day && !end.is_empty());
        }
        few(left) && few(right) && is_said && (all(Says::Number) || all(Says::Name) && left.len() == right.len())
    }

    pub(crate) fn likeness(&self, other: &Self) -> Likeness {
        let names_there = |of: &Self, there: &Self| of.names.iter().all(|name| there.content.contains(name));
        let alike = self.language == other.language
            && self.numbers == other.numbers
            && self.negations == other.negations
            && self.signs == other.signs
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
        if self.has_another_order(other) || self.has_another_word(other) {
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
            (true, _) if is_share(SAME_SHARE) => Likeness::Same,
            // two words in common are too few to tell
            (_, 2..) if is_share(NEARLY_SHARE) => Likeness::Near,
            _ => Likeness::Other,
        }
    }

    /// The words that decide who does what, in a row.
    fn deciding(&self) -> Vec<&str> {
        self.row.iter().filter(|word| word.says != Says::Little).map(|word| word.folded.as_str()).collect()
    }

    /// Whether both have the same words in the same forms, and in another order.
    fn has_another_order(&self, other: &Self) -> bool {
        let (one, two) = (self.deciding(), other.deciding());
        let content = |of: &Self| -> Vec<String> {
            let words = of.row.iter().filter(|word| !matches!(word.says, Says::Little | Says::Way));
            let mut words: Vec<String> = words.map(|word| word.folded.clone()).collect();
            words.sort_unstable();
            words
        };
        one != two && content(self) == content(other)
    }

    /// Whether one word stands in the place of another one, or for its opposite.
    fn has_another_word(&self, other: &Self) -> bool {
        let is_only_here = |word: &&Spoken, there: &Self| {
            word.says != Says::Little && !there.row.iter().any(|other| other.stem == word.stem)
        };
        let left: Vec<&Spoken> = self.row.iter().filter(|word| is_only_here(word, other)).collect();
        let right: Vec<&Spoken> = other.row.iter().filter(|word| is_only_here(word, self)).collect();
        let opposite = |a: &Spoken, b: &Spoken| {
            EXCLUSIVE
                .iter()
                .chain(OPPOSITES)
                .any(|kind| kind.contains(&a.folded.as_str()) && kind.contains(&b.folded.as_str()))
        };
        if left.iter().any(|a| right.iter().any(|b| opposite(a, b))) {
            return true;
        }
        let others: Vec<(&Spoken, &Spoken)> =
            self.row.iter().zip(&other.row).filter(|(a, b)| a.folded != b.folded).collect();
        let [(a, b)] = others.as_slice() else { return false };
        let is_related = vocabulary::related(&a.folded).any(|word| word == b.folded) || a.stem == b.stem;
        self.row.len() == other.row.len() && a.says != Says::Little && b.says != Says::Little && !is_related
    }
}

/// The number of pairs of equal words before others come.
fn in_common<'a>(pairs: impl Iterator<Item = (&'a Spoken, &'a Spoken)>) -> usize {
    pairs.take_while(|(a, b)| a.stem == b.stem).count()
}

/// The signs of a text that change what is said: flags, and signs of comparison, sums and the like.
fn signs_of(text: &str) -> Vec<String> {
    const SIGNS: &str = "<>=≤≥≠±+*/^%&|!~→←×÷∞";
    let mut signs: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = word.trim_matches(['`', '"', '\'', '(', ')', ',', ';', '.', '“', '”']);
        if word.starts_with('-') && word.len() > 1 {
            signs.push(word.to_owned());
            continue;
        }
        // a path and an address have slashes and points that are compared as words; an exclamation is no sign
        let word = word.trim_end_matches('!');
        let own: String = word.chars().filter(|c| SIGNS.contains(*c) && *c != '/').collect();
        if !own.is_empty() {
            signs.push(own);
        }
    }
    signs
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
        assert_eq!(likeness("reviews need two approvals", "reviews need 2 approvals"), Likeness::Same);
    }

    #[test]
    fn texts_of_any_script_are_compared() {
        assert_eq!(likeness("東京タワー, 한국어 ไทย", "東京タワー 한국어 ไทย"), Likeness::Same);
        assert_eq!(likeness("東京タワー, 한국어 ไทย", "한국어 ไทย 東京タワー"), Likeness::Other);
        assert_eq!(likeness("ไทย", "日本"), Likeness::Other);
    }

    /// promise: Recall | Memories are the same only if their texts are, and a hint of a duplicate never joins texts that say different things
    #[test]
    fn another_order_another_way_or_an_opposite_is_another_text() {
        for (a, b) in [
            ("Alice reports to Bob", "Bob reports to Alice"),
            ("the nightly backup runs before the migration job", "the nightly backup runs after the migration job"),
            ("the nightly backup runs before the migration job", "the migration job runs before the nightly backup"),
            ("copy files from the laptop to the server", "copy files from the server to the laptop"),
            ("merge develop into main", "merge main into develop"),
            ("rename column user_id to account_id", "rename column account_id to user_id"),
            ("this file is read through and never written", "this file is written through and never read"),
            ("mv a.txt b.txt", "mv b.txt a.txt"),
            ("deploys go to staging first", "deploys go to production first"),
            ("enable the cache in CI", "disable the cache in CI"),
            ("allow traffic of port 22", "deny traffic of port 22"),
            ("the field is optional in the form", "the field is mandatory in the form"),
            ("grep -v filters the log", "grep -V filters the log"),
            ("the flat has 42 m²", "the flat has 42 m2"),
            ("alert if the queue is > 500", "alert if the queue is < 500"),
            ("temperature offset is -5 degrees", "temperature offset is 5 degrees"),
            ("set the retries to 3", "set the retries to 30"),
            ("restart the api every night", "restart the worker every night"),
            ("cherry-pick the fix without the test", "cherry-pick the fix with the test"),
            ("der Dienst läuft vor dem Export", "der Dienst läuft nach dem Export"),
            ("x != y in the guard", "x == y in the guard"),
        ] {
            assert_eq!(likeness(a, b), Likeness::Other, "{a} | {b}");
            assert!(!same_text(a, b));
        }
        for (a, b) in [("a  b", " a b\n"), ("re\u{301}union", "réunion"), ("a b", "ab"), ("a", "b"), ("", " ")] {
            assert_eq!(text_hash(a) == text_hash(b), same_text(a, b), "{a} | {b}");
        }
        assert!(same_text("une re\u{301}union", " une  réunion\n") && same_text("a  b", "a\tb"));
        assert!(!same_text("a b", "ab") && !same_text("Use it", "use it") && !same_text("use it.", "use it"));
    }

    #[test]
    fn a_later_value_of_one_subject_contradicts_the_former() {
        let contradicts = |a: &str, b: &str| Said::of(a).is_contradicted_by(&Said::of(b));
        for (former, later) in [
            ("staging is on port 5432", "staging is on port 5433"),
            ("Reviews need one approval on main", "Reviews on main now need two approvals"),
            ("The nightly load of prices starts at 01:00", "The nightly load of prices was moved to 04:15"),
            ("standup is at 9:45", "standup is at 10:00"),
            ("standup is at 9:45", "standup is at 10"),
            ("releases go out on Tuesday", "releases go out on Thursday"),
            ("Tuesday is release day", "Thursday is release day"),
            ("use npm in the frontend", "use pnpm in the frontend"),
            ("the frontend uses npm", "the frontend uses yarn for everything"),
            ("the api is on version 1.4.2", "the api is on version 1.5.0"),
            ("the monthly budget is 2,500 EUR", "the monthly budget is 3,000 EUR"),
            ("the office is in Berlin", "the office is in Hamburg"),
            ("Alice reports to Bob", "Alice reports to Carol"),
            ("retries of the gateway are enabled", "retries of the gateway are disabled"),
            ("deploys on Friday are allowed", "deploys on Friday are not allowed"),
            ("the contract ends in March", "the contract ends in October"),
            ("backups run daily", "backups run weekly"),
            ("die Besprechung ist am Montag", "die Besprechung ist am Mittwoch"),
            (
                "the staging postgres is on port 5432 on db-stg-1",
                "the staging postgres moved to port 5433 (pgbouncer took 5432) on db-stg-2",
            ),
            ("staging postgres: port 5432 on db-stg-1", "moved to port 5433 (pgbouncer took 5432) on db-stg-2"),
        ] {
            assert!(contradicts(former, later), "{former} | {later}");
            assert!(Outline::of(former).may_contradict(&Outline::of(later)), "{former} | {later}");
        }
        for (one, other) in [
            ("Kofi is on leave 14-25 April", "Danilo is on leave 14-17 April"),
            ("runner-a has 16 cores and 64 GB", "runner-b has 8 cores and 32 GB"),
            ("use pnpm and not npm in the frontend", "use pnpm, not npm, in the frontend now"),
            ("the build needs a C compiler", "the gateway is new"),
            ("node 1 uses port 80", "node 2 uses port 80"),
            ("Kofi owns the billing service", "Danilo owns the search service"),
            ("staging is on port 5432", "production is on port 5432"),
            ("restart the client every night", "restart the server every night"),
            ("standup is at 9:45", "standup is at 9:45"),
            ("", ""),
        ] {
            assert!(!contradicts(one, other), "{one} | {other}");
        }
    }

    #[test]
    fn word_lists_are_in_order() {
        assert!(CHANGES.is_sorted() && NUMBERS.is_sorted());
        assert!(WAYS.has("from") && WAYS.has("zu") && !WAYS.has("the"));
        assert!(CHANGES.iter().all(|word| word.len() <= 12 && may_say_change(&word.to_uppercase())));
    }
}
