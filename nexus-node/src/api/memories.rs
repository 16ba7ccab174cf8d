//! Memories: write, read, change, remove, and all of them at once.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;

use super::caller::Caller;
use super::extract::{Json, OptionalJson, Parameters, Path, Query};
use super::pass::Pass;
use super::problem::Problem;
use super::{Api, wire};
use crate::brain::Chains;
use crate::memory::{ListQuery, ValidAt};
use crate::project::ProjectChoice;
use crate::{Brain, Memory, Node, NodeError, RecallQuery};

pub(super) const JSON_LINES: &str = "application/jsonl";

/// The memories of an export read at once: two megabytes at most, without the rest of long texts.
const EXPORT_PAGE: usize = 50;
/// The bytes of lines of an export that are sent at once. One line may be longer.
const EXPORT_BYTES: usize = 1 << 20;

/// The header with the part of all memories that was searched, as `40%`; left out if it was all.
pub(super) const INDEXED: &str = "nexus-indexed";

/// A share in whole percent, rounded down.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
fn percent(share: f64) -> HeaderValue {
    let percent = (share.clamp(0.0, 1.0) * 100.0) as u8;
    HeaderValue::from_str(&format!("{percent}%")).unwrap_or(HeaderValue::from_static("0%"))
}

/// The header that is `true` if there is an embedder, and it fails: words alone were searched.
pub(super) const WORDS_ALONE: &str = "nexus-words-alone";

/// The header that is `true` if `limit` or `tokens` cut the results.
pub(super) const TRUNCATED: &str = "nexus-truncated";

pub(super) async fn remember(
    brain: Brain,
    caller: Caller,
    Json(memory): Json<wire::NewMemory>,
) -> Result<Response, Problem> {
    let remembered = brain.remember(wire::new_memory(memory, &caller)?).await?;
    Ok((StatusCode::CREATED, axum::Json(wire::Remembered::from(remembered))).into_response())
}

/// Recalls if `q` is given, lists otherwise.
pub(super) async fn find(
    node: Node,
    brain: Brain,
    pass: Pass,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let mut phrasings = parameters.many("q").into_iter();
    match phrasings.next() {
        Some(words) => recall((node, pass), brain, words, phrasings.collect(), parameters).await,
        None => list(brain, parameters).await,
    }
}

fn limit(parameters: &mut Parameters, default: usize) -> Result<usize, Problem> {
    let limit = parameters.one_as("limit")?.unwrap_or(default);
    if (1..=1_000).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::new("invalid", format!("limit is 1 to 1000, not {limit}")))
}

