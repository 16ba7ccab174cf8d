//! The tools for documents: to list them, to read one, and to change it.
//!
//! A text is changed by the words in it: a model counts letters badly. The words are changed in the version in which they were
//! found, wherever others have typed since.

use std::fmt::Write;

use serde_json::Value;

use super::CoreServer;
use super::arguments::{DocEdit, DocGet, DocList};
use super::line;
use crate::documents::{DocPath, Document, DocumentInfo, Documents, Edit, Edited, Version};
use crate::mcp::answer::{Refusal, refused};
use crate::mcp::tokens::{Room, beginning};
use crate::problem::Problem;

/// The most documents of one answer.
const LISTED_MAX: usize = 100;
/// The digits of a version that are shown of each of its hashes, and the most hashes.
const DIGITS: usize = 12;
const HEADS_MAX: usize = 16;
/// The words of an answer from which something is left out.
const CUT: &str = "Cut: ask for a path within it, or with a larger max_tokens.";

impl CoreServer {
    fn documents(&self) -> Documents {
        self.node.documents().within(self.brain.clone())
    }

    /// The documents of a space, a line each.
    pub(super) async fn doc_list(&self, asked: DocList) -> Result<String, Refusal> {
        let documents = self.documents();
        let listed = documents.list(asked.space.as_deref(), asked.cursor.as_deref(), LISTED_MAX);
        let page = listed.await.map_err(refused)?;
        let mut lines: Vec<String> = page.items.iter().map(named).collect();
        if lines.is_empty() {
            lines.push("No documents.".to_owned());
        }
        lines.extend(page.next.map(|next| format!("More: cursor {next}")));
        Ok(lines.join("\n"))
    }

    /// A document, or a part of it, as JSON.
    pub(super) async fn doc_get(&self, asked: DocGet) -> Result<String, Refusal> {
        let (max_tokens, path) = (asked.max_tokens()?, asked.path.unwrap_or_default());
        let got = self.documents().get(asked.space.as_deref(), &asked.key, &path, None).await.map_err(refused)?;
        Ok(shown(&got, Room::of(max_tokens)))
    }

    /// Changes a document, which is created first if that is asked for.
    pub(super) async fn doc_edit(&self, asked: DocEdit) -> Result<String, Refusal> {
        let (documents, space, key) = (self.documents(), asked.space.clone(), asked.key.clone());
        let has_edit = asked.patch.is_some() || asked.is_of_text();
        if asked.patch.is_some() && asked.is_of_text() {
            let problem = Problem::new("invalid", "patch and the arguments for a text exclude each other");
            return Err(problem.hint("give a patch, or find or at with insert"));
        }
        if !has_edit && !asked.create {
            let problem = Problem::new("invalid", "nothing to change was given");
            return Err(problem.hint("give a patch, or find or at with insert, or create"));
        }
        let path = asked.path.clone().unwrap_or_default();
        let parsed: DocPath = path.parse().map_err(|error| Problem::new("invalid", format!("path: {error}")))?;
        let mut answer = String::new();
        if asked.create {
            let created = documents.create(space.as_deref(), &key).await.map_err(refused)?;
            if !has_edit || created.changed {
                let verb = if created.changed { "Created" } else { "It is there:" };
                // writing to a text cannot fail
                let _ = write!(answer, "{verb} {}, {}.", called(&created.info), version(&created.version));
            }
            if !has_edit {
                return Ok(answer);
            }
            answer.push(' ');
        }
        let edit = match asked.patch {
            Some(patch) => Edit::Merge { path: parsed, patch: Value::Object(patch) },
            None => self.text_edit(&documents, asked, (&path, parsed)).await?,
        };
        let edited = documents.edit(space.as_deref(), &key, vec![edit]).await.map_err(refused)?;
        let Edited { info, version: now, changed } = edited;
        let verb = if changed { "Changed" } else { "It has this already:" };
        let _ = write!(answer, "{verb} {}, {}.", called(&info), version(&now));
        Ok(answer.trim_start().to_owned())
    }

