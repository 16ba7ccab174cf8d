//! Tasks of a nexus node over its HTTP API: one connection for each caller and each worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;

use crate::Failure;
use crate::args::Args;
use crate::nats::{PAYLOAD_BYTES, Waiting, locked, told};
use crate::nexus::Client;
use crate::stats::Samples;

/// Callers submit tasks and wait for their ends, and workers that do nothing end them. Prints tasks a second and times as
/// JSON.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let (directory, clients, seconds) =
        (args.text("nexus")?.to_owned(), args.number("clients", 64_u64)?, args.number("seconds", 5_u64)?);
    let (waiting, next) = (Waiting::default(), Arc::new(AtomicU64::new(0)));
    let until = Instant::now() + Duration::from_secs(seconds);
    let workers: Vec<_> = (0..clients)
        .map(|_| {
            let (directory, waiting) = (directory.clone(), waiting.clone());
            tokio::spawn(async move {
                let mut client = Client::open(&directory).await?;
                while Instant::now() < until + Duration::from_secs(1) {
                    let Some(claimed) = client.claim("bench", "1s").await? else { continue };
                    let id = claimed["task"]["id"].as_str().ok_or("a task without an id")?;
                    client.finish(id, &claimed["token"]).await?;
                    if let Some(number) = claimed["task"]["input"]["n"].as_u64()
                        && let Some(caller) = locked(&waiting).remove(&number)
                    {
                        let _ = caller.send(());
                    }
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    let begun = Instant::now();
    let callers: Vec<_> = (0..clients)
        .map(|_| {
            let (directory, waiting, next) = (directory.clone(), waiting.clone(), next.clone());
            tokio::spawn(async move {
                let mut client = Client::open(&directory).await?;
                let mut times = Samples::default();
                while Instant::now() < until {
                    let (number, begun) = (next.fetch_add(1, Ordering::Relaxed), Instant::now());
                    let (tell, ended) = oneshot::channel();
                    locked(&waiting).insert(number, tell);
                    let filler = "x".repeat(PAYLOAD_BYTES);
                    client.submit("bench", json!({ "n": number, "filler": filler })).await?;
                    ended.await?;
                    times.add(begun.elapsed().as_secs_f64() * 1e3);
                }
                Ok::<_, Failure>(times)
            })
        })
        .collect();
    told(callers, workers, begun).await
}
