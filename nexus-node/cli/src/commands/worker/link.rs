//! The way of a worker to its node. The node may go away and start again meanwhile, also at another address.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_client::wire;
use nexus_node::api::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use crate::client::{Client, escape};
use crate::session::CliSession;

/// The wait before a node that does not answer is asked again.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// The time of one question for work.
pub(super) const CLAIM_WAIT: Duration = Duration::from_secs(30);
/// The longest time of one question for the end of a claim.
const HOLD_WAIT_MAX: Duration = Duration::from_secs(30);
/// The time that an answer may take beyond the wait itself.
const GRACE: Duration = Duration::from_secs(30);
/// The share of a lease after which a claim is renewed.
const RENEWALS: u32 = 3;

/// A node's refusals that another try does not change.
const FINAL: [&str; 14] = [
    "ambiguous",
    "bad_certificate",
    "conflict",
    "foreign_node",
    "invalid",
    "malformed",
    "no_method",
    "no_route",
    "not_found",
    "refused",
    "secret_found",
    "too_large",
    "unauthorized",
    "usage",
];

/// Whether a node has refused something for good. Anything else may be done or undone.
pub(super) fn is_final(problem: &Problem) -> bool {
    FINAL.contains(&problem.code)
}

/// The way to the node.
#[derive(Clone)]
pub(super) struct Link(Arc<Way>);

struct Way {
    session: CliSession,
    lease: Duration,
    clients: Mutex<Clients>,
    /// The node does not answer, and that was said.
    away: AtomicBool,
}

/// The clients of one node, each with its own patience.
#[derive(Clone)]
struct Clients {
    claim: Client,
    hold: Client,
    rest: Client,
}

impl Link {
    pub(super) fn new(session: &CliSession, lease: Duration) -> Result<Self, Problem> {
        let clients = Mutex::new(Clients::new(session, lease)?);
        Ok(Self(Arc::new(Way { session: session.clone(), lease, clients, away: AtomicBool::new(false) })))
    }

    /// Asks for work.
    pub(super) fn claim(&self, claim: &Arc<wire::ClaimTask>) -> JoinHandle<Result<Option<wire::ClaimedTask>, Problem>> {
        let (link, claim) = (self.clone(), claim.clone());
        tokio::task::spawn_blocking(move || link.noted(link.clients().claim.post_maybe("/v1/tasks/claim", &*claim)))
    }

    /// Renews a claim, and waits for its end for a part of the lease.
    pub(super) async fn hold(&self, id: &str, token: &str) -> Result<wire::TaskRenewal, Problem> {
        let wait = Some(wire::Span(hold_wait(self.0.lease)));
        let renew = wire::RenewTask { token: token.to_owned(), wait, ..wire::RenewTask::default() };
        self.asked(id, "renew", renew, |clients| clients.hold).await
    }

    /// Renews a claim, and says how far the work is.
    pub(super) async fn renew(
        &self,
        id: &str,
        token: &str,
        progress: Option<wire::TaskProgress>,
    ) -> Result<wire::TaskRenewal, Problem> {
        let token = token.to_owned();
        let renew = match progress {
            Some(wire::TaskProgress { percent, text }) => {
                wire::RenewTask { token, percent, text: Some(text), ..wire::RenewTask::default() }
            }
            None => wire::RenewTask { token, ..wire::RenewTask::default() },
        };
        self.asked(id, "renew", renew, |clients| clients.hold).await
    }

    /// Hands over a part of what the command wrote to its stderr: the one after so many bytes.
    pub(super) async fn note_log(
        &self,
        id: &str,
        token: &str,
        from: u64,
        text: String,
    ) -> Result<wire::TaskRenewal, Problem> {
        let (token, log, log_from) = (token.to_owned(), Some(text), Some(from));
        let renew = wire::RenewTask { token, log, log_from, ..wire::RenewTask::default() };
        self.asked(id, "renew", renew, |clients| clients.rest).await
    }

    /// Says what came of an attempt.
    pub(super) async fn finish(&self, id: &str, finish: wire::FinishTask) -> Result<wire::Task, Problem> {
        self.asked(id, "finish", finish, |clients| clients.rest).await
    }

    /// The task as it is now.
    pub(super) async fn task(&self, id: &str) -> Result<wire::Task, Problem> {
        let (link, path) = (self.clone(), format!("/v1/tasks/{}", escape(id)));
        let asked = move || link.noted(link.clients().rest.get(&path));
        tokio::task::spawn_blocking(asked)
            .await
            .unwrap_or_else(|error| Err(Problem::new("internal", error.to_string())))
    }

    async fn asked<T: DeserializeOwned + Send + 'static>(
        &self,
        id: &str,
        verb: &str,
        document: impl Serialize + Send + 'static,
        client: fn(Clients) -> Client,
    ) -> Result<T, Problem> {
        let (link, path) = (self.clone(), format!("/v1/tasks/{}/{verb}", escape(id)));
        let asked = move || link.noted(client(link.clients()).post(&path, &document));
        let answer = tokio::task::spawn_blocking(asked).await;
        answer.unwrap_or_else(|error| Err(Problem::new("internal", error.to_string())))
    }

    fn clients(&self) -> Clients {
        self.0.clients.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says once that the node does not answer, and looks for its address again.
    fn noted<T>(&self, answer: Result<T, Problem>) -> Result<T, Problem> {
        let Way { session, lease, clients, away } = &*self.0;
        match &answer {
            Err(problem) if !is_final(problem) => {
                if !away.swap(true, Ordering::Relaxed) {
                    session.printer.warning(&problem.message, Some("the worker goes on, and asks again every second"));
                }
                if let Ok(found) = Clients::new(session, *lease) {
                    *clients.lock().unwrap_or_else(PoisonError::into_inner) = found;
                }
            }
            _ => {
                if away.swap(false, Ordering::Relaxed) {
                    session.printer.note("the node answers again");
                }
            }
        }
        answer
    }
}

impl Clients {
    fn new(session: &CliSession, lease: Duration) -> Result<Self, Problem> {
        let rest = session.client()?;
        let claim = rest.clone().patient(CLAIM_WAIT + GRACE);
        // a renewal waits no longer than the lease lasts
        let hold = rest.clone().patient(hold_wait(lease) + (lease / RENEWALS).min(GRACE));
        Ok(Self { claim, hold, rest })
    }
}

fn hold_wait(lease: Duration) -> Duration {
    (lease / RENEWALS).min(HOLD_WAIT_MAX)
}
