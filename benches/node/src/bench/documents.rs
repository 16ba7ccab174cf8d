//! Living documents: characters that one member types and another sees, and documents that are long, many or at rest.
//!
//! | room | content |
//! |---|---|
//! | `typing` | how fast, and how soon on the other node |
//! | `room` | the room of a typed character on the disk |
//! | `long` | a document of 100,000 changes: one change more, opening, memory |
//! | `held` | the memory of a process that holds a document |
//! | `many` | a thousand documents on a new member |

mod held;
mod long;
mod many;
mod room;
mod typing;

use std::time::Duration;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, Automerge, ObjId, ObjType, ROOT, TextEncoding};
use nexus_node::api::Problem;
use nexus_node::documents::{DocPath, DocumentChange, DocumentWatch, Documents, Edit, PatchJson};
use nexus_node::{Node, NodeError};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use super::client::failed;
use super::rows::Row;
use super::stage::{DEADLINE, directory, join, start, until};
use nexus_node_cli::ground::Printer;

pub(crate) use self::held::Hold;
pub(super) use self::typing::at_once;

/// The key of the text in each document, and of a short value beside it.
const TEXT: &str = "text";
const NAME: &str = "name";

/// Measures everything but the ten thousand characters of [`at_once`].
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let mut rows = typing::at_speeds(printer).await?;
    rows.extend(room::run(printer).await?);
    rows.extend(many::run(printer).await?);
    rows.extend(long::run(printer).await?);
    Ok(rows)
}

/// Two members that are connected.
struct Pair {
    dir: TempDir,
    here: Node,
    there: Node,
}

impl Pair {
    async fn start() -> Result<Self, Problem> {
        let dir = directory()?;
        let here = start(dir.path(), "here").await?;
        let there = join(&here, dir.path(), "there").await?;
        until("the two are connected", async || Ok(there.peers().await.iter().any(|peer| peer.synced))).await?;
        Ok(Self { dir, here, there })
    }

    /// A new document with an empty text, followed on the other node.
    async fn text(&self, key: &str) -> Result<DocumentWatch, Problem> {
        create(&self.here.documents(), key, "").await?;
        let documents = self.there.documents();
        until("the text is on the other node", async || Ok(documents.get(None, key, TEXT, None).await.is_ok())).await?;
        Ok(documents.watch(None, key, None).await?)
    }

    async fn end(self) -> TempDir {
        self.here.shutdown().await;
        self.there.shutdown().await;
        self.dir
    }
}

fn path(text: &str) -> Result<DocPath, Problem> {
    text.parse().map_err(|error| failed("a path", error))
}

/// Creates a document with a text.
async fn create(documents: &Documents, key: &str, text: &str) -> Result<(), Problem> {
    documents.create(None, key).await?;
    let set = Edit::Set { path: path(TEXT)?, value: text.into() };
    documents.edit(None, key, vec![set]).await?;
    Ok(())
}

/// The edit that types a character. All are typed at the front, so that calls may overtake each other.
fn letter() -> Result<Edit, Problem> {
    Ok(Edit::Splice { path: path(TEXT)?, at: 0, delete: 0, insert: "x".to_owned(), at_heads: None })
}

/// The letters that a change brings.
fn letters(change: &DocumentChange) -> usize {
    let of = |patch: &PatchJson| if let PatchJson::Splice { value, .. } = patch { value.chars().count() } else { 0 };
    change.patches.iter().map(of).sum()
}

/// The next change, if it comes in time.
async fn next(watch: &mut DocumentWatch) -> Result<DocumentChange, Problem> {
    Ok(timeout(DEADLINE, watch.next()).await.map_err(|_| NodeError::TimedOut(DEADLINE))??)
}

async fn typed(documents: &Documents, key: &str, letter: &Edit) -> Result<(), NodeError> {
    documents.edit(None, key, vec![letter.clone()]).await.map(drop)
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// A document of Automerge alone, with the same content as ours: an empty text.
fn alone() -> Result<(AutoCommit, ObjId), Problem> {
    let mut document = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint);
    document.put(ROOT, NAME, "a document of the bench").map_err(broken)?;
    let text = document.put_object(ROOT, TEXT, ObjType::Text).map_err(broken)?;
    document.commit();
    Ok((document, text))
}

/// A file with a document of this many changes. Each one after the first types a character.
fn file(changes: usize) -> Result<Vec<u8>, Problem> {
    let (mut document, text) = alone()?;
    for _ in 1..changes {
        document.splice_text(&text, 0, 0, "x").map_err(broken)?;
        document.commit();
    }
    Ok(document.save())
}

fn load(file: &[u8]) -> Result<Automerge, Problem> {
    Automerge::load(file).map_err(broken)
}

fn broken(error: automerge::AutomergeError) -> Problem {
    failed("automerge", error)
}

/// A number as JSON has it.
fn number(value: &Value, name: &str) -> Result<f64, Problem> {
    value[name].as_f64().ok_or_else(|| failed(name, "no number"))
}
