//! The graph as lines of JSON in the memory server's form: `GET` and `POST /v1/graph`.

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::json;

use crate::api::Api;
use crate::api::caller::Caller;
use crate::api::pass::Pass;
use crate::graph::{Line, LineCounts, SPACE};
use crate::mcp::http::{Door, McpState};
use crate::problem::Problem;

/// The most lines written at once.
const LINES_AT_ONCE: usize = 500;

/// Sends all entities, then all relations.
pub(in crate::mcp) async fn export(
    State(api): State<Api>,
    Extension(mcp): McpState,
    request: Request,
) -> Result<Response, Problem> {
    let project = Door::of(&request)?.project.unwrap_or_default();
    Pass::of(request.extensions()).check_space(SPACE)?;
    let graph = mcp.graph(&api.node()?);
    let lines = graph.current().await?.lines(&project);
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from(lines)).into_response())
}

/// Adds the missing items. An unreadable line stops the import; items before it stay.
pub(in crate::mcp) async fn import(
    State(api): State<Api>,
    Extension(mcp): McpState,
    request: Request,
) -> Result<Response, Problem> {
    let project = Door::of(&request)?.project.unwrap_or_default();
    let pass = Pass::of(request.extensions());
    pass.check_space(SPACE)?;
    let graph = mcp.graph(&api.node()?);
    let line_max = api.body_bytes_max();
    let origin = Caller::importing(&pass, request.headers()).origin(None, None)?;
    let mut body = request.into_body().into_data_stream();
    let (mut rest, mut lines, mut number, mut taken) = (Vec::new(), Vec::new(), 0, LineCounts::default());
    loop {
        let chunk: Option<Bytes> =
            body.next().await.transpose().map_err(|_| Problem::new("malformed", "the body broke off"))?;
        let ended = chunk.is_none();
        rest.extend_from_slice(&chunk.unwrap_or_default());
        while let Some(end) =
            rest.iter().position(|byte| *byte == b'\n').or((ended && !rest.is_empty()).then_some(rest.len()))
        {
            let line: Vec<u8> = rest.drain(..(end + 1).min(rest.len())).collect();
            number += 1;
            let line = line.trim_ascii();
            if !line.is_empty() {
                lines.push(read(line, number)?);
            }
            if lines.len() == LINES_AT_ONCE {
                graph.take(&project, std::mem::take(&mut lines), &origin, &mut taken).await?;
            }
        }
        if rest.len() > line_max {
            return Err(Problem::new("too_large", format!("line {} has more than {line_max} bytes", number + 1)));
        }
        if ended {
            break;
        }
    }
    graph.take(&project, lines, &origin, &mut taken).await?;
    let LineCounts { entities, observations, relations } = taken;
    let counts = json!({ "entities": entities, "observations": observations, "relations": relations });
    Ok(axum::Json(counts).into_response())
}

/// Whether a line is one of the graph.
#[cfg(feature = "testing")]
pub(in crate::mcp) fn is_line(line: &[u8]) -> bool {
    let Ok(read) = self::read(line, 1) else { return false };
    let written = serde_json::to_vec(&read).unwrap_or_default();
    let again = self::read(&written, 1).ok().and_then(|again| serde_json::to_vec(&again).ok());
    assert!(again == Some(written), "a line reads as it was written");
    true
}

fn read(line: &[u8], number: usize) -> Result<Line, Problem> {
    serde_json::from_slice(line).map_err(|error| {
        Problem::new("invalid", format!("line {number}: {error}"))
            .hint("a line is an entity or a relation, as the memory server writes them")
    })
}
