//! Clients that each put one key after another.

use std::time::{Duration, Instant};

use crate::stats::Samples;
use crate::{Failure, etcd, nexus};

/// The warm-up, which is not counted: connections, and the caches of Go and of nexus.
const WARM: Duration = Duration::from_millis(500);

/// A client's server.
#[derive(Clone, Debug)]
pub enum Target {
    Etcd(String),
    Nexus(String),
}

pub enum Client {
    Etcd(etcd::Client),
    Nexus(nexus::Client),
}

impl Target {
    pub async fn open(&self) -> Result<Client, Failure> {
        Ok(match self {
            Self::Etcd(address) => Client::Etcd(etcd::Client::open(address).await?),
            Self::Nexus(directory) => Client::Nexus(nexus::Client::open(directory).await?),
        })
    }
}

impl Client {
    async fn put(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        match self {
            Self::Etcd(client) => client.put(key, value).await,
            Self::Nexus(client) => client.put(key, value).await,
        }
    }
}

/// The result of one load.
#[derive(Clone, Debug, Default)]
pub struct LoadResult {
    pub samples: Samples,
    pub seconds: f64,
}

impl LoadResult {
    pub fn add(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.seconds += other.seconds;
    }

    pub fn rate(&self) -> f64 {
        self.samples.len() as f64 / self.seconds
    }
}

/// Runs `clients` for the time `lasts`, each with its own connection and keys, spread over the targets
/// in turn.
pub async fn run(targets: &[Target], clients: usize, lasts: Duration) -> Result<LoadResult, Failure> {
    let mut open = Vec::new();
    for n in 0..clients {
        open.push(targets[n % targets.len()].open().await?);
    }
    let begin = Instant::now() + WARM;
    let end = begin + lasts;
    let tasks: Vec<_> = open
        .into_iter()
        .enumerate()
        .map(|(n, mut client)| {
            tokio::spawn(async move {
                let value = "v".repeat(100);
                let mut samples = Samples::default();
                for put in 0.. {
                    let start = Instant::now();
                    if start >= end {
                        break;
                    }
                    client.put(&format!("bench-{n:03}-{:05}", put % 1_000), &value).await?;
                    if start >= begin && Instant::now() <= end {
                        samples.add(start.elapsed().as_secs_f64() * 1e3);
                    }
                }
                Ok::<_, Failure>(samples)
            })
        })
        .collect();
    let mut done = LoadResult { seconds: lasts.as_secs_f64(), ..LoadResult::default() };
    for task in tasks {
        done.samples.extend(task.await??);
    }
    Ok(done)
}
