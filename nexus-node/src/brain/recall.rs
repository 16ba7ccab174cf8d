use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_identity::{Did, Timestamp};

use super::author::Author;
use super::projects::of_project;
use super::vocabulary::add_groups;
use crate::error::{InputError, NodeError};
use crate::ledger::{self, rows::Place};
use crate::memory::read::Reader;
use crate::memory::{AHEAD_MAX, Hit, Memory, RecallQuery, Recalled, ValidAt};
use crate::search::{
    Filter, Match, Outline, PROPOSAL, Question, Said, Search, Spoken, VOCABULARY, best_passage, matched_form, text_hash,
};
use crate::store::View;
use crate::vectors::{Meaning, Near};
use crate::words::beginning;

/// How much of a question is read, in bytes.
const QUERY_BYTES_MAX: usize = 8 * 1024;
/// The most phrasings of a question beside the first.
const PHRASINGS_MAX: usize = 3;
/// The time in which a memory's recency loses half of its weight.
const HALF_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// How much of a score depends on recency, and on how many of the words a memory has.
const RECENCY_SHARE: f64 = 0.2;
const COVERAGE_SHARE: f64 = 0.4;
/// The weight of a memory of this very instance, beside 1 for another's.
const OWN_WEIGHT: f64 = 1.05;
/// The strength that a memory must have, lest it is weak, and the addition for each further phrasing: with more of them
/// any memory has some words.
const FLOOR: f64 = 0.325;
const FLOOR_PHRASING: f64 = 0.03;
/// Below so many memories words tell less of how rare they are, and the floor is lower.
const FEW_MEMORIES: u64 = 100;
const FEW_SHARE: f64 = 0.7;
/// The part of a question below which words that mean nearly the same are looked for, too.
const LITTLE: f64 = 0.5;
/// The weight of a memory's meaning beside that of its words: where some memory has all words of the question, and where
/// none has any.
const MEANING_LEAST: f64 = 0.3;
const MEANING_MOST: f64 = 1.0;
/// Why a memory without a word of the question is in the answer.
const BY_MEANING: &str = "Its meaning is near.";
/// The most memories of an answer in which nothing speaks of the question.
const WEAK_MAX: usize = 3;
/// The most memories among which the best are looked for, where aliases that do not count are in the way, or those of
/// other programs.
const AMONG_MAX: usize = 10_000;
/// Hits that contradict each other are looked for among so many.
const ALIKE_AMONG: usize = 30;
/// Characters to a token, as a rule of thumb for English text and code.
const CHARS_PER_TOKEN: usize = 4;
/// The size of all that surrounds a memory's text in an answer, in tokens.
const TOKENS_AROUND: usize = 24;

