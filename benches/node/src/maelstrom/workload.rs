//! The clients' requests, as calls of the node.
//!
//! Data that may merge is in memories. Each value that is broadcast, added to a set or counted is a
//! memory, and a read is a fold over all memories here. Data that must not conflict is in keys of the
//! coordinators.

use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use nexus_node::critical::PutOptions;
use nexus_node::memory::ListQuery;
use nexus_node::{Brain, Critical, NewMemory, Node, NodeError};
use serde_json::{Value, json};

use super::message::{CRASH, Failure, MALFORMED, NO_KEY, NOT_AS_EXPECTED, NOT_SUPPORTED, TIMEOUT, UNAVAILABLE};

/// The voters of a settled group, if there are as many nodes.
const VOTERS: usize = 3;
/// The most tries of one `cas` on a key that comes and goes.
const TRIES: usize = 3;

/// Maelstrom's workloads. A `read` means something else in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Workload {
    /// Answer with the same value
    Echo,
    /// Unique ids: those of new memories
    UniqueIds,
    /// Values that reach every node: memories
    Broadcast,
    /// A set that only grows: memories
    GSet,
    /// A counter that goes up and down: the sum of memories
    #[value(alias = "g-counter")]
    PnCounter,
    /// A linearizable map: keys of the coordinators
    LinKv,
}

/// A node that serves one workload.
pub(super) struct Service {
    workload: Workload,
    brain: Brain,
    critical: Critical,
    /// The number of voters required before keys are used.
    voters: usize,
    /// Whether there were that many.
    settled: AtomicBool,
    /// The node, which ends with its last handle.
    _node: Node,
}

impl Service {
    pub(super) fn new(workload: Workload, node: Node, nodes: usize) -> Result<Self, NodeError> {
        Ok(Self {
            workload,
            brain: node.brain(),
            critical: node.critical()?,
            voters: if nodes < VOTERS { 1 } else { VOTERS },
            settled: AtomicBool::new(false),
            _node: node,
        })
    }

    /// Answers a client's request.
    pub(super) async fn answer(&self, body: &Value) -> Result<Value, Failure> {
        let kind = body["type"].as_str().unwrap_or_default();
        if self.workload == Workload::LinKv {
            self.settle().await?;
        }
        match (self.workload, kind) {
            (Workload::Echo, "echo") => Ok(json!({ "type": "echo_ok", "echo": body["echo"] })),
            (Workload::UniqueIds, "generate") => {
                let id = self.remember("\"drawn\"".to_owned()).await?;
                Ok(json!({ "type": "generate_ok", "id": id }))
            }
            // the mesh finds its own ways
            (Workload::Broadcast, "topology") => Ok(json!({ "type": "topology_ok" })),
            (Workload::Broadcast, "broadcast") => {
                self.remember(field(body, "message")?.to_string()).await?;
                Ok(json!({ "type": "broadcast_ok" }))
            }
            (Workload::Broadcast, "read") => Ok(json!({ "type": "read_ok", "messages": self.once_each().await? })),
            (Workload::GSet, "add") => {
                self.remember(field(body, "element")?.to_string()).await?;
                Ok(json!({ "type": "add_ok" }))
            }
            (Workload::GSet, "read") => Ok(json!({ "type": "read_ok", "value": self.once_each().await? })),
            (Workload::PnCounter, "add") => {
                let delta = field(body, "delta")?.as_i64().ok_or_else(|| Failure::lacks("delta"))?;
                if delta != 0 {
                    self.remember(delta.to_string()).await?;
                }
                Ok(json!({ "type": "add_ok" }))
            }
            (Workload::PnCounter, "read") => {
                let sum: i128 = self.values().await?.iter().filter_map(Value::as_i64).map(i128::from).sum();
                let sum = i64::try_from(sum).map_err(|_| Failure::new(CRASH, "the sum is too large".to_owned()))?;
                Ok(json!({ "type": "read_ok", "value": sum }))
            }
            (Workload::LinKv, "read") => {
                let key = key(body)?;
                match self.critical.get(&key).await {
                    Ok(Some(item)) => {
                        Ok(json!({ "type": "read_ok", "value": value_of(item.text().unwrap_or_default())? }))
                    }
                    Ok(None) => Err(no_key(&key)),
                    Err(error) => Err(unread(&error)),
                }
            }
            (Workload::LinKv, "write") => {
                let (key, value) = (key(body)?, field(body, "value")?.to_string());
                self.critical.put(&key, &value, PutOptions::default()).await.map_err(|error| unwritten(&error))?;
                Ok(json!({ "type": "write_ok" }))
            }
            (Workload::LinKv, "cas") => {
                self.cas(body).await?;
                Ok(json!({ "type": "cas_ok" }))
            }
            (_, kind) => Err(Failure::new(NOT_SUPPORTED, format!("{kind:?} is not of this workload"))),
        }
    }

