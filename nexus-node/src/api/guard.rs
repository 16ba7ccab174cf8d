//! The check before everything else: exact lists of hosts and origins, and a token or the page's cookie.
//!
//! A foreign web page can make a browser send requests to this address. It cannot read the token, but
//! the routes without a token must not answer it either. And a page whose name was rebound to 127.0.0.1
//! must not pass for a local one. So `Host` and `Origin` are compared with exact lists on every route.
//!
//! A browser adds the cookie by itself, also to requests that a page of another server on this machine
//! makes: to a cookie all ports are one site. So with the cookie, a request that changes something must
//! name an origin of ours. And a browser that names the site of a request's origin must name our page.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, Method, header};
use nexus_client::proof::ProofKey;
use nexus_identity::Timestamp;
use nexus_mesh::{Clock, SystemClock};

use super::connections::ApiConnection;
use super::door::Door;
use super::issued::{Found, IssuedToken, TOKEN_PREFIX, TokenBook, UNREAD_HINT};
use super::page::{self, BrowserSession};
use super::problem::Problem;
use super::websocket::{SUBPROTOCOL, is_websocket};

/// The routes that need no token, besides the page's.
const OPEN: &[&str] = &["/healthz", "/readyz"];

/// The proof that let a request in.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// No proof: the route is open.
    Nothing,
    /// The token.
    Token,
    /// The page's cookie.
    Cookie,
    /// The token of the metrics, on their route.
    Metrics,
    /// A token that names an agent.
    Issued(Arc<IssuedToken>),
}

impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Issued(one), Self::Issued(other)) => Arc::ptr_eq(one, other),
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

/// The path of the WebSocket for automerge-repo.
const AUTOMERGE: &str = "/automerge";
/// The path that the token of the metrics opens.
const METRICS: &str = "/metrics";

/// The guard of one API.
#[derive(Clone)]
pub(super) struct Guard(Arc<Lists>);

struct Lists {
    door: Door,
    /// The hash of the token. Comparing hashes takes equally long wherever they differ. A door for the metrics alone
    /// has none.
    token: Option<blake3::Hash>,
    /// The hash of the token that reads the metrics and nothing else.
    metrics: Option<blake3::Hash>,
    /// The tokens that name agents. A door for the metrics alone has none.
    issued: TokenBook,
    proof: ProofKey,
    session: BrowserSession,
    clock: SystemClock,
}

impl Guard {
    /// The guard of an API at this door. Allowed hosts are `localhost`, `127.0.0.1` and `[::1]` with its port, the
    /// address itself, and those that the door was given. If it listens on all addresses, the local address of the
    /// connection is allowed, too. Names chosen by others are never allowed.
    pub(super) fn new(door: Door, token: &str, metrics: Option<&str>, issued: TokenBook) -> Self {
        let hash = Some(blake3::hash(token.as_bytes()));
        Self::with(door, token, hash, metrics.map(|token| blake3::hash(token.as_bytes())), issued)
    }

    /// The guard of the same API at a door for the metrics alone. The other token is no good there.
    pub(super) fn for_metrics(&self, door: Door) -> Self {
        // no route there has a proof or a session
        Self::with(door, "", None, self.0.metrics, TokenBook::in_memory())
    }

    fn with(
        door: Door,
        secret: &str,
        token: Option<blake3::Hash>,
        metrics: Option<blake3::Hash>,
        issued: TokenBook,
    ) -> Self {
        let session = BrowserSession::new(door.address().port(), secret);
        let (proof, clock) = (ProofKey::new(secret), SystemClock::new());
        Self(Arc::new(Lists { door, token, metrics, issued, proof, session, clock }))
    }

    /// The door.
    pub(super) fn door(&self) -> &Door {
        &self.0.door
    }

