//! A study of a partition: an office is cut from its cloud for an hour of virtual time. Both sides write,
//! the network heals, and the time to agreement is measured. It takes a second, and the same seed gives the
//! same figures.
//!
//! `cargo run -p nexus-sim --bin partition_study`

#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use nexus_node::{NewMemory, Patch};
use nexus_sim::{SimError, World};

const HOUR: Duration = Duration::from_secs(3_600);

fn main() -> Result<(), SimError> {
    let (conflicts, took) = study(7)?;
    println!("cut:    an hour, 10 memories on each side and one edited on both");
    println!("healed: agreement within {} s, and {conflicts} conflict to settle", took.as_secs() + 1);
    Ok(())
}

/// Returns the conflicts that both sides show afterwards, and the time from the healing to agreement.
fn study(seed: u64) -> Result<(usize, Duration), SimError> {
    World::new(seed).run(async |sim| {
        let office = sim.found("office").await?;
        let desk = sim.join("desk", office).await?;
        let cloud = sim.join("cloud", office).await?;
        let plan =
            sim.on(office, async |node| node.brain().remember(NewMemory::note("release on friday")).await).await?;
        sim.settled(Duration::from_secs(60)).await?;

        sim.cut_all("the line to the cloud", &[(office, cloud), (cloud, office), (desk, cloud), (cloud, desk)]);
        for (no, text) in [(desk, "release on monday"), (cloud, "release on tuesday")] {
            sim.on(no, async |node| node.brain().edit(plan.id, Patch::text(text)).await).await?;
        }
        for n in 0..10 {
            let note = |side: &str| NewMemory::note(format!("{side} found fault {n}"));
            sim.on(office, async |node| node.brain().remember(note("office")).await).await?;
            sim.on(cloud, async |node| node.brain().remember(note("cloud")).await).await?;
        }
        sim.sleep(HOUR).await;

        sim.mend_all("the line to the cloud");
        let took = sim.settled(Duration::from_secs(120)).await?;
        let shown = sim.on(office, async |node| node.brain().get(plan.id).await).await?;
        let there = sim.on(cloud, async |node| node.brain().get(plan.id).await).await?;
        assert_eq!(shown, there, "both sides show the same");
        Ok((shown.conflicts.len(), took))
    })
}
