//! A nexus node over its HTTP API, found by its data directory.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::Failure;

/// The longest time for three nodes to agree on the voters.
const SETTLED_MAX: Duration = Duration::from_secs(30);

/// One connection to a node.
pub struct Client {
    send: SendRequest<Full<Bytes>>,
    host: String,
    bearer: String,
}

impl Client {
    pub async fn open(directory: &str) -> Result<Self, Failure> {
        let read = |name: &str| std::fs::read_to_string(Path::new(directory).join(name));
        let (url, token) = (read("api-url")?, read("api-token")?);
        let host = url.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { send, host, bearer: format!("Bearer {}", token.trim()) })
    }

    pub async fn put(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let body = json!({ "value": value }).to_string();
        self.call("PUT", &format!("/v1/kv/{key}"), body).await.map(drop)
    }

    pub async fn submit(&mut self, capability: &str, input: Value) -> Result<(), Failure> {
        let body = json!({ "capability": capability, "input": input }).to_string();
        self.call("POST", "/v1/tasks", body).await.map(drop)
    }

    /// The next task for a worker; `None` if none came in time.
    pub async fn claim(&mut self, capability: &str, wait: &str) -> Result<Option<Value>, Failure> {
        let body = json!({ "capabilities": [capability], "wait": wait }).to_string();
        let answer = self.call("POST", "/v1/tasks/claim", body).await?;
        if answer.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&answer)?)) }
    }

    pub async fn finish(&mut self, task: &str, token: &Value) -> Result<(), Failure> {
        let body = json!({ "token": token, "output": null }).to_string();
        self.call("POST", &format!("/v1/tasks/{task}/finish"), body).await.map(drop)
    }

    pub async fn coordinator(&mut self) -> Result<Value, Failure> {
        let body = self.call("GET", "/v1/coordinator", String::new()).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    async fn call(&mut self, method: &str, path: &str, body: String) -> Result<Bytes, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("authorization", &self.bearer)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        self.send.ready().await?;
        let answer = self.send.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(format!("nexus refused: {status} {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(body)
    }
}

/// The leading node, by its place in the list, if one leads.
pub async fn try_leader(directories: &[String]) -> Option<usize> {
    for (n, directory) in directories.iter().enumerate() {
        let seen = async { Client::open(directory).await?.coordinator().await };
        if seen.await.is_ok_and(|seen: Value| seen["role"] == "leader" && seen["mode"] != "read_only") {
            return Some(n);
        }
    }
    None
}

pub async fn leader(directories: &[String]) -> Result<usize, Failure> {
    try_leader(directories).await.ok_or_else(|| "no nexus node leads".into())
}

/// Waits until every node sees three voters, all of them up.
pub async fn settled(directories: &[String]) -> Result<(), Failure> {
    let begin = Instant::now();
    loop {
        let mut agree = 0;
        for directory in directories {
            let seen = async { Client::open(directory).await?.coordinator().await };
            let full =
                |seen: Value| seen["mode"] == "full" && seen["voters"].as_array().is_some_and(|all| all.len() == 3);
            agree += usize::from(seen.await.is_ok_and(full));
        }
        if agree == directories.len() {
            return Ok(());
        }
        if begin.elapsed() > SETTLED_MAX {
            return Err("the nodes did not agree on three voters".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
