//! A question as it is looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::group::{self, Group, PAIRS_MAX, PARTS_MAX};
use super::{Sought, Statistics, passage, vocabulary};
use crate::words::language::Language;
use crate::words::{Piece, PieceKind, WordMatches, language_among, pieces};

/// The most different words of a question that are looked for.
const CONCEPTS_MAX: usize = 32;
/// The most words that stand for one of a question.
const FORMS_MAX: usize = 12;
/// The weight of a word as another language would inflect it.
const INFLECTED_WEIGHT: f32 = 0.8;
/// The weight of a word that is spelled nearly alike.
const CLOSE_WEIGHT: f32 = 0.7;
/// The weight of a word that is the other: its short form, or a word of a group of the mesh.
const RELATED_WEIGHT: f32 = 0.95;
/// The weight of a word that means nearly the same.
const NEAR_WEIGHT: f32 = 0.4;
/// The part of its weight that a word has which texts of any subject have.
const COMMON_SHARE: f32 = 0.5;
/// The most pieces of a phrasing that are looked at.
const PIECES_MAX: usize = 512;
/// The most words of a phrasing for which others that are spelled nearly alike are looked up.
const CLOSE_WORDS_MAX: usize = 4;
/// The most words of a phrasing in a row that are looked for in the groups of the mesh.
const ROW_MAX: usize = 64;
/// The most words of the mesh's groups that stand for words of a phrasing.
const OF_GROUPS_MAX: usize = 64;
/// A word is rare that at most one of so many memories has, or at most [`RARE_MIN`] of few.
const RARE_OF: u64 = 25;
const RARE_MIN: u64 = 2;
/// The most words of a question of which one alone tells something.
const TOLD_BY_ONE_MAX: usize = 2;
/// The most words of such a question, those that say nothing among them. A longer one is a sentence, and asks for more.
const TOLD_WORDS_MAX: usize = 4;
/// The shortest word for which others that are spelled nearly alike are looked up, in characters.
const CLOSE_CHARS_MIN: usize = 4;

/// A phrasing of a question: its words, without those that say nothing.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) concepts: Vec<Concept>,
    /// All of its words in a row, those that say nothing among them.
    row: Vec<Spelled>,
    /// Words of the mesh's groups that stand for some of its own.
    of_groups: Vec<OfGroup>,
    /// The memories there are, once it was looked for.
    documents: u64,
}

/// A word of a question, in all forms in which a text may have it.
#[derive(Clone, Debug)]
pub(crate) struct Concept {
    /// As the question spells it.
    pub(crate) spelled: String,
    folded: String,
    forms: Vec<Form>,
    /// Whether texts of any subject have it.
    is_common: bool,
    /// Its weight by how rare it is (the idf of BM25), once that is known.
    idf: f32,
    /// Whether few memories have it, and some do.
    is_rare: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Form {
    term: String,
    weight: f32,
    idf: f32,
    /// Whether any text has it.
    is_there: bool,
}

/// A word as the question has it.
#[derive(Clone, Debug)]
struct Spelled {
    folded: String,
    /// The places of what is looked for of it.
    places: Vec<usize>,
    says_nothing: bool,
}

/// Words of a question in a row, which a group may have.
#[derive(Clone, Debug)]
pub(crate) struct Phrase {
    /// The places in the question of what is looked for of it.
    places: Vec<usize>,
    /// The keys by which groups with it are found.
    pub(crate) keys: BTreeSet<String>,
}

/// A word of a group: a text that has all of its parts, each in any form, has it.
#[derive(Clone, Debug)]
struct OfGroup {
    /// The places in the question of the words for which it stands.
    places: Vec<usize>,
    parts: Vec<Vec<Form>>,
    /// The word, and whose it is, for a person.
    named: String,
}

/// The part of a question that a memory speaks of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spoken {
    /// 0 to 1: rare words count for more, and words that only stand for those of the question for less.
    pub(crate) coverage: f32,
    /// The places in the question of the words that it has, and of those that it has by others.
    pub(crate) matched: Vec<usize>,
    /// Those of them that are only in its aliases.
    pub(crate) by_alias: Vec<usize>,
    /// Those of them that it has by a word of the mesh's groups alone, each with the number of that word.
    pub(crate) by_group: Vec<(usize, usize)>,
}

impl Spoken {
    /// Notes the words that it has by its aliases alone, since the rest of it does without them.
    pub(crate) fn leave_to_aliases(&mut self, without: &Self) {
        let by_alias = self.matched.iter().copied().filter(|place| !without.matched.contains(place));
        self.by_alias = by_alias.collect();
    }

