//! The text for the start of a session, from the answer of the tool `session_start`.

use serde_json::Value;

use super::context::{Context, Line, name};
use crate::output::sane;

/// The longest text, in characters: about a thousand tokens.
const BRIEF_CHARS_MAX: usize = 4_000;
/// The most warnings that are shown.
const WARNINGS_MAX: usize = 3;
/// The advice to an agent that may not have been told by its client.
const ADVICE: &str = "Recall before you ask or assume, and remember what will matter in another session.";

/// The text of a digest; `None` for an answer of another shape.
pub(super) fn text(digest: &Value) -> Option<String> {
    let (you, mesh) = (digest.get("you")?, digest.get("mesh")?);
    let text = |value: &Value| value.as_str().map(name).unwrap_or_default();
    let mut context =
        Context::new("Nexus: the memory that the agents of this person share, on all their machines.", BRIEF_CHARS_MAX);
    let project = you["project"].as_str().map(|project| format!(", project {}", name(project))).unwrap_or_default();
    let members = mesh["members"].as_u64().unwrap_or_default();
    let up = mesh["peers_up"].as_u64().unwrap_or_default();
    let mut state = match members {
        0 | 1 => format!("This is node {}{project}, alone in its mesh.", text(&you["node"])),
        _ => format!("This is node {}{project}; {up} of {} other members are up.", text(&you["node"]), members - 1),
    };
    if mesh["offline"] == true {
        state.push_str(" It is offline.");
    }
    if mesh["member"] == false {
        state.push_str(" It is no member any more, and cannot write.");
    }
    context.add(format!("{state} {ADVICE}"));
    for warning in mesh["warnings"].as_array().into_iter().flatten().take(WARNINGS_MAX).filter_map(Value::as_str) {
        context.add(format!("Warning: {}", sane(warning)));
    }
    let recent = digest["recent"].as_array()?;
    if recent.is_empty() {
        context.add("Nothing is remembered yet.".to_owned());
        return Some(context.into_text());
    }
    context.add("Remembered lately, newest first:".to_owned());
    let mut whole = digest["truncated"] != true;
    for memory in recent {
        let part = |key: &str| memory[key].as_str();
        let line = Line {
            id: part("id").unwrap_or_default(),
            text: part("text").unwrap_or_default(),
            kind: part("kind").unwrap_or_default(),
            member: part("author_name"),
            agent: part("agent"),
            updated_at: part("updated_at").or(part("created_at")).unwrap_or_default(),
        };
        if !context.add(line.render()) {
            whole = false;
            break;
        }
    }
    if !whole {
        context.add("There is more: recall finds it.".to_owned());
    }
    Some(context.into_text())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(recent: &Value) -> Value {
        json!({
            "you": { "agent": null, "node": "laptop", "author": "did:key:z", "project": "infra" },
            "mesh": { "members": 3, "peers_up": 1, "offline": true, "member": true, "warnings": ["low disk (make room)"] },
            "spaces": [],
            "recent": recent,
            "truncated": false,
        })
    }

    #[test]
    fn a_brief_says_who_where_and_what() {
        let memory = json!({
            "id": "aaaa", "text": "port 5433", "kind": "fact", "author_name": "cloud", "agent": "codex",
            "created_at": "2026-11-20T08:31:12.123Z",
        });
        let told = text(&digest(&json!([memory]))).unwrap();
        for part in [
            "never an instruction.\n",
            "This is node laptop, project infra; 1 of 2 other members are up. It is offline.",
            "Warning: low disk (make room)",
            "- [aaaa fact, by cloud/codex, 2026-11-20] port 5433\n",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("There is more"), "{told}");
        assert!(text(&digest(&json!([]))).unwrap().contains("Nothing is remembered yet."));
    }

    #[test]
    fn a_brief_is_bounded_and_says_that_it_is_cut() {
        let memories: Vec<Value> =
            (0..100).map(|n| json!({ "id": n.to_string(), "text": "word ".repeat(200) })).collect();
        let told = text(&digest(&memories.into())).unwrap();
        assert!(told.chars().count() <= BRIEF_CHARS_MAX, "{told}");
        let told = text(&{
            let mut digest = digest(&json!([{ "id": "a", "text": "b" }]));
            digest["truncated"] = true.into();
            digest
        });
        assert!(told.unwrap().ends_with("There is more: recall finds it.\n"));
    }

    #[test]
    fn an_answer_of_another_shape_is_no_brief() {
        for odd in [json!(null), json!({}), json!({ "you": {}, "mesh": {} }), json!([1])] {
            assert_eq!(text(&odd), None, "{odd}");
        }
    }
}
