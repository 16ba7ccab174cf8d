use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;
use serde::Serialize;

use crate::client::{Client, escape, query};
use crate::output::{first_line, sane};
use crate::session::CliSession;

/// The fewest characters of an id: a slip of the hand must not fit another memory.
const ID_CHARS_MIN: usize = 8;
/// The fewest letters that are the beginning of an id at all.
const LETTERS_MIN: usize = 4;
/// The columns of the text that is shown.
const COLUMNS: usize = 60;
/// The beginning of a document's address.
const DOCUMENT: &str = "automerge:";
/// The most things that one request erases.
const ERASED_AT_ONCE: usize = 1_024;

/// Remove memories on all nodes, for good
#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// Their ids, at least 8 characters of each, or their keys; with --erase also addresses of documents and ids of tasks
    #[arg(value_name = "ID", required_unless_present_any = ["tags", "by", "space", "project"])]
    ids: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write a forgotten one again, under a new id
    #[arg(long, conflicts_with = "erase")]
    undo: bool,
    /// With --undo: write it although it looks like a secret
    #[arg(long, requires = "undo")]
    allow_secret: bool,
    /// Erase them from the disks of all members, with all their versions
    #[arg(long)]
    erase: bool,
    /// With --erase: all memories with this tag; repeated, with all of them
    #[arg(long = "tag", value_name = "T", requires = "erase", conflicts_with = "ids")]
    tags: Vec<String>,
    /// With --erase: all memories of this member, by its name or DID
    #[arg(long, value_name = "WHO", requires = "erase", conflicts_with = "ids")]
    by: Option<String>,
    /// With --erase: all memories of this space; alone, its documents, too
    #[arg(long, value_name = "S", requires = "erase", conflicts_with = "ids")]
    space: Option<String>,
    /// With --erase: all memories of this project
    #[arg(long, value_name = "P", requires = "erase", conflicts_with = "ids")]
    project: Option<String>,
}

/// The memory that is gone.
#[derive(Serialize)]
struct Gone {
    /// The id as it was given.
    id: String,
    forgotten: bool,
    text: String,
    author: String,
}

/// The memory that is there again.
#[derive(Serialize)]
struct Back {
    id: String,
    /// The id before it was forgotten.
    was: Option<String>,
    forgotten: bool,
    text: String,
    author: String,
}