    /// A change of a text: at a place, or where some words are.
    async fn text_edit(
        &self,
        documents: &Documents,
        asked: DocEdit,
        (path, parsed): (&str, DocPath),
    ) -> Result<Edit, Refusal> {
        let DocEdit { key, space, find, at, delete, insert, version, .. } = asked;
        let (space, insert) = (space.as_deref(), insert.unwrap_or_default());
        let seen = match version {
            Some(version) => Some(documents.version(space, &key, &version).await.map_err(refused)?),
            None => None,
        };
        let (at, delete, at_heads) = match (find, at) {
            (Some(_), Some(_)) => {
                let problem = Problem::new("invalid", "find and at exclude each other");
                return Err(problem.hint("give one of them"));
            }
            (Some(words), None) => {
                let got = documents.get(space, &key, path, seen.as_ref()).await.map_err(refused)?;
                let (at, letters) = only_place(&got.value, &words)?;
                (at, letters, Some(got.version.0))
            }
            (None, Some(at)) => (at, delete.unwrap_or(0), seen.map(|seen| seen.0)),
            (None, None) => {
                let problem = Problem::new("invalid", "the place in the text is missing");
                return Err(problem.hint("give find, the words to replace, or at, a position"));
            }
        };
        Ok(Edit::Splice { path: parsed, at, delete, insert, at_heads })
    }
}

/// The position of words in a text, and their length, if they are there once.
fn only_place(value: &Value, words: &str) -> Result<(usize, usize), Refusal> {
    let Value::String(text) = value else {
        let problem = Problem::new("invalid", "no text is at this path");
        return Err(problem.hint("doc_get shows what is there"));
    };
    let mut places = text.match_indices(words).filter(|_| !words.is_empty());
    match (places.next(), places.next()) {
        (Some((at, _)), None) => Ok((text[..at].chars().count(), words.chars().count())),
        (Some(_), Some(_)) => {
            let problem = Problem::new("invalid", "the words to find are in the text more than once");
            Err(problem.hint("find more of the text around the place, and insert that again"))
        }
        (None, _) => {
            let problem = Problem::new("invalid", "the words to find are not in the text");
            Err(problem.hint("doc_get shows the text: others may have changed it"))
        }
    }
}

/// A document by its key, or by its address where that is safer.
fn called(info: &DocumentInfo) -> String {
    info.key.as_deref().map_or_else(|| info.id.to_string(), line::word)
}

/// A document in a list. One whose key is no plain word has its address beside it.
fn named(info: &DocumentInfo) -> String {
    let mut named = called(info);
    if info.key.as_ref().is_some_and(|key| *key != named) {
        named = format!("{named} {}", info.id);
    }
    if let Some(former) = &info.former_key {
        let _ = write!(named, ", formerly {}", line::word(former));
    }
    if !info.others.is_empty() {
        let others: Vec<String> = info.others.iter().map(ToString::to_string).collect();
        let _ = write!(named, ", as are {}", others.join(", "));
    }
    named
}

/// The first digits of a version, by which it can be named again.
fn version(version: &Version) -> String {
    let heads: Vec<String> =
        version.0.iter().take(HEADS_MAX).map(|head| head.to_string().chars().take(DIGITS).collect()).collect();
    match version.0.len() {
        0 => "version 0".to_owned(),
        all if all > HEADS_MAX => format!("version of {all} branches"),
        _ => format!("version {}", heads.join(".")),
    }
}

/// The value as JSON in one line, with what is odd about the document before it.
fn shown(got: &Document, mut room: Room) -> String {
    let Document { info, version: at, value, missing, refused, former } = got;
    let mut lines = vec![format!("{}, {}", named(info), version(at))];
    if *missing > 0 {
        lines.push(format!("{missing} changes of it have not come yet."));
    }
    if !refused.is_empty() {
        lines.push(format!("{} changes of it do not count.", refused.len()));
    }
    lines.extend(former.iter().map(|former| {
        format!("{} entries about the former document {} are not in this one.", former.later, former.id)
    }));
    for line in lines.iter().map(String::as_str).chain([CUT]) {
        room.take(line);
    }
    let value = line::json(value);
    let (start, cut) = beginning(&value, room.left().saturating_sub(1));
    lines.push(if cut { format!("{start}…") } else { start.to_owned() });
    lines.extend(cut.then(|| CUT.to_owned()));
    lines.join("\n")
}
