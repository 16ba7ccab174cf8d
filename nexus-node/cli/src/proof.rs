//! The proof of a node, asked for on each fresh connection before anything else is sent there.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use nexus_client::proof::{Challenge, Unproven};
use nexus_node::api::Problem;
use ureq::Error;
use ureq::unversioned::resolver::ResolvedSocketAddrs;
use ureq::unversioned::transport::time::Duration as UreqDuration;
use ureq::unversioned::transport::{ConnectionDetails, Connector, Either, NextTimeout, TcpConnector, Transport};

use crate::listener;
use crate::pinned::{Pin, PinnedTransport};
use crate::problems::no_node;

/// The longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// The failure of a connection before it stood. No request was sent there.
#[derive(Debug)]
pub(crate) struct Unreached(pub(crate) io::Error);

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unreached {}

impl Unreached {
    /// Marks an error of the way to a node. An unmarked one comes from a connection on which a request may have gone.
    pub(crate) fn mark(error: Error) -> Error {
        match error {
            Error::Io(error) => Error::Other(Box::new(Self(error))),
            error => error,
        }
    }
}

/// Opens connections that have proven to lead to the token's node.
pub(crate) struct ProvenConnector {
    tcp: TcpConnector,
    token: String,
    /// The node of an address of TLS.
    pin: Option<Pin>,
    /// The longest time until the proof is there.
    patience: Duration,
}

impl ProvenConnector {
    pub(crate) fn new(token: &str, pin: Option<Pin>, patience: Duration) -> Self {
        Self { tcp: TcpConnector::default(), token: token.to_owned(), pin, patience }
    }
}

impl fmt::Debug for ProvenConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProvenConnector").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Connector for ProvenConnector {
    type Out = Either<<TcpConnector as Connector>::Out, PinnedTransport>;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        let mut last = Error::ConnectionFailed;
        // One address at a time: the proof is about the one that was dialled.
        for address in &details.addrs {
            match self.connect_to(*address, details) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Unreached::mark(error),
            }
        }
        Err(last)
    }
}

impl ProvenConnector {
    fn connect_to(
        &self,
        address: SocketAddr,
        details: &ConnectionDetails<'_>,
    ) -> Result<Option<<Self as Connector>::Out>, Error> {
        let mut addrs = ResolvedSocketAddrs::from_fn(|_| address);
        addrs.push(address);
        let details = ConnectionDetails {
            uri: details.uri,
            addrs,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let Some(mut connection) = self.tcp.connect(&details, None)? else { return Ok(None) };
        if details.needs_tls() {
            // The certificate says more than the proof: which node it is, wherever it is reached.
            let pin = self.pin.as_ref().ok_or_else(|| failed(Unproven::Missing))?;
            return Ok(Some(Either::B(pin.connect(&details, connection)?)));
        }
        self.prove(&mut connection, address)?;
        Ok(Some(Either::A(connection)))
    }

    /// Asks for the proof. The connection is then ready for a request.
    fn prove(&self, connection: &mut impl Transport, dialled: SocketAddr) -> Result<(), Error> {
        let challenge = Challenge::new(&self.token);
        let end = Instant::now() + self.patience;
        let left = || NextTimeout {
            after: UreqDuration::Exact(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))),
            reason: ureq::Timeout::RecvResponse,
            ..NextTimeout::default()
        };
        let question =
            format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", challenge.path(), Challenge::host(dialled)).into_bytes();
        let output = connection.buffers().output();
        output[..question.len()].copy_from_slice(&question);
        connection.transmit_output(question.len(), left())?;
        let answer = loop {
            match ProofAnswer::read(connection.buffers().input()) {
                Ok(Some(answer)) => break answer,
                Ok(None) => {}
                Err(unproven) => return Err(failed(unproven)),
            }
            if Instant::now() >= end {
                return Err(Error::Timeout(ureq::Timeout::RecvResponse));
            }
            if !connection.await_input(left())? {
                return Err(failed(Unproven::Foreign));
            }
        };
        connection.buffers().input_consume(answer.bytes);
        challenge.check(dialled, answer.status, &answer.body).map_err(failed)
    }
}

