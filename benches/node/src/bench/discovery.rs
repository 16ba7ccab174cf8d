use std::time::Duration;

use nexus_client::wire;
use nexus_mesh::MeshEvent;
use nexus_node::api::Problem;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::members::{Root, address, hello, unread, until};
use super::rows::{Row, quantile};
use super::stage::DEADLINE;
use nexus_node_cli::ground::Printer;
use nexus_node_cli::ground::{Node, Stage};

/// Starts and kills of one node. A kill is noticed after seconds.
const ROUNDS: u64 = 3;
/// Meetings by mDNS.
const MEETINGS: usize = 5;
/// The longest wait for mDNS. A network without multicast carries none.
const MDNS_WITHIN: Duration = Duration::from_secs(5);
/// The pause between two looks at a node's peers.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Measures the time from a node's start until the others show it as up, and from its hard end until they show it as
/// down. Besides, the time until two members meet by mDNS, where the network carries it.
pub(super) fn run(printer: &Printer, runtime: &Runtime) -> Result<Vec<Row>, Problem> {
    let stage = Stage::of(crate::program::nexus_node()?)?;
    let rows = processes(&stage, printer);
    stage.clear();
    let mut rows = rows?;
    rows.extend(runtime.block_on(mdns(printer))?);
    Ok(rows)
}

fn processes(stage: &Stage, printer: &Printer) -> Result<Vec<Row>, Problem> {
    let first = stage.start("first", 0, &[])?;
    let bootstrap: Vec<String> =
        first.listen.iter().flat_map(|address| ["--bootstrap".to_owned(), address.clone()]).collect();
    let mut others = vec![first];
    for name in ["second", "third"] {
        let invitation: wire::Invitation = others[0].client.post("/v1/invite", &json!({}))?;
        stage.command(name, &["join", &invitation.ticket, "--name", name])?;
        others.push(stage.start(name, 0, &bootstrap)?);
    }
    let Some(third) = others.pop() else { return Ok(Vec::new()) };
    shown(&others, &third, "up")?;
    let silence: Vec<wire::Setting> = others[0].client.get("/v1/config")?;
    let silence = silence.iter().find(|setting| setting.key == "down_after_ms");
    let silence = silence.and_then(|setting| setting.value.as_f64()).unwrap_or_default();

    let begin = Instant::now();
    shown(&others, &third, "up")?;
    let look = begin.elapsed().as_secs_f64() * 1e3;

    let (mut ready, mut up, mut suspect, mut down) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let bar = printer.progress("discovery", Some(ROUNDS));
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        stage.kill("third")?;
        suspect.push(not_shown(&others, &third, "up", begin)?);
        shown(&others, &third, "down")?;
        down.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        stage.start("third", 0, &bootstrap)?;
        ready.push(begin.elapsed().as_secs_f64() * 1e3);
        shown(&others, &third, "up")?;
        up.push(begin.elapsed().as_secs_f64() * 1e3);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(vec![
        Row::new("discovery", "started, shown as up by two others, median of 3", quantile(&mut up, 0.5), "ms")
            .floor("ms until it is ready itself", quantile(&mut ready, 0.5)),
        Row::new("discovery", "killed, not shown as up any more, median of 3", quantile(&mut suspect, 0.5), "ms")
            .floor("ms, one look at both", look),
        Row::new("discovery", "killed, shown as down by two others, median of 3", quantile(&mut down, 0.5), "ms")
            .floor("ms of silence until down (down_after_ms)", silence),
    ])
}

/// Waits until all of these show a node in this state.
fn shown(by: &[Node], node: &Node, state: &str) -> Result<(), Problem> {
    wait(by, node, |shown| shown == state)
}

/// The milliseconds since the beginning at which none of these shows a node in this state any more.
fn not_shown(by: &[Node], node: &Node, state: &str, begin: Instant) -> Result<f64, Problem> {
    wait(by, node, |shown| shown != state)?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

fn wait(by: &[Node], node: &Node, wanted: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let begin = Instant::now();
    for other in by {
        loop {
            let peers: Vec<wire::Peer> = other.client.get("/v1/peers")?;
            if peers.iter().any(|peer| peer.did == node.did && wanted(&peer.state)) {
                break;
            }
            if begin.elapsed() > DEADLINE {
                return Err(Problem::new("timed_out", format!("{} does not notice {}", other.name, node.name)));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

/// Two members that know no address of each other.
async fn mdns(printer: &Printer) -> Result<Vec<Row>, Problem> {
    const ANY: &str = "/ip4/0.0.0.0/tcp/0";
    let root = Root::new();
    let (listening, mut events) = root.member(Some(ANY), true)?;
    let there = address(&mut events).await?;
    unread(events);
    let (mut met, mut told) = (Vec::new(), Vec::new());
    for _ in 0..MEETINGS {
        told.push(hello(&root, &there).await?);
        let begin = Instant::now();
        let (mesh, mut events) = root.member(Some(ANY), true)?;
        let open = until(&mut events, |event| matches!(event, MeshEvent::PeerOpen { .. }).then_some(()));
        if tokio::time::timeout(MDNS_WITHIN, open).await.is_err() {
            printer.warning("mDNS finds nobody on this network: no figure for it", None);
            return Ok(Vec::new());
        }
        met.push(begin.elapsed().as_secs_f64() * 1e3);
        mesh.shutdown().await;
    }
    listening.shutdown().await;
    Ok(vec![
        Row::new("discovery", "started, met by mDNS, median of 5", quantile(&mut met, 0.5), "ms")
            .floor("ms, met by a known address", quantile(&mut told, 0.5)),
    ])
}