/// Finds what fits the question, weighs it, and says why: relevance (BM25) × how much of the question × recency ×
/// source. With an embedder the meaning adds to the relevance.
pub(super) fn recall(
    query: &RecallQuery,
    me: Did,
    ignores: &[String],
    search: &Search,
    meaning: &Meaning,
    reader: &Reader<'_>,
    view: &dyn View,
) -> Result<Recalled, NodeError> {
    if !(1..=1_000).contains(&query.limit) {
        return Err(InputError::Limit { limit: query.limit, max: 1_000 }.into());
    }
    let mut phrasings = phrasings(query)?;
    let set_apart = [VOCABULARY, PROPOSAL];
    if query.kinds.iter().any(|kind| set_apart.contains(&matched_form(kind).as_str())) {
        phrasings.iter_mut().for_each(Question::add_memories_of_groups);
    }
    let ignored: BTreeSet<Did> = ignores.iter().flat_map(|name| reader.members_called(name)).collect();
    let (now, latest) = (reader.now(), reader.latest());
    let author = query.by.as_deref().map(|by| Author::of(by, reader)).transpose()?;
    let filter = filter(query, author.as_ref(), reader, now)?;
    let (limit, near) = (query.limit, Vec::new());
    let (ignored, filter, author) = (&ignored, &filter, author.as_ref());
    let mut asked = Asked { phrasings: &mut phrasings, filter, author, limit, me, latest, ignored, near };
    // a word that means the same is the other
    asked.phrasings.iter_mut().for_each(Question::add_short_forms);
    add_groups(asked.phrasings, &filter.spaces, ignored, search, reader, view)?;
    let mut hits = asked.look(search, reader, view)?;
    let covered = hits.iter().map(|hit| hit.coverage).fold(0.0, f64::max);
    // those that mean nearly the same come in where it finds little
    let mut added = false;
    if covered < LITTLE {
        asked.phrasings.iter_mut().for_each(|phrasing| added |= phrasing.add_near());
    }
    if added {
        hits = asked.look(search, reader, view)?;
    }
    let near = meaning.near(filter, now, asked.enough());
    if !near.is_empty() {
        let covered = hits.iter().map(|hit| hit.coverage).fold(0.0, f64::max).min(1.0);
        asked.near = near;
        hits = asked.look_with(MEANING_MOST - (MEANING_MOST - MEANING_LEAST) * covered, search, reader, view)?;
    }
    let floor = asked.floor();
    if let (true, Some(author), Some(by)) = (hits.is_empty(), &author, &query.by) {
        author.check_known(by, reader)?;
    }
    let is_weak = |hit: &Weighed| hit.hit.by_meaning || hit.strength < floor;
    // memories with all words of the question come first, above all those with its very text, and weak ones last
    hits.sort_by_cached_key(|hit| (is_weak(hit), !hit.has_all, !has_phrase(&hit.hit.memory, query)));
    let mut hits = without_copies(hits);
    let mut least = 1.0;
    for hit in &mut hits {
        // the order says more than the words alone: no later memory is more likely right
        let score = chance(hit.strength).min(least);
        // a hit by its meaning says nothing of those with words behind it
        if !hit.hit.by_meaning {
            least = score;
        }
        hit.hit.score = score;
        hit.hit.weak = is_weak(hit);
        hit.hit.telling = !hit.hit.weak || hit.has_rare;
    }
    let nothing_speaks = hits.iter().all(|hit| !hit.hit.telling);
    let mut hits: Vec<Hit> = hits.into_iter().map(|hit| hit.hit).collect();
    let phrasings = &*asked.phrasings;
    let mut truncated = hits.len() > query.limit && !nothing_speaks;
    hits.truncate(if nothing_speaks { query.limit.min(WEAK_MAX) } else { query.limit });
    if let Some(min) = query.min {
        hits.retain(|hit| hit.score >= min);
    }
    if let Some(tokens) = query.tokens {
        truncated |= fit(&mut hits, tokens);
    }
    for hit in &mut hits {
        hit.passage = best_passage(&hit.memory.text, phrasings);
    }
    if query.valid_at != ValidAt::Ever {
        note_contradictions(&mut hits);
        later_first(&mut hits, me, query);
    }
    Ok(Recalled { hits, truncated, indexed: indexed(search.seen(), ledger::last_eno(view)?) })
}

/// The part of all entries that was searched.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn indexed(seen: u64, last: u64) -> f64 {
    if seen >= last { 1.0 } else { seen as f64 / last as f64 }
}

/// A question in all its phrasings.
struct Asked<'a> {
    phrasings: &'a mut Vec<Question>,
    filter: &'a Filter,
    author: Option<&'a Author>,
    limit: usize,
    me: Did,
    latest: Timestamp,
    /// The members whose aliases do not count.
    ignored: &'a BTreeSet<Did>,
    /// The memories whose meaning is near.
    near: Vec<Near>,
}

/// A hit in the making.
struct Weighed {
    hit: Hit,
    /// The rank: higher is better.
    rank: f64,
    /// The part of the question that it speaks of.
    coverage: f64,
    /// The same, less where it is only a word or two.
    strength: f64,
    /// Whether it has all words of a phrasing.
    has_all: bool,
    /// Whether it has the rarer word of a phrasing of one or two.
    has_rare: bool,
}

