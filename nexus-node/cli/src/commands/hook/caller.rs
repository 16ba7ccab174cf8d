//! The programs that call hooks, and the form in which each takes the answer.

use clap::ValueEnum;
use serde_json::{Value, json};

/// A program that calls hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Caller {
    Claude,
    Codex,
    Gemini,
    Copilot,
    Cursor,
}

/// A moment at which a program calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    SessionStart,
    Prompt,
}

impl Caller {
    /// The answer as the program reads it, where there is one: a program that reads JSON alone gets an empty object for
    /// nothing to say.
    pub(super) fn answer(self, event: Event, text: Option<&str>) -> Option<String> {
        let json: Option<Value> = match (self, text) {
            (Self::Claude | Self::Codex, text) => return text.map(str::to_owned),
            (Self::Gemini, Some(text)) => {
                let name = match event {
                    Event::SessionStart => "SessionStart",
                    Event::Prompt => "BeforeAgent",
                };
                Some(json!({ "hookSpecificOutput": { "hookEventName": name, "additionalContext": text } }))
            }
            (Self::Cursor, Some(text)) => Some(json!({ "additional_context": text })),
            (Self::Copilot, Some(text)) => Some(json!({ "additionalContext": text })),
            (Self::Gemini | Self::Cursor | Self::Copilot, None) => Some(json!({})),
        };
        json.map(|json| format!("{json}\n"))
    }
}
