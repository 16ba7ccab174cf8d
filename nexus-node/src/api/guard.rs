//! Who may talk to the API at all: exact lists of hosts and origins, and the token.
//!
//! A web page that somebody happens to visit can make a browser send requests to this address.
//! It cannot read the token, but the routes that are open without one must not answer it either,
//! and a page whose name was rebound to 127.0.0.1 must not pass for a local one. So `Host` and
//! `Origin` are compared with exact lists on every route.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use tokio::net::TcpListener;

use super::problem::Problem;

/// The routes that need no token.
const OPEN: &[&str] = &["/healthz", "/readyz"];

/// The address of this machine that a connection came in at.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalAddress(Option<SocketAddr>);

impl Connected<IncomingStream<'_, TcpListener>> for LocalAddress {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(stream.io().local_addr().ok())
    }
}

/// What a request must show to be let in.
#[derive(Clone)]
pub(super) struct Guard(Arc<Lists>);

struct Lists {
    /// `Host` and authority: name or address, and port.
    hosts: Vec<String>,
    /// The hash: comparing two hashes takes equally long wherever they differ.
    token: blake3::Hash,
}

impl Guard {
    /// The guard of an API at this address. It is known as `localhost`, `127.0.0.1` and `[::1]` on
    /// its port, as the address itself, and, when it listens on all of them, as the address that a
    /// connection came in at. Names of other machines' choosing are never among these.
    pub(super) fn new(address: SocketAddr, token: &str) -> Self {
        let port = address.port();
        let mut hosts: Vec<String> =
            ["127.0.0.1", "localhost", "[::1]"].iter().map(|name| format!("{name}:{port}")).collect();
        let own = address.to_string();
        if !address.ip().is_unspecified() && !hosts.contains(&own) {
            hosts.push(own);
        }
        if port == 80 {
            let bare: Vec<String> = hosts.iter().filter_map(|host| host.strip_suffix(":80")).map(Into::into).collect();
            hosts.extend(bare);
        }
        Self(Arc::new(Lists { hosts, token: blake3::hash(token.as_bytes()) }))
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let Lists { hosts, token } = &*self.0;
        let headers = request.headers();
        let local = request.extensions().get::<ConnectInfo<LocalAddress>>().and_then(|local| local.0.0);
        let local = local.map(|address| address.to_string());
        let known =
            |host: &str| hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) || local.as_deref() == Some(host);
        let host = single(headers, &header::HOST)?
            .ok_or_else(|| Problem::new("malformed", "the request has no Host header"))?;
        let authority = request.uri().authority().map(|authority| authority.as_str());
        if !known(host) || !authority.is_none_or(known) {
            let hint = format!("use http://{}", hosts[0]);
            return Err(Problem::new("foreign_host", "this API does not answer to that Host").hint(hint));
        }
        if let Some(origin) = single(headers, &header::ORIGIN)? {
            let ours = origin.strip_prefix("http://").is_some_and(known);
            if !ours {
                return Err(Problem::new("foreign_origin", "pages of that origin may not use this API"));
            }
        }
        if OPEN.contains(&request.uri().path()) {
            return Ok(());
        }
        let shown = single(headers, &header::AUTHORIZATION)?.and_then(|value| {
            let (scheme, shown) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(shown.trim())
        });
        if shown.is_some_and(|shown| blake3::hash(shown.as_bytes()) == *token) {
            return Ok(());
        }
        let message = if shown.is_some() { "the token is wrong" } else { "the request carries no token" };
        let hint = "send `Authorization: Bearer …` with the line in the data directory's `api-token`";
        Err(Problem::new("unauthorized", message).hint(hint))
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("hosts", &self.0.hosts).finish_non_exhaustive()
    }
}

/// A header that must not be there twice: two parties might each believe a different one.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Problem::new("malformed", format!("the request has two {name} headers")));
    }
    let unreadable = |_| Problem::new("malformed", format!("the {name} header cannot be read"));
    value.map(|value| value.to_str().map_err(unreadable)).transpose()
}

/// Lets a request through, or answers in its place.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, headers: &[(&str, &str)]) -> Request {
        let mut builder = Request::builder().uri(path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(axum::body::Body::empty()).unwrap()
    }

    fn code(guard: &Guard, path: &str, headers: &[(&str, &str)]) -> &'static str {
        guard.check(&request(path, headers)).map_or_else(|problem| problem.code, |()| "ok")
    }

    #[test]
    fn hosts_origins_and_tokens_are_compared_exactly_on_every_route() {
        let guard = Guard::new("127.0.0.1:8002".parse().unwrap(), "secret");
        let bearer = ("authorization", "Bearer secret");
        for host in ["127.0.0.1:8002", "localhost:8002", "LOCALHOST:8002", "[::1]:8002"] {
            assert_eq!(code(&guard, "/v1/status", &[("host", host), bearer]), "ok", "{host}");
        }
        let foreign_hosts =
            ["evil.example:8002", "127.0.0.1", "127.0.0.1:80", "localhost:8002.evil.example", "127.0.0.1:8002 ", ""];
        for host in foreign_hosts {
            for path in ["/healthz", "/readyz", "/v1/status", "/nothing"] {
                assert_eq!(code(&guard, path, &[("host", host), bearer]), "foreign_host", "{host} {path}");
            }
        }
        let host = ("host", "127.0.0.1:8002");
        for origin in
            ["http://evil.example", "null", "https://127.0.0.1:8002", "http://127.0.0.1", "http://127.0.0.1:8002/"]
        {
            for path in ["/healthz", "/v1/status"] {
                assert_eq!(code(&guard, path, &[host, bearer, ("origin", origin)]), "foreign_origin", "{origin}");
            }
        }
        assert_eq!(code(&guard, "/v1/status", &[host, bearer, ("origin", "http://localhost:8002")]), "ok");
        assert_eq!(code(&guard, "http://evil.example/v1/status", &[host, bearer]), "foreign_host");
        assert_eq!(code(&guard, "/healthz", &[]), "malformed");
        assert_eq!(code(&guard, "/healthz", &[host, host]), "malformed");
        for token in ["Bearer wrong", "Basic secret", "secret", "Bearer", "Bearer secret2", "Bearer  "] {
            assert_eq!(code(&guard, "/v1/status", &[host, ("authorization", token)]), "unauthorized", "{token}");
        }
        assert_eq!(code(&guard, "/v1/status", &[host]), "unauthorized");
        assert_eq!(code(&guard, "/healthz", &[host]), "ok");
        assert_eq!(code(&guard, "/healthz/", &[host]), "unauthorized");
    }
}
