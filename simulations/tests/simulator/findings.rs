//! Bugs that the simulator found and that are mended in the node: see FINDINGS.md. Each test states the
//! mended behaviour.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use nexus_node::NewMemory;
use nexus_sim::{SimError, World, isolated};

/// promise: Nodes | Two whom a third one invited meet and stay in step without it
#[test]
fn members_whom_one_node_invited_stay_in_sync_without_it() {
    isolated(1..2, |seed| {
        World::new(seed)
            .run(async |sim| {
                let inviter = sim.found("inviter").await?;
                let mut guests = Vec::new();
                for name in ["laptop", "office"] {
                    let guest = sim.join(name, inviter).await?;
                    sim.stop(guest).await;
                    sim.knows(guest, &[inviter]);
                    sim.start(guest).await?;
                    guests.push(guest);
                }
                sim.settled(Duration::from_secs(60)).await?;
                sim.sleep(Duration::from_secs(120)).await;

                sim.stop(inviter).await;
                sim.on(guests[0], async |node| node.brain().remember(NewMemory::note("without you")).await).await?;
                sim.settled(Duration::from_secs(300)).await?;
                Ok::<_, SimError>(())
            })
            .unwrap();
    });
}

/// promise: Whole networks, by seed | A task that never gives way is ended, and the run says so
#[test]
fn a_task_that_never_gives_way_ends_the_run_and_says_so() {
    isolated(1..2, |seed| {
        let world = World::new(seed).stuck_after(Duration::from_millis(200));
        let stuck = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.run(async |_| -> Result<(), SimError> {
                loop {
                    std::hint::spin_loop();
                }
            })
        }));
        let said = stuck.unwrap_err().downcast::<String>().unwrap();
        assert!(said.contains("some task never gives way"), "{said}");
    });
}