    /// Waits until there are enough voters. Before that, the founder decides alone, and a harness that
    /// cuts it off would not test a quorum.
    async fn settle(&self) -> Result<(), Failure> {
        if self.settled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let seen = self.critical.coordinators().await;
        if seen.is_none_or(|seen| seen.voters.len() < self.voters) {
            return Err(Failure::new(UNAVAILABLE, "the voters have not settled yet".to_owned()));
        }
        self.settled.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a memory. Returns its id.
    async fn remember(&self, text: String) -> Result<String, Failure> {
        let written = self.brain.remember(NewMemory::note(text)).await;
        written.map(|written| written.id.to_string()).map_err(|error| unwritten(&error))
    }

    /// The values of the memories on this node.
    async fn values(&self) -> Result<Vec<Value>, Failure> {
        let (mut values, mut after) = (Vec::new(), None);
        loop {
            let query = ListQuery::newest().limit(1_000).after(after);
            let page = self.brain.list(query).await.map_err(|error| unread(&error))?;
            for memory in page.items {
                values.push(value_of(&memory.text)?);
            }
            after = page.next;
            if after.is_none() {
                return Ok(values);
            }
        }
    }

    /// The same, each value once.
    async fn once_each(&self) -> Result<Vec<Value>, Failure> {
        let mut values: Vec<(String, Value)> =
            self.values().await?.into_iter().map(|value| (value.to_string(), value)).collect();
        values.sort_by(|(a, _), (b, _)| a.cmp(b));
        values.dedup_by(|(a, _), (b, _)| a == b);
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }

    async fn cas(&self, body: &Value) -> Result<(), Failure> {
        let key = key(body)?;
        let (from, to) = (field(body, "from")?.to_string(), field(body, "to")?.to_string());
        let create = body["create_if_not_exists"].as_bool().unwrap_or(false);
        for _ in 0..TRIES {
            match self.critical.cas(&key, Some(from.as_bytes()), &to, PutOptions::default()).await {
                Ok(_) => return Ok(()),
                Err(NodeError::Conflict(why)) => return Err(Failure::new(NOT_AS_EXPECTED, why.to_string())),
                Err(NodeError::NotFound { .. }) if !create => return Err(no_key(&key)),
                Err(NodeError::NotFound { .. }) => {}
                Err(error) => return Err(unwritten(&error)),
            }
            match self.critical.cas(&key, None, &to, PutOptions::default()).await {
                Ok(_) => return Ok(()),
                // another client was faster: the key exists now
                Err(NodeError::Conflict(_)) => {}
                Err(error) => return Err(unwritten(&error)),
            }
        }
        Err(Failure::new(UNAVAILABLE, "the key comes and goes".to_owned()))
    }
}

fn field<'a>(body: &'a Value, name: &str) -> Result<&'a Value, Failure> {
    body.get(name).ok_or_else(|| Failure::lacks(name))
}

/// The coordinators' key for a key of the harness, which may be any document.
fn key(body: &Value) -> Result<String, Failure> {
    Ok(format!("k/{}", field(body, "key")?))
}

fn no_key(key: &str) -> Failure {
    Failure::new(NO_KEY, format!("there is no key {key}"))
}

/// Reads a value, which is kept as JSON.
fn value_of(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::new(CRASH, format!("a value does not read: {error}")))
}

/// The failure of a read: it certainly was not done.
fn unread(error: &NodeError) -> Failure {
    match error {
        NodeError::Invalid(_) | NodeError::TooLarge { .. } => Failure::new(MALFORMED, error.to_string()),
        _ => Failure::new(UNAVAILABLE, error.to_string()),
    }
}

/// The failure of a write. A malformed one was not done; the outcome of any other is unknown.
fn unwritten(error: &NodeError) -> Failure {
    match error {
        NodeError::Invalid(_) | NodeError::TooLarge { .. } | NodeError::Refused(_) => {
            Failure::new(MALFORMED, error.to_string())
        }
        NodeError::OutcomeUnknown { .. } | NodeError::TimedOut(_) => Failure::new(TIMEOUT, error.to_string()),
        NodeError::NoQuorum { .. } => Failure::new(UNAVAILABLE, error.to_string()),
        _ => Failure::new(CRASH, error.to_string()),
    }
}
