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
        let text = text.filter(|_| !self.is_called_by_another());
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

    /// Whether another program runs the hooks of Claude Code, as some do beside their own: it would be told twice, and in a
    /// form that is not its own.
    fn is_called_by_another(self) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        self == Self::Claude && ["CURSOR_VERSION", "COPILOT_PROJECT_DIR"].into_iter().any(is_set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_is_answered_in_its_form() {
        let json = |caller: Caller, event, text| -> Value {
            serde_json::from_str(&caller.answer(event, text).unwrap()).unwrap()
        };
        for event in [Event::SessionStart, Event::Prompt] {
            assert_eq!(Caller::Codex.answer(event, Some("Nexus")).as_deref(), Some("Nexus"));
            assert_eq!(Caller::Codex.answer(event, None), None);
            for caller in [Caller::Gemini, Caller::Copilot, Caller::Cursor] {
                assert_eq!(json(caller, event, None), json!({}));
                assert!(caller.answer(event, Some("a\nb")).unwrap().trim_end().lines().count() == 1);
            }
            assert_eq!(json(Caller::Copilot, event, Some("a\n\"b")), json!({ "additionalContext": "a\n\"b" }));
            assert_eq!(json(Caller::Cursor, event, Some("a")), json!({ "additional_context": "a" }));
        }
        let told = json(Caller::Gemini, Event::Prompt, Some("a"));
        assert_eq!(told["hookSpecificOutput"], json!({ "hookEventName": "BeforeAgent", "additionalContext": "a" }));
    }
}
