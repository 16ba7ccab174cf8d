use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::mcp::name_as_word;

use super::get::imported_by;
use super::list::short_id;
use crate::client::query;
use crate::output::{Printer, Style, in_a_line, moment, sane, short_did, size, width};
use crate::session::{CliSession, text};

/// The header that tells of cut results.
const TRUNCATED: &str = "nexus-truncated";
/// The header with the part of all memories that was searched, while the index is made.
const INDEXED: &str = "nexus-indexed";
/// The header that says that the embedder fails.
const WORDS_ALONE: &str = "nexus-words-alone";
/// The longest question that is read, in bytes.
const QUERY_BYTES_MAX: usize = 8 << 10;
/// The most columns of a part of a long text.
const PASSAGE_WIDTH: usize = 400;
/// The default number of memories.
const LIMIT: u16 = 10;

/// Find memories, best first
#[derive(Debug, Args)]
pub(crate) struct Recall {
    /// A question, or words; `-` reads stdin
    query: String,
    /// The same in other words; up to three times
    #[arg(long = "or", value_name = "TEXT")]
    or: Vec<String>,
    /// Only memories that answer it with this chance or a higher one
    #[arg(long, value_name = "0.25", value_parser = share)]
    min: Option<f64>,
    /// The space; may be given several times [default: all readable ones]
    #[arg(long = "space", value_name = "S")]
    spaces: Vec<String>,
    /// The most memories
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// A tag that they have; may be given several times
    #[arg(long = "tag", value_name = "T")]
    tags: Vec<String>,
    /// Their kind; with several, any of them
    #[arg(long = "kind", value_name = "K")]
    kinds: Vec<String>,
    /// Their author: a member by DID or name, or else a program by its name
    #[arg(long, value_name = "DID|NAME|PROGRAM")]
    by: Option<String>,
    /// Only those edited or created within this time
    #[arg(long, value_name = "7d")]
    since: Option<wire::Span>,
    /// The time at which they hold, by what is known now: `2026-01-15`, RFC 3339, or `ever` for any [default: now]
    #[arg(long, value_name = "TIME")]
    valid_at: Option<String>,
    /// As many as fit into this number of tokens
    #[arg(long, value_name = "N")]
    tokens: Option<u32>,
}

impl Recall {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let mut words = text(self.query)?;
        // The rest of a longer question is not read, since an address has a limit.
        while words.len() > QUERY_BYTES_MAX {
            words.pop();
        }
        let limit = self.limit.to_string();
        let since = self.since.map(|since| wire::show_duration(since.0));
        let tokens = self.tokens.map(|tokens| tokens.to_string());
        let min = self.min.map(|min| min.to_string());
        let mut parameters = vec![
            ("q", Some(words.as_str())),
            ("min", min.as_deref()),
            ("limit", Some(limit.as_str())),
            ("by", self.by.as_deref()),
            ("since", since.as_deref()),
            ("tokens", tokens.as_deref()),
            ("valid_at", self.valid_at.as_deref()),
        ];
        for (name, values) in [("q", &self.or), ("space", &self.spaces), ("tag", &self.tags), ("kind", &self.kinds)] {
            parameters.extend(values.iter().map(|value| (name, Some(value.as_str()))));
        }
        let path = format!("/v1/memories{}", query(&parameters));
        let (hits, [truncated, indexed, words_alone]): (Vec<wire::Hit>, _) =
            session.client()?.get_with(&path, [TRUNCATED, INDEXED, WORDS_ALONE])?;
        session.printer.answer(&hits, || show(&hits, &session.printer))?;
        if !indexed.is_empty() {
            session.printer.note(&format!("index: {indexed} of the memories were searched, the rest soon will be"));
        }
        if words_alone == "true" {
            session.printer.note("words alone were searched: the embedder fails, `nexus-node doctor` says how");
        }
        if truncated == "true" {
            session.printer.note("there is more: a higher `--limit` or `--tokens` shows it");
        }
        Ok(())
    }
}

/// A share of all, 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// A hit in three lines: its text, its data, and its reason.
fn show(hits: &[wire::Hit], printer: &Printer) -> String {
    if hits.is_empty() {
        return "nothing speaks of that; `nexus-node list` shows what there is".to_owned();
    }
    let mut lines = Vec::new();
    if hits.iter().all(|hit| !hit.telling) {
        let nearest = "nothing speaks of that; ask in other words with `--or`. The nearest, by a word or two:";
        lines.push(printer.paint(Style::Odd, nearest));
    }
    for hit in hits {
        let memory = &hit.memory;
        // a line break is a space here, and no sign that is shown
        let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown = match &hit.passage {
            Some(passage) => in_a_line(&joined(passage), PASSAGE_WIDTH),
            None => in_a_line(&joined(&memory.text), width().saturating_sub(2).max(20)),
        };
        lines.push(printer.paint(Style::Bold, &shown));
        let mut about = vec![
            short_id(&memory.id),
            format!("{:.0}%{}", hit.score * 100.0, if hit.weak { " weak" } else { "" }),
            // agents read this line, too: a tag is not to look like another author
            memory.author_name.as_deref().map_or_else(|| short_did(&memory.author), name_as_word),
            moment(&memory.updated_at),
            name_as_word(&memory.space),
        ];
        about.extend(memory.tags.iter().map(|tag| format!("#{}", name_as_word(tag))));
        about.extend(memory.imported.as_ref().map(|from| format!("imported; {}", imported_by(from))));
        about.extend(memory.valid_to.as_ref().map(|at| format!("until {}", moment(at))));
        about.extend(hit.passage.as_ref().map(|_| format!("a part; whole: nexus-node get {}", short_id(&memory.id))));
        about.extend(memory.attachment.as_ref().map(|whole| format!("{} in all", size(whole.bytes))));
        about.extend((!memory.conflicts.is_empty()).then(|| "conflict".to_owned()));
        lines.push(printer.paint(Style::Dim, &format!("  {}", sane(&about.join("  ")))));
        lines.push(printer.paint(Style::Dim, &format!("  {}", sane(&hit.why))));
        if !hit.same.is_empty() {
            let same: Vec<String> = hit.same.iter().map(|id| short_id(id)).collect();
            lines.push(printer.paint(Style::Dim, &format!("  the same: {}", same.join(", "))));
        }
        if !hit.contradicts.is_empty() {
            let others: Vec<String> = hit.contradicts.iter().map(|id| short_id(id)).collect();
            let settle = "`nexus-node edit ID --valid-to now` ends what no longer holds";
            let line = format!("  may contradict: {}; {settle}", others.join(", "));
            lines.push(printer.paint(Style::Odd, &line));
        }
    }
    lines.join("\n")
}
