//! A membership for two days, told by clocks that differ.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use nexus_node::memory::ListQuery;
use nexus_node::net::PeerState;
use nexus_node::{Invite, NewMemory};
use nexus_sim::hooks::Wall;
use nexus_sim::{Sim, SimError, World, isolated};

const DAY: Duration = Duration::from_secs(86_400);
/// The longest time until all have heard of something.
const SOON: Duration = Duration::from_secs(240);
/// The longest time until an admin's node looks for memberships to end, and all have heard of it.
const LOOKED: Duration = Duration::from_secs(3 * 3_600);
const GUEST: usize = 3;

/// Sets the clocks of these machines this many days ahead.
fn leap(sim: &Sim, machines: &[usize], days: i64) {
    for no in machines {
        sim.set_wall(*no, Wall { ahead_ms: days * 86_400_000, frozen_ms: None });
    }
}

async fn remember(sim: &Sim, no: usize, text: &str) -> Result<(), SimError> {
    sim.on(no, async |node| node.brain().remember(NewMemory::note(text)).await).await.map(drop)
}

async fn texts(sim: &Sim, no: usize) -> Result<Vec<String>, SimError> {
    let listed = sim.on(no, async |node| node.brain().list(ListQuery::newest()).await).await?;
    let mut texts: Vec<String> = listed.items.into_iter().map(|memory| memory.text).collect();
    texts.sort();
    Ok(texts)
}

/// The number of others that a node is connected with.
async fn connected(sim: &Sim, no: usize) -> usize {
    let peers = sim.on(no, async |node| Ok(node.peers().await)).await.unwrap();
    peers.iter().filter(|peer| peer.state == PeerState::Up).count()
}

async fn until(sim: &Sim, within: Duration, what: &str, holds: impl AsyncFn() -> bool) -> Result<(), SimError> {
    let end = sim.now() + within;
    while sim.now() < end {
        if holds().await {
            return Ok(());
        }
        sim.sleep(Duration::from_secs(1)).await;
    }
    Err(SimError::Failed(format!("not within {within:?}: {what}")))
}

fn ended(sim: &Sim, no: usize) -> bool {
    let former = sim.node(no).unwrap().former_members();
    former.iter().any(|(member, _)| member.did == sim.did(GUEST))
}

/// promise: Revocations | A membership whose credentials ended a week ago is ended for good, by the word of two clocks
#[test]
fn a_membership_of_two_days_is_shut_out_after_them_and_ended_a_week_later() {
    isolated(1..3, |seed| {
        World::new(seed)
            .run(async |sim| {
                sim.found("founder").await?;
                sim.add("desk").await?;
                sim.add("cloud").await?;
                let guests = sim.on(0, async |node| node.invite(Invite::default().valid(2 * DAY)).await).await?;
                assert_eq!(sim.machine("guest")?, GUEST);
                sim.knock_and_move_in(GUEST, &guests.ticket).await?;
                remember(&sim, GUEST, "on the first day").await?;
                sim.settled(SOON).await?;

                leap(&sim, &[0, 1, 2, GUEST], 1);
                sim.sleep(Duration::from_secs(180)).await;
                assert_eq!(connected(&sim, GUEST).await, 3);

                leap(&sim, &[0, 1, 2, GUEST], 3);
                until(&sim, SOON, "the guest is shut out", async || connected(&sim, GUEST).await == 0).await?;
                remember(&sim, GUEST, "on the third day").await?;
                // a clock that is wrong by a month ends nobody
                leap(&sim, &[0], 33);
                remember(&sim, 1, "by the desk").await?;
                until(&sim, LOOKED, "all have it", async || texts(&sim, 0).await.unwrap().len() == 2).await?;
                sim.sleep(LOOKED).await;
                assert!(!ended(&sim, 0));

                leap(&sim, &[0, 1, 2, GUEST], 12);
                remember(&sim, 2, "by the cloud").await?;
                for no in 0..3 {
                    until(&sim, LOOKED, "the membership is over", async || ended(&sim, no)).await?;
                    assert_eq!(texts(&sim, no).await?, ["by the cloud", "by the desk", "on the first day"]);
                }
                // neither does its clock, put back, bring it in again
                leap(&sim, &[GUEST], 0);
                sim.stop(GUEST).await;
                sim.start(GUEST).await?;
                sim.sleep(Duration::from_secs(60)).await;
                assert_eq!(connected(&sim, GUEST).await, 0);
                for no in 0..3 {
                    assert_eq!(texts(&sim, no).await?.len(), 3);
                }
                Ok::<(), SimError>(())
            })
            .unwrap();
    });
}
