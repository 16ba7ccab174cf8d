//! The coordinators' promises in situations that chance hardly reaches.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nexus_node::critical::Manage;
use nexus_node::critical::PutOptions;
use nexus_sim::{Crash, Sim, SimError, World, isolated};

/// Founds a mesh of three nodes that vote. Returns the leader, then the others.
async fn three_voters(sim: &Sim) -> Result<[usize; 3], SimError> {
    sim.with_coordinators();
    sim.found("laptop").await?;
    for name in ["office", "cloud"] {
        sim.add(name).await?;
    }
    for _ in 0..240 {
        sim.sleep(Duration::from_millis(500)).await;
        let node = sim.node(0).unwrap();
        let Some(seen) = node.critical().unwrap().coordinators().await else { continue };
        if let (3, Some(leader)) = (seen.voters.len(), seen.leader) {
            let leader = (0..3).find(|no| sim.did(*no) == leader).unwrap();
            return Ok([leader, (leader + 1) % 3, (leader + 2) % 3]);
        }
    }
    Err(SimError::Failed("three voters did not come about".to_owned()))
}

/// promise: Keys and locks | A write on a follower's disk alone is not acknowledged
#[test]
fn what_only_a_followers_disk_has_is_not_acknowledged() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                let [leader, near, far] = three_voters(&sim).await?;
                let put = async |no| {
                    sim.on(no, async |node| node.critical()?.put("k", "before", PutOptions::default()).await).await
                };
                put(leader).await?;

                // one follower gets the entry and writes it; the leader's own disk is slow
                sim.cut(far, leader);
                sim.cut(far, near);
                sim.set_disk_delay(leader, Duration::from_secs(3));
                let acknowledged = Arc::new(AtomicBool::new(false));
                let told = acknowledged.clone();
                sim.spawn(leader, move |node| async move {
                    let put = node.critical().unwrap().put("k", "after", PutOptions::default()).await;
                    told.store(put.is_ok(), Ordering::Relaxed);
                })?;
                sim.sleep(Duration::from_secs(1)).await;

                // that follower is away when the leader comes back without its unwritten entries
                sim.crash(leader, Crash::Power);
                sim.cut(near, leader);
                sim.mend(far, leader);
                sim.set_disk_delay(leader, Duration::ZERO);
                sim.start(leader).await?;
                for _ in 0..60 {
                    sim.sleep(Duration::from_secs(1)).await;
                    let read = sim.on(far, async |node| node.critical()?.get("k").await).await;
                    if let Ok(Some(item)) = read {
                        assert!(
                            item.text() == Some("after") || !acknowledged.load(Ordering::Relaxed),
                            "acknowledged, and lost with the leader's power"
                        );
                        return Ok(());
                    }
                }
                Err(SimError::Failed("nobody was elected".to_owned()))
            })
            .unwrap();
    });
}

/// promise: Keys and locks | Copies that were away while the only voter went on follow it again when they come back together
#[test]
fn copies_that_come_back_together_follow_the_only_voter() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                let [leader, near, far] = three_voters(&sim).await?;
                let put = async |text: &str| {
                    sim.on(leader, async |node| node.critical()?.put("k", text, PutOptions::default()).await).await
                };
                put("before").await?;

                // with one of three away, the place of another is taken: the leader votes alone
                sim.stop(far).await;
                let near_did = sim.did(near);
                sim.on(leader, async |node| node.critical()?.manage(Manage::Remove(near_did)).await).await?;
                sim.stop(near).await;
                // two more snapshots than the others have
                for n in 0..250 {
                    put(&n.to_string()).await?;
                }

                // each hears of the other, so both ask for the signature of another member
                sim.start(near).await?;
                sim.start(far).await?;
                for _ in 0..120 {
                    sim.sleep(Duration::from_secs(1)).await;
                    let digest = |no| sim.node(no).and_then(|node| node.critical().ok()?.digest());
                    if digest(leader).is_some() && (0..3).all(|no| digest(no) == digest(leader)) {
                        return Ok(());
                    }
                }
                Err(SimError::Failed("the others never followed".to_owned()))
            })
            .unwrap();
    });
}

/// promise: Keys and locks | A leader that another one's snapshot brought up to date writes again when it leads again
#[test]
fn a_leader_that_was_overtaken_by_a_snapshot_can_lead_again() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                let [leader, near, far] = three_voters(&sim).await?;
                let put = async |no, text: &str| {
                    sim.on(no, async |node| node.critical()?.put("k", text, PutOptions::default()).await).await
                };
                put(leader, "before").await?;

                // it appends what it never commits, while the others go on beyond two snapshots
                sim.cut(leader, near);
                sim.cut(leader, far);
                for n in 0..4 {
                    sim.spawn(leader, move |node| async move {
                        let _ = node.critical().unwrap().put(&format!("lost {n}"), "", PutOptions::default()).await;
                    })?;
                    sim.sleep(Duration::from_millis(50)).await;
                }
                let mut done = 0;
                for _ in 0..1_000 {
                    done += usize::from(put(near, "meanwhile").await.is_ok());
                    if done == 250 {
                        break;
                    }
                }
                assert_eq!(done, 250);
                // both sign the snapshot, and let go of the entries in it
                sim.sleep(Duration::from_secs(30)).await;
                sim.heal();

                let name = sim.did(leader);
                for _ in 0..60 {
                    sim.sleep(Duration::from_secs(5)).await;
                    let Some(seen) = sim.node(leader).unwrap().critical().unwrap().coordinators().await else {
                        continue;
                    };
                    let Some(leads) = seen.leader else { continue };
                    if leads == name {
                        return put(leader, "after").await.map(drop);
                    }
                    // another one is elected meanwhile
                    let other = if leads == sim.did(near) { near } else { far };
                    sim.stop(other).await;
                    sim.sleep(Duration::from_secs(10)).await;
                    sim.start(other).await?;
                }
                Err(SimError::Failed("it never led again".to_owned()))
            })
            .unwrap();
    });
}
