//! A node for an outside test harness: [Maelstrom](https://github.com/jepsen-io/maelstrom) starts
//! several of these processes, carries every message between them, and judges what its clients saw.
//!
//! What runs here is a whole node, with its gate, its sync sessions and its coordinator. Only what
//! is around it is other than in `up`: keys and mesh follow from the list of nodes, stores lie in
//! memory, and libp2p's byte streams travel as Maelstrom's messages.
//!
//! | room | what is in it |
//! |---|---|
//! | `message` | Maelstrom's messages |
//! | `cluster` | from a list of names to a mesh: keys, credentials, addresses |
//! | `tunnel` | a byte stream over messages that get lost, pure |
//! | `network` | tunnels between the nodes of a cluster |
//! | `workload` | what clients ask, as questions to the node |

mod cluster;
mod message;
mod network;
mod tunnel;
mod workload;

use std::sync::Arc;

use clap::Args;
use nexus_node::api::Problem;
use nexus_node::config::LogFormat;
use nexus_node::{Node, Tasks};
use serde_json::json;
use tokio::sync::mpsc;

use self::cluster::Cluster;
use self::message::{Envelope, Failure};
use self::network::Network;
use self::workload::{Service, Workload};
use super::mcp::lines::{self, Line};
use crate::session::Session;

/// Messages that go out and were not written yet; then whoever sends waits.
const OUT_MAX: usize = 256;

/// Be a node in the hands of a Maelstrom-style test harness
///
/// Reads its messages on stdin and writes them to stdout, one JSON document a line. What such a
/// node holds lies in memory and ends with it.
#[derive(Debug, Args)]
pub(crate) struct Maelstrom {
    /// What its clients ask for
    #[arg(value_enum)]
    workload: Workload,
}

impl Maelstrom {
    pub(crate) fn run(self, session: &Session) -> Result<(), Problem> {
        let _log = session.log("warn", LogFormat::Text);
        let runtime = Session::runtime()?;
        let result = runtime.block_on(serve(self.workload));
        // A read of stdin cannot be cancelled, and nobody waits for it.
        runtime.shutdown_background();
        result
    }
}

/// What there is once the harness has said who is who.
struct Begun {
    tasks: Arc<Tasks>,
    network: Network,
    service: Arc<Service>,
}

/// Serves until stdin ends.
async fn serve(workload: Workload) -> Result<(), Problem> {
    let mut input = lines::input();
    let (stdout, writer) = lines::output();
    let (out, mut outgoing) = mpsc::channel::<Envelope>(OUT_MAX);
    let writing = tokio::spawn(async move {
        while let Some(envelope) = outgoing.recv().await {
            // a document of strings and numbers can always be written
            let line = serde_json::to_vec(&envelope).unwrap_or_default();
            if stdout.send(line).await.is_err() {
                return;
            }
        }
    });
    let mut begun: Option<Begun> = None;
    while let Some(line) = input.recv().await {
        let Line::Text(line) = line else {
            tracing::warn!("a line that is too long is left out");
            continue;
        };
        let envelope: Envelope = match serde_json::from_slice(&line) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::warn!(%error, "a line that is no message is left out");
                continue;
            }
        };
        match (&begun, envelope.body["type"].as_str()) {
            (Some(begun), Some(network::STREAM)) => begun.network.take(&envelope),
            (Some(_), Some("init")) => reply(&out, &envelope, Ok(json!({ "type": "init_ok" }))).await,
            (None, Some("init")) => match begin(workload, &envelope, &out).await {
                Ok(first) => {
                    begun = Some(first);
                    reply(&out, &envelope, Ok(json!({ "type": "init_ok" }))).await;
                }
                Err(problem) => {
                    let failure = Failure::new(message::CRASH, problem.message.clone());
                    reply(&out, &envelope, Err(failure)).await;
                    return Err(problem);
                }
            },
            (Some(begun), _) => {
                let (service, out) = (begun.service.clone(), out.clone());
                tokio::spawn(async move {
                    let answer = service.answer(&envelope.body).await;
                    reply(&out, &envelope, answer).await;
                });
            }
            // another node's stream before this one knows who it is: it will be sent again
            (None, Some(network::STREAM)) => {}
            (None, _) => {
                let early = Failure::new(message::UNAVAILABLE, "this node was not told yet who it is".to_owned());
                reply(&out, &envelope, Err(early)).await;
            }
        }
    }
    // what it held was in memory: there is nothing to close
    if let Some(begun) = begun {
        begun.tasks.kill();
    }
    writing.abort();
    let _ = writing.await;
    drop(out);
    let _ = writer.join();
    Ok(())
}

/// Starts the node that the harness wants.
async fn begin(workload: Workload, init: &Envelope, out: &mpsc::Sender<Envelope>) -> Result<Begun, Problem> {
    let cluster = Cluster::of(&init.body).map_err(|why| Problem::new("invalid", why))?;
    let network = Network::start(&cluster, out.clone()).map_err(|why| Problem::new("failed", why))?;
    let tasks = Arc::new(Tasks::current());
    let env = cluster.env(tasks.clone()).map_err(|why| Problem::new("failed", why))?;
    let service = Arc::new(Service::new(workload, Node::with_env(env).await?, cluster.names().len())?);
    Ok(Begun { tasks, network, service })
}

/// Answers a message, unless it asks for no answer.
async fn reply(out: &mpsc::Sender<Envelope>, asked: &Envelope, answer: Result<serde_json::Value, Failure>) {
    if let Some(reply) = asked.reply(answer) {
        let _ = out.send(reply).await;
    }
}