    /// The scheme by which this request's host is reached.
    pub(super) fn scheme(&self, headers: &HeaderMap, local: Option<std::net::SocketAddr>) -> &'static str {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        self.0.door.knows(host, local).unwrap_or_else(|| self.0.door.scheme())
    }

    /// The time by which links and cookies run out.
    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.wall()
    }

    /// The session that signs browsers in.
    pub(super) fn session(&self) -> &BrowserSession {
        &self.0.session
    }

    /// The key of the proofs for clients.
    pub(super) fn proof(&self) -> &ProofKey {
        &self.0.proof
    }

    /// The tokens that name agents.
    pub(super) fn issued(&self) -> &TokenBook {
        &self.0.issued
    }

    /// The time that counts requests.
    pub(super) fn monotonic(&self) -> Duration {
        self.0.clock.monotonic()
    }

    /// The proof that lets a request in, or the problem that keeps it out.
    pub(super) fn check(&self, request: &Request) -> Result<Shown, Problem> {
        let Lists { door, token, metrics, issued, session, .. } = &*self.0;
        let headers = request.headers();
        let local = request.extensions().get::<ConnectInfo<ApiConnection>>().and_then(|info| info.0.local());
        let known = |host: &str| door.knows(host, local).is_some();
        let host = single(headers, &header::HOST)?
            .ok_or_else(|| Problem::new("malformed", "the request has no Host header"))?;
        let authority = request.uri().authority().map(|authority| authority.as_str());
        if !known(host) || !authority.is_none_or(known) {
            let hint = format!("use {}, or name the host in the setting `api_hosts`", door.advice());
            return Err(Problem::new("foreign_host", "this API does not answer to that Host").hint(hint));
        }
        let path = request.uri().path();
        let in_address = in_address(request);
        let origin = single(headers, &header::ORIGIN)?;
        // no page has the token of an address but one that was given it
        if let Some(origin) = origin
            && in_address.is_none()
        {
            let (scheme, host) = origin.split_once("://").unwrap_or_default();
            if door.knows(host, local) != Some(scheme) {
                return Err(Problem::new("foreign_origin", "pages of that origin may not use this API"));
            }
        }
        let shown = match single(headers, &header::AUTHORIZATION)? {
            Some(value) => bearer(value),
            None => subprotocol(headers)?.or(in_address),
        };
        if let Some(text) = shown {
            let shown = blake3::hash(text.as_bytes());
            if *token == Some(shown) {
                return Ok(Shown::Token);
            }
            if *metrics == Some(shown) {
                return if path == METRICS || OPEN.contains(&path) { Ok(Shown::Metrics) } else { Err(metrics_alone()) };
            }
            match issued.find(&shown) {
                Found::Known(token) if token.has_expired(self.now()) => return Err(expired(&token)),
                Found::Known(token) => return Ok(Shown::Issued(token)),
                Found::Unread if text.starts_with(TOKEN_PREFIX) => return Err(unread()),
                Found::Unknown if text.starts_with(TOKEN_PREFIX) => return Err(unknown()),
                Found::Unread | Found::Unknown => {}
            }
        }
        if OPEN.contains(&path) || page::is_open(path) {
            return Ok(Shown::Nothing);
        }
        // A wrong token is refused, also beside a good cookie.
        if token.is_some() && shown.is_none() && session.holds(headers, self.now()) {
            let changes = !request.method().is_safe() || is_websocket(headers);
            let site = single(headers, &SEC_FETCH_SITE)?;
            if (changes && origin.is_none()) || site.is_some_and(|site| site != "same-origin" && site != "none") {
                let message = "with the page's cookie only the page itself may use this API";
                return Err(Problem::new("foreign_origin", message));
            }
            if !cookie_may(request.method(), path) {
                let message = "the page's cookie reads the page, changes memories and documents, and decides on tasks; this takes the token";
                return Err(Problem::new("refused", message).hint("use the command line, or send the token"));
            }
            return Ok(Shown::Cookie);
        }
        let message = if shown.is_some() { "the token is wrong" } else { "the request carries no token" };
        let file = if token.is_some() { "api-token" } else { "metrics-token" };
        let hint = format!("send `Authorization: Bearer …` with the line in the data directory's `{file}`");
        Err(Problem::new("unauthorized", message).hint(hint))
    }
}

/// The refusal of a token whose time is over.
fn expired(token: &IssuedToken) -> Problem {
    let end = token.expires_at().map(|end| format!(" at {end}")).unwrap_or_default();
    Problem::new("unauthorized", format!("the token {} expired{end}", token.name()))
        .hint("its person makes another one: `nexus-node token revoke NAME`, then `nexus-node token create`")
}

/// The refusal of a token that is not in the book.
fn unknown() -> Problem {
    Problem::new("unauthorized", "this node does not know the token: it was revoked, or is another node's")
        .hint("`nexus-node token list` shows the tokens of this node")
}