impl Asked<'_> {
    /// The most candidates of a list: some more than asked for, since weighing changes the order, and some have expired.
    fn enough(&self) -> usize {
        self.limit + self.limit / 2 + 8
    }

    /// The best memories by their words, and at least one more if there is one.
    fn look(&mut self, search: &Search, reader: &Reader<'_>, view: &dyn View) -> Result<Vec<Weighed>, NodeError> {
        self.look_with(0.0, search, reader, view)
    }

    /// The same by their words and, with this weight, by their meaning.
    fn look_with(
        &mut self,
        weight: f64,
        search: &Search,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<Vec<Weighed>, NodeError> {
        let mut enough = self.enough();
        loop {
            let (hits, more) = self.look_among(enough, weight, search, reader, view)?;
            if !more || enough >= AMONG_MAX {
                return Ok(hits);
            }
            enough = enough.saturating_mul(8).min(AMONG_MAX);
        }
    }

    /// The best of so many that the index finds for each phrasing, and whether further ones may be better. The index knows
    /// no programs, and those with ignored aliases may have left no room for others.
    fn look_among(
        &mut self,
        enough: usize,
        weight: f64,
        search: &Search,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<(Vec<Weighed>, bool), NodeError> {
        let (mut is_full, mut ignored, mut others) = (false, 0, 0);
        let mut candidates: BTreeMap<Place, Match> = BTreeMap::new();
        for phrasing in self.phrasings.iter_mut() {
            let found = search.find(phrasing, self.filter, enough, reader, view)?;
            is_full |= found.len() >= enough;
            // the sum of shares: by places alone, what is in all lists comes first, however little it has
            let of = phrasing.weight().max(f32::MIN_POSITIVE);
            for found in found {
                let share = found.score / of;
                let sum = candidates.entry(found.place).or_insert(Match { score: 0.0, ..found });
                sum.score += share;
            }
        }
        for Near { place, stamp, share } in self.near.iter().copied() {
            #[expect(clippy::cast_possible_truncation, reason = "a score")]
            let share = (weight * share) as f32;
            candidates.entry(place).or_insert(Match { place, score: 0.0, stamp }).score += share;
        }
        let mut read = BTreeSet::new();
        let candidates = candidates.into_values().collect();
        let mut hits = best(candidates, self.limit, self.latest, |found| {
            let memory = reader.memory_at(found.place)?;
            let memory = memory.filter(|memory| memory.expires_at.is_none_or(|end| end > reader.now()));
            let memory = memory.filter(|memory| self.author.is_none_or(|author| author.wrote(memory)));
            // the index may still have several records of one memory
            let Some(memory) = memory.filter(|memory| read.insert(memory.id)) else { return Ok(None) };
            let (spoken, share) = self.spoken_in(&memory, reader)?;
            ignored += usize::from(share < 1.0);
            others += usize::from(share == 1.0);
            let by_meaning = spoken.iter().all(|spoken| spoken.matched.is_empty());
            // it has no word but by those aliases, or a part of a group's word
            if by_meaning && !self.near.iter().any(|near| near.place == found.place) {
                return Ok(None);
            }
            let found = &Match { score: found.score * share, ..*found };
            let mut weighed = weigh(memory, found, &spoken, self.phrasings, self.me, self.latest);
            if by_meaning {
                weighed.hit.by_meaning = true;
                weighed.hit.why = BY_MEANING.to_owned();
            }
            Ok(Some(weighed))
        })?;
        hits.sort_by(|a, b| b.rank.total_cmp(&a.rank).then_with(|| a.hit.memory.id.cmp(&b.hit.memory.id)));
        let of_agent = Author::agent(self.author).is_some() && hits.len() <= self.limit;
        Ok((hits, is_full && (of_agent || ignored > 0 && others <= self.limit)))
    }

    /// The strength below which a memory is weak.
    fn floor(&self) -> f64 {
        let documents = self.phrasings.iter().map(Question::documents).max().unwrap_or_default();
        let share = if documents < FEW_MEMORIES { FEW_SHARE } else { 1.0 };
        let further = u32::try_from(self.phrasings.len()).unwrap_or_default().saturating_sub(1);
        share * (FLOOR + FLOOR_PHRASING * f64::from(further))
    }

    /// The part of each phrasing that a memory speaks of, and the share of its score that is left. It is less than 1 if
    /// the memory has words by aliases that do not count.
    fn spoken_in(&self, memory: &Memory, reader: &Reader<'_>) -> Result<(Vec<Spoken>, f32), NodeError> {
        let texts = || {
            let values = memory.meta.values().filter_map(serde_json::Value::as_str);
            [memory.text.as_str()].into_iter().chain(memory.tags.iter().map(String::as_str)).chain(values)
        };
        let aliases = || memory.aliases.iter().map(String::as_str);
        let spoken_in = |phrasing: &Question| {
            let mut spoken = phrasing.spoken_in(texts().chain(aliases()));
            if !memory.aliases.is_empty() {
                spoken.leave_to_aliases(&phrasing.spoken_in(texts()));
            }
            spoken
        };
        let mut spoken: Vec<Spoken> = self.phrasings.iter().map(spoken_in).collect();
        let (mut share, mut with) = (1.0, 0.0);
        let covered = |spoken: &[Spoken]| spoken.iter().map(|spoken| spoken.coverage).sum::<f32>();
        let part = |covered: f32, with: f32| (covered / with.max(f32::MIN_POSITIVE)).min(1.0);
        let by = memory.fields.get("aliases").map(|from| from.author);
        if by.is_some_and(|by| self.ignored.contains(&by)) && spoken.iter().any(|spoken| !spoken.by_alias.is_empty()) {
            with = covered(&spoken);
            spoken = self.phrasings.iter().map(|phrasing| phrasing.spoken_in(texts())).collect();
            share = part(covered(&spoken), with);
        }
        if spoken.iter().any(|spoken| !spoken.matched.is_empty()) {
            return Ok((spoken, share));
        }
        // it was found by its key then
        let id = memory.id.to_string();
        let key = reader.key_of(&id)?.map_or_else(|| reader.key_to(&id), |key| Ok(Some(key)))?;
        let spoken = self.phrasings.iter().map(|phrasing| phrasing.spoken_in(key.as_deref().into_iter()));
        let spoken: Vec<Spoken> = spoken.collect();
        let share = if share < 1.0 { part(covered(&spoken), with) } else { share };
        Ok((spoken, share))
    }
}

/// The phrasings of a question that have words.
fn phrasings(query: &RecallQuery) -> Result<Vec<Question>, NodeError> {
    if query.or.len() > PHRASINGS_MAX {
        return Err(InputError::Phrasings { count: query.or.len(), max: PHRASINGS_MAX }.into());
    }
    let texts = [&query.text].into_iter().chain(&query.or);
    let found: Vec<Question> = texts.filter_map(|text| Question::of(beginning(text, QUERY_BYTES_MAX))).collect();
    if found.is_empty() { Err(InputError::NoWords.into()) } else { Ok(found) }
}

/// How likely a memory of this strength answers the question: a logistic function, fitted to the tuned half of the
/// benchmark, with and without aliases and further phrasings.
fn chance(strength: f64) -> f64 {
    const SLOPE: f64 = 6.2;
    const MIDDLE: f64 = 0.584;
    1.0 / (1.0 + (-SLOPE * (strength - MIDDLE)).exp())
}

/// Leaves out memories of the same text as another one: of one author all but the latest, of others all but the best.
/// They are of one kind. With a word more, or in another order, a text may mean something else, and hidden is worse than
/// shown twice.
fn without_copies(hits: Vec<Weighed>) -> Vec<Weighed> {
    let mut kept: Vec<Weighed> = Vec::with_capacity(hits.len());
    let mut by_text: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
    for hit in hits {
        let of_text = by_text.entry(text_hash(&hit.hit.memory.text)).or_default();
        let alike = of_text.iter().copied().find(|at| {
            let memory = &hit.hit.memory;
            kept.get(*at).is_some_and(|known| {
                known.hit.memory.kind == memory.kind && known.hit.memory.attachment == memory.attachment
            })
        });
        let Some(known) = alike.and_then(|at| kept.get_mut(at)) else {
            of_text.push(kept.len());
            kept.push(hit);
            continue;
        };
        let is_later = |one: &Memory, other: &Memory| {
            one.author == other.author && (one.updated_at, one.id) > (other.updated_at, other.id)
        };
        if is_later(&hit.hit.memory, &known.hit.memory) {
            let Weighed { hit, strength, .. } = hit;
            let before = std::mem::replace(&mut known.hit, hit);
            known.hit.same = before.same;
            known.hit.same.push(before.memory.id);
            known.strength = known.strength.max(strength);
        } else {
            known.hit.same.push(hit.hit.memory.id);
        }
    }
    kept
}

/// Notes hits that seem to say something else of one subject, each at the other.
fn note_contradictions(hits: &mut [Hit]) {
    let mut compared: Vec<(Outline, Option<Said>, Timestamp)> = Vec::with_capacity(hits.len().min(ALIKE_AMONG));
    for Hit { memory, .. } in hits.iter().take(ALIKE_AMONG) {
        let since = memory.valid_from.or(memory.was_at).unwrap_or(memory.updated_at);
        compared.push((Outline::of(&memory.text), None, since));
    }
    for b in 1..compared.len() {
        for a in 0..b {
            let (before, rest) = compared.split_at_mut(b);
            let (one, other) = (&mut before[a], &mut rest[0]);
            if hits[a].weak && hits[b].weak || !one.0.may_contradict(&other.0) {
                continue;
            }
            let first = &*one.1.get_or_insert_with(|| Said::of(&hits[a].memory.text));
            let second = &*other.1.get_or_insert_with(|| Said::of(&hits[b].memory.text));
            let (former, later) = if one.2 <= other.2 { (first, second) } else { (second, first) };
            if former.is_contradicted_by(later) {
                let (one, other) = (hits[a].memory.id, hits[b].memory.id);
                hits[a].contradicts.push(other);
                hits[b].contradicts.push(one);
            }
        }
    }
}

/// Whether a memory has the very text of a question of several words.
fn has_phrase(memory: &Memory, query: &RecallQuery) -> bool {
    let asked = query.text.trim();
    asked.contains(char::is_whitespace) && memory.text.contains(asked)
}

/// Puts the later one of two hits first that contradict each other and have as many words of the question. It must be of the
/// author of the former one, or of this node: a stranger's later word takes no place.
fn later_first(hits: &mut [Hit], me: Did, query: &RecallQuery) {
    let since = |memory: &Memory| memory.valid_from.or(memory.was_at).unwrap_or(memory.updated_at);
    for at in 1..hits.len().min(ALIKE_AMONG) {
        let mut later = at;
        for before in (0..at).rev() {
            let (former, here) = (&hits[before], &hits[later]);
            let is_of_one = here.memory.author == former.memory.author || here.memory.author == me;
            let is_later = since(&here.memory) > since(&former.memory);
            let equal = here.weak == former.weak
                && here.matched.len() == former.matched.len()
                && has_phrase(&here.memory, query) == has_phrase(&former.memory, query);
            if !(here.contradicts.contains(&former.memory.id) && is_of_one && is_later && equal) {
                continue;
            }
            // the order says more than the words alone: the scores stay at their places
            let scores: Vec<f64> = hits[before..=later].iter().map(|hit| hit.score).collect();
            hits[before..=later].rotate_right(1);
            for (hit, score) in hits[before..=later].iter_mut().zip(scores) {
                hit.score = score;
            }
            later = before;
        }
    }
}

/// Reads candidates until no other one can be among the `limit` best of those read. It reads at
/// least one more, because the answer says whether there is more.
///
/// Only reading a memory shows its author and how many of the words it has. The upper bound of its
/// score is known before, so most memories that will not be shown are not read. This is the
/// threshold algorithm (Fagin, Lotem and Naor 2003).
fn best(
    candidates: Vec<Match>,
    limit: usize,
    now: Timestamp,
    mut read: impl FnMut(&Match) -> Result<Option<Weighed>, NodeError>,
) -> Result<Vec<Weighed>, NodeError> {
    let newest = |found: &Match| if is_ahead(found.stamp, now) { now } else { found.stamp };
    let at_most = |found: &Match| f64::from(found.score) * recency(newest(found), now) * OWN_WEIGHT;
    let mut candidates: Vec<(f64, Match)> = candidates.into_iter().map(|found| (at_most(&found), found)).collect();
    candidates.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut hits: Vec<Weighed> = Vec::with_capacity(limit.min(candidates.len()) + 1);
    // the scores of the hits with all words of the question, best first: no other one comes before these
    let mut scores: Vec<f64> = Vec::with_capacity(hits.capacity());
    for (at_most, found) in &candidates {
        if scores.len() > limit && scores.get(limit - 1).is_some_and(|last| last > at_most) {
            break;
        }
        if let Some(hit) = read(found)? {
            if hit.has_all {
                scores.insert(scores.partition_point(|score| *score >= hit.rank), hit.rank);
            }
            hits.push(hit);
        }
    }
    Ok(hits)
}

fn filter(
    query: &RecallQuery,
    author: Option<&Author>,
    reader: &Reader<'_>,
    now: Timestamp,
) -> Result<Filter, NodeError> {
    let mut spaces = BTreeSet::new();
    if query.spaces.is_empty() {
        spaces.extend(reader.space_numbers());
    }
    for name in &query.spaces {
        spaces.insert(reader.space(Some(name))?.1.no);
    }
    let since = query.since.map(|since| {
        let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_ms(now.as_ms().saturating_sub(ms))
    });
    Ok(Filter {
        spaces,
        tags: query.tags.iter().map(|tag| matched_form(tag)).collect(),
        kinds: query.kinds.iter().map(|kind| matched_form(kind)).collect(),
        by: Author::member(author),
        since,
        valid_at: match query.valid_at {
            ValidAt::Now => Some(now),
            ValidAt::Time(at) => Some(at),
            ValidAt::Ever => None,
        },
        project: query.project.as_deref().map(|name| of_project(name, reader)),
    })
}

fn weigh(memory: Memory, found: &Match, spoken: &[Spoken], phrasings: &[Question], me: Did, now: Timestamp) -> Weighed {
    let most = |of: fn(&Spoken) -> f64| spoken.iter().map(of).fold(0.0, f64::max);
    let (coverage, strength) = (most(|spoken| f64::from(spoken.coverage)), most(Spoken::strength));
    let each = || spoken.iter().zip(phrasings);
    // words of others' aliases put no memory before those that say it
    let is_own = memory.fields.get("aliases").is_none_or(|from| from.author == me);
    let said = |spoken: &Spoken| spoken.matched.len() - if is_own { 0 } else { spoken.by_alias.len() };
    let has_all = each().any(|(spoken, phrasing)| said(spoken) == phrasing.concepts.len());
    // further phrasings are others' words
    let has_rare = each().next().is_some_and(|(spoken, phrasing)| phrasing.is_told_by(spoken));
    let source = if memory.author == me { OWN_WEIGHT } else { 1.0 };
    // of a copy the time before counts, as far as it was said honestly
    let was_at = memory.was_at.filter(|was| *was < memory.created_at && memory.edited_by.is_none());
    let stamps = [was_at.unwrap_or(memory.updated_at), memory.created_at];
    // this node's own stamps may be ahead of its clock, if that was put back
    let ahead = |stamp| memory.author != me && is_ahead(stamp, now);
    let stamp = stamps.into_iter().find(|stamp| !ahead(*stamp));
    let recency = stamp.map_or(counted(0.0, RECENCY_SHARE), |stamp| recency(stamp, now));
    let rank = f64::from(found.score) * counted(coverage, COVERAGE_SHARE) * recency * source;
    let words = |of: fn(&Spoken) -> &[usize]| {
        let mut words: Vec<String> = Vec::new();
        for (spoken, phrasing) in spoken.iter().zip(phrasings) {
            for word in of(spoken).iter().map(|place| &phrasing.concepts[*place].spelled) {
                if !words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                    words.push(word.clone());
                }
            }
        }
        words
    };
    let matched = words(|spoken| &spoken.matched);
    let by_alias = words(|spoken| &spoken.by_alias);
    let by_group = by_group(spoken, phrasings);
    let why = why(&matched, &by_alias, &by_group);
    let hit = Hit {
        memory,
        score: 0.0,
        weak: false,
        why,
        matched,
        by_meaning: false,
        same: Vec::new(),
        contradicts: Vec::new(),
        telling: true,
        passage: None,
    };
    Weighed { hit, rank, coverage, strength, has_all, has_rare }
}

