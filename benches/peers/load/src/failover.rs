//! Kills the leader, and measures the time until another node acknowledges a write that began after that.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::args::Args;
use crate::nexus::{Client, leader, settled, try_leader};
use crate::stats::Samples;

/// The wait after a refused write.
const AGAIN: Duration = Duration::from_millis(10);
/// The time after which the measurement is given up.
const LONGEST: Duration = Duration::from_secs(60);

pub async fn run(args: &Args) -> Result<(), Failure> {
    let directories = args.list("nexus")?;
    let program = args.text("program")?;
    let kills: usize = args.number("kills", 30)?;
    let (mut writes, mut elections) = (Samples::default(), Samples::default());
    let mut started: Vec<Child> = Vec::new();
    for kill in 0..kills {
        settled(&directories).await?;
        let leads = leader(&directories).await?;
        let others: Vec<String> =
            directories.iter().enumerate().filter(|(n, _)| *n != leads).map(|(_, other)| other.clone()).collect();
        // the connections exist before the kill, and the leader has work
        let mut clients = Vec::new();
        for other in &others {
            let mut client = Client::open(other).await?;
            client.put("before", &kill.to_string()).await?;
            clients.push(client);
        }
        let pid = std::fs::read_to_string(format!("{}/pid", directories[leads]))?;
        let killed = Command::new("kill").args(["-9", pid.trim()]).status()?;
        if !killed.success() {
            return Err("the leader could not be killed".into());
        }
        let begin = Instant::now();
        let elected = tokio::spawn({
            let others = others.clone();
            async move {
                while try_leader(&others).await.is_none() {
                    tokio::time::sleep(AGAIN).await;
                }
                begin.elapsed()
            }
        });
        let tries = clients.into_iter().map(|client| Box::pin(until_written(client, kill)));
        let written = tokio::time::timeout(LONGEST, first(tries.collect())).await??;
        writes.add((written - begin).as_secs_f64() * 1e3);
        elections.add(tokio::time::timeout(LONGEST, elected).await??.as_secs_f64() * 1e3);
        for child in &mut started {
            let _ = child.try_wait();
        }
        started.push(start(program, &directories[leads])?);
    }
    let of = |samples: &Samples, q| samples.quantile(q);
    println!("{kills} leaders killed: the next write is acknowledged after");
    println!("  p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms", of(&writes, 0.5), of(&writes, 0.95), of(&writes, 0.99));
    println!("  another leads after p50 {:.0} ms, p99 {:.0} ms", of(&elections, 0.5), of(&elections, 0.99));
    Ok(())
}

async fn until_written(mut client: Client, kill: usize) -> Result<Instant, Failure> {
    loop {
        match client.put("after", &kill.to_string()).await {
            Ok(()) => return Ok(Instant::now()),
            Err(error) if error.to_string().contains("nexus refused") => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(error),
        }
    }
}

/// The earlier of two instants.
async fn first<F: Future<Output = Result<Instant, Failure>> + Unpin>(mut tries: Vec<F>) -> Result<Instant, Failure> {
    let (mut one, mut other) = (tries.pop().ok_or("nobody is left")?, tries.pop().ok_or("nobody is left")?);
    tokio::select! {
        written = &mut one => written,
        written = &mut other => written,
    }
}

/// Starts a node again as `nodes.sh` does, and prints its name.
fn start(program: &str, directory: &str) -> Result<Child, Failure> {
    let address = std::fs::read_to_string(format!("{directory}/api-url"))?;
    let address = address.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let log = std::fs::File::options().create(true).append(true).open(format!("{directory}.log"))?;
    let child = Command::new(program)
        .args(["--data-dir", directory, "up", "--no-mdns", "--api-addr", &address])
        .args(["--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    std::fs::write(format!("{directory}/pid"), child.id().to_string())?;
    Ok(child)
}
