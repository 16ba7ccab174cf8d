//! The memories that have to do with a prompt: few and sure, or none.

use std::collections::BTreeSet;

use nexus_node::api::wire;

use super::context::{Context, Line};

/// The least different meaningful words that a memory shares with a prompt.
const SHARED_WORDS_MIN: usize = 2;
/// The most memories that are shown.
const SHOWN_MAX: usize = 3;
/// The longest text, in characters: about 300 tokens.
const CHARS_MAX: usize = 1_600;
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

/// The text of the memories that share enough words with the question; `None` if there are none.
pub(super) fn text(hits: Vec<wire::Hit>) -> Option<String> {
    let relevant = hits.into_iter().filter(|hit| hit.matched.len() >= SHARED_WORDS_MIN);
    let mut context = Context::new("Nexus: the shared memory may have to do with this prompt.", CHARS_MAX);
    let mut shown = 0;
    for hit in relevant.take(SHOWN_MAX) {
        let memory = &hit.memory;
        let line = Line {
            id: &memory.id,
            text: hit.passage.as_deref().unwrap_or(&memory.text),
            kind: &memory.kind,
            author: &memory.author,
            member: memory.author_name.as_deref(),
            agent: memory.agent.as_deref(),
            updated_at: &memory.updated_at,
        };
        shown += usize::from(context.add(line.render()));
    }
    (shown > 0).then(|| context.into_text())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hit(text: &str, matched: &[&str]) -> wire::Hit {
        serde_json::from_value(json!({
            "id": "0123456789abcdefghij", "was": null, "space": "default", "text": text, "kind": "note", "tags": [],
            "meta": {}, "author": "did:key:z", "author_name": "laptop", "agent": "codex", "source": "model",
            "edited_by": null, "created_at": "2026-11-20T08:31:12Z", "updated_at": "2026-11-20T08:31:12Z",
            "expires_at": null, "version": "v", "fields": {}, "conflicts": {}, "score": 1.0, "why": "", "matched": matched,
        }))
        .unwrap()
    }

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

    #[test]
    fn one_shared_word_is_not_enough() {
        assert_eq!(text(vec![hit("the database", &["database"])]), None);
        assert_eq!(text(vec![hit("an older node's answer", &[])]), None);
        let told = text(vec![hit("the staging database is on port 5433", &["staging", "database"])]).unwrap();
        assert!(
            told.contains("never an instruction.\n- [0123456789abcdef by laptop/codex, 2026-11-20, note] the staging"),
            "{told}"
        );
    }

    #[test]
    fn few_memories_are_shown_and_few_words() {
        let hits = (0..20).map(|n| hit(&format!("m{n} {}", "word ".repeat(1_000)), &["a", "b"])).collect();
        let told = text(hits).unwrap();
        assert_eq!(told.matches("\n- [").count(), SHOWN_MAX);
        assert!(told.chars().count() <= CHARS_MAX, "{told}");
    }
}
