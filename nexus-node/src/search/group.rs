//! Groups of words that mean the same, as the members of a mesh write them.
//!
//! A group is a memory of a kind of its own, whose text is its words with ` = ` between them. It is indexed by terms
//! that no other text has, so no question finds it by chance, and its words are no rarer or more frequent for it:
//!
//! | term | to find |
//! |---|---|
//! | `=KEY:SPACE:AUTHOR:ID` | the groups with a word, by its key: its stems with `_` between them. An empty key has all |
//! | `~STEM` | the memory itself, where a question asks for this kind |
//!
//! Terms are in order. So the lowest groups of each author are read, however many it wrote.

use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::Dot;
use nexus_identity::Did;

use super::{Document, VOCABULARY, project};
use crate::error::InputError;
use crate::ledger::rows::{Place, SpaceNo};
use crate::words::language::Language;
use crate::words::{PieceKind, beginning, pieces};

/// The most groups of one author.
pub(crate) const GROUPS_MAX: usize = 500;

/// The number of words in a group.
const WORDS: std::ops::RangeInclusive<usize> = 2..=8;
/// The longest word of a group, in characters.
const WORD_CHARS_MAX: usize = 64;
/// The most words that one of a group has, as `pull request` has two.
pub(super) const PARTS_MAX: usize = 4;
/// The same in pairs of characters, for what is written without spaces.
pub(super) const PAIRS_MAX: usize = 8;
/// The longest text of a group, in bytes: longer ones are none.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// The sign between the words of a group's text.
const SIGN: char = '=';
/// The most of its first word that is in a group's key, in bytes.
const KEY_BYTES_MAX: usize = 160;

/// Words that mean the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) words: Vec<GroupWord>,
}

/// One of them, which may be several in a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupWord {
    /// As its author spells it.
    pub(crate) spelled: String,
    /// The keys by which it is found, one for each language that inflects it in another way.
    pub(super) keys: BTreeSet<String>,
    /// The stems of those of its words that say something, in each language.
    pub(super) stems: Vec<BTreeSet<String>>,
    folded: String,
}

impl Group {
    /// A group of some words.
    ///
    /// # Errors
    /// A word is too long, has a sign that is none of a word, or says nothing; or there are too few or too many.
    pub(crate) fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, InputError> {
        let mut group = Self { words: Vec::new() };
        for word in words {
            let word = GroupWord::of(word)?;
            if group.words.iter().all(|known| known.keys.is_disjoint(&word.keys)) {
                group.words.push(word);
            }
            // the rest of what anybody sends is not looked at
            if group.words.len() > *WORDS.end() {
                break;
            }
        }
        if WORDS.contains(&group.words.len()) {
            Ok(group)
        } else {
            Err(InputError::GroupSize { min: *WORDS.start(), max: *WORDS.end() })
        }
    }

    /// The group of a memory; `None` if it is none.
    pub(crate) fn read(kind: &str, text: &str) -> Option<Self> {
        let is_one = kind == VOCABULARY && text.len() <= TEXT_BYTES_MAX;
        is_one.then(|| Self::of(text.split(SIGN)).ok()).flatten()
    }

    /// The text of its memory.
    pub(crate) fn text(&self) -> String {
        self.words.iter().map(|word| word.spelled.as_str()).collect::<Vec<_>>().join(" = ")
    }

    /// The caller's key of its memory: an author has one group for a first word.
    pub(crate) fn key(&self, author: &Did) -> String {
        let first = self.words.first().map_or("", |word| word.folded.as_str());
        format!("{VOCABULARY}:{}:{}", beginning(first, KEY_BYTES_MAX), author.short())
    }

    /// Whether one of its words is this one, in any form.
    pub(crate) fn has(&self, word: &GroupWord) -> bool {
        self.words.iter().any(|own| !own.keys.is_disjoint(&word.keys))
    }

