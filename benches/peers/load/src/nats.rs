//! A work queue of JetStream, by NATS's own protocol of lines: one connection for each caller and each worker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Failure;
use crate::args::Args;
use crate::stats::Samples;

/// The size of a task's input.
pub const PAYLOAD_BYTES: usize = 256;
/// The wait of a worker for a task, in nanoseconds.
const PULL_NS: u64 = 1_000_000_000;

/// A connection that asks one question at a time.
struct Nats {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    inbox: String,
}

/// A message: the subject for its answer, its payload, and whether it is a status alone.
struct Message {
    reply: String,
    payload: Vec<u8>,
    is_status: bool,
}

impl Nats {
    async fn connect(address: &str, name: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        read.read_line(&mut String::new()).await?;
        let inbox = format!("_INBOX.{name}");
        let hello = json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true, "lang": "rust",
            "version": "0", "protocol": 1});
        write.write_all(format!("CONNECT {hello}\r\nSUB {inbox} 1\r\n").as_bytes()).await?;
        Ok(Self { read, write, inbox })
    }

    /// Asks, and waits for the answer.
    async fn ask(&mut self, subject: &str, payload: &[u8]) -> Result<Message, Failure> {
        let mut bytes = format!("PUB {subject} {} {}\r\n", self.inbox, payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.write.write_all(&bytes).await?;
        loop {
            let mut line = String::new();
            if self.read.read_line(&mut line).await? == 0 {
                return Err("the server hung up".into());
            }
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                ["PING"] => self.write.write_all(b"PONG\r\n").await?,
                ["MSG", _, _, rest @ ..] => {
                    let (reply, size) = split(rest)?;
                    return Ok(Message { reply, payload: self.body(size).await?, is_status: false });
                }
                ["HMSG", _, _, rest @ ..] => {
                    let (rest, size) = rest.split_at(rest.len() - 1);
                    let (reply, head) = split(rest)?;
                    let body = self.body(size[0].parse()?).await?;
                    let is_status = body.starts_with(b"NATS/1.0 ") && body.len() == head;
                    return Ok(Message { reply, payload: body[head..].to_vec(), is_status });
                }
                ["-ERR", ..] => return Err(line.into()),
                _ => {}
            }
        }
    }

    async fn body(&mut self, size: usize) -> Result<Vec<u8>, Failure> {
        let mut body = vec![0; size + 2];
        self.read.read_exact(&mut body).await?;
        body.truncate(size);
        Ok(body)
    }

    /// Asks the server to set something up.
    async fn set(&mut self, subject: &str, body: serde_json::Value) -> Result<(), Failure> {
        let answer = self.ask(subject, body.to_string().as_bytes()).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
        if let Some(error) = answer.get("error") {
            return Err(format!("{subject}: {error}").into());
        }
        Ok(())
    }
}

/// The rest of a message's line: the subject for its answer, if there is one, and a size.
fn split(rest: &[&str]) -> Result<(String, usize), Failure> {
    match rest {
        [size] => Ok((String::new(), size.parse()?)),
        [reply, size] => Ok(((*reply).to_owned(), size.parse()?)),
        _ => Err("a message without a size".into()),
    }
}

/// Those who wait for the end of a task, by its number.
pub type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

pub fn locked(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Callers put tasks into a queue and wait for their ends, and workers that do nothing end them. Prints tasks a second and
/// times as JSON.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let (address, clients, seconds) =
        (args.text("nats")?.to_owned(), args.number("clients", 64_u64)?, args.number("seconds", 5_u64)?);
    let mut admin = Nats::connect(&address, "admin").await?;
    let stream = json!({"name": "WORK", "subjects": ["work"], "retention": "workqueue", "storage": "file",
        "num_replicas": 1, "discard": "old", "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_consumers": -1});
    admin.set("$JS.API.STREAM.CREATE.WORK", stream).await?;
    let consumer = json!({"stream_name": "WORK", "config": {"durable_name": "w", "ack_policy": "explicit",
        "deliver_policy": "all", "max_ack_pending": 10_000}});
    admin.set("$JS.API.CONSUMER.DURABLE.CREATE.WORK.w", consumer).await?;
    let (waiting, next) = (Waiting::default(), Arc::new(AtomicU64::new(0)));
    let until = Instant::now() + Duration::from_secs(seconds);
    let workers: Vec<_> = (0..clients)
        .map(|n| {
            let (address, waiting) = (address.clone(), waiting.clone());
            tokio::spawn(async move {
                let mut nats = Nats::connect(&address, &format!("w{n}")).await?;
                let pull = json!({"batch": 1, "expires": PULL_NS}).to_string();
                while Instant::now() < until + Duration::from_secs(1) {
                    let task = nats.ask("$JS.API.CONSUMER.MSG.NEXT.WORK.w", pull.as_bytes()).await?;
                    if task.is_status || task.reply.is_empty() {
                        continue;
                    }
                    // the server answers once it has noted it
                    nats.ask(&task.reply, b"+ACK").await?;
                    let number = task.payload.get(..8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
                    if let Some(caller) = number.and_then(|number| locked(&waiting).remove(&number)) {
                        let _ = caller.send(());
                    }
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    let begun = Instant::now();
    let callers: Vec<_> = (0..clients)
        .map(|n| {
            let (address, waiting, next) = (address.clone(), waiting.clone(), next.clone());
            tokio::spawn(async move {
                let mut nats = Nats::connect(&address, &format!("c{n}")).await?;
                let mut times = Samples::default();
                while Instant::now() < until {
                    let (number, begun) = (next.fetch_add(1, Ordering::Relaxed), Instant::now());
                    let (tell, told) = oneshot::channel();
                    locked(&waiting).insert(number, tell);
                    let mut payload = number.to_le_bytes().to_vec();
                    payload.resize(PAYLOAD_BYTES, b'x');
                    nats.ask("work", &payload).await?;
                    told.await?;
                    times.add(begun.elapsed().as_secs_f64() * 1e3);
                }
                Ok::<_, Failure>(times)
            })
        })
        .collect();
    told(callers, workers, begun).await
}

/// Waits for all, and prints tasks a second and times as JSON.
pub async fn told(
    callers: Vec<JoinHandle<Result<Samples, Failure>>>,
    workers: Vec<JoinHandle<Result<(), Failure>>>,
    begun: Instant,
) -> Result<(), Failure> {
    let mut times = Samples::default();
    for caller in callers {
        times.extend(caller.await??);
    }
    let took = begun.elapsed().as_secs_f64();
    for worker in workers {
        worker.await??;
    }
    let (done, p50, p95) = (times.len() as f64 / took, times.quantile(0.5), times.quantile(0.95));
    println!("{}", json!({"tasks_per_second": done, "p50_ms": p50, "p95_ms": p95}));
    Ok(())
}
