//! Documents: reading, changing and following them.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::Value;

use super::caller::Caller;
use super::events::after;
use super::extract::{File, Json, Parameters, Path};
use super::pass::Pass;
use super::problem::Problem;
use super::{Api, wire};
use crate::documents::{DOCUMENTS_LISTED_MAX, Documents, Edit, HISTORY_MAX};
use crate::memory::Secrets;
use nexus_documents::DocumentId;
use nexus_identity::Timestamp;

/// The type of a document's file.
pub(super) const FILE: &str = "application/octet-stream";
/// The time between two signs of life of a silent stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The changes of a history that nobody bounds.
const HISTORY: usize = 100;

impl FromRequestParts<Api> for Documents {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let node = api.node()?;
        Ok(node.documents().within(Pass::of(&parts.extensions).brain(node.brain())))
    }
}

pub(super) async fn list(documents: Documents, mut parameters: Parameters) -> Result<Answer<wire::Documents>, Problem> {
    let (space, after) = (parameters.one("space")?, parameters.one("after")?);
    let limit = parameters.one_as("limit")?.unwrap_or(DOCUMENTS_LISTED_MAX);
    parameters.end()?;
    if !(1..=DOCUMENTS_LISTED_MAX).contains(&limit) {
        return Err(Problem::new("invalid", format!("limit is {limit}, it may be 1 to {DOCUMENTS_LISTED_MAX}")));
    }
    Ok(Answer(documents.list(space.as_deref(), after.as_deref(), limit).await?.into()))
}

pub(super) async fn create(documents: Documents, Json(new): Json<wire::NewDocument>) -> Result<Response, Problem> {
    let created = documents.create(new.space.as_deref(), &new.key).await?;
    let status = if created.changed { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Answer(wire::Document::from(created))).into_response())
}

pub(super) async fn import(
    documents: Documents,
    mut parameters: Parameters,
    File(file): File,
) -> Result<Response, Problem> {
    let (space, key) = (parameters.one("space")?, parameters.one("key")?);
    let id = parameters.one_as::<DocumentId>("id")?;
    parameters.end()?;
    let imported = match (id, key) {
        (Some(_), Some(_)) => return Err(Problem::new("invalid", "give `id` or `key`, not both")),
        (Some(id), None) => documents.import_as(space.as_deref(), id, file).await?,
        (None, key) => documents.import(space.as_deref(), key.as_deref(), file).await?,
    };
    let status = if imported.changed { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Answer(wire::Document::from(imported))).into_response())
}

pub(super) async fn get(
    documents: Documents,
    Path(key): Path,
    mut parameters: Parameters,
) -> Result<Answer<wire::Document>, Problem> {
    let (space, path) = (parameters.one("space")?, parameters.one("path")?.unwrap_or_default());
    let (version, time) = (parameters.one("version")?, parameters.one("at")?);
    parameters.end()?;
    let at = match (version, time) {
        (Some(_), Some(_)) => return Err(Problem::new("invalid", "give `version` or `at`, not both")),
        (None, Some(time)) => {
            let time = moment(&time, documents.now())?;
            Some(documents.version_at(space.as_deref(), &key, time).await?)
        }
        (Some(version), None) => Some(documents.version(space.as_deref(), &key, &version).await?),
        (None, None) => None,
    };
    Ok(Answer(documents.get(space.as_deref(), &key, &path, at.as_ref()).await?.into()))
}

/// A moment in the past: as RFC 3339, or the time since then, as `1d`.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    if let Ok(ago) = wire::parse_duration(text) {
        return Ok(Timestamp::from_ms(now.as_ms().saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))));
    }
    wire::parse_timestamp(text).map_err(|error| {
        Problem::new("invalid", format!("at: {error}"))
            .hint("a time is as 2026-01-31T12:00:00Z, or as `1d` for a day ago")
    })
}

/// The documents for a caller who allows credentials, or does not.
fn allowing(documents: Documents, caller: &Caller, allow: bool) -> Result<Documents, Problem> {
    Ok(match caller.secrets(allow)? {
        Secrets::Allow => documents.allowing_secrets(),
        _ => documents,
    })
}

pub(super) async fn merge(
    documents: Documents,
    caller: Caller,
    Path(key): Path,
    mut parameters: Parameters,
    Json(patch): Json<serde_json::Map<String, Value>>,
) -> Result<Answer<wire::Document>, Problem> {
    let (space, path) = (parameters.one("space")?, parameters.one("path")?.unwrap_or_default());
    let documents = allowing(documents, &caller, parameters.one_as("allow_secret")?.unwrap_or(false))?;
    parameters.end()?;
    let edit = wire::document_edit(wire::DocumentEdit::Merge { path, patch: Value::Object(patch) })?;
    Ok(Answer(documents.edit(space.as_deref(), &key, vec![edit]).await?.into()))
}

