//! Our entry in a TOML file, where servers are tables under `mcp_servers`.

use serde_json::{Value, json};
use toml_edit::visit_mut::{VisitMut, visit_table_mut};
use toml_edit::{DocumentMut, Item, Table, TomlError};

use super::agent_program::NAME;

/// The name of the table of servers.
const SERVERS: &str = "mcp_servers";

fn parse(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|error: TomlError| error.to_string())
}

/// Sets `[mcp_servers.nexus]`. The rest of that table stays.
pub(super) fn set(text: &str, entry: &Value) -> Result<String, String> {
    let mut document = parse(text)?;
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let servers = document.entry(SERVERS).or_insert(Item::Table(implicit));
    let servers = servers.as_table_like_mut().ok_or("mcp_servers is not a table")?;
    let server = servers.entry(NAME).or_insert(toml_edit::table());
    let server = server.as_table_like_mut().ok_or("mcp_servers.nexus is not a table")?;
    let command = entry["command"].as_str().unwrap_or_default();
    let arguments: toml_edit::Array =
        entry["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if server.get("command").and_then(Item::as_str) != Some(command) {
        server.insert("command", toml_edit::value(command));
    }
    let same = server
        .get("args")
        .and_then(Item::as_array)
        .is_some_and(|known| known.iter().map(|value| value.as_str()).eq(arguments.iter().map(|value| value.as_str())));
    if !same {
        server.insert("args", toml_edit::value(arguments));
    }
    Ok(document.to_string())
}

/// The entry, as far as `set` writes it.
pub(super) fn get(text: &str) -> Result<Option<Value>, String> {
    let document = parse(text)?;
    let Some(servers) = document.get(SERVERS) else { return Ok(None) };
    let servers = servers.as_table_like().ok_or("mcp_servers is not a table")?;
    Ok(servers.get(NAME).map(|server| {
        let command = server.get("command").and_then(Item::as_str);
        let arguments = server.get("args").and_then(Item::as_array);
        let arguments = arguments.into_iter().flatten().filter_map(toml_edit::Value::as_str);
        json!({ "command": command, "args": arguments.collect::<Vec<_>>() })
    }))
}

/// A text with the entry of a former one in the place of ours.
pub(super) fn give_back(text: &str, former: &str) -> Result<String, String> {
    let former = parse(former)?;
    let theirs = former.get(SERVERS).and_then(Item::as_table_like).and_then(|servers| servers.get(NAME));
    let Some(theirs) = theirs else { return take(text) };
    let mut document = parse(&take(text)?)?;
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let servers = document.entry(SERVERS).or_insert(Item::Table(implicit));
    servers.as_table_like_mut().ok_or("mcp_servers is not a table")?.insert(NAME, theirs.clone());
    Ok(document.to_string())
}

/// Takes the entry out. Comments above its table stay.
pub(super) fn take(text: &str) -> Result<String, String> {
    let mut document = parse(text)?;
    let Some(servers) = document.get_mut(SERVERS) else { return Ok(text.to_owned()) };
    let servers = servers.as_table_like_mut().ok_or("mcp_servers is not a table")?;
    let Some(removed) = servers.remove(NAME) else { return Ok(text.to_owned()) };
    if let Item::Table(table) = &removed
        && let Some(above) = table.decor().prefix().and_then(|prefix| prefix.as_str())
        && above.contains('#')
    {
        let mut next = Next { after: last_position(table), position: None };
        next.visit_document_mut(&mut document);
        match next.position {
            Some(position) => Prepend { position, text: above.to_owned() }.visit_document_mut(&mut document),
            None => document.set_trailing(format!("{above}{}", document.trailing().as_str().unwrap_or_default())),
        }
    }
    Ok(document.to_string())
}

/// The place of the last table below one, in the order of the text.
fn last_position(table: &Table) -> isize {
    let below = table.iter().filter_map(|(_, item)| item.as_table()).map(last_position).max();
    table.position().unwrap_or(isize::MAX).max(below.unwrap_or(isize::MIN))
}

/// Looks for the first table after a place in the text.
struct Next {
    after: isize,
    position: Option<isize>,
}

impl VisitMut for Next {
    fn visit_table_mut(&mut self, table: &mut Table) {
        if let Some(position) = table.position().filter(|position| *position > self.after && !table.is_implicit()) {
            self.position = Some(self.position.map_or(position, |known| known.min(position)));
        }
        visit_table_mut(self, table);
    }
}

/// Puts a text above a table.
struct Prepend {
    position: isize,
    text: String,
}

impl VisitMut for Prepend {
    fn visit_table_mut(&mut self, table: &mut Table) {
        if table.position() == Some(self.position) {
            let above = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
            let above = format!("{}{above}", self.text);
            table.decor_mut().set_prefix(above);
        }
        visit_table_mut(self, table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Value {
        json!({ "command": "/bin/nexus-node", "args": ["mcp"] })
    }

    #[test]
    fn toml_keeps_what_else_is_there_and_changes_once() {
        let before = "# mine\nmodel = \"o\"\n\n[mcp_servers.other] # stays\ncommand = \"x\"\n";
        let once = set(before, &entry()).unwrap();
        assert!(once.starts_with(before), "{once}");
        assert!(once.contains("[mcp_servers.nexus]\ncommand = \"/bin/nexus-node\"\nargs = [\"mcp\"]\n"), "{once}");
        assert_eq!(set(&once, &entry()).unwrap(), once);
        assert_eq!(get(&once).unwrap(), Some(entry()));
        let tuned = once.replace("args = [\"mcp\"]", "args = [\"mcp\", \"--old\"]\nstartup_timeout_sec = 60");
        let again = set(&tuned, &entry()).unwrap();
        assert!(again.contains("args = [\"mcp\"]\nstartup_timeout_sec = 60"), "{again}");
        for broken in ["mcp_servers = 1", "= broken"] {
            assert!(set(broken, &entry()).is_err() && get(broken).is_err() && take(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn taking_the_entry_leaves_the_file_from_before() {
        for before in [
            "",
            "model = \"o\" # mine\n",
            "# mine\nmodel = \"o\"\n\n[mcp_servers.other] # stays\ncommand = \"x\"\n",
            "[mcp_servers]\n",
            "[mcp_servers]\nother = { command = \"x\" }\n\n[tui]\ntheme = \"dark\"\n",
            "mcp_servers = { other = { command = \"x\" } }\n",
            "mcp_servers.other.command = \"x\"\n",
            "a = 1\n# the end\n",
        ] {
            let with = set(before, &entry()).unwrap();
            assert_eq!(take(&with).unwrap(), before, "{with}");
            assert_eq!(take(before).unwrap(), before);
        }
    }

    #[test]
    fn comments_above_the_entry_stay() {
        let server = "[mcp_servers.nexus]\ncommand = \"x\"\n\n[mcp_servers.nexus.env]\nA = \"1\"\n";
        let (first, last) = ("a = 1\n\n# servers\n", "\n# look\n[tui]\nb = 2 # two\n");
        let without = take(&format!("{first}{server}{last}")).unwrap();
        assert_eq!(without, format!("{first}{last}"));
        assert_eq!(take(&format!("{first}{server}")).unwrap(), first);
    }
}
