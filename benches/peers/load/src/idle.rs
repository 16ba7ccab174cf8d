//! The processor time of idle nodes.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::args::Args;

pub async fn run(args: &Args) -> Result<(), Failure> {
    let lasts = Duration::from_secs(args.number("seconds", 60)?);
    let directories = args.list("nexus")?;
    let used = || -> Result<Vec<f64>, Failure> { directories.iter().map(|directory| cpu_seconds(directory)).collect() };
    let (before, begin) = (used()?, Instant::now());
    tokio::time::sleep(lasts).await;
    let (after, took) = (used()?, begin.elapsed().as_secs_f64());
    for (n, (before, after)) in before.iter().zip(&after).enumerate() {
        println!("node {n}: {:.2} % of a core", 100.0 * (after - before) / took);
    }
    let all: f64 = after.iter().sum::<f64>() - before.iter().sum::<f64>();
    println!("{:.2}", 100.0 * all / took);
    Ok(())
}

/// Processor time of a node and of its threads, in nanoseconds where the scheduler counts them.
fn cpu_seconds(directory: &str) -> Result<f64, Failure> {
    let pid = std::fs::read_to_string(format!("{directory}/pid"))?;
    let mut nanoseconds = 0_u64;
    for thread in std::fs::read_dir(format!("/proc/{}/task", pid.trim()))? {
        let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += stat.split_whitespace().next().ok_or("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}
