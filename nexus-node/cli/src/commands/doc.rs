use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::Value;

use crate::client::{Client, escape, query};
use crate::outfile;
use crate::output::{Printer, Table, moment, sane, sane_lines};
use crate::session::CliSession;

/// The wait before a node that is starting is asked again.
const RETRY: Duration = Duration::from_millis(500);
/// The digits of a version in a table.
const SHORT: usize = 12;

/// Documents that several machines change at once: JSON with texts, as Automerge
///
/// A path is a JSON Pointer: `/steps/0/done`, or `steps/0/done`. Every member of the mesh can read all documents of a space that
/// it may read, and their whole history.
#[derive(Debug, Subcommand)]
pub(crate) enum Doc {
    /// Create the document of a key, or find it
    ///
    /// Two machines that create it apart create the same document.
    Create {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show a document, or the value at a path of it
    Get {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The path
        #[arg(default_value = "")]
        path: String,
        #[command(flatten)]
        place: Place,
    },
    /// Give a path a value: only what differs is written
    Set {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The path
        path: String,
        /// The value, as JSON; `-` reads it from stdin
        #[arg(value_name = "JSON")]
        value: String,
        #[command(flatten)]
        place: Place,
    },
    /// Change a document by a merge patch: `null` removes
    Edit {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The patch, a JSON object; `-` reads it from stdin
        #[arg(value_name = "JSON")]
        patch: String,
        #[command(flatten)]
        place: Place,
    },
    /// Change a part of a text
    Text {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The path of the text
        path: String,
        /// The position, in characters from 0
        #[arg(long, value_name = "N")]
        at: usize,
        /// The number of characters to remove there
        #[arg(long, value_name = "N", default_value_t = 0)]
        delete: usize,
        /// The text to insert there
        #[arg(long, value_name = "TEXT", default_value = "")]
        insert: String,
        /// The version in which the position was read: others may have typed before it since [default: the present one]
        #[arg(long, value_name = "VERSION")]
        seen: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Show the changes of a document, the newest first
    History {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// At most this many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        #[command(flatten)]
        place: Place,
    },
    /// Show a document as it was at a time, or at a version of its history
    At {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// A time as 2026-01-31T12:00:00Z, the time since then as `1d`, or a version
        #[arg(value_name = "TIME|VERSION", value_parser = NonEmptyStringValueParser::new())]
        at: String,
        /// The path
        #[arg(default_value = "")]
        path: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show changes of a document as they arrive, until stopped
    Watch {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The `version` of an earlier line, to go on after it [default: from now on]
        #[arg(long, value_name = "VERSION")]
        from: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// List the documents of a space
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Write a document into a file that every program with Automerge reads
    Export {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The file; `-` is stdout
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Take the document of an Automerge file, as a new document
    Import {
        /// The file; `-` is stdin
        file: PathBuf,
        /// A key for it [default: none, it has its address]
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        key: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Give a document a key
    Name {
        /// The document's address, or another key of it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        #[command(flatten)]
        place: Place,
    },
    /// Begin the document of a key anew from its value, without its history
    ///
    /// The former document stays readable by its address.
    Compact {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show the address of a document for programs with automerge-repo
    Url {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        #[command(flatten)]
        place: Place,
    },
}

/// The place of a document.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The space [default: default]
    #[arg(long)]
    space: Option<String>,
}

impl Place {
    /// The address of a document, or of a part of it, with its query.
    fn path(&self, key: &str, part: &str, more: &[(&str, Option<&str>)]) -> String {
        let mut asked = vec![("space", self.space.as_deref())];
        asked.extend_from_slice(more);
        format!("/v1/documents/{}{part}{}", escape_all(key), query(&asked))
    }
}

/// A key as one part of a path: it may contain `/`.
fn escape_all(key: &str) -> String {
    escape(key).replace('/', "%2F")
}

impl Doc {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let (client, printer) = (session.client()?, &session.printer);
        match self {
            Self::Create { key, place } => {
                let new = wire::NewDocument { key, space: place.space };
                let created: wire::Document = client.post("/v1/documents", &new)?;
                let word = if created.changed == Some(true) { "created" } else { "found" };
                printer.answer(&created, || format!("{word} {}, {}", called(&created), created.url))
            }
            Self::Get { key, path, place } => {
                let asked = [("path", Some(path.as_str()).filter(|path| !path.is_empty()))];
                show(&client.get(&place.path(&key, "", &asked))?, printer)
            }
            Self::Set { key, path, value, place } => {
                let set = wire::DocumentEdit::Set { path, value: read(&value)? };
                edit(&client, &key, &place, set, printer)
            }
            Self::Edit { key, patch, place } => {
                let patch = read(&patch)?;
                if !patch.is_object() {
                    return Err(Problem::new("invalid", "a merge patch is a JSON object")
                        .hint("`nexus-node doc set KEY PATH JSON` gives a path any value"));
                }
                edited(&client.patch(&place.path(&key, "", &[]), &patch)?, printer)
            }
            Self::Text { key, path, at, delete, insert, seen, place } => {
                if delete == 0 && insert.is_empty() {
                    return Err(Problem::new("invalid", "nothing to do: give --insert, --delete or both"));
                }
                let text = wire::DocumentEdit::Text { path, at, delete, insert, version: seen };
                edit(&client, &key, &place, text, printer)
            }
            Self::History { key, limit, place } => {
                let limit = limit.to_string();
                let history: wire::DocumentHistory =
                    client.get(&place.path(&key, "/history", &[("limit", Some(&limit))]))?;
                printer.answer(&history, || table(&history, printer))
            }
            Self::At { key, at, path, place } => {
                let is_version = at == "0"
                    || at.len() >= 8 && at.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'.'));
                let asked = [
                    (if is_version { "version" } else { "at" }, Some(at.as_str())),
                    ("path", Some(path.as_str()).filter(|path| !path.is_empty())),
                ];
                show(&client.get(&place.path(&key, "", &asked))?, printer)
            }
            Self::Watch { key, from, place } => watch(&client.streaming(), &key, from, &place, printer),
            Self::List { place } => {
                let path = format!("/v1/documents{}", query(&[("space", place.space.as_deref())]));
                let all: Vec<wire::Document> = client.get(&path)?;
                printer.answer(&all, || {
                    if all.is_empty() {
                        return "no documents: `nexus-node doc create KEY` makes one".to_owned();
                    }
                    let mut table = Table::new(["key", "address"]);
                    for document in &all {
                        let key = document.key.as_deref().map_or_else(|| "-".to_owned(), sane);
                        table.row([(key, None), (document.url.clone(), None)]);
                    }
                    table.show(printer)
                })
            }
            Self::Export { key, file, place } => export(&client, &place.path(&key, "/file", &[]), &file, printer),
            Self::Import { file, key, place } => {
                let asked = [("space", place.space.as_deref()), ("key", key.as_deref())];
                let path = format!("/v1/documents{}", query(&asked));
                let unreadable = |error: io::Error| Problem::new("invalid", format!("{}: {error}", file.display()));
                let taken: wire::Document = match file.as_os_str() == "-" {
                    true => client.put_content(&path, io::stdin().lock())?,
                    false => client.put_content(&path, fs::File::open(&file).map_err(unreadable)?)?,
                };
                printer.answer(&taken, || format!("imported {}, {}", called(&taken), taken.url))
            }
            Self::Name { id, key, place } => {
                let name = wire::DocumentName { key };
                let named: wire::Document = client.post(&place.path(&id, "/name", &[]), &name)?;
                printer.answer(&named, || format!("{} is {}", called(&named), named.url))
            }
            Self::Compact { key, place } => {
                let path = place.path(&key, "/compact", &[]);
                let anew: wire::Document = client.post(&path, &serde_json::json!({}))?;
                printer.answer(&anew, || format!("{} began anew as {}", called(&anew), anew.url))
            }
            Self::Url { key, place } => {
                let document: wire::Document = client.get(&place.path(&key, "", &[]))?;
                printer.answer(&document, || document.url.clone())
            }
        }
    }
}

fn called(document: &wire::Document) -> String {
    document.key.as_deref().map_or_else(|| "a document without a key".to_owned(), sane)
}

/// A value as JSON, or the JSON on stdin.
fn read(json: &str) -> Result<Value, Problem> {
    let mut read = String::new();
    let json = match json {
        "-" => {
            let problem = |error: io::Error| Problem::new("invalid", format!("stdin: {error}"));
            io::stdin().lock().read_to_string(&mut read).map_err(problem)?;
            read.as_str()
        }
        json => json,
    };
    serde_json::from_str(json).map_err(|error| {
        Problem::new("invalid", format!("the value is not JSON: {error}"))
            .hint("a text has quotes within those of the shell: '\"text\"'")
    })
}

fn edit(client: &Client, key: &str, place: &Place, edit: wire::DocumentEdit, printer: &Printer) -> Result<(), Problem> {
    let edits = wire::DocumentEdits { edits: vec![edit] };
    edited(&client.post(&place.path(key, "/edits", &[]), &edits)?, printer)
}

fn edited(document: &wire::Document, printer: &Printer) -> Result<(), Problem> {
    printer.answer(document, || match document.changed {
        Some(false) => format!("{} has this already, version {}", called(document), short(document.version.as_deref())),
        _ => format!("changed {}, version {}", called(document), short(document.version.as_deref())),
    })
}

/// The first digits of a version, as a person compares them.
fn short(version: Option<&str>) -> String {
    let heads = version.unwrap_or("0").split('.').map(|head| head.chars().take(SHORT).collect::<String>());
    heads.collect::<Vec<_>>().join(".")
}

/// Shows a value: a text as it is, all else as JSON.
fn show(document: &wire::Document, printer: &Printer) -> Result<(), Problem> {
    printer.answer(document, || match document.value.as_ref() {
        Some(Value::String(text)) => sane_lines(text),
        Some(value) => sane_lines(&serde_json::to_string_pretty(value).unwrap_or_default()),
        None => String::new(),
    })?;
    if !document.others.is_empty() {
        let others = document.others.join(", ");
        printer.warning(
            &format!("other documents have this key, too: {others}"),
            Some("`nexus-node doc name ADDRESS KEY` gives one of them another key"),
        );
    }
    if document.missing > 0 {
        printer.warning(&format!("{} changes of it have not come yet", document.missing), None);
    }
    for refused in &document.refused {
        let by = refused.by.iter().map(|by| sane(by)).collect::<Vec<_>>().join(", ");
        let hash: String = refused.hash.chars().take(SHORT).collect();
        printer.warning(&format!("a change by {by} does not count ({hash}): {}", sane(&refused.why)), None);
    }
    Ok(())
}

fn table(history: &wire::DocumentHistory, printer: &Printer) -> String {
    let mut table = Table::new(["version", "at", "by", "operations"]);
    for entry in &history.items {
        let by = entry.by.iter().map(|by| sane(by)).collect::<Vec<_>>().join(", ");
        // the first change of a key says no time: it is the same on all machines
        let at = if entry.at.starts_with("1970-01-01T00:00:00") { "-".to_owned() } else { moment(&entry.at) };
        let cells = [short(Some(&entry.version)), at, by, entry.operations.to_string()];
        table.row(cells.map(|cell| (cell, None)));
    }
    table.show(printer)
}

fn export(client: &Client, path: &str, file: &std::path::Path, printer: &Printer) -> Result<(), Problem> {
    let mut bytes = Vec::new();
    let broken = |error: io::Error| Problem::new("failed", format!("the document broke off: {error}"));
    client.bytes(path)?.read_to_end(&mut bytes).map_err(broken)?;
    if outfile::is_stdout(file) {
        return printer.raw(&bytes);
    }
    outfile::write(file, &bytes)?;
    let place = sane(&file.display().to_string());
    let wrote = serde_json::json!({ "file": file.display().to_string(), "bytes": bytes.len() });
    printer.answer(&wrote, || format!("wrote {place}, {} bytes", bytes.len()))
}

fn watch(
    client: &Client,
    key: &str,
    mut from: Option<String>,
    place: &Place,
    printer: &Printer,
) -> Result<(), Problem> {
    loop {
        match follow(client, key, &mut from, place, printer) {
            Err(problem) if problem.code == "starting" => std::thread::sleep(RETRY),
            ended => ended?,
        }
    }
}

fn follow(
    client: &Client,
    key: &str,
    from: &mut Option<String>,
    place: &Place,
    printer: &Printer,
) -> Result<(), Problem> {
    let path = place.path(key, "/changes", &[("from", from.as_deref())]);
    for line in client.lines(&path, &[("accept", "text/event-stream")])? {
        let line = line?;
        let Some(data) = line.strip_prefix("data:") else { continue };
        let change: wire::DocumentChange = serde_json::from_str(data.trim_start())
            .map_err(|error| Problem::new("failed", format!("an event cannot be understood: {error}")))?;
        printer.answer(&change, || {
            let patch = |patch: &Value| sane(&patch.to_string());
            change.patches.iter().map(patch).collect::<Vec<_>>().join("\n")
        })?;
        *from = Some(change.version);
    }
    Ok(())
}
