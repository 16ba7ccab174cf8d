//! Words: cutting texts into them, and the forms in which words, names, tags and kinds are compared.
//!
//! | room | content |
//! |---|---|
//! | `tokens` | runs of letters and digits, folded |
//! | `language` | words of a language that say little, and endings |

pub(crate) mod language;
mod tokens;

use std::collections::BTreeSet;
use std::ops::Range;

use self::language::Language;
pub(crate) use self::tokens::matched_form;
use self::tokens::{Script, TOKEN_BYTES_MAX, each_token};

/// The most words of a text that are indexed, pairs of characters of scripts without spaces among them.
const WORDS_MAX: usize = 32_768;

/// The longest name that is put together from parts, in bytes.
const JOINED_BYTES_MAX: usize = 128;
/// The most parts of such a name.
const PARTS_MAX: usize = 8;
/// The most parts of a name in `camelCase`. More are of an encoded text.
const CAMEL_PARTS_MAX: usize = 24;
/// The most numbers of an address or a version.
const NUMBERS_MAX: usize = 6;

/// The beginning of a text, in whole characters, of at most so many bytes.
pub(crate) fn beginning(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A part of a text that is looked for, in lower case and without accents, with its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: PieceKind,
    pub(crate) folded: String,
    pub(crate) at: Range<usize>,
}

/// The kinds of pieces. One token may be in several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceKind {
    /// A run of letters and digits, as `retryBudget` or `5433`.
    Token,
    /// A part of such a run, as `retry`.
    Part,
    /// A name of several runs, as `utf8` for `utf-8`, or an address as `10.4.0.17`.
    Joined,
    /// The last character of a run without spaces, which begins no pair.
    Last,
}

/// Calls with the pieces of a text whose first byte is wanted, in order. A name comes after its parts.
fn each_piece(text: &str, wants: impl Fn(u8) -> bool, mut each: impl FnMut(PieceKind, &str, Range<usize>)) {
    let wanted = |folded: &str| folded.bytes().next().is_some_and(&wants);
    let (mut run, mut pairs) = (Run::default(), WORDS_MAX);
    each_token(text, WORDS_MAX, |folded, at, script| {
        if script == Script::Unspaced {
            run.end(&wanted, &mut each);
            each_pair(folded, &mut pairs, |kind, pair| each(kind, pair, at.clone()));
            return;
        }
        if !run.goes_on(text, &at) {
            run.end(&wanted, &mut each);
        }
        run.add(folded, at.clone());
        if wanted(folded) {
            each(PieceKind::Token, folded, at.clone());
        }
        each_part(&text[at.clone()], |part, of| {
            if wanted(part) {
                each(PieceKind::Part, part, at.start + of.start..at.start + of.end);
            }
        });
    });
    run.end(&wanted, &mut each);
}

/// Tokens that are one name: with `-` or `_` between them, or numbers with dots.
#[derive(Default)]
struct Run {
    joined: String,
    tokens: usize,
    at: Range<usize>,
    is_dotted: bool,
    numbers: bool,
}

impl Run {
    /// Whether a token belongs to it.
    fn goes_on(&mut self, text: &str, token: &Range<usize>) -> bool {
        if self.tokens == 0 {
            return true;
        }
        match &text[self.at.end..token.start] {
            "-" | "_" => !self.is_dotted,
            "." if self.numbers && (self.is_dotted || self.tokens == 1) => {
                self.is_dotted = text[token.clone()].bytes().all(|byte| byte.is_ascii_digit());
                self.is_dotted
            }
            _ => false,
        }
    }

    fn add(&mut self, folded: &str, at: Range<usize>) {
        if self.tokens == 0 {
            (self.at, self.numbers) = (at.clone(), folded.bytes().all(|byte| byte.is_ascii_digit()));
        } else if self.is_dotted {
            self.joined.push('.');
        }
        if self.joined.len() <= JOINED_BYTES_MAX {
            self.joined.push_str(folded);
        }
        (self.tokens, self.at.end) = (self.tokens + 1, at.end);
    }

