use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_identity::{Did, Timestamp};

use super::author::Author;
use crate::error::{InputError, NodeError};
use crate::ledger::{self, rows::Place};
use crate::memory::read::Reader;
use crate::memory::{AHEAD_MAX, Hit, Memory, RecallQuery, Recalled};
use crate::search::{Filter, Likeness, Match, Outline, Question, Said, Search, Spoken};
use crate::store::View;

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
const FLOOR: f64 = 0.30;
const FLOOR_PHRASING: f64 = 0.03;
/// Below so many memories words tell less of how rare they are, and the floor is lower.
const FEW_MEMORIES: u64 = 100;
const FEW_SHARE: f64 = 0.7;
/// The part of a question below which words that mean the same are looked for, too.
const LITTLE: f64 = 0.5;
/// The most memories of an answer in which nothing speaks of the question.
const WEAK_MAX: usize = 3;
/// Memories of a program are looked for among so many of each phrasing.
const OF_AGENT_AMONG: usize = 10_000;
/// Memories that say the same as another one are looked for among so many.
const ALIKE_AMONG: usize = 30;
/// Characters to a token, as a rule of thumb for English text and code.
const CHARS_PER_TOKEN: usize = 4;
/// The size of all that surrounds a memory's text in an answer, in tokens.
const TOKENS_AROUND: usize = 24;