    /// The coverage, less where it rests on a word or two: any memory has one by chance.
    pub(crate) fn strength(&self) -> f64 {
        let words = i32::try_from(self.matched.len()).unwrap_or(i32::MAX);
        f64::from(self.coverage) * (1.0 - 0.5_f64.powi(words))
    }
}

impl Question {
    /// The words of a text; `None` for a text without any. Stop words are left out, unless there is nothing else.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut pieces = pieces(text);
        let language = language_among(&pieces);
        pieces.truncate(PIECES_MAX);
        let concepts = |all: bool| {
            let mut concepts: Vec<Concept> = Vec::new();
            for piece in &pieces {
                if concepts.len() == CONCEPTS_MAX {
                    break;
                }
                let has_parts = |of: &Piece| pieces.iter().any(|part| part.kind == PieceKind::Part && within(part, of));
                let stands_alone = match piece.kind {
                    PieceKind::Token => !has_parts(piece),
                    PieceKind::Part => true,
                    PieceKind::Joined | PieceKind::Last => false,
                };
                if !stands_alone || !all && language.drops(&piece.folded) {
                    continue;
                }
                let concept = Concept::of(piece, &pieces, language, &text[piece.at.clone()]);
                if concepts.iter().all(|known| known.forms[0].term != concept.forms[0].term) {
                    concepts.push(concept);
                }
            }
            concepts
        };
        let mut found = concepts(false);
        if found.is_empty() {
            found = concepts(true);
        }
        if found.is_empty() {
            return None;
        }
        let row = row(pieces, language, &found);
        Some(Self { concepts: found, row, of_groups: Vec::new(), documents: 0 })
    }

    /// The words in a row that a group may have, from one to some.
    pub(crate) fn phrases(&self) -> Vec<Phrase> {
        let mut phrases = Vec::new();
        for (start, first) in self.row.iter().enumerate() {
            let most = if group::is_pair(&first.folded) { PAIRS_MAX } else { PARTS_MAX };
            for end in start + 1..=self.row.len().min(start + most) {
                let row = &self.row[start..end];
                let places: BTreeSet<usize> = row.iter().flat_map(|word| word.places.iter().copied()).collect();
                if !places.is_empty() && row.iter().any(|word| !word.says_nothing) {
                    let keys = group::keys(row.iter().map(|word| &word.folded)).collect();
                    phrases.push(Phrase { places: places.into_iter().collect(), keys });
                }
            }
        }
        phrases
    }

    /// Adds the other words of a group that has some of its words. Whether there is any.
    pub(crate) fn add_group(&mut self, phrase: &Phrase, group: &Group, author: &str) -> bool {
        let form = |stem: &String| Form { term: stem.clone(), weight: RELATED_WEIGHT, idf: 0.0, is_there: false };
        let before = self.of_groups.len();
        for word in group.words.iter().filter(|word| word.keys.is_disjoint(&phrase.keys)) {
            let parts: Vec<Vec<Form>> = word.stems.iter().map(|stems| stems.iter().map(form).collect()).collect();
            let is_known = |known: &OfGroup| known.places == phrase.places && same_terms(&known.parts, &parts);
            if self.of_groups.len() < OF_GROUPS_MAX && !self.of_groups.iter().any(is_known) {
                let named = format!("“{}” by {author}", word.spelled);
                self.of_groups.push(OfGroup { places: phrase.places.clone(), parts, named });
            }
        }
        self.of_groups.len() > before
    }

    /// Adds the terms by which the memories of groups are found themselves.
    pub(crate) fn add_memories_of_groups(&mut self) {
        for concept in &mut self.concepts {
            let stems = Language::ALL.iter().map(|language| group::as_memory(&language.stem(&concept.folded)));
            let stems: Vec<String> = stems.collect();
            concept.add(stems.into_iter(), 1.0);
        }
    }

    /// The word of a group by which a memory has the one at a place, and whose it is.
    pub(crate) fn named_by_group(&self, spoken: &Spoken, place: usize) -> Option<&str> {
        let (_, number) = spoken.by_group.iter().find(|(at, _)| *at == place)?;
        self.of_groups.get(*number).map(|word| word.named.as_str())
    }

    /// All words in whose forms it is looked for.
    pub(crate) fn terms(&self) -> impl Iterator<Item = &str> {
        let of_groups = self.of_groups.iter().flat_map(|word| word.parts.iter().flatten());
        self.concepts.iter().flat_map(|concept| &concept.forms).chain(of_groups).map(|form| form.term.as_str())
    }

    /// Learns how rare its words are. `frequencies` has the documents with each term.
    pub(crate) fn weigh(&mut self, frequencies: &BTreeMap<String, u64>, statistics: &Statistics) {
        self.documents = statistics.documents;
        let count = |form: &Form| frequencies.get(&form.term).copied().unwrap_or_default();
        for form in self.of_groups.iter_mut().flat_map(|word| word.parts.iter_mut().flatten()) {
            let count = count(form);
            (form.idf, form.is_there) = (statistics.idf(count), count > 0);
        }
        for (place, concept) in self.concepts.iter_mut().enumerate() {
            let own = |form: &&Form| form.weight > CLOSE_WEIGHT;
            let most = concept.forms.iter().filter(own).map(count).max().unwrap_or_default();
            // a word that nobody wrote is as rare as those that stand for it
            let of_groups = self.of_groups.iter().filter(|word| word.places.contains(&place));
            let stand = concept.forms.iter().map(count).chain(of_groups.map(|word| {
                let parts = word.parts.iter().map(|forms| forms.iter().map(count).max().unwrap_or_default());
                parts.min().unwrap_or_default()
            }));
            let most = if most > 0 { most } else { stand.max().unwrap_or_default() };
            concept.is_rare = most > 0 && most <= RARE_MIN.max(statistics.documents / RARE_OF) && !concept.is_common;
            concept.idf = statistics.idf(most) * if concept.is_common { COMMON_SHARE } else { 1.0 };
            for form in &mut concept.forms {
                let count = frequencies.get(&form.term).copied().unwrap_or_default();
                (form.idf, form.is_there) = (statistics.idf(count), count > 0);
            }
        }
    }

    /// The terms to look for. A rare form weighs no more than the word for which it stands.
    pub(crate) fn sought(&self) -> Vec<Sought> {
        let mut sought: BTreeMap<&str, f32> = BTreeMap::new();
        for concept in &self.concepts {
            for form in concept.forms.iter().filter(|form| form.is_there) {
                let capped = if form.idf > concept.idf { concept.idf / form.idf } else { 1.0 };
                let boost = sought.entry(&form.term).or_default();
                *boost = boost.max(form.weight * capped);
            }
        }
        for word in &self.of_groups {
            let idf = word.places.iter().map(|place| self.concepts[*place].idf).fold(0.0, f32::max);
            // all parts together weigh as one word
            let share = 1.0 / count(word.parts.len());
            for form in word.parts.iter().flatten().filter(|form| form.is_there) {
                let capped = if form.idf > idf { idf / form.idf } else { 1.0 };
                let boost = sought.entry(&form.term).or_default();
                *boost = boost.max(form.weight * capped * share);
            }
        }
        sought.into_iter().map(|(term, boost)| Sought { term: term.to_owned(), boost }).collect()
    }

    /// The memories there were when it was looked for.
    pub(crate) const fn documents(&self) -> u64 {
        self.documents
    }

    /// The sum of its words' weights: a score in words of this question is a share of it.
    pub(crate) fn weight(&self) -> f32 {
        self.concepts.iter().map(|concept| concept.idf).sum()
    }

    /// The words that no text has in any form, in lower case and without accents, each with its place.
    pub(crate) fn unknown(&self, frequencies: &BTreeMap<String, u64>) -> Vec<(usize, String)> {
        let is_unknown = |concept: &Concept| {
            // a word of a script without spaces, of which texts have pairs
            let is_single = !concept.folded.is_ascii() && concept.folded.chars().nth(1).is_none();
            is_single
                || concept.folded.chars().count() >= CLOSE_CHARS_MIN
                    && concept.forms.iter().all(|form| !frequencies.contains_key(&form.term))
        };
        let unknown = self.concepts.iter().enumerate().filter(|(_, concept)| is_unknown(concept));
        unknown.take(CLOSE_WORDS_MAX).map(|(place, concept)| (place, concept.folded.clone())).collect()
    }

    /// Adds words that are spelled nearly as one of the question.
    pub(crate) fn add_close(&mut self, place: usize, terms: impl Iterator<Item = String>) {
        self.concepts[place].add(terms, CLOSE_WEIGHT);
    }

    /// Adds the short forms of its words, and the long ones of short forms.
    pub(crate) fn add_short_forms(&mut self) {
        for concept in &mut self.concepts {
            let forms: Vec<String> = stems(vocabulary::short_forms(&concept.folded));
            concept.add(forms.into_iter(), RELATED_WEIGHT);
        }
    }

    /// Adds words that mean nearly the same. Whether there are any.
    pub(crate) fn add_near(&mut self) -> bool {
        let mut added = false;
        for concept in &mut self.concepts {
            let (near, before) = (stems(vocabulary::near(&concept.folded)), concept.forms.len());
            concept.add(near.into_iter(), NEAR_WEIGHT);
            added |= concept.forms.len() > before;
        }
        added
    }

    /// Whether it is short, and a text has a rare word of it, by its own words.
    pub(crate) fn is_told_by(&self, spoken: &Spoken) -> bool {
        let mut own = spoken.matched.iter().filter(|place| !spoken.by_alias.contains(place));
        self.concepts.len() <= TOLD_BY_ONE_MAX
            && self.row.len() <= TOLD_WORDS_MAX
            && own.any(|place| self.concepts.get(*place).is_some_and(|concept| concept.is_rare))
    }

    /// The part of it that some texts speak of together.
    pub(crate) fn spoken_in<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Spoken {
        let mut matches = WordMatches::of(self.terms());
        texts.for_each(|text| matches.look_in(text));
        let mut found = matches.found().iter();
        let (mut spoken, mut covered) = (Spoken::default(), 0.0);
        let mut best: Vec<f32> = Vec::with_capacity(self.concepts.len());
        for concept in &self.concepts {
            let here = concept.forms.iter().zip(&mut found).filter(|(_, found)| **found);
            best.push(here.map(|(form, _)| form.weight).fold(0.0, f32::max));
        }
        for (number, word) in self.of_groups.iter().enumerate() {
            // every form is looked at: those found are in the order of all terms
            let parts =
                word.parts.iter().map(|forms| forms.iter().zip(&mut found).filter(|(_, found)| **found).count());
            if parts.filter(|count| *count == 0).count() > 0 {
                continue;
            }
            for place in word.places.iter().filter(|place| best[**place] == 0.0).copied().collect::<Vec<_>>() {
                best[place] = RELATED_WEIGHT;
                spoken.by_group.push((place, number));
            }
        }
        for (place, (concept, best)) in self.concepts.iter().zip(best).enumerate() {
            if best > 0.0 {
                spoken.matched.push(place);
                covered += best * concept.idf;
            }
        }
        spoken.coverage = covered / self.weight().max(f32::MIN_POSITIVE);
        spoken
    }
}

