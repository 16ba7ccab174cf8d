use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::documents::FILE_BYTES_MAX;
use serde_json::Value;

use crate::client::{Client, escape, query};
use crate::outfile;
use crate::output::{Printer, Table, moment, sane, sane_lines};
use crate::session::CliSession;

/// The wait before a node that is starting is asked again.
const RETRY: Duration = Duration::from_millis(500);
/// The digits of a version in a table.
const SHORT: usize = 12;
/// The letters under a mark that a table shows.
const MARKED: usize = 30;

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
        /// Write it although it looks like a secret: it reaches all machines of the mesh, and stays in the history
        #[arg(long)]
        allow_secret: bool,
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
        /// Write it although it looks like a secret: it reaches all machines of the mesh, and stays in the history
        #[arg(long)]
        allow_secret: bool,
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
        /// Write it although it looks like a secret: it reaches all machines of the mesh, and stays in the history
        #[arg(long)]
        allow_secret: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Mark letters of a text, as bold or as a link
    ///
    /// A mark stays on its letters wherever others type. One of the same name takes the place of another.
    Mark {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The path of the text
        path: String,
        #[command(flatten)]
        range: Range,
        /// The name of the mark, such as `bold`
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Its value, as JSON: a text, a number, true or false; `-` reads it from stdin
        #[arg(value_name = "JSON")]
        value: String,
        /// The ends at which letters that are typed later belong to it
        #[arg(long, value_name = "ENDS", default_value = "after", value_parser = ["before", "after", "both", "none"])]
        expand: String,
        /// Write it although it looks like a secret: it reaches all machines of the mesh, and stays in the history
        #[arg(long)]
        allow_secret: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Take a mark away from letters of a text
    Unmark {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The path of the text
        path: String,
        #[command(flatten)]
        range: Range,
        /// The name of the mark
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show the marks of a text
    Marks {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The path of the text
        path: String,
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
    /// Show all values that were written to one place at once
    ///
    /// The first one is shown by `doc get`. `doc set KEY PATH JSON` decides between them.
    Conflicts {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The path
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        path: String,
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
    /// The former document stays readable by its address, and takes no edits. Edits that come meanwhile wait.
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

/// Letters of a text.
#[derive(Debug, clap::Args)]
pub(crate) struct Range {
    /// The first letter, in characters from 0
    #[arg(long, value_name = "N")]
    from: usize,
    /// The letter after the last one
    #[arg(long, value_name = "N")]
    to: usize,
    /// The version in which the positions were read: others may have typed before them since [default: the present one]
    #[arg(long, value_name = "VERSION")]
    seen: Option<String>,
}

impl Range {
    fn mark(self, path: String, name: String, value: Value, expand: wire::DocumentMarkExpand) -> wire::DocumentEdit {
        let Self { from, to, seen } = self;
        wire::DocumentEdit::Mark { path, from, to, name, value, expand, version: seen }
    }
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
        format!("/v1/documents/{}{part}{}", escape(key), query(&asked))
    }
}

impl Doc {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let (client, printer) = (session.client()?, &session.printer);
        match self {
            Self::Create { key, place } => {
                let new = wire::NewDocument { key, space: place.space };
                let created: wire::Document = client.post("/v1/documents", &new)?;
                let word = if created.changed == Some(true) { "created" } else { "found" };
                printer.answer(&created, || told(word, &created))
            }
            Self::Get { key, path, place } => {
                let asked = [("path", Some(path.as_str()).filter(|path| !path.is_empty()))];
                show(&client.get(&place.path(&key, "", &asked))?, printer)
            }
            Self::Set { key, path, value, allow_secret, place } => {
                let set = wire::DocumentEdit::Set { path, value: read(&value)? };
                edit(&client, &key, &place, (set, allow_secret), printer)
            }
            Self::Edit { key, patch, allow_secret, place } => {
                let patch = read(&patch)?;
                if !patch.is_object() {
                    return Err(Problem::new("invalid", "a merge patch is a JSON object")
                        .hint("`nexus-node doc set KEY PATH JSON` gives a path any value"));
                }
                let allow = [("allow_secret", allow_secret.then_some("true"))];
                edited(&client.patch(&place.path(&key, "", &allow), &patch)?, printer)
            }
            Self::Text { key, path, at, delete, insert, seen, allow_secret, place } => {
                if delete == 0 && insert.is_empty() {
                    return Err(Problem::new("invalid", "nothing to do: give --insert, --delete or both"));
                }
                let text = wire::DocumentEdit::Text { path, at, delete, insert, version: seen };
                edit(&client, &key, &place, (text, allow_secret), printer)
            }
            Self::Mark { key, path, range, name, value, expand, allow_secret, place } => {
                let value = read(&value)?;
                if value.is_null() {
                    return Err(Problem::new("invalid", "a mark of the value null is none")
                        .hint("`nexus-node doc unmark` takes one away"));
                }
                let mark = range.mark(path, name, value, expand_of(&expand));
                edit(&client, &key, &place, (mark, allow_secret), printer)
            }
            Self::Unmark { key, path, range, name, place } => {
                let mark = range.mark(path, name, Value::Null, wire::DocumentMarkExpand::default());
                edit(&client, &key, &place, (mark, false), printer)
            }
            Self::Marks { key, path, place } => {
                let text: wire::DocumentText = client.get(&place.path(&key, "/text", &[("path", Some(&path))]))?;
                let marks = serde_json::json!({ "items": &text.marks });
                printer.answer(&marks, || marks_table(&text, printer))
            }
            Self::History { key, limit, place } => {
                let limit = limit.to_string();
                let history: wire::DocumentHistory =
                    client.get(&place.path(&key, "/history", &[("limit", Some(&limit))]))?;
                printer.answer(&history, || table(&history, printer))
            }
            Self::Conflicts { key, path, place } => {
                let found: wire::DocumentConflicts =
                    client.get(&place.path(&key, "/conflicts", &[("path", Some(&path))]))?;
                printer.answer(&found, || conflicts(&found, printer))
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
                let all = all(&client, &place)?;
                printer.answer(&all, || {
                    if all.is_empty() {
                        return "no documents: `nexus-node doc create KEY` makes one".to_owned();
                    }
                    let mut table = Table::new(["key", "address"]);
                    for document in &all {
                        let key = match (&document.key, &document.former_key) {
                            (Some(key), _) => sane(key),
                            (None, Some(former)) => format!("(formerly {})", sane(former)),
                            (None, None) => "-".to_owned(),
                        };
                        table.row([(key, None), (document.url.clone(), None)]);
                    }
                    table.show(printer)
                })
            }
            Self::Export { key, file, place } => export(&client, &place.path(&key, "/file", &[]), &file, printer),
            Self::Import { file, key, place } => {
                let asked = [("space", place.space.as_deref()), ("key", key.as_deref())];
                let path = format!("/v1/documents{}", query(&asked));
                let taken: wire::Document = client.put_content(&path, content(&file)?.as_slice())?;
                printer.answer(&taken, || told("imported", &taken))
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

/// All documents of a space, page by page.
fn all(client: &Client, place: &Place) -> Result<Vec<wire::Document>, Problem> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let asked = [("space", place.space.as_deref()), ("after", after.as_deref())];
        let page: wire::Documents = client.get(&format!("/v1/documents{}", query(&asked)))?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// The values at one place, a line each.
fn conflicts(found: &wire::DocumentConflicts, printer: &Printer) -> String {
    if let [only] = &*found.items {
        return format!("no conflict: {}", sane(&only.value.to_string()));
    }
    let mut table = Table::new(["by", "value"]);
    for wire::DocumentConflict { by, value } in &found.items {
        let by = by.as_deref().map_or_else(|| "-".to_owned(), sane);
        table.row([(by, None), (sane(&value.to_string()), None)]);
    }
    table.show(printer)
}

/// The ends of a mark by their name, which the arguments have checked.
fn expand_of(name: &str) -> wire::DocumentMarkExpand {
    match name {
        "before" => wire::DocumentMarkExpand::Before,
        "both" => wire::DocumentMarkExpand::Both,
        "none" => wire::DocumentMarkExpand::None,
        _ => wire::DocumentMarkExpand::After,
    }
}

/// The marks of a text, a line each, with the letters that they are on.
fn marks_table(text: &wire::DocumentText, printer: &Printer) -> String {
    if text.marks.is_empty() {
        return "no marks: `nexus-node doc mark` makes one".to_owned();
    }
    let whole: Vec<char> = text.runs.iter().flat_map(|run| run.text.chars()).collect();
    let mut table = Table::new(["name", "value", "from", "to", "letters"]);
    for wire::DocumentMark { name, value, start, end } in &text.marks {
        let letters: String = whole.get(*start..*end).unwrap_or_default().iter().take(MARKED).collect();
        let more = if end - start > MARKED { "…" } else { "" };
        table.row([
            (sane(name), None),
            (sane(&value.to_string()), None),
            (start.to_string(), None),
            (end.to_string(), None),
            (format!("{}{more}", sane(&letters)), None),
        ]);
    }
    table.show(printer)
}

/// The name of a document for people: its key, or its address.
fn called(document: &wire::Document) -> String {
    document.key.as_deref().map_or_else(|| document.url.clone(), sane)
}

/// A deed to a document, with its address.
fn told(did: &str, document: &wire::Document) -> String {
    match &document.key {
        Some(key) => format!("{did} {}, {}", sane(key), document.url),
        None => format!("{did} {}", document.url),
    }
}

/// The bytes of a file or of stdin. All are read before any is sent: what breaks off here has written nothing.
pub(super) fn content(file: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: io::Error| Problem::new("invalid", format!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    let most = FILE_BYTES_MAX as u64;
    let read = match file.as_os_str() == "-" {
        true => io::stdin().lock().take(most + 1).read_to_end(&mut bytes),
        false => fs::File::open(file).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)),
    };
    read.map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(Problem::new("too_large", format!("{} has more than {most} bytes", file.display()))
            .hint("a document holds at most 16 MiB of changes"));
    }
    Ok(bytes)
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

fn edit(
    client: &Client,
    key: &str,
    place: &Place,
    (edit, allow_secret): (wire::DocumentEdit, bool),
    printer: &Printer,
) -> Result<(), Problem> {
    let edits = wire::DocumentEdits { edits: vec![edit], allow_secret };
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
    for former in &document.former {
        printer.warning(
            &format!("{} entries about the former document {} are not in this one", former.later, former.url),
            Some(&format!("`nexus-node doc get {}` shows it, `nexus-node doc history` who wrote last", former.url)),
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

fn export(client: &Client, path: &str, file: &Path, printer: &Printer) -> Result<(), Problem> {
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
