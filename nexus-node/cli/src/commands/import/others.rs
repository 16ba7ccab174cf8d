//! The memories that other programs keep in files, as lines of an import.
//!
//! A text is known by its hash, so a file that is read twice is written once, and a text that was forgotten here stays so.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use directories::BaseDirs;
use nexus_identity::Timestamp;
use nexus_node::api::Problem;
use nexus_node::project::ProjectChoice;
use serde_json::{Value, json};

use super::markdown::{self, Note};
use crate::client::Client;
use crate::project;

/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The most files that are read, and the deepest directory.
const FILES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 8;
/// The longest wait for git.
const GIT_TIMEOUT: Duration = Duration::from_secs(2);

/// A program that keeps memories in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Origin {
    /// Claude Code: CLAUDE.md, and the memories that it keeps for each project
    Claude,
    /// Codex: AGENTS.md, and its memories
    Codex,
    /// Gemini CLI: GEMINI.md, and its memories
    Gemini,
    /// Cursor: the rules of a project
    Cursor,
    /// The reference memory server: its file of entities and relations
    ServerMemory,
    /// basic-memory: its directory of notes
    BasicMemory,
}

/// The memories of a program.
pub(super) struct Found {
    /// Lines for `/v1/import`.
    pub(super) lines: Vec<u8>,
    /// The files that were read.
    pub(super) files: usize,
}

/// A file to read.
struct Source {
    path: PathBuf,
    /// The directory of its project; `None` for what is personal.
    of: Option<PathBuf>,
    /// Whether it is one memory as a whole.
    whole: bool,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Cursor => "cursor",
            Self::ServerMemory => "server-memory",
            Self::BasicMemory => "basic-memory",
        }
    }

    /// The file of the reference memory server.
    pub(super) fn graph(path: Option<&Path>) -> Result<PathBuf, Problem> {
        let named = path.map(Path::to_owned).or_else(|| std::env::var_os("MEMORY_FILE_PATH").map(PathBuf::from));
        named.ok_or_else(|| {
            let problem = Problem::new("usage", "the reference memory server keeps its file where it was told to");
            problem.hint("name the file: `nexus-node import --from server-memory memory.jsonl`")
        })
    }

    /// Reads the files of a program: in its usual places and in the current directory, or at a path.
    pub(super) fn read(self, path: Option<&Path>, client: &Client) -> Result<Found, Problem> {
        let sources = self.sources(path)?;
        if sources.is_empty() {
            let what = path.map_or_else(|| "its usual places".to_owned(), |path| path.display().to_string());
            let problem = Problem::new("not_found", format!("nothing of {} is in {what}", self.name()));
            return Err(problem.hint("name the file or the directory: `nexus-node import --from claude PATH`"));
        }
        let mut projects = BTreeMap::new();
        let (mut lines, files) = (Vec::new(), sources.len());
        for source in sources {
            let Some(text) = text_of(&source.path)? else { continue };
            let project = match &source.of {
                None => None,
                Some(directory) => {
                    projects.entry(directory.clone()).or_insert_with(|| project_of(directory, client)).clone()?
                }
            };
            let at =
                fs::metadata(&source.path).and_then(|about| about.modified()).unwrap_or_else(|_| SystemTime::now());
            for memory in self.memories(&source, &text) {
                let line = line(self, memory, project.as_deref(), at);
                lines.extend(format!("{line}\n").into_bytes());
            }
        }
        Ok(Found { lines, files })
    }

    fn sources(self, path: Option<&Path>) -> Result<Vec<Source>, Problem> {
        let here = std::env::current_dir().unwrap_or_default();
        let set = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = BaseDirs::new().map(|base| base.home_dir().to_owned()).unwrap_or_default();
        let mut sources = Vec::new();
        if let Some(path) = path {
            if !path.exists() {
                return Err(Problem::new("not_found", format!("{} is not there", path.display())));
            }
            if path.is_file() {
                let of = (self != Self::BasicMemory).then(|| path.parent().map(Path::to_owned)).flatten();
                let whole = self == Self::BasicMemory || is_topic(path);
                return Ok(vec![Source { path: path.to_owned(), of, whole }]);
            }
        }
        let of_project = |directory: &Path, names: &[&str]| -> Vec<Source> {
            let files = names.iter().map(|name| directory.join(name)).filter(|path| path.is_file());
            files.map(|path| Source { path, of: Some(directory.to_owned()), whole: false }).collect()
        };
        let personal = |path: PathBuf| path.is_file().then_some(Source { path, of: None, whole: false });
        match self {
            Self::Claude => {
                sources
                    .extend(of_project(path.unwrap_or(&here), &["CLAUDE.md", ".claude/CLAUDE.md", "CLAUDE.local.md"]));
                let own = set("CLAUDE_CONFIG_DIR").unwrap_or_else(|| home.join(".claude"));
                let own = path.map_or(own, Path::to_owned);
                if path.is_none() {
                    sources.extend(personal(own.join("CLAUDE.md")));
                }
                for project in directories(&own.join("projects")) {
                    let of = session_directory(&project);
                    let notes = files(&project.join("memory"), &["md"]);
                    sources.extend(notes.into_iter().filter(|path| is_topic(path)).map(|path| Source {
                        path,
                        of: of.clone(),
                        whole: true,
                    }));
                }
            }
            Self::Codex => {
                sources.extend(of_project(path.unwrap_or(&here), &["AGENTS.md", "AGENTS.override.md"]));
                let own = set("CODEX_HOME").unwrap_or_else(|| home.join(".codex"));
                let own = path.map_or(own, Path::to_owned);
                if path.is_none() {
                    sources.extend(personal(own.join("AGENTS.md")));
                }
                sources.extend(personal(own.join("memories/MEMORY.md")));
            }
            Self::Gemini => {
                sources.extend(of_project(path.unwrap_or(&here), &["GEMINI.md"]));
                let own = set("GEMINI_CLI_HOME").unwrap_or_else(|| home.clone()).join(".gemini");
                let own = path.map_or(own, Path::to_owned);
                if path.is_none() {
                    sources.extend(personal(own.join("GEMINI.md")));
                }
                for project in directories(&own.join("tmp")) {
                    sources.extend(personal(project.join("memory/MEMORY.md")));
                }
            }
            Self::Cursor => {
                let root = path.unwrap_or(&here);
                sources.extend(of_project(root, &[".cursorrules"]));
                let rules = files(&root.join(".cursor/rules"), &["mdc", "md"]);
                sources.extend(rules.into_iter().map(|path| Source { path, of: Some(root.to_owned()), whole: false }));
            }
            Self::BasicMemory => {
                let root = path.map_or_else(|| home.join("basic-memory"), Path::to_owned);
                sources.extend(files(&root, &["md"]).into_iter().map(|path| Source { path, of: None, whole: true }));
            }
            Self::ServerMemory => {}
        }
        Ok(sources)
    }

    /// The memories of a file.
    fn memories(self, source: &Source, text: &str) -> Vec<Memory> {
        let note = Note::read(text);
        let personal = source.of.is_none();
        let kind = match (note.value("type"), personal) {
            (Some("user" | "feedback" | "preference"), _) => "preference",
            (Some("decision"), _) => "decision",
            (None, true) if self != Self::BasicMemory => "preference",
            (_, true) => "note",
            _ => "fact",
        };
        let of = |text: String| Memory { text, kind, tags: note.tags.clone(), title: None };
        if !source.whole {
            return markdown::texts(&note.body).into_iter().map(of).collect();
        }
        let body = note.body.trim();
        let title = note.value("title").or(note.value("description")).or(note.value("name"));
        if body.is_empty() && title.is_none() {
            return Vec::new();
        }
        let starts = title.is_some_and(|title| body.trim_start_matches(['#', ' ']).starts_with(title));
        let text = match title.filter(|_| !starts) {
            Some(title) => format!("{title}\n\n{body}"),
            None => body.to_owned(),
        };
        vec![Memory { title: title.map(str::to_owned), ..of(text.trim().to_owned()) }]
    }
}