pub(super) async fn edit(
    documents: Documents,
    caller: Caller,
    Path(key): Path,
    mut parameters: Parameters,
    Json(edits): Json<wire::DocumentEdits>,
) -> Result<Answer<wire::Document>, Problem> {
    let space = parameters.one("space")?;
    parameters.end()?;
    let documents = allowing(documents, &caller, edits.allow_secret)?;
    let mut edits = edits.edits;
    let mut named: Vec<&mut String> = edits.iter_mut().filter_map(wire::DocumentEdit::version_mut).collect();
    let texts: Vec<String> = named.iter().map(|version| (**version).clone()).collect();
    let versions = documents.versions(space.as_deref(), &key, &texts).await?;
    named.iter_mut().zip(versions).for_each(|(text, version)| **text = version.to_string());
    let edits: Vec<Edit> = edits.into_iter().map(wire::document_edit).collect::<Result<_, _>>()?;
    Ok(Answer(documents.edit(space.as_deref(), &key, edits).await?.into()))
}

pub(super) async fn conflicts(
    documents: Documents,
    Path(key): Path,
    mut parameters: Parameters,
) -> Result<Answer<wire::DocumentConflicts>, Problem> {
    let (space, path) = (parameters.one("space")?, parameters.one("path")?.unwrap_or_default());
    parameters.end()?;
    let all = documents.conflicts(space.as_deref(), &key, &path).await?;
    Ok(Answer(wire::DocumentConflicts { items: all.into_iter().map(Into::into).collect() }))
}

pub(super) async fn history(
    documents: Documents,
    Path(key): Path,
    mut parameters: Parameters,
) -> Result<Answer<wire::DocumentHistory>, Problem> {
    let (space, limit) = (parameters.one("space")?, parameters.one_as("limit")?.unwrap_or(HISTORY));
    parameters.end()?;
    if !(1..=HISTORY_MAX).contains(&limit) {
        return Err(Problem::new("invalid", format!("limit is {limit}, it may be 1 to {HISTORY_MAX}")));
    }
    let (_, entries) = documents.history(space.as_deref(), &key, limit).await?;
    Ok(Answer(wire::DocumentHistory { items: entries.into_iter().map(Into::into).collect() }))
}

pub(super) async fn text(
    documents: Documents,
    Path(key): Path,
    mut parameters: Parameters,
) -> Result<Answer<wire::DocumentText>, Problem> {
    let (space, path) = (parameters.one("space")?, parameters.one("path")?.unwrap_or_default());
    parameters.end()?;
    let runs = documents.authors(space.as_deref(), &key, &path).await?;
    let marks = documents.marks(space.as_deref(), &key, &path).await?;
    let (runs, marks) =
        (runs.into_iter().map(Into::into).collect(), marks.into_iter().map(wire::document_mark).collect());
    Ok(Answer(wire::DocumentText { runs, marks }))
}

/// Each change as it happens, as patches: server-sent events with the version as their id.
pub(super) async fn changes(
    State(api): State<Api>,
    documents: Documents,
    Path(key): Path,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let from = after(&headers, &mut parameters)?;
    let space = parameters.one("space")?;
    parameters.end()?;
    let from = match from {
        Some(from) => Some(documents.version(space.as_deref(), &key, &from).await?),
        None => None,
    };
    let watch = documents.watch(space.as_deref(), &key, from).await?;
    let changes = stream::unfold((watch, api), |(mut watch, api)| async move {
        let change = tokio::select! {
            biased;
            () = api.closing() => return None,
            change = watch.next() => change.ok()?,
        };
        let change = wire::DocumentChange::from(change);
        let event = Event::default().id(change.version.clone()).event("change");
        let event = event.json_data(&change).unwrap_or_default();
        Some((Ok::<_, Infallible>(event), (watch, api)))
    });
    Ok(Sse::new(changes).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

pub(super) async fn export(
    documents: Documents,
    Path(key): Path,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let space = parameters.one("space")?;
    parameters.end()?;
    let (_, file) = documents.export(space.as_deref(), &key).await?;
    let kind = HeaderValue::from_static(FILE);
    Ok(([(header::CONTENT_TYPE, kind)], file).into_response())
}

pub(super) async fn name(
    documents: Documents,
    Path(key): Path,
    mut parameters: Parameters,
    Json(name): Json<wire::DocumentName>,
) -> Result<Answer<wire::Document>, Problem> {
    let space = parameters.one("space")?;
    parameters.end()?;
    Ok(Answer(documents.name(space.as_deref(), &key, &name.key).await?.into()))
}

pub(super) async fn compact(
    documents: Documents,
    Path(key): Path,
    mut parameters: Parameters,
) -> Result<Answer<wire::Document>, Problem> {
    let space = parameters.one("space")?;
    parameters.end()?;
    Ok(Answer(documents.compact(space.as_deref(), &key).await?.into()))
}
