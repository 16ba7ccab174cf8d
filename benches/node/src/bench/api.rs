use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nexus_node::Node;
use nexus_node::api::Problem;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::bare::serve_bare;
use super::client::{Connection, failed, head, request, serve_node};
use super::floor;
use super::processor::Work;
use super::rows::{Goal, Row, quantile};
use super::stage::{directory, held, memory, start};
use super::words::Words;
use nexus_node_cli::ground::Printer;

/// Connections at once.
const CONNECTIONS: usize = 16;
/// The duration of each load.
const LOAD: Duration = Duration::from_secs(5);
/// The rate of the steady load, in reads a second.
const STEADY: u32 = 2_000;
/// The number of different memories that are read.
const READ: u64 = 1_000;
/// Memories of the import.
const IMPORTED: u64 = 40_000;
/// Requests prepared for each connection.
const MADE: u64 = 2_000;
/// Measures a node behind its API beside a bare route with the same answers, and writes and an import
/// beside the bare store.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let node = start(dir.path(), "api").await?;
    let written = node.brain().remember_all((0..READ).map(memory).collect()).await?;
    let paths: Vec<String> = written.into_iter().map(|written| format!("/v1/memories/{}", written.id)).collect();
    let (address, ours) = serve_node(&node).await?;
    let read = |n: u64| {
        let path = paths.get(n as usize % paths.len()).map_or("", String::as_str);
        request("GET", path, address, b"")
    };
    let mut first = Connection::open(address).await.map_err(|error| failed("api", error))?;
    let document = first.ask(&read(0)).await.map_err(|error| failed("api", error))?;
    let (bare_address, bare) = serve_bare(document).await?;

    let bar = printer.progress("api", None);
    // in turn, so that a slow moment of the machine affects both
    let (mut reads, mut floor_reads) = (Load::default(), Load::default());
    for _ in 0..2 {
        floor_reads.add(load(bare_address, |_| request("GET", "/", bare_address, b"")).await?);
        reads.add(load(address, read).await?);
    }
    let (floor_p99, floor_cores) = steady(bare_address, request("GET", "/", bare_address, b"")).await?;
    let (p99, cores) = steady(address, read(0)).await?;
    let words = Words::new();
    let writes = load(address, |n| {
        let document = json!({ "text": words.text(n) });
        request("POST", "/v1/memories", address, document.to_string().as_bytes())
    })
    .await?;
    let imported = import(&node, &words, address).await?;
    bar.finish_and_clear();
    bare.abort();
    ours.abort();
    node.shutdown().await;
    let rows = floor::store_rows(CONNECTIONS)?;
    let (rate, floor_rate) = (reads.rate(), floor_reads.rate());
    let mut figures = vec![
        Row::new("api", "reads of a memory, 16 connections", rate, "/s")
            .asked(Goal::AtLeast(floor_rate / 2.0))
            .floor("/s, a bare route", floor_rate),
        Row::new("api", "the same, p99", quantile(&mut reads.samples, 0.99), "ms")
            .floor("ms, a bare route", quantile(&mut floor_reads.samples, 0.99)),
        Row::new("api", format!("a read at {STEADY}/s, p99"), p99, "ms")
            .asked(Goal::LessThan(10.0))
            .floor("ms, a bare route", floor_p99),
    ];
    if let Some((cores, floor_cores)) = cores.zip(floor_cores) {
        let figure = format!("reads at {STEADY}/s with their client");
        figures.push(Row::new("api", figure, cores, "cores").floor("cores, a bare route and its client", floor_cores));
    }
    figures.extend([
        Row::new("api", "memories posted, 16 connections", writes.rate(), "/s")
            .asked(Goal::AtLeast(3_000.0))
            .floor("rows/s, bare store, 16 a commit", rows),
        Row::new("api", "memories imported", imported, "/s")
            .asked(Goal::AtLeast(8_000.0))
            .floor("rows/s, bare store, 256 a commit", floor::store_rows(256)?),
    ]);
    Ok(figures)
}

/// The answers to a load.
#[derive(Default)]
pub(super) struct Load {
    /// The milliseconds of each request.
    pub(super) samples: Vec<f64>,
    seconds: f64,
}