/// The words of the question that a memory has by the mesh's groups alone, each with the word for it and whose that is.
fn by_group<'a>(spoken: &[Spoken], phrasings: &'a [Question]) -> BTreeMap<&'a str, Option<&'a str>> {
    let mut words: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    if spoken.iter().all(|spoken| spoken.by_group.is_empty()) {
        return words;
    }
    for (spoken, phrasing) in spoken.iter().zip(phrasings) {
        for place in &spoken.matched {
            let (word, named) = (phrasing.concepts[*place].spelled.as_str(), phrasing.named_by_group(spoken, *place));
            // by itself in any phrasing is by itself
            words.entry(word).and_modify(|known| *known = known.and(named)).or_insert(named);
        }
    }
    words
}

/// The factor of a score whose `share` depends on something of which only this part is there.
fn counted(part: f64, share: f64) -> f64 {
    1.0 - share + share * part
}

/// Whether a stamp is so far ahead of this node's clock that it says nothing of a memory's age: its author chose it.
fn is_ahead(stamp: Timestamp, now: Timestamp) -> bool {
    stamp > now.saturating_add(AHEAD_MAX)
}

fn recency(stamp: Timestamp, now: Timestamp) -> f64 {
    let half_lives = now.since(stamp).as_secs_f64() / HALF_LIFE.as_secs_f64();
    counted(0.5_f64.powf(half_lives), RECENCY_SHARE)
}

