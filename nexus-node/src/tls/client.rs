//! The client's end: connections that go to one DID alone.

use std::error::Error;
use std::io;
use std::sync::Arc;

use nexus_identity::{Did, Timestamp};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};

use super::{Binding, CertificateFault, TlsError, provider};

/// The configuration of connections to this node. The handshake ends before anything is sent to another one.
///
/// # Errors
/// If the cryptography cannot be set up.
pub fn pinned(did: Did) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let verifier = PinnedDid { did, provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::of)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // each connection looks at the certificate again
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The fault of the certificate that ended a handshake, if that ended it.
pub fn fault_of(error: &io::Error) -> Option<CertificateFault> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::Other(OtherError(fault)) = error else { return None };
    let fault: &(dyn Error + 'static) = &**fault;
    fault.downcast_ref::<CertificateFault>().cloned()
}

/// Whether the other end of a failed handshake speaks no TLS, or none that this version speaks.
pub fn speaks_otherwise(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<rustls::Error>())
}

/// The check of a certificate against a DID. The handshake proves the certificate's key, the binding its node.
#[derive(Debug)]
struct PinnedDid {
    did: Did,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedDid {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let now = Timestamp::from_ms(now.as_secs().saturating_mul(1_000));
        let checked = Binding::read(certificate).and_then(|binding| binding.check(&self.did, now));
        checked.map_err(|fault| rustls::Error::Other(OtherError(Arc::new(fault))))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
