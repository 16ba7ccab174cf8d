//! The bulk import: memories in as JSON Lines, an acknowledgement out for each.
//!
//! Lines are written in batches as they arrive. An acknowledgement follows the commit of its batch, so
//! a line without one is not promised. A bad line is refused by number and stops nothing. An exported
//! memory keeps its former id, so importing the same file again writes nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::HeaderMap;
use axum::response::Response;
use data_encoding::BASE64URL_NOPAD;
use futures::future::maybe_done;
use futures::{StreamExt, stream};
use nexus_crdt::{Proven, TEXT_ATTACHMENT_BYTES_MAX, TextAttachment, Was, check_proof};
use nexus_identity::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::caller::Caller;
use super::extract::{Parameters, parse};
use super::memories::{JSON_LINES, put_line, streamed};
use super::pass::Pass;
use super::problem::{Problem, status};
use super::wire::{self, Imported, Span};
use crate::memory::Secrets;
use crate::memory::read::Fate;
use crate::memory::time_to;
use crate::{Brain, NewMemory, NodeError};

/// The longest line, in bytes: the longest text, of which each byte may be written with six, and all else.
const LINE_BYTES_MAX: usize = 6 * TEXT_ATTACHMENT_BYTES_MAX + (256 << 10);
/// The most lines written at once.
const BATCH_LINES_MAX: usize = 1_024;
/// Lines of so many bytes are written without waiting for more. Two batches are held at a time.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A line: a memory as `remember` takes it, or as `export` writes it. With `created_at` it is from an
/// export, and `id` is the memory's former id; otherwise `id` is a key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: String,
    /// The blob with the whole text, if this is its beginning.
    attachment: Option<TextAttachment>,
    id: Option<String>,
    space: Option<String>,
    kind: Option<String>,
    tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "wire::exact_or_none")]
    meta: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    aliases: Vec<String>,
    ttl: Option<Span>,
    key: Option<String>,
    author: Option<String>,
    created_at: Option<String>,
    expires_at: Option<String>,
    valid_from: Option<wire::Moment>,
    valid_to: Option<wire::Moment>,
    supersedes: Option<String>,
    /// As the file has it: a label, like the rest of it.
    agent: Option<String>,
    /// The proof of who wrote the text.
    proof: Option<String>,
    /// With a proof: what it shows, if it is of an earlier mesh than this line.
    imported: Option<Value>,
    /// The former id in the mesh that this line comes from.
    was: Option<String>,
    // Further fields of an export. The written memory gets new ones.
    #[serde(rename = "author_name")]
    _author_name: Option<String>,
    #[serde(rename = "seen_at")]
    _seen_at: Option<String>,
    #[serde(rename = "updated_at")]
    _updated_at: Option<String>,
    #[serde(rename = "version")]
    _version: Option<String>,
    #[serde(rename = "conflicts")]
    _conflicts: Option<Value>,
    #[serde(rename = "more")]
    _more: Option<bool>,
    #[serde(rename = "source")]
    _source: Option<Value>,
    #[serde(rename = "edited_by")]
    _edited_by: Option<String>,
    #[serde(rename = "fields")]
    _fields: Option<Value>,
}

/// A line that was read, before anything is written.
pub(super) enum Reading {
    Write {
        memory: Box<NewMemory>,
        /// The id that it had before the former one.
        before: Option<String>,
        /// Whether credentials in it were masked.
        masked: bool,
    },
    Expired,
}

pub(super) fn read(caller: &Caller, secrets: Secrets, bytes: &[u8], now: Timestamp) -> Result<Reading, Problem> {
    let line: Line = parse(bytes)?;
    if line.proof.is_some() && caller.is_named() {
        return Err(Problem::new("refused", "a token that names an agent writes no proofs of what others wrote")
            .hint("leave `proof` out, or import with the `api-token`"));
    }
    let proven = line.proof.as_deref().map(|proof| proven(proof, &line)).transpose()?;
    let moment = |text: &str| wire::parse_timestamp(text).map_err(|error| Problem::new("invalid", error.to_string()));
    let mut ttl = line.ttl.map(|ttl| ttl.0);
    if let Some(at) = line.expires_at.as_deref() {
        let at = moment(at)?;
        if at <= now {
            return Ok(Reading::Expired);
        }
        ttl = ttl.or(Some(time_to(at, now)));
    }
    let (mut was, mut key) = (None, line.key);
    match (line.created_at.as_deref(), line.id) {
        (Some(created_at), id) => {
            let id = id.ok_or_else(|| Problem::new("invalid", "created_at is given, but no id"))?;
            let created_at = moment(created_at)?.as_ms();
            was = Some(Was::new(id, line.author.unwrap_or_default(), created_at));
        }
        (None, id) => key = key.or(id),
    }
    let mut memory = Box::new(NewMemory {
        text: line.text,
        attachment: line.attachment,
        space: line.space,
        kind: line.kind,
        tags: line.tags.unwrap_or_default(),
        meta: line.meta.unwrap_or_default(),
        aliases: line.aliases,
        key,
        ttl,
        valid_from: line.valid_from.map(|at| at.0.min(Timestamp::LAST)),
        valid_to: line.valid_to.map(|at| at.0.min(Timestamp::LAST)),
        supersedes: line.supersedes,
        was,
        proof: line.proof,
        origin: caller.origin(line.agent.as_deref(), None)?,
        secrets,
        // the file says all of it
        keeps: Some(Vec::new()),
        ..NewMemory::default()
    });
    let masked = memory.without_secrets().map_err(NodeError::from)?;
    // it may have what was masked, or what was edited out before the export
    if masked || proven.is_some_and(|proven| secrets != Secrets::Allow && nexus_secrets::find(&proven.said).is_some()) {
        memory.proof = None;
    }
    Ok(Reading::Write { memory, before: line.was, masked })
}

