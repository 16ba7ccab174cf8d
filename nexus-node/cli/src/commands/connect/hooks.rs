//! Our hooks in the files of other programs: commands that a program runs by itself, and whose output its agent reads.
//!
//! Each program has another form. Under `hooks` each event has a list: in one form of groups, each with a list of hooks, in
//! the other of hooks. Ours are known by their command, so the hooks of others stay, and so do those in one group with ours.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::agent_program::Program;
use super::call::Call;
use super::file::Held;
use super::former::without;
use super::jsonc::{self, Step};
use crate::commands::hook::caller::Caller;

/// The member of the settings.
const HOOKS: &str = "hooks";
/// The parts of `nexus-node hook`: at the start of a session, and before a prompt.
const PARTS: [&str; 2] = ["session-start", "prompt"];
/// The longest run that a program waits for, in seconds. A hook ends by itself long before.
const TIMEOUT: u64 = 5;

/// The file for hooks of a program, and their form in it.
#[derive(Clone, Debug)]
pub(in crate::commands) struct HookFile {
    pub(in crate::commands) path: PathBuf,
    pub(in crate::commands) form: Form,
}

/// The form of hooks, by the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Form(Caller);

impl Form {
    /// The form of a program that has hooks.
    pub(in crate::commands) fn of(program: Program) -> Option<Self> {
        Some(Self(match program {
            Program::Claude => Caller::Claude,
            Program::Codex => Caller::Codex,
            Program::Gemini => Caller::Gemini,
            Program::Copilot => Caller::Copilot,
            Program::Cursor => Caller::Cursor,
            Program::Vscode => return None,
        }))
    }

    /// The events, in the order of the parts.
    fn events(self) -> [&'static str; 2] {
        match self.0 {
            Caller::Claude | Caller::Codex => ["SessionStart", "UserPromptSubmit"],
            Caller::Gemini => ["SessionStart", "BeforeAgent"],
            Caller::Copilot => ["sessionStart", "userPromptSubmitted"],
            Caller::Cursor => ["sessionStart", "beforeSubmitPrompt"],
        }
    }

    /// Whether the hooks of an event are in groups, and the file has no version.
    fn has_groups(self) -> bool {
        matches!(self.0, Caller::Claude | Caller::Codex | Caller::Gemini)
    }

    /// The members of a hook with the command.
    fn members(self) -> &'static [&'static str] {
        if self.0 == Caller::Copilot { &["bash", "powershell"] } else { &["command"] }
    }

    /// An element of an event's list.
    fn element(self, command: &str) -> Value {
        match self.0 {
            Caller::Claude | Caller::Codex => {
                json!({ HOOKS: [{ "type": "command", "command": command, "timeout": TIMEOUT }] })
            }
            // in milliseconds
            Caller::Gemini => json!({ HOOKS: [{ "type": "command", "command": command, "timeout": TIMEOUT * 1_000 }] }),
            Caller::Copilot => {
                json!({ "type": "command", "bash": command, "powershell": command, "timeoutSec": TIMEOUT })
            }
            Caller::Cursor => json!({ "command": command, "timeout": TIMEOUT }),
        }
    }

    /// A condition under which the program runs new hooks.
    pub(super) fn condition(self) -> Option<&'static str> {
        match self.0 {
            Caller::Codex => Some(
                "Codex runs a new hook only once you trust it: open /hooks in Codex and trust the two of nexus-node; it says \
                 nothing before",
            ),
            Caller::Gemini => Some("Gemini CLI runs hooks only in folders that it trusts"),
            Caller::Claude => Some("Claude Code runs hooks only in folders that you trusted when it asked"),
            Caller::Copilot | Caller::Cursor => None,
        }
    }
}

