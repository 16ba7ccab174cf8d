//! A node behind its API, and a client with little work of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use nexus_client::wire;
use nexus_node::Node;
use nexus_node::api::{Api, ApiTokens, Door, Problem, Settings};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "a token for this bench and nothing else";

pub(super) fn failed(what: &str, error: impl std::fmt::Display) -> Problem {
    Problem::new("failed", format!("{what}: {error}"))
}

/// Settings without any configuration.
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

pub(super) type Server = tokio::task::JoinHandle<()>;

pub(super) async fn listen() -> Result<(TcpListener, SocketAddr), Problem> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed("loopback", error))?;
    let address = listener.local_addr().map_err(|error| failed("loopback", error))?;
    Ok((listener, address))
}

pub(super) async fn serve_node(node: &Node) -> Result<(SocketAddr, Server), Problem> {
    let (listener, address) = listen().await?;
    let api = Api::hosting(
        vec![nexus_node::mcp::guest()],
        Door::new(address),
        ApiTokens { all: TOKEN, metrics: None, issued: None },
        Arc::new(Fixed),
    );
    api.attach(node.clone());
    let server = tokio::spawn(async move {
        let _ = api.serve(listener, std::future::pending()).await;
    });
    Ok((address, server))
}

/// The proof that a request carries.
#[derive(Clone, Copy)]
pub(super) enum Proof<'a> {
    Token,
    /// The page's cookie, as `name=value`.
    Cookie(&'a str),
    /// A token that names an agent.
    Issued(&'a str),
}

impl Proof<'_> {
    pub(super) fn request(self, method: &str, path: &str, address: SocketAddr, body: &[u8]) -> Vec<u8> {
        let proof = match self {
            Self::Token => format!("Authorization: Bearer {TOKEN}"),
            Self::Cookie(cookie) => format!("Cookie: {cookie}"),
            Self::Issued(token) => format!("Authorization: Bearer {token}"),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{proof}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }
}

/// A request with the token.
pub(super) fn request(method: &str, path: &str, address: SocketAddr, body: &[u8]) -> Vec<u8> {
    Proof::Token.request(method, path, address, body)
}

/// Trades the token for the page's cookie.
pub(super) async fn sign_in(address: SocketAddr) -> io::Result<String> {
    let Connection { mut reader, mut writer } = Connection::open(address).await?;
    writer.write_all(&request("POST", "/v1/session", address, b"")).await?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line).await? == 0 {
            break;
        }
        if let Some(cookie) = line.strip_prefix("set-cookie: ").and_then(|cookie| cookie.split(';').next()) {
            return Ok(cookie.to_owned());
        }
    }
    Err(io::Error::other("no cookie"))
}

/// A client with little work of its own: it takes processor time from both sides.
pub(super) struct Connection {
    pub(super) reader: BufReader<OwnedReadHalf>,
    pub(super) writer: OwnedWriteHalf,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::new(reader), writer })
    }

    /// The body of the answer. An error status is an error.
    pub(super) async fn ask(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.writer.write_all(request).await?;
        let length = head(&mut self.reader).await?;
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).await?;
        Ok(body)
    }
}

/// Reads the head of a good answer. Returns the length of its body.
pub(super) async fn head(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<usize> {
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
