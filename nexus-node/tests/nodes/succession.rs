//! New keys for members, asked for by strangers: a member's key alone opens the door.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;

use crate::world::{Link, World, address_of, eventually, has_text, key, memories};
use libp2p::multiaddr::Protocol;
use nexus_crdt::{Pin, Succession};
use nexus_identity::{Chain, Did};
use nexus_mesh::{JoinRefusal, JoinReply, JoinRequest, Mesh, MeshConfig, Multiaddr, Rooms, TokioSpawner};
use nexus_node::config::Bounded;
use nexus_node::internals::engine::{Genesis, found};
use nexus_node::internals::store::disk::Disk;
use nexus_node::internals::store::{Store, StoreOptions};
use nexus_node::{Invite, NewMemory, Node, NodeError};

const OURS: World = World(220);

/// A stranger with the key of this number.
pub(crate) fn stranger(n: u8) -> Mesh {
    let config = MeshConfig::new(key(n));
    let spawner = Arc::new(TokioSpawner::current());
    let (mesh, mut events) = Mesh::start(Link::Memory.transport(&key(n)), config, Rooms::new(), spawner).unwrap();
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    mesh
}

/// The address of a node, without its name.
fn bare_address_of(node: &Node) -> Multiaddr {
    let mut address: Multiaddr = address_of(node);
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

/// Asks at the door of a node for a new key.
pub(crate) async fn ask(newcomer: &Mesh, node: &Node, succession: Vec<u8>) -> Result<Chain, JoinRefusal> {
    ask_for_words(newcomer, node, succession).await.map_err(|(code, _)| code)
}

async fn ask_for_words(newcomer: &Mesh, node: &Node, succession: Vec<u8>) -> Result<Chain, (JoinRefusal, String)> {
    let name = "newcomer".parse().unwrap();
    let version = String::new();
    let request = JoinRequest { ticket_id: [0; 16], secret: [0; 16], name, version, succession };
    match newcomer.join(node.did(), vec![bare_address_of(node)], request).await.unwrap() {
        JoinReply::Admitted { chain, .. } => Ok(chain),
        JoinReply::Refused { code, message } => Err((code, message)),
    }
}

/// Admits a member by a ticket, so that the founder's log says since when its key is one.
pub(crate) async fn admit(founder: &Node, n: u8) {
    let ticket = founder.invite(Invite::default()).await.unwrap().ticket;
    let request = JoinRequest {
        ticket_id: ticket.id,
        secret: ticket.secret,
        name: format!("member-number-{n}").parse().unwrap(),
        version: String::new(),
        succession: Vec::new(),
    };
    let newcomer = stranger(n);
    let reply = newcomer.join(founder.did(), vec![bare_address_of(founder)], request).await.unwrap();
    assert!(matches!(reply, JoinReply::Admitted { .. }), "{reply:?}");
    newcomer.shutdown().await;
}

fn members(node: &Node) -> Vec<Did> {
    node.members().iter().map(|member| member.did).collect()
}

/// promise: Revocations | A new key is admitted by the word of a member's key alone, once for each
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_admitted_by_the_word_of_a_members_key_alone() {
    let founder = OURS.start(0, Link::Memory).await;
    admit(&founder, 1).await;
    let member = OURS.start_beside(1, Link::Memory, &founder).await;
    eventually("the founder knows the member", async || members(&founder).contains(&key(1).did())).await;
    let mesh = OURS.mesh();
    let (new, other, third) = (stranger(9), stranger(10), stranger(11));
    let said = |former: u8, by: u8| Succession::new(&mesh, &key(former), &key(by), []).encode();

    // no member's key, another newcomer's request, another mesh, any bytes
    assert_eq!(ask(&new, &founder, said(8, 9)).await, Err(JoinRefusal::Revoked));
    assert_eq!(ask(&other, &founder, said(1, 9)).await, Err(JoinRefusal::Unknown));
    let elsewhere = Succession::new(&key(221).did(), &key(1), &key(9), []).encode();
    assert_eq!(ask(&new, &founder, elsewhere).await, Err(JoinRefusal::Unknown));
    assert_eq!(ask(&new, &founder, vec![7; 300]).await, Err(JoinRefusal::Unknown));
    // the founder would fall with its own former key
    assert_eq!(ask(&third, &founder, said(0, 11)).await, Err(JoinRefusal::NotAdmin));
    assert_eq!(members(&founder).len(), 2);

    let chain = ask(&new, &founder, said(1, 9)).await.unwrap();
    let claims = chain.verify(&mesh).unwrap();
    assert_eq!((claims.subject, claims.name.as_str()), (key(9).did(), "member-number-1"));
    eventually("one key in the place of the other", async || {
        let now = members(&founder);
        now.contains(&key(9).did()) && !now.contains(&key(1).did())
    })
    .await;
    assert_eq!(founder.former_members()[0].1.by, key(9).did());
    eventually("the former key is told", async || !member.status().await.member).await;
    // the answer was lost: the same again
    assert!(ask(&new, &founder, said(1, 9)).await.is_ok());
    // a thief with the former key
    assert_eq!(ask(&third, &founder, said(1, 11)).await, Err(JoinRefusal::Revoked));
    assert_eq!(members(&founder).len(), 2);

    // the one who revokes the stolen key may not have heard of the new one
    let revoked = founder.revoke(key(1).did(), None).await.unwrap();
    assert_eq!(revoked.did, key(9).did());
    assert_eq!(members(&founder), [key(0).did()]);
    assert_eq!(ask(&new, &founder, said(1, 9)).await, Err(JoinRefusal::NotAdmin));

    for node in [founder, member] {
        node.shutdown().await;
    }
}

/// promise: Revocations | A member changes its key once a day, more often by an admin's word, and a restart forgets neither
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_changes_its_key_once_a_day() {
    let disk = Disk::new();
    let open = || Store::with_backend("disk", disk.clone(), StoreOptions::default()).unwrap();
    let first = open();
    first.commit(&[found(&OURS.genesis(0))]).unwrap();
    first.close();
    let env = || {
        let mut env = OURS.env(0, Link::Memory);
        env.store = open();
        env
    };
    let founder = Node::with_env(env()).await.unwrap();
    admit(&founder, 1).await;
    let mesh = OURS.mesh();
    let said = |former: u8, by: u8| Succession::new(&mesh, &key(former), &key(by), []).encode();
    ask(&stranger(9), &founder, said(1, 9)).await.unwrap();
    eventually("the new key stands", async || members(&founder).contains(&key(9).did())).await;
    let (code, why) = ask_for_words(&stranger(10), &founder, said(9, 10)).await.unwrap_err();
    assert_eq!(code, JoinRefusal::TooMany);
    assert!(why.contains("once a day") && why.contains("T") && why.contains("Z"), "{why}");
    // a former key asks for another new one, and whoever is asked again gives the same
    assert_eq!(ask(&stranger(10), &founder, said(1, 10)).await, Err(JoinRefusal::Revoked));
    ask(&stranger(9), &founder, said(1, 9)).await.unwrap();

    founder.shutdown().await;
    let founder = Node::with_env(env()).await.unwrap();
    assert_eq!(ask(&stranger(10), &founder, said(9, 10)).await, Err(JoinRefusal::TooMany));
    // the word of a person on an admin's node is for one new key of one member, over a restart as well
    assert!(matches!(founder.allow_rotation(founder.did()).await, Err(NodeError::Refused(_))));
    assert!(matches!(founder.allow_rotation(key(77).did()).await, Err(NodeError::NotFound { .. })));
    let allowed = founder.allow_rotation(key(1).did()).await.unwrap();
    assert_eq!((allowed.did, allowed.name.as_str()), (key(9).did(), "member-number-1"));
    founder.shutdown().await;
    let founder = Node::with_env(env()).await.unwrap();
    ask(&stranger(10), &founder, said(9, 10)).await.unwrap();
    eventually("the third key stands", async || members(&founder).contains(&key(10).did())).await;
    assert_eq!(ask(&stranger(11), &founder, said(10, 11)).await, Err(JoinRefusal::TooMany));
    assert_eq!(members(&founder), [key(0).did(), key(10).did()], "one key at a time");
    founder.shutdown().await;
}

/// promise: Revocations | A node that has not heard who admitted a key does not change it
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_shown_alone_is_not_changed() {
    let founder = OURS.start(0, Link::Memory).await;
    // its credentials are good, and it publishes them itself
    let member = OURS.start_beside(1, Link::Memory, &founder).await;
    member.brain().remember(NewMemory::note("here")).await.unwrap();
    has_text(&founder, "here").await;
    let succession = Succession::new(&OURS.mesh(), &key(1), &key(9), []).encode();
    assert_eq!(ask(&stranger(9), &founder, succession).await, Err(JoinRefusal::Unavailable));
    assert!(members(&founder).contains(&key(1).did()), "nothing changed");
    for node in [founder, member] {
        node.shutdown().await;
    }
}

/// promise: Revocations | A new key gives nobody another quota: what all keys of a member wrote counts together
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_gives_nobody_another_quota() {
    let mut env = OURS.env(0, Link::Memory);
    env.config.writer_bytes_max = Bounded::new(1 << 20).unwrap();
    let founder = Node::with_env(env).await.unwrap();
    admit(&founder, 1).await;
    let text = |by: &str, n: usize| format!("{by} {n} {}", "x".repeat(30_000));
    let member = OURS.start_beside(1, Link::Memory, &founder).await;
    for n in 0..25 {
        member.brain().remember(NewMemory::note(text("first", n))).await.unwrap();
    }
    has_text(&founder, &text("first", 24)).await;
    // the last entry of its memories that is here is the last that counts
    let logs = founder.frontier().await.unwrap();
    let of_member = logs.iter().filter(|(log, _)| log.author == key(1).did());
    let pins: Vec<Pin> =
        of_member.map(|(log, last)| Pin { space: log.space, incarnation: log.incarnation, last: *last }).collect();
    member.shutdown().await;
    // a member may change a key that was stolen, however much it has written
    let succession = Succession::new(&OURS.mesh(), &key(1), &key(9), pins).encode();
    let chain = ask(&stranger(9), &founder, succession).await.unwrap();
    let store = Store::memory().unwrap();
    store.commit(&[found(&Genesis { chain, ..OURS.genesis(9) })]).unwrap();
    let mut env = OURS.env(9, Link::Memory);
    (env.store, env.config.bootstrap.0) = (store, vec![address_of(&founder)]);
    let again = Node::with_env(env).await.unwrap();
    let other = OURS.start_beside(2, Link::Memory, &founder).await;
    for n in 0..25 {
        again.brain().remember(NewMemory::note(text("second", n))).await.unwrap();
    }
    other.brain().remember(NewMemory::note("by somebody else")).await.unwrap();
    has_text(&founder, "by somebody else").await;
    eventually("the quota is told of", async || {
        founder.status().await.warnings.iter().any(|warning| warning.code == "quota")
    })
    .await;
    let kept = memories(&founder);
    let of = |by: &str| kept.iter().filter(|memory| memory.text.starts_with(by)).count();
    // 30 of these fill 15 of 16 parts of the quota
    assert_eq!(of("first"), 25, "what counted goes on to count");
    assert!((1..10).contains(&of("second")), "{}", of("second"));
    for node in [founder, again, other] {
        node.shutdown().await;
    }
}
