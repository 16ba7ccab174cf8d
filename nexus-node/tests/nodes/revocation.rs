//! A membership ends: on every node, at once, and for good.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nexus_identity::{Claims, Role, Timestamp};

use crate::rogue::Rogue;
use crate::world::{Link, World, address_of, eventually, has_text, key, texts};
use nexus_node::error::AccessError;
use nexus_node::net::PeerState;
use nexus_node::{NewMemory, Node, NodeError};

const OURS: World = World(210);

async fn is_up(node: &Node, n: u8) -> bool {
    node.peers().await.iter().any(|peer| peer.did == key(n).did() && peer.state == PeerState::Up)
}

async fn knows_of(node: &Node, n: u8) -> bool {
    node.members().iter().any(|member| member.did == key(n).did())
}

/// promise: Revocations | A revoked member is shut out everywhere; what it wrote until then stays, and nothing after counts
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_member_is_shut_out_and_nothing_that_it_writes_afterwards_counts() {
    let founder = OURS.start(0, Link::Memory).await;
    let laptop = OURS.start_beside(1, Link::Memory, &founder).await;
    let cloud = OURS.start_beside(2, Link::Memory, &founder).await;
    laptop.brain().remember(NewMemory::note("before")).await.unwrap();
    has_text(&founder, "before").await;
    has_text(&cloud, "before").await;
    eventually("all know the laptop", async || knows_of(&founder, 1).await && knows_of(&cloud, 1).await).await;

    let refused = cloud.revoke(key(1).did(), None).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(AccessError::NotAbove { .. })), "{refused}");
    let revoked = founder.revoke(key(1).did(), None).await.unwrap();
    assert_eq!((revoked.did, revoked.pins, revoked.kept.len()), (key(1).did(), 2, 0));
    // again: nothing changes
    assert_eq!(founder.revoke(key(1).did(), None).await.unwrap().revoked_at, revoked.revoked_at);

    for node in [&founder, &cloud] {
        eventually("the laptop is out", async || !knows_of(node, 1).await && !is_up(node, 1).await).await;
        assert_eq!(texts(node), ["before"]);
        let former = node.former_members();
        assert_eq!((former[0].0.name.as_str(), former[0].1.by), ("member-number-1", key(0).did()));
    }
    // it was told, keeps what it has, and writes no more
    eventually("the laptop knows", async || !laptop.status().await.member).await;
    let refused = laptop.brain().remember(NewMemory::note("after")).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(AccessError::Revoked)), "{refused}");
    assert_eq!(texts(&laptop), ["before"]);
    laptop.shutdown().await;

    // a thief with the key and an older copy of the directory
    let thief = OURS.start_beside(1, Link::Memory, &cloud).await;
    // it may have been told already
    let _ = thief.brain().remember(NewMemory::note("by the thief")).await;
    let late = OURS.start_beside(3, Link::Memory, &cloud).await;
    has_text(&late, "before").await;
    eventually("the newcomer knows", async || late.former_members().len() == 1).await;
    assert!(!is_up(&cloud, 1).await && !is_up(&founder, 1).await);
    for node in [&founder, &cloud, &late] {
        assert_eq!(texts(node), ["before"]);
    }
    for node in [founder, cloud, late, thief] {
        node.shutdown().await;
    }
}

/// promise: Revocations | A node below its reserve of disk takes revocations all the same
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_takes_no_memories_for_lack_of_room_takes_a_revocation() {
    const MIB: u64 = 1 << 20;
    let founder = OURS.start(0, Link::Memory).await;
    let laptop = OURS.start_beside(1, Link::Memory, &founder).await;
    // its disk has room for all until it knows both, and then for the changes of the membership alone
    let free = Arc::new(AtomicU64::new(1024 * MIB));
    let mut env = OURS.env(2, Link::Memory);
    env.config.bootstrap.0 = vec![address_of(&founder)];
    let there = free.clone();
    env.free = Some(Arc::new(move || Some(there.load(Ordering::Relaxed))));
    let narrow = Node::with_env(env).await.unwrap();
    eventually("it knows the laptop", async || knows_of(&narrow, 1).await).await;
    free.store(40 * MIB, Ordering::Relaxed);
    eventually("it takes no memory", async || narrow.brain().remember(NewMemory::note("no")).await.is_err()).await;

    laptop.brain().remember(NewMemory::note("not here yet")).await.unwrap();
    has_text(&founder, "not here yet").await;
    founder.revoke(key(1).did(), None).await.unwrap();
    eventually("the laptop is out there, too", async || !knows_of(&narrow, 1).await).await;
    assert!(!texts(&narrow).contains(&"not here yet".to_owned()));

    // the same for what comes by sync
    narrow.set_offline(true).await.unwrap();
    let other = OURS.start_beside(3, Link::Memory, &founder).await;
    eventually("the founder knows the other", async || knows_of(&founder, 3).await).await;
    founder.revoke(key(3).did(), None).await.unwrap();
    narrow.set_offline(false).await.unwrap();
    let out = async || narrow.former_members().iter().any(|(member, _)| member.did == key(3).did());
    eventually("the other is out", out).await;

    free.store(1024 * MIB, Ordering::Relaxed);
    has_text(&narrow, "not here yet").await;
    for node in [founder, laptop, narrow, other] {
        node.shutdown().await;
    }
}

