//! Loads both sides in turn, round by round, so that a slow moment of the machine affects both.

use std::time::Duration;

use crate::args::Args;
use crate::load::{LoadResult, Target, run as load};
use crate::stats::Samples;
use crate::{Failure, etcd, floor, nexus};

pub async fn run(args: &Args) -> Result<(), Failure> {
    let (addresses, directories) = (args.list("etcd")?, args.list("nexus")?);
    let clients = args.number("clients", 64)?;
    let seconds = Duration::from_secs_f64(args.number("seconds", 5.0)?);
    let rounds: usize = args.number("rounds", 5)?;
    let floor_file = args.text("floor")?;

    let etcd: Vec<Target> = addresses.iter().cloned().map(Target::Etcd).collect();
    let nexus: Vec<Target> = directories.iter().cloned().map(Target::Nexus).collect();
    let rows = [("at the leader", clients, true), ("over all three", clients, false), ("at the leader", 1, true)];
    let mut figures = vec![(LoadResult::default(), LoadResult::default()); rows.len()];
    let mut floors = Samples::default();
    for round in 0..rounds {
        floors.extend(floor::measure(floor_file, 200)?);
        for (n, (_, clients, at_leader)) in rows.iter().enumerate() {
            let (etcd, nexus) = match at_leader {
                false => (etcd.clone(), nexus.clone()),
                true => {
                    let (etcd_leads, nexus_leads) =
                        (etcd::leader(&addresses).await?, nexus::leader(&directories).await?);
                    (vec![etcd[etcd_leads].clone()], vec![nexus[nexus_leads].clone()])
                }
            };
            // the first side of one round is the second of the next
            for nexus_now in if round % 2 == 0 { [false, true] } else { [true, false] } {
                let done = load(if nexus_now { &nexus } else { &etcd }, *clients, seconds).await?;
                eprintln!(
                    "round {round}: {:>6} {:>3} clients {:<15} {:>8.0}/s p50 {:.2} ms",
                    if nexus_now { "nexus" } else { "etcd" },
                    clients,
                    rows[n].0,
                    done.rate(),
                    done.samples.quantile(0.5),
                );
                let (of_etcd, of_nexus) = &mut figures[n];
                if nexus_now { of_nexus.add(done) } else { of_etcd.add(done) }
            }
        }
    }
    println!("{:<32} {:>9} {:>8} {:>8} {:>8}", "", "puts/s", "p50 ms", "p95 ms", "p99 ms");
    for ((place, clients, _), (etcd, nexus)) in rows.iter().zip(&figures) {
        for (name, done) in [("etcd", etcd), ("nexus", nexus)] {
            let q = |q| done.samples.quantile(q);
            let what = format!("{name}, {clients} {place}");
            println!("{what:<32} {:>9.0} {:>8.2} {:>8.2} {:>8.2}", done.rate(), q(0.5), q(0.95), q(0.99));
        }
        println!("  RATIO of puts/s, nexus to etcd: {:.2}", nexus.rate() / etcd.rate());
    }
    let floor = floors.quantile(0.5);
    println!("floor: fdatasync and a round trip, p50 {floor:.3} ms, p95 {:.3} ms", floors.quantile(0.95));
    let (etcd, nexus) = &figures[rows.len() - 1];
    let p50 = |done: &LoadResult| done.samples.quantile(0.5);
    println!(
        "  RATIO of p50 with one client to the floor: nexus {:.2}, etcd {:.2}",
        p50(nexus) / floor,
        p50(etcd) / floor
    );
    Ok(())
}

/// Loads nexus alone, at the leader: for a profiler.
pub async fn alone(args: &Args) -> Result<(), Failure> {
    let directories = args.list("nexus")?;
    let leader = Target::Nexus(directories[nexus::leader(&directories).await?].clone());
    let lasts = Duration::from_secs_f64(args.number("seconds", 5.0)?);
    let done = load(&[leader], args.number("clients", 64)?, lasts).await?;
    let q = |q| done.samples.quantile(q);
    println!("{:.0} puts/s, p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms", done.rate(), q(0.5), q(0.95), q(0.99));
    Ok(())
}
