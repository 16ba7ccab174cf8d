//! Problems as documents over HTTP.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::wire;

pub use crate::problem::{CODES, Code, Problem, code};

/// The time after which a client should try again that was too hasty, if nothing else was said.
const CALMER_AFTER: Duration = Duration::from_secs(60);
/// The time after which a client should ask a starting node again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The HTTP status of a problem.
pub(super) fn status(problem: &Problem) -> StatusCode {
    let status = code(problem.code).and_then(|code| StatusCode::from_u16(code.status).ok());
    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl From<Problem> for wire::ErrorBody {
    fn from(problem: Problem) -> Self {
        Self { code: problem.code.to_owned(), message: problem.message, hint: problem.hint, id: problem.id }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = status(&self);
        let document = wire::Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: self.code.to_owned(),
            detail: self.message,
            hint: self.hint,
            id: self.id,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(CALMER_AFTER.as_secs()));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER.as_secs()));
        }
        response
    }
}

pub(super) async fn no_route() -> Problem {
    Problem::new("no_route", "there is no such route").hint("docs/cli.md lists the routes")
}

pub(super) async fn no_method() -> Problem {
    Problem::new("no_method", "this route does not take that method").hint("the Allow header lists those it takes")
}
