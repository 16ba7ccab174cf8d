//! The gate: every route, and every kind of caller. The expectations stand here, and are not read from the code.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use nexus_identity::Timestamp;

use super::super::door::Door;
use super::super::guard::Guard;
use super::super::issued::{NewToken, Scope, Scopes, TOKEN_PREFIX, TokenBook};
use super::super::routes;
use super::RouteNeeds;

/// Every route: its method, its path, what it takes, and whether the page's cookie is enough.
///
/// `open` takes nothing and `any` a good token; `owner` takes the `api-token`, and `person` the page. Else it takes the scopes
/// that are named; of those with a bar between them one is enough. With `!` it takes none that is for some spaces alone.
const GATE: &str = "
GET /v1/memories memory:read page
POST /v1/memories memory:write page
GET /v1/memories/{id} memory:read page
PATCH /v1/memories/{id} memory:write page
DELETE /v1/memories/{id} memory:write page
POST /v1/memories/{id}/unforget memory:write -
GET /v1/memories/{id}/history memory:read page
POST /v1/erasures owner -
GET /v1/erasures/{id} memory:read -
GET /v1/export memory:read -
GET /v1/backup owner -
POST /v1/import memory:write -
GET /v1/events memory:read|tasks:read|documents:read|kv:read|mesh:read|blobs:read page
GET /v1/project memory:read -
GET /v1/vocabulary memory:read -
POST /v1/vocabulary memory:write -
DELETE /v1/vocabulary/{word} memory:write -
GET /v1/spaces memory:read page
POST /v1/spaces memory:write! -
GET /v1/spaces/{space}/pages memory:read -
GET /v1/graph memory:read -
POST /v1/graph memory:write -
GET /v1/kv kv:read -
POST /v1/kv kv:write -
GET /v1/kv/{*key} kv:read -
PUT /v1/kv/{*key} kv:write -
DELETE /v1/kv/{*key} kv:write -
GET /v1/outcomes/{id} kv:read -
GET /v1/watch kv:read+locks:read -
GET /v1/locks locks:read -
GET /v1/locks/{name} locks:read -
POST /v1/locks/{name}/acquire locks:write -
POST /v1/locks/{name}/renew locks:write -
POST /v1/locks/{name}/release locks:write -
POST /v1/locks/{name}/steal locks:write -
POST /v1/tasks tasks:submit -
GET /v1/tasks tasks:read page
GET /v1/tasks/{id} tasks:read page
GET /v1/tasks/{id}/log tasks:read page
POST /v1/tasks/{id}/cancel tasks:submit page
POST /v1/tasks/{id}/approve person page
POST /v1/tasks/{id}/reject owner page
POST /v1/tasks/{id}/retry tasks:submit page
GET /v1/tasks/events tasks:read page
POST /v1/tasks/claim tasks:work! -
POST /v1/tasks/{id}/renew tasks:work -
POST /v1/tasks/{id}/finish tasks:work -
GET /v1/agents tasks:read page
PUT /v1/blobs blobs:write! -
GET /v1/blobs blobs:read! page
GET /v1/transfers blobs:read! page
GET /v1/blobs/{blob} blobs:read! -
POST /v1/blobs/{blob}/fetch blobs:read! -
DELETE /v1/blobs/{blob} blobs:write! -
POST /v1/blobs/{blob}/pin blobs:write! -
POST /v1/blobs/{blob}/unpin blobs:write! -
POST /v1/blobs/{blob}/tag blobs:write! -
POST /v1/blobs/{blob}/copies blobs:write! -
DELETE /v1/blobs/tags/{tag} blobs:write! -
POST /v1/blobs/{blob}/verify blobs:write! -
POST /v1/blobs/verify blobs:write! -
POST /v1/blobs/gc blobs:write! -
GET /automerge documents:read page
GET /v1/documents documents:read page
POST /v1/documents documents:write page
PUT /v1/documents documents:write page
GET /v1/documents/{key} documents:read page
PATCH /v1/documents/{key} documents:write page
POST /v1/documents/{key}/edits documents:write page
GET /v1/documents/{key}/history documents:read page
GET /v1/documents/{key}/conflicts documents:read page
GET /v1/documents/{key}/text documents:read page
GET /v1/documents/{key}/changes documents:read page
GET /v1/documents/{key}/file documents:read page
POST /v1/documents/{key}/name documents:write -
POST /v1/documents/{key}/compact documents:write -
GET /v1/coordinator mesh:read -
POST /v1/coordinator/voters owner -
DELETE /v1/coordinator/voters/{did} owner -
POST /v1/coordinator/step-down owner -
POST /v1/coordinator/recover owner -
GET /v1/audit owner -
GET /v1/audit/verify owner -
GET /v1/status mesh:read page
GET /v1/peers mesh:read page
GET /v1/members mesh:read -
GET /v1/members/{member}/below mesh:read -
POST /v1/members/{member}/person owner -
POST /v1/members/{member}/revoke owner -
POST /v1/members/{member}/revocation owner -
POST /v1/leave owner -
POST /v1/key/rotate owner -
POST /v1/key/allow owner -
POST /v1/key/draft owner -
POST /v1/invite owner -
POST /v1/join owner -
POST /v1/offline owner -
POST /v1/online owner -
POST /v1/compact owner -
GET /v1/compact owner -
POST /v1/stop owner -
GET /v1/approving owner page
PUT /v1/approving person page
GET /v1/config owner -
PATCH /v1/config owner -
POST /v1/tokens owner -
GET /v1/tokens owner -
DELETE /v1/tokens/{name} owner -
POST /v1/web owner -
POST /v1/session owner -
DELETE /v1/session owner page
GET /metrics owner -
GET /openapi.json any -
POST /mcp any -
POST /mcp/full any -
POST /mcp/graph any -
GET /healthz open -
GET /readyz open -
GET /web/{code} open -
GET / open -
GET /page.css open -
GET /page.js open -
GET /show.js open -
GET /api.js open -
GET /map.js open -
GET /memory.js open -
GET /memories.js open -
GET /task.js open -
GET /tasks.js open -
GET /documents.js open -
GET /files.js open -
GET /keys.js open -
GET /members.js open -
GET /icon.svg open -
";

