//! Adds the node to other programs: an entry in the file in which each looks for MCP servers.

mod file;
mod found;
mod jsonc;
mod target;

use std::path::Path;

use clap::{Args, ValueEnum};
use nexus_node::api::Problem;
use serde_json::{Value, json};

use self::file::Written;
pub(super) use self::found::using;
use self::target::{Format, Program, Scope, Target};
use crate::session::CliSession;

/// The server's name in those files.
const NAME: &str = "nexus";

/// Give an agent's program access to the memory
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The program; `all` takes those on this machine
    #[arg(value_enum, required = true)]
    program: ProgramChoice,
    /// Show the entry and its file, and write nothing
    #[arg(long)]
    print: bool,
    /// For all your projects, or for the one in the current directory
    #[arg(long, value_enum, default_value_t = Scope::User)]
    scope: Scope,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProgramChoice {
    Claude,
    Codex,
    Cursor,
    Vscode,
    Gemini,
    All,
}

impl ProgramChoice {
    fn programs(self) -> Vec<Program> {
        match self {
            Self::Claude => vec![Program::Claude],
            Self::Codex => vec![Program::Codex],
            Self::Cursor => vec![Program::Cursor],
            Self::Vscode => vec![Program::Vscode],
            Self::Gemini => vec![Program::Gemini],
            Self::All => Program::ALL.to_vec(),
        }
    }
}

