use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use nexus_node::Node;
use nexus_node::api::{Api, Problem, Settings, wire};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::floor;
use super::rows::{Asked, Row, quantile};
use super::stage::{directory, held, memory, start};
use super::words::Words;
use crate::output::Printer;

/// Connections at once.
const CONNECTIONS: usize = 16;
/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(5);
/// Reads a second, evenly, whose times are looked at.
const STEADY: u32 = 2_000;
/// Memories of the import.
const IMPORTED: u64 = 40_000;
/// Requests made beforehand for each connection.
const MADE: u64 = 2_000;
const TOKEN: &str = "a token for this bench and nothing else";

fn failed(what: &str, error: impl std::fmt::Display) -> Problem {
    Problem::new("failed", format!("{what}: {error}"))
}

/// Nothing to configure.
struct Fixed;

impl Settings for Fixed {
    fn show(&self) -> Vec<wire::Setting> {
        Vec::new()
    }

    fn change(&self, _: &str, _: &Value) -> Result<(), Problem> {
        Ok(())
    }

    fn body_bytes_max(&self) -> usize {
        8 << 20
    }
}

/// A node behind its API, and a bare route that answers the same bytes: reads beside it, writes
/// and an import beside the bare store.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let node = start(dir.path(), "api").await?;
    let id = node.brain().remember(memory(0)).await?.id;
    let (address, ours) = serve_node(&node).await?;
    let path = format!("/v1/memories/{id}");
    let mut first = Connection::open(address).await.map_err(|error| failed("api", error))?;
    let document = first.ask(&request("GET", &path, address, b"")).await.map_err(|error| failed("api", error))?;
    let (bare_address, bare) = serve_bare(document).await?;

    let bar = printer.progress("api", None);
    // in turn, so that a slow moment of the machine meets both
    let (mut reads, mut floor_reads) = (0.0, 0.0);
    for _ in 0..2 {
        floor_reads += load(bare_address, |_| request("GET", "/", bare_address, b"")).await? / 2.0;
        reads += load(address, |_| request("GET", &path, address, b"")).await? / 2.0;
    }
    let floor_p99 = steady(bare_address, request("GET", "/", bare_address, b"")).await?;
    let p99 = steady(address, request("GET", &path, address, b"")).await?;
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
    Ok(vec![
        Row::new("api", "reads of a memory, 16 connections", reads, "/s")
            .asked(Asked::AtLeast(floor_reads / 2.0))
            .floor("/s, a bare route", floor_reads),
        Row::new("api", format!("a read at {STEADY}/s, p99"), p99, "ms")
            .asked(Asked::LessThan(10.0))
            .floor("ms, a bare route", floor_p99),
        Row::new("api", "memories posted, 16 connections", writes, "/s")
            .asked(Asked::AtLeast(3_000.0))
            .floor("rows/s, bare store, 16 a commit", rows),
        Row::new("api", "memories imported", imported, "/s")
            .asked(Asked::AtLeast(8_000.0))
            .floor("rows/s, bare store, 256 a commit", floor::store_rows(256)?),
    ])
}

type Server = tokio::task::JoinHandle<()>;

async fn listen() -> Result<(TcpListener, SocketAddr), Problem> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed("loopback", error))?;
    let address = listener.local_addr().map_err(|error| failed("loopback", error))?;
    Ok((listener, address))
}

async fn serve_node(node: &Node) -> Result<(SocketAddr, Server), Problem> {
    let (listener, address) = listen().await?;
    let api = Api::new(address, TOKEN, Arc::new(Fixed));
    api.attach(node.clone());
    let server = tokio::spawn(async move {
        let _ = api.serve(listener, std::future::pending()).await;
    });
    Ok((address, server))
}

async fn serve_bare(document: Vec<u8>) -> Result<(SocketAddr, Server), Problem> {
    let (listener, address) = listen().await?;
    let router = Router::new().route("/", get(move || async move { document }));
    let server = tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    Ok((address, server))
}

fn request(method: &str, path: &str, address: SocketAddr, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A client that does as little as possible: what it costs is taken from both sides.
struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::new(reader), writer })
    }

    /// The body of the answer, which must be a good one.
    async fn ask(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.writer.write_all(request).await?;
        let length = head(&mut self.reader).await?;
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).await?;
        Ok(body)
    }
}

/// Reads the head of a good answer; the length of its body.
async fn head(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<usize> {
    let (mut line, mut length, mut first) = (String::new(), 0, true);
    loop {
        line.clear();
        reader.read_line(&mut line).await?;
        if std::mem::take(&mut first) && !line.starts_with("HTTP/1.1 2") {
            return Err(io::Error::other(line.trim().to_owned()));
        }
        if line == "\r\n" {
            return Ok(length);
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap_or_default();
        }
    }
}

/// Requests a second, one after the other on each connection.
async fn load(address: SocketAddr, request: impl Fn(u64) -> Vec<u8>) -> Result<f64, Problem> {
    let mut clients = Vec::new();
    for client in 0..CONNECTIONS as u64 {
        let connection = Connection::open(address).await.map_err(|error| failed("api", error))?;
        // made beforehand: making them is no work of the server's
        let requests: Vec<Vec<u8>> = (0..MADE).map(|n| request(client * MADE + n)).collect();
        clients.push((connection, requests));
    }
    let begin = Instant::now();
    let clients = clients.into_iter().map(|(mut connection, requests)| {
        tokio::spawn(async move {
            let mut answered = 0_u64;
            for request in requests.iter().cycle() {
                if begin.elapsed() >= LOAD {
                    break;
                }
                connection.ask(request).await?;
                answered += 1;
            }
            Ok::<u64, io::Error>(answered)
        })
    });
    let mut answered = 0;
    for client in clients.collect::<Vec<_>>() {
        answered += client.await.map_err(|error| failed("api", error))?.map_err(|error| failed("api", error))?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(answered as f64 / begin.elapsed().as_secs_f64())
}

/// Milliseconds, 99th percentile, from when a request was due: who is late makes the next ones
/// late, too.
async fn steady(address: SocketAddr, request: Vec<u8>) -> Result<f64, Problem> {
    let gap = Duration::from_secs(1) / STEADY;
    let each = LOAD.as_micros() / gap.as_micros() / CONNECTIONS as u128;
    let begin = Instant::now() + Duration::from_millis(50);
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
    Ok(quantile(&mut samples, 0.99))
}

/// Memories a second through the bulk door, until the last is acknowledged.
async fn import(node: &Node, words: &Words, address: SocketAddr) -> Result<f64, Problem> {
    let before = held(node)?;
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
    if held(node)? != before + IMPORTED {
        return Err(failed("import", "not everything is there"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(IMPORTED as f64 / took.as_secs_f64())
}
