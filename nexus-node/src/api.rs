//! The HTTP API: a shell around a node for clients on the same machine, and over TLS on others.
//!
//! It translates and decides nothing. Requests become calls of the library, its answers become the
//! documents of `wire`, its errors become [`Problem`]s. `docs/cli.md` is the contract.
//!
//! | room | content |
//! |---|---|
//! | `wire` | the documents |
//! | `door` | its address, the hosts that it answers to, and whether it speaks TLS |
//! | `guard` | the check of `Host`, `Origin` and token before everything else |
//! | `pass` | the needs of a route, and the rights of a caller |
//! | [`issued`] | tokens that name agents |
//! | `connections` | the bound on connections without a token |
//! | `caller` | the program that calls, and the highest source of what it writes |
//! | `extract` | bodies, queries and paths, with refusals as problems |
//! | `problem` | refusals as documents |
//! | `state` | the API of a process: its node, its guard, and what it counts |
//! | `websocket` | how a client asks for a WebSocket |
//! | `making` | long messages in the making, bounded over all sockets |
//! | `proof` | the proof for clients, before they send the token |
//! | `fuzzed` | the readers of requests, for `nexus-fuzz` |
//! | `guest` | other rooms on the same socket |
//! | `routes`, `openapi` | the table of routes, and their descriptions |
//! | `memories`, `vocabulary`, `import`, `events`, `spaces`, `mesh`, `settings` | the routes of these subjects |
//! | `critical`, `coordinator`, `audit` | keys and locks · the coordinators · the record of requests |
//! | `tasks` | tasks, and their workers |
//! | `tokens` | making and revoking tokens that name agents |
//! | `blobs` | content of any size (feature `blobs`) |
//! | `page` | the page at `/`, and signing a browser in |
//! | `passphrase` | the passphrase for approving |
//! | `trace`, `metrics` | observation from outside |
//!
//! An [`Api`] outlives its node. A node that joins another mesh starts again inside its process, and is
//! attached to the same API and socket.

mod audit;
#[cfg(feature = "documents")]
mod automerge;
mod backup;
#[cfg(feature = "blobs")]
mod blobs;
pub(crate) mod caller;
mod compact;
mod connections;
mod coordinator;
mod critical;
#[cfg(feature = "documents")]
mod documents;
mod door;
mod erasures;
mod events;
mod extract;
#[cfg(feature = "testing")]
pub mod fuzzed;
mod guard;
mod guest;
mod import;
pub mod issued;
#[cfg(feature = "documents")]
mod making;
mod memories;
mod mesh;
mod metrics;
pub(crate) mod openapi;
mod page;
pub(crate) mod pass;
mod passphrase;
mod problem;
mod routes;
mod settings;
mod spaces;
mod state;
mod tasks;
mod tokens;
mod trace;
mod vocabulary;
mod websocket;
pub(crate) mod why;
pub(crate) mod wire;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::net::TcpListener;
use tracing::Instrument;

pub use self::caller::{CLIENT, COMMAND_LINE};
pub use self::door::Door;
pub use self::guest::Guest;
pub use self::problem::{CODES, Code, Problem, code};
pub use self::settings::{Counter, DiskUse, Settings};
pub use self::state::{Api, ApiTokens};
#[cfg(feature = "mcp")]
pub(crate) use self::trace::Trace;

use self::connections::{ApiConnection, BoundedListener, GUESTS_MAX, READERS_MAX};
use self::guard::{Guard, Shown};
use self::pass::{Pass, RouteNeeds};

/// The longest time for answers in progress after the API is told to stop.
const DRAIN: Duration = Duration::from_secs(2);

impl Api {
    fn router(&self) -> Router {
        self.guarded(routes::routes(&self.0.guests), self.0.guard.clone())
    }

    /// These routes behind a guard, each for callers that have what it needs.
    fn guarded(&self, (routes, needs): (Router<Self>, RouteNeeds), guard: Guard) -> Router {
        let state = (self.clone(), guard, Arc::new(needs));
        routes.layer(axum::middleware::from_fn_with_state(state, receive)).with_state(self.clone())
    }

