//! Our entry among the MCP servers of another program.

use serde_json::{Value, json};

use super::agent_program::NAME;
use super::agent_program::Program;
use super::call::Call;
use super::file::Held;
use super::former::without;
use super::hooks::is_this_program;
use super::jsonc::{self, Step};
use super::target::{Format, Target};
use super::toml;

/// The entry that starts the server.
pub(super) fn of(target: &Target, call: &Call) -> Value {
    let mut command = vec!["mcp"];
    if call.is_shared {
        command.extend(["--for", target.program.name()]);
    }
    let mut entry = json!({ "command": call.program, "args": call.arguments(&command) });
    if target.names_type {
        entry["type"] = "stdio".into();
    }
    if target.program == Program::Copilot {
        entry["type"] = "local".into();
        entry["tools"] = json!(["*"]);
    }
    entry
}

/// Whether an entry starts this program.
pub(super) fn is_ours(entry: &Value) -> bool {
    let arguments = entry["args"].as_array().into_iter().flatten();
    entry["command"].as_str().is_some_and(is_this_program) && arguments.into_iter().any(|word| word == "mcp")
}

/// A text with the entry.
pub(in crate::commands) fn put(format: Format, text: &str, entry: &Value) -> Result<String, String> {
    match format {
        Format::Json { servers } => jsonc::set(text, &[servers, NAME], entry),
        // another program's has more than a command
        Format::Toml if toml::get(text)?.is_some_and(|held| !is_ours(&held)) => toml::set(&toml::take(text)?, entry),
        Format::Toml => toml::set(text, entry),
    }
}

/// The entry in a text.
pub(in crate::commands) fn held(format: Format, text: &str) -> Result<Option<Value>, String> {
    match format {
        Format::Json { servers } => Ok(jsonc::value(text)?.get(servers).and_then(|servers| servers.get(NAME)).cloned()),
        Format::Toml => toml::get(text),
    }
}

/// Our entry in a text.
pub(in crate::commands) fn ours(format: Format, text: &str) -> Result<Option<Value>, String> {
    Ok(held(format, text)?.filter(is_ours))
}

/// A file without our entry; `None` where nothing else was in it. An entry that ours took the place of comes back.
pub(in crate::commands) fn taken(format: Format, file: &Held<'_>) -> Result<Option<String>, String> {
    let entry = ours(format, file.text)?.unwrap_or_default();
    let has = |text: &str| Ok(ours(format, text)?.is_some());
    // the newest file without ours says whose entry was there before
    let former = file.earlier().find(|text| has(text) == Ok(false));
    let theirs = former.filter(|text| held(format, text).is_ok_and(|held| held.is_some()));
    without(
        file,
        has,
        |text| put(format, text, &entry),
        |text| match &theirs {
            Some(former) => give_back(format, text, former),
            None => take(format, text),
        },
    )
}

/// A text with the entry of a former one in the place of ours.
fn give_back(format: Format, text: &str, former: &str) -> Result<String, String> {
    match format {
        Format::Json { servers } => {
            let steps = [Step::Name(servers), Step::Name(NAME)];
            let theirs = jsonc::part(former, &steps)?.unwrap_or("null");
            jsonc::replace_part(text, &steps, theirs)
        }
        Format::Toml => toml::give_back(text, former),
    }
}

fn take(format: Format, text: &str) -> Result<String, String> {
    let Format::Json { servers } = format else { return toml::take(text) };
    let mut text = text.to_owned();
    // A name may stand there twice.
    while jsonc::value(&text)?.get(servers).and_then(|servers| servers.get(NAME)).is_some() {
        text = jsonc::take(&text, &[Step::Name(servers), Step::Name(NAME)])?;
    }
    Ok(text)
}
