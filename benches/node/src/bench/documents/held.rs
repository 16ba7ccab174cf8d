//! The memory of a process that holds a document and does nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use automerge::ReadDoc;
use clap::{Args, Subcommand};
use nexus_node::api::Problem;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::client::failed;
use super::super::processor::resident_bytes;
use super::super::stage::start;
use super::ground::{NAME, broken, load};
use nexus_node_cli::ground::CliSession;

/// The name of the figure.
pub(super) const MIB: &str = "mib";
/// The time after which a process is at rest: the allocator has given back what it will.
const REST: Duration = Duration::from_secs(15);

/// Hold a document, and tell the memory that it takes
#[derive(Debug, Args)]
pub(crate) struct Hold {
    #[command(subcommand)]
    what: Held,
}

#[derive(Debug, Subcommand)]
pub(super) enum Held {
    /// By Automerge alone
    Automerge {
        /// Its file
        file: PathBuf,
    },
    /// By the node `here` of a directory
    Node {
        /// The directory
        dir: PathBuf,
        /// The document's key
        key: String,
    },
}

impl Held {
    pub(super) const AUTOMERGE: &str = "automerge";
    pub(super) const NODE: &str = "node";
}

impl Hold {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let _log = session.log("error", nexus_node::config::LogFormat::Text);
        let runtime = CliSession::runtime_of_many()?;
        let mib = match self.what {
            Held::Automerge { file } => runtime.block_on(automerge(&file)),
            Held::Node { dir, key } => runtime.block_on(node(&dir, &key)),
        }?;
        session.printer.answer(&json!({ MIB: mib }), || format!("{mib:.1} MiB\n"))
    }
}

async fn automerge(file: &Path) -> Result<f64, Problem> {
    let content = std::fs::read(file).map_err(|error| failed("a file", error))?;
    sleep(REST).await;
    let before = resident()?;
    let document = load(&content)?;
    drop(content);
    sleep(REST).await;
    let after = resident()?;
    document.get(automerge::ROOT, NAME).map_err(broken)?;
    Ok(after - before)
}

async fn node(dir: &Path, key: &str) -> Result<f64, Problem> {
    let node = start(dir, "here").await?;
    sleep(REST).await;
    let before = resident()?;
    node.documents().get(None, key, NAME, None).await?;
    sleep(REST).await;
    let after = resident()?;
    node.shutdown().await;
    Ok(after - before)
}

/// The memory of this process, in MiB.
fn resident() -> Result<f64, Problem> {
    let bytes = resident_bytes().ok_or_else(|| failed("the memory of a process", "this system does not tell"))?;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let mib = bytes as f64 / f64::from(1 << 20);
    Ok(mib)
}

/// The answer of another process of this program, which holds a document.
pub(super) fn of(what: &[&str]) -> Result<Value, Problem> {
    let own = std::env::current_exe().map_err(|error| failed("this program", error))?;
    let mut command = Command::new(own);
    command.args(["hold", "--json"]).args(what).stderr(Stdio::inherit());
    let ended = command.output().map_err(|error| failed("a process", error))?;
    serde_json::from_slice(&ended.stdout).map_err(|error| failed("a process that holds a document", error))
}
