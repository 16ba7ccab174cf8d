//! A space that one member may not read: nothing of it reaches that member, by any way.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::rogue::Rogue;
use crate::settings::NoSettings;
use crate::world::{Link, SOON, World, address_of, eventually, has_text, key};
use nexus_crdt::sync_frame::Body;
use nexus_crdt::{Entry, EntryFrame, HIDDEN_FROM_READERS, Kind, LogId, SpaceDefinition, SpaceId};
use nexus_identity::{Did, Role};
use nexus_node::api::{Api, ApiTokens, Door};
use nexus_node::blobs::BlobHash;
use nexus_node::internals::engine::{Genesis, found};
use nexus_node::internals::store::Store;
use nexus_node::{NewMemory, Node, NodeError, mcp};
use prost::Message;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const OURS: World = World(200);
const OPEN: &str = "spoken in the open";
const HIDDEN: &str = "spoken among writers";

/// A node on HTTP, with its MCP servers.
pub(crate) struct Served {
    pub(crate) node: Node,
    address: String,
    api: Api,
}

impl Served {
    pub(crate) async fn new(node: Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tokens = ApiTokens { all: "token", metrics: None, issued: None };
        let api = Api::hosting(vec![mcp::guest()], Door::new(address), tokens, Arc::new(NoSettings));
        api.attach(node.clone());
        let serving = api.clone();
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
        Self { node, address: address.to_string(), api }
    }

    /// Status and body of an answer.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        self.send(method, path, "").await
    }

    /// A request on a connection of its own, which its answer ends.
    pub(crate) async fn open(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer token\r\nConnection: close\r\n\
             Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = self.open(method, path, body).await;
        let mut answer = Vec::new();
        tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.1).unwrap()
    }
}

/// promise: Commands and API | A program that answers can be told to stop from its first answer on
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_counts_before_anybody_waits_for_it() {
    let served = Served::new(OURS.start(0, Link::Memory).await).await;
    let (status, answer) = served.ask("POST", "/v1/stop").await;
    assert_eq!(status, 403, "nobody stops here: {answer}");
    // not polled yet
    let asked = served.api.asked_to_stop();
    let (status, answer) = served.ask("POST", "/v1/stop").await;
    assert_eq!(status, 202, "{answer}");
    tokio::time::timeout(SOON, asked).await.unwrap();
}

/// A member with a role, beside a node.
pub(crate) async fn start_as(n: u8, role: Role, beside: &Node) -> Node {
    let mut env = OURS.env(n, Link::Memory);
    let store = Store::memory().unwrap();
    store.commit(&[found(&Genesis { chain: OURS.chain_as(n, role), ..OURS.genesis(n) })]).unwrap();
    env.store = store;
    env.config.bootstrap.0 = vec![address_of(beside)];
    Node::with_env(env).await.unwrap()
}

/// Has a node know a space that readers do not see.
async fn define_hidden(node: &Node) -> SpaceId {
    define(node, HIDDEN_FROM_READERS).await
}

/// Has a node know a space with an access rule.
pub(crate) async fn define(node: &Node, access: u16) -> SpaceId {
    let mut author = Rogue::meet(OURS, 3, Link::Memory, node).await;
    let log = LogId { space: SpaceId::mesh(&OURS.mesh()), ..OURS.log(3) };
    let definition = SpaceDefinition { name: "council".parse().unwrap(), access, salt: [7; 16] };
    // members that never met the author take nothing of it without its credential
    let credential = OURS.entry(log, None, Kind::CREDENTIAL, OURS.chain(3).to_bytes(), 3);
    let entry = OURS.entry(log, Some(&credential), Kind::SPACE, definition.encode(), 3);
    let space = SpaceId::created_by(entry.id());
    let mut line = author.line(node.did()).await;
    line.frontier(vec![], true).await.unwrap();
    line.entries([&*credential, &*entry]).await.unwrap();
    let brain = node.brain();
    eventually("the space is known", || async {
        brain.spaces().await.unwrap().iter().any(|info| info.space == "council")
    })
    .await;
    author.until_open(true).await;
    space
}

fn written(text: &str, space: Option<SpaceId>) -> NewMemory {
    match space {
        Some(space) => NewMemory::note(text).space(space.to_string()),
        None => NewMemory::note(text),
    }
}

pub(crate) fn space_of(entry: EntryFrame) -> SpaceId {
    let entry: Entry = entry.parse().unwrap();
    entry.header().space
}

/// The spaces of all that a node says on a sync stream until it has sent a digest.
pub(crate) async fn spaces_heard(reader: &Rogue, node: Did) -> BTreeSet<SpaceId> {
    let mut line = reader.line(node).await;
    let mut spaces = BTreeSet::new();
    let all = async {
        line.frontier(vec![], true).await.unwrap();
        while let Some(frame) = line.hear().await {
            match frame.body.unwrap() {
                Body::Frontier(part) => spaces.extend(part.heads.iter().map(|head| head.parse().unwrap().0.space)),
                Body::Ack(ack) => spaces.extend(ack.heads.iter().map(|head| head.parse().unwrap().0.space)),
                Body::Entries(frame) => spaces.extend(frame.entries.into_iter().map(space_of)),
                Body::Digest(_) => return,
                Body::Full(_) => {}
            }
        }
        panic!("the node closed the stream");
    };
    tokio::time::timeout(SOON, all).await.expect("a digest in time");
    spaces
}

