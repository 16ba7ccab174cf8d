use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use data_encoding::BASE64;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::documents::DocumentId;
use serde_json::{Value, json};

use super::doc::content;
use crate::client::{escape, query};
use crate::output::{Style, Table, count, sane, size};
use crate::session::CliSession;

/// The most refused files that are named.
const TOLD_MAX: u64 = 20;

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
    /// Take in the Automerge documents of a directory
    ///
    /// A file whose name is an address of automerge-repo keeps it as its id, and what is here already is passed over. Any other
    /// name becomes the document's key: so a page of `space export` keeps its name. A file that is refused is named, and the
    /// others go on.
    Import {
        /// The directory with files `NAME.automerge`
        #[arg(long, value_name = "DIR")]
        automerge: PathBuf,
        /// The space [default: default]
        #[arg(long)]
        space: Option<String>,
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
            Self::Import { automerge, space } => import(&automerge, space.as_deref(), session),
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

/// Takes in one file after the other, in the order of their names.
fn import(directory: &Path, space: Option<&str>, session: &CliSession) -> Result<(), Problem> {
    let client = session.client()?;
    // a missing node or space is told before any file is read
    let _: wire::Documents =
        client.get(&format!("/v1/documents{}", query(&[("space", space), ("limit", Some("1"))])))?;
    let files = documents_in(directory)?;
    if files.is_empty() {
        return Err(Problem::new("invalid", format!("no file of {} ends with `.automerge`", directory.display()))
            .hint("`nexus-node space export SPACE --automerge DIR` writes such files"));
    }
    let progress = session.printer.progress("import", Some(files.len() as u64));
    let (mut documents, mut known, mut refused, mut bytes) = (0_u64, 0_u64, 0_u64, 0_u64);
    for (name, path) in files {
        let is_address = name.parse::<DocumentId>().is_ok();
        let asked = [("space", space), (if is_address { "id" } else { "key" }, Some(name.as_str()))];
        let address = format!("/v1/documents{}", query(&asked));
        let taken = content(&path).and_then(|file| {
            let taken: wire::Document = client.put_content(&address, file.as_slice())?;
            Ok((taken, file.len() as u64))
        });
        match taken {
            Ok((taken, _)) if taken.changed == Some(false) => known += 1,
            Ok((_, more)) => (documents, bytes) = (documents + 1, bytes + more),
            // without a node none of the others is taken either
            Err(problem) if matches!(problem.code, "no_node" | "unauthorized" | "starting" | "stopping") => {
                progress.finish_and_clear();
                return Err(problem);
            }
            Err(problem) => {
                refused += 1;
                let hint = problem.hint.as_deref().filter(|_| refused <= TOLD_MAX);
                if refused <= TOLD_MAX {
                    let file = path.file_name().unwrap_or_default().to_string_lossy();
                    session.printer.warning(&format!("{}: {}", sane(&file), problem.message), hint);
                }
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if refused > 0 {
        let told = if refused > TOLD_MAX { format!(" (the first {TOLD_MAX} are told above)") } else { String::new() };
        let message = format!("{} refused{told}; {documents} imported, {known} known", count(refused, "file", "files"));
        return Err(Problem::new("invalid", message).hint(
            "the others are taken. A key that is in use is another document's: rename the file, and import again",
        ));
    }
    let counts = json!({ "documents": documents, "known": known, "refused": refused, "bytes": bytes });
    session.printer.answer(&counts, || {
        let here = if known > 0 { format!(", {known} here already") } else { String::new() };
        format!("imported {} ({}){here}", count(documents, "document", "documents"), size(bytes))
    })
}

/// The names and paths of a directory's documents, by name.
fn documents_in(directory: &Path) -> Result<Vec<(String, PathBuf)>, Problem> {
    let unreadable = |error: std::io::Error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { "not_found" } else { "invalid" };
        Problem::new(code, format!("{}: {error}", directory.display()))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_document = path.extension().is_some_and(|extension| extension == "automerge");
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        // a name with a dot before it is a file that an export was about to write
        if let Some(name) = name.filter(|name| is_document && !name.starts_with('.')) {
            files.push((name, path));
        }
    }
    files.sort();
    Ok(files)
}

fn broken() -> Problem {
    Problem::new("failed", "the export broke off").hint("run it again; pages already written are whole")
}

fn disk(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new("failed", format!("{}: {error}", path.display()))
}