/// The scopes, and for each all that it lets a caller do.
const SCOPES: [(&str, &[&str]); 14] = [
    ("memory:read", &["memory:read"]),
    ("memory:write", &["memory:read", "memory:write"]),
    ("tasks:read", &["tasks:read"]),
    ("tasks:submit", &["tasks:read", "tasks:submit"]),
    ("tasks:work", &["tasks:read", "tasks:work"]),
    ("kv:read", &["kv:read"]),
    ("kv:write", &["kv:read", "kv:write"]),
    ("locks:read", &["locks:read"]),
    ("locks:write", &["locks:read", "locks:write"]),
    ("blobs:read", &["blobs:read"]),
    ("blobs:write", &["blobs:read", "blobs:write"]),
    ("documents:read", &["documents:read"]),
    ("documents:write", &["documents:read", "documents:write"]),
    ("mesh:read", &["mesh:read"]),
];

struct Row {
    method: &'static str,
    path: &'static str,
    takes: &'static str,
    page: bool,
}

fn gate() -> Vec<Row> {
    let row = |line: &'static str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [method, path, takes, page] = words[..] else { panic!("{line}") };
        Row { method, path, takes, page: page == "page" }
    };
    GATE.lines().filter(|line| !line.is_empty()).map(row).collect()
}

/// A node's gate, with tokens.
struct Gate {
    guard: Guard,
    book: TokenBook,
    needs: RouteNeeds,
}

impl Gate {
    fn new() -> Self {
        let book = TokenBook::in_memory();
        let door = Door::new("127.0.0.1:8002".parse().unwrap());
        let (_, needs) = routes::routes(&[crate::mcp::guest()]);
        Self { guard: Guard::new(door, "owner", Some("figures"), book.clone()), book, needs }
    }

    fn token(&self, name: &str, scopes: &str, spaces: &[&str], change: impl FnOnce(&mut NewToken)) -> String {
        let mut new = NewToken {
            name: name.parse().unwrap(),
            scopes: Scopes::of(scopes.split(',')).unwrap(),
            spaces: spaces.iter().map(ToString::to_string).collect(),
            expires_at: None,
            rate: None,
        };
        change(&mut new);
        self.book.create(new, self.guard.now()).unwrap().token.to_string()
    }

    /// The code of the refusal of a request with these headers, or `ok`.
    fn cell(&self, row: &Row, headers: &[(&str, &str)]) -> &'static str {
        let path: Vec<&str> = row.path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        let mut request = Request::builder().method(row.method).uri(path.join("/")).header("host", "127.0.0.1:8002");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let let_in = || {
            let shown = self.guard.check(&request).map_err(|problem| problem.code)?;
            super::super::in_time(&self.guard, &shown).map_err(|refusal| refusal.problem.code)?;
            self.needs.permit(&shown, request.method(), row.path).map_err(|problem| problem.code)
        };
        let_in().map_or_else(|code| code, |()| "ok")
    }

    fn bearer(&self, row: &Row, token: &str) -> &'static str {
        self.cell(row, &[("authorization", &format!("Bearer {token}"))])
    }
}

#[test]
fn the_table_has_every_route_once() {
    let served: BTreeSet<String> =
        Gate::new().needs.0.keys().map(|(method, path)| format!("{method} {path}")).collect();
    let listed: Vec<String> = gate().iter().map(|row| format!("{} {}", row.method, row.path)).collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), served);
    assert_eq!(listed.len(), served.len());
    assert_eq!(SCOPES.map(|(scope, _)| scope), Scope::ALL.map(Scope::as_str));
}

