//! Our hooks in the settings of Claude Code: commands that it runs by itself, and whose output its agent reads.
//!
//! Under `hooks` each event has a list of groups, and each group a list of hooks. Ours are known by their command,
//! so the hooks of others stay, and so do those in one group with ours.

use std::path::Path;

use serde_json::{Value, json};

use super::call::Call;
use super::file::Held;
use super::former::without;
use super::jsonc::{self, Step};

/// The member of the settings.
const HOOKS: &str = "hooks";
/// Each event with the part of `nexus-node hook` for it.
const EVENTS: [(&str, &str); 2] = [("SessionStart", "session-start"), ("UserPromptSubmit", "prompt")];

/// The commands by event.
pub(in crate::commands) type Commands = Vec<(&'static str, String)>;

/// The commands of our hooks.
pub(super) fn of(call: &Call) -> Commands {
    EVENTS.iter().map(|(event, part)| (*event, call.line(&["hook", part]))).collect()
}

/// A text with our hooks, each once.
pub(in crate::commands) fn put(text: &str, commands: &[(&'static str, String)]) -> Result<String, String> {
    let mut text = text.to_owned();
    for (event, command) in commands {
        let places = places(&jsonc::value(&text)?, event)?;
        let Some((first, others)) = places.split_first() else {
            let group = json!({ HOOKS: [{ "type": "command", "command": command }] });
            text = jsonc::append(&text, &[HOOKS, event], &group)?;
            continue;
        };
        if first.command != *command {
            let [hooks, event, group, inner, hook] = first.steps(event);
            text = jsonc::replace(&text, &[hooks, event, group, inner, hook, Step::Name("command")], command)?;
        }
        for _ in others {
            text = take_last(&text, event)?;
        }
    }
    Ok(text)
}

/// The commands of our hooks in a text, the first of each event.
pub(in crate::commands) fn held(text: &str) -> Result<Commands, String> {
    let document = jsonc::value(text)?;
    let mut commands = Vec::new();
    for (event, _) in EVENTS {
        commands.extend(places(&document, event)?.into_iter().next().map(|place| (event, place.command)));
    }
    Ok(commands)
}

/// A file without our hooks; `None` where nothing else was in it.
pub(in crate::commands) fn taken(file: &Held<'_>) -> Result<Option<String>, String> {
    let commands = held(file.text)?;
    without(file, |text| Ok(!held(text)?.is_empty()), |text| put(text, &commands), take)
}

fn take(text: &str) -> Result<String, String> {
    let mut text = text.to_owned();
    for (event, _) in EVENTS {
        while !places(&jsonc::value(&text)?, event)?.is_empty() {
            text = take_last(&text, event)?;
        }
    }
    Ok(text)
}

/// Takes our last hook of an event out, and the lists that are empty without it.
fn take_last(text: &str, event: &str) -> Result<String, String> {
    let document = jsonc::value(text)?;
    let Some(last) = places(&document, event)?.pop() else { return Ok(text.to_owned()) };
    let steps = last.steps(event);
    let groups = &document[HOOKS][event];
    let single = |list: &Value| list.as_array().is_some_and(|list| list.len() == 1);
    let depth = match () {
        () if !single(&groups[last.group][HOOKS]) => 5,
        () if !single(groups) => 3,
        () if document[HOOKS].as_object().is_some_and(|events| events.len() > 1) => 2,
        () => 1,
    };
    jsonc::take(text, &steps[..depth])
}

/// The place of one of our hooks.
struct Place {
    group: usize,
    hook: usize,
    command: String,
}

impl Place {
    fn steps<'a>(&self, event: &'a str) -> [Step<'a>; 5] {
        [Step::Name(HOOKS), Step::Name(event), Step::Index(self.group), Step::Name(HOOKS), Step::Index(self.hook)]
    }
}

/// Our hooks of an event.
fn places(document: &Value, event: &str) -> Result<Vec<Place>, String> {
    let Some(hooks) = document.get(HOOKS) else { return Ok(Vec::new()) };
    let events = hooks.as_object().ok_or("hooks is not an object")?;
    let Some(groups) = events.get(event) else { return Ok(Vec::new()) };
    let groups = groups.as_array().ok_or_else(|| format!("hooks.{event} is not a list"))?;
    let mut places = Vec::new();
    for (group, hooks) in groups.iter().enumerate() {
        for (hook, value) in hooks[HOOKS].as_array().into_iter().flatten().enumerate() {
            let command = value["command"].as_str().filter(|command| is_ours(command));
            places.extend(command.map(|command| Place { group, hook, command: command.to_owned() }));
        }
    }
    Ok(places)
}

/// Whether a command calls `hook` of this program, by its path or its name.
fn is_ours(command: &str) -> bool {
    let part = EVENTS.iter().find_map(|(_, part)| {
        let (program, rest) = command.split_once(&format!(" hook {part}"))?;
        (rest.is_empty() || rest.starts_with(' ')).then_some(program)
    });
    let Some(program) = part else { return false };
    let program = program.trim_matches(['\'', '"']);
    let name = program.rsplit(['/', '\\']).next().unwrap_or(program);
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(Path::file_stem).is_some_and(|own| own == name.trim_end_matches(".exe"));
    own || name.trim_end_matches(".exe") == "nexus-node"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(program: &str) -> Commands {
        EVENTS.iter().map(|(event, part)| (*event, format!("{program} hook {part}"))).collect()
    }

    #[test]
    fn hooks_of_others_stay_and_ours_are_there_once() {
        let ours = commands("nexus-node");
        let theirs = "{\n  // mine\n  \"hooks\": {\n    \"SessionStart\": [\n      { \"matcher\": \"startup\", \"hooks\": [{ \"type\": \"command\", \"command\": \"date\" }] } // first\n    ],\n    \"Stop\": []\n  },\n  \"model\": \"o\"\n}\n";
        let with = put(theirs, &ours).unwrap();
        for line in ["// mine", "\"command\": \"date\"", "// first", "\"Stop\": []", "\"model\": \"o\""] {
            assert!(with.contains(line), "{line}: {with}");
        }
        assert_eq!(put(&with, &ours).unwrap(), with, "twice is once");
        assert_eq!(held(&with).unwrap(), ours);
        assert_eq!(jsonc::value(&take(&with).unwrap()).unwrap(), jsonc::value(theirs).unwrap());
        // a hook of ours in a group of theirs goes alone
        let shared = with.replace(
            "\"command\": \"date\" }",
            "\"command\": \"date\" }, { \"command\": \"nexus-node hook session-start\" }",
        );
        let without = take(&shared).unwrap();
        assert_eq!(jsonc::value(&without).unwrap(), jsonc::value(theirs).unwrap(), "{without}");
    }

    #[test]
    fn an_older_call_is_replaced_in_its_place() {
        let older =
            put("{}", &commands("'/old path/nexus-node'")).unwrap().replace("\"type\"", "\"timeout\": 9, \"type\"");
        let twice = jsonc::append(
            &older,
            &[HOOKS, "SessionStart"],
            &json!({ HOOKS: [{ "command": "nexus-node hook session-start" }] }),
        );
        let new = put(&twice.unwrap(), &commands("nexus-node")).unwrap();
        assert_eq!(held(&new).unwrap(), commands("nexus-node"));
        assert_eq!((new.matches("timeout").count(), new.matches(" hook ").count()), (2, 2), "{new}");
        assert_eq!(take(&new).unwrap(), "{}");
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
            assert!(put(text, &commands("nexus-node")).is_err() && held(text).is_err(), "{text}");
        }
        // elements of another shape are somebody else's
        let odd = "{\"hooks\": {\"SessionStart\": [1, {\"hooks\": 2}, {\"hooks\": [{\"command\": 3}]}]}}";
        assert!(held(odd).unwrap().is_empty());
        assert_eq!(held(&put(odd, &commands("nexus-node")).unwrap()).unwrap(), commands("nexus-node"));
    }
}
