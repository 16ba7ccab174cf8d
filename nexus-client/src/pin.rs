//! The pin: TLS to one node alone, whose certificate is compared with its DID.
//!
//! A node has no name that others vouch for. Its self-signed certificate has a DID URL among its names,
//! `did:key:z6Mk…?nexus-tls-1=SIGNATURE`. The signature is the node's, over the certificate's times and key. A client that knows
//! the DID asks for nothing else. Section 22 of `docs/spec.md` has the bytes.

use std::error::Error;
use std::io;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use nexus_identity::{Did, Domain, Signature, Timestamp};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The name of the signature in the DID URL of a certificate.
pub const PARAMETER: &str = "?nexus-tls-1=";
/// The largest certificate that is read, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 32 << 10;

/// The reason why a certificate is not the one of the node that was asked for. Nothing was sent to its holder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFault {
    /// No certificate of a node.
    #[error("its certificate is not bound to a node")]
    Unbound,
    /// The binding is not signed by the node that it names.
    #[error("its certificate names the node {named}, which has not signed it")]
    Forged {
        /// The DID in the certificate.
        named: Did,
    },
    /// Another node's.
    #[error("the node there is {there}, not {wanted}")]
    Foreign {
        /// The node that is there.
        there: Did,
        /// The node that was asked for.
        wanted: Did,
    },
    /// Its time is over.
    #[error("its certificate expired at {at}")]
    Expired {
        /// The end of its time.
        at: Timestamp,
    },
    /// Its time has not begun.
    #[error("its certificate is good from {from} on")]
    Early {
        /// The beginning of its time.
        from: Timestamp,
    },
}

/// The facts of a certificate: its node, its names and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The node that signed it.
    pub did: Did,
    /// Host names and IP addresses, in the order of the certificate.
    pub names: Vec<String>,
    /// The beginning of its time.
    pub not_before: Timestamp,
    /// The end of its time.
    pub not_after: Timestamp,
}

impl Binding {
    /// Reads a certificate's facts. Its holder has shown nothing yet: the handshake proves the key.
    ///
    /// # Errors
    /// [`CertificateFault::Unbound`] or [`CertificateFault::Forged`].
    pub fn read(certificate: &[u8]) -> Result<Self, CertificateFault> {
        const UNBOUND: CertificateFault = CertificateFault::Unbound;
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return Err(UNBOUND);
        }
        let (rest, read) = X509Certificate::from_der(certificate).map_err(|_| UNBOUND)?;
        let names = read.subject_alternative_name().map_err(|_| UNBOUND)?.ok_or(UNBOUND)?;
        let (mut hosts, mut urls) = (Vec::new(), Vec::new());
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(name) => hosts.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => hosts.extend(address(bytes)),
                GeneralName::URI(url) => urls.push(*url),
                _ => {}
            }
        }
        let [url] = urls[..] else { return Err(UNBOUND) };
        let (did, signature) = url.split_once(PARAMETER).ok_or(UNBOUND)?;
        let did: Did = did.parse().map_err(|_| UNBOUND)?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| UNBOUND)?;
        let signature = Signature::from_bytes(signature.try_into().map_err(|_| UNBOUND)?);
        let second = |time: i64| u64::try_from(time).map_err(|_| UNBOUND);
        let begin = second(read.validity().not_before.timestamp())?;
        let end = second(read.validity().not_after.timestamp())?;
        // the key as the reader of the handshake finds it, so that two readers cannot find two keys
        let parsed = CertificateDer::from(certificate);
        let parsed = ParsedCertificate::try_from(&parsed).map_err(|_| UNBOUND)?;
        let digest = signed_digest(begin, end, &parsed.subject_public_key_info());
        if !rest.is_empty() || did.verify(Domain::Certificate, digest.as_bytes(), &signature).is_err() {
            return Err(CertificateFault::Forged { named: did });
        }
        let at = |second: u64| Timestamp::from_ms(second.saturating_mul(1_000));
        Ok(Self { did, names: hosts, not_before: at(begin), not_after: at(end) })
    }

    /// Checks that it is this node's, and good now.
    ///
    /// # Errors
    /// [`CertificateFault::Foreign`], [`CertificateFault::Expired`] or [`CertificateFault::Early`].
    pub fn check(&self, wanted: &Did, now: Timestamp) -> Result<(), CertificateFault> {
        if self.did != *wanted {
            return Err(CertificateFault::Foreign { there: self.did, wanted: *wanted });
        }
        if now > self.not_after {
            return Err(CertificateFault::Expired { at: self.not_after });
        }
        if now < self.not_before {
            return Err(CertificateFault::Early { from: self.not_before });
        }
        Ok(())
    }
}

/// The signed digest: the times in seconds since 1970, 8 bytes each in big-endian order, then the key as the
/// certificate has it (SubjectPublicKeyInfo in DER).
pub fn signed_digest(begin: u64, end: u64, key: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("nexus tls certificate v1");
    hasher.update(&begin.to_be_bytes()).update(&end.to_be_bytes()).update(key);
    hasher.finalize()
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string())).ok()
}

/// The configuration of connections to this node. The handshake ends before anything is sent to another one.
///
/// # Errors
/// If the cryptography cannot be set up.
pub fn pinned(did: Did) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = PinnedDid { did, provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
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