impl Concept {
    fn of(piece: &Piece, all: &[Piece], language: Language, spelled: &str) -> Self {
        let folded = piece.folded.clone();
        let mut concept = Self {
            spelled: spelled.to_owned(),
            folded,
            forms: Vec::new(),
            is_common: language.is_common(&piece.folded),
            idf: 0.0,
            is_rare: false,
        };
        let stems = |language: Language, folded: &str| language.stem(folded).into_owned();
        let mut names = vec![piece];
        // pairs of characters in one run have its place, and are no names of each other
        let is_name = |name: &&Piece| match name.kind {
            PieceKind::Joined => true,
            PieceKind::Token => piece.kind == PieceKind::Part,
            PieceKind::Part | PieceKind::Last => false,
        };
        names.extend(all.iter().filter(|name| is_name(name) && within(piece, name)));
        concept.add(names.iter().map(|name| stems(language, &name.folded)), 1.0);
        let others = Language::ALL.into_iter().filter(|other| *other != language);
        concept.add(others.map(|other| stems(other, &piece.folded)), INFLECTED_WEIGHT);
        concept
    }

    fn add(&mut self, terms: impl Iterator<Item = String>, weight: f32) {
        for term in terms {
            if self.forms.len() < FORMS_MAX && self.forms.iter().all(|form| form.term != term) {
                self.forms.push(Form { term, weight, idf: 0.0, is_there: false });
            }
        }
    }
}

