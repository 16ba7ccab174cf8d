//! The nodes and the state that the steps work on.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::json;

use super::onlooker::{Names, Onlooker};
use super::stage::{Node, Stage};
use super::view::Event;
use super::wait::until;
use crate::client::escape;
use crate::commands::task::reference::is_over;

/// The longest time for anything to arrive everywhere.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// The time for which a short event stays on the screen.
pub(super) const LINGER: Duration = Duration::from_millis(1600);

/// The nodes and the state that the steps work on.
pub(super) struct World {
    pub(super) stage: Arc<Stage>,
    pub(super) ports: BTreeMap<String, u16>,
    /// Whether the ports were given by a flag.
    pub(super) ports_chosen: bool,
    pub(super) names: Vec<String>,
    pub(super) nodes: BTreeMap<String, Node>,
    /// The memory that both sides edit.
    pub(super) contested: Option<String>,
    /// A text that no stranger may ever hold.
    pub(super) secret: String,
    pub(super) audience: Option<Audience>,
    /// The time that the current step has waited for the audience.
    pub(super) lingered: Duration,
}

/// The people at the live map.
pub(super) struct Audience {
    pub(super) events: Sender<Event>,
    pub(super) names: Names,
    pub(super) onlookers: BTreeMap<String, Onlooker>,
}

pub(super) type StepResult = Result<String, Problem>;

/// The document that all type into.
pub(super) const NOTES: &str = "notes";

pub(super) const TERMINAL: &str = "terminal";

pub(super) const IDE: &str = "ide";

pub(super) const CLOUD: &str = "cloud";

impl World {
    pub(super) fn new(stage: Arc<Stage>, ports: &[u16], ports_chosen: bool) -> Self {
        let name = |index: usize| match index {
            0 => TERMINAL.to_owned(),
            1 => IDE.to_owned(),
            2 => CLOUD.to_owned(),
            more => format!("agent-{}", more + 1),
        };
        let names: Vec<String> = (0..ports.len()).map(name).collect();
        let ports = names.iter().cloned().zip(ports.iter().copied()).collect();
        let secret = format!("canary-{}", std::process::id());
        Self {
            stage,
            ports,
            ports_chosen,
            names,
            nodes: BTreeMap::new(),
            contested: None,
            secret,
            audience: None,
            lingered: Duration::ZERO,
        }
    }

    /// Reports all events from now on.
    pub(super) fn watched_by(&mut self, events: Sender<Event>) {
        self.audience = Some(Audience { events, names: Names::default(), onlookers: BTreeMap::new() });
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn tell(&self, event: Event) {
        if let Some(audience) = &self.audience {
            // The audience may have left.
            let _ = audience.events.send(event);
        }
    }

    /// Gives the audience time to see the screen.
    pub(super) fn linger(&mut self) {
        if self.audience.is_some() {
            std::thread::sleep(LINGER);
            self.lingered += LINGER;
        }
    }

    pub(super) fn node(&self, name: &str) -> Result<&Node, Problem> {
        self.nodes.get(name).ok_or_else(|| Problem::new("not_found", format!("no node {name} is running")))
    }

    /// The nodes, in the order in which they joined.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.names.iter().filter_map(|name| self.nodes.get(name))
    }

    pub(super) fn start_node(&mut self, name: &str) -> Result<(), Problem> {
        let port = self.ports.get(name).copied().unwrap_or(0);
        self.tell(Event::Starts { node: name.to_owned() });
        let node = match self.stage.start(name, port, &[]) {
            // Another program took the port: use any port, which the node keeps.
            Err(problem) if problem.code == "in_use" && !self.ports_chosen => {
                self.ports.insert(name.to_owned(), 0);
                self.stage.start(name, 0, &[])?
            }
            started => started?,
        };
        if let Some(port) = node.client.base().rsplit(':').next().and_then(|port| port.parse().ok()) {
            self.tell(Event::Answers { node: name.to_owned(), port });
        }
        if let Some(audience) = &mut self.audience {
            audience.names.lock().unwrap_or_else(PoisonError::into_inner).insert(node.did.clone(), name.to_owned());
            let onlooker = Onlooker::new(&node, &audience.names, &audience.events);
            audience.onlookers.insert(name.to_owned(), onlooker);
        }
        self.nodes.insert(name.to_owned(), node);
        Ok(())
    }

