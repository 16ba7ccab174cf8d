//! A mesh at rest: what it costs, and that a leader whose heartbeats are spared is missed in time all the same.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_node::critical::PutOptions;
use nexus_node::critical::{LockOptions, Manage};
use nexus_sim::{Crash, Sim, SimError, World, isolated};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const RAFT: &str = "/nexus/raft/1";

/// Founds a mesh of so many nodes, of which three or five vote, and lets it come to rest. Returns the leader.
async fn at_rest(sim: &Sim, nodes: usize) -> Result<usize, SimError> {
    sim.with_coordinators();
    sim.found("laptop").await?;
    for n in 1..nodes {
        sim.add(&format!("other{n}")).await?;
    }
    sim.sleep(2 * MINUTE).await;
    let seen = seen(sim, 0).await;
    assert!(seen.voters.len() >= 3, "{seen:?}");
    let leader = seen.leader.unwrap();
    Ok((0..nodes).find(|no| sim.did(*no) == leader).unwrap())
}

async fn seen(sim: &Sim, no: usize) -> nexus_node::critical::Coordinators {
    sim.node(no).unwrap().critical().unwrap().coordinators().await.unwrap()
}

async fn put(sim: &Sim, no: usize, value: &str) -> Result<u64, SimError> {
    sim.on(no, async |node| node.critical()?.put("k", value, PutOptions::default()).await).await
}

/// The bytes that nodes have sent so far, by protocol and kind.
fn sent(sim: &Sim, nodes: impl IntoIterator<Item = usize>) -> BTreeMap<(String, String), u64> {
    let mut sent = BTreeMap::new();
    for one in nodes.into_iter().filter_map(|no| sim.node(no)).flat_map(|node| node.tallied()) {
        if one.direction.as_str() == "out" {
            *sent.entry((one.protocol, one.kind.to_owned())).or_default() += one.bytes;
        }
    }
    sent
}

/// The bytes of heartbeats that a node sends in a time.
async fn heartbeats(sim: &Sim, no: usize, time: Duration) -> u64 {
    let so_far = || sent(sim, [no]).get(&(RAFT.to_owned(), "heartbeat".to_owned())).copied().unwrap_or_default();
    let before = so_far();
    sim.sleep(time).await;
    so_far() - before
}

/// The time until a node sees another leader than this.
async fn another_leads(sim: &Sim, no: usize, than: usize) -> Result<Duration, SimError> {
    let (begun, former) = (sim.now(), sim.did(than));
    while sim.now() < begun + MINUTE {
        if seen(sim, no).await.leader.is_some_and(|leader| leader != former) {
            return Ok(sim.now() - begun);
        }
        sim.sleep(Duration::from_millis(20)).await;
    }
    Err(SimError::Failed("nobody else leads".to_owned()))
}

/// The lines of the table in ARCHITECTURE.md: bytes a second on a directed pair, by protocol and kind.
fn budget() -> BTreeMap<(String, String), u64> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md")).unwrap();
    let table = text.split("### The budget of a mesh at rest").nth(1).unwrap();
    let lines = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let lines = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        ((cells[1].to_owned(), cells[2].to_owned()), cells[3].parse().unwrap())
    });
    lines.collect()
}

/// promise: Whole networks, by seed | A mesh at rest keeps the budget of bytes in ARCHITECTURE, by protocol and kind
#[test]
fn a_mesh_at_rest_keeps_its_budget() {
    isolated(1..2, |seed| {
        World::new(seed)
            .run(async |sim| {
                const NODES: usize = 5;
                at_rest(&sim, NODES).await?;
                sim.sleep(8 * MINUTE).await;
                let (before, time) = (sent(&sim, 0..NODES), 5 * MINUTE);
                sim.sleep(time).await;
                let (after, budget) = (sent(&sim, 0..NODES), budget());
                let pairs = (NODES * (NODES - 1)) as u64;
                let mut over = Vec::new();
                for (what, bytes) in after {
                    let bytes = bytes - before.get(&what).copied().unwrap_or_default();
                    let most = budget.get(&what).copied().unwrap_or_default();
                    if bytes > most * pairs * time.as_secs() {
                        over.push(format!("{what:?}: {} of {most} bytes/s", bytes / pairs / time.as_secs()));
                    }
                }
                assert!(over.is_empty(), "{over:#?}");
                Ok::<_, SimError>(())
            })
            .unwrap();
    });
}

/// How often the tasks of this name at each node were woken so far.
fn woken(sim: &Sim, nodes: usize, name: &str) -> Vec<u64> {
    let of = |no| {
        let all = sim.node(no).unwrap().wakeups();
        all.iter().filter(|(task, _)| *task == name).map(|(_, count)| count).sum()
    };
    (0..nodes).map(of).collect()
}

