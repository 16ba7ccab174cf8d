use clap::Subcommand;
use nexus_client::wire;
use nexus_node::api::Problem;

use super::list::short_id;
use crate::client::{escape, query};
use crate::output::{Printer, Style, Table, moment, sane, short_did};
use crate::session::CliSession;

/// The header that tells of cut results.
const TRUNCATED: &str = "nexus-truncated";

/// Words that mean the same in this mesh
#[derive(Debug, Subcommand)]
pub(crate) enum Vocabulary {
    /// Write a group of words, instead of this node's with the same first word
    Add {
        /// 2 to 8 words, each of at most four words and 64 characters
        #[arg(required = true)]
        words: Vec<String>,
        /// The space [default: default]
        #[arg(long)]
        space: Option<String>,
    },
    /// List the groups, with their authors
    List {
        /// The space [default: all readable ones]
        #[arg(long)]
        space: Option<String>,
    },
    /// Remove this node's groups with a word
    Remove {
        /// The word
        word: String,
        /// The space [default: all readable ones]
        #[arg(long)]
        space: Option<String>,
    },
}

impl Vocabulary {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        match self {
            Self::Add { words, space } => {
                let new = wire::NewWords { words, space, ..wire::NewWords::default() };
                let group: wire::Words = client.post("/v1/vocabulary", &new)?;
                session.printer.answer(&group, || format!("{}  {}", spelled(&group), short_id(&group.id)))
            }
            Self::List { space } => {
                let path = format!("/v1/vocabulary{}", query(&[("space", space.as_deref())]));
                let (groups, [truncated]): (Vec<wire::Words>, _) = client.get_with(&path, [TRUNCATED])?;
                session.printer.answer(&groups, || table(&groups, &session.printer))?;
                if truncated == "true" {
                    session.printer.note("there are more groups than are listed");
                }
                Ok(())
            }
            Self::Remove { word, space } => {
                let path = format!("/v1/vocabulary/{}{}", escape(&word), query(&[("space", space.as_deref())]));
                let gone: Vec<wire::Words> = client.delete(&path)?;
                session.printer.answer(&gone, || {
                    let lines: Vec<String> = gone.iter().map(|group| format!("removed {}", spelled(group))).collect();
                    lines.join("\n")
                })
            }
        }
    }
}

fn spelled(group: &wire::Words) -> String {
    sane(&group.words.join(" = "))
}

fn table(groups: &[wire::Words], printer: &Printer) -> String {
    if groups.is_empty() {
        return "no words yet; `nexus-node vocabulary add WORD WORD` writes a group".to_owned();
    }
    let mut table = Table::new(["WORDS", "AUTHOR", "WRITTEN", "SPACE", "ID"]);
    for group in groups {
        let by = group.author_name.clone().unwrap_or_else(|| short_did(&group.author));
        table.row([
            (spelled(group), Some(Style::Bold)),
            (sane(&by), None),
            (moment(&group.at), None),
            (sane(&group.space), None),
            (short_id(&group.id), Some(Style::Dim)),
        ]);
    }
    table.show(printer)
}
