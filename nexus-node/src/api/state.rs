//! The API of a process: its node, its guard, and what it counts.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::door::Door;
use super::guard::Guard;
use super::guest::Guest;
use super::issued::TokenBook;
#[cfg(feature = "documents")]
use super::making::Making;
use super::metrics::{Proposals, Requests};
use super::passphrase::Passphrase;
use super::problem::Problem;
use super::settings::Settings;
use crate::Node;

/// The tokens of an API.
#[derive(Clone, Copy)]
pub struct ApiTokens<'a> {
    /// The token for everything.
    pub all: &'a str,
    /// The token for the metrics alone, if there is one.
    pub metrics: Option<&'a str>,
    /// The tokens that name agents, if it is to issue any.
    pub issued: Option<&'a TokenBook>,
}

impl std::fmt::Debug for ApiTokens<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiTokens").finish_non_exhaustive()
    }
}

/// The API of one process. Clones are handles to the same one.
#[derive(Clone)]
pub struct Api(pub(super) Arc<ApiState>);

/// The state behind all handles.
pub(super) struct ApiState {
    /// `None` while the node is being replaced.
    pub(super) node: watch::Sender<Option<Node>>,
    pub(super) closing: watch::Sender<bool>,
    /// True once a client has asked the process to stop.
    pub(super) stop: watch::Sender<bool>,
    pub(super) guard: Guard,
    pub(super) passphrase: Passphrase,
    /// The further door for the metrics, once it is served.
    pub(super) metrics_door: OnceLock<Door>,
    pub(super) settings: Arc<dyn Settings>,
    pub(super) requests: Requests,
    pub(super) proposals: Proposals,
    pub(super) guests: Vec<Guest>,
    #[cfg(feature = "documents")]
    pub(super) making: Arc<Making>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("guard", &self.0.guard).finish_non_exhaustive()
    }
}

impl Api {
    /// An API at an address, for holders of the token. It answers `starting` until a node is attached.
    pub fn new(address: SocketAddr, token: &str, settings: Arc<dyn Settings>) -> Self {
        Self::hosting(Vec::new(), Door::new(address), ApiTokens { all: token, metrics: None, issued: None }, settings)
    }

    /// The same at any door, with other rooms on its socket.
    pub fn hosting(guests: Vec<Guest>, door: Door, tokens: ApiTokens<'_>, settings: Arc<dyn Settings>) -> Self {
        let (node, closing) = (watch::Sender::new(None), watch::Sender::new(false));
        let issued = tokens.issued.cloned().unwrap_or_else(TokenBook::in_memory);
        let passphrase = Passphrase::open(issued.directory());
        let guard = Guard::new(door, tokens.all, tokens.metrics, issued);
        Self(Arc::new(ApiState {
            node,
            closing,
            stop: watch::Sender::new(false),
            guard,
            passphrase,
            metrics_door: OnceLock::new(),
            settings,
            requests: Requests::default(),
            proposals: Proposals::default(),
            guests,
            #[cfg(feature = "documents")]
            making: Arc::default(),
        }))
    }

    /// Serves this node from now on.
    pub fn attach(&self, node: Node) {
        self.0.node.send_replace(Some(node));
        self.0.guests.iter().for_each(|guest| (guest.node_changed)());
    }

    /// Serves no node until another one is attached.
    pub fn detach(&self) {
        self.0.node.send_replace(None);
        self.0.guests.iter().for_each(|guest| (guest.node_changed)());
    }

    pub(crate) fn node(&self) -> Result<Node, Problem> {
        let node = self.0.node.borrow().clone();
        node.ok_or_else(|| Problem::new("starting", "the node is starting").hint("try again in a moment"))
    }

    /// The largest body of a request, in bytes.
    #[cfg(feature = "mcp")]
    pub(crate) fn body_bytes_max(&self) -> usize {
        self.0.settings.body_bytes_max()
    }

    /// Resolves when the API is about to stop, so that streams end.
    pub(super) async fn closing(&self) {
        let mut closing = self.0.closing.subscribe();
        // An error means that the API is gone, which counts as closing.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    /// Resolves when a client has asked this process to stop. Such requests are refused while no such future exists, so
    /// make it before [`serve`](Self::serve).
    pub fn asked_to_stop(&self) -> impl Future<Output = ()> {
        // here, and not when it is polled first: a client may be faster
        let mut stop = self.0.stop.subscribe();
        async move {
            // the sender is in `self`
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// The doors that other machines reach without TLS.
    pub(super) fn exposed(&self) -> impl Iterator<Item = &Door> {
        [self.0.guard.door()].into_iter().chain(self.0.metrics_door.get()).filter(|door| door.is_exposed())
    }
}