/// promise: Commands and API | Every route, with every kind of token and session, lets in whom it should and nobody else: without one, with each scope, revoked, expired, too often, for another space
#[test]
fn every_route_lets_in_whom_it_should_and_nobody_else() {
    let gate = Gate::new();
    let revoked = gate.token("revoked", "*", &[], |_| {});
    gate.book.revoke("revoked").unwrap();
    let expired = gate.token("expired", "*", &[], |new| new.expires_at = Some(Timestamp::from_ms(1)));
    let hasty = gate.token("hasty", "*", &[], |new| new.rate = Some("1/h".parse().unwrap()));
    let rows = self::gate();
    let status = rows.iter().find(|row| row.path == "/v1/status").unwrap();
    assert_eq!(gate.bearer(status, &hasty), "ok", "the first request is within the rate");
    let all = gate.token("all", "*", &[], |_| {});
    let elsewhere = gate.token("elsewhere", "*", &["elsewhere"], |_| {});
    let unknown = format!("{TOKEN_PREFIX}{}", "a".repeat(52));
    let each = SCOPES.map(|(scope, allows)| (gate.token(&scope.replace(':', " "), scope, &[], |_| {}), allows));
    let cookie = gate.guard.session().begin(gate.guard.now(), "http");
    let cookie = ("cookie", cookie.split(';').next().unwrap());
    let origin = ("origin", "http://127.0.0.1:8002");
    for row in &rows {
        let Row { method, path, takes, page } = row;
        let named = |caller: &str| format!("{method} {path} with {caller}");
        let (open, scopes) = (*takes == "open", takes.trim_end_matches('!').split('+'));
        // without any, and with what is no token of this node
        let nothing = if open { "ok" } else { "unauthorized" };
        assert_eq!(gate.cell(row, &[]), nothing, "{}", named("nothing"));
        assert_eq!(gate.bearer(row, "wrong"), nothing, "{}", named("a wrong token"));
        for over in [&revoked, &expired, &unknown] {
            assert_eq!(gate.bearer(row, over), "unauthorized", "{}", named("a token that is over"));
        }
        assert_eq!(gate.bearer(row, &hasty), "too_many", "{}", named("a token over its rate"));
        // the owner and the page
        let owner = if *takes == "person" { "refused" } else { "ok" };
        assert_eq!(gate.bearer(row, "owner"), owner, "{}", named("the api-token"));
        let figures = if ["/metrics", "/healthz", "/readyz"].contains(path) { "ok" } else { "refused" };
        assert_eq!(gate.bearer(row, "figures"), figures, "{}", named("the metrics' token"));
        let of_page = if open || *page { "ok" } else { "refused" };
        assert_eq!(gate.cell(row, &[cookie, origin]), of_page, "{}", named("the cookie"));
        let forged = if open || *method == "GET" { of_page } else { "foreign_origin" };
        assert_eq!(gate.cell(row, &[cookie]), forged, "{}", named("the cookie, and no origin"));
        // tokens that name agents
        let expected = |allows: &dyn Fn(&str) -> bool| match *takes {
            "open" | "any" => "ok",
            "owner" | "person" => "refused",
            some if some.contains('|') && some.split('|').any(allows) => "ok",
            some if some.contains('|') => "refused",
            _ if scopes.clone().all(allows) => "ok",
            _ => "refused",
        };
        for (number, (token, allows)) in each.iter().enumerate() {
            let expected = expected(&|scope| allows.contains(&scope));
            assert_eq!(gate.bearer(row, token), expected, "{}", named(SCOPES[number].0));
            // no cookie and no header adds anything to a token
            let bearer = format!("Bearer {token}");
            let more = [("authorization", bearer.as_str()), cookie, origin, ("nexus-client", "command-line")];
            assert_eq!(gate.cell(row, &more), expected, "{}", named("a token beside the cookie"));
        }
        assert_eq!(gate.bearer(row, &all), expected(&|_| true), "{}", named("*"));
        let bounded = if takes.ends_with('!') { "refused" } else { expected(&|_| true) };
        assert_eq!(gate.bearer(row, &elsewhere), bounded, "{}", named("* for another space"));
    }
}

/// promise: Commands and API | A token is checked within 100 microseconds, also beside 255 others
#[test]
fn a_token_is_checked_in_little_time_among_many() {
    let gate = Gate::new();
    let tokens: Vec<String> = (0..256).map(|n| gate.token(&format!("agent {n}"), "*", &["a"; 16], |_| {})).collect();
    let rows = self::gate();
    let began = tokio::time::Instant::now();
    for token in &tokens {
        assert_eq!(gate.bearer(&rows[0], token), "ok");
    }
    // with a whole request made for each, and without optimisation
    let each = began.elapsed() / 256;
    assert!(each < Duration::from_micros(if cfg!(debug_assertions) { 2_000 } else { 100 }), "{each:?}");
}
