//! TLS to one node: its certificate is compared with the DID that was asked for, before anything is sent.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use nexus_client::pin::{self, CertificateFault};
use nexus_identity::Did;
use nexus_node::api::Problem;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport, TransportAdapter};

use crate::problems::no_node;

/// Opens connections over TLS to one node.
#[derive(Clone)]
pub(crate) struct Pin {
    did: Did,
    config: Arc<ClientConfig>,
}

impl Pin {
    pub(crate) fn new(did: Did) -> Result<Self, Problem> {
        let config = pin::pinned(did).map_err(|error| Problem::new("failed", error.to_string()))?;
        Ok(Self { did, config })
    }

    pub(crate) fn did(&self) -> Did {
        self.did
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// Does the handshake on a fresh connection.
    pub(crate) fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        transport: impl Transport,
    ) -> Result<PinnedTransport, Error> {
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        let connection = ClientConnection::new(self.config.clone(), any_name()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let config = &details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(PinnedTransport { buffers, stream })
    }
}

/// The name that a handshake begins with. The certificate is compared with a DID, so the name tells nothing; and this
/// one, being an address, is not sent.
pub(crate) fn any_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin").field("did", &self.did).finish_non_exhaustive()
    }
}

/// A connection over TLS to the node that was asked for.
pub(crate) struct PinnedTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for PinnedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedTransport").finish_non_exhaustive()
    }
}

impl Transport for PinnedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        self.stream.flush()?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// The problem of a failed handshake. Nothing was sent there.
pub(crate) fn unpinned(base: &str, wanted: &Did, error: &io::Error) -> Problem {
    let Some(fault) = pin::fault_of(error) else {
        return match pin::speaks_otherwise(error) {
            true => no_node(&format!("something at {base} speaks no TLS 1.3 ({error}); nothing was sent there"))
                .hint("a node speaks TLS at an address off loopback; with the setting `cleartext` it is http://…"),
            false => no_node(&format!("no node is running ({base}: {error})")),
        };
    };
    let message = |fault: &CertificateFault| format!("{base}: {fault}; nothing was sent there");
    match &fault {
        CertificateFault::Foreign { there, .. } => {
            let hint = format!(
                "if that is the node you mean, compare with `nexus-node status` there, and give --api-did {there}; \
                 `key rotate` changes a node's DID"
            );
            Problem::new("foreign_node", message(&fault)).hint(hint)
        }
        CertificateFault::Expired { .. } | CertificateFault::Early { .. } => {
            Problem::new("bad_certificate", message(&fault)).hint(
                "is the clock of this machine right, and that one's? a node makes a new certificate when it starts",
            )
        }
        _ => Problem::new("foreign_node", message(&fault)).hint(format!(
            "is that the address of the node {wanted} itself? a proxy with a certificate of its own is not recognised"
        )),
    }
}