/// promise: Nodes | A member that may not read a space gets nothing of it: no frame, no gossip, no answer, no count
#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_space_is_in_no_frame_gossip_or_answer_for_a_member_that_may_not_read_it() {
    let founder = OURS.start(0, Link::Memory).await;
    let hidden = define_hidden(&founder).await;
    let reader = start_as(2, Role::Reader, &founder).await;
    let member = start_as(1, Role::Member, &founder).await;
    let mut listening =
        Rogue::start(OURS.mesh(), OURS.chain_as(4, Role::Reader), &key(4), Link::Memory, address_of(&founder)).await;
    let (founder, reader, member) = (Served::new(founder).await, Served::new(reader).await, Served::new(member).await);
    let secret = founder.node.brain().remember(written(HIDDEN, Some(hidden))).await.unwrap();
    founder.node.brain().remember(written(OPEN, None)).await.unwrap();
    has_text(&member.node, HIDDEN).await;
    member.node.brain().remember(written("an answer among writers", Some(hidden))).await.unwrap();
    has_text(&founder.node, "an answer among writers").await;
    for node in [&member.node, &reader.node] {
        has_text(node, OPEN).await;
    }

    // sync and gossip
    let heard = spaces_heard(&listening, founder.node.did()).await;
    assert!(heard.contains(&SpaceId::default_of(&OURS.mesh())) && !heard.contains(&hidden), "{heard:?}");
    let mut gossiped = BTreeSet::new();
    while !gossiped.contains(&SpaceId::default_of(&OURS.mesh())) {
        founder.node.brain().remember(written("told among writers", Some(hidden))).await.unwrap();
        founder.node.brain().remember(written("told in the open", None)).await.unwrap();
        while let Ok(Some(bytes)) = tokio::time::timeout(Duration::from_millis(500), listening.gossip.recv()).await {
            gossiped.insert(space_of(EntryFrame::decode(bytes.as_slice()).unwrap()));
        }
    }
    assert!(!gossiped.contains(&hidden), "{gossiped:?}");
    let held = reader.node.frontier().await.unwrap();
    assert!(held.iter().all(|(log, _)| log.space != hidden), "{held:?}");

    // answers
    let id = &secret.id;
    let (memory, past) = (format!("/v1/memories/{id}"), format!("/v1/memories/{id}/history"));
    let pages = format!("/v1/spaces/{hidden}/pages");
    let council = ["/v1/memories?q=writers", "/v1/memories", "/v1/export", "/v1/spaces", &memory, &past, &pages];
    for path in council {
        let (status, body) = reader.get(path).await;
        let told = body.contains("among writers") || body.contains("council") || body.contains(&hidden.to_string());
        assert!(!told || (status == 404 && !body.contains("among writers")), "{path}: {status} {body}");
        assert_eq!(member.get(path).await.0, 200, "{path}");
    }
    assert_eq!(member.json("/v1/memories?q=spoken").await.as_array().unwrap().len(), 2);
    assert_eq!(reader.json("/v1/memories?q=spoken").await.as_array().unwrap().len(), 1);
    for path in [&memory, &past, &pages] {
        assert_eq!(reader.get(path).await.0, 404, "{path}");
    }

    // counts
    let readers_of = |spaces: &Value, name: &str| -> BTreeSet<String> {
        let space = spaces.as_array().unwrap().iter().find(|space| space["space"] == name).unwrap();
        space["readers"].as_array().unwrap().iter().map(|did| did.as_str().unwrap().to_owned()).collect()
    };
    let spaces = founder.json("/v1/spaces").await;
    let did = reader.node.did().to_string();
    assert!(readers_of(&spaces, "default").contains(&did) && !readers_of(&spaces, "council").contains(&did));
    eventually("the reader lacks nothing", || async {
        let peers = founder.node.peers().await;
        peers.iter().any(|peer| peer.did == reader.node.did() && peer.synced && peer.behind == 0)
    })
    .await;
    let again = written("counted", Some(hidden)).key("counted");
    let brain = founder.node.brain();
    brain.remember(again.clone()).await.unwrap();
    eventually("the member has it", || async {
        brain.remember(again.clone()).await.unwrap().durability.replicated == 1
    })
    .await;
}

/// promise: Blobs | A file that only memories of a space name goes to no member that may not read that space; one that was added openly does
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_hidden_space_goes_to_those_that_read_the_space() {
    let founder = OURS.start(0, Link::Memory).await;
    let hidden = define_hidden(&founder).await;
    let reader = start_as(2, Role::Reader, &founder).await;
    let member = start_as(1, Role::Member, &founder).await;
    let text = format!("{HIDDEN} {}", "at length ".repeat(20_000));
    founder.brain().remember(written(&text, Some(hidden))).await.unwrap();
    founder.brain().remember(written(OPEN, None)).await.unwrap();
    for node in [&member, &reader] {
        has_text(node, OPEN).await;
    }
    let kept = BlobHash::of(text.as_bytes());
    assert!(founder.blobs().info(kept).await.unwrap().is_some(), "a blob has the text");
    let open = founder.blobs().add(std::io::Cursor::new(b"for all".to_vec())).await.unwrap().hash;
    for node in [&member, &reader] {
        node.blobs().fetch(open, SOON).await.unwrap();
    }
    member.blobs().fetch(kept, SOON).await.unwrap();
    // it asks both nodes that have it
    let refused = reader.blobs().fetch(kept, Duration::from_secs(2)).await;
    assert!(matches!(refused, Err(NodeError::NotFound { .. })), "{refused:?}");
    // once the same text is said in the open, it is no secret
    founder.brain().remember(written(&text, None)).await.unwrap();
    eventually("the reader has it", || async { reader.blobs().fetch(kept, SOON).await.is_ok() }).await;
}