struct Memory {
    text: String,
    kind: &'static str,
    tags: Vec<String>,
    title: Option<String>,
}

/// A line for `/v1/import`, of an origin of its own: the same text is the same memory.
fn line(origin: Origin, memory: Memory, project: Option<&str>, at: SystemTime) -> Value {
    let Memory { text, kind, mut tags, title } = memory;
    let hash = blake3::hash(format!("{}\0{text}", project.unwrap_or_default()).as_bytes());
    tags.extend(project.map(|project| format!("project:{project}")));
    tags.dedup();
    let ms = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let created = Timestamp::from_ms(u64::try_from(ms).unwrap_or_default());
    let mut line = json!({
        "text": text,
        "kind": kind,
        "tags": tags,
        "agent": origin.name(),
        "id": format!("{}:{}", origin.name(), &hash.to_hex()[..24]),
        "created_at": created.to_string(),
    });
    if let Some(title) = title {
        line["meta"] = json!({ "title": title });
    }
    line
}

/// The name of a directory's project.
fn project_of(directory: &Path, client: &Client) -> Result<Option<String>, Problem> {
    let Some(place) = project::place_of(directory, GIT_TIMEOUT) else { return Ok(None) };
    let parameters = project::parameters(Some(&ProjectChoice::At(place)));
    let answer: Value = client.get(&format!("/v1/project{parameters}"))?;
    Ok(answer["name"].as_str().map(str::to_owned))
}

/// The text of a file; `None` if it is no text, or too long.
fn text_of(path: &Path) -> Result<Option<String>, Problem> {
    let failed = |error: std::io::Error| Problem::new("invalid", format!("{}: {error}", path.display()));
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Ok(None);
    }
    Ok(String::from_utf8(fs::read(path).map_err(failed)?).ok())
}

/// Whether a file is a memory by itself: an index of others is none.
fn is_topic(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name != "MEMORY.md")
        && path.parent().is_some_and(|above| above.ends_with("memory"))
}

/// The directories in one, in order.
fn directories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(FILES_MAX);
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// The files with these endings below a directory, in order. Links are not followed.
fn files(directory: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut next) = (Vec::new(), vec![(directory.to_owned(), 0)]);
    while let Some((directory, depth)) = next.pop() {
        let mut entries: Vec<_> = fs::read_dir(&directory).into_iter().flatten().flatten().take(FILES_MAX).collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(kind) = entry.file_type() else { continue };
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            let path = entry.path();
            if kind.is_dir() && depth < DEPTH_MAX && !hidden {
                next.push((path, depth + 1));
            } else if kind.is_file()
                && found.len() < FILES_MAX
                && path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The directory of the sessions that Claude Code keeps in one of its own: each line of a session may name it.
fn session_directory(directory: &Path) -> Option<PathBuf> {
    let sessions = files(directory, &["jsonl"]);
    let lines = sessions.iter().take(4).filter_map(|path| text_of(path).ok().flatten());
    let named = lines.flat_map(|text| text.lines().take(64).map(str::to_owned).collect::<Vec<_>>());
    let mut named =
        named.filter_map(|line| serde_json::from_str::<Value>(&line).ok()?["cwd"].as_str().map(PathBuf::from));
    named.find(|path| path.is_absolute()).or_else(|| {
        // without a session its name is the path, with a dash for each slash
        let name = directory.file_name()?.to_string_lossy().replace('-', "/");
        Some(PathBuf::from(name)).filter(|path| path.is_dir())
    })
}