/// Why a memory is in the answer.
fn why(matched: &[String], by_alias: &[String], by_group: &BTreeMap<&str, Option<&str>>) -> String {
    const NAMED: usize = 4;
    let named = |words: &[&String]| {
        let name = |word: &&String| match by_group.get(word.as_str()).copied().flatten() {
            Some(by) => format!("“{word}” ({by})"),
            None => format!("“{word}”"),
        };
        let named: Vec<String> = words.iter().take(NAMED).map(name).collect();
        let more = words.len().saturating_sub(NAMED);
        if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") }
    };
    let (aliases, own): (Vec<&String>, Vec<&String>) = matched.iter().partition(|word| by_alias.contains(word));
    match (own.is_empty(), aliases.is_empty()) {
        (_, true) => format!("It has {}.", named(&own)),
        (true, false) => format!("Its aliases have {}.", named(&aliases)),
        (false, false) => format!("It has {}, and its aliases {}.", named(&own), named(&aliases)),
    }
}

/// Drops what does not fit into a budget, best first; says whether anything was dropped. The best
/// one stays even if it is too long.
fn fit(hits: &mut Vec<Hit>, tokens: usize) -> bool {
    let mut left = tokens;
    let mut kept = 0;
    for hit in hits.iter() {
        let cost = hit.memory.text.chars().count().div_ceil(CHARS_PER_TOKEN) + TOKENS_AROUND;
        if cost > left && kept > 0 {
            break;
        }
        left = left.saturating_sub(cost);
        kept += 1;
    }
    let dropped = kept < hits.len();
    hits.truncate(kept);
    dropped
}

