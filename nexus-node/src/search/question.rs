//! A question as it is looked for.

use std::collections::BTreeMap;

use super::language::Language;
use super::words::{Piece, PieceKind, WordMatches, language_of, pieces};
use super::{Sought, Statistics, vocabulary};

/// The most different words of a question that are looked for.
const CONCEPTS_MAX: usize = 32;
/// The most words that stand for one of a question.
const FORMS_MAX: usize = 12;
/// The weight of a word as another language would inflect it.
const INFLECTED_WEIGHT: f32 = 0.8;
/// The weight of a word that is spelled nearly alike.
const CLOSE_WEIGHT: f32 = 0.7;
/// The weight of a word that means the same in the trade.
const RELATED_WEIGHT: f32 = 0.4;
/// The part of its weight that a word has which texts of any subject have.
const COMMON_SHARE: f32 = 0.5;
/// The most pieces of a phrasing that are looked at.
const PIECES_MAX: usize = 512;
/// The most words of a phrasing for which others that are spelled nearly alike are looked up.
const CLOSE_WORDS_MAX: usize = 4;
/// The shortest word for which others that are spelled nearly alike are looked up, in characters.
const CLOSE_CHARS_MIN: usize = 4;

/// A phrasing of a question: its words, without those that say nothing.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) concepts: Vec<Concept>,
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
}

#[derive(Clone, Debug, PartialEq)]
struct Form {
    term: String,
    weight: f32,
    idf: f32,
    /// Whether any text has it.
    is_there: bool,
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
        let (language, mut pieces) = (language_of(text), pieces(text));
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
                    PieceKind::Joined => false,
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
        (!found.is_empty()).then_some(Self { concepts: found, documents: 0 })
    }

    /// All words in whose forms it is looked for.
    pub(crate) fn terms(&self) -> impl Iterator<Item = &str> {
        self.concepts.iter().flat_map(|concept| &concept.forms).map(|form| form.term.as_str())
    }

    /// Learns how rare its words are. `frequencies` has the documents with each term.
    pub(crate) fn weigh(&mut self, frequencies: &BTreeMap<String, u64>, statistics: &Statistics) {
        self.documents = statistics.documents;
        for concept in &mut self.concepts {
            let count = |form: &Form| frequencies.get(&form.term).copied().unwrap_or_default();
            let own = |form: &&Form| form.weight > CLOSE_WEIGHT;
            let most = concept.forms.iter().filter(own).map(count).max().unwrap_or_default();
            // a word that nobody wrote is as rare as those that stand for it
            let most = if most > 0 { most } else { concept.forms.iter().map(count).max().unwrap_or_default() };
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
            concept.folded.chars().count() >= CLOSE_CHARS_MIN
                && concept.forms.iter().all(|form| !frequencies.contains_key(&form.term))
        };
        let unknown = self.concepts.iter().enumerate().filter(|(_, concept)| is_unknown(concept));
        unknown.take(CLOSE_WORDS_MAX).map(|(place, concept)| (place, concept.folded.clone())).collect()
    }

    /// Adds words that are spelled nearly as one of the question.
    pub(crate) fn add_close(&mut self, place: usize, terms: impl Iterator<Item = String>) {
        self.concepts[place].add(terms, CLOSE_WEIGHT);
    }

    /// Adds words that mean the same in the trade. Whether there are any.
    pub(crate) fn add_related(&mut self) -> bool {
        let mut added = false;
        for concept in &mut self.concepts {
            let before = concept.forms.len();
            let related = vocabulary::related(&concept.folded);
            let related: Vec<String> = related.map(|word| Language::English.stem(word).into_owned()).collect();
            concept.add(related.into_iter(), RELATED_WEIGHT);
            added |= concept.forms.len() > before;
        }
        added
    }

    /// The part of it that some texts speak of together.
    pub(crate) fn spoken_in<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Spoken {
        let mut matches = WordMatches::of(self.terms());
        texts.for_each(|text| matches.look_in(text));
        let mut found = matches.found().iter();
        let (mut spoken, mut covered) = (Spoken::default(), 0.0);
        for (place, concept) in self.concepts.iter().enumerate() {
            let best = concept.forms.iter().zip(&mut found).filter(|(_, found)| **found);
            let best = best.map(|(form, _)| form.weight).fold(0.0, f32::max);
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
        };
        let stems = |language: Language, folded: &str| language.stem(folded).into_owned();
        let mut names = vec![piece];
        names.extend(all.iter().filter(|name| name.kind != PieceKind::Part && *name != piece && within(piece, name)));
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

fn within(part: &Piece, whole: &Piece) -> bool {
    whole.at.start <= part.at.start && part.at.end <= whole.at.end
}

#[cfg(test)]
mod tests {
    use super::*;

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
