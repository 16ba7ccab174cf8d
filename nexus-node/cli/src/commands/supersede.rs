use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;

use super::list::short_id;
use crate::session::{CliSession, text};

/// Write what holds now instead of a memory
#[derive(Debug, Args)]
pub(crate) struct Supersede {
    /// The memory that no longer holds: its id, or its key
    id: String,
    /// The text that holds now; `-` reads stdin
    text: String,
    /// The time from which it holds: `2026-03-01`, or RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    valid_from: Option<wire::Moment>,
    /// The kind [default: as it was]
    #[arg(long)]
    kind: Option<String>,
    /// A tag; may be given several times [default: as they were]
    #[arg(long = "tag", value_name = "T")]
    tags: Vec<String>,
    /// Other words by which somebody may look for it; up to eight times
    #[arg(long = "alias", value_name = "WORDS")]
    aliases: Vec<String>,
    /// Whose words they are: `user`, `model`, `tool` or `import` [default: user]
    #[arg(long)]
    source: Option<wire::Source>,
    /// Write it although it looks like a secret: it reaches all machines of the mesh
    #[arg(long)]
    allow_secret: bool,
}

impl Supersede {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let memory = wire::NewMemory {
            text: text(self.text)?,
            supersedes: Some(self.id.clone()),
            valid_from: self.valid_from,
            kind: self.kind,
            tags: self.tags,
            aliases: self.aliases,
            source: self.source,
            allow_secret: self.allow_secret,
            ..wire::NewMemory::default()
        };
        let remembered: wire::Remembered = session.client()?.post("/v1/memories", &memory)?;
        session.printer.answer(&remembered, || remembered.id.clone())?;
        let from = self.valid_from.map_or_else(|| "now".to_owned(), |at| at.0.to_string());
        let former = format!("`recall --valid-at TIME` still finds {}", short_id(&self.id));
        session.printer.note(&format!("holds from {from} on; {former} for a time before"));
        Ok(())
    }
}
