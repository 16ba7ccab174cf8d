//! Critical state over real nodes: the voters, a minority's refusals, the holders of locks.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use crate::world::{self, Link, SOON, World};
use futures::StreamExt;
use nexus_identity::Did;
use nexus_node::config::Bounded;
use nexus_node::critical::{
    Action, AuditQuery, CoordinatorRole, CriticalNews, CriticalWatchQuery, DeedResult, DeleteOptions, Manage, Mode,
};
use nexus_node::critical::{LockOptions, PutOptions};
use nexus_node::{Node, NodeError};

/// Waits until something holds.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Nodes that know each other. As many as possible vote.
async fn nodes(world: World, count: u8) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for n in 0..count {
        let mut env = world.env(n, Link::Memory);
        env.config.voter_settle_ms = Bounded::of::<200>();
        env.config.bootstrap.0 = nodes.iter().map(|node| node.listen_addresses()[0].clone()).collect();
        nodes.push(Node::with_env(env).await.unwrap());
    }
    nodes
}

async fn voters(nodes: &[Node], count: usize) {
    until("the voters", async || {
        for node in nodes {
            let seen = node.critical().unwrap().coordinators().await?;
            if seen.voters.len() != count || seen.mode() != Mode::Full {
                return None;
            }
        }
        Some(())
    })
    .await;
}

async fn leader(nodes: &[Node]) -> usize {
    until("a leader", async || {
        for (n, node) in nodes.iter().enumerate() {
            let seen = node.critical().unwrap().coordinators().await;
            if seen.is_some_and(|seen| seen.leader == Some(node.did())) {
                return Some(n);
            }
        }
        None
    })
    .await
}

fn plain() -> PutOptions {
    PutOptions::default()
}

/// promise: Keys and locks | One node alone decides at once
#[tokio::test]
async fn one_node_alone_decides_at_once() {
    let nodes = nodes(World(100), 1).await;
    let critical = nodes[0].critical().unwrap();
    let first = critical.put("color", "blue", plain()).await.unwrap();
    assert_eq!(critical.get("color").await.unwrap().unwrap().text(), Some("blue"));
    let second = critical.cas("color", Some(b"blue"), "green", plain()).await.unwrap();
    assert!(second > first);
    let refused = critical.cas("color", Some(b"blue"), "red", plain()).await.unwrap_err();
    assert_eq!(refused.code(), "conflict");
    assert_eq!(critical.get("nothing").await.unwrap(), None);
    assert_eq!(critical.delete("nothing", DeleteOptions::default()).await.unwrap_err().code(), "not_found");
    let seen = critical.coordinators().await.unwrap();
    assert_eq!((seen.mode(), seen.voters.len(), seen.role), (Mode::Full, 1, Some(CoordinatorRole::Leader)));
}

/// promise: Keys and locks | One voter becomes three, in one step, when two more have settled; never two
/// promise: Keys and locks | A write of one node is read by every other right after the answer
#[tokio::test]
async fn three_nodes_become_three_voters_and_read_each_others_writes() {
    let nodes = nodes(World(101), 4).await;
    voters(&nodes, 3).await;
    for (n, node) in nodes.iter().enumerate() {
        node.critical().unwrap().put("who", &n.to_string(), plain()).await.unwrap();
        for reader in &nodes {
            let read = reader.critical().unwrap().get("who").await.unwrap().unwrap();
            assert_eq!((read.text(), read.by), (Some(n.to_string().as_str()), node.did()));
        }
    }
}