/// The commands by event.
pub(in crate::commands) type Commands = Vec<(&'static str, String)>;

/// The commands of our hooks.
pub(super) fn of(form: Form, call: &Call) -> Commands {
    let caller = form.0.to_possible_value();
    // a file that other machines read names no file of a token: there the program's name leads to it
    let is_named = call.is_shared || form.0 != Caller::Claude;
    let caller = caller.as_ref().filter(|_| is_named).map(|value| value.get_name());
    let words = |part| ["hook", part].into_iter().chain(caller.into_iter().flat_map(|name| ["--for", name]));
    let commands = PARTS.map(|part| call.line(&words(part).collect::<Vec<_>>()));
    form.events().into_iter().zip(commands).collect()
}

/// A text with our hooks, each once.
pub(in crate::commands) fn put(form: Form, text: &str, commands: &[(&'static str, String)]) -> Result<String, String> {
    let mut text = text.to_owned();
    if !form.has_groups() && jsonc::value(&text)?.get("version").is_none() {
        text = jsonc::set(&text, &["version"], &json!(1))?;
    }
    for (event, command) in commands {
        let places = places(form, &jsonc::value(&text)?, event)?;
        let Some((first, others)) = places.split_first() else {
            text = jsonc::append(&text, &[HOOKS, event], &form.element(command))?;
            continue;
        };
        if first.command != *command {
            for member in form.members() {
                let steps = [first.steps(event), vec![Step::Name(member)]].concat();
                text = jsonc::replace(&text, &steps, command)?;
            }
        }
        for _ in others {
            text = take_last(form, &text, event)?;
        }
    }
    Ok(text)
}

/// The commands of our hooks in a text, the first of each event.
pub(in crate::commands) fn held(form: Form, text: &str) -> Result<Commands, String> {
    let document = jsonc::value(text)?;
    let mut commands = Vec::new();
    for event in form.events() {
        commands.extend(places(form, &document, event)?.into_iter().next().map(|place| (event, place.command)));
    }
    Ok(commands)
}

/// A file without our hooks; `None` where nothing else was in it.
pub(in crate::commands) fn taken(form: Form, file: &Held<'_>) -> Result<Option<String>, String> {
    let commands = held(form, file.text)?;
    let has = |text: &str| Ok(!held(form, text)?.is_empty());
    without(file, has, |text| put(form, text, &commands), |text| take(form, text))
}

fn take(form: Form, text: &str) -> Result<String, String> {
    let mut text = text.to_owned();
    for event in form.events() {
        while !places(form, &jsonc::value(&text)?, event)?.is_empty() {
            text = take_last(form, &text, event)?;
        }
    }
    Ok(text)
}

/// Takes our last hook of an event out, and the lists that are empty without it.
fn take_last(form: Form, text: &str, event: &str) -> Result<String, String> {
    let document = jsonc::value(text)?;
    let Some(last) = places(form, &document, event)?.pop() else { return Ok(text.to_owned()) };
    let steps = last.steps(event);
    let list = &document[HOOKS][event];
    let single = |list: &Value| list.as_array().is_some_and(|list| list.len() == 1);
    let depth = match last.hook {
        Some(_) if !single(&list[last.element][HOOKS]) => 5,
        _ if !single(list) => 3,
        _ if document[HOOKS].as_object().is_some_and(|events| events.len() > 1) => 2,
        _ => 1,
    };
    jsonc::take(text, &steps[..depth])
}

/// The place of one of our hooks.
struct Place {
    element: usize,
    /// In a group.
    hook: Option<usize>,
    command: String,
}

impl Place {
    fn steps<'a>(&self, event: &'a str) -> Vec<Step<'a>> {
        let mut steps = vec![Step::Name(HOOKS), Step::Name(event), Step::Index(self.element)];
        steps.extend(self.hook.into_iter().flat_map(|hook| [Step::Name(HOOKS), Step::Index(hook)]));
        steps
    }
}

/// Our hooks of an event.
fn places(form: Form, document: &Value, event: &str) -> Result<Vec<Place>, String> {
    let Some(hooks) = document.get(HOOKS) else { return Ok(Vec::new()) };
    let events = hooks.as_object().ok_or("hooks is not an object")?;
    let Some(list) = events.get(event) else { return Ok(Vec::new()) };
    let list = list.as_array().ok_or_else(|| format!("hooks.{event} is not a list"))?;
    let ours = |value: &Value| {
        let command = form.members().iter().find_map(|member| value[*member].as_str())?;
        is_ours(command).then(|| command.to_owned())
    };
    let mut places = Vec::new();
    for (element, value) in list.iter().enumerate() {
        if form.has_groups() {
            for (hook, value) in value[HOOKS].as_array().into_iter().flatten().enumerate() {
                places.extend(ours(value).map(|command| Place { element, hook: Some(hook), command }));
            }
        } else {
            places.extend(ours(value).map(|command| Place { element, hook: None, command }));
        }
    }
    Ok(places)
}

/// Whether a command calls `hook` of this program, by its path or its name.
fn is_ours(command: &str) -> bool {
    let part = PARTS.iter().find_map(|part| {
        let (program, rest) = command.split_once(&format!(" hook {part}"))?;
        (rest.is_empty() || rest.starts_with(' ')).then_some(program)
    });
    part.is_some_and(is_this_program)
}

/// Whether a command's first word is this program, by its path or its name.
pub(super) fn is_this_program(program: &str) -> bool {
    let program = program.trim_matches(['\'', '"']);
    let name = program.rsplit(['/', '\\']).next().unwrap_or(program);
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(Path::file_stem).is_some_and(|own| own == name.trim_end_matches(".exe"));
    own || name.trim_end_matches(".exe") == "nexus-node"
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form(Caller::Claude);

    fn commands(program: &str) -> Commands {
        FORM.events().into_iter().zip(PARTS.map(|part| format!("{program} hook {part}"))).collect()
    }

    #[test]
    fn hooks_of_others_stay_in_each_form() {
        for caller in [Caller::Codex, Caller::Gemini, Caller::Copilot, Caller::Cursor] {
            let form = Form(caller);
            let ours: Commands =
                form.events().into_iter().zip(PARTS.map(|part| format!("/n/nexus-node hook {part}"))).collect();
            let theirs = jsonc::append("{ // mine\n}", &[HOOKS, form.events()[1]], &form.element("date")).unwrap();
            let theirs = if form.has_groups() { theirs } else { jsonc::set(&theirs, &["version"], &json!(1)).unwrap() };
            let with = put(form, &theirs, &ours).unwrap();
            assert_eq!((held(form, &with).unwrap(), put(form, &with, &ours).unwrap()), (ours.clone(), with.clone()));
            assert!(with.contains("// mine") && with.contains("date"), "{with}");
            let older = with.replace("/n/nexus-node", "'/o/nexus-node'");
            assert_eq!(put(form, &older, &ours).unwrap(), with, "an older call is replaced in its place");
            assert_eq!(jsonc::value(&take(form, &with).unwrap()).unwrap(), jsonc::value(&theirs).unwrap());
            let fresh = put(form, "", &ours).unwrap();
            assert_eq!(jsonc::value(&fresh).unwrap().get("version").is_some(), !form.has_groups(), "{fresh}");
        }
    }

    #[test]
    fn hooks_of_others_stay_and_ours_are_there_once() {
        let ours = commands("nexus-node");
        let theirs = "{\n  // mine\n  \"hooks\": {\n    \"SessionStart\": [\n      { \"matcher\": \"startup\", \"hooks\": [{ \"type\": \"command\", \"command\": \"date\" }] } // first\n    ],\n    \"Stop\": []\n  },\n  \"model\": \"o\"\n}\n";
        let with = put(FORM, theirs, &ours).unwrap();
        for line in ["// mine", "\"command\": \"date\"", "// first", "\"Stop\": []", "\"model\": \"o\""] {
            assert!(with.contains(line), "{line}: {with}");
        }
        assert_eq!(put(FORM, &with, &ours).unwrap(), with, "twice is once");
        assert_eq!(held(FORM, &with).unwrap(), ours);
        assert_eq!(jsonc::value(&take(FORM, &with).unwrap()).unwrap(), jsonc::value(theirs).unwrap());
        // a hook of ours in a group of theirs goes alone
        let shared = with.replace(
            "\"command\": \"date\" }",
            "\"command\": \"date\" }, { \"command\": \"nexus-node hook session-start\" }",
        );
        let without = take(FORM, &shared).unwrap();
        assert_eq!(jsonc::value(&without).unwrap(), jsonc::value(theirs).unwrap(), "{without}");
    }

    #[test]
    fn an_older_call_is_replaced_in_its_place() {
        let older =
            put(FORM, "{}", &commands("'/old path/nexus-node'")).unwrap().replace("\"timeout\": 5", "\"timeout\": 9");
        let twice = jsonc::append(
            &older,
            &[HOOKS, "SessionStart"],
            &json!({ HOOKS: [{ "command": "nexus-node hook session-start" }] }),
        );
        let new = put(FORM, &twice.unwrap(), &commands("nexus-node")).unwrap();
        assert_eq!(held(FORM, &new).unwrap(), commands("nexus-node"));
        assert_eq!((new.matches("\"timeout\": 9").count(), new.matches(" hook ").count()), (2, 2), "{new}");
        assert_eq!(take(FORM, &new).unwrap(), "{}");
    }

    #[test]
    fn a_command_is_ours_by_its_program_and_its_part() {
        for ours in [
            "nexus-node hook prompt",
            "/usr/bin/nexus-node hook session-start --project x",
            "'/my tools/nexus-node' hook prompt",
            "C:/bin/nexus-node.exe hook prompt",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["nexus-node hook prompts", "my-nexus-node hook prompt", "nexus-node status", "echo prompt", ""] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn settings_of_another_shape_are_refused() {
        for text in ["{\"hooks\": []}", "{\"hooks\": {\"SessionStart\": {}}}", "{\"hooks\": 1}", "{"] {
            assert!(put(FORM, text, &commands("nexus-node")).is_err() && held(FORM, text).is_err(), "{text}");
        }
        // elements of another shape are somebody else's
        let odd = "{\"hooks\": {\"SessionStart\": [1, {\"hooks\": 2}, {\"hooks\": [{\"command\": 3}]}]}}";
        assert!(held(FORM, odd).unwrap().is_empty());
        assert_eq!(held(FORM, &put(FORM, odd, &commands("nexus-node")).unwrap()).unwrap(), commands("nexus-node"));
    }
}