impl Load {
    pub(super) fn add(&mut self, more: Self) {
        self.samples.extend(more.samples);
        self.seconds += more.seconds;
    }

    /// Answers a second.
    pub(super) fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let answered = self.samples.len() as f64;
        answered / self.seconds
    }
}

/// Requests one after another on each connection.
pub(super) async fn load(address: SocketAddr, request: impl Fn(u64) -> Vec<u8>) -> Result<Load, Problem> {
    let mut clients = Vec::new();
    for client in 0..CONNECTIONS as u64 {
        let connection = Connection::open(address).await.map_err(|error| failed("api", error))?;
        // prepared before the load: making them is not the server's work
        let requests: Vec<Vec<u8>> = (0..MADE).map(|n| request(client * MADE + n)).collect();
        clients.push((connection, requests));
    }
    let begin = Instant::now();
    let clients = clients.into_iter().map(|(mut connection, requests)| {
        tokio::spawn(async move {
            let (mut samples, mut sent) = (Vec::new(), begin);
            for request in requests.iter().cycle() {
                if begin.elapsed() >= LOAD {
                    break;
                }
                connection.ask(request).await?;
                let answered = Instant::now();
                samples.push((answered - sent).as_secs_f64() * 1e3);
                sent = answered;
            }
            Ok::<_, io::Error>(samples)
        })
    });
    let mut load = Load::default();
    for client in clients.collect::<Vec<_>>() {
        let samples = client.await.map_err(|error| failed("api", error))?.map_err(|error| failed("api", error))?;
        load.samples.extend(samples);
    }
    load.seconds = begin.elapsed().as_secs_f64();
    Ok(load)
}

/// Milliseconds, 99th percentile, from the time at which a request was due. So a late answer makes the
/// next ones late, too. Besides, the cores that were busy.
async fn steady(address: SocketAddr, request: Vec<u8>) -> Result<(f64, Option<f64>), Problem> {
    let gap = Duration::from_secs(1) / STEADY;
    let each = LOAD.as_micros() / gap.as_micros() / CONNECTIONS as u128;
    let (begin, work) = (Instant::now() + Duration::from_millis(50), Work::begin());
    let mut clients = Vec::new();
    for client in 0..CONNECTIONS as u32 {
        let mut connection = Connection::open(address).await.map_err(|error| failed("api", error))?;
        let request = request.clone();
        clients.push(tokio::spawn(async move {
            let mut samples = Vec::new();
            for n in 0..each as u32 {
                let due = begin + gap * (n * CONNECTIONS as u32 + client);
                tokio::time::sleep_until(due).await;
                connection.ask(&request).await?;
                samples.push(due.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, io::Error>(samples)
        }));
    }
    let mut samples = Vec::new();
    for client in clients {
        samples.extend(client.await.map_err(|error| failed("api", error))?.map_err(|error| failed("api", error))?);
    }
    let cores = work.cores();
    Ok((quantile(&mut samples, 0.99), cores))
}

/// Memories a second through the import, until the last acknowledgement.
async fn import(node: &Node, words: &Words, address: SocketAddr) -> Result<f64, Problem> {
    let before = held(node).await?;
    let mut lines = Vec::new();
    for n in 0..IMPORTED {
        lines.extend_from_slice(format!("{}\n", json!({ "text": words.text(1_000_000 + n) })).as_bytes());
    }
    let request = request("POST", "/v1/import", address, &lines);
    let Connection { mut reader, mut writer } =
        Connection::open(address).await.map_err(|error| failed("api", error))?;
    let begin = Instant::now();
    let sending = tokio::spawn(async move { writer.write_all(&request).await.map(|()| writer) });
    head(&mut reader).await.map_err(|error| failed("import", error))?;
    let (mut line, mut acknowledged) = (String::new(), 0_u64);
    while acknowledged < IMPORTED {
        line.clear();
        if reader.read_line(&mut line).await.map_err(|error| failed("import", error))? == 0 {
            return Err(failed("import", "it broke off"));
        }
        acknowledged += u64::from(line.starts_with('{'));
    }
    let took = begin.elapsed();
    let _ = sending.await;
    if held(node).await? != before + IMPORTED {
        return Err(failed("import", "not everything is there"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(IMPORTED as f64 / took.as_secs_f64())
}
