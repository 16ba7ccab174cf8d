use std::time::Duration;

use futures::future::try_join_all;
use nexus_identity::Did;
use nexus_node::Node;
use nexus_node::api::Problem;
use nexus_node::net::PeerState;
use tempfile::TempDir;
use tokio::time::Instant;

use super::rows::{Goal, Row, quantile};
use super::stage::{directory, held, join, memory, start, until};
use nexus_node_cli::ground::Printer;

/// The nodes of the mesh, with the one whose membership ends.
const NODES: usize = 10;
/// Members that are revoked, one after the other.
const REVOKED: usize = 12;

/// Measures the time from a revocation until each other node is rid of the member, and until the member itself knows.
/// Beside it stands the time until each other node shows a memory.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let mut nodes = vec![start(dir.path(), "founder").await?];
    for n in 1..NODES - 1 {
        nodes.push(join(&nodes[0], dir.path(), &format!("node-{n}")).await?);
    }
    let bar = printer.progress("shutting out", Some(REVOKED as u64));
    let mut took = Took::default();
    for round in 0..REVOKED {
        one(&nodes, &dir, round, &mut took).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    for node in nodes {
        node.shutdown().await;
    }
    let Took { mut others, mut itself, mut memories } = took;
    let floor = quantile(&mut memories, 0.99);
    Ok(vec![
        Row::new("members", "a revoked member is shut out by each of ten nodes, p50", quantile(&mut others, 0.5), "s")
            .floor("s until a memory is shown, p50", quantile(&mut memories, 0.5)),
        Row::new("members", "the same, p99", quantile(&mut others, 0.99), "s")
            .asked(Goal::LessThan(5.0))
            .floor("s until a memory is shown, p99", floor),
        Row::new("members", "the revoked member knows, the longest of 12", quantile(&mut itself, 1.0), "s"),
    ])
}

/// Seconds until something was so on a node.
#[derive(Default)]
struct Took {
    /// The member is no member there, and its connection is closed.
    others: Vec<f64>,
    /// The revoked member knows that it is none.
    itself: Vec<f64>,
    /// A memory is shown there.
    memories: Vec<f64>,
}

async fn one(nodes: &[Node], dir: &TempDir, round: usize, took: &mut Took) -> Result<(), Problem> {
    let founder = &nodes[0];
    let member = join(founder, dir.path(), &format!("member-{round}")).await?;
    let did = member.did();
    let all_up = async || {
        for node in nodes {
            if !is_up(node, did).await {
                return Ok(false);
            }
        }
        Ok(true)
    };
    until("all are connected", all_up).await?;

    let begin = Instant::now();
    founder.brain().remember(memory(round as u64)).await?;
    let shown = nodes[1..].iter().map(async |node| {
        until("a memory is shown", async || Ok(held(node).await? > round as u64)).await?;
        Ok::<_, Problem>(begin.elapsed().as_secs_f64())
    });
    took.memories.extend(try_join_all(shown).await?);

    let begin = Instant::now();
    let revoke = async {
        founder.revoke(did, None).await?;
        Ok::<_, Problem>(())
    };
    let rid = nodes.iter().map(async |node| {
        until("a member is shut out", async || Ok(is_former(node, did) && !is_up(node, did).await)).await?;
        Ok::<_, Problem>(begin.elapsed().as_secs_f64())
    });
    let knows = async {
        until("the revoked member knows", async || Ok(!member.status().await.member)).await?;
        Ok::<_, Problem>(begin.elapsed().as_secs_f64())
    };
    let ((), rid, knows) = futures::try_join!(revoke, try_join_all(rid), knows)?;
    took.others.extend(rid);
    took.itself.push(knows);
    member.shutdown().await;
    // the news of the end has gone round before the next member comes
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

async fn is_up(node: &Node, member: Did) -> bool {
    node.peers().await.iter().any(|peer| peer.did == member && peer.state == PeerState::Up)
}

fn is_former(node: &Node, member: Did) -> bool {
    node.former_members().iter().any(|(former, _)| former.did == member)
}