    /// Kills a node with SIGKILL.
    pub(super) fn end_node(&mut self, name: &str) -> Result<u32, Problem> {
        let pid = self.stage.kill(name)?;
        self.nodes.remove(name);
        if let Some(audience) = &mut self.audience {
            audience.onlookers.remove(name);
        }
        self.tell(Event::Ends { node: name.to_owned() });
        Ok(pid)
    }

    /// Kills a node with SIGKILL and starts it again.
    pub(super) fn restart(&mut self, name: &str) -> StepResult {
        let pid = self.end_node(name)?;
        self.linger();
        self.start_node(name)?;
        Ok(format!("{name} (process {pid}) was killed hard, and is back"))
    }

    /// Cuts a node off, in both directions.
    pub(super) fn cut_off(&self, name: &str) -> StepResult {
        self.node(name)?.switch("offline")?;
        Ok(format!("{name} is cut off; it goes on reading and writing"))
    }

    /// Brings every node back.
    pub(super) fn heal_all(&self) -> StepResult {
        let mut back = Vec::new();
        for node in self.nodes() {
            if node.status()?.offline {
                node.switch("online")?;
                back.push(node.name.as_str());
            }
        }
        Ok(match back.as_slice() {
            [] => "nobody was cut off".to_owned(),
            [one] => format!("{one} is back"),
            more => format!("{} are back", more.join(" and ")),
        })
    }

    /// Writes a memory on a node.
    pub(super) fn write(&self, name: &str, text: &str) -> StepResult {
        self.node(name)?.remember(text)?;
        Ok(format!("{name} wrote {text:?}"))
    }

    /// Edits the memory of the steps on a node.
    pub(super) fn edit_contested(&self, name: &str, text: &str) -> StepResult {
        self.node(name)?.edit(self.contested()?, text)?;
        Ok(format!("{name} edited the shared memory to {text:?}"))
    }

    /// A line for each node.
    pub(super) fn look(&self) -> StepResult {
        let mut lines = Vec::new();
        for node in self.nodes() {
            let (status, memories) = (node.status()?, node.memories()?);
            let state = if status.offline { "offline" } else { "online" };
            lines.push(format!("{:<10} {state}, {} peers, {} memories", node.name, status.peers, memories.len()));
        }
        Ok(lines.join("\n"))
    }

    /// Waits until all of these nodes hold the same memories. Returns those.
    pub(super) fn converge(&self) -> Result<Vec<wire::Memory>, Problem> {
        until("every node holds the same memories in the same versions", SOON, || {
            let mut all = Vec::new();
            for node in self.nodes() {
                all.push(node.memories()?);
            }
            let versions = |memories: &Vec<wire::Memory>| -> BTreeMap<String, String> {
                memories.iter().map(|memory| (memory.id.clone(), memory.version.clone())).collect()
            };
            let equal = all.windows(2).all(|pair| versions(&pair[0]) == versions(&pair[1]));
            Ok(if equal { all.pop() } else { None })
        })
    }

    pub(super) fn contested(&self) -> Result<&str, Problem> {
        self.contested.as_deref().ok_or_else(|| Problem::new("internal", "there is no contested memory"))
    }
}

/// The end of each node's log.
pub(super) fn logs(stage: &Stage, names: &[String]) -> String {
    let mut text = String::new();
    for name in names.iter().map(String::as_str).chain(["stranger"]) {
        let log = stage.log(name);
        let lines: Vec<&str> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(8)..] {
            text.push_str(&format!("  {name}: {line}\n"));
        }
    }
    text
}

impl Node {
    pub(super) fn remember(&self, text: &str) -> Result<wire::Remembered, Problem> {
        self.client.post("/v1/memories", &json!({ "text": text }))
    }

    pub(super) fn memories(&self) -> Result<Vec<wire::Memory>, Problem> {
        let listing: wire::Listing = self.client.get("/v1/memories?limit=1000")?;
        Ok(listing.items)
    }

    pub(super) fn get(&self, id: &str) -> Result<wire::Memory, Problem> {
        self.client.get(&format!("/v1/memories/{}", escape(id)))
    }

