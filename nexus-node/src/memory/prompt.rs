//! The question behind a prompt: its words that tell what it is about.

use std::collections::BTreeSet;

/// The least different meaningful words that a memory shares with a prompt that it has to do with.
pub const SHARED_WORDS_MIN: usize = 2;
/// The part of a prompt that is read, in bytes.
const PROMPT_BYTES_MAX: usize = 16 << 10;
/// The most meaningful words of a prompt that are looked for, as many as a recall takes.
const WORDS_MAX: usize = 32;
/// The longest word, in bytes. Longer ones are keys and hashes.
const WORD_BYTES_MAX: usize = 64;

/// Words that say nothing of what a prompt is about.
const EMPTY_WORDS: &str = "a about above after again against all almost already also although always am an and any \
    anything are aren around as ask at away back be because been before being below best better between both but by \
    can cannot check come could couldn create current currently did didn different do does doesn doing don done down \
    each either else enough even ever every everything explain few find first for from further get give go going good \
    got had hadn has hasn have haven having he hello help her here hers herself hey hi him himself his how however i \
    if in into is isn it its itself just keep know last let like ll look made make many may maybe me might mine more \
    most much must my myself need never new next no nor not nothing now of off often ok okay on once one only or other \
    others our ours ourselves out over own perhaps please possible put quite rather re really right run same say see \
    seem set shall she should shouldn show since so some something soon start still such sure take tell than thank \
    thanks that the their theirs them themselves then there these they thing things think this those though through \
    till time to together too toward try two under unless until up upon us use used useful using ve very via want was \
    wasn way we well were weren what whatever when where whether which while who whole whom whose why will with within \
    without won work would wouldn write wrong yes yet you your yours yourself yourselves";

/// The meaningful words of a prompt as a question; `None` if they are too few for any memory to be relevant.
pub(super) fn question(prompt: &str) -> Option<String> {
    let empty: BTreeSet<&str> = EMPTY_WORDS.split_whitespace().collect();
    let mut end = prompt.len().min(PROMPT_BYTES_MAX);
    while !prompt.is_char_boundary(end) {
        end -= 1;
    }
    let mut seen = BTreeSet::new();
    let tokens = prompt[..end].split(|c: char| !c.is_alphanumeric());
    let words = tokens.map(str::to_lowercase).filter(|word| {
        let tells = !(word.is_ascii() && word.len() < 2) && word.len() <= WORD_BYTES_MAX;
        tells && !empty.contains(word.as_str()) && seen.insert(word.clone())
    });
    let words: Vec<String> = words.take(WORDS_MAX).collect();
    // A single word of a script without spaces holds several words.
    let enough = words.len() >= SHARED_WORDS_MIN || words.iter().any(|word| !word.is_ascii());
    enough.then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_the_words_that_tell_something() {
        let asked = |prompt: &str| question(prompt);
        assert_eq!(asked("Where is the staging database, please?").as_deref(), Some("staging database"));
        assert_eq!(asked("Don't STAGE the stage: I'll deploy on port 5433").as_deref(), Some("stage deploy port 5433"));
        assert_eq!(asked("分散型メモリ").as_deref(), Some("分散型メモリ"));
        for idle in
            ["", "ok, go on", "what can you do for me?", "database", "database? database!", "…", &"x".repeat(99)]
        {
            assert_eq!(asked(idle), None, "{idle}");
        }
        let long: String = (0..100_000).map(|n| format!("word{n} ")).collect();
        assert_eq!(asked(&long).unwrap().split(' ').count(), WORDS_MAX);
        assert!(asked(&"é".repeat(1 << 20)).is_none());
    }
}
