//! The entities that match a query.

use super::projection::ProjectGraph;

/// The entities that contain the query verbatim, in the order of the graph.
pub(crate) fn verbatim<'a>(state: &'a ProjectGraph, query: &str) -> Vec<&'a str> {
    let query = query.to_lowercase();
    let several_lines = query.contains('\n');
    let stands_in_one = |name: &str| {
        // A line end separates the texts, so a query of several lines is searched text by text.
        let entity = state.entity(name);
        entity.is_some_and(|entity| {
            let mut texts = [&entity.name, &entity.entity_type].into_iter().chain(&entity.observations);
            texts.any(|text| text.to_lowercase().contains(&query))
        })
    };
    let found = state.names().filter(|name| state.folded(name).contains(&query));
    found.filter(|name| !several_lines || stands_in_one(name)).collect()
}

/// The entities with all words of the query; if there are none, those with the most words. Best first.
/// Words need not stand together, and a part of a word is enough.
pub(crate) fn ranked<'a>(state: &'a ProjectGraph, query: &str) -> Vec<&'a str> {
    let phrase = query.to_lowercase();
    let mut words: Vec<&str> = phrase.split_whitespace().collect();
    words.sort_unstable();
    words.dedup();
    if words.is_empty() {
        return verbatim(state, query);
    }
    let mut found: Vec<(usize, &str, Vec<bool>)> = Vec::new();
    let mut most = 1;
    for name in state.names() {
        let folded = state.folded(name);
        let hits: Vec<bool> = words.iter().map(|word| folded.contains(word)).collect();
        let count = hits.iter().filter(|hit| **hit).count();
        if count >= most {
            most = count;
            found.push((count, name, hits));
        }
    }
    found.retain(|(count, ..)| *count == most);
    // A rare word weighs more.
    let weights: Vec<f64> = (0..words.len())
        .map(|word| {
            let having = found.iter().filter(|(_, _, hits)| hits[word]).count();
            (1.0 + state.len() as f64 / (1.0 + having as f64)).ln()
        })
        .collect();
    let phrase = phrase.trim();
    let mut scored: Vec<(f64, usize, &str)> = found
        .into_iter()
        .enumerate()
        .map(|(place, (_, name, hits))| (score(state.folded(name), phrase, &words, &weights, &hits), place, name))
        .collect();
    scored.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    scored.into_iter().map(|(_, _, name)| name).collect()
}

/// A word weighs most in the name, more in the type than in an observation, and more as a whole word
/// than as a part. The whole query in one place adds to that.
fn score(folded: &str, phrase: &str, words: &[&str], weights: &[f64], hits: &[bool]) -> f64 {
    let mut score = 0.0;
    let mut texts = folded.split('\n');
    let (name, kind) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    for ((word, weight), _) in words.iter().zip(weights).zip(hits).filter(|(_, hit)| **hit) {
        let place = match () {
            () if name == *word => 6.0,
            () if name.contains(word) => 4.0,
            () if kind.contains(word) => 2.0,
            () => 1.0,
        };
        let whole = if is_whole_word(folded, word) { 1.5 } else { 1.0 };
        score += weight * place * whole;
    }
    if words.len() > 1 && folded.contains(phrase) {
        score *= 1.5;
    }
    if name == phrase { score * 2.0 } else { score }
}

fn is_whole_word(folded: &str, word: &str) -> bool {
    folded.match_indices(word).any(|(at, _)| {
        let before = folded[..at].chars().next_back();
        let after = folded[at + word.len()..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}