/// Finds what fits the question, weighs it, and says why: relevance (BM25) × how much of the question × recency ×
/// source.
pub(super) fn recall(
    query: &RecallQuery,
    me: Did,
    search: &Search,
    reader: &Reader<'_>,
    view: &dyn View,
) -> Result<Recalled, NodeError> {
    if !(1..=1_000).contains(&query.limit) {
        return Err(InputError::Limit { limit: query.limit, max: 1_000 }.into());
    }
    let mut phrasings = phrasings(query)?;
    let (now, latest) = (reader.now(), reader.latest());
    let author = query.by.as_deref().map(|by| Author::of(by, reader)).transpose()?;
    let filter = filter(query, author.as_ref(), reader, now)?;
    let mut asked =
        Asked { phrasings: &mut phrasings, filter: &filter, author: author.as_ref(), limit: query.limit, me, latest };
    let mut hits = asked.look(search, reader, view)?;
    let covered = hits.iter().map(|hit| hit.coverage).fold(0.0, f64::max);
    // words that only mean the same come in where those of the question find little
    let mut added = false;
    if covered < LITTLE {
        asked.phrasings.iter_mut().for_each(|phrasing| added |= phrasing.add_related());
    }
    if added {
        hits = asked.look(search, reader, view)?;
    }
    let floor = asked.floor();
    if let (true, Some(author), Some(by)) = (hits.is_empty(), &author, &query.by) {
        author.check_known(by, reader)?;
    }
    let mut hits = without_copies(hits);
    let mut least = 1.0;
    for hit in &mut hits {
        // the order says more than the words alone: no later memory is more likely right
        least = chance(hit.strength).min(least);
        hit.hit.score = least;
        hit.hit.weak = hit.strength < floor;
    }
    let nothing_speaks = hits.iter().all(|hit| hit.hit.weak);
    let mut hits: Vec<Hit> = hits.into_iter().map(|hit| hit.hit).collect();
    let mut truncated = hits.len() > query.limit && !nothing_speaks;
    hits.truncate(if nothing_speaks { query.limit.min(WEAK_MAX) } else { query.limit });
    if let Some(min) = query.min {
        hits.retain(|hit| hit.score >= min);
    }
    if let Some(tokens) = query.tokens {
        truncated |= fit(&mut hits, tokens);
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
}

impl Asked<'_> {
    /// The best memories, and at least one more if there is one.
    fn look(&mut self, search: &Search, reader: &Reader<'_>, view: &dyn View) -> Result<Vec<Weighed>, NodeError> {
        // some more than asked for: weighing changes the order, and some have expired
        let mut enough = self.limit + self.limit / 2 + 8;
        loop {
            let (hits, all) = self.look_among(enough, search, reader, view)?;
            // the indexes know no programs, so there may be others further down
            let done = Author::agent(self.author).is_none() || hits.len() > self.limit;
            if done || all || enough >= OF_AGENT_AMONG {
                return Ok(hits);
            }
            enough = enough.saturating_mul(8).min(OF_AGENT_AMONG);
        }
    }

    /// The best among so many of each phrasing, and whether these were all.
    fn look_among(
        &mut self,
        enough: usize,
        search: &Search,
        reader: &Reader<'_>,
        view: &dyn View,
    ) -> Result<(Vec<Weighed>, bool), NodeError> {
        let mut all = true;
        let mut candidates: BTreeMap<Place, Match> = BTreeMap::new();
        for phrasing in self.phrasings.iter_mut() {
            let found = search.find(phrasing, self.filter, enough, reader, view)?;
            all &= found.len() < enough;
            // the sum of shares: by places alone, what is in all lists comes first, however little it has
            let of = phrasing.weight().max(f32::MIN_POSITIVE);
            for found in found {
                let share = found.score / of;
                let sum = candidates.entry(found.place).or_insert(Match { score: 0.0, ..found });
                sum.score += share;
            }
        }
        let mut read = BTreeSet::new();
        let candidates = candidates.into_values().collect();
        let mut hits = best(candidates, self.limit, self.latest, |found| {
            let memory = reader.memory_at(found.place)?;
            let memory = memory.filter(|memory| memory.expires_at.is_none_or(|end| end > reader.now()));
            let memory = memory.filter(|memory| self.author.is_none_or(|author| author.wrote(memory)));
            // the index may still have several records of one memory
            let Some(memory) = memory.filter(|memory| read.insert(memory.id)) else { return Ok(None) };
            let spoken = self.spoken_in(&memory, reader)?;
            Ok(Some(weigh(memory, found, &spoken, self.phrasings, self.me, self.latest)))
        })?;
        hits.sort_by(|a, b| b.rank.total_cmp(&a.rank).then_with(|| a.hit.memory.id.cmp(&b.hit.memory.id)));
        Ok((hits, all))
    }

    /// The strength below which a memory is weak.
    fn floor(&self) -> f64 {
        let documents = self.phrasings.iter().map(Question::documents).max().unwrap_or_default();
        let share = if documents < FEW_MEMORIES { FEW_SHARE } else { 1.0 };
        let further = u32::try_from(self.phrasings.len()).unwrap_or_default().saturating_sub(1);
        share * (FLOOR + FLOOR_PHRASING * f64::from(further))
    }

    /// The part of each phrasing that a memory speaks of.
    fn spoken_in(&self, memory: &Memory, reader: &Reader<'_>) -> Result<Vec<Spoken>, NodeError> {
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
        let spoken: Vec<Spoken> = self.phrasings.iter().map(spoken_in).collect();
        if spoken.iter().any(|spoken| !spoken.matched.is_empty()) {
            return Ok(spoken);
        }
        // it was found by its key then
        let key = reader.key_of(&memory.id.to_string())?;
        Ok(self.phrasings.iter().map(|phrasing| phrasing.spoken_in(key.as_deref().into_iter())).collect())
    }
}

/// The phrasings of a question that have words.
fn phrasings(query: &RecallQuery) -> Result<Vec<Question>, NodeError> {
    if query.or.len() > PHRASINGS_MAX {
        return Err(InputError::Phrasings { count: query.or.len(), max: PHRASINGS_MAX }.into());
    }
    let texts = [&query.text].into_iter().chain(&query.or);
    let found: Vec<Question> = texts.filter_map(|text| Question::of(beginning(text))).collect();
    if found.is_empty() { Err(InputError::NoWords.into()) } else { Ok(found) }
}

/// The part of a text that is read.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(QUERY_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// How likely a memory of this strength answers the question: a logistic function, fitted to the tuned half of the
/// benchmark, with and without aliases and further phrasings.
fn chance(strength: f64) -> f64 {
    const SLOPE: f64 = 6.2;
    const MIDDLE: f64 = 0.584;
    1.0 / (1.0 + (-SLOPE * (strength - MIDDLE)).exp())
}