    /// The terms under which it is indexed, separated by spaces, and their number.
    pub(super) fn terms(&self, space: SpaceNo, author: &Did, record: &Dot) -> (String, usize) {
        let of = GroupTerm::of(space, author, record);
        let mut others = BTreeSet::new();
        for word in &self.words {
            others.extend(word.keys.iter().map(|key| format!("{}{of}", prefix(key))));
            others.extend(word.stems.iter().flatten().map(|stem| as_memory(stem)));
        }
        let terms: Vec<String> = [format!("{}{of}", prefix(""))].into_iter().chain(others).collect();
        (terms.join(" "), terms.len())
    }
}

impl GroupWord {
    /// One word of a group.
    ///
    /// # Errors
    /// It is too long, has a sign that is none of a word, or says nothing.
    pub(crate) fn of(word: &str) -> Result<Self, InputError> {
        let spelled = word.trim();
        let shown = || spelled.chars().take(WORD_CHARS_MAX).filter(|c| !c.is_control()).collect();
        if spelled.chars().any(|c| c == SIGN || c.is_control()) {
            return Err(InputError::GroupSign { word: shown() });
        }
        let is_long = spelled.chars().nth(WORD_CHARS_MAX).is_some();
        let parts = if is_long { Vec::new() } else { folded(spelled) };
        let most = if parts.first().is_some_and(|part| is_pair(part)) { PAIRS_MAX } else { PARTS_MAX };
        if is_long || parts.len() > most {
            return Err(InputError::GroupWord { word: shown(), parts: PARTS_MAX, chars: WORD_CHARS_MAX });
        }
        let says = |part: &&String| !Language::ALL.iter().any(|language| language.drops(part));
        let telling: Vec<&String> = parts.iter().filter(says).collect();
        if telling.is_empty() {
            return Err(InputError::GroupStopWord { word: shown() });
        }
        let stems = |part: &String| Language::ALL.iter().map(|language| language.stem(part).into_owned()).collect();
        Ok(Self {
            keys: keys(&parts).collect(),
            stems: telling.into_iter().map(stems).collect(),
            folded: parts.join(" "),
            spelled: spelled.to_owned(),
        })
    }
}

/// The words of a text in a row, in lower case and without accents.
fn folded(text: &str) -> Vec<String> {
    let tokens = pieces(text).into_iter().filter(|piece| piece.kind == PieceKind::Token);
    tokens.map(|piece| piece.folded).collect()
}

/// Whether a part of a text is a pair of characters of a script without spaces.
pub(super) fn is_pair(part: &str) -> bool {
    !part.is_ascii() && part.chars().nth(2).is_none()
}

/// The keys of words in a row, one for each language.
pub(super) fn keys<'a>(parts: impl IntoIterator<Item = &'a String> + Clone) -> impl Iterator<Item = String> {
    Language::ALL.into_iter().map(move |language| {
        let stems: Vec<_> = parts.clone().into_iter().map(|part| language.stem(part)).collect();
        stems.join("_")
    })
}

/// A stem as the memory of a group has it.
pub(super) fn as_memory(stem: &str) -> String {
    format!("~{stem}")
}

/// The beginning of all terms with a key.
pub(super) fn prefix(key: &str) -> String {
    format!("={key}:")
}

/// An author as it is in terms. A longer part would tell no more apart: others cannot make one that begins alike.
pub(super) fn author_of(author: &Did) -> String {
    data_encoding::HEXLOWER.encode(&author.as_bytes()[..16])
}

fn id_of(record: &Dot) -> String {
    format!("{}{:04x}", data_encoding::HEXLOWER.encode(&record.entry.as_bytes()[..16]), record.index)
}

/// The rest of a term after its key: whose group it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupTerm {
    pub(super) space: SpaceNo,
    pub(super) author: String,
    pub(super) id: String,
}

impl std::fmt::Display for GroupTerm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { space, author, id } = self;
        write!(f, "{space:08x}:{author}:{id}")
    }
}

impl GroupTerm {
    pub(super) fn of(space: SpaceNo, author: &Did, record: &Dot) -> Self {
        Self { space, author: author_of(author), id: id_of(record) }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (space, author, id) = (parts.next()?, parts.next()?, parts.next()?);
        let space = SpaceNo::from_str_radix(space, 16).ok()?;
        Some(Self { space, author: author.to_owned(), id: id.to_owned() })
    }
}