/// promise: Keys and locks | At rest openraft ticks for heartbeats that are due alone, and the members are looked at rarely
#[test]
fn the_coordinators_of_a_mesh_at_rest_sleep() {
    isolated(1..3, |seed| {
        World::new(seed)
            .run(async |sim| {
                const NODES: usize = 5;
                let leader = at_rest(&sim, NODES).await?;
                sim.sleep(3 * MINUTE).await;
                // ticks of 150 ms would wake openraft's tasks 2,600 times in this time, and the heartbeats of the leader
                // take its tasks some 60 times each
                for (name, most_of_leader, most) in [("raft", 1_200, 100), ("raft pace", 250, 60), ("govern", 130, 60)]
                {
                    let before = woken(&sim, NODES, name);
                    sim.sleep(3 * MINUTE).await;
                    for (no, (now, before)) in woken(&sim, NODES, name).into_iter().zip(before).enumerate() {
                        let most = if no == leader { most_of_leader } else { most };
                        assert!(now - before <= most, "{name} at n{no}, leader n{leader}: {} of {most}", now - before);
                    }
                }
                // and they wake when there is something to do
                let other = (leader + 1) % NODES;
                put(&sim, other, "v").await?;
                assert_eq!(seen(&sim, other).await.leader, Some(sim.did(leader)));
                Ok::<_, SimError>(())
            })
            .unwrap();
    });
}

/// promise: Keys and locks | A leader at rest that is killed, or whose machine vanishes, is replaced in time
#[test]
fn a_leader_at_rest_is_missed_at_once_when_it_is_killed_and_when_somebody_asks() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                let leader = at_rest(&sim, 3).await?;
                let other = (leader + 1) % 3;
                // heartbeats of 100 ms would be thousands of bytes
                let quiet = heartbeats(&sim, leader, 20 * SECOND).await;
                assert!(quiet < 3_000, "{quiet} bytes of heartbeats: it does not rest");
                sim.crash(leader, Crash::Process);
                let took = another_leads(&sim, other, leader).await?;
                assert!(took < 2 * SECOND, "{took:?} after it was killed");
                sim.start(leader).await?;
                sim.sleep(2 * MINUTE).await;

                // nobody hears that a machine has vanished
                let did = seen(&sim, other).await.leader.unwrap();
                let leader = (0..3).find(|no| sim.did(*no) == did).unwrap();
                let other = (leader + 1) % 3;
                sim.crash(leader, Crash::Power);
                sim.sleep(SECOND).await;
                let begun = sim.now();
                put(&sim, other, "after").await?;
                let took = sim.now() - begun;
                assert!(took < 5 * SECOND, "{took:?} after it vanished");
                Ok::<_, SimError>(())
            })
            .unwrap();
    });
}

/// promise: Keys and locks | A leader does not rest while a lease or a key has an end
#[test]
fn a_leader_with_a_lease_does_not_rest() {
    isolated(1..3, |seed| {
        World::new(seed)
            .run(async |sim| {
                let leader = at_rest(&sim, 3).await?;
                let options = LockOptions::default().ttl(10 * MINUTE);
                sim.on(leader, async |node| node.critical()?.acquire("lock", options).await).await?;
                let busy = heartbeats(&sim, leader, 20 * SECOND).await;
                assert!(busy > 10_000, "{busy} bytes of heartbeats: it rests");
                // nobody asks, and it is missed
                sim.crash(leader, Crash::Power);
                let took = another_leads(&sim, (leader + 1) % 3, leader).await?;
                assert!(took < 3 * SECOND, "{took:?}");
                Ok::<_, SimError>(())
            })
            .unwrap();
    });
}

/// promise: Keys and locks | A follower at rest that loses the leader alone deposes nobody that others hear
#[test]
fn a_follower_that_loses_the_leader_alone_gets_no_vote() {
    isolated(1..3, |seed| {
        World::new(seed)
            .run(async |sim| {
                let leader = at_rest(&sim, 3).await?;
                let (near, far) = ((leader + 1) % 3, (leader + 2) % 3);
                let term = seen(&sim, far).await.term;
                sim.cut(near, leader);
                sim.sleep(2 * MINUTE).await;
                for no in [leader, far] {
                    let now = seen(&sim, no).await;
                    assert_eq!((now.leader, now.term), (Some(sim.did(leader)), term));
                }
                put(&sim, far, "still").await?;
                Ok::<_, SimError>(())
            })
            .unwrap();
    });
}

/// promise: Keys and locks | A leader at rest gives its leadership up when it is told to, and a write wakes all
#[test]
fn a_leader_at_rest_steps_down_and_writes_wake_all() {
    isolated(1..3, |seed| {
        World::new(seed)
            .run(async |sim| {
                let leader = at_rest(&sim, 3).await?;
                sim.on(0, async |node| node.critical()?.manage(Manage::StepDown).await).await?;
                let took = another_leads(&sim, 0, leader).await?;
                assert!(took < 10 * SECOND, "{took:?}");
                sim.sleep(MINUTE).await;
                for no in 0..3 {
                    let begun = sim.now();
                    put(&sim, no, &no.to_string()).await?;
                    let took = sim.now() - begun;
                    assert!(took < SECOND, "{took:?} for a write of n{no}");
                    sim.sleep(20 * SECOND).await;
                }
                Ok::<_, SimError>(())
            })
            .unwrap();
    });
}
