//! Our entry among the MCP servers of another program.

use serde_json::{Value, json};

use super::NAME;
use super::call::Call;
use super::file::Held;
use super::former::without;
use super::jsonc::{self, Step};
use super::target::{Format, Target};
use super::toml;

/// The entry that starts the server.
pub(super) fn of(target: &Target, call: &Call) -> Value {
    let mut entry = json!({ "command": call.program, "args": call.arguments(&["mcp"]) });
    if target.names_type {
        entry["type"] = "stdio".into();
    }
    entry
}

/// A text with the entry.
pub(in crate::commands) fn put(format: Format, text: &str, entry: &Value) -> Result<String, String> {
    match format {
        Format::Json { servers } => jsonc::set(text, &[servers, NAME], entry),
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

/// A file without the entry; `None` where nothing else was in it.
pub(in crate::commands) fn taken(format: Format, file: &Held<'_>) -> Result<Option<String>, String> {
    let entry = held(format, file.text)?.unwrap_or_default();
    let has = |text: &str| Ok(held(format, text)?.is_some());
    without(file, has, |text| put(format, text, &entry), |text| take(format, text))
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
