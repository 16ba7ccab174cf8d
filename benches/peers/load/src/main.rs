//! The load of `benches/peers`: the same puts to etcd and to nexus, over the same HTTP library, and tasks to
//! JetStream and to nexus.
//!
//! ```text
//! peers-load compare  --etcd ADDR,ADDR,ADDR --nexus DIR,DIR,DIR [--clients 64] [--seconds 5] [--rounds 5]
//! peers-load alone    --nexus DIR,DIR,DIR [--clients 64] [--seconds 5]
//! peers-load failover --nexus DIR,DIR,DIR --program nexus-node [--kills 30]
//! peers-load idle     --nexus DIR,DIR,DIR [--seconds 60]
//! peers-load settled  --nexus DIR,DIR,DIR
//! peers-load jetstream --nats ADDR [--clients 64] [--seconds 5]
//! peers-load tasks    --nexus DIR [--clients 64] [--seconds 5]
//! peers-load ports    --count 6
//! ```

mod args;
mod compare;
mod etcd;
mod failover;
mod floor;
mod idle;
mod load;
mod nats;
mod nexus;
mod stats;
mod tasks;

use crate::args::Args;

/// Any error ends the measurement.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::read(std::env::args().skip(1))?;
    match args.command.as_str() {
        "compare" => compare::run(&args).await,
        "alone" => compare::alone(&args).await,
        "failover" => failover::run(&args).await,
        "idle" => idle::run(&args).await,
        "settled" => nexus::settled(&args.list("nexus")?).await,
        "jetstream" => nats::run(&args).await,
        "tasks" => tasks::run(&args).await,
        "ports" => ports(args.number("count", 1)?),
        other => Err(format!("no such command: {other}").into()),
    }
}

/// Prints ports that are free now.
fn ports(count: usize) -> Result<(), Failure> {
    let listen = |_| std::net::TcpListener::bind("127.0.0.1:0");
    let held: Vec<_> = (0..count).map(listen).collect::<Result<_, _>>()?;
    for listener in &held {
        println!("{}", listener.local_addr()?.port());
    }
    Ok(())
}
