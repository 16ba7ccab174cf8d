//! The join door.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use crate::common::raw::{Raw, transport_for};
use crate::common::*;
use futures::AsyncWriteExt;
use nexus_mesh::{JoinError, JoinRefusal, JoinReply, JoinRequest, MeshConfig, MeshEvent, Multiaddr};

fn request() -> JoinRequest {
    JoinRequest {
        ticket_id: [1; 16],
        secret: [2; 16],
        name: "new".parse().unwrap(),
        version: "9.9".to_owned(),
        succession: Vec::new(),
    }
}

fn newcomer(n: u8, listen: &str) -> Node {
    Node::start(MeshConfig::new(key(n)), listen)
}

/// Answers each request by `answer`; drops the reply if there is none.
async fn serve(mut inviter: Node, answer: impl Fn(JoinRequest) -> Option<JoinReply>) {
    while let Some((_, knock)) = inviter.door.recv().await {
        if let Some(reply) = answer(knock.request.clone()) {
            knock.answer(reply);
        }
    }
}

async fn join_through(listen: &'static str) {
    log();
    let world = World::new(200);
    let mut inviter = Node::start(world.config(1), listen);
    let address = inviter.address().await;
    let did = inviter.did();
    // an address without a node, and one of another node
    let mut other = Node::start(world.config(7), listen);
    let nowhere: Multiaddr = if listen == MEMORY { memory_address() } else { "/ip4/127.0.0.1/tcp/1".parse().unwrap() };
    let addresses = vec![nowhere, other.address().await, address.clone()];
    let chain = world.chain(2, None);
    let reply = JoinReply::Admitted { chain: chain.clone(), addresses: vec![address] };
    let answer = reply.clone();
    let serving = serve(inviter, move |asked| {
        assert_eq!(asked, request());
        Some(answer.clone())
    });
    let joining = async {
        let new = newcomer(2, listen);
        assert_eq!(new.mesh.join(did, addresses, request()).await, Ok(reply));
        new.mesh.shutdown().await;
    };
    futures::pin_mut!(serving, joining);
    futures::future::select(serving, joining).await;
}

/// promise: Meeting | A newcomer joins by ticket; a refusal arrives with its reason
#[tokio::test]
async fn a_newcomer_joins_over_tcp() {
    join_through(TCP).await;
}

/// promise: Meeting | A newcomer joins by ticket; a refusal arrives with its reason
#[tokio::test]
async fn a_newcomer_joins_over_quic() {
    join_through(QUIC).await;
}

#[tokio::test]
async fn a_newcomer_joins_in_memory() {
    join_through(MEMORY).await;
}

/// promise: Meeting | A newcomer joins by ticket; a refusal arrives with its reason
#[tokio::test]
async fn a_refusal_arrives_with_its_reason_every_time() {
    let world = World::new(200);
    let mut inviter = Node::start(world.config(1), TCP);
    let (did, address) = (inviter.did(), inviter.address().await);
    let refusal = JoinReply::Refused { code: JoinRefusal::Used, message: "all uses are gone".to_owned() };
    let answer = refusal.clone();
    let serving = serve(inviter, move |_| Some(answer.clone()));
    let joining = async {
        for n in 0..40 {
            let new = newcomer(10 + n, TCP);
            assert_eq!(new.mesh.join(did, vec![address.clone()], request()).await, Ok(refusal.clone()));
        }
    };
    futures::pin_mut!(serving, joining);
    futures::future::select(serving, joining).await;
}

