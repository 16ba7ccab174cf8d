use std::path::Path;
use std::time::Duration;

use nexus_node::api::Problem;
use nexus_node::memory::ListQuery;
use nexus_node::{MemoryId, Node};
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::failed;
use super::crowd::{Author, Crowd, create, edit, first_dot};
use super::processor::Work;
use super::rows::{Goal, Row, quantile};
use super::stage::{directory, held, memory, until};
use super::sync::load;
use nexus_node_cli::ground::Printer;

/// Memberships that have ended, and logs that are forked.
const REVOKED: usize = 1_000;
const FORKED: usize = 50;
/// Rounds of load on each side, and the length of one.
const ROUNDS: usize = 8;
const ROUND: Duration = Duration::from_secs(2);

/// Authors that are taken out, one after the other.
const TAKEN_OUT: usize = 5;
/// The new memories of each author, and its edits of other members' memories.
const MEMORIES: u64 = 8_000;
const EDITS: u64 = 2_000;

/// Measures two nodes that hold many revocations and forks, beside two without any. The load is that of `sync`.
pub(super) async fn beside(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let bar = printer.progress("revocations and forks", Some(2 * ROUNDS as u64));
    let with = pair(&dir.path().join("with"), REVOKED, FORKED).await?;
    let without = pair(&dir.path().join("without"), 0, 0).await?;
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..ROUNDS {
        let mut measured = [(0.0, 0.0); 2];
        // in turn, each first in every second round, so that a slow moment of the machine affects both
        for turn in 0..2 {
            let side = (round + turn) % 2;
            let (here, there) = if side == 0 { &with } else { &without };
            let work = Work::begin();
            let load = load(here, there, ROUND, |_| {}).await?;
            let rate = load.per_second(load.replicated);
            measured[side] = (rate, work.cores().map_or(0.0, |cores| rate / cores));
            rates[side].push(rate);
            bar.inc(1);
        }
        let [with, without] = measured;
        ratios[0].push(with.0 / without.0);
        ratios[1].push(with.1 / without.1);
    }
    bar.finish_and_clear();
    for node in [with.0, with.1, without.0, without.1] {
        node.shutdown().await;
    }
    let [mut with, mut without] = rates;
    let [mut clock, mut cores] = ratios;
    Ok(vec![
        Row::new("members", "replicated, 1,000 revocations and 50 forks held", quantile(&mut with, 0.5), "/s")
            .floor("/s without any", quantile(&mut without, 0.5)),
        Row::new("members", "the same, beside the same round without", quantile(&mut clock, 0.5), "×")
            .asked(Goal::AtLeast(0.95)),
        Row::new("members", "the same, for each second of processor", quantile(&mut cores, 0.5), "×"),
    ])
}

/// Two members' nodes that hold the same, among them these former members and forks.
async fn pair(dir: &Path, revoked: usize, forked: usize) -> Result<(Node, Node), Problem> {
    let mut crowd = Crowd::new()?;
    let entries = crowd.hardship(revoked, forked)?;
    let here = crowd.node(&crowd.member()?, &dir.join("here"), entries, []).await?;
    let there = crowd.node(&crowd.member()?, &dir.join("there"), Vec::new(), here.listen_addresses()).await?;
    here.brain().remember(memory(0)).await?;
    until("the forks are settled", async || {
        let forks = here.status().await.warnings.iter().filter(|warning| warning.code == "fork").count();
        let ended = here.former_members().len() == revoked && there.former_members().len() == revoked;
        Ok(ended && (forked == 0 || forks > 0) && here.frontier().await? == there.frontier().await?)
    })
    .await?;
    Ok((here, there))
}

