//! stub
use nexus_sim::World;
use nexus_node::NewMemory;
use std::time::Duration;
fn main() {
    let seed = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(7);
    let n: usize = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(3);
    let started = nexus_sim::hooks::real_now();
    let out = World::new(seed).trace(Box::new(std::io::BufWriter::new(std::fs::File::create("/tmp/trace.txt").unwrap()))).run(async move |sim| {
        let a = sim.found("laptop").await?;
        for i in 1..n { if i == 1 { sim.join("office", a).await?; } else { sim.add(&format!("n{i}")).await?; } }
        sim.sleep(Duration::from_secs(5)).await;
        println!("up at {:?}", sim.now());
        sim.cut(0, 1);
        for i in 0..200 {
            sim.on(i % n, async |node| node.brain().remember(NewMemory::note(format!("memory {i}"))).await).await?;
            sim.sleep(Duration::from_millis(300)).await;
        }
        sim.mend(0, 1);
        let t = sim.settled(Duration::from_secs(60)).await?;
        sim.crash(1, nexus_sim::Crash::Power);
        sim.sleep(Duration::from_secs(30)).await;
        sim.start(1).await?;
        let t2 = sim.settled(Duration::from_secs(60)).await?;
        println!("settled after {t:?} {t2:?} at {:?} panics {:?}", sim.now(), sim.panics());
        Ok::<_, nexus_sim::SimError>((sim.now(), sim.network().trace_hash()))
    });
    let wall = nexus_sim::hooks::real_now() - started;
    println!("{out:?} wall {wall:?}");
}