/// The words of a question in a row, each with the places of what is looked for of it: it, or the parts of a name.
fn row(pieces: Vec<Piece>, language: Language, concepts: &[Concept]) -> Vec<Spelled> {
    let place = |piece: &Piece| concepts.iter().position(|concept| concept.folded == piece.folded);
    let mut row: Vec<Spelled> = Vec::new();
    let mut at = 0..0;
    for piece in pieces {
        match piece.kind {
            PieceKind::Token if row.len() == ROW_MAX => break,
            PieceKind::Token => {
                let (places, says_nothing) = (place(&piece).into_iter().collect(), language.drops(&piece.folded));
                at = piece.at;
                row.push(Spelled { folded: piece.folded, places, says_nothing });
            }
            // parts come after their name
            PieceKind::Part if at.start <= piece.at.start && piece.at.end <= at.end => {
                if let Some(last) = row.last_mut() {
                    last.places.extend(place(&piece));
                }
            }
            PieceKind::Part | PieceKind::Joined | PieceKind::Last => {}
        }
    }
    row
}

/// The longest text that is shown whole, and the longest part of a longer one, in characters.
const SHOWN_CHARS_MAX: usize = 400;

/// The part of a text that speaks most of a question, with `…` where something is left out; `None` for a text that is
/// short enough to be shown whole.
pub(crate) fn best_passage(text: &str, phrasings: &[Question]) -> Option<String> {
    // room for the signs of what is left out
    const CHARS_MAX: usize = SHOWN_CHARS_MAX - 4;
    let _ = text.chars().nth(SHOWN_CHARS_MAX)?;
    let covered = |at: &Range<usize>| -> f32 {
        let part = text.get(at.clone()).unwrap_or_default();
        phrasings.iter().map(|phrasing| phrasing.spoken_in([part].into_iter()).coverage).sum()
    };
    let best = |parts: Vec<Range<usize>>| {
        let weighed = parts.into_iter().map(|at| (covered(&at), at));
        // of equal ones the first
        weighed.reduce(|best, other| if other.0 > best.0 { other } else { best }).map(|(_, at)| at)
    };
    let passage = best(passage::passages(text))?;
    let sentences = passage::cut(text.get(passage.clone())?, SENTENCE_BYTES.start, SENTENCE_BYTES.end);
    let sentences: Vec<Range<usize>> =
        sentences.into_iter().map(|at| passage.start + at.start..passage.start + at.end).collect();
    let rows = (0..sentences.len()).map(|first| {
        let start = sentences[first].start;
        let fits = |at: &&Range<usize>| text.get(start..at.end).is_some_and(|part| part.chars().count() <= CHARS_MAX);
        let end = sentences[first..].iter().take_while(fits).last().map_or(sentences[first].end, |last| last.end);
        start..end
    });
    let at = best(rows.collect())?;
    let part = text.get(at.clone())?;
    let end = part.char_indices().nth(CHARS_MAX).map_or(part.len(), |(end, _)| end);
    let (before, after) = (if at.start > 0 { "… " } else { "" }, if at.start + end < text.len() { " …" } else { "" });
    Some(format!("{before}{}{after}", part[..end].trim()))
}

