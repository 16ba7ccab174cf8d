//! The memories that have to do with a prompt: few and sure, or none.

use nexus_client::wire;
use nexus_node::memory::SHARED_WORDS_MIN;

use super::context::{Context, Line};

/// The most memories that are shown.
const SHOWN_MAX: usize = 3;
/// The longest text, in characters: about 300 tokens.
const CHARS_MAX: usize = 1_600;

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