/// Checks that a line's proof holds, and is of this very line.
fn proven(proof: &str, line: &Line) -> Result<Proven, Problem> {
    let refused = |why: String| Problem::new("invalid", format!("proof: {why}"));
    let bytes = BASE64URL_NOPAD.decode(proof.as_bytes()).map_err(|error| refused(error.to_string()))?;
    let proven = check_proof(&bytes).map_err(|error| refused(error.to_string()))?;
    if proven.text != line.text {
        return Err(refused("it is of another text".to_owned()));
    }
    let (id, author) = (proven.record.to_string(), proven.author.to_string());
    let of_line = match &line.imported {
        // the proof of an earlier import goes on as it came
        Some(imported) => imported["id"] == id && imported["author"] == author,
        None if line.id.as_ref() != Some(&id) => return Err(refused("it is of another memory".to_owned())),
        None => line.author.as_ref() == Some(&author),
    };
    if of_line { Ok(proven) } else { Err(refused("it is of another author".to_owned())) }
}

/// Whether a text is that of a memory that is here: of a long one its beginning and the hash of its blob.
fn is_text_of(text: &str, there: &crate::Memory) -> bool {
    let is_whole = |attachment: TextAttachment| {
        TextAttachment::beginning(text) == there.text && attachment.blob() == blake3::hash(text.as_bytes()).as_bytes()
    };
    text == there.text || there.attachment.is_some_and(is_whole)
}

/// A line's number, and whether credentials in it were masked.
type Number = (u64, bool);

/// The fates of memories by their ids, without those that are unknown here.
type Fates = BTreeMap<String, Result<Fate, Problem>>;

/// A line's number, and the memory in it.
type Parsed = (u64, Result<Reading, Problem>);

/// Reads lines from the body.
struct Lines {
    brain: Brain,
    /// On whose word all of it is written: the file's.
    caller: Caller,
    secrets: Secrets,
    body: BodyDataStream,
    rest: Vec<u8>,
    /// The bytes of the rest in which no line ends.
    searched: usize,
    /// The number of the last line read.
    line: u64,
    /// Whether this is in the middle of a line that is too long.
    skipping: bool,
    ended: bool,
}

impl Lines {
    /// The next lines; none at the end, or once the node stops: an unacknowledged line is not promised.
    async fn parsed(mut self) -> (Self, Vec<Parsed>) {
        let lines = self.lines().await;
        let (caller, secrets, now) = (self.caller.clone(), self.secrets, self.brain.now());
        let parse = move |(line, bytes): (u64, Result<Vec<u8>, Problem>)| {
            (line, bytes.and_then(|bytes| read(&caller, secrets, &bytes, now)))
        };
        let parsed = self.brain.reading(move |_| Ok(lines.into_iter().map(parse).collect())).await;
        (self, parsed.unwrap_or_default())
    }

    /// The next complete lines with their numbers, as they arrive; empty at the end.
    async fn lines(&mut self) -> Vec<(u64, Result<Vec<u8>, Problem>)> {
        loop {
            let mut lines = Vec::new();
            let mut taken = 0;
            while lines.len() < BATCH_LINES_MAX
                && taken < BATCH_BYTES_MAX
                && let Some(at) = self.rest[self.searched..].iter().position(|&byte| byte == b'\n')
            {
                let end = self.searched + at;
                let line = self.rest[taken..end].to_vec();
                (taken, self.searched) = (end + 1, end + 1);
                self.push(&mut lines, line);
            }
            self.rest.drain(..taken);
            self.searched -= taken;
            if self.ended && lines.len() < BATCH_LINES_MAX && !self.rest.is_empty() {
                let line = std::mem::take(&mut self.rest);
                self.searched = 0;
                self.push(&mut lines, line);
            }
            if !lines.is_empty() || self.ended {
                return lines;
            }
            self.searched = self.rest.len();
            if self.rest.len() > LINE_BYTES_MAX {
                self.skipping = true;
                self.rest.clear();
                self.searched = 0;
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.rest.extend_from_slice(&bytes),
                None => self.ended = true,
                Some(Err(_)) => {
                    // The body ended in the middle of a line, which does not count.
                    self.ended = true;
                    self.rest.clear();
                    self.searched = 0;
                }
            }
        }
    }