    /// Calls with the name, if it is one, and begins another.
    fn end(&mut self, wanted: &impl Fn(&str) -> bool, each: &mut impl FnMut(PieceKind, &str, Range<usize>)) {
        let most = if self.is_dotted { NUMBERS_MAX } else { PARTS_MAX };
        let is_name = (2..=most).contains(&self.tokens) && self.joined.len() <= JOINED_BYTES_MAX;
        if is_name && wanted(&self.joined) {
            each(PieceKind::Joined, &self.joined, self.at.clone());
        }
        self.joined.clear();
        (self.tokens, self.is_dotted, self.numbers) = (0, false, false);
    }
}

/// Calls with the parts of a name in `camelCase`, each with its place: where a capital letter begins a word.
fn each_part(name: &str, mut each: impl FnMut(&str, Range<usize>)) {
    let bytes = name.as_bytes();
    if name.len() > TOKEN_BYTES_MAX
        || !name.is_ascii()
        || !bytes.windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
    {
        return;
    }
    let begins = |at: usize| {
        let (before, here, after) = (bytes[at - 1], bytes[at], bytes.get(at + 1));
        here.is_ascii_uppercase()
            && (!before.is_ascii_uppercase() || after.is_some_and(|after| after.is_ascii_lowercase()))
    };
    let mut start = 0;
    for end in (1..bytes.len()).filter(|at| begins(*at)).take(CAMEL_PARTS_MAX).chain([bytes.len()]) {
        // a letter alone says nothing
        if end - start >= 2 {
            each(&name[start..end].to_ascii_lowercase(), start..end);
        }
        start = end;
    }
}

/// The pieces of a text, in order.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    each_piece(text, |_| true, |kind, folded, at| pieces.push(Piece { kind, folded: folded.to_owned(), at }));
    pieces
}

/// The language of a text.
pub(crate) fn language_of(text: &str) -> Language {
    const WORDS: usize = 64;
    let mut words = Vec::new();
    each_token(text, WORDS, |folded, _, _| words.push(folded.to_owned()));
    Language::of(words.iter().map(String::as_str))
}

/// The language of a text whose pieces are at hand.
pub(crate) fn language_among(pieces: &[Piece]) -> Language {
    let words = pieces.iter().filter(|piece| piece.kind == PieceKind::Token);
    Language::of(words.map(|piece| piece.folded.as_str()))
}

/// Calls with every word of a text in its searched form: the stem of each piece in a language (feature `search`).
pub(crate) fn each_word(text: &str, language: Language, mut each: impl FnMut(&str)) {
    each_piece(text, |_| true, |_, folded, _| each(&language.stem(folded)));
}

/// The words of a text in its own language, in their searched form and in order.
#[cfg(any(test, all(feature = "testing", feature = "coordinators", feature = "mcp")))]
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each_word(text, language_of(text), |word| words.push(word.to_owned()));
    words
}

/// A search for some words in several texts, without stemming all of each text. A word counts in either language: to tell
/// a text's language would take as long as the rest.
pub(crate) struct WordMatches<'a> {
    /// The words in order, each with its place among those given.
    words: Vec<(&'a str, usize)>,
    found: Vec<bool>,
    /// The first bytes of the words that are not found yet.
    beginnings: BTreeSet<u8>,
}

impl<'a> WordMatches<'a> {
    /// Words in their searched form; none is found yet.
    pub(crate) fn of(words: impl Iterator<Item = &'a str>) -> Self {
        let mut words: Vec<(&str, usize)> = words.zip(0..).collect();
        words.sort_unstable();
        let mut spoken = Self { found: vec![false; words.len()], words, beginnings: BTreeSet::new() };
        spoken.begin();
        spoken
    }

    fn begin(&mut self) {
        let missing = self.words.iter().filter(|(_, place)| !self.found[*place]);
        self.beginnings = missing.filter_map(|(word, _)| word.bytes().next()).collect();
    }

