use clap::Args;
use nexus_node::api::{Problem, wire};

use super::get::imported_by;
use crate::client::query;
use crate::output::{Printer, Style, Table, in_a_line, moment, sane, short_did, width};
use crate::session::CliSession;

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
    /// Only memories without aliases, as for an agent that gives them some
    #[arg(long)]
    no_aliases: bool,
    /// The `next` of an earlier page, to go on after it
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

impl List {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let limit = self.limit.to_string();
        let parameters = [
            ("space", self.space.as_deref()),
            ("limit", Some(limit.as_str())),
            ("no_aliases", self.no_aliases.then_some("true")),
            ("after", self.after.as_deref()),
        ];
        let listing: wire::Listing = session.client()?.get(&format!("/v1/memories{}", query(&parameters)))?;
        session.printer.answer(&listing, || text(&listing, &session.printer))?;
        if let Some(next) = &listing.next {
            let no_aliases = if self.no_aliases { " --no-aliases" } else { "" };
            session.printer.note(&format!("more: `nexus-node list{no_aliases} --after {next}`"));
        }
        Ok(())
    }
}

fn text(listing: &wire::Listing, printer: &Printer) -> String {
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