/// promise: Keys and locks | The audit has every request with its outcome, in order, equal on every node
#[tokio::test]
async fn who_did_what_is_the_same_on_every_node_and_checks_out() {
    let nodes = nodes(World(107), 4).await;
    voters(&nodes, 3).await;
    let [first, second] = [&nodes[0], &nodes[1]].map(|node| node.critical().unwrap());
    first.put("k", "v", plain()).await.unwrap();
    first.cas("k", Some(b"other"), "w", plain()).await.unwrap_err();
    first.acquire("l", LockOptions::default()).await.unwrap();
    let stolen = second.steal("l", Duration::from_secs(30)).await.unwrap();

    // each node has all of it, and the same, also the one without a vote
    let mut pasts = Vec::new();
    for node in &nodes {
        let critical = node.critical().unwrap();
        pasts.push(critical.audit(AuditQuery::default().limit(1_000)).await.unwrap().items);
        let check = until("the others' pasts", async || {
            let check = critical.verify_audit(0).await.unwrap();
            (check.others.len() == 3 && check.others.iter().all(|other| other.agrees.is_some())).then_some(check)
        })
        .await;
        assert!(check.ok() && check.missing.is_empty(), "{check:?}");
        assert_eq!(check.entries as usize, pasts[0].len());
    }
    assert!(pasts.iter().all(|past| *past == pasts[0]));
    let told: Vec<(Did, Action, &str)> =
        pasts[0].iter().map(|entry| (entry.by, entry.deed.action, entry.deed.name.as_str())).collect();
    let voter = nodes[0].did().to_string();
    assert_eq!((told[0].1, told[0].2), (Action::VoterAdded, voter.as_str()));
    let [one, two] = [nodes[0].did(), nodes[1].did()];
    assert_eq!(told[1], (one, Action::Raise, "7"), "a group that has just begun is of the latest format");
    let done: Vec<_> = told.iter().skip(2).filter(|told| !matches!(told.1, Action::VoterAdded)).copied().collect();
    assert_eq!(
        done,
        [(one, Action::Put, "k"), (one, Action::Cas, "k"), (one, Action::Acquire, "l"), (two, Action::Steal, "l")]
    );
    let last = pasts[0].last().unwrap();
    assert_eq!((&last.deed.result, last.deed.whose), (&DeedResult::Granted(stolen.token), Some(one)));

    // page by page it is the same
    let (mut paged, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let page = first.audit(AuditQuery::default().after(from).limit(2)).await.unwrap();
        paged.extend(page.items);
        after = page.next;
    }
    assert_eq!(paged, pasts[0]);
    assert_eq!(first.audit(AuditQuery::default().after(u64::MAX)).await.unwrap().items, []);
    assert!(first.verify_audit(u64::MAX).await.is_ok());
}

/// promise: Keys and locks | A minority refuses writes and exact reads, naming who is missing
#[tokio::test]
async fn a_minority_refuses_in_plain_words_and_the_others_go_on() {
    let nodes = nodes(World(102), 3).await;
    voters(&nodes, 3).await;
    nodes[0].critical().unwrap().put("k", "before", plain()).await.unwrap();
    // the leader itself is cut off
    let cut = leader(&nodes).await;
    nodes[cut].set_offline(true).await.unwrap();
    let others: Vec<&Node> = nodes.iter().enumerate().filter(|(n, _)| *n != cut).map(|(_, node)| node).collect();

    let minority = nodes[cut].critical().unwrap();
    // right after the loss it may have been appended already
    let first = minority.put("k", "lost?", plain()).await.unwrap_err();
    assert!(matches!(first, NodeError::NoQuorum { .. } | NodeError::OutcomeUnknown { .. }), "{first}");
    let (write, read) = tokio::join!(minority.put("k", "lost?", plain()), minority.get("k"));
    for error in [write.unwrap_err(), read.unwrap_err()] {
        let NodeError::NoQuorum { missing, .. } = &error else { panic!("{error}") };
        assert_eq!(missing.len(), 2, "{error}");
    }
    assert_eq!(minority.get_local("k").unwrap().item.unwrap().text(), Some("before"));
    let seen = minority.coordinators().await.unwrap();
    assert_eq!(seen.mode(), Mode::ReadOnly);

    let majority = others[0].critical().unwrap();
    majority.put("k", "after", plain()).await.unwrap();
    assert_eq!(others[1].critical().unwrap().get("k").await.unwrap().unwrap().text(), Some("after"));
    assert_eq!(majority.coordinators().await.unwrap().mode(), Mode::Core);

    nodes[cut].set_offline(false).await.unwrap();
    until("the same state", async || {
        let digests: Vec<_> = nodes.iter().map(|node| node.critical().unwrap().digest()).collect();
        let value = minority.get("k").await.ok()??.value;
        (value == b"after" && digests.iter().all(|digest| *digest == digests[0])).then_some(())
    })
    .await;
}

