//! A node under an outside test harness. [Maelstrom](https://github.com/jepsen-io/maelstrom) starts
//! several of these processes, carries every message between them, and judges the answers to its
//! clients.
//!
//! The node is a whole one, with its gate, its sync sessions and its coordinator. Only its surroundings
//! differ from `up`: keys and mesh follow from the list of nodes, stores are in memory, and libp2p's
//! byte streams travel as Maelstrom's messages.
//!
//! | room | content |
//! |---|---|
//! | `message` | Maelstrom's messages |
//! | `cluster` | from a list of names to a mesh: keys, credentials, addresses |
//! | `tunnel` | a byte stream over lossy messages, pure |
//! | `network` | tunnels between the nodes of a cluster |
//! | `workload` | the clients' requests, as calls of the node |

mod cluster;
mod message;
mod network;
mod tunnel;
mod workload;

use std::sync::Arc;

use clap::Args;
use nexus_node::Node;
use nexus_node::api::Problem;
use nexus_node::config::LogFormat;
use nexus_node::env::Tasks;
use serde_json::json;
use tokio::sync::mpsc;

use self::cluster::Cluster;
use self::message::{Envelope, Failure};
use self::network::TunnelNetwork;
use self::workload::{Service, Workload};
use nexus_node_cli::ground::CliSession;
use nexus_node_cli::ground::lines::{self, Line};

/// Messages that wait to be written. When they are full, senders wait.
const OUT_MAX: usize = 256;

/// Run a node under a Maelstrom-style test harness
///
/// It reads the harness's messages from stdin and writes its own to stdout, one JSON document a line.
/// The node's data is in memory and ends with it.
#[derive(Debug, Args)]
pub(crate) struct Maelstrom {
    /// The kind of the clients' requests
    #[arg(value_enum)]
    workload: Workload,
}

impl Maelstrom {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let _log = session.log("warn", LogFormat::Text);
        let runtime = CliSession::runtime()?;
        let result = runtime.block_on(serve(self.workload));
        // A read of stdin cannot be cancelled, and nobody waits for it.
        runtime.shutdown_background();
        result
    }
}

/// The node, once the harness has sent the list of nodes.
struct Begun {
    tasks: Arc<Tasks>,
    network: TunnelNetwork,
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
            // another node's stream before this node's start: it will be sent again
            (None, Some(network::STREAM)) => {}
            (None, _) => {
                let early = Failure::new(message::UNAVAILABLE, "this node was not told yet who it is".to_owned());
                reply(&out, &envelope, Err(early)).await;
            }
        }
    }
    // its data is in memory: there is nothing to close
    if let Some(begun) = begun {
        begun.tasks.kill();
    }
    writing.abort();
    let _ = writing.await;
    drop(out);
    let _ = writer.join();
    Ok(())
}

/// Starts the node that the harness asks for.
async fn begin(workload: Workload, init: &Envelope, out: &mpsc::Sender<Envelope>) -> Result<Begun, Problem> {
    let cluster = Cluster::of(&init.body).map_err(|why| Problem::new("invalid", why))?;
    let network = TunnelNetwork::start(&cluster, out.clone()).map_err(|why| Problem::new("failed", why))?;
    let tasks = Arc::new(Tasks::current());
    let env = cluster.env(tasks.clone()).map_err(|why| Problem::new("failed", why))?;
    let service = Arc::new(Service::new(workload, Node::with_env(env).await?, cluster.names().len())?);
    Ok(Begun { tasks, network, service })
}

/// Answers a message, unless it wants no answer.
async fn reply(out: &mpsc::Sender<Envelope>, asked: &Envelope, answer: Result<serde_json::Value, Failure>) {
    if let Some(reply) = asked.reply(answer) {
        let _ = out.send(reply).await;
    }
}
