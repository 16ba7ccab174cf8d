//! TLS for the API: certificates that are bound to a node's key, and both ends of a connection.
//!
//! A stranger's certificate cannot be told from a node's by its name: a node has no name that others vouch for. So
//! the certificate carries the node's DID, and the node's signature over the certificate's key and times. A client
//! that knows the DID asks for nothing else.
//!
//! | room | content |
//! |---|---|
//! | [`certificate`] | making a certificate; `nexus_client::pin` reads one and checks it against a DID |
//! | [`keep`] | the certificate of a data directory, and when it is made anew |
//! | [`server`] | the handshakes of a listener |
//!
//! TLS 1.3 alone is spoken, with the cryptography of `ring`.

pub mod certificate;
pub mod keep;
pub mod server;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use self::certificate::TlsCertificate;
pub use self::keep::KeptCertificate;
pub use self::server::ServerTls;
pub use nexus_client::pin::{Binding, CertificateFault};

/// The reason why no certificate or configuration could be made: a fault of the program or of the machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TLS cannot be set up: {0}")]
pub struct TlsError(pub(crate) String);

impl TlsError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The cryptography of both ends.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
