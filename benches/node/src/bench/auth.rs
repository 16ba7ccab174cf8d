use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nexus_identity::{Chain, Did, Name};
use nexus_node::api::Problem;
use nexus_node::api::issued::TOKENS_MAX;
use nexus_node::node::JoinOptions;
use nexus_node::{Invite, Node, node};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Load, load};
use super::bare::serve_bare;
use super::client::{Connection, Proof, failed, request, serve_node, sign_in};
use super::floor;
use super::members::{Bare, Root, address, hello, unread};
use super::rows::{Goal, Row, quantile};
use super::stage::{DEADLINE, directory, start};
use nexus_node_cli::ground::Printer;

/// Meetings of two members.
const HELLOS: usize = 200;
/// Newcomers.
const JOINS: usize = 30;
/// Requests of each kind.
const REQUESTS: usize = 5_000;
/// A route whose answer costs nothing, and which each proof opens: nothing is fetched here.
const ROUTE: &str = "/v1/transfers";
/// The time for which checks on one core are counted.
const COUNTED: Duration = Duration::from_millis(500);

/// Measures the ways to prove oneself: the hello of two members, a ticket, the API's token, the page's cookie and a token
/// that names an agent.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let bar = printer.progress("auth", Some((HELLOS + JOINS + REQUESTS) as u64));
    let root = Root::new();
    let (listening, mut events) = root.member(Some("/ip4/127.0.0.1/tcp/0"), false)?;
    let there = address(&mut events).await?;
    unread(events);
    let bare = Bare::listen().await?;
    // in turn, so that a slow moment of the machine affects both
    let (mut hellos, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..HELLOS {
        connections.push(bare.connect().await?);
        hellos.push(hello(&root, &there).await?);
        bar.inc(1);
    }
    listening.shutdown().await;

    let dir = directory()?;
    let inviter = start(dir.path(), "inviter").await?;
    let mut joins = Vec::new();
    for n in 0..JOINS {
        joins.push(join(&inviter, &dir.path().join(format!("joiner-{n}"))).await?);
        bar.inc(1);
    }
    let (syncs, _) = floor::two_syncs_and_a_round_trip()?;

    let (address, ours) = serve_node(&inviter).await?;
    let Requests { mut bare, mut token, mut cookie } = requests(address, &bar).await?;
    let (mut issued, mut owner) = issued(address).await?;
    ours.abort();
    bar.finish_and_clear();
    inviter.shutdown().await;

    const CONNECTION: &str = "ms, a bare connection: TCP, Noise, Yamux";
    const ROUND_TRIP: &str = "µs, a bare route without a check";
    let bare_p50 = quantile(&mut bare, 0.5);
    Ok(vec![
        Row::new("auth", "hello of two members, p50", quantile(&mut hellos, 0.5), "ms")
            .floor(CONNECTION, quantile(&mut connections, 0.5)),
        Row::new("auth", "hello of two members, p95", quantile(&mut hellos, 0.95), "ms")
            .floor(CONNECTION, quantile(&mut connections, 0.95)),
        Row::new("auth", "credentials of two links checked", chains(&root)?, "/s, one core")
            .floor("signatures checked/s, one core", floor::verifications()),
        Row::new("auth", "join with a ticket, p50", quantile(&mut joins, 0.5), "ms")
            .floor("ms, two fdatasync and a round trip", syncs),
        Row::new("auth", "a request with the token, p50", quantile(&mut token, 0.5), "µs").floor(ROUND_TRIP, bare_p50),
        Row::new("auth", "a request with the page's cookie, p50", quantile(&mut cookie, 0.5), "µs")
            .floor(ROUND_TRIP, bare_p50),
        Row::new("auth", "requests with one of 256 issued tokens, 16 connections", issued.rate(), "/s")
            .asked(Goal::AtLeast(1_000.0))
            .floor("/s, with the api-token", owner.rate()),
        Row::new("auth", "the same, p95", quantile(&mut issued.samples, 0.95), "ms")
            .asked(Goal::LessThan(20.0))
            .floor("ms, with the api-token", quantile(&mut owner.samples, 0.95)),
    ])
}