    fn push(&mut self, lines: &mut Vec<(u64, Result<Vec<u8>, Problem>)>, line: Vec<u8>) {
        self.line += 1;
        let too_long = std::mem::take(&mut self.skipping) || line.len() > LINE_BYTES_MAX;
        if too_long {
            let problem = Problem::new("too_large", format!("a line has at most {LINE_BYTES_MAX} bytes"));
            lines.push((self.line, Err(problem)));
        } else if !line.trim_ascii().is_empty() {
            lines.push((self.line, Ok(line)));
        }
    }
}

struct Importer {
    brain: Brain,
    broken: bool,
}

impl Importer {
    /// Writes some lines. Returns the answers in their order.
    async fn write(&mut self, lines: Vec<Parsed>) -> Bytes {
        let mut answers = Vec::new();
        let (mut batch, mut numbers, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
        let former = |parsed: &Parsed| match &parsed.1 {
            Ok(Reading::Write { memory, before, .. }) => {
                let id = memory.was.as_ref().map(|was| was.id.clone());
                let before = before.clone().filter(|_| id.is_some());
                (id, before)
            }
            _ => (None, None),
        };
        let asked = lines.iter().map(former).flat_map(|(id, before)| [id, before]).flatten();
        let mut known = self.fates(asked.collect()).await;
        for parsed in lines {
            let (id, before) = former(&parsed);
            // The same memory twice in one batch: the first must be written to be found.
            if let Some(id) = &id
                && !ids.insert(id.clone())
                && !known.contains_key(id)
            {
                self.flush(&mut batch, &mut numbers, &mut answers).await;
                known.extend(self.fates(vec![id.clone()]).await);
            }
            let (line, reading) = parsed;
            let same = |there: &crate::Memory| match &reading {
                Ok(Reading::Write { memory, .. }) => is_text_of(&memory.text, there),
                _ => false,
            };
            // a copy that was made elsewhere stays away with the memory that was forgotten here, or is here as it left
            let home = |fate: &&Result<Fate, Problem>| match fate {
                Ok(Fate::Forgotten) | Err(_) => true,
                Ok(Fate::Here(there)) => same(there),
                Ok(Fate::Unknown) => false,
            };
            let fate = |id: Option<String>| id.and_then(|id| known.get(&id));
            let fate = fate(id).or_else(|| fate(before).filter(home));
            match decided(line, reading, fate) {
                Ok((memory, masked)) => {
                    batch.push(*memory);
                    numbers.push((line, masked));
                }
                Err(answer) => answers.push(*answer),
            }
        }
        self.flush(&mut batch, &mut numbers, &mut answers).await;
        answers.sort_by_key(|answer| answer.line);
        let mut bytes = Vec::new();
        for answer in &answers {
            put_line(&mut bytes, answer);
        }
        bytes.into()
    }

    /// The fates of memories with exactly these ids or former ids, or the errors that hide them. A shortened id does not
    /// count.
    async fn fates(&mut self, ids: Vec<String>) -> Fates {
        if ids.is_empty() {
            return Fates::new();
        }
        let asked = ids.clone();
        let fate = |brain: &Brain, id: String| match brain.fate_blocking(&id).map_err(Problem::from) {
            Ok(Fate::Unknown) => None,
            fate => Some((id, fate)),
        };
        let look = move |brain: &Brain| Ok(asked.into_iter().filter_map(|id| fate(brain, id)).collect());
        let fates: Fates = self.brain.reading(look).await.unwrap_or_else(|error| {
            let problem = Problem::from(error);
            ids.into_iter().map(|id| (id, Err(problem.clone()))).collect()
        });
        // as with writes: every later line would fail, too
        self.broken |= fates.values().any(|fate| fate.as_ref().is_err_and(|problem| status(problem).is_server_error()));
        fates
    }

    async fn flush(&mut self, batch: &mut Vec<NewMemory>, numbers: &mut Vec<Number>, answers: &mut Vec<Imported>) {
        let (batch, numbers) = (std::mem::take(batch), std::mem::take(numbers));
        if batch.is_empty() {
            return;
        }
        if let Ok(written) = self.brain.remember_all(batch.clone()).await {
            answers.extend(numbers.into_iter().zip(written).map(|(number, written)| acknowledged(number, written)));
            return;
        }
        // One bad memory refuses its whole batch, so write them one by one.
        for (number, memory) in numbers.into_iter().zip(batch) {
            answers.push(match self.brain.write(memory).await {
                Ok(written) => acknowledged(number, written),
                Err(error) => {
                    let problem = Problem::from(error);
                    // Every later line would fail, too.
                    self.broken |= status(&problem).is_server_error();
                    Imported { line: number.0, error: Some(problem.into()), ..Imported::default() }
                }
            });
        }
    }
}

/// The memory of a line that is to be written, or the line's answer. A memory whose fate is not known may have been
/// forgotten, so it is not written.
fn decided(
    line: u64,
    reading: Result<Reading, Problem>,
    fate: Option<&Result<Fate, Problem>>,
) -> Result<(Box<NewMemory>, bool), Box<Imported>> {
    let none = Imported { line, ..Imported::default() };
    let refused = |problem: Problem| Box::new(Imported { line, error: Some(problem.into()), ..Imported::default() });
    let (memory, masked) = match reading.map_err(refused)? {
        Reading::Write { memory, masked, .. } => (memory, masked),
        Reading::Expired => return Err(Box::new(Imported { expired: true, ..none })),
    };
    match fate.map(|fate| fate.as_ref().map_err(|problem| refused(problem.clone()))).transpose()? {
        Some(Fate::Forgotten) => Err(Box::new(Imported { forgotten: true, ..none })),
        Some(Fate::Here(there)) => {
            let (id, space) = (Some(there.id.to_string()), Some(there.space.clone()));
            Err(Box::new(Imported { id, space, known: true, ..none }))
        }
        Some(Fate::Unknown) | None => Ok((memory, masked)),
    }
}

fn acknowledged((line, masked): Number, written: crate::memory::Remembered) -> Imported {
    Imported {
        line,
        masked,
        id: Some(written.id.to_string()),
        space: Some(written.space),
        seq: Some(written.seq),
        ..Imported::default()
    }
}

pub(super) async fn import(
    brain: Brain,
    caller: Caller,
    pass: Pass,
    mut parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let secrets = match parameters.one("secrets")?.as_deref() {
        None | Some("refuse") => Secrets::Refuse,
        Some("mask") => Secrets::Mask,
        Some("allow") => caller.secrets(true)?,
        Some(_) => return Err(Problem::new("invalid", "secrets is `refuse`, `mask` or `allow`")),
    };
    parameters.end()?;
    let (caller, body) = (Caller::importing(&pass, &headers), body.into_data_stream());
    let (rest, searched, line) = (Vec::new(), 0, 0);
    let lines =
        Lines { brain: brain.clone(), caller, secrets, body, rest, searched, line, skipping: false, ended: false };
    let (importer, next) = (Importer { brain, broken: false }, Box::pin(maybe_done(lines.parsed())));
    Ok(streamed(
        JSON_LINES,
        stream::unfold((importer, next), |(mut importer, mut next)| async move {
            if importer.broken {
                return None;
            }
            next.as_mut().await;
            let (reader, lines) = next.as_mut().take_output()?;
            if lines.is_empty() {
                return None;
            }
            // The next lines are read meanwhile. Whoever waits for these answers before it sends more gets them.
            next.set(maybe_done(reader.parsed()));
            let mut write = Box::pin(importer.write(lines));
            let answers = poll_fn(|cx| {
                let _ = next.as_mut().poll(cx);
                write.as_mut().poll(cx)
            });
            let answers = answers.await;
            drop(write);
            Some((answers, (importer, next)))
        }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Result<Reading, Problem> {
        Ok(Reading::Write { memory: Box::default(), before: None, masked: false })
    }

    /// promise: Bad input | A line of an import whose memory may have been forgotten here is refused, not written
    #[test]
    fn a_line_whose_fate_cannot_be_read_is_answered_with_the_error() {
        let unread = Err(Problem::new("store", "the disk fails"));
        let answer = decided(7, line(), Some(&unread)).unwrap_err();
        assert_eq!((answer.line, answer.error.map(|error| error.code)), (7, Some("store".to_owned())));
        assert!(decided(7, line(), Some(&Ok(Fate::Forgotten))).unwrap_err().forgotten);
        for fate in [None, Some(Ok(Fate::Unknown))] {
            assert!(decided(7, line(), fate.as_ref()).is_ok());
        }
        assert!(decided(7, Ok(Reading::Expired), Some(&unread)).unwrap_err().expired);
    }
}
