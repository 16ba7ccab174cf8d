use std::collections::BTreeSet;
use std::time::Duration;

use nexus_identity::{Did, Timestamp};

use crate::error::{InputError, NodeError};
use crate::memory::read::Reader;
use crate::memory::{AHEAD_MAX, Hit, Memory, RecallQuery, Recalled};
use crate::search::words::{WordMatches, spelled_words};
use crate::search::{Filter, Match, Search};
use crate::store::View;

/// How much of a question is read, in bytes.
const QUERY_BYTES_MAX: usize = 8 * 1024;
/// The most different words of it that are looked for.
const QUERY_WORDS_MAX: usize = 32;
/// The time in which a memory's recency loses half of its weight.
const HALF_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// How much of a score depends on recency, and on how many of the words a memory has.
const RECENCY_SHARE: f64 = 0.2;
const COVERAGE_SHARE: f64 = 0.4;
/// The weight of a memory of this very instance, beside 1 for another's.
const OWN_WEIGHT: f64 = 1.05;
/// Characters to a token, as a rule of thumb for English text and code.
const CHARS_PER_TOKEN: usize = 4;
/// The size of all that surrounds a memory's text in an answer, in tokens.
const TOKENS_AROUND: usize = 24;

/// Finds what fits the question, weighs it, and says why: relevance (BM25) × how many of the
/// words × recency × source.
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
    let wanted = wanted_words(&query.text)?;
    let (now, latest) = (reader.now(), reader.latest());
    let filter = filter(query, reader, now)?;
    // some more than asked for: weighing changes the order, and some have expired
    let looked_for: Vec<String> = wanted.iter().map(|(word, _)| word.clone()).collect();
    let candidates = search.find(&looked_for, &filter, query.limit + query.limit / 2 + 8, reader, view)?;
    let mut read = BTreeSet::new();
    let mut hits = best(candidates, query.limit, latest, |found| {
        let memory = reader.memory_at(found.place)?.filter(|memory| memory.expires_at.is_none_or(|end| end > now));
        // the index may still have several records of one memory
        let memory = memory.filter(|memory| read.insert(memory.id));
        Ok(memory.map(|memory| weigh(memory, f64::from(found.score), &wanted, me, latest)))
    })?;
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.memory.id.cmp(&b.memory.id)));
    let mut truncated = hits.len() > query.limit;
    hits.truncate(query.limit);
    if let Some(tokens) = query.tokens {
        truncated |= fit(&mut hits, tokens);
    }
    Ok(Recalled { hits, truncated })
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
    mut read: impl FnMut(&Match) -> Result<Option<Hit>, NodeError>,
) -> Result<Vec<Hit>, NodeError> {
    let newest = |found: &Match| if is_ahead(found.stamp, now) { now } else { found.stamp };
    let at_most = |found: &Match| f64::from(found.score) * recency(newest(found), now) * OWN_WEIGHT;
    let mut candidates: Vec<(f64, Match)> = candidates.into_iter().map(|found| (at_most(&found), found)).collect();
    candidates.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut hits: Vec<Hit> = Vec::with_capacity(limit.min(candidates.len()) + 1);
    // the scores of the hits, best first
    let mut scores: Vec<f64> = Vec::with_capacity(hits.capacity());
    for (at_most, found) in &candidates {
        if hits.len() > limit && scores.get(limit - 1).is_some_and(|last| last > at_most) {
            break;
        }
        if let Some(hit) = read(found)? {
            scores.insert(scores.partition_point(|score| *score >= hit.score), hit.score);
            hits.push(hit);
        }
    }
    Ok(hits)
}

/// The distinct words of a question in order, each as it is looked for and as it is spelled.
fn wanted_words(text: &str) -> Result<Vec<(String, String)>, NodeError> {
    let mut end = text.len().min(QUERY_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut seen = BTreeSet::new();
    let mut wanted = spelled_words(&text[..end]);
    wanted.retain(|(word, _)| seen.insert(word.clone()));
    wanted.truncate(QUERY_WORDS_MAX);
    if wanted.is_empty() {
        return Err(InputError::NoWords.into());
    }
    Ok(wanted)
}

fn filter(query: &RecallQuery, reader: &Reader<'_>, now: Timestamp) -> Result<Filter, NodeError> {
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
        by: query.by.as_deref().map(|by| reader.member(by)).transpose()?,
        since,
    })
}