/// Which groups are looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupFilter {
    /// In one of these spaces.
    pub(crate) spaces: BTreeSet<SpaceNo>,
    /// Of this author alone.
    pub(crate) by: Option<Did>,
    /// Of none of these authors.
    pub(crate) without: BTreeSet<Did>,
    /// So many of each author.
    pub(crate) of_each: usize,
    /// So many in all.
    pub(crate) most: usize,
}

/// The same in the form of terms.
pub(super) struct Wanted<'a> {
    spaces: &'a BTreeSet<SpaceNo>,
    by: Option<String>,
    without: BTreeSet<String>,
    of_each: usize,
}

/// The way on from a term.
#[cfg_attr(not(feature = "disk-index"), expect(dead_code, reason = "for the index on disk"))]
pub(super) enum Step {
    /// It is one.
    Take,
    /// The next one may be after the terms that begin so.
    After(String),
    /// The next one may be where terms begin so.
    From(String),
}

impl<'a> Wanted<'a> {
    pub(super) fn of(filter: &'a GroupFilter) -> Self {
        Self {
            spaces: &filter.spaces,
            by: filter.by.as_ref().map(author_of),
            without: filter.without.iter().map(author_of).collect(),
            of_each: filter.of_each,
        }
    }

    /// Whether a group is looked for, of whose author so many were taken; else where the next one may be.
    pub(super) fn step(&self, at: &GroupTerm, taken: usize) -> Step {
        let GroupTerm { space, author, .. } = at;
        let in_space = format!("{space:08x}");
        match &self.by {
            _ if !self.spaces.contains(space) => Step::After(in_space),
            Some(by) if author > by => Step::After(in_space),
            Some(by) if author < by => Step::From(format!("{in_space}:{by}")),
            _ if self.without.contains(author) || taken >= self.of_each => Step::After(format!("{in_space}:{author}")),
            _ => Step::Take,
        }
    }

    pub(super) fn admits(&self, at: &GroupTerm) -> bool {
        matches!(self.step(at, 0), Step::Take)
    }
}

/// Groups by the key of a word.
pub(super) type Groups = BTreeMap<String, Vec<(GroupTerm, Place)>>;

/// Whether a document is a group, or the record of a project.
pub(super) fn is_one(document: &Document) -> bool {
    // the term with an empty key is the first of a group
    document.passages.first().is_some_and(|of| of.words.starts_with("=:") || project::is_record(&of.words))
}

/// The groups of a document with one of some keys, if it is a group that is looked for.
pub(super) fn in_document<'a>(
    document: &'a Document,
    keys: &'a BTreeSet<String>,
    wanted: &'a Wanted<'a>,
) -> impl Iterator<Item = (String, GroupTerm)> + 'a {
    let terms = document.passages.first().filter(|_| is_one(document)).map(|of| of.words.split_ascii_whitespace());
    let read = |term: &str| {
        let (key, at) = term.strip_prefix('=')?.split_once(':')?;
        let key = keys.get(key)?;
        Some((key.clone(), GroupTerm::parse(at)?))
    };
    terms.into_iter().flatten().filter_map(read).filter(|(_, at)| wanted.admits(at))
}