impl Connect {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let here = std::env::current_dir();
        let here = here.map_err(|error| Problem::new("failed", format!("the current directory: {error}")))?;
        let all = matches!(self.program, ProgramChoice::All);
        let targets = self.program.programs().into_iter().map(|program| Target::of(program, self.scope, &here));
        let mut targets = targets.collect::<Result<Vec<_>, _>>()?;
        if all {
            let titles = |found: bool| -> Vec<&str> {
                let those = targets.iter().filter(|target| target.is_here() == found);
                those.map(|target| target.program.title()).collect()
            };
            let (found, missing) = (titles(true).join(", "), titles(false).join(", "));
            if found.is_empty() {
                let none = format!("no program that could be connected was found on this machine: {missing}");
                return Err(Problem::new("not_found", none).hint("name one: `nexus-node connect claude`"));
            }
            session.printer.note(&format!("found: {found}"));
            if !missing.is_empty() {
                session.printer.note(&format!("not on this machine, and left alone: {missing}"));
            }
            targets.retain(Target::is_here);
        }
        let mut done: Vec<Value> = Vec::new();
        for target in &targets {
            done.push(self.connect(target, session, &here)?);
        }
        if all {
            return session.printer.answer(&done, || done.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        let done = done.remove(0);
        session.printer.answer(&done, || line(&done))
    }

    fn connect(&self, target: &Target, session: &CliSession, here: &Path) -> Result<Value, Problem> {
        let entry = entry(target, session, here)?;
        let (text, snippet) = match target.format {
            Format::Json { servers } => {
                let snippet = json!({ servers: { NAME: entry } });
                let change = |text: &str| jsonc::set(text, &[servers, NAME], &entry);
                (Box::new(change) as Box<dyn Fn(&str) -> Result<String, String>>, pretty(&snippet))
            }
            Format::Toml => {
                let change = {
                    let entry = entry.clone();
                    move |text: &str| set_toml(text, &entry)
                };
                let snippet = set_toml("", &entry).map_err(|error| Problem::new("internal", error))?;
                (Box::new(change) as Box<dyn Fn(&str) -> Result<String, String>>, snippet)
            }
        };
        let mut document = json!({
            "client": target.program.name(),
            "path": target.path,
            "scope": self.scope.name(),
            "name": NAME,
            "entry": entry,
            "changed": false,
            "backup": null,
        });
        if self.print {
            document["text"] = snippet.trim_end().into();
            return Ok(document);
        }
        let Written { changed, backup } = file::change(&target.path, &text)?;
        document["changed"] = changed.into();
        document["backup"] = serde_json::to_value(backup).unwrap_or_default();
        if changed {
            session.printer.note(&format!("restart {} to see the tools", target.program.title()));
        }
        Ok(document)
    }
}

/// The result, for people.
fn line(document: &Value) -> String {
    let text = |key: &str| document[key].as_str().unwrap_or_default();
    if document["text"].is_string() {
        return format!("# {}\n{}", text("path"), text("text"));
    }
    match (document["changed"].as_bool(), document["backup"].as_str()) {
        (Some(true), Some(backup)) => format!("{}: wrote {} (before: {backup})", text("client"), text("path")),
        (Some(true), None) => format!("{}: wrote {}", text("client"), text("path")),
        _ => format!("{}: {} says so already", text("client"), text("path")),
    }
}

/// The entry that starts the server from a program.
fn entry(target: &Target, session: &CliSession, here: &Path) -> Result<Value, Problem> {
    let program = std::env::current_exe();
    let program = program.map_err(|error| Problem::new("failed", format!("this program cannot be found: {error}")))?;
    let mut arguments = vec!["mcp".to_owned()];
    if session.elsewhere() {
        return Err(Problem::new("usage", "the server starts the node of a data directory, --api names another one")
            .hint("leave --api and NEXUS_API out"));
    }
    let directory = session.data_dir()?;
    if crate::session::default_data_dir().as_ref() != Some(&directory) {
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        arguments.extend(["--data-dir".to_owned(), directory.display().to_string()]);
    }
    if target.scope == Scope::Project
        && let Some(project) = here.file_name()
    {
        arguments.extend(["--project".to_owned(), project.to_string_lossy().into_owned()]);
    }
    let mut entry = json!({ "command": command(&program, target.scope), "args": arguments });
    if target.names_type {
        entry["type"] = "stdio".into();
    }
    Ok(entry)
}

/// The program in an entry. A file that others read has the program's name, if a shell finds it. A
/// person's own file has the path, since not every program starts with a shell's PATH.
fn command(program: &Path, scope: Scope) -> String {
    let name = program.file_name().unwrap_or_default();
    let found = std::env::var_os("PATH").is_some_and(|path| {
        let first = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file());
        first.and_then(|file| file.canonicalize().ok()) == program.canonicalize().ok()
    });
    if scope == Scope::Project && found { name.to_string_lossy().into_owned() } else { program.display().to_string() }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Sets `[mcp_servers.nexus]`. The rest of that table stays.
fn set_toml(text: &str, entry: &Value) -> Result<String, String> {
    let mut document: toml_edit::DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let mut implicit = toml_edit::Table::new();
    implicit.set_implicit(true);
    let servers = document.entry("mcp_servers").or_insert(toml_edit::Item::Table(implicit));
    let servers = servers.as_table_like_mut().ok_or("mcp_servers is not a table")?;
    let server = servers.entry(NAME).or_insert(toml_edit::table());
    let server = server.as_table_like_mut().ok_or("mcp_servers.nexus is not a table")?;
    let command = entry["command"].as_str().unwrap_or_default();
    let arguments: toml_edit::Array =
        entry["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if server.get("command").and_then(toml_edit::Item::as_str) != Some(command) {
        server.insert("command", toml_edit::value(command));
    }
    let same = server
        .get("args")
        .and_then(toml_edit::Item::as_array)
        .is_some_and(|known| known.iter().map(|value| value.as_str()).eq(arguments.iter().map(|value| value.as_str())));
    if !same {
        server.insert("args", toml_edit::value(arguments));
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_keeps_what_else_is_there_and_changes_once() {
        let entry = json!({ "command": "/bin/nexus-node", "args": ["mcp"] });
        let before = "# mine\nmodel = \"o\"\n\n[mcp_servers.other] # stays\ncommand = \"x\"\n";
        let once = set_toml(before, &entry).unwrap();
        assert!(once.starts_with(before), "{once}");
        assert!(once.contains("[mcp_servers.nexus]\ncommand = \"/bin/nexus-node\"\nargs = [\"mcp\"]\n"), "{once}");
        assert_eq!(set_toml(&once, &entry).unwrap(), once);
        let tuned = once.replace("args = [\"mcp\"]", "args = [\"mcp\", \"--old\"]\nstartup_timeout_sec = 60");
        let again = set_toml(&tuned, &entry).unwrap();
        assert!(again.contains("args = [\"mcp\"]\nstartup_timeout_sec = 60"), "{again}");
        assert!(set_toml("mcp_servers = 1", &entry).is_err());
        assert!(set_toml("= broken", &entry).is_err());
    }
}