/// The lengths of a part of a passage, in bytes.
const SENTENCE_BYTES: Range<usize> = 60..200;

fn stems(words: impl Iterator<Item = &'static str>) -> Vec<String> {
    words.map(|word| Language::English.stem(word).into_owned()).collect()
}

fn same_terms(some: &[Vec<Form>], others: &[Vec<Form>]) -> bool {
    let terms = |parts: &[Vec<Form>]| -> Vec<String> { parts.iter().flatten().map(|form| form.term.clone()).collect() };
    terms(some) == terms(others)
}

#[expect(clippy::cast_precision_loss, reason = "a share of a few")]
fn count(parts: usize) -> f32 {
    parts.max(1) as f32
}

fn within(part: &Piece, whole: &Piece) -> bool {
    whole.at.start <= part.at.start && part.at.end <= whole.at.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Statistics;

    fn spelled(text: &str) -> Vec<String> {
        Question::of(text)
            .map_or_else(Vec::new, |question| question.concepts.into_iter().map(|concept| concept.spelled).collect())
    }

    #[test]
    fn stop_words_are_left_out_unless_there_is_nothing_else() {
        assert_eq!(spelled("Is Lyon the capital of France?"), ["Lyon", "capital", "France"]);
        assert_eq!(spelled("Wer ist für die Rechnungen zuständig?"), ["Rechnungen", "zuständig"]);
        assert_eq!(spelled("to be or not to be"), ["to", "be", "or", "not"]);
        assert!(Question::of(" …?! ").is_none());
    }

    /// The question with the words of a group of Ada's.
    fn with_group(text: &str, words: &[&str]) -> Question {
        let (mut question, group) = (Question::of(text).unwrap(), Group::of(words.iter().copied()).unwrap());
        for phrase in question.phrases() {
            if group.words.iter().any(|word| !word.keys.is_disjoint(&phrase.keys)) {
                question.add_group(&phrase, &group, "Ada");
            }
        }
        let all: BTreeMap<String, u64> = question.terms().map(|term| (term.to_owned(), 3)).collect();
        question.weigh(&all, &Statistics { documents: 100, words: 1_000 });
        question
    }

    #[test]
    fn a_word_of_a_group_stands_for_one_of_the_question_if_all_of_it_is_there() {
        let question = with_group("how do we deploy firmware", &["deploys", "ship it", "pull request"]);
        let spoken = |text: &str| question.spoken_in([text].into_iter());
        let named = |text: &str| question.named_by_group(&spoken(text), 0).map(str::to_owned);
        assert_eq!(named("We ship on Tuesdays").unwrap(), "“ship it” by Ada");
        assert_eq!(named("a request to pull").unwrap(), "“pull request” by Ada");
        assert_eq!(spoken("pull the cable"), Spoken::default());
        let (own, other) = (spoken("deploy at night"), spoken("ship at night"));
        assert!(own.coverage > other.coverage && own.by_group.is_empty(), "{own:?} {other:?}");
        assert_eq!(spoken("firmware").matched, [1]);
        // words of a group in a row, and in another order
        for (text, places) in [("a pull request of mine", 2), ("request a pull", 0), ("retryBudget", 0)] {
            let question = with_group(text, &["pull requests", "changeset"]);
            assert_eq!(question.spoken_in(["changeset 7"].into_iter()).matched.len(), places, "{text}");
        }
        assert_eq!(with_group("my retryBudget", &["retryBudget", "patience"]).of_groups[0].places, [0, 1]);
        assert_eq!(with_group("分散型メモリ", &["メモリ", "ram"]).of_groups.len(), 1);
    }

    #[test]
    fn the_words_of_groups_have_a_bound() {
        let mut question = Question::of(&"deploy ship roll ".repeat(2_000)).unwrap();
        assert!(question.phrases().len() <= ROW_MAX * PARTS_MAX);
        for n in 0..500 {
            let words: Vec<String> = (0..7).map(|m| format!("word{n}x{m}")).chain(["deploy".to_owned()]).collect();
            let group = Group::of(words.iter().map(String::as_str)).unwrap();
            for phrase in question.phrases() {
                question.add_group(&phrase, &group, "Ada");
            }
        }
        assert_eq!(question.of_groups.len(), OF_GROUPS_MAX);
        question.weigh(&BTreeMap::new(), &Statistics::default());
        assert!(question.sought().is_empty());
    }

    #[test]
    fn of_a_long_text_the_part_that_speaks_most_of_the_question_is_shown() {
        let questions = [Question::of("which seed do the trainings use").unwrap()];
        let filler = "The pipeline was slow on Monday and nobody knew why. ".repeat(40);
        for text in [
            format!("Post-mortem\n\n{filler}The seed of all trainings is 1337. {filler}"),
            format!("The seed of all trainings is 1337. {filler}"),
            format!("{filler}The seed of all trainings is 1337."),
            format!("{}\nThe seed of all trainings is 1337.", "数据库备份".repeat(200)),
        ] {
            let mut questions = questions.clone();
            questions[0].weigh(&BTreeMap::new(), &Statistics { documents: 9, words: 99 });
            let shown = best_passage(&text, &questions).unwrap();
            assert!(shown.contains("1337") && shown.chars().count() <= SHOWN_CHARS_MAX, "{shown}");
            assert_eq!(shown.starts_with("… "), !text.starts_with("The seed"));
            assert_eq!(shown.ends_with(" …"), !text.ends_with("1337."));
        }
        assert_eq!(best_passage(&"a".repeat(SHOWN_CHARS_MAX), &questions), None);
        let run = best_passage(&"長".repeat(9_000), &questions).unwrap();
        assert!(run.chars().count() <= SHOWN_CHARS_MAX && run.starts_with('長'), "{run}");
    }

    #[test]
    fn a_word_is_looked_for_whole_by_its_parts_and_as_both_languages_inflect_it() {
        let forms = |text: &str| {
            let question = Question::of(text).unwrap();
            question
                .concepts
                .iter()
                .map(|concept| concept.forms.iter().map(|form| form.term.clone()).collect())
                .collect()
        };
        let all: Vec<Vec<String>> = forms("utf-8");
        assert_eq!(all, [vec!["utf", "utf8"], vec!["8", "utf8"]]);
        let all: Vec<Vec<String>> = forms("retryBudget");
        assert!(all.len() == 2 && all.iter().all(|forms| forms.contains(&"retrybudget".to_owned())), "{all:?}");
    }
}