/// promise: Revocations | A member whose credentials no entry holds is revoked as any other, with those whom it admitted
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_credentials_no_entry_holds_is_revoked_as_any_other() {
    let founder = OURS.start(0, Link::Memory).await;
    // admitted on the quiet: each shows its chain, and publishes nothing
    let admin = OURS.chain_as(5, Role::Admin);
    let claims =
        Claims::new(OURS.mesh(), key(6).did(), "quiet".parse().unwrap(), [Role::Member], Timestamp::from_ms(1));
    let below = admin.extend(claims.issued_by(key(5).did()).sign(&key(5))).unwrap();
    let mut quiet = Vec::new();
    for (n, chain) in [(5, admin), (6, below)] {
        quiet.push(Rogue::start(OURS.mesh(), chain, &key(n), Link::Memory, address_of(&founder)).await);
        eventually("it is a member", async || knows_of(&founder, n).await).await;
    }
    founder.revoke(key(5).did(), None).await.unwrap();
    assert!(!knows_of(&founder, 5).await && !knows_of(&founder, 6).await);
    assert_eq!(founder.former_members()[0].1.by, key(0).did());
    for rogue in &mut quiet {
        rogue.until_open(false).await;
    }
    founder.shutdown().await;
}

/// promise: Revocations | A member that leaves is out for good, and what it wrote stays
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_is_out_and_what_it_wrote_stays() {
    let founder = OURS.start(0, Link::Memory).await;
    let guest = OURS.start_beside(1, Link::Memory, &founder).await;
    guest.brain().remember(NewMemory::note("by the guest")).await.unwrap();
    has_text(&founder, "by the guest").await;
    // its chain may come before the entry with it
    eventually("the guest is below the founder", async || !founder.below(&key(0).did()).is_empty()).await;
    let refused = founder.leave().await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(AccessError::WouldTakeAlong { .. })), "{refused}");
    guest.leave().await.unwrap();
    eventually("the guest is out", async || !knows_of(&founder, 1).await && !is_up(&founder, 1).await).await;
    assert_eq!(texts(&founder), ["by the guest"]);
    assert_eq!(founder.former_members()[0].1.by, key(1).did());
    for node in [founder, guest] {
        node.shutdown().await;
    }
}

/// promise: Revocations | The root key ends any membership: whom that member had admitted stays, if the root keeps them
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_ends_the_membership_of_the_founder_and_the_others_stay() {
    let founder = OURS.start(0, Link::Memory).await;
    let one = OURS.start_beside(1, Link::Memory, &founder).await;
    let two = OURS.start_beside(2, Link::Memory, &founder).await;
    let gone = OURS.start_beside(3, Link::Memory, &founder).await;
    founder.brain().remember(NewMemory::note("by the founder")).await.unwrap();
    for node in [&one, &two, &gone] {
        has_text(node, "by the founder").await;
    }
    eventually("all know each other", async || {
        knows_of(&one, 2).await && knows_of(&one, 3).await && knows_of(&two, 1).await
    })
    .await;
    let refused = one.revoke(key(0).did(), None).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(AccessError::NotAbove { .. })), "{refused}");

    let keep = Some([key(2).did()].into());
    let draft = one.draft_revocation(key(0).did(), keep).await.unwrap();
    assert!(draft.sign(&key(1)).is_err(), "another key");
    let signed = draft.sign(&key(OURS.0)).unwrap();
    let bytes = signed.to_bytes();
    let carried = nexus_node::node::RootRevocation::from_bytes(&bytes).unwrap();
    // the signature is for one node alone, and covers everything
    let refused = two.revoke_as_root(carried.clone()).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(AccessError::NotByRoot)), "{refused}");
    let mut other = carried.clone();
    other.revocations[0].member = key(2).did();
    let refused = one.revoke_as_root(other).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(AccessError::NotByRoot)), "{refused}");

    let ended = one.revoke_as_root(carried).await.unwrap();
    assert_eq!((ended.did, ended.kept, ended.fallen), (key(0).did(), vec![key(2).did()], vec![key(3).did()]));
    for node in [&one, &two] {
        eventually("the founder is out", async || !knows_of(node, 0).await && !is_up(node, 0).await).await;
        eventually("so is whom nobody keeps", async || !knows_of(node, 3).await && !is_up(node, 3).await).await;
        assert!(knows_of(node, 1).await && knows_of(node, 2).await);
        assert_eq!(texts(node), ["by the founder"]);
        assert!(node.former_members().iter().all(|(_, end)| end.by == OURS.mesh()));
    }
    two.brain().remember(NewMemory::note("life goes on")).await.unwrap();
    has_text(&one, "life goes on").await;
    // above whom the root keeps stands the root alone
    let refused = one.revoke(key(2).did(), None).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(AccessError::NotAbove { .. })), "{refused}");
    let draft = one.draft_revocation(key(2).did(), None).await.unwrap();
    assert!(draft.admits.is_none(), "it is an admin already");
    one.revoke_as_root(draft.sign(&key(OURS.0)).unwrap()).await.unwrap();
    for node in [founder, one, two, gone] {
        node.shutdown().await;
    }
}