fn failed(unproven: Unproven) -> Error {
    Error::Other(Box::new(unproven))
}

/// A whole answer over HTTP.
#[derive(Debug, PartialEq, Eq)]
struct ProofAnswer {
    status: u16,
    body: Vec<u8>,
    /// Its length with the head.
    bytes: usize,
}

impl ProofAnswer {
    /// None while more is to come.
    fn read(input: &[u8]) -> Result<Option<Self>, Unproven> {
        const END: &[u8] = b"\r\n\r\n";
        let Some(end) = input.windows(END.len()).position(|window| window == END) else {
            return if input.len() > HEAD_BYTES_MAX { Err(Unproven::Foreign) } else { Ok(None) };
        };
        let head = std::str::from_utf8(&input[..end]).map_err(|_| Unproven::Foreign)?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
        let status = status.and_then(|status| status.parse().ok()).ok_or(Unproven::Foreign)?;
        let mut headers = lines.filter_map(|line| line.split_once(':'));
        let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.and_then(|(_, value)| value.trim().parse().ok()).ok_or(Unproven::Foreign)?;
        if length > Challenge::answer_bytes_max() {
            return Err(Unproven::Foreign);
        }
        let begin = end + END.len();
        let Some(body) = input.get(begin..begin + length) else { return Ok(None) };
        Ok(Some(Self { status, body: body.to_vec(), bytes: begin + length }))
    }
}

/// The problem of an address without a proof. Nothing was sent there.
pub(crate) fn unproven(base: &str, directory: Option<&Path>, reason: Unproven) -> Problem {
    let holder = base.trim_start_matches("http://").parse().ok().and_then(listener::of_tcp);
    let holder = holder.map(|holder| format!(", held by {holder},")).unwrap_or_default();
    match (reason, directory) {
        (Unproven::Missing, _) => {
            let message = format!("{base}{holder} did not prove that it holds the token; nothing was sent there");
            Problem::new("unproven", message)
                .hint("is it a node of an earlier version? end that process, and start this version: `nexus-node up`")
        }
        (Unproven::Unknown, _) => {
            let message = format!("{base}{holder} does not know this token; nothing was sent there");
            Problem::new("unauthorized", message).hint(
                "it was revoked, or is another node's: `nexus-node token list` shows the tokens of a node, and \
                 `nexus-node connect` makes a program's anew",
            )
        }
        (Unproven::Wrong, None) => {
            let message = format!("{base}{holder} does not hold this token; nothing was sent there");
            Problem::new("unauthorized", message).hint(
                "is NEXUS_TOKEN the line in that node's `api-token`? dial the address where that node listens, \
                 not one that is passed on to it",
            )
        }
        (Unproven::Wrong, Some(directory)) => {
            let directory = directory.display();
            no_node(&format!(
                "no node is running in {directory}; another one is at {base}{holder} and was sent nothing"
            ))
        }
        (_, Some(directory)) => {
            let directory = directory.display();
            no_node(&format!(
                "no node is running in {directory}; {base}{holder} is something else and was sent nothing"
            ))
        }
        (_, None) => no_node(&format!("something else than a node answers at {base}{holder}; nothing was sent there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}more";
        let read = ProofAnswer::read(whole).unwrap().unwrap();
        assert_eq!(read, ProofAnswer { status: 200, body: b"{}".to_vec(), bytes: whole.len() - 4 });
        for cut in 0..whole.len() - 4 {
            assert_eq!(ProofAnswer::read(&whole[..cut]), Ok(None), "{cut}");
        }
        for junk in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n",
            &[b'a'; HEAD_BYTES_MAX + 1],
            b"\xff\xff\r\n\r\n",
        ] {
            assert_eq!(ProofAnswer::read(junk), Err(Unproven::Foreign));
        }
    }
}