#[cfg(test)]
mod tests {
    use nexus_crdt::{Dot, EntryId};
    use proptest::prelude::*;

    use super::*;
    use crate::memory::{MemoryId, Provenance};

    /// A memory about which nothing matters but its id and its age.
    fn memory(id: u64, stamp: Timestamp) -> Memory {
        Memory {
            attachment: None,
            id: Dot { entry: EntryId::from_bytes([0; 32]), index: u16::try_from(id).unwrap() }.into(),
            was: None,
            was_at: None,
            imported: None,
            space: String::new(),
            text: String::new(),
            kind: String::new(),
            tags: Vec::new(),
            meta: BTreeMap::new(),
            aliases: Vec::new(),
            author: Did::from_bytes([0; 32]),
            author_name: None,
            agent: None,
            source: None,
            edited_by: None,
            created_at: stamp,
            seen_at: None,
            updated_at: stamp,
            expires_at: None,
            valid_from: None,
            valid_to: None,
            supersedes: None,
            version: String::new(),
            fields: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            more: false,
        }
    }

    /// A memory of this rank, and nothing else.
    fn weighed(memory: Memory, rank: f64) -> Weighed {
        let (why, matched, same, contradicts) = (String::new(), Vec::new(), Vec::new(), Vec::new());
        let (telling, passage) = (true, None);
        let hit = Hit {
            memory,
            score: 0.0,
            weak: false,
            why,
            matched,
            by_meaning: false,
            same,
            contradicts,
            telling,
            passage,
        };
        Weighed { hit, rank, coverage: 1.0, strength: 1.0, has_all: true, has_rare: false }
    }