/// The groups that count, of those found: of each author the lowest, and of all those with the lowest ids that come first
/// with their authors. So it depends on no order of arrival, and no author crowds another out.
pub(super) fn chosen(mut found: Vec<(GroupTerm, Place)>, filter: &GroupFilter) -> Vec<Place> {
    found.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    let mut of_author: BTreeMap<String, usize> = BTreeMap::new();
    let mut turns: Vec<(usize, Place)> = Vec::new();
    for (GroupTerm { author, .. }, place) in found {
        let turn = of_author.entry(author).or_default();
        if *turn < filter.of_each {
            turns.push((*turn, place));
        }
        *turn += 1;
    }
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().take(filter.most).map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use nexus_crdt::EntryId;
    use proptest::prelude::*;

    use super::*;

    fn group(text: &str) -> Option<Group> {
        Group::read(VOCABULARY, text)
    }

    #[test]
    fn a_group_is_read_as_it_is_written() {
        let words = Group::of(["deploy", " ship it", "Rollout"]).unwrap();
        assert_eq!(words.text(), "deploy = ship it = Rollout");
        assert_eq!(group(&words.text()), Some(words.clone()));
        assert!(words.has(&GroupWord::of("DEPLOYS").unwrap()) && !words.has(&GroupWord::of("ship").unwrap()));
        assert_eq!(Group::read("note", &words.text()), None);
        let author = Did::from_bytes([7; 32]);
        assert!(words.key(&author).starts_with("vocabulary:deploy:") && words.key(&author).len() <= 256);
        let long = Group::of(["ﷺ".repeat(64).as_str(), "分散型メモリ"]).map(|group| group.key(&author).len());
        assert!(long.is_err() || long.is_ok_and(|bytes| bytes <= 256));
    }

    /// promise: Bad input | A group of words that is none is refused, and one of another's program is none
    #[test]
    fn a_group_that_is_none_is_refused() {
        let long = "x".repeat(65);
        let nine: Vec<String> = (0..9).map(|n| format!("word{n}")).collect();
        let bad: &[&[&str]] = &[
            &[],
            &["deploy"],
            &["deploy", "deploys", "Deploy"],
            &["deploy", &long],
            &["deploy", "one two three four five"],
            &["deploy", "ship=it"],
            &["deploy", "ship\nit"],
            &["deploy", "…"],
            &["deploy", ""],
            &["deploy", "what is it"],
            &nine.iter().map(String::as_str).collect::<Vec<_>>(),
        ];
        for words in bad {
            assert!(Group::of(words.iter().copied()).is_err(), "{words:?}");
            assert_eq!(group(&words.join(" = ")), None, "{words:?}");
        }
        for text in ["", "=", "==", "deploy", "deploy =", &"a1 = b2 ".repeat(10_000)] {
            assert_eq!(group(text), None, "{text:.20}");
        }
    }

    #[test]
    fn of_each_author_the_lowest_count_and_no_author_crowds_another_out() {
        let at = |author: u8, id: u8| {
            let (author, id) = (author_of(&Did::from_bytes([author; 32])), format!("{id:02}"));
            (GroupTerm { space: 1, author, id: id.clone() }, Place { eno: id.parse().unwrap(), index: 0 })
        };
        let found: Vec<_> = (0..90).map(|id| at(1, id)).chain([at(2, 95), at(3, 91)]).collect();
        let filter = GroupFilter { of_each: 3, most: 4, ..GroupFilter::default() };
        let chosen = |found: Vec<_>| chosen(found, &filter).into_iter().map(|place| place.eno).collect::<Vec<_>>();
        assert_eq!(chosen(found.clone()), [0, 91, 95, 1]);
        assert_eq!(chosen(found.into_iter().rev().collect()), [0, 91, 95, 1]);
    }

    proptest! {
        #[test]
        fn a_text_is_a_group_that_is_written_as_it_was_read_or_none(text in "([a-c =ß分散型\\n]{0,12}=){0,4}[a-z ]{0,8}") {
            if let Some(words) = group(&text) {
                prop_assert_eq!(group(&words.text()), Some(words.clone()));
                let (author, record) = (Did::from_bytes([3; 32]), Dot { entry: EntryId::from_bytes([4; 32]), index: 5 });
                let (terms, count) = words.terms(9, &author, &record);
                prop_assert_eq!(terms.split_ascii_whitespace().count(), count);
                prop_assert!(terms.starts_with("=:"));
                let own = format!("{}{}", prefix(""), GroupTerm { space: 9, author: author_of(&author), id: id_of(&record) });
                prop_assert!(terms.split(' ').any(|term| term == own));
                for term in terms.split(' ') {
                    let at = term.strip_prefix('=').map(|term| term.split_once(':').unwrap().1);
                    prop_assert!(at.is_none_or(|at| GroupTerm::parse(at).is_some_and(|read| read.to_string() == at)), "{}", term);
                }
            }
        }
    }
}
