//! One request to the node, over a connection of its own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use nexus_client::proof::{Challenge, Unproven};
use nexus_node::api::Problem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::ApiAddress;
use crate::names::Names;
use crate::pinned::{Pin, any_name, unpinned};
use crate::problems::no_node;
use crate::proof::unproven;

/// The longest time until the node has proven itself.
const PROOF_TIMEOUT: Duration = Duration::from_secs(60);

/// A request.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// The answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) session: Option<String>,
    pub(super) streams: bool,
    body: Incoming,
}

/// The reason for a missing answer.
pub(super) enum Failure {
    /// The node has not seen the request.
    Unsent(Problem),
    /// The node may have done the request.
    Broken(Problem),
}

impl Failure {
    pub(super) fn problem(self) -> Problem {
        match self {
            Self::Unsent(problem) | Self::Broken(problem) => problem,
        }
    }
}

/// The way to a node.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) base: &'a str,
    pub(super) token: &'a str,
    /// The node of an address of TLS.
    pub(super) pin: Option<&'a Pin>,
    /// The directory whose node it is to be.
    pub(super) directory: Option<&'a Path>,
}

/// Sends a request, after the node has proven itself.
pub(super) async fn send(way: &Way<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let Way { base, token, .. } = *way;
    let gone = |error: &dyn std::fmt::Display| no_node(&format!("no node is running ({base}: {error})"));
    let address = ApiAddress::parse(base).ok_or_else(|| Failure::Unsent(gone(&"it is no address")))?;
    let (scheme, authority) = base.trim_end_matches('/').split_once("://").unwrap_or_default();
    let tls = address.is_tls().then_some(way.pin).flatten();
    if tls.is_none() && scheme != "http" {
        return Err(Failure::Unsent(gone(&"it is not known whose address that is")));
    }
    let stream = dial(&address).await.map_err(|error| Failure::Unsent(gone(&error)))?;
    let dialled = stream.peer_addr().map_err(|error| Failure::Unsent(gone(&error)))?;
    // Messages are small, and a client waits for each.
    let _ = stream.set_nodelay(true);
    let late = |_| Failure::Unsent(gone(&"no answer in time"));
    let mut sender = match tls {
        Some(pin) => {
            let connector = TlsConnector::from(pin.config().clone());
            let handshake = tokio::time::timeout(PROOF_TIMEOUT, connector.connect(any_name(), stream)).await;
            let stream = handshake.map_err(late)?;
            over(stream.map_err(|error| Failure::Unsent(unpinned(base, &pin.did(), &error)))?).await
        }
        None => over(stream).await,
    }
    .map_err(|error| Failure::Unsent(gone(&error)))?;
    if tls.is_none() {
        match tokio::time::timeout(PROOF_TIMEOUT, prove(&mut sender, token, dialled)).await.map_err(late)? {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Err(Failure::Unsent(unproven(base, way.directory, reason))),
            Err(error) => return Err(Failure::Unsent(gone(&error))),
        }
    }
    let mut head = hyper::Request::builder()
        .method(request.method)
        .uri(request.path)
        .header(header::HOST, authority)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    for (name, value) in &request.headers {
        head = head.header(*name, value);
    }
    let invalid = |error| Failure::Unsent(Problem::new("invalid", format!("{}: {error}", request.path)));
    let sent = head.body(Full::new(Bytes::from(request.body.clone()))).map_err(invalid)?;
    let response = sender.send_request(sent).await.map_err(|error| Failure::Broken(gone(&error)))?;
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let kind = text("content-type").unwrap_or_default();
    Ok(Answer {
        status: response.status().as_u16(),
        session: text("mcp-session-id"),
        streams: kind.starts_with("text/event-stream"),
        body: response.into_body(),
    })
}

/// A connection to an address. tokio would look its name up with the C library, which a complete program must not.
async fn dial(address: &ApiAddress) -> io::Result<TcpStream> {
    let (host, port) = address.place();
    let host = host.to_owned();
    let found = tokio::task::spawn_blocking(move || Names::default().of(&host, port)).await??;
    TcpStream::connect(&found[..]).await
}

/// HTTP over a connection.
async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<http1::SendRequest<Full<Bytes>>, hyper::Error> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Asks for the proof that the connection leads to the token's node.
async fn prove(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    token: &str,
    dialled: SocketAddr,
) -> Result<Result<(), Unproven>, hyper::Error> {
    let challenge = Challenge::new(token);
    let question = hyper::Request::get(challenge.path()).header(header::HOST, Challenge::host(dialled));
    // A path of plain characters and an address make a request.
    let Ok(question) = question.body(Full::default()) else { return Ok(Err(Unproven::Foreign)) };
    let answer = sender.send_request(question).await?;
    let status = answer.status().as_u16();
    let Ok(body) = Limited::new(answer.into_body(), Challenge::answer_bytes_max()).collect().await else {
        return Ok(Err(Unproven::Foreign));
    };
    sender.ready().await?;
    Ok(challenge.check(dialled, status, &body.to_bytes()))
}

impl Answer {
    /// The whole body.
    pub(super) async fn bytes(self) -> Result<Bytes, Failure> {
        let whole = self.body.collect().await;
        let broken =
            |error| Failure::Broken(no_node(&format!("the node went away in the middle of its answer: {error}")));
        Ok(whole.map_err(broken)?.to_bytes())
    }

    /// The events of a stream.
    pub(super) fn events(self) -> Events {
        Events { body: self.body, read: Vec::new() }
    }
}

/// The data of server-sent events, one at a time.
pub(super) struct Events {
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    /// The next event; `None` when the stream has ended or broken.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.read.drain(..end + 2).collect();
                let lines = event.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
                let data: Vec<u8> = lines.map(|line| line.trim_ascii()).collect::<Vec<_>>().join(&b'\n');
                if !data.is_empty() {
                    return Some(data);
                }
                continue;
            }
            let frame = self.body.frame().await?.ok()?;
            self.read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
    }
}
