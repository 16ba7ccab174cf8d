//! The server's end: the handshakes of a listener.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{TlsCertificate, TlsError, provider};

/// The longest handshake, from the accepted connection on.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first byte of a client that speaks TLS: a record of a handshake.
const HANDSHAKE_RECORD: u8 = 0x16;
/// The most that is read of a request in the clear, in bytes, so that its sender gets the answer.
const CLEAR_BYTES_MAX: u64 = 64 << 10;
/// The answer to a client that speaks HTTP in the clear, who shall not wonder.
const NOT_TLS: &str = "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"code\":\"malformed\",\
    \"detail\":\"this address speaks TLS\",\"hint\":\"use https:// and --api-did DID; docs/cli.md tells how\"}\n";

/// TLS for listeners. Clones show the same certificate, also after it was renewed.
#[derive(Clone)]
pub struct ServerTls {
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
}

/// The certificate that is shown now.
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ServerTls {
    /// TLS with this certificate.
    ///
    /// # Errors
    /// If the cryptography cannot be set up.
    pub fn new(certificate: &TlsCertificate) -> Result<Self, TlsError> {
        let shown = Arc::new(Shown(RwLock::new(Arc::new(certificate.certified()?))));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::of)?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A handshake is cheap beside the memory of sessions that strangers could fill.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { shown, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Shows another certificate to connections from now on.
    ///
    /// # Errors
    /// If it cannot be read; the former one is shown then.
    pub fn renew(&self, certificate: &TlsCertificate) -> Result<(), TlsError> {
        let certified = Arc::new(certificate.certified()?);
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }

    /// Does the handshake of an accepted connection. A client that speaks HTTP in the clear gets an answer in words.
    ///
    /// # Errors
    /// If the client speaks no TLS 1.3, goes away, or takes more than ten seconds.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.shake(stream)).await;
        handshake.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")))
    }

    async fn shake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            answer_in_the_clear(stream).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks HTTP in the clear"));
        }
        if first[0] != HANDSHAKE_RECORD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks no TLS"));
        }
        self.acceptor.accept(stream).await
    }
}

/// Tells a client that this is TLS. Its request is read first, or the system would take the answer back.
async fn answer_in_the_clear(mut stream: TcpStream) -> io::Result<()> {
    let length = NOT_TLS.len();
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\n";
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{NOT_TLS}").as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(CLEAR_BYTES_MAX), &mut tokio::io::sink()).await.map(drop)
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

#[cfg(test)]
mod tests {
    use nexus_identity::{Keypair, Timestamp};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_goes_nowhere_ends() {
        let made = TlsCertificate::make(&Keypair::generate(), &[], Timestamp::from_ms(1_795_163_472_000)).unwrap();
        let tls = ServerTls::new(&made).unwrap();
        for beginning in [&b""[..], &[HANDSHAKE_RECORD, 3, 1, 0]] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(beginning).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let Err(error) = tls.handshake(stream).await else { panic!("no handshake was done") };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[test]
    fn the_answer_in_the_clear_is_a_problem() {
        let problem: serde_json::Value = serde_json::from_str(NOT_TLS).unwrap();
        assert_eq!((&problem["status"], &problem["code"]), (&400.into(), &"malformed".into()));
    }
}