    fn sorted(mut hits: Vec<Weighed>) -> Vec<(MemoryId, f64)> {
        hits.sort_by(|a, b| b.rank.total_cmp(&a.rank).then_with(|| a.hit.memory.id.cmp(&b.hit.memory.id)));
        hits.into_iter().map(|hit| (hit.hit.memory.id, hit.rank)).collect()
    }

    proptest! {
        #[test]
        fn reading_only_what_can_be_among_the_best_gives_what_reading_everything_gives(
            candidates in prop::collection::vec((1_u16..50, 0_u64..200, 0_u8..=4, any::<bool>(), prop::bool::weighted(0.8)), 0..40),
            limit in 1_usize..12,
        ) {
            let now = Timestamp::from_ms(400 * 86_400_000);
            let found = |(n, (score, days, ..)): (usize, &(u16, u64, u8, bool, bool))| Match {
                place: Place { eno: n as u64, index: 0 },
                score: f32::from(*score) / 4.0,
                stamp: Timestamp::from_ms(now.as_ms() - days * 86_400_000),
            };
            let all: Vec<Match> = candidates.iter().enumerate().map(found).collect();
            // only reading tells how many of four words it has, its author, and whether it is still there
            let mut read = 0;
            let mut hit = |found: &Match| {
                read += 1;
                let (_, _, words, own, there) = candidates[usize::try_from(found.place.eno).unwrap()];
                let source = if own { OWN_WEIGHT } else { 1.0 };
                let score = f64::from(found.score) * counted(f64::from(words) / 4.0, COVERAGE_SHARE);
                let score = score * recency(found.stamp, now) * source;
                Ok(there.then(|| weighed(memory(found.place.eno, found.stamp), score)))
            };
            let everything: Vec<Weighed> = all.iter().filter_map(|found| hit(found).unwrap()).collect();
            let (more, mut everything) = (everything.len() > limit, sorted(everything));
            everything.truncate(limit);
            let some = best(all, limit, now, hit).unwrap();
            prop_assert_eq!(some.len() > limit, more, "whether there is more");
            let mut some = sorted(some);
            some.truncate(limit);
            prop_assert_eq!(some, everything);
            prop_assert!(read <= 2 * candidates.len());
        }
    }
    /// promise: Recall | Aliases of others put no memory before those that have all words of a question themselves
    #[test]
    fn aliases_of_others_make_no_memory_one_with_all_words() {
        let (now, me) = (Timestamp::from_ms(400 * 86_400_000), Did::from_bytes([1; 32]));
        let question = [Question::of("staging port").unwrap()];
        let found = Match { place: Place { eno: 0, index: 0 }, score: 1.0, stamp: now };
        let has_all = |by_alias: Vec<usize>, author| {
            let from = Provenance { author, author_name: None, agent: None, source: None, at: now };
            let fields = BTreeMap::from([("aliases", from)]);
            let memory = Memory { fields, ..memory(1, now) };
            let spoken = [Spoken { coverage: 1.0, matched: vec![0, 1], by_alias, ..Spoken::default() }];
            weigh(memory, &found, &spoken, &question, me, now).has_all
        };
        let rogue = Did::from_bytes([2; 32]);
        assert!(has_all(vec![], rogue) && has_all(vec![0, 1], me));
        assert!(!has_all(vec![1], rogue) && !has_all(vec![0, 1], rogue));
    }

    /// promise: Bad input | A stamp far ahead of a node's clock makes no memory the newest, in lists and in recall
    #[test]
    fn a_stamp_far_ahead_is_no_recency() {
        let now = Timestamp::from_ms(400 * 86_400_000);
        let question = [Question::of("word").unwrap()];
        let spoken = [Spoken { coverage: 1.0, matched: vec![0], ..Spoken::default() }];
        let found = Match { place: Place { eno: 0, index: 0 }, score: 1.0, stamp: now };
        let score = |updated, created| {
            let memory = Memory { text: "word".to_owned(), created_at: created, ..memory(1, updated) };
            weigh(memory, &found, &spoken, &question, Did::from_bytes([1; 32]), now).rank
        };
        let (old, ahead) = (Timestamp::from_ms(0), Timestamp::from_ms(now.as_ms() + 86_400_000));
        assert!(score(ahead, ahead) <= score(old, old), "it is as old as can be");
        assert!(score(ahead, now) >= score(now, now), "an edit from ahead hides no memory");
        let soon = now.saturating_add(Duration::from_secs(500));
        assert!(score(soon, soon) >= score(now, now), "clocks differ a little");
    }
}