/// Measures the end of a membership of which nothing counts any more, while somebody reads.
pub(super) async fn taken_out(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let mut crowd = Crowd::new()?;
    let (mut entries, mut authors) = (crowd.hardship(0, 0)?, Vec::new());
    let mut honest = crowd.member()?;
    entries.push(crowd.introduction(&mut honest));
    let own: Vec<_> = (0..EDITS).map(|n| crowd.writes(&mut honest, create(&format!("honest {n}")))).collect();
    let records: Vec<_> = own.iter().map(|entry| first_dot(entry.id())).collect();
    entries.extend(own);
    for n in 0..TAKEN_OUT {
        let mut author = crowd.member()?;
        entries.push(crowd.introduction(&mut author));
        let writes = (0..MEMORIES).map(|m| create(&format!("{m} of {n}")));
        let edits = records.iter().map(|record| edit(*record, &format!("edited by {n}")));
        for write in writes.chain(edits) {
            entries.push(crowd.writes(&mut author, write));
        }
        authors.push(author);
    }
    let here = crowd.node(&crowd.member()?, &dir.path().join("here"), entries, []).await?;
    let there = crowd.node(&crowd.member()?, &dir.path().join("there"), Vec::new(), here.listen_addresses()).await?;
    let all = EDITS + MEMORIES * TAKEN_OUT as u64;
    until("all is held", async || Ok(held(&there).await? == all && held(&here).await? == all)).await?;
    let ids: Vec<MemoryId> = records.iter().map(|record| MemoryId::from(*record)).collect();

    let bar = printer.progress("taking out", Some(TAKEN_OUT as u64));
    let mut took = Took::default();
    for (round, author) in authors.iter().enumerate() {
        let left = all - MEMORIES * (round as u64 + 1);
        one(&crowd, author, (&here, &there), &ids, left, &mut took).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    here.shutdown().await;
    there.shutdown().await;
    let Took { mut here, mut there, mut reads, mut calm } = took;
    let (longest, calm_longest) = (quantile(&mut reads, 1.0), quantile(&mut calm, 1.0));
    Ok(vec![
        Row::new("members", "10,000 writes of an author not shown any more, p50", quantile(&mut here, 0.5), "s")
            .asked(Goal::LessThan(1.0)),
        Row::new("members", "the same, the longest of 5", quantile(&mut here, 1.0), "s").asked(Goal::LessThan(1.0)),
        Row::new("members", "the same on a peer, p50", quantile(&mut there, 0.5), "s"),
        Row::new("members", "a read meanwhile, p99", quantile(&mut reads, 0.99), "ms")
            .floor("ms before it", quantile(&mut calm, 0.99)),
        Row::new("members", "a read meanwhile, the longest", longest, "ms").floor("ms before it", calm_longest),
    ])
}

/// The seconds until nothing was shown any more, and the milliseconds of reads.
#[derive(Default)]
struct Took {
    here: Vec<f64>,
    there: Vec<f64>,
    reads: Vec<f64>,
    calm: Vec<f64>,
}

async fn one(
    crowd: &Crowd,
    author: &Author,
    (here, there): (&Node, &Node),
    ids: &[MemoryId],
    left: u64,
    took: &mut Took,
) -> Result<(), Problem> {
    // the round before left work behind: the index, and the news of the end
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (stop, stopped) = watch::channel(false);
    let reading = tokio::spawn(read(here.clone(), ids.to_vec(), stopped.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.send_replace(true);
    took.calm.extend(reading.await.map_err(|error| failed("a reader", error))??);

    stop.send_replace(false);
    let reading = tokio::spawn(read(here.clone(), ids.to_vec(), stopped));
    let word = crowd.void(author);
    let begin = Instant::now();
    let on_this = async {
        here.revoke_as_root(word).await?;
        until("taken out", async || Ok(held(here).await? == left)).await?;
        Ok::<_, Problem>(begin.elapsed().as_secs_f64())
    };
    let on_the_peer = async {
        until("taken out on the peer", async || Ok(held(there).await? == left)).await?;
        Ok(begin.elapsed().as_secs_f64())
    };
    let (on_this, on_the_peer) = tokio::try_join!(on_this, on_the_peer)?;
    took.here.push(on_this);
    took.there.push(on_the_peer);
    stop.send_replace(true);
    took.reads.extend(reading.await.map_err(|error| failed("a reader", error))??);
    Ok(())
}

/// The milliseconds of reads in turn, until somebody says stop: a memory by its id, and the newest ones.
async fn read(node: Node, ids: Vec<MemoryId>, stopped: watch::Receiver<bool>) -> Result<Vec<f64>, Problem> {
    let (brain, mut took, mut n) = (node.brain(), Vec::new(), 0);
    while !*stopped.borrow() {
        let begin = Instant::now();
        match ids.get(n * 7 % ids.len().max(1)).filter(|_| n.is_multiple_of(2)) {
            Some(id) => drop(brain.get(*id).await?),
            None => drop(brain.list(ListQuery::newest().limit(50)).await?),
        }
        took.push(begin.elapsed().as_secs_f64() * 1e3);
        n += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(took)
}
