use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use data_encoding::BASE64;
use nexus_client::wire;
use nexus_node::api::Problem;

use crate::client::{Client, escape, query};
use crate::outfile;
use crate::output::{Printer, Style, Table, called, first_line, sane, sane_lines, short_did, span, width};
use crate::session::{CliSession, text};

/// The keys of a page.
const PAGE: &str = "1000";
/// An example of a transaction.
const TXN: &str = r#"{"checks": [{"key": "a", "exists": false}], "then": [{"put": {"key": "a", "value": "1"}}], "else": [{"get": "a"}]}"#;
/// The longest wait of one poll of a watch.
const POLL: &str = "30s";
/// The wait of a watch for a node that has no quorum, or is starting again.
const RETRY: Duration = Duration::from_millis(500);

/// Keys that must not conflict: a quorum decides each write
#[derive(Debug, Subcommand)]
pub(crate) enum Kv {
    /// Show a key: its value as text, or the bytes as they are
    Get {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// Read this node's copy, without asking a quorum
        #[arg(long)]
        local: bool,
        /// Write the value into this file, byte for byte; `-` is stdout
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Write a key
    ///
    /// Every member of the mesh can read all keys, and their values are on every member's disk.
    Put {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        #[command(flatten)]
        value: GivenValue,
        #[command(flatten)]
        options: WriteOptions,
    },
    /// Delete a key
    Delete {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// Write only if this token of a lock is good at that moment
        #[arg(long, value_name = "TOKEN")]
        fence: Option<u64>,
        #[command(flatten)]
        once: Once,
    },
    /// Write a key if it is as expected
    Cas {
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The value that it must have
        #[arg(long, value_name = "VALUE", required_unless_present = "absent", conflicts_with = "absent")]
        expect: Option<String>,
        /// The key must not exist
        #[arg(long)]
        absent: bool,
        #[command(flatten)]
        value: GivenValue,
        #[command(flatten)]
        options: WriteOptions,
    },
    /// List the keys, in order
    List {
        /// The prefix of their names
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Do several steps at one revision, or none: a JSON document `{checks, then, else}`
    Txn {
        /// The file; `-` reads stdin
        file: String,
        /// Write values although they look like secrets: they reach all machines of the mesh
        #[arg(long)]
        allow_secret: bool,
        #[command(flatten)]
        once: Once,
    },
    /// Tell the end of a write or a lock that was unknown
    ///
    /// From then on it is certain: a request that did not happen until now never will. Ask the node that the request was
    /// made at.
    Outcome {
        /// The id, from the error of the request
        id: String,
    },
    /// Show changes of keys and locks as they happen, with their authors, until stopped
    Watch {
        /// The prefix of their names
        prefix: String,
        /// The revision to start after [default: from now on]
        #[arg(long, value_name = "REVISION")]
        after: Option<u64>,
    },
}

/// The value for a key.
#[derive(Debug, Args)]
pub(crate) struct GivenValue {
    /// The value; `-` reads it from stdin, without the last line's end
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    value: Option<String>,
    /// Take the value from this file, byte for byte; `-` is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The id of a request, by which it is done once.
#[derive(Debug, Args)]
pub(crate) struct Once {
    /// An id of your choice for this change; asked again with it, this node answers as the first time
    #[arg(long, value_name = "ID", value_parser = request_id)]
    pub(crate) request: Option<String>,
}

/// An id that a header can carry.
fn request_id(text: &str) -> Result<String, String> {
    let good = (1..=255).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
    if good {
        Ok(text.to_owned())
    } else {
        Err("an id has 1 to 255 letters, digits and signs, and no spaces".to_owned())
    }
}

/// The options for writing a key.
#[derive(Debug, Args)]
pub(crate) struct WriteOptions {
    /// Write only if this token of a lock is good at that moment
    #[arg(long, value_name = "TOKEN")]
    fence: Option<u64>,
    /// The lifetime of the key from its last write on
    #[arg(long, value_name = "TIME")]
    ttl: Option<wire::Span>,
    /// Write it although it looks like a secret: it reaches all machines of the mesh
    #[arg(long)]
    allow_secret: bool,
    #[command(flatten)]
    once: Once,
}

impl Kv {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let printer = &session.printer;
        match self {
            Self::Get { key, local, file } => {
                let local = local.then_some("true");
                let item: wire::KvItem = client.get(&format!("{}{}", path(&key), query(&[("local", local)])))?;
                show(&item, file.as_deref(), printer)?;
                if item.local {
                    printer.note(&age(&item));
                }
                Ok(())
            }
            Self::Put { key, value, options } => {
                let (put, request) = put(value, options)?;
                written(&client.once(request).put(&path(&key), &put)?, printer)
            }
            Self::Delete { key, fence, once } => {
                let fence = fence.map(|fence| fence.to_string());
                let deleted: wire::KvWritten = client.once(once.request).delete(&format!(
                    "{}{}",
                    path(&key),
                    query(&[("fence", fence.as_deref())])
                ))?;
                printer.answer(&deleted, || format!("deleted {}, revision {}", sane(&deleted.key), deleted.revision))
            }
            Self::Cas { key, expect, absent, value, options } => {
                let (put, request) = put(value, options)?;
                let put = wire::KvPut { expect, absent, ..put };
                written(&client.once(request).put(&path(&key), &put)?, printer)
            }
            Self::List { prefix } => list(&client, &prefix, printer),
            Self::Txn { file, allow_secret, once } => txn(&client.once(once.request), &file, allow_secret, printer),
            Self::Outcome { id } => outcome(&client, &id, printer),
            Self::Watch { prefix, after } => watch(&client, &prefix, after, printer),
        }
    }
}

fn outcome(client: &Client, id: &str, printer: &Printer) -> Result<(), Problem> {
    let answer: wire::RequestOutcome = client.get(&format!("/v1/outcomes/{}", escape(id)))?;
    printer.answer(&answer, || {
        let because = |otherwise: &str| answer.reason.as_deref().map_or_else(|| otherwise.to_owned(), sane);
        match answer.outcome {
            wire::OutcomeWord::Done => match (answer.revision, answer.token) {
                (Some(revision), _) => format!("done, revision {revision}"),
                (None, Some(token)) => {
                    format!("done: token {token}, given back unless it was asked for with --request")
                }
                (None, None) => "done".to_owned(),
            },
            wire::OutcomeWord::Refused => format!("refused: {}", because("it did not happen, and never will")),
            wire::OutcomeWord::Unknown => format!("unknown: {}", because("nobody can say yet")),
            wire::OutcomeWord::Forgotten => "forgotten: nobody can say any more, so look at the keys".to_owned(),
        }
    })
}

fn path(key: &str) -> String {
    format!("/v1/kv/{}", escape(key))
}

/// The document of a value, with options, and the id of the request. Bytes of a file that are text go as text.
fn put(given: GivenValue, options: WriteOptions) -> Result<(wire::KvPut, Option<String>), Problem> {
    let request = options.once.request;
    let put = wire::KvPut {
        ttl: options.ttl,
        fence: options.fence,
        allow_secret: options.allow_secret,
        ..wire::KvPut::default()
    };
    let Some(file) = given.file else {
        let value = text(given.value.unwrap_or_default());
        let hint = "`--file -` takes stdin byte for byte";
        return Ok((wire::KvPut { value: Some(value.map_err(|problem| problem.hint(hint))?), ..put }, request));
    };
    let bytes = if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(&file)
    };
    let bytes = bytes.map_err(|error| Problem::new("invalid", format!("{}: {error}", file.display())))?;
    let put = match String::from_utf8(bytes) {
        Ok(text) => wire::KvPut { value: Some(text), ..put },
        Err(bytes) => wire::KvPut { value_base64: Some(BASE64.encode(bytes.as_bytes())), ..put },
    };
    Ok((put, request))
}

/// Shows a value: text as a line, other bytes and those for a file as they are. A terminal gets nothing
/// that it would obey.
fn show(item: &wire::KvItem, file: Option<&Path>, printer: &Printer) -> Result<(), Problem> {
    let bytes = || item.bytes().map_err(|error| Problem::new("failed", error));
    match (file, &item.value) {
        (Some(path), _) if !outfile::is_stdout(path) => {
            outfile::write(path, &bytes()?)?;
            let place = sane(&path.display().to_string());
            printer.answer(item, || format!("wrote {place}, revision {}", item.revision))
        }
        (Some(_), _) => printer.raw(&bytes()?),
        (None, None) if !printer.json() && io::stdout().is_terminal() => {
            let hint = "`--file FILE` writes them into a file, and `--file -` to a pipe";
            Err(Problem::new("invalid", format!("the value is {} bytes that are no text", bytes()?.len())).hint(hint))
        }
        (None, None) if !printer.json() => printer.raw(&bytes()?),
        (None, text) => printer.answer(item, || {
            let text = text.clone().unwrap_or_default();
            if io::stdout().is_terminal() { sane_lines(&text) } else { text }
        }),
    }
}

/// A value in a line: text, or the number of bytes.
fn brief(value: Option<&str>, base64: Option<&str>, columns: usize) -> Option<String> {
    let bytes = |base64: &str| BASE64.decode(base64.as_bytes()).map_or(0, |bytes| bytes.len());
    value.map(|text| first_line(text, columns)).or_else(|| Some(format!("({} bytes)", bytes(base64?))))
}

fn written(written: &wire::KvWritten, printer: &Printer) -> Result<(), Problem> {
    printer.answer(written, || format!("wrote {}, revision {}", sane(&written.key), written.revision))
}

fn age(item: &wire::KvItem) -> String {
    match item.age_ms {
        Some(ms) => format!("from this node's copy; it was in contact with a quorum {ms} ms ago"),
        None => "from this node's copy; it has not been in contact with a quorum since it started".to_owned(),
    }
}

/// Prints all keys. Several pages may show several moments.
fn list(client: &Client, prefix: &str, printer: &Printer) -> Result<(), Problem> {
    let mut whole: Option<wire::KvPage> = None;
    loop {
        let after = whole.as_ref().and_then(|page| page.next.clone());
        let asked = query(&[("prefix", Some(prefix)), ("limit", Some(PAGE)), ("after", after.as_deref())]);
        let mut page: wire::KvPage = client.get(&format!("/v1/kv{asked}"))?;
        if let Some(before) = whole {
            page.items.splice(0..0, before.items);
        }
        let last = page.next.is_none();
        whole = Some(page);
        if last {
            break;
        }
    }
    let Some(page) = whole else { return Ok(()) };
    printer.answer(&page, || table(&page.items, client, printer))
}

/// A table with names, if the node tells them.
fn table(items: &[wire::KvItem], client: &Client, printer: &Printer) -> String {
    if items.is_empty() {
        return "no such keys; `nexus-node kv put KEY VALUE` writes one".to_owned();
    }
    let members: Vec<wire::Member> = client.get("/v1/members").unwrap_or_default();
    let name = |did: &str| called(&members, did);
    let columns = width().saturating_sub(60).max(20);
    let mut table = Table::new(["KEY", "REVISION", "LIVES", "BY", "VALUE"]);
    for item in items {
        table.row([
            (item.key.clone(), Some(Style::Bold)),
            (item.revision.to_string(), None),
            (item.ttl_ms.map_or_else(|| "-".to_owned(), |ms| span(ms / 1_000)), None),
            (name(&item.by), None),
            (brief(item.value.as_deref(), item.value_base64.as_deref(), columns).unwrap_or_default(), None),
        ]);
    }
    table.show(printer)
}

fn txn(client: &Client, file: &str, allow_secret: bool, printer: &Printer) -> Result<(), Problem> {
    let document = match file {
        "-" => text("-".to_owned())?,
        path => fs::read_to_string(path).map_err(|error| Problem::new("invalid", format!("{path}: {error}")))?,
    };
    let txn = serde_json::from_str(&document).and_then(serde_json::from_value::<serde_json::Map<_, _>>);
    let txn = txn.and_then(|members| serde_json::from_value::<wire::KvTxn>(members.into()));
    let mut txn = txn.map_err(|error| {
        Problem::new("invalid", format!("{file}: {error}")).hint(format!("it looks like this: {TXN}"))
    })?;
    txn.allow_secret |= allow_secret;
    let done: wire::KvTxnDone = client.post("/v1/kv", &txn)?;
    printer.answer(&done, || {
        let held = match done.held {
            true => printer.paint(Style::Good, "the checks held: `then` was done"),
            false => printer.paint(Style::Odd, "a check did not hold: `else` was done"),
        };
        let there: Vec<wire::KvItem> = done.items.iter().flatten().cloned().collect();
        let items = if there.is_empty() { String::new() } else { format!("\n{}", table(&there, client, printer)) };
        format!("{held}, revision {}{items}", done.revision)
    })
}

/// Prints changes. It goes on through a time without a quorum, and catches up afterwards.
fn watch(client: &Client, prefix: &str, after: Option<u64>, printer: &Printer) -> Result<(), Problem> {
    let mut after = after;
    let mut without = false;
    loop {
        let from = after.map(|after| after.to_string());
        let wait = after.is_some().then_some(POLL);
        let asked = query(&[("prefix", Some(prefix)), ("after", from.as_deref()), ("wait", wait)]);
        let changes: wire::KvChanges = match client.get(&format!("/v1/watch{asked}")) {
            Ok(changes) => changes,
            Err(problem) if ["no_quorum", "starting"].contains(&problem.code) => {
                if !std::mem::replace(&mut without, true) {
                    printer.warning(&problem.message, Some("this goes on when that is over"));
                }
                std::thread::sleep(RETRY);
                continue;
            }
            Err(problem) => return Err(problem),
        };
        without = false;
        if changes.missed {
            let hint = "`nexus-node kv list` shows the keys as they are now";
            printer.warning("some changes are not kept any more", Some(hint));
        }
        for change in &changes.changes {
            printer.answer(change, || line(change, printer))?;
        }
        after = Some(changes.revision);
    }
}

fn line(change: &wire::KvChange, printer: &Printer) -> String {
    let wire::KvChange { revision, kind, key, value, value_base64, token, stolen_from, by, by_name } = change;
    let value = brief(value.as_deref(), value_base64.as_deref(), 60);
    let style = match kind.as_str() {
        "put" | "lock_acquired" => Style::Good,
        "lock_stolen" => Style::Bad,
        _ => Style::Odd,
    };
    let what = match (value, token, stolen_from) {
        (Some(value), ..) => format!(" = {value}"),
        (None, Some(token), Some(from)) => format!(", token {token}, from {}", short_did(from)),
        (None, Some(token), None) => format!(", token {token}"),
        (None, None, _) => String::new(),
    };
    let by = by_name.as_deref().map_or_else(|| short_did(by), sane);
    let kind = printer.paint(style, &format!("{:<13}", kind.replace('_', " ")));
    format!("{revision:>6}  {kind}  {}{what}  by {by}", sane(key))
}
