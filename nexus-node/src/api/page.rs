//! The page at `/`: a few files inside the program, and signing a browser in.
//!
//! The files hold no data and need no token. The page asks the API for all that it shows, with its
//! cookie. There is no build step, and no file comes from the network.

mod files;
mod session;

use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

pub(super) use self::files::{file, is_open, paths};
pub(super) use self::session::BrowserSession;

use self::files::LINK;

use super::connections::ApiConnection;
use super::extract::Path;
use super::guard::Shown;
use super::problem::Problem;
use super::{Api, wire};

/// Makes a link that signs a browser in. Needs the token: a page cannot prolong its own session.
pub(super) async fn link(
    State(api): State<Api>,
    Extension(shown): Extension<Shown>,
    ConnectInfo(connection): ConnectInfo<ApiConnection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if shown != Shown::Token {
        return Err(Problem::new("refused", "a link to the page is made with the token").hint("`nexus-node web`"));
    }
    let (code, expires_at) = api.0.guard.session().code(api.0.guard.now());
    // The guard has compared the host with the allowed ones.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = api.0.guard.scheme(&headers, connection.local());
    let link = format!("{scheme}://{host}{LINK}{code}");
    Ok((StatusCode::CREATED, axum::Json(wire::WebLink { link, expires_at: expires_at.to_string() })).into_response())
}

/// Follows a link once: gives the browser its cookie and sends it to the page. A preview of the link
/// (`HEAD`) does not use it up.
pub(super) async fn follow(
    State(api): State<Api>,
    ConnectInfo(connection): ConnectInfo<ApiConnection>,
    Path(code): Path,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET || headers.contains_key("sec-purpose") {
        return StatusCode::NO_CONTENT.into_response();
    }
    let now = api.0.guard.now();
    if api.0.guard.session().redeem(&code, now) {
        return signed_in(&api, api.0.guard.scheme(&headers, connection.local()), Redirect::to("/").into_response());
    }
    let person = headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"));
    if person {
        return Redirect::to("/#over").into_response();
    }
    Problem::new("refused", "this link was used, or is too old").hint("`nexus-node web` makes another").into_response()
}

/// Signs in a client that has the token.
pub(super) async fn sign_in(
    State(api): State<Api>,
    ConnectInfo(connection): ConnectInfo<ApiConnection>,
    Extension(shown): Extension<Shown>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if shown != Shown::Token {
        return Err(Problem::new("refused", "signing in takes the token").hint("`nexus-node web` makes a link"));
    }
    let scheme = api.0.guard.scheme(&headers, connection.local());
    Ok(signed_in(&api, scheme, StatusCode::NO_CONTENT.into_response()))
}

/// Has the browser drop its cookie.
pub(super) async fn sign_out(
    State(api): State<Api>,
    ConnectInfo(connection): ConnectInfo<ApiConnection>,
    headers: HeaderMap,
) -> Response {
    let scheme = api.0.guard.scheme(&headers, connection.local());
    with_cookie(StatusCode::NO_CONTENT.into_response(), &api.0.guard.session().end(scheme))
}

fn signed_in(api: &Api, scheme: &str, response: Response) -> Response {
    with_cookie(response, &api.0.guard.session().begin(api.0.guard.now(), scheme))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    let cookie = HeaderValue::try_from(cookie).ok().map(|cookie| (header::SET_COOKIE, cookie));
    response.headers_mut().extend(cookie);
    response
}