    /// Answers on the door's socket until told to stop. Then it finishes the requests in progress, for two seconds at
    /// most.
    ///
    /// # Errors
    /// If the socket fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let api = self.clone();
        let listener = BoundedListener::new(listener, self.0.guard.door().tls_of().cloned(), GUESTS_MAX);
        let stop = async move {
            stop.await;
            api.0.closing.send_replace(true);
            api.0.guests.iter().for_each(|guest| (guest.closing)());
        };
        self.answer(listener, self.router(), stop.boxed()).await
    }

    /// Answers `/metrics`, `/healthz` and `/readyz` on the socket of a further door, until the API is told to stop.
    ///
    /// # Errors
    /// If the socket fails.
    pub async fn serve_metrics(&self, listener: TcpListener, door: Door) -> io::Result<()> {
        let guard = self.0.guard.for_metrics(door.clone());
        let router = self.guarded(routes::of_metrics(), guard);
        let listener = BoundedListener::new(listener, door.tls_of().cloned(), READERS_MAX);
        // a second call keeps the first door
        let _ = self.0.metrics_door.set(door);
        let api = self.clone();
        self.answer(listener, router, async move { api.closing().await }.boxed()).await
    }

    async fn answer(&self, listener: BoundedListener, router: Router, stop: BoxFuture<'static, ()>) -> io::Result<()> {
        let service = router.into_make_service_with_connect_info::<ApiConnection>();
        let graceful = axum::serve(listener, service).with_graceful_shutdown(stop);
        tokio::select! {
            result = graceful.into_future() => result,
            () = async { self.closing().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    }
}

/// Handles every request first: lets it through or refuses it, opens its span, and counts it.
async fn receive(
    State((api, guard, needs)): State<(Api, Guard, Arc<RouteNeeds>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = tokio::time::Instant::now();
    let _in_flight = api.0.requests.begin();
    let trace = trace::Trace::of(request.headers(), api.0.settings.traces());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let matched = route.is_some();
    let (route, method) = (route.as_ref().map_or("none", |route| route.as_str()), request.method().clone());
    let span = tracing::info_span!(
        "request",
        %method,
        route,
        trace_id = format_args!("{:032x}", trace.trace),
        span_id = format_args!("{:016x}", trace.span),
        parent_id = trace.parent.map(|parent| tracing::field::display(format!("{parent:016x}"))),
        // Set only if the caller decided that its trace is not recorded.
        sampled = trace.is_unwanted().then_some(false),
        status = tracing::field::Empty,
    );
    let checked = guard.check(&request);
    if let Some(ConnectInfo(connection)) = request.extensions().get::<ConnectInfo<ApiConnection>>() {
        connection.asked(checked.as_ref().is_ok_and(|shown| *shown != Shown::Nothing));
    }
    let permitted = checked.map_err(Refusal::from).and_then(|shown| {
        in_time(&guard, &shown)?;
        if matched {
            needs.permit(&shown, &method, route)?;
        }
        Ok(shown)
    });
    let mut response = match permitted {
        Ok(shown) => {
            let pass = Pass::shown(&shown);
            request.extensions_mut().insert(shown);
            let answer = crate::trace::within(trace.for_entries(), next.run(request)).instrument(span.clone());
            while_good(pass, &method, answer).await
        }
        Err(refusal) => refusal.into_response(),
    };
    let (status, took) = (response.status(), begun.elapsed());
    span.record("status", status.as_u16());
    span.in_scope(|| tracing::debug!(status = status.as_u16(), ms = took.as_secs_f64() * 1e3, "answered"));
    api.0.requests.answered(route, &method, status, took);
    let headers = response.headers_mut();
    headers.extend(trace.header().map(|header| (trace::TRACEPARENT, header)));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The refusal of a request before it is handled.
struct Refusal {
    problem: Problem,
    /// The seconds after which to ask again.
    again: Option<u64>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, again: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        if let Some(seconds) = self.again {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Refuses a token that asks more often than it may.
fn in_time(guard: &Guard, shown: &Shown) -> Result<(), Refusal> {
    let Shown::Issued(token) = shown else { return Ok(()) };
    let Err(wait) = token.ask(guard.monotonic()) else { return Ok(()) };
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let rate = token.rate().map(|rate| rate.to_string()).unwrap_or_default();
    let problem = Problem::new("too_many", format!("the token {} may ask {rate}, and asks more often", token.name()));
    Err(Refusal { problem: problem.hint(format!("ask again in {seconds} s")), again: Some(seconds) })
}

/// The answer to a caller whose token may end meanwhile: what it reads for long ends with it.
async fn while_good(pass: Pass, method: &Method, answer: impl Future<Output = Response>) -> Response {
    if pass.name().is_none() {
        return answer.await;
    }
    let response = if method.is_safe() {
        match pass.while_good(answer).await {
            Ok(response) => response,
            Err(problem) => return problem.into_response(),
        }
    } else {
        // a change is not broken off; those that wait look for the end of the token themselves
        answer.await
    };
    if axum::body::HttpBody::size_hint(response.body()).exact().is_some() {
        return response;
    }
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, Body::from_stream(body.into_data_stream().take_until(Box::pin(pass.over()))))
}