/// Requests with the last of all tokens that a node keeps, and with the `api-token`.
async fn issued(address: SocketAddr) -> Result<(Load, Load), Problem> {
    let mut connection = Connection::open(address).await.map_err(|error| failed("auth", error))?;
    let mut token = String::new();
    for n in 0..TOKENS_MAX {
        let new = json!({ "name": format!("agent {n}"), "scopes": ["blobs:read"] }).to_string();
        let asked = connection.ask(&request("POST", "/v1/tokens", address, new.as_bytes())).await;
        let made: Value = serde_json::from_slice(&asked.map_err(|error| failed("auth", error))?)
            .map_err(|error| failed("auth", error))?;
        token = made["token"].as_str().unwrap_or_default().to_owned();
    }
    let (mut issued, mut owner) = (Load::default(), Load::default());
    // in turn, so that a slow moment of the machine affects both
    for _ in 0..2 {
        owner.add(load(address, |_| request("GET", ROUTE, address, b"")).await?);
        issued.add(load(address, |_| Proof::Issued(&token).request("GET", ROUTE, address, b"")).await?);
    }
    Ok((issued, owner))
}

/// The milliseconds of a newcomer from its ticket to a data directory with credentials.
async fn join(inviter: &Node, dir: &Path) -> Result<f64, Problem> {
    let ticket = inviter.invite(Invite::default()).await?.ticket;
    // two members with the host's name would be one too many
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: Name = name.parse().map_err(|error| failed("auth", error))?;
    let begin = Instant::now();
    node::join(dir, &ticket, JoinOptions::default().name(name).timeout(DEADLINE)).await?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

/// The microseconds of each request, by its proof.
#[derive(Default)]
struct Requests {
    bare: Vec<f64>,
    token: Vec<f64>,
    cookie: Vec<f64>,
}

async fn requests(address: SocketAddr, bar: &nexus_node_cli::ground::ProgressBar) -> Result<Requests, Problem> {
    let io = |error: std::io::Error| failed("auth", error);
    let cookie = sign_in(address).await.map_err(io)?;
    let with_token = request("GET", ROUTE, address, b"");
    let with_cookie = Proof::Cookie(&cookie).request("GET", ROUTE, address, b"");
    let mut ours = Connection::open(address).await.map_err(io)?;
    let document = ours.ask(&with_token).await.map_err(io)?;
    let (bare_address, bare_server) = serve_bare(document).await?;
    let without = request("GET", "/", bare_address, b"");
    let mut bare = Connection::open(bare_address).await.map_err(io)?;
    let mut took = Requests::default();
    for _ in 0..REQUESTS {
        took.bare.push(microseconds(&mut bare, &without).await.map_err(io)?);
        took.token.push(microseconds(&mut ours, &with_token).await.map_err(io)?);
        took.cookie.push(microseconds(&mut ours, &with_cookie).await.map_err(io)?);
        bar.inc(1);
    }
    bare_server.abort();
    Ok(took)
}

async fn microseconds(connection: &mut Connection, request: &[u8]) -> std::io::Result<f64> {
    let begin = Instant::now();
    connection.ask(request).await?;
    Ok(begin.elapsed().as_secs_f64() * 1e6)
}

/// Chains of two links checked a second, on one core.
fn chains(root: &Root) -> Result<f64, Problem> {
    let chain: Chain = root.chain(Did::from_bytes([1; 32]))?;
    let (mesh, begin, mut checked) = (root.did(), Instant::now(), 0.0);
    while begin.elapsed() < COUNTED {
        for _ in 0..100 {
            std::hint::black_box(std::hint::black_box(&chain).verify(&mesh)).ok();
        }
        checked += 100.0;
    }
    Ok(checked / begin.elapsed().as_secs_f64())
}