    /// Searches one more text.
    pub(crate) fn look_in(&mut self, text: &str) {
        if self.beginnings.is_empty() {
            return;
        }
        let Self { words, found, beginnings } = self;
        let mut news = false;
        // stemming never changes the first letter
        each_piece(
            text,
            |first| beginnings.contains(&first),
            |_, folded, _| {
                for language in Language::ALL {
                    let word = language.stem(folded);
                    let from = words.partition_point(|(wanted, _)| **wanted < *word);
                    for (_, place) in words[from..].iter().take_while(|(wanted, _)| **wanted == *word) {
                        (found[*place], news) = (true, true);
                    }
                }
            },
        );
        if news {
            self.begin();
        }
    }

    /// For each word, whether it was found.
    pub(crate) fn found(&self) -> &[bool] {
        &self.found
    }
}

/// Calls with each two characters in a row, at most `left` times, and with the last one: a question of one character looks
/// for words that begin with it.
fn each_pair(run: &str, left: &mut usize, mut each: impl FnMut(PieceKind, &str)) {
    let (mut last, mut pairs): (Option<usize>, _) = (None, 0);
    for (at, c) in run.char_indices() {
        if *left == 0 {
            return;
        }
        if let Some(last) = last {
            (*left, pairs) = (*left - 1, pairs + 1);
            each(PieceKind::Token, &run[last..at + c.len_utf8()]);
        }
        last = Some(at);
    }
    if let Some(last) = last.filter(|_| *left > 0) {
        *left -= 1;
        each(if pairs == 0 { PieceKind::Token } else { PieceKind::Last }, &run[last..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_found_in_any_case_accent_and_common_ending() {
        assert_eq!(words("The Builds, BUILDING: café!"), words("the build, builds cafe"));
        assert_eq!(words("Die Rechnung ist für den Kunden"), words("die Rechnungen ist für den Kunde"));
        assert!(words(" …! ").is_empty());
    }

    #[test]
    fn names_are_found_whole_and_by_their_parts() {
        let folded = |text: &str| pieces(text).into_iter().map(|piece| piece.folded).collect::<Vec<_>>();
        assert_eq!(folded("utf-8"), ["utf", "8", "utf8"]);
        assert_eq!(folded("retryBudget"), ["retrybudget", "retry", "budget"]);
        assert_eq!(folded("PostgreSQL 16"), ["postgresql", "postgre", "sql", "16"]);
        assert_eq!(folded("HTTPServer parseJSON"), ["httpserver", "parsejson", "parse", "json"]);
        assert_eq!(folded("max_body_bytes"), ["max", "body", "bytes", "maxbodybytes"]);
        assert_eq!(folded("10.4.0.17:5433"), ["10", "4", "0", "17", "10.4.0.17", "5433"]);
        assert_eq!(folded("E0277, SQLSTATE 40P01"), ["e0277", "sqlstate", "40p01"]);
        assert_eq!(folded("v1.90.2"), ["v1", "90", "2", "90.2"]);
        assert_eq!(folded("crates/api/src/main.rs"), ["crates", "api", "src", "main", "rs"]);
        assert_eq!(folded("a-b-c-d"), ["a", "b", "c", "d", "abcd"]);
        assert_eq!(folded("0-1-2-3-4-5-6-7-8").len(), 9);
    }

    #[test]
    fn what_is_written_without_spaces_becomes_pairs() {
        assert_eq!(words("分散型メモリ"), ["分散", "散型", "型メ", "メモ", "モリ", "リ"]);
        assert_eq!(words("我"), ["我"]);
    }

    proptest! {
        #[test]
        fn words_are_spoken_as_making_words_of_everything_says(
            text in "([a-zA-Zéß0-9 ’'._-]{0,12}|[分散型 a]{0,4}|flies|Dying|early|YOUTH|yes|skies|news|generally){0,12}",
            question in "([a-eA-Eéß0-9 ]{0,6}|[分散型]{0,3}|fly|die|earli|youth|sky|general){0,5}",
        ) {
            let here: Vec<String> = Language::ALL.into_iter().flat_map(|language| {
                let mut here = Vec::new();
                each_word(&text, language, |word| here.push(word.to_owned()));
                here
            }).collect();
            let wanted = words(&question);
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
}