/// Leaves out memories that say the same as another one: of one author all but the latest, of others all but the best.
/// They are of one kind and have the same words. With a word more a text may mean something else, and a member could put
/// its own version before somebody's memory.
fn without_copies(hits: Vec<Weighed>) -> Vec<Weighed> {
    let mut kept: Vec<(Weighed, Outline, Option<Said>)> = Vec::with_capacity(hits.len());
    for hit in hits {
        let (text, mut said) = (&hit.hit.memory.text, None);
        let outline = Outline::of(text);
        let alike = (0..kept.len().min(ALIKE_AMONG)).find(|at| {
            let (known, of, known_said) = &mut kept[*at];
            // most differ at the first glance
            known.hit.memory.kind == hit.hit.memory.kind && of.may_be(&outline) && {
                let said = said.get_or_insert_with(|| Said::of(text));
                known_said.get_or_insert_with(|| Said::of(&known.hit.memory.text)).likeness(said) == Likeness::Equal
            }
        });
        let Some(at) = alike else {
            kept.push((hit, outline, said));
            continue;
        };
        let (known, of, known_said) = &mut kept[at];
        let is_later = |one: &Memory, other: &Memory| {
            one.author == other.author && (one.updated_at, one.id) > (other.updated_at, other.id)
        };
        if is_later(&hit.hit.memory, &known.hit.memory) {
            let Weighed { hit, strength, .. } = hit;
            let before = std::mem::replace(&mut known.hit, hit);
            known.hit.same = before.same;
            known.hit.same.push(before.memory.id);
            (known.strength, *of, *known_said) = (known.strength.max(strength), outline, said);
        } else {
            known.hit.same.push(hit.hit.memory.id);
        }
    }
    kept.into_iter().map(|(hit, ..)| hit).collect()
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
    // the scores of the hits, best first
    let mut scores: Vec<f64> = Vec::with_capacity(hits.capacity());
    for (at_most, found) in &candidates {
        if hits.len() > limit && scores.get(limit - 1).is_some_and(|last| last > at_most) {
            break;
        }
        if let Some(hit) = read(found)? {
            scores.insert(scores.partition_point(|score| *score >= hit.rank), hit.rank);
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
        tags: query.tags.iter().map(|tag| tag.to_lowercase()).collect(),
        kinds: query.kinds.iter().cloned().collect(),
        by: Author::member(author),
        since,
    })
}

fn weigh(memory: Memory, found: &Match, spoken: &[Spoken], phrasings: &[Question], me: Did, now: Timestamp) -> Weighed {
    let most = |of: fn(&Spoken) -> f64| spoken.iter().map(of).fold(0.0, f64::max);
    let (coverage, strength) = (most(|spoken| f64::from(spoken.coverage)), most(Spoken::strength));
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
    let why = why(&matched, &by_alias);
    let hit = Hit { memory, score: 0.0, weak: false, why, matched, same: Vec::new() };
    Weighed { hit, rank, coverage, strength }
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
fn why(matched: &[String], by_alias: &[String]) -> String {
    const NAMED: usize = 4;
    let named = |words: &[&String]| {
        let named: Vec<String> = words.iter().take(NAMED).map(|word| format!("“{word}”")).collect();
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
    use crate::memory::MemoryId;

    /// A memory about which nothing matters but its id and its age.
    fn memory(id: u64, stamp: Timestamp) -> Memory {
        Memory {
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
            version: String::new(),
            fields: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            more: false,
        }
    }

    /// A memory of this rank, and nothing else.
    fn weighed(memory: Memory, rank: f64) -> Weighed {
        let hit = Hit { memory, score: 0.0, weak: false, why: String::new(), matched: Vec::new(), same: Vec::new() };
        Weighed { hit, rank, coverage: 1.0, strength: 1.0 }
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
    /// promise: Bad input | A stamp far ahead of a node's clock makes no memory the newest, in lists and in recall
    #[test]
    fn a_stamp_far_ahead_is_no_recency() {
        let now = Timestamp::from_ms(400 * 86_400_000);
        let question = [Question::of("word").unwrap()];
        let spoken = [Spoken { coverage: 1.0, matched: vec![0], by_alias: Vec::new() }];
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
