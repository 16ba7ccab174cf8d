//! New keys for members, asked for by strangers: a member's key alone opens the door.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;

use crate::world::{Link, World, address_of, eventually, has_text, key};
use libp2p::multiaddr::Protocol;
use nexus_crdt::Succession;
use nexus_identity::{Chain, Did};
use nexus_mesh::{JoinRefusal, JoinReply, JoinRequest, Mesh, MeshConfig, Multiaddr, Rooms, TokioSpawner};
use nexus_node::config::Bounded;
use nexus_node::{NewMemory, Node};

const OURS: World = World(220);

/// A stranger with the key of this number.
fn stranger(n: u8) -> Mesh {
    let config = MeshConfig::new(key(n));
    let spawner = Arc::new(TokioSpawner::current());
    let (mesh, mut events) = Mesh::start(Link::Memory.transport(&key(n)), config, Rooms::new(), spawner).unwrap();
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    mesh
}

/// Asks at the door of a node for a new key.
async fn ask(newcomer: &Mesh, node: &Node, succession: Vec<u8>) -> Result<Chain, JoinRefusal> {
    let name = "newcomer".parse().unwrap();
    let version = String::new();
    let request = JoinRequest { ticket_id: [0; 16], secret: [0; 16], name, version, succession };
    let mut address: Multiaddr = address_of(node);
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    match newcomer.join(node.did(), vec![address], request).await.unwrap() {
        JoinReply::Admitted { chain, .. } => Ok(chain),
        JoinReply::Refused { code, .. } => Err(code),
    }
}

fn members(node: &Node) -> Vec<Did> {
    node.members().iter().map(|member| member.did).collect()
}

/// promise: Revocations | A new key is admitted by the word of a member's key alone, once for each
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_admitted_by_the_word_of_a_members_key_alone() {
    let founder = OURS.start(0, Link::Memory).await;
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

/// promise: Revocations | A member that changes its key without end is held up
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_changes_its_key_without_end_is_held_up() {
    let founder = OURS.start(0, Link::Memory).await;
    let member = OURS.start_beside(1, Link::Memory, &founder).await;
    member.brain().remember(NewMemory::note("by the first key")).await.unwrap();
    has_text(&founder, "by the first key").await;
    member.shutdown().await;
    let (mesh, mut former, mut admitted) = (OURS.mesh(), 1, 0);
    let refused = loop {
        let next = if former == 1 { 100 } else { former + 1 };
        let succession = Succession::new(&mesh, &key(former), &key(next), []).encode();
        match ask(&stranger(next), &founder, succession).await {
            Ok(_) => admitted += 1,
            Err(refused) => break refused,
        }
        former = next;
        eventually("the last key stands", async || members(&founder).contains(&key(next).did())).await;
    };
    assert_eq!((admitted, refused), (32, JoinRefusal::TooMany));
    assert_eq!(members(&founder), [key(0).did(), key(former).did()], "one key at a time");
    founder.shutdown().await;
}

/// promise: Revocations | A new key gives nobody another quota
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_gives_nobody_another_quota() {
    let mut env = OURS.env(0, Link::Memory);
    env.config.writer_bytes_max = Bounded::new(512 << 10).unwrap();
    let founder = Node::with_env(env).await.unwrap();
    let member = OURS.start_beside(1, Link::Memory, &founder).await;
    for n in 0..12 {
        member.brain().remember(NewMemory::note(format!("{n} {}", "x".repeat(30_000)))).await.unwrap();
    }
    has_text(&founder, &format!("11 {}", "x".repeat(30_000))).await;
    let succession = Succession::new(&OURS.mesh(), &key(1), &key(9), []).encode();
    assert_eq!(ask(&stranger(9), &founder, succession).await, Err(JoinRefusal::TooMany));
    assert!(members(&founder).contains(&key(1).did()), "nothing changed");
    for node in [founder, member] {
        node.shutdown().await;
    }
}
