use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;

use super::get::imported_by;
use crate::client::{Client, query};
use crate::output::{Printer, Style, Table, in_a_line, moment, sane, short_did, width};
use crate::session::{CliSession, quoted};

/// The letters of an id that the table shows. `get` takes any prefix that fits one memory only.
const LETTERS_SHOWN: usize = 12;
/// The width of that column: the letters, and a number for memories written together.
const ID_WIDTH: usize = LETTERS_SHOWN + 4;

/// List memories, newest first
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The space [default: all readable ones]
    #[arg(long)]
    space: Option<String>,
    /// The most memories
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// Only memories with this tag; repeated, with all of them
    #[arg(long = "tag", value_name = "T")]
    tags: Vec<String>,
    /// Only memories of this kind; repeated, of any of them
    #[arg(long = "kind", value_name = "K")]
    kinds: Vec<String>,
    /// Only memories of this project
    #[arg(long, value_name = "P")]
    project: Option<String>,
    /// Only memories that were changed in two ways at once, and wait for a decision
    #[arg(long)]
    conflicts: bool,
    /// Only memories without aliases, as for an agent that gives them some
    #[arg(long)]
    no_aliases: bool,
    /// The `next` of an earlier page, to go on after it
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

impl List {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let mut listing = self.page(&client, self.after.as_deref(), self.limit.into())?;
        // a page may end after many memories that the conditions leave out
        while let Some(next) = listing.next.take() {
            let left = usize::from(self.limit).saturating_sub(listing.items.len());
            if left == 0 {
                listing.next = Some(next);
                break;
            }
            let more = self.page(&client, Some(&next), left)?;
            listing.items.extend(more.items);
            listing.next = more.next;
        }
        session.printer.answer(&listing, || text(&listing, &session.printer, self.is_narrowed()))?;
        if let Some(next) = &listing.next {
            session.printer.note(&format!("more: `nexus-node list{} --after {next}`", self.conditions()));
        }
        Ok(())
    }

    fn page(&self, client: &Client, after: Option<&str>, limit: usize) -> Result<wire::Listing, Problem> {
        let limit = limit.to_string();
        let mut parameters = vec![
            ("space", self.space.as_deref()),
            ("limit", Some(limit.as_str())),
            ("project", self.project.as_deref()),
            ("conflicts", self.conflicts.then_some("true")),
            ("no_aliases", self.no_aliases.then_some("true")),
            ("after", after),
        ];
        parameters.extend(self.tags.iter().map(|tag| ("tag", Some(tag.as_str()))));
        parameters.extend(self.kinds.iter().map(|kind| ("kind", Some(kind.as_str()))));
        client.get(&format!("/v1/memories{}", query(&parameters)))
    }

    fn is_narrowed(&self) -> bool {
        !self.conditions().is_empty()
    }

    /// The flags that narrow the list, for a shell.
    fn conditions(&self) -> String {
        let named = |flag: &str, values: &[String]| -> String {
            values.iter().map(|value| format!(" --{flag} {}", quoted(value))).collect()
        };
        let one = |flag, value: &Option<String>| named(flag, value.as_slice());
        let set = |flag: &str, is_set| if is_set { format!(" --{flag}") } else { String::new() };
        [
            one("space", &self.space),
            named("tag", &self.tags),
            named("kind", &self.kinds),
            one("project", &self.project),
            set("conflicts", self.conflicts),
            set("no-aliases", self.no_aliases),
        ]
        .concat()
    }
}

fn text(listing: &wire::Listing, printer: &Printer, is_narrowed: bool) -> String {
    if listing.items.is_empty() && is_narrowed {
        return "no memory has all of that; `nexus-node list` shows all".to_owned();
    }
    if listing.items.is_empty() {
        return "nothing remembered yet; `nexus-node remember TEXT` does".to_owned();
    }
    let mut table = Table::new(["ID", "CREATED", "AUTHOR", "TEXT"]);
    let rest = width().saturating_sub(ID_WIDTH + 2 + 19 + 2 + 12 + 2).max(20);
    for memory in &listing.items {
        let conflict = if memory.conflicts.is_empty() { "" } else { "(conflict) " };
        let until = memory.valid_to.as_ref().map_or_else(String::new, |at| format!("(until {}) ", moment(at)));
        let imported = memory.imported.as_ref().map(|from| format!("(imported; {}) ", sane(&imported_by(from))));
        table.row([
            (short_id(&memory.id), Some(Style::Bold)),
            created(memory),
            (memory.author_name.clone().unwrap_or_else(|| short_did(&memory.author)), None),
            (format!("{conflict}{until}{}{}", imported.unwrap_or_default(), in_a_line(&memory.text, rest)), None),
        ]);
    }
    table.show(printer)
}

/// The time of a memory. Where its author's clock was ahead, it is the time at which the memory came.
fn created(memory: &wire::Memory) -> (String, Option<Style>) {
    match &memory.seen_at {
        Some(at) => (format!("{} (clock ahead)", moment(at)), Some(Style::Odd)),
        None => (moment(&memory.created_at), None),
    }
}

/// An id, shortened in the middle: `abcdefghijklmnopqrstuvwx.7` is `abcdefghijkl.7`.
pub(super) fn short_id(id: &str) -> String {
    let (letters, number) = id.find('.').map_or((id, ""), |at| id.split_at(at));
    format!("{}{number}", letters.get(..LETTERS_SHOWN).unwrap_or(letters))
}