/// promise: Keys and locks | A lock has one holder and a fair line; no write passes under an old token
#[tokio::test]
async fn a_lock_has_one_holder_and_its_line_is_fair() {
    let nodes = nodes(World(103), 3).await;
    voters(&nodes, 3).await;
    let [a, b, c] = [0, 1, 2].map(|n| nodes[n].critical().unwrap());
    let lock = a.lock("build", LockOptions::default()).await.unwrap();
    assert_eq!(b.lock("build", LockOptions::default()).await.unwrap_err().code(), "conflict");
    let wait = LockOptions::default().wait(Duration::from_secs(20));
    let second = tokio::spawn({
        let b = b.clone();
        async move { b.lock("build", wait).await }
    });
    until("b in line", async || Some(a.lock_of("build").await.unwrap()?.line.len() == 1)).await;
    let short = LockOptions::default().wait(Duration::from_millis(100));
    assert_eq!(c.lock("build", short).await.unwrap_err().code(), "conflict");
    let token = lock.token();
    let fenced = PutOptions::default().fence(token);
    a.put("state", "mine", fenced).await.unwrap();
    lock.release().await.unwrap();
    let mut second = second.await.unwrap().unwrap();
    assert!(second.token() > token && second.is_held());
    let stale = a.put("state", "late", fenced).await.unwrap_err();
    assert_eq!(stale.code(), "conflict", "{stale}");
    c.steal("build", Duration::from_secs(30)).await.unwrap();
    tokio::time::timeout(SOON, second.lost()).await.unwrap();
    assert!(!second.is_held());
}

/// promise: Keys and locks | A caller that goes away while it waits does not get the lock, and leaves the line
#[tokio::test]
async fn whoever_stops_waiting_for_a_lock_leaves_its_line_and_a_full_line_says_so() {
    const LINE: usize = 256;
    const SHARE: usize = LINE / 2;
    let nodes = nodes(World(112), 2).await;
    let [one, two] = [0, 1].map(|n| nodes[n].critical().unwrap());
    let lock = one.lock("build", LockOptions::default()).await.unwrap();
    let wait = LockOptions::default().wait(Duration::from_secs(600));
    let stand = |critical: &nexus_node::Critical| {
        let critical = critical.clone();
        tokio::spawn(async move { critical.acquire("build", wait).await })
    };
    let line = async || Some(one.lock_of("build").await.unwrap()?.line.len());
    let waiting: Vec<_> = (0..SHARE).flat_map(|_| [stand(&one), stand(&two)]).collect();
    until("a full line", async || (line().await? == LINE).then_some(())).await;
    let full = one.acquire("build", wait).await.unwrap_err();
    assert_eq!(full.code(), "full", "{full}");
    for place in &waiting[2..] {
        place.abort();
    }
    until("two in line", async || (line().await? == 2).then_some(())).await;
    lock.release().await.unwrap();
    let mut left = waiting.into_iter().take(2);
    let (one_of_them, other) = (left.next().unwrap(), left.next().unwrap());
    let (granted, other) = futures::future::select(one_of_them, other).await.factor_first();
    let token = granted.unwrap().unwrap().token;
    // its turn may come before it has left
    other.into_inner().abort();
    one.release("build", token).await.unwrap();
    until("free", async || one.lock_of("build").await.unwrap().is_none().then_some(())).await;
}