async fn recall(
    (node, pass): (Node, Pass),
    brain: Brain,
    words: String,
    or: Vec<String>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let mut query = RecallQuery { or, ..RecallQuery::of(words) };
    query.min = parameters.one_as("min")?;
    if query.min.is_some_and(|min: f64| !(0.0..=1.0).contains(&min)) {
        return Err(Problem::new("invalid", "min is 0 to 1"));
    }
    query.spaces = parameters.many("space");
    query.limit = limit(&mut parameters, query.limit)?;
    query.tags = parameters.many("tag");
    query.kinds = parameters.many("kind");
    query.by = parameters.one("by")?;
    query.since = parameters.one_as::<wire::Span>("since")?.map(|since| since.0);
    query.tokens = parameters.one_as("tokens")?;
    query.valid_at = parameters.one_as::<wire::ValidAt>("valid_at")?.map_or(ValidAt::Now, ValidAt::from);
    let project = choice(&mut parameters)?;
    parameters.end()?;
    if let Some(project) = project {
        query.project = Some(pass.project(&node, project).await?);
    }
    let recalled = brain.recall(query).await?;
    let indexed = recalled.indexed;
    let hits: Vec<wire::Hit> = recalled.hits.into_iter().map(wire::Hit::from).collect();
    let truncated = if recalled.truncated { "true" } else { "false" };
    let mut answer = ([(TRUNCATED, truncated)], axum::Json(hits)).into_response();
    if indexed < 1.0 {
        answer.headers_mut().insert(INDEXED, percent(indexed));
    }
    if brain.embedder_fails() {
        answer.headers_mut().insert(WORDS_ALONE, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

/// The project that parameters name, by itself or by a directory.
fn choice(parameters: &mut Parameters) -> Result<Option<ProjectChoice>, Problem> {
    let (project, place, owner) = (parameters.one("project")?, parameters.one("place")?, parameters.one("owner")?);
    let marks = parameters.one("marks")?;
    ProjectChoice::of_parameters(project, place, owner, marks.as_deref())
        .map_err(|error| Problem::new("invalid", error.to_string()))
}

/// The project of a directory.
pub(super) async fn project(
    node: Node,
    pass: Pass,
    mut parameters: Parameters,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let choice = choice(&mut parameters)?;
    parameters.end()?;
    let choice = choice.ok_or_else(|| Problem::new("invalid", "place: it is missing"))?;
    Ok(axum::Json(serde_json::json!({ "name": pass.project(&node, choice).await? })))
}

async fn list(brain: Brain, mut parameters: Parameters) -> Result<Response, Problem> {
    let limit = limit(&mut parameters, ListQuery::default().limit)?;
    let no_aliases = parameters.one_as("no_aliases")?.unwrap_or_default();
    let query = ListQuery {
        space: parameters.one("space")?,
        limit,
        no_aliases,
        tags: parameters.many("tag"),
        kinds: parameters.many("kind"),
        all: false,
        project: parameters.one("project")?,
        conflicts: parameters.one_as("conflicts")?.unwrap_or_default(),
        after: parameters.one("after")?,
    };
    parameters.end()?;
    let listing = brain.list(query).await?;
    Ok(axum::Json(wire::Listing::from(listing)).into_response())
}

/// A memory. Its whole text is fetched if that is asked for.
pub(super) async fn get(
    brain: Brain,
    Path(id): Path,
    mut parameters: Parameters,
) -> Result<axum::Json<wire::Memory>, Problem> {
    let is_whole = parameters.one_as::<bool>("whole")?.unwrap_or(false);
    parameters.end()?;
    let mut memory = brain.get(id).await?;
    if is_whole {
        memory.text = brain.whole_text(&memory).await?;
    }
    Ok(axum::Json(memory.into()))
}

pub(super) async fn edit(
    brain: Brain,
    caller: Caller,
    Path(id): Path,
    Json(patch): Json<wire::Patch>,
) -> Result<axum::Json<wire::Memory>, Problem> {
    Ok(axum::Json(brain.edit(&id, wire::patch(patch, &caller, brain.now())?).await?.into()))
}

pub(super) async fn forget(brain: Brain, Path(id): Path) -> Result<axum::Json<wire::Forgotten>, Problem> {
    brain.forget(&id).await?;
    Ok(axum::Json(wire::Forgotten { id, forgotten: true }))
}

pub(super) async fn unforget(
    brain: Brain,
    caller: Caller,
    Path(id): Path,
    OptionalJson(unforget): OptionalJson<wire::Unforget>,
) -> Result<axum::Json<wire::Memory>, Problem> {
    let (origin, secrets) = (caller.origin(None, None)?, caller.secrets(unforget.allow_secret)?);
    Ok(axum::Json(brain.unforget(&id, origin, secrets).await?.into()))
}

pub(super) async fn history(brain: Brain, Path(id): Path) -> Result<axum::Json<Vec<wire::Revision>>, Problem> {
    let revisions = brain.history(id).await?;
    Ok(axum::Json(revisions.into_iter().map(wire::Revision::from).collect()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    space: Option<String>,
    /// Whether each line has the proof of who wrote its text.
    #[serde(default)]
    full: bool,
}

/// Memories to send, and the cursor of those after them.
type Page = (VecDeque<Exporting>, Option<String>);

/// A memory that is to be sent, of a long text with the beginning alone.
struct Exporting {
    memory: Memory,
    key: Option<String>,
    proof: Option<String>,
}

/// Sends one memory a line, page by page. A slow reader holds one page and one line, and for one that is gone
/// nothing is read. A failure breaks the stream off, so half an export never passes for a whole one.
pub(super) async fn export(
    State(api): State<Api>,
    brain: Brain,
    Query(Export { space, full }): Query<Export>,
) -> Result<Response, Problem> {
    let chains = match full {
        true => Some(Arc::new(brain.reading(|brain| brain.chains_blocking()).await?)),
        false => None,
    };
    let texts = brain.clone();
    let page = move |after: Option<String>| {
        let (brain, space, chains) = (brain.clone(), space.clone(), chains.clone());
        let query = ListQuery { space, after, ..ListQuery::newest().limit(EXPORT_PAGE).all() };
        async move { Ok::<_, Problem>(brain.reading(move |brain| export_page(brain, &query, chains.as_deref())).await?) }
    };
    let first = page(None).await?;
    // The first page is there already. Each further one is read once the page before is sent.
    let pages = stream::try_unfold(first, move |(mut memories, mut after): Page| {
        let (page, api, texts) = (page.clone(), api.clone(), texts.clone());
        async move {
            while memories.is_empty() {
                let Some(cursor) = after.take() else { return Ok::<_, Problem>(None) };
                (memories, after) = tokio::select! {
                    next = page(Some(cursor)) => next?,
                    () = api.closing() => return Err(Problem::stopping()),
                };
            }
            let (lines, memories) = texts.reading(move |brain| Ok(export_lines(brain, memories))).await?;
            Ok(Some((lines, (memories, after))))
        }
    });
    Ok(([(header::CONTENT_TYPE, JSON_LINES)], Body::from_stream(pages)).into_response())
}

/// A page of memories, and the cursor of the next one. With chains, each has its proof.
fn export_page(brain: &Brain, query: &ListQuery, chains: Option<&Chains>) -> Result<Page, NodeError> {
    let listing = brain.list_blocking(query)?;
    let mut page = VecDeque::new();
    for memory in listing.items {
        let key = match brain.key_of_blocking(memory.id) {
            // a memory forgotten meanwhile is exported without its key
            Err(NodeError::NotFound { .. }) => None,
            key => key?,
        };
        let proof = match chains {
            Some(chains) => match brain.proof_of_blocking(&memory, chains) {
                Err(NodeError::NotFound { .. }) => None,
                proof => proof?,
            },
            None => None,
        };
        page.push_back(Exporting { memory, key, proof });
    }
    Ok((page, listing.next))
}

/// Some memories as lines, and those that are left. A long text is whole if it is here.
fn export_lines(brain: &Brain, mut memories: VecDeque<Exporting>) -> (Bytes, VecDeque<Exporting>) {
    let mut lines = Vec::new();
    while lines.len() < EXPORT_BYTES
        && let Some(Exporting { mut memory, key, proof }) = memories.pop_front()
    {
        if let Some(attachment) = memory.attachment
            && let Some(whole) = brain.whole_text_here(&memory.text, attachment)
        {
            (memory.text, memory.attachment) = (whole, None);
        }
        put_line(&mut lines, &wire::Exported { memory: memory.into(), key, proof });
    }
    (lines.into(), memories)
}

pub(super) fn put_line<T: serde::Serialize>(lines: &mut Vec<u8>, document: &T) {
    // Writing to memory cannot fail, and our documents have string keys.
    if serde_json::to_writer(&mut *lines, document).is_ok() {
        lines.push(b'\n');
    }
}

/// A body that is made while it is read.
pub(super) fn streamed(
    content_type: &'static str,
    bytes: impl stream::Stream<Item = Bytes> + Send + 'static,
) -> Response {
    let bytes = futures::StreamExt::map(bytes, Ok::<_, Infallible>);
    ([(header::CONTENT_TYPE, content_type)], Body::from_stream(bytes)).into_response()
}
