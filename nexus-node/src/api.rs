//! The HTTP API: a shell around a [`Node`] for clients on the same machine.
//!
//! It translates and decides nothing. Requests become calls of the library, its answers become the
//! documents of [`wire`], its errors [`Problem`]s. `docs/cli.md` is the contract.
//!
//! | room | what is in it |
//! |---|---|
//! | [`wire`] | the documents |
//! | `guard` | who may talk to it at all: `Host`, `Origin`, token |
//! | `caller` | which program calls, and on whose word it writes at most |
//! | `extract` | bodies, queries and paths, with refusals as problems |
//! | `problem` | the table of codes, HTTP statuses and exit codes |
//! | `routes`, `openapi` | the table of routes, and what is said of them |
//! | `memories`, `import`, `events`, `spaces`, `mesh`, `settings` | what the routes do |
//! | `critical`, `coordinator`, `audit` | keys and locks · who decides about them · who did what |
//! | `page` | the page at `/`, and how a browser is signed in |
//! | `trace`, `metrics` | what can be seen from outside |
//!
//! An [`Api`] outlives the node it serves: when a node starts again inside its process (it joined
//! another mesh), the new one is attached to the same API and the same socket.

mod audit;
pub(crate) mod caller;
mod coordinator;
mod critical;
mod events;
mod extract;
mod guard;
mod import;
mod memories;
mod mesh;
mod metrics;
mod openapi;
mod page;
mod problem;
mod routes;
mod settings;
mod spaces;
mod trace;
pub mod wire;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::Instrument;

pub use self::caller::{CLIENT, COMMAND_LINE};
pub use self::problem::{CODES, Code, Problem, code};
pub use self::settings::{Counter, Settings};
#[cfg(feature = "mcp")]
pub(crate) use self::trace::Trace;

use self::guard::Guard;
use crate::env::BlockingPool;
use crate::{Node, NodeError};

/// How long answers in progress may take once the API is told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// The API of one process. Clones are handles on the same one.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    /// `None` while it is being replaced.
    node: watch::Sender<Option<Node>>,
    closing: watch::Sender<bool>,
    /// A client has asked the process to stop.
    stop: watch::Sender<bool>,
    guard: Guard,
    settings: Arc<dyn Settings>,
    requests: metrics::Requests,
    proposals: metrics::Proposals,
    #[cfg(feature = "mcp")]
    mcp: crate::mcp::Mcp,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("guard", &self.0.guard).finish_non_exhaustive()
    }
}

impl Api {
    /// An API at an address, for whoever has the token. It answers `starting` until a node is
    /// attached.
    pub fn new(address: SocketAddr, token: &str, settings: Arc<dyn Settings>) -> Self {
        let (node, closing) = (watch::Sender::new(None), watch::Sender::new(false));
        let guard = Guard::new(address, token);
        #[cfg(feature = "mcp")]
        let mcp = crate::mcp::Mcp::new();
        Self(Arc::new(Shared {
            node,
            closing,
            stop: watch::Sender::new(false),
            guard,
            settings,
            requests: metrics::Requests::default(),
            proposals: metrics::Proposals::default(),
            #[cfg(feature = "mcp")]
            mcp,
        }))
    }

    /// Serves this node from now on.
    pub fn attach(&self, node: Node) {
        #[cfg(feature = "mcp")]
        self.0.mcp.forget_node();
        self.0.node.send_replace(Some(node));
    }

    /// Serves no node until another one is attached.
    pub fn detach(&self) {
        self.0.node.send_replace(None);
        #[cfg(feature = "mcp")]
        self.0.mcp.forget_node();
    }

    pub(crate) fn node(&self) -> Result<Node, Problem> {
        let node = self.0.node.borrow().clone();
        node.ok_or_else(|| Problem::new("starting", "the node is starting").hint("try again in a moment"))
    }

    /// What the MCP servers keep.
    #[cfg(feature = "mcp")]
    pub(crate) fn mcp(&self) -> &crate::mcp::Mcp {
        &self.0.mcp
    }

    /// How large the body of a request may be.
    #[cfg(feature = "mcp")]
    pub(crate) fn body_bytes_max(&self) -> usize {
        self.0.settings.body_bytes_max()
    }

    /// Resolves when the API is about to stop: streams end then.
    async fn closing(&self) {
        let mut closing = self.0.closing.subscribe();
        // An error means that the API is gone, which is closing too.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    /// Resolves when a client has asked this process to stop. Only while somebody waits for this are
    /// such requests taken.
    pub async fn asked_to_stop(&self) {
        let mut stop = self.0.stop.subscribe();
        // The sender is in `self`.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    fn router(&self) -> Router {
        routes::routes().layer(axum::middleware::from_fn_with_state(self.clone(), receive)).with_state(self.clone())
    }

    /// Answers on a socket until told to stop; then finishes what is in progress, for two seconds
    /// at most.
    ///
    /// # Errors
    /// If the socket fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let (api, drained) = (self.clone(), self.clone());
        let service = self.router().into_make_service_with_connect_info::<guard::LocalAddress>();
        let graceful = axum::serve(listener, service).with_graceful_shutdown(async move {
            stop.await;
            api.0.closing.send_replace(true);
            #[cfg(feature = "mcp")]
            api.0.mcp.close();
        });
        tokio::select! {
            result = graceful.into_future() => result,
            () = async { drained.closing().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    }
}

/// Receives a request before all else: lets it through or refuses it, and follows what is logged
/// on its behalf and what is counted.
async fn receive(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let begun = tokio::time::Instant::now();
    let _in_flight = api.0.requests.begin();
    let trace = trace::Trace::of(request.headers(), api.0.settings.traces());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (route, method) = (route.as_ref().map_or("none", |route| route.as_str()), request.method().clone());
    let span = tracing::info_span!(
        "request",
        %method,
        route,
        trace_id = format_args!("{:032x}", trace.trace),
        span_id = format_args!("{:016x}", trace.span),
        parent_id = trace.parent.map(|parent| tracing::field::display(format!("{parent:016x}"))),
        // Said only where a caller decided that its trace is not to be recorded.
        sampled = trace.is_unwanted().then_some(false),
        status = tracing::field::Empty,
    );
    let mut response = match api.0.guard.check(&request) {
        Ok(shown) => {
            request.extensions_mut().insert(shown);
            crate::trace::within(trace.for_entries(), next.run(request)).instrument(span.clone()).await
        }
        Err(problem) => problem.into_response(),
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

async fn no_route() -> Problem {
    Problem::new("no_route", "there is no such route").hint("docs/cli.md lists the routes")
}

async fn no_method() -> Problem {
    Problem::new("no_method", "this route does not take that method").hint("the Allow header lists those it takes")
}

/// Runs a read of the store that may take a while.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, Problem> {
    match crate::env::blocking(&BlockingPool, read).await {
        Some(result) => Ok(result?),
        None => Err(Problem::new("internal", "the read broke off")),
    }
}
