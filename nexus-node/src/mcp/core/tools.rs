//! The tools as a model sees them.

use std::sync::LazyLock;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

/// All tools.
pub(super) fn all() -> &'static [Tool] {
    static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
        vec![
            tool(
                "session_start",
                "Start session",
                "Call this first. Says who you are here, how the mesh of machines is doing, and what was remembered \
                 lately.",
                json!({
                    "project": text("Leave out what belongs to other projects"),
                    "limit": limit(),
                    "cursor": cursor(),
                    "max_tokens": max_tokens(),
                }),
                &[],
                hints().read_only(true),
            ),
            tool(
                "remember",
                "Remember",
                "Keep something for later sessions and other agents. One fact or decision each, worded so that it is \
                 understood without this conversation. Answers with its id and on how many other machines it is by \
                 now; `duplicate_of` names a memory that already says nearly the same.",
                json!({
                    "text": text("The text to remember"),
                    "kind": text("note (default), decision, preference, fact, task, …"),
                    "tags": texts("To find it by"),
                    "aliases": texts("Up to 8 other wordings, of 1 to 6 words, by which somebody may look for it: \
                                      synonyms, the general term, the purpose, the problem"),
                    "meta": { "type": "object", "description": "Anything else, as JSON" },
                    "space": text("In which space [default]"),
                    "key": text("A name of your own: remembering with the same key again replaces the memory"),
                    "ttl": text("Forget it after 30m, 12h, 7d, … [never]"),
                    "source": {
                        "type": "string",
                        "enum": ["model", "tool", "import"],
                        "description": "Whose words it is in: yours [model], a tool's output, a file's",
                    },
                }),
                &["text"],
                hints().read_only(false).destructive(false).idempotent(false),
            ),
            tool(
                "recall",
                "Recall",
                "Search the memory, best matches first. It finds words, so give other wordings in `queries`. A note in the \
                 space `default` says neither. If `truncated`, `next` is the cursor for more.",
                json!({
                    "query": text("Words or a question"),
                    "queries": texts("Up to 3 other wordings, as a note about it may be worded"),
                    "spaces": texts("Only in these spaces"),
                    "tags": texts("Only with all of these tags"),
                    "kinds": texts("Only of these kinds"),
                    "by": text("Only by this member, by name or DID"),
                    "since": text("Only from the last 12h, 7d, …"),
                    "everywhere": flag("Also in other projects"),
                    "why": flag("Say why each was found"),
                    "limit": limit(),
                    "cursor": cursor(),
                    "max_tokens": max_tokens(),
                }),
                &["query"],
                hints().read_only(true),
            ),
            tool(
                "get",
                "Get",
                "One memory, whole: for one that was `cut`.",
                json!({ "id": text("Its id, or its key") }),
                &["id"],
                hints().read_only(true),
            ),
            tool(
                "edit",
                "Edit",
                "Change a memory that is no longer right. Its history stays. If it has `conflicts`, the value that you \
                 give settles them.",
                json!({
                    "id": text("Its id, or its key"),
                    "text": text("The new text"),
                    "kind": text("Another kind"),
                    "tags": texts("All tags, instead of those before"),
                    "aliases": texts("All aliases, instead of those before"),
                    "meta": { "type": "object", "description": "All metadata, instead of that before" },
                }),
                &["id"],
                hints().read_only(false).destructive(false).idempotent(true),
            ),
            tool(
                "forget",
                "Forget",
                "Remove a memory on every machine. Only what is wrong or what you were asked to remove; edit what has \
                 changed.",
                json!({ "id": text("The id, as recall shows it") }),
                &["id"],
                hints().read_only(false).destructive(true).idempotent(false),
            ),
        ]
    });
    &TOOLS
}

fn hints() -> ToolAnnotations {
    ToolAnnotations::new().open_world(false)
}

fn tool(
    name: &'static str,
    title: &str,
    description: &'static str,
    properties: Value,
    required: &[&str],
    hints: ToolAnnotations,
) -> Tool {
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties);
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema.insert("additionalProperties".to_owned(), false.into());
    Tool::new(name, description, schema).with_title(title).with_annotations(hints)
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn texts(description: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

fn flag(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

fn limit() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": 100, "description": "At most so many [10]" })
}

fn cursor() -> Value {
    text("Go on at `next` of an earlier answer")
}

fn max_tokens() -> Value {
    json!({ "type": "integer", "minimum": 100, "maximum": 100_000, "description": "At most so long [4000]" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Agents | Answers are bounded, say that they are cut, and go on where they ended
    #[test]
    fn descriptions_take_little_of_a_model_s_attention() {
        let chars = serde_json::to_string(all()).unwrap().chars().count() + super::super::instructions().len();
        // No tokenizer needs more than a token for three characters of English and JSON.
        assert!(chars / 3 <= 2_500, "{} tokens", chars / 3);
    }
}
