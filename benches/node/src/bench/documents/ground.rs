//! The ground of all figures of documents: two members, texts that grow, and documents of Automerge alone.

use std::time::Duration;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, Automerge, ObjId, ObjType, ROOT, TextEncoding};
use nexus_node::api::Problem;
use nexus_node::documents::{DocPath, DocumentChange, DocumentWatch, Documents, Edit, PatchJson};
use nexus_node::{Node, NodeError};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use super::super::client::failed;
use super::super::stage::{DEADLINE, directory, join, start, until};

/// The key of the text in each document, and of a short value beside it.
pub(super) const TEXT: &str = "text";
pub(super) const NAME: &str = "name";

/// Two members that are connected.
pub(super) struct Pair {
    pub(super) dir: TempDir,
    pub(super) here: Node,
    pub(super) there: Node,
}

impl Pair {
    pub(super) async fn start() -> Result<Self, Problem> {
        let dir = directory()?;
        let here = start(dir.path(), "here").await?;
        let there = join(&here, dir.path(), "there").await?;
        until("the two are connected", async || Ok(there.peers().await.iter().any(|peer| peer.synced))).await?;
        Ok(Self { dir, here, there })
    }

    /// A new document with an empty text, followed on the other node.
    pub(super) async fn text(&self, key: &str) -> Result<DocumentWatch, Problem> {
        create(&self.here.documents(), key, "").await?;
        let documents = self.there.documents();
        until("the text is on the other node", async || Ok(documents.get(None, key, TEXT, None).await.is_ok())).await?;
        Ok(documents.watch(None, key, None).await?)
    }

    pub(super) async fn end(self) -> TempDir {
        self.here.shutdown().await;
        self.there.shutdown().await;
        self.dir
    }
}

pub(super) fn path(text: &str) -> Result<DocPath, Problem> {
    text.parse().map_err(|error| failed("a path", error))
}

/// Creates a document with a text.
pub(super) async fn create(documents: &Documents, key: &str, text: &str) -> Result<(), Problem> {
    documents.create(None, key).await?;
    let set = Edit::Set { path: path(TEXT)?, value: text.into() };
    documents.edit(None, key, vec![set]).await?;
    Ok(())
}

/// The edit that types a character. All are typed at the front, so that calls may overtake each other.
pub(super) fn letter() -> Result<Edit, Problem> {
    Ok(Edit::Splice { path: path(TEXT)?, at: 0, delete: 0, insert: "x".to_owned(), at_heads: None })
}

/// The letters that a change brings.
pub(super) fn letters(change: &DocumentChange) -> usize {
    let of = |patch: &PatchJson| if let PatchJson::Splice { value, .. } = patch { value.chars().count() } else { 0 };
    change.patches.iter().map(of).sum()
}

/// The next change, if it comes in time.
pub(super) async fn next(watch: &mut DocumentWatch) -> Result<DocumentChange, Problem> {
    Ok(timeout(DEADLINE, watch.next()).await.map_err(|_| NodeError::TimedOut(DEADLINE))??)
}

pub(super) async fn typed(documents: &Documents, key: &str, letter: &Edit) -> Result<(), NodeError> {
    documents.edit(None, key, vec![letter.clone()]).await.map(drop)
}

pub(super) fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// A document of Automerge alone, with the same content as ours: an empty text.
pub(super) fn alone() -> Result<(AutoCommit, ObjId), Problem> {
    let mut document = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint);
    document.put(ROOT, NAME, "a document of the bench").map_err(broken)?;
    let text = document.put_object(ROOT, TEXT, ObjType::Text).map_err(broken)?;
    document.commit();
    Ok((document, text))
}

/// A file with a document of this many changes. Each one after the first types a character.
pub(super) fn file(changes: usize) -> Result<Vec<u8>, Problem> {
    let (mut document, text) = alone()?;
    for _ in 1..changes {
        document.splice_text(&text, 0, 0, "x").map_err(broken)?;
        document.commit();
    }
    Ok(document.save())
}

pub(super) fn load(file: &[u8]) -> Result<Automerge, Problem> {
    Automerge::load(file).map_err(broken)
}

pub(super) fn broken(error: automerge::AutomergeError) -> Problem {
    failed("automerge", error)
}

/// A number as JSON has it.
pub(super) fn number(value: &Value, name: &str) -> Result<f64, Problem> {
    value[name].as_f64().ok_or_else(|| failed(name, "no number"))
}