    /// Changes the text that all type into.
    pub(super) fn types(&self, at: usize, insert: &str) -> Result<wire::Document, Problem> {
        let text = json!({ "text": { "path": "text", "at": at, "insert": insert } });
        self.client.post(&format!("/v1/documents/{NOTES}/edits"), &json!({ "edits": [text] }))
    }

    /// The text that all type into, with its version.
    pub(super) fn notes(&self) -> Result<(String, String), Problem> {
        let notes: wire::Document = self.client.get(&format!("/v1/documents/{NOTES}?path=text"))?;
        let text = notes.value.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        Ok((text, notes.version.unwrap_or_default()))
    }

    /// Waits until the text that all type into is here as wanted. Returns its version.
    pub(super) fn await_notes(&self, wanted: &str) -> Result<String, Problem> {
        until(&format!("{} reads {wanted:?}", self.name), SOON, || match self.notes() {
            Ok((text, version)) => Ok((text == wanted).then_some(version)),
            Err(problem) if problem.code == "not_found" => Ok(None),
            Err(problem) => Err(problem),
        })
    }

    pub(super) fn edit(&self, id: &str, text: &str) -> Result<wire::Memory, Problem> {
        self.client.patch(&format!("/v1/memories/{}", escape(id)), &json!({ "text": text }))
    }

    pub(super) fn status(&self) -> Result<wire::Status, Problem> {
        self.client.get("/v1/status")
    }

    pub(super) fn peers(&self) -> Result<Vec<wire::Peer>, Problem> {
        self.client.get("/v1/peers")
    }

    pub(super) fn members(&self) -> Result<Vec<wire::Member>, Problem> {
        self.client.get("/v1/members")
    }

    pub(super) fn coordinator(&self) -> Result<wire::Coordinator, Problem> {
        self.client.get("/v1/coordinator")
    }

    /// A key by an exact read.
    pub(super) fn key(&self, key: &str) -> Result<wire::KvItem, Problem> {
        self.client.get(&format!("/v1/kv/{}", escape(key)))
    }

    pub(super) fn put_key(&self, key: &str, value: &str) -> Result<wire::KvWritten, Problem> {
        self.client.put(&format!("/v1/kv/{}", escape(key)), &json!({ "value": value }))
    }

    /// `offline` or `online`.
    pub(super) fn switch(&self, to: &str) -> Result<wire::Offline, Problem> {
        self.client.post(&format!("/v1/{to}"), &json!({}))
    }

    pub(super) fn submit(&self, task: &serde_json::Value) -> Result<wire::Task, Problem> {
        self.client.post("/v1/tasks", task)
    }

    pub(super) fn task(&self, id: &str) -> Result<wire::Task, Problem> {
        self.client.get(&format!("/v1/tasks/{id}"))
    }

    /// Waits until a task is here, in a wanted state.
    pub(super) fn await_task(&self, id: &str, wanted: fn(&wire::Task) -> bool) -> Result<wire::Task, Problem> {
        until(&format!("{} sees what becomes of a task", self.name), SOON, || match self.task(id) {
            Ok(task) => Ok(Some(task).filter(wanted)),
            Err(problem) if problem.code == "not_found" => Ok(None),
            Err(problem) => Err(problem),
        })
    }

    /// Waits until a task is over here.
    pub(super) fn ended(&self, id: &str) -> Result<wire::Task, Problem> {
        self.await_task(id, is_over)
    }

    pub(super) fn sees_up(&self) -> Result<usize, Problem> {
        Ok(self.peers()?.iter().filter(|peer| peer.state == "up").count())
    }

    /// Waits until a memory is here, with this text.
    pub(super) fn await_memory(&self, id: &str, text: &str) -> Result<wire::Memory, Problem> {
        until(&format!("{} reads {text:?}", self.name), SOON, || match self.get(id) {
            Ok(memory) => Ok((memory.text == text).then_some(memory)),
            Err(problem) if problem.code == "not_found" => Ok(None),
            Err(problem) => Err(problem),
        })
    }
}

/// Checks a claim.
pub(super) fn claim(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err(Problem::new("failed", otherwise())) }
}