/// The refusal of every token while the book cannot be read.
fn unread() -> Problem {
    Problem::new("unauthorized", "the issued tokens of this node cannot be read, so all of them are refused")
        .hint(UNREAD_HINT)
}

fn metrics_alone() -> Problem {
    Problem::new("refused", "this token reads `/metrics` and nothing else")
        .hint("all else takes the line in the data directory's `api-token`")
}

/// The lists that the page reads.
const LISTED: [&str; 11] = [
    "/v1/memories",
    "/v1/spaces",
    "/v1/status",
    "/v1/peers",
    "/v1/events",
    "/v1/tasks",
    "/v1/agents",
    "/v1/documents",
    "/v1/blobs",
    "/v1/transfers",
    APPROVING,
];

/// The path of the passphrase for approving.
const APPROVING: &str = "/v1/approving";

/// Whether the page's cookie is enough: for reading what the page shows, for changing memories and documents, and for the
/// decisions on a task. Submitting a task and working on one take the token. Other pages of this host may send the cookie, too, if
/// only from an allowed origin.
fn cookie_may(method: &Method, path: &str) -> bool {
    let of_a_memory = path.strip_prefix("/v1/memories/").is_some_and(|id| !id.is_empty());
    let of_a_document = path.strip_prefix("/v1/documents/").is_some_and(|rest| !rest.is_empty());
    let task = path.strip_prefix("/v1/tasks/").filter(|rest| !rest.is_empty());
    match *method {
        Method::GET | Method::HEAD => {
            of_a_memory || of_a_document || task.is_some() || path == AUTOMERGE || LISTED.contains(&path)
        }
        Method::POST if path == "/v1/documents" => true,
        // its words; a key and a fresh beginning take the token
        Method::POST if of_a_document => path.ends_with("/edits"),
        Method::POST => path == "/v1/memories" || task.is_some_and(is_decision),
        // with the former passphrase, if there is one
        Method::PUT => path == APPROVING || path == "/v1/documents",
        Method::PATCH => of_a_memory || of_a_document,
        Method::DELETE => of_a_memory || path == "/v1/session",
        _ => false,
    }
}

/// Whether the rest of a task's path, `ID/WORD`, is a decision on it.
fn is_decision(rest: &str) -> bool {
    rest.split_once('/')
        .is_some_and(|(id, word)| !id.is_empty() && matches!(word, "approve" | "reject" | "cancel" | "retry"))
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

fn bearer(value: &str) -> Option<&str> {
    let (scheme, shown) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(shown.trim())
}

/// The token in the address of the WebSocket of automerge-repo, whose programs can set neither a header nor a subprotocol. It
/// is one that names an agent, never the token of the owner.
fn in_address(request: &Request) -> Option<&str> {
    let query =
        request.uri().query().filter(|_| request.uri().path() == AUTOMERGE && is_websocket(request.headers()))?;
    let shown = query.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    // it has no letter that an address would have in another form
    shown.starts_with(TOKEN_PREFIX).then_some(shown)
}

/// The token of a WebSocket, to which a browser cannot add a header.
fn subprotocol(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    if !is_websocket(headers) {
        return Ok(None);
    }
    let protocols = single(headers, &header::SEC_WEBSOCKET_PROTOCOL)?;
    let token = protocols.and_then(|protocols| {
        let (scheme, token) = protocols.split_once(',')?;
        scheme.trim().eq_ignore_ascii_case(SUBPROTOCOL).then_some(token.trim())
    });
    Ok(token)
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("door", &self.0.door).finish_non_exhaustive()
    }
}