impl Forget {
    /// Shows what it takes, and asks on a terminal.
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        if self.erase {
            return self.erase(&client, session);
        }
        for id in &self.ids {
            if self.undo { undo(id, self.allow_secret, &client, session)? } else { self.forget(id, &client, session)? }
        }
        Ok(())
    }

    fn forget(&self, id: &str, client: &Client, session: &CliSession) -> Result<(), Problem> {
        if id.starts_with(DOCUMENT) {
            let problem = Problem::new("invalid", "a document is erased, with all that was ever in it, or it stays");
            return Err(problem.hint(format!("`nexus-node forget --erase {id}` erases it")));
        }
        let memory = find(id, client)?;
        let shown = shown(&memory);
        if !self.yes && session.printer.asks() {
            session.printer.confirm(&format!("{shown} goes on all nodes, whatever is edited elsewhere meanwhile."))?;
        }
        let forgotten: wire::Forgotten = client.delete(&format!("/v1/memories/{}", escape(&memory.id)))?;
        let gone = Gone {
            id: id.to_owned(),
            forgotten: forgotten.forgotten,
            text: memory.text.clone(),
            author: memory.author.clone(),
        };
        session.printer.answer(&gone, || format!("forgot {}: {shown}", memory.id))?;
        session.printer.note(&format!(
            "`nexus-node forget --undo {0}` writes it again, `nexus-node forget --erase {0}` takes it from the disks",
            memory.id
        ));
        Ok(())
    }

    /// Shows how many memories go, and asks on a terminal.
    fn erase(&self, client: &Client, session: &CliSession) -> Result<(), Problem> {
        let ids = if self.ids.is_empty() { self.selected(client)? } else { self.ids.clone() };
        let question = match ids.as_slice() {
            [] => {
                return session
                    .printer
                    .answer(&Vec::<wire::ErasedItem>::new(), || "no memory has all of that".to_owned());
            }
            [id] if id.starts_with(DOCUMENT) => self.shown_document(id, client)?,
            [id] => match find(id, client) {
                Ok(memory) => shown(&memory),
                // a forgotten one is found by its id alone
                Err(problem) if problem.code == "not_found" && id.chars().count() >= ID_CHARS_MIN => sane(id),
                Err(problem) => return Err(problem),
            },
            ids => counted(ids),
        };
        if !self.yes && session.printer.asks() {
            session
                .printer
                .confirm(&format!("{question}: erased on every member's disk, with all versions, for good."))?;
        }
        let mut items = Vec::with_capacity(ids.len());
        for some in ids.chunks(ERASED_AT_ONCE) {
            let erased: wire::Erased = client.post("/v1/erasures", &wire::Erase { ids: some.to_vec() })?;
            items.extend(erased.items);
        }
        let refused = items.iter().filter(|item| !item.erased).count();
        match items.as_slice() {
            [item] => session.printer.answer(item, || line(item))?,
            items => session.printer.answer(&items, || {
                let lines = items.iter().filter(|item| !item.erased || !item.others.is_empty()).map(line);
                let all = format!("erased {} of {}", items.len() - refused, counted(&ids));
                lines.chain([all]).collect::<Vec<_>>().join("\n")
            })?,
        }
        if let Some(first) = items.iter().find(|item| item.erased) {
            session.printer.note(&format!(
                "`nexus-node erase status {}` shows which members have done so, `nexus-node compact` frees the bytes here now",
                first.id
            ));
        }
        Ok(())
    }

    /// The ids of all memories that the conditions name.
    fn selected(&self, client: &Client) -> Result<Vec<String>, Problem> {
        let (mut ids, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut parameters = vec![
                ("space", self.space.as_deref()),
                ("limit", Some("1000")),
                ("project", self.project.as_deref()),
                ("after", after.as_deref()),
            ];
            parameters.extend(self.tags.iter().map(|tag| ("tag", Some(tag.as_str()))));
            let page: wire::Listing = client.get(&format!("/v1/memories{}", query(&parameters)))?;
            let by = |memory: &wire::Memory| {
                self.by.as_deref().is_none_or(|by| memory.author == by || memory.author_name.as_deref() == Some(by))
            };
            ids.extend(page.items.into_iter().filter(by).map(|memory| memory.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if self.tags.is_empty() && self.by.is_none() && self.project.is_none() {
            ids.extend(self.documents(client)?);
        }
        Ok(ids)
    }

    /// The addresses of all documents of the space.
    fn documents(&self, client: &Client) -> Result<Vec<String>, Problem> {
        let (mut ids, mut after) = (Vec::new(), None::<String>);
        loop {
            let parameters = [("space", self.space.as_deref()), ("after", after.as_deref())];
            let page = client.get::<wire::Documents>(&format!("/v1/documents{}", query(&parameters)));
            let page = match page {
                // a node without documents has none
                Err(problem) if problem.code == "not_found" && after.is_none() => return Ok(ids),
                page => page?,
            };
            ids.extend(page.items.into_iter().map(|document| document.url));
            after = page.next;
            if after.is_none() {
                return Ok(ids);
            }
        }
    }

    fn shown_document(&self, id: &str, client: &Client) -> Result<String, Problem> {
        match client.get::<wire::Document>(&format!("/v1/documents/{}", escape(id))) {
            Ok(document) => Ok(format!("the document {}", sane(document.key.as_deref().unwrap_or(id)))),
            // of a space that is named nowhere
            Err(problem) if problem.code == "not_found" => Ok(sane(id)),
            Err(problem) => Err(problem),
        }
    }
}

/// The number of things, as a person says it.
fn counted(ids: &[String]) -> String {
    let documents = ids.iter().filter(|id| id.starts_with(DOCUMENT)).count();
    match (ids.len() - documents, documents) {
        (memories, 0) => format!("{memories} memories"),
        (0, documents) => format!("{documents} documents"),
        (memories, documents) => format!("{memories} memories and {documents} documents"),
    }
}

/// The memory that an id or a key names. An id has some letters, so that a slip of the hand fits no other one.
fn find(id: &str, client: &Client) -> Result<wire::Memory, Problem> {
    let memory: wire::Memory = client.get(&format!("/v1/memories/{}", escape(id)))?;
    // a key is whole, however short it is
    let is_short = id.chars().count() < ID_CHARS_MIN && id.len() >= LETTERS_MIN;
    if is_short && memory.id.starts_with(&id.to_lowercase()) { Err(too_short()) } else { Ok(memory) }
}

fn too_short() -> Problem {
    let problem = Problem::new("invalid", format!("an id has at least {ID_CHARS_MIN} characters here"));
    problem.hint("`nexus-node list` shows the ids")
}

fn shown(memory: &wire::Memory) -> String {
    let by = memory.author_name.as_deref().unwrap_or(&memory.author);
    format!("\"{}\" by {}", first_line(&memory.text, COLUMNS), sane(by))
}

/// The fate of a memory, for a person.
fn line(item: &wire::ErasedItem) -> String {
    let others = item.others.iter().map(|name| sane(name)).collect::<Vec<_>>().join(", ");
    match &item.why {
        Some(why) if item.forgotten => format!("only forgot {}: {}", item.id, sane(why)),
        Some(why) => format!("left {} as it is: {}", item.id, sane(why)),
        None if others.is_empty() => format!("erased {}", item.id),
        None => format!("erased {}; {others} wrote versions of it, which their nodes erase", item.id),
    }
}

fn undo(id: &str, allow_secret: bool, client: &Client, session: &CliSession) -> Result<(), Problem> {
    if id.chars().count() < ID_CHARS_MIN {
        return Err(too_short());
    }
    let path = format!("/v1/memories/{}/unforget", escape(id));
    let memory: wire::Memory = client.post(&path, &wire::Unforget { allow_secret })?;
    let back = Back {
        id: memory.id.clone(),
        was: memory.was.clone(),
        forgotten: false,
        text: memory.text.clone(),
        author: memory.author.clone(),
    };
    let text = first_line(&memory.text, COLUMNS);
    session.printer.answer(&back, || format!("wrote it again as {}: \"{text}\"", memory.id))
}
