//! The entries of ours in the files of other programs.

use std::path::Path;

use serde_json::Value;

use super::agent_program::NAME;
use super::agent_program::{Program, Scope};
use super::jsonc;
use super::target::{Format, Target};

/// The programs whose agents use the node of a directory, by their titles. Only the files of this account are looked at.
pub(in crate::commands) fn using(data_dir: &Path, default: bool) -> Vec<&'static str> {
    let uses = |program: &Program| {
        // where there is no home, there is no entry
        let target = Target::of(*program, Scope::User, Path::new("")).ok()?;
        let text = std::fs::read_to_string(&target.path).ok()?;
        let entry = entry(&text, target.format)?;
        starts(&entry, data_dir, default).then_some(program.title())
    };
    Program::ALL.iter().filter_map(uses).collect()
}

/// The text of our entry in a file.
fn entry(text: &str, format: Format) -> Option<String> {
    match format {
        Format::Json { servers } => {
            let document = jsonc::value(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()?;
            Some(document.get(servers)?.get(NAME)?.to_string())
        }
        Format::Toml => {
            let document: toml_edit::DocumentMut = text.parse().ok()?;
            let arguments = document.get("mcp_servers")?.get(NAME)?.get("args")?.as_array()?;
            Some(arguments.iter().filter_map(|word| word.as_str()).collect::<Value>().to_string())
        }
    }
}

/// Whether an entry starts the server of a directory. An entry without a directory means the usual one.
fn starts(entry: &str, data_dir: &Path, default: bool) -> bool {
    let word = |text: &str| entry.contains(&Value::from(text).to_string());
    word("mcp") && if word("--data-dir") { word(&data_dir.to_string_lossy()) } else { default }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Format = Format::Json { servers: "mcpServers" };

    #[test]
    fn an_entry_is_found_among_comments_and_for_its_own_directory_alone() {
        let text = "\u{feff}{ // mine\n \"mcpServers\": { \"nexus\": { \"command\": \"n\", /* so */\n \"args\": [\"mcp\", \
                    \"--data-dir\", \"/a b\"], }, }, }";
        let found = entry(text, JSON).unwrap();
        assert!(starts(&found, Path::new("/a b"), true) && !starts(&found, Path::new("/a"), true));
        let usual = entry(r#"{"mcpServers":{"nexus":{"args":["mcp"]}}}"#, JSON).unwrap();
        assert!(starts(&usual, Path::new("/a"), true) && !starts(&usual, Path::new("/a"), false));
        for none in ["", "{", "[]", "{}", r#"{"mcpServers":{"other":{}}}"#, r#"{"mcpServers":7}"#] {
            assert_eq!(entry(none, JSON), None, "{none}");
        }
        assert!(!starts(r#"{"command":"x"}"#, Path::new("/a"), true));
        let escaped = entry(r#"{"mcpServers":{"nexus":{"args":["mcp","--data-dir","\/\u00e9"]}}}"#, JSON).unwrap();
        assert!(starts(&escaped, Path::new("/é"), false));
        let literal = entry("[mcp_servers.nexus]\nargs = ['mcp', '--data-dir', '/a \"b\\']\n", Format::Toml).unwrap();
        assert!(starts(&literal, Path::new("/a \"b\\"), false));
        let codex = entry("[mcp_servers.nexus]\nargs = [\"mcp\", \"--data-dir\", \"/a b\"]\n", Format::Toml).unwrap();
        assert!(starts(&codex, Path::new("/a b"), false) && !starts(&codex, Path::new("/b"), false));
        assert_eq!(entry("= broken", Format::Toml), None);
    }
}