/// A header that may be there once only: two parties might each believe a different one.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Problem::new("malformed", format!("the request has two {name} headers")));
    }
    let unreadable = |_| Problem::new("malformed", format!("the {name} header cannot be read"));
    value.map(|value| value.to_str().map_err(unreadable)).transpose()
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

    fn guard(address: &str, token: &str) -> Guard {
        Guard::new(Door::new(address.parse().unwrap()), token, Some("figures"), TokenBook::in_memory())
    }

    fn code(guard: &Guard, path: &str, headers: &[(&str, &str)]) -> &'static str {
        guard.check(&request(path, headers)).map_or_else(|problem| problem.code, |_| "ok")
    }

    /// promise: Commands and API | Token, `Host` and `Origin` are checked on every route
    #[test]
    fn hosts_origins_and_tokens_are_compared_exactly_on_every_route() {
        let guard = guard("127.0.0.1:8002", "secret");
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

    /// promise: Bad input | The page's cookie reads the page, changes memories and documents, and decides on tasks; all else takes the token
    /// promise: Recall | The embedder is set with the token, never with the page's cookie
    /// promise: Commands and API | A link of `web` signs one browser in, once; its cookie is good for the page only
    #[test]
    fn the_cookie_is_good_for_our_page_only() {
        let guard = guard("127.0.0.1:8002", "secret");
        let cookie = guard.session().begin(guard.now(), "http");
        let cookie = cookie.split(';').next().unwrap();
        let at = |method: &str, path: &str, more: &[(&str, &str)]| {
            let headers = [&[("host", "127.0.0.1:8002"), ("cookie", cookie)], more].concat();
            let mut request = request(path, &headers);
            *request.method_mut() = method.parse().unwrap();
            guard.check(&request).map_or_else(|problem| problem.code, |_| "ok")
        };
        let of = |method: &str, more: &[(&str, &str)]| {
            let path = if ["PATCH", "DELETE"].contains(&method) { "/v1/memories/x" } else { "/v1/memories" };
            at(method, path, more)
        };
        let ours = ("origin", "http://127.0.0.1:8002");
        for method in ["GET", "HEAD"] {
            assert_eq!(of(method, &[]), "ok");
            assert_eq!(of(method, &[("sec-fetch-site", "same-origin")]), "ok");
        }
        for method in ["POST", "PATCH", "DELETE"] {
            assert_eq!(of(method, &[]), "foreign_origin", "{method}");
            assert_eq!(of(method, &[ours]), "ok", "{method}");
            assert_eq!(of(method, &[("origin", "http://127.0.0.1:9000")]), "foreign_origin", "{method}");
            assert_eq!(of(method, &[("origin", "null")]), "foreign_origin", "{method}");
        }
        for site in ["same-site", "cross-site", "what"] {
            assert_eq!(of("GET", &[("sec-fetch-site", site)]), "foreign_origin", "{site}");
            assert_eq!(of("POST", &[ours, ("sec-fetch-site", site)]), "foreign_origin", "{site}");
        }
        assert_eq!(at("GET", "/v1/events", &[("upgrade", "websocket")]), "foreign_origin");
        assert_eq!(at("GET", "/v1/events", &[("upgrade", "websocket"), ours]), "ok");
        for path in ["/v1/tasks", "/v1/tasks/x", "/v1/tasks/events", "/v1/agents"] {
            assert_eq!(at("GET", path, &[]), "ok", "{path}");
        }
        for word in ["approve", "reject", "cancel", "retry"] {
            let path = format!("/v1/tasks/x/{word}");
            assert_eq!(at("POST", &path, &[ours]), "ok", "{word}");
            assert_eq!(at("POST", &path, &[]), "foreign_origin", "{word}");
            assert_eq!(at("POST", &path, &[("origin", "http://127.0.0.1:9000")]), "foreign_origin", "{word}");
        }
        let beyond = [
            ("POST", "/v1/tasks"),
            ("POST", "/v1/tasks/claim"),
            ("POST", "/v1/tasks/x/renew"),
            ("POST", "/v1/tasks/x/finish"),
            ("POST", "/v1/tasks//approve"),
            ("POST", "/v1/tasks/x/y/approve"),
            ("GET", "/v1/tasks/"),
            ("PUT", "/v1/tasks/x/approve"),
            ("POST", "/v1/invite"),
            ("POST", "/v1/key/rotate"),
            ("POST", "/v1/key/allow"),
            ("PATCH", "/v1/config"),
            ("GET", "/v1/config"),
            ("POST", "/v1/offline"),
            ("POST", "/v1/join"),
            ("POST", "/v1/coordinator"),
            ("PUT", "/v1/kv/a"),
            ("GET", "/v1/kv/a"),
            ("POST", "/v1/import"),
            ("PUT", "/v1/memories/x"),
            ("DELETE", "/v1/memories/"),
            ("POST", "/v1/memories/x"),
            ("POST", "/mcp"),
            ("TRACE", "/v1/status"),
        ];
        for (method, path) in beyond {
            assert_eq!(at(method, path, &[ours]), "refused", "{method} {path}");
        }
        assert_eq!(of("GET", &[("authorization", "Bearer wrong")]), "unauthorized");
        let other = self::guard("127.0.0.1:8002", "another token");
        let headers = [("host", "127.0.0.1:8002"), ("cookie", cookie)];
        assert_eq!(code(&other, "/v1/status", &headers), "unauthorized");
    }

    /// promise: Commands and API | The token of the metrics reads the metrics, and opens nothing else
    /// promise: Documents | A token in an address names an agent, and opens the socket of automerge-repo alone, from any origin
    #[test]
    fn the_token_of_an_address_opens_one_route() {
        let guard = guard("127.0.0.1:8002", "the-token");
        let host = ("host", "127.0.0.1:8002");
        let socket = [host, ("upgrade", "websocket"), ("origin", "http://localhost:5173")];
        // a token of nobody is looked for, and not found
        let shown = format!("/automerge?token={TOKEN_PREFIX}{}", "0".repeat(40));
        assert_eq!(code(&guard, &shown, &socket), "unauthorized");
        // elsewhere, and without a socket, no address is looked at
        assert_eq!(code(&guard, &shown.replace("automerge", "v1/events"), &socket), "foreign_origin");
        assert_eq!(code(&guard, &shown, &[host, ("origin", "http://localhost:5173")]), "foreign_origin");
        assert_eq!(code(&guard, "/automerge?token=the-token", &socket), "foreign_origin");
        assert_eq!(code(&guard, "/automerge?token=the-token", &[host, ("upgrade", "websocket")]), "unauthorized");
        let rebound = [("host", "evil.example:8002"), ("upgrade", "websocket")];
        assert_eq!(code(&guard, &shown, &rebound), "foreign_host");
    }

    #[test]
    fn the_token_of_the_metrics_opens_them_alone() {
        let guard = guard("127.0.0.1:8002", "secret");
        let host = ("host", "127.0.0.1:8002");
        let (figures, secret) = (("authorization", "Bearer figures"), ("authorization", "Bearer secret"));
        assert_eq!(code(&guard, "/metrics", &[host, figures]), "ok");
        assert_eq!(code(&guard, "/metrics", &[host, secret]), "ok");
        assert_eq!(code(&guard, "/metrics", &[host]), "unauthorized");
        for path in ["/v1/status", "/v1/memories", "/mcp", "/metrics/", "/v1/stop"] {
            assert_eq!(code(&guard, path, &[host, figures]), "refused", "{path}");
        }
        let alone = guard.for_metrics(Door::new("127.0.0.1:9102".parse().unwrap()));
        let host = ("host", "127.0.0.1:9102");
        assert_eq!(code(&alone, "/metrics", &[host, figures]), "ok");
        for bearer in ["Bearer secret", "Bearer ", "Bearer"] {
            assert_eq!(code(&alone, "/metrics", &[host, ("authorization", bearer)]), "unauthorized", "{bearer}");
        }
        assert_eq!(code(&alone, "/metrics", &[("host", "127.0.0.1:8002"), figures]), "foreign_host");
    }

    /// promise: Bad input | A WebSocket is refused like any other request: wrong token, foreign or null `Origin`
    #[test]
    fn a_websocket_may_carry_the_token_as_a_subprotocol() {
        let guard = guard("127.0.0.1:8002", "secret");
        let of =
            |headers: &[(&str, &str)]| code(&guard, "/v1/events", &[&[("host", "127.0.0.1:8002")], headers].concat());
        let upgrade = ("upgrade", "WebSocket");
        assert_eq!(of(&[upgrade, ("sec-websocket-protocol", "bearer, secret")]), "ok");
        assert_eq!(of(&[("sec-websocket-protocol", "bearer, secret")]), "unauthorized");
        for protocols in ["bearer", "bearer, wrong", "secret", "secret, bearer", "bearer secret", "bearer, secret, x"] {
            assert_eq!(of(&[upgrade, ("sec-websocket-protocol", protocols)]), "unauthorized", "{protocols}");
        }
        let null = ("origin", "null");
        assert_eq!(of(&[upgrade, null, ("sec-websocket-protocol", "bearer, secret")]), "foreign_origin");
    }
}
