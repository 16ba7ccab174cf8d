use std::collections::BTreeMap;

use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::mcp::name_as_word;
use serde_json::Value;

use super::list::short_id;
use crate::output::{count, in_a_line, short_did};
use crate::session::{CliSession, text};

/// The most columns of the text of a memory that a new one may contradict.
const TOLD_WIDTH: usize = 120;

/// Write a memory
#[derive(Debug, Args)]
pub(crate) struct Remember {
    /// The text; `-` reads stdin
    text: String,
    /// The space [default: default, or that of the memory that it supersedes]
    #[arg(long)]
    space: Option<String>,
    /// The kind [default: note, or as it was under the same key]
    #[arg(long)]
    kind: Option<String>,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "T")]
    tags: Vec<String>,
    /// Take the tags of the memory with this key away
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// Further data; may be given several times
    #[arg(long, value_name = "K=V", value_parser = pair)]
    meta: Vec<(String, String)>,
    /// Other words by which somebody may look for it; up to eight times
    #[arg(long = "alias", value_name = "WORDS")]
    aliases: Vec<String>,
    /// A key of your own. Writing with the same key again replaces the text, and keeps kind, tags and data
    #[arg(long, value_name = "KEY")]
    id: Option<String>,
    /// A memory that no longer holds from then on: its id, or its key
    #[arg(long, value_name = "ID")]
    supersedes: Option<String>,
    /// The time from which it holds: `2026-03-01`, or RFC 3339
    #[arg(long, value_name = "TIME")]
    valid_from: Option<wire::Moment>,
    /// The time from which it no longer holds
    #[arg(long, value_name = "TIME")]
    valid_to: Option<wire::Moment>,
    /// The lifetime [default: no end]
    #[arg(long)]
    ttl: Option<wire::Span>,
    /// Whose words they are: `user`, `model`, `tool` or `import` [default: user]
    #[arg(long)]
    source: Option<wire::Source>,
    /// Write it although it looks like a secret: it reaches all machines of the mesh
    #[arg(long)]
    allow_secret: bool,
}

/// `k=v`, split at the first `=`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected key=value".to_owned()),
    }
}

impl Remember {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let meta: BTreeMap<String, Value> = self.meta.into_iter().map(|(key, value)| (key, value.into())).collect();
        let client = session.client()?;
        let memory = wire::NewMemory {
            text: text(self.text)?,
            space: self.space,
            kind: self.kind,
            tags: self.tags,
            no_tags: self.no_tags,
            meta,
            aliases: self.aliases,
            id: self.id,
            ttl: self.ttl,
            supersedes: self.supersedes,
            valid_from: self.valid_from,
            valid_to: self.valid_to,
            source: self.source,
            allow_secret: self.allow_secret,
            ..wire::NewMemory::default()
        };
        let remembered: wire::Remembered = client.post("/v1/memories", &memory)?;
        session.printer.answer(&remembered, || remembered.id.clone())?;
        let others = match remembered.durability.replicated {
            0 => "on this node".to_owned(),
            others => format!("on this node and {}", count(others as u64, "other", "others")),
        };
        match remembered.replaced {
            true => {
                let former = format!("`nexus-node history {}` tells what changed", remembered.id);
                session.printer.note(&format!("replaced in {}, {others}; {former}", remembered.space));
            }
            false => session.printer.note(&format!("remembered in {}, {others}", remembered.space)),
        }
        if let Some(same) = &remembered.duplicate_of {
            session.printer.note(&format!("another one says nearly the same: `nexus-node get {same}`"));
        }
        for id in &remembered.contradicts {
            let told = match client.get::<wire::Memory>(&format!("/v1/memories/{id}")) {
                Ok(memory) => {
                    let author = memory.author_name.as_deref().map_or_else(|| short_did(&memory.author), name_as_word);
                    format!("by {author}: {}", in_a_line(&memory.text, TOLD_WIDTH))
                }
                Err(_) => "`nexus-node get` shows it".to_owned(),
            };
            session.printer.note(&format!("may contradict {}, {told}", short_id(id)));
        }
        Ok(())
    }
}