#[tokio::test(start_paused = true)]
async fn an_inviter_that_does_not_answer_is_unavailable() {
    let world = World::new(200);
    let mut inviter = Node::start(world.config(1), MEMORY);
    let (did, address) = (inviter.did(), inviter.address().await);
    let dropped = serve(inviter, |_| None);
    let joining = async {
        let new = newcomer(2, MEMORY);
        let reply = new.mesh.join(did, vec![address], request()).await.unwrap();
        assert!(matches!(reply, JoinReply::Refused { code: JoinRefusal::Unavailable, .. }), "{reply:?}");
    };
    futures::pin_mut!(dropped, joining);
    futures::future::select(dropped, joining).await;

    // the node never answers: the door gives up for it
    let mut silent = Node::start(world.config(3), MEMORY);
    let (did, address) = (silent.did(), silent.address().await);
    let new = newcomer(4, MEMORY);
    let reply = new.mesh.join(did, vec![address], request()).await.unwrap();
    assert!(matches!(reply, JoinReply::Refused { code: JoinRefusal::Unavailable, .. }), "{reply:?}");
}

#[tokio::test]
async fn nobody_there_and_somebody_else_there_are_unreachable() {
    let world = World::new(200);
    let mut other = Node::start(world.config(1), TCP);
    let new = newcomer(2, TCP);
    for addresses in [vec![], vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()], vec![other.address().await]] {
        let outcome = new.mesh.join(key(3).did(), addresses, request()).await;
        assert!(matches!(outcome, Err(JoinError::Unreachable(_))), "{outcome:?}");
    }
    new.mesh.set_offline(true).await;
    assert_eq!(new.mesh.join(key(3).did(), vec![], request()).await, Err(JoinError::Offline));
}

/// promise: Bad input | Malformed frames
#[tokio::test(start_paused = true)]
async fn nonsense_at_the_join_door_ends_and_disturbs_nobody() {
    let world = World::new(200);
    let mut inviter = Node::start(world.config(1), MEMORY);
    let (did, address) = (inviter.did(), inviter.address().await);
    let mut raws = Vec::new();
    for bytes in [&[0xff; 4][..], &[0, 0, 0, 0], &[0, 0, 0, 3, 255, 255, 255], &[0, 0], &[]] {
        let raw = Raw::dial(transport_for(MEMORY, &key(9)), address.clone()).await;
        let mut stream = raw.negotiate("/nexus/join/1").await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        raws.push((raw, stream));
    }
    let refusal = JoinReply::Refused { code: JoinRefusal::Unknown, message: String::new() };
    let answer = refusal.clone();
    let serving = serve(inviter, move |_| Some(answer.clone()));
    let joining = async {
        let new = newcomer(2, MEMORY);
        assert_eq!(new.mesh.join(did, vec![address], request()).await, Ok(refusal));
        for (raw, _) in &mut raws {
            raw.until_closed().await;
        }
    };
    let all = async {
        futures::pin_mut!(serving, joining);
        futures::future::select(serving, joining).await;
    };
    tokio::time::timeout(Duration::from_secs(200), all).await.unwrap();
}

#[tokio::test]
async fn a_member_joins_again_without_losing_its_connection() {
    let world = World::new(200);
    let mut inviter = Node::start(world.config(1), TCP);
    let (did, address) = (inviter.did(), inviter.address().await);
    let mut member = Node::start(world.config(2), TCP);
    member.mesh.bootstrap(address.clone());
    meet(&mut inviter, &mut member).await;
    let reply = JoinReply::Admitted { chain: world.chain(2, None), addresses: vec![] };
    let serving = async {
        while let Some((_, knock)) = inviter.door.recv().await {
            // long enough for a hello on the same connection to end in a duplicate
            tokio::time::sleep(Duration::from_millis(100)).await;
            knock.answer(reply.clone());
        }
    };
    let joining = async {
        for _ in 0..3 {
            assert_eq!(member.mesh.join(did, vec![address.clone()], request()).await.as_ref(), Ok(&reply));
        }
        assert!(member.mesh.peers().await[0].open);
        while let Some(event) = member.events.try_recv() {
            assert!(!matches!(event, MeshEvent::PeerClosed { .. }), "{event:?}");
        }
    };
    futures::future::select(Box::pin(serving), Box::pin(joining)).await;
}