fn weigh(memory: Memory, relevance: f64, wanted: &[(String, String)], me: Did, now: Timestamp) -> Hit {
    let mut spoken = WordMatches::of(wanted.iter().map(|(word, _)| word.as_str()));
    spoken.look_in(&memory.text);
    memory.tags.iter().for_each(|tag| spoken.look_in(tag));
    memory.meta.values().filter_map(serde_json::Value::as_str).for_each(|text| spoken.look_in(text));
    let matched = wanted.iter().zip(spoken.found()).filter(|(_, here)| **here);
    let matched: Vec<&str> = matched.map(|((_, spelled), _)| spelled.as_str()).collect();
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let coverage = matched.len() as f64 / wanted.len() as f64;
    let source = if memory.author == me { OWN_WEIGHT } else { 1.0 };
    let stamps = [memory.updated_at, memory.created_at];
    // this node's own stamps may be ahead of its clock, if that was put back
    let ahead = |stamp| memory.author != me && is_ahead(stamp, now);
    let stamp = stamps.into_iter().find(|stamp| !ahead(*stamp));
    let recency = stamp.map_or(counted(0.0, RECENCY_SHARE), |stamp| recency(stamp, now));
    let score = relevance * counted(coverage, COVERAGE_SHARE) * recency * source;
    let age = (!ahead(memory.updated_at)).then(|| now.since(memory.updated_at));
    let why = why(&memory, &matched, wanted.len(), age, me);
    let matched = matched.into_iter().map(str::to_owned).collect();
    Hit { memory, score, why, matched }
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
fn why(memory: &Memory, matched: &[&str], of: usize, age: Option<Duration>, me: Did) -> String {
    const NAMED: usize = 4;
    let named: Vec<String> = matched.iter().take(NAMED).map(|word| format!("“{word}”")).collect();
    let more = if matched.len() > NAMED { format!(" and {} more", matched.len() - NAMED) } else { String::new() };
    let who = match &memory.author_name {
        _ if memory.author == me => "this instance".to_owned(),
        Some(name) => name.clone(),
        None => format!("member …{}", memory.author.short()),
    };
    let has = if matched.is_empty() { "its key".to_owned() } else { format!("{}{more}", named.join(", ")) };
    let share = if of > 1 { format!(" ({} of {of} words)", matched.len()) } else { String::new() };
    let when = age.map_or_else(|| "with a clock ahead of this one".to_owned(), ago);
    format!("It has {has}{share}, and {who} wrote it {when}.")
}

fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    let (count, unit) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
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
    use std::collections::BTreeMap;

    use nexus_crdt::{Dot, EntryId};
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::rows::Place;
    use crate::memory::MemoryId;

    /// A memory about which nothing matters but its id and its age.
    fn memory(id: u64, stamp: Timestamp) -> Memory {
        Memory {
            id: Dot { entry: EntryId::from_bytes([0; 32]), index: u16::try_from(id).unwrap() }.into(),
            was: None,
            imported: None,
            space: String::new(),
            text: String::new(),
            kind: String::new(),
            tags: Vec::new(),
            meta: BTreeMap::new(),
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

    fn sorted(mut hits: Vec<Hit>) -> Vec<(MemoryId, f64)> {
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.memory.id.cmp(&b.memory.id)));
        hits.into_iter().map(|hit| (hit.memory.id, hit.score)).collect()
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
                Ok(there.then(|| Hit { memory: memory(found.place.eno, found.stamp), score, why: String::new(), matched: Vec::new() }))
            };
            let everything: Vec<Hit> = all.iter().filter_map(|found| hit(found).unwrap()).collect();
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
        let wanted = [("word".to_owned(), "word".to_owned())];
        let score = |updated, created| {
            let memory = Memory { text: "word".to_owned(), created_at: created, ..memory(1, updated) };
            weigh(memory, 1.0, &wanted, Did::from_bytes([1; 32]), now).score
        };
        let (old, ahead) = (Timestamp::from_ms(0), Timestamp::from_ms(now.as_ms() + 86_400_000));
        assert!(score(ahead, ahead) <= score(old, old), "it is as old as can be");
        assert!(score(ahead, now) >= score(now, now), "an edit from ahead hides no memory");
        let soon = now.saturating_add(Duration::from_secs(500));
        assert!(score(soon, soon) >= score(now, now), "clocks differ a little");
    }
}