/// promise: Keys and locks | A time to live ends after its whole time, and not if it was renewed
#[tokio::test(start_paused = true)]
async fn what_has_a_time_to_live_goes_away_and_a_dropped_lock_is_free() {
    let nodes = nodes(World(104), 1).await;
    let critical = nodes[0].critical().unwrap();
    let ttl = Duration::from_secs(1);
    critical.put("mortal", "v", PutOptions::default().ttl(ttl)).await.unwrap();
    critical.acquire("lease", LockOptions::default().ttl(ttl)).await.unwrap();
    let revision = critical.revision().await.unwrap();
    until("both gone", async || {
        let gone =
            critical.get("mortal").await.unwrap().is_none() && critical.lock_of("lease").await.unwrap().is_none();
        gone.then_some(())
    })
    .await;
    let changes = critical.changes("", revision, Duration::ZERO).await.unwrap().changes;
    assert_eq!(changes.len(), 2, "{changes:?}");
    // a guard renews a lease that would end
    let guard = critical.lock("kept", LockOptions::default().ttl(ttl)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(guard.is_held());
    drop(guard);
    until("free", async || critical.lock_of("kept").await.unwrap().is_none().then_some(())).await;
}

/// promise: Keys and locks | Another leads when the leader steps down; voters come and go by hand
#[tokio::test]
async fn another_leads_when_the_leader_steps_down_and_voters_come_and_go() {
    let nodes = nodes(World(105), 4).await;
    voters(&nodes, 3).await;
    let first = leader(&nodes).await;
    let founder = nodes[0].critical().unwrap();
    founder.manage(Manage::StepDown).await.unwrap();
    until("another leader", async || (leader(&nodes).await != first).then_some(())).await;
    let seen = until("a learner", async || {
        let seen = founder.coordinators().await?;
        (seen.leader.is_some() && !seen.learners.is_empty()).then_some(seen)
    })
    .await;
    let learner = seen.learners[0].did;
    let one = seen.voters.iter().find(|seat| Some(seat.did) != seen.leader && seat.did != nodes[0].did());
    let one = one.or(seen.voters.iter().find(|seat| Some(seat.did) != seen.leader)).unwrap().did;
    until("replaced", async || {
        founder.manage(Manage::Remove(one)).await.ok();
        let seen = founder.coordinators().await?;
        let dids: Vec<_> = seen.voters.iter().map(|seat| seat.did).collect();
        (dids.contains(&learner) && !dids.contains(&one) && dids.len() == 3).then_some(())
    })
    .await;
    assert_eq!(founder.manage(Manage::Add(world::key(77).did())).await.unwrap_err().code(), "conflict");
    founder.put("k", "v", plain()).await.unwrap();
    for node in &nodes {
        assert_eq!(node.critical().unwrap().get("k").await.unwrap().unwrap().text(), Some("v"));
    }
}

/// promise: Keys and locks | A watch hands out each change of a key once, in order, and ends with the node
#[tokio::test]
async fn a_stream_hands_out_the_changes_of_keys_in_order_and_ends_with_the_node() {
    let nodes = nodes(World(109), 1).await;
    let critical = nodes[0].critical().unwrap();
    let query = CriticalWatchQuery::from_now().prefix("deploy/");
    let mut changes = critical.watch(query).await.unwrap().into_stream();
    for (key, value) in [("deploy/a", "1"), ("other", "x"), ("deploy/b", "2"), ("deploy/a", "3")] {
        critical.put(key, value, plain()).await.unwrap();
    }
    let mut names = Vec::new();
    while names.len() < 3 {
        let Some(Ok(CriticalNews::Change(change))) = changes.next().await else { panic!("a change") };
        names.push(change.name().to_owned());
    }
    assert_eq!(names, ["deploy/a", "deploy/b", "deploy/a"]);
    nodes[0].shutdown().await;
    assert!(changes.next().await.is_none());
}

/// promise: Keys and locks | A revoked leader is replaced: another leads, its vote and its locks go to others
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_leader_loses_its_vote_and_its_locks() {
    let nodes = nodes(World(110), 4).await;
    voters(&nodes, 3).await;
    // the founder cannot be revoked by one of the others, so that another one must lead
    let led = until("another leads", async || match leader(&nodes).await {
        0 => {
            nodes[0].critical().unwrap().manage(Manage::StepDown).await.ok();
            None
        }
        other => Some(other),
    })
    .await;
    let waits = if led == 1 { 2 } else { 1 };
    let former = nodes[led].did();
    let held = LockOptions::default().ttl(Duration::from_secs(300));
    nodes[led].critical().unwrap().acquire("deploy", held).await.unwrap();
    let line = LockOptions::default().wait(Duration::from_secs(60));
    let next = nodes[waits].critical().unwrap();
    let next = tokio::spawn(async move { next.acquire("deploy", line).await });
    until("a line", async || {
        let lock = nodes[0].critical().unwrap().lock_of("deploy").await.ok()??;
        (lock.line.len() == 1).then_some(())
    })
    .await;

    nodes[0].revoke(former, None).await.unwrap();
    next.await.unwrap().unwrap();
    let stay: Vec<Node> = (0..4).filter(|n| *n != led).map(|n| nodes[n].clone()).collect();
    voters(&stay, 3).await;
    let seen = stay[0].critical().unwrap().coordinators().await.unwrap();
    assert!(seen.voters.iter().all(|seat| seat.did != former) && seen.leader != Some(former), "{seen:?}");
    let past = stay[0].critical().unwrap().audit(AuditQuery::default().limit(1_000)).await.unwrap().items;
    let ended = past.iter().filter(|entry| entry.deed.action == Action::MemberEnded);
    assert_eq!(ended.map(|entry| entry.deed.name.clone()).collect::<Vec<_>>(), [former.to_string()]);
    for node in stay {
        node.critical().unwrap().put("who", "stays", plain()).await.unwrap();
    }
    let alone = nodes[led].critical().unwrap().put("who", "revoked", plain()).await.unwrap_err();
    assert_eq!(alone.code(), "refused");
    let seen = nodes[led].status().await;
    assert!(!seen.member && seen.coordinators.is_some_and(|seen| !seen.quorum), "{:?}", seen.warnings);
    assert!(seen.warnings.iter().all(|warning| warning.code != "read_only"), "{:?}", seen.warnings);
}

/// promise: Revocations | Where the revoked held the quorum, the error names the way out, and an admin's node goes on from its copy
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_revoked_held_the_quorum_an_admin_goes_on_from_its_copy() {
    let world = World(111);
    let nodes = nodes(world, 2).await;
    let [founder, other] = [&nodes[0], &nodes[1]];
    founder.critical().unwrap().put("k", "v", plain()).await.unwrap();
    until("a copy", async || {
        let copy = other.critical().unwrap().get_local("k").ok()?;
        copy.item.map(drop)
    })
    .await;
    let draft = other.draft_revocation(founder.did(), None).await.unwrap();
    assert!(draft.admits.is_some(), "its own membership would end, too");
    other.revoke_as_root(draft.sign(&world::key(world.0)).unwrap()).await.unwrap();
    let critical = other.critical().unwrap();
    until("no quorum", async || {
        let error = critical.put("k", "w", plain()).await.err()?;
        // the leader's node may have the first one, and does not answer any more
        let is_refused = matches!(error, NodeError::NoQuorum { lost: true, .. });
        assert!(is_refused || matches!(error, NodeError::OutcomeUnknown { .. }), "{error}");
        is_refused.then_some(())
    })
    .await;
    critical.recover().await.unwrap();
    critical.put("k", "w", plain()).await.unwrap();
    let refused = founder.critical().unwrap().put("k", "x", plain()).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(nexus_node::error::AccessError::Revoked)), "{refused}");
}

/// promise: Keys and locks | Members that left hold no copy that one that is up needs
#[tokio::test]
async fn the_copy_of_a_member_that_left_is_taken_by_hand() {
    let mut nodes = nodes(World(113), 2).await;
    let founder = nodes[0].critical().unwrap();
    until("a copy", async || (founder.coordinators().await?.learners.len() == 1).then_some(())).await;
    let gone = nodes.pop().unwrap();
    gone.shutdown().await;
    until("no copy", async || {
        founder.manage(Manage::Remove(gone.did())).await.ok();
        founder.coordinators().await?.learners.is_empty().then_some(())
    })
    .await;
    let error = until("nothing more to take", async || founder.manage(Manage::Remove(gone.did())).await.err()).await;
    assert_eq!(error.code(), "conflict", "{error}");
}
