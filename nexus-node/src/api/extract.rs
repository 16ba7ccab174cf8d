//! Reading requests. Every refusal is a [`Problem`].

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use futures::StreamExt;
use serde::de::DeserializeOwned;

use super::Api;
use super::guard::single;
use super::pass::Pass;
use super::problem::Problem;
use crate::{Brain, Critical, Node, TaskBoard};

/// A JSON body. A body without a content type counts as JSON, and so does one with that of a form,
/// which curl sends by default. Any other content type is refused.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        parse(&body(request, api).await?).map(Self)
    }
}

/// A JSON body, or no body.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<T: DeserializeOwned + Default> FromRequest<Api> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let body = body(request, api).await?;
        if body.is_empty() { Ok(Self(T::default())) } else { parse(&body).map(Self) }
    }
}

/// The whole body, unless it is larger than allowed. No more than the allowed bytes are read.
async fn body(request: Request, api: &Api) -> Result<Vec<u8>, Problem> {
    if let Some(kind) = request.headers().get(header::CONTENT_TYPE)
        && !is_json(kind)
    {
        return Err(Problem::new("wrong_type", "the body is to be JSON").hint("send `Content-Type: application/json`"));
    }
    let hint = "for many memories there is POST /v1/import, which streams";
    read_up_to(request, api.0.settings.body_bytes_max(), hint).await
}

async fn read_up_to(request: Request, max: usize, hint: &'static str) -> Result<Vec<u8>, Problem> {
    let mut body = request.into_body().into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk: Bytes = chunk.map_err(|_| Problem::new("malformed", "the body could not be read"))?;
        if bytes.len() + chunk.len() > max {
            return Err(Problem::new("too_large", format!("a body has at most {max} bytes")).hint(hint));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A document's file, of any content type.
#[cfg(feature = "documents")]
pub(super) struct File(pub(super) Vec<u8>);

/// The longest file of a document: as much as a document holds.
#[cfg(feature = "documents")]
const FILE_BYTES_MAX: usize = 16 << 20;

#[cfg(feature = "documents")]
impl FromRequest<Api> for File {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> Result<Self, Problem> {
        read_up_to(request, FILE_BYTES_MAX, "a document holds at most 16 MiB of changes").await.map(Self)
    }
}

fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let suffixed = kind.starts_with("application/") && kind.ends_with("+json");
    kind == "application/json" || kind == "application/x-www-form-urlencoded" || suffixed
}

/// Reads a JSON object. Other text is malformed, JSON of another shape is invalid. An array of the
/// fields is invalid, too.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let refuse = |error: serde_json::Error| {
        let code = if error.is_data() { "invalid" } else { "malformed" };
        Problem::new(code, error.to_string())
    };
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(refuse)?;
        return Err(Problem::new("invalid", "an object is expected"));
    }
    serde_json::from_slice(bytes).map_err(refuse)
}

/// The query of the address.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| Problem::new("invalid", rejection.body_text()))
    }
}

/// The query of an address whose parameters may be repeated.
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::from_request_parts(parts, state).await.map(|Query(pairs)| Self(pairs))
    }
}

impl Parameters {
    /// Every value of a parameter, in order.
    pub(super) fn many(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) = std::mem::take(&mut self.0).into_iter().partition(|(given, _)| given == name);
        self.0 = rest;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The value of a parameter that may be given once.
    pub(super) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.many(name);
        if values.len() > 1 {
            return Err(Problem::new("invalid", format!("{name} is given {} times", values.len())));
        }
        Ok(values.pop())
    }

    /// The value of a parameter that may be given once, parsed.
    pub(super) fn one_as<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let read = |text: String| text.parse().map_err(|error| Problem::new("invalid", format!("{name}: {error}")));
        self.one(name)?.map(read).transpose()
    }

    /// Refuses all parameters that were not read.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(40).collect();
                Err(Problem::new("invalid", format!("there is no parameter {name:?} here")))
            }
        }
    }
}

/// A part of the path.
pub(super) struct Path(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::<String>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(part)| Self(part))
            .map_err(|rejection| Problem::new("malformed", rejection.body_text()))
    }
}

impl FromRequestParts<Api> for Node {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, api: &Api) -> Result<Self, Problem> {
        api.node()
    }
}

impl FromRequestParts<Api> for Brain {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        api.node().map(|node| Pass::of(&parts.extensions).brain(node.brain()))
    }
}

impl FromRequestParts<Api> for TaskBoard {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, api: &Api) -> Result<Self, Problem> {
        api.node().map(|node| node.tasks())
    }
}

impl FromRequestParts<Api> for Critical {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let critical = api.node()?.critical()?;
        match single(&parts.headers, &IDEMPOTENCY_KEY)? {
            Some(id) => Ok(critical.once(quoted(id))?),
            None => Ok(critical),
        }
    }
}

/// The id of a request in its header, if it has one.
pub(super) struct RequestId(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let id = single(&parts.headers, &IDEMPOTENCY_KEY)?;
        Ok(Self(id.map(|id| quoted(id).to_owned())))
    }
}

/// The id of a request that is done once, however often it is asked for.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The text of a header that may be in quotes, as structured fields have it.
fn quoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}
