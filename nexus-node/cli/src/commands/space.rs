use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use data_encoding::BASE64;
use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::{Value, json};

use crate::client::escape;
use crate::output::{Style, Table, count, size};
use crate::session::CliSession;

/// Spaces: separate parts of the memory
#[derive(Debug, Subcommand)]
pub(crate) enum Space {
    /// Create a space
    Create {
        /// Its name
        name: String,
    },
    /// List the spaces
    List,
    /// Write a space's pages as Automerge documents
    Export {
        /// Its name or id
        space: String,
        /// The directory for the files
        #[arg(long, value_name = "DIR")]
        automerge: PathBuf,
    },
}

impl Space {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        match self {
            Self::Create { name } => {
                let space: wire::Space = session.client()?.post("/v1/spaces", &wire::NewSpace { name })?;
                session.printer.answer(&space, || format!("created {}  {}", space.space, space.id))
            }
            Self::List => list(session),
            Self::Export { space, automerge } => export(&space, &automerge, session),
        }
    }
}

fn list(session: &CliSession) -> Result<(), Problem> {
    let spaces: Vec<wire::Space> = session.client()?.get("/v1/spaces")?;
    session.printer.answer(&spaces, || {
        let mut table = Table::new(["SPACE", "MEMORIES", "ENTRIES", "SIZE", "READERS", "WRITERS", "ID"]);
        for space in &spaces {
            table.row([
                (space.space.clone(), Some(Style::Bold)),
                (space.records.to_string(), None),
                (space.entries.to_string(), None),
                (size(space.bytes), None),
                (space.readers.len().to_string(), None),
                (space.writers.len().to_string(), None),
                (space.id.chars().take(12).collect(), Some(Style::Dim)),
            ]);
        }
        table.show(&session.printer)
    })
}

/// Writes one file a page. Each is written beside its place and renamed, so every page there is whole.
fn export(space: &str, directory: &Path, session: &CliSession) -> Result<(), Problem> {
    let client = session.client()?.streaming();
    let progress = session.printer.progress("pages", None);
    let lines = client.lines(&format!("/v1/spaces/{}/pages", escape(space)), &[])?;
    let (mut pages, mut bytes, mut told) = (0_u64, 0_u64, None);
    fs::create_dir_all(directory).map_err(|error| disk(directory, &error))?;
    for line in lines {
        let line: Value = serde_json::from_str(&line?).map_err(|_| broken())?;
        if let Some(total) = line.get("pages").and_then(Value::as_u64) {
            told = Some(total);
            continue;
        }
        let page: wire::Page = serde_json::from_value(line).map_err(|_| broken())?;
        let document = BASE64.decode(page.automerge.as_bytes()).map_err(|_| broken())?;
        // Names come from the node; whatever they contain, the files stay in the directory.
        let name: String =
            page.page.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let path = directory.join(format!("{name}.automerge"));
        let beside = directory.join(format!(".{name}.automerge.new"));
        fs::write(&beside, &document).map_err(|error| disk(&beside, &error))?;
        fs::rename(&beside, &path).map_err(|error| disk(&path, &error))?;
        pages += 1;
        bytes += document.len() as u64;
        progress.inc(1);
    }
    progress.finish_and_clear();
    if told != Some(pages) {
        return Err(broken());
    }
    session.printer.answer(&json!({ "space": space, "pages": pages, "bytes": bytes }), || {
        format!("wrote {} ({}) to {}", count(pages, "page", "pages"), size(bytes), directory.display())
    })
}

fn broken() -> Problem {
    Problem::new("failed", "the export broke off").hint("run it again; pages already written are whole")
}

fn disk(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new("failed", format!("{}: {error}", path.display()))
}
