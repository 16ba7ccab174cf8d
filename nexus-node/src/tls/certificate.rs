//! A certificate that is bound to a node, as it is made. `nexus_client::pin` checks it.
//!
//! It is a self-signed X.509 certificate with a P-256 key of its own, which browsers take. Among its names is one
//! URI, a DID URL: `did:key:z6Mk…?nexus-tls-1=SIGNATURE`. The signature is the node's, in the domain
//! [`Domain::Certificate`], over the certificate's times and key. So a stolen key of TLS is worth nothing once its
//! certificate has expired. Section 22 of `docs/spec.md` has the bytes.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use nexus_client::pin::{Binding, PARAMETER, signed_digest};
use nexus_identity::{Domain, Keypair, Timestamp};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Ia5String, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{TlsError, provider};

/// The lifetime of a certificate. Browsers refuse longer ones.
pub const LIFETIME: Duration = Duration::from_secs(397 * 86_400);
/// The time before now from which a new certificate is good: clocks of other machines may be slow.
const SLACK: Duration = Duration::from_secs(86_400);

/// A certificate with its key.
pub struct TlsCertificate {
    certificate: CertificateDer<'static>,
    key: Zeroizing<String>,
    binding: Binding,
}

impl TlsCertificate {
    /// Makes a certificate of this node for these names, good from a day before `now` on for 397 days.
    ///
    /// # Errors
    /// If a name is not one of a host, or the machine has no randomness.
    pub fn make(identity: &Keypair, names: &[String], now: Timestamp) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(TlsError::of)?;
        let begin = (now.as_ms() / 1_000).saturating_sub(SLACK.as_secs());
        let end = begin.saturating_add(LIFETIME.as_secs());
        let mut params = CertificateParams::new(names).map_err(TlsError::of)?;
        (params.not_before, params.not_after) = (moment(begin)?, moment(end)?);
        let digest = signed_digest(begin, end, &key.public_key_der());
        let signature = identity.sign(Domain::Certificate, digest.as_bytes());
        let url = format!("{}{PARAMETER}{}", identity.did(), BASE64URL_NOPAD.encode(signature.as_bytes()));
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(url).map_err(TlsError::of)?));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, identity.did().to_string());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).map_err(TlsError::of)?;
        Self::read(&certificate.pem(), Zeroizing::new(key.serialize_pem()))
    }

    /// Reads a certificate and its key from PEM, and checks that they belong together.
    ///
    /// # Errors
    /// If they do not, or one cannot be read.
    pub fn read(certificate: &str, key: Zeroizing<String>) -> Result<Self, TlsError> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(TlsError::of)?;
        let binding = Binding::read(&certificate).map_err(TlsError::of)?;
        let this = Self { certificate, key, binding };
        this.certified()?.keys_match().map_err(TlsError::of)?;
        Ok(this)
    }

    /// Its facts.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The certificate as PEM, for its file.
    pub fn to_pem(&self) -> String {
        let lines = data_encoding::BASE64.encode(&self.certificate);
        let lines: Vec<&str> = lines.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }

    /// The key as PEM, for its file.
    pub fn key_pem(&self) -> &str {
        &self.key
    }

    /// The certificate as a server shows it.
    pub(super) fn certified(&self) -> Result<CertifiedKey, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(TlsError::of)?;
        CertifiedKey::from_der(vec![self.certificate.clone()], key, &provider()).map_err(TlsError::of)
    }
}

impl std::fmt::Debug for TlsCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsCertificate").field("binding", &self.binding).finish_non_exhaustive()
    }
}

fn moment(second: u64) -> Result<OffsetDateTime, TlsError> {
    let second = i64::try_from(second).map_err(TlsError::of)?;
    OffsetDateTime::from_unix_timestamp(second).map_err(TlsError::of)
}

#[cfg(test)]
mod tests {
    use nexus_client::pin::{CERTIFICATE_BYTES_MAX, CertificateFault};
    use x509_parser::certificate::X509Certificate;
    use x509_parser::extensions::GeneralName;
    use x509_parser::prelude::FromDer;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_795_163_472_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn made(identity: &Keypair) -> TlsCertificate {
        let names = ["localhost", "brain.example.org", "192.0.2.7", "2001:db8::7"].map(str::to_owned);
        TlsCertificate::make(identity, &names, NOW).unwrap()
    }

    #[test]
    fn a_certificate_names_its_node_its_hosts_and_its_times() {
        let identity = Keypair::generate();
        let made = made(&identity);
        let binding = Binding::read(&made.certificate).unwrap();
        assert_eq!(binding.did, identity.did());
        assert_eq!(binding.names, ["localhost", "brain.example.org", "192.0.2.7", "2001:db8::7"]);
        assert_eq!(binding.not_after.since(binding.not_before), LIFETIME);
        let again = TlsCertificate::read(&made.to_pem(), Zeroizing::new(made.key_pem().to_owned())).unwrap();
        assert_eq!(again.binding(), made.binding());
        assert_eq!(format!("{made:?}").matches("PRIVATE").count(), 0);
    }

    #[test]
    fn a_certificate_is_good_for_its_node_and_its_time_alone() {
        let (identity, other) = (Keypair::generate(), Keypair::generate());
        let binding = made(&identity).binding().clone();
        assert_eq!(binding.check(&identity.did(), NOW), Ok(()));
        assert_eq!(binding.check(&identity.did(), Timestamp::from_ms(NOW.as_ms() - 86_000_000)), Ok(()), "slow clocks");
        let foreign = CertificateFault::Foreign { there: identity.did(), wanted: other.did() };
        assert_eq!(binding.check(&other.did(), NOW), Err(foreign));
        let at = binding.not_after;
        assert_eq!(
            binding.check(&identity.did(), at.saturating_add(Duration::from_millis(1))),
            Err(CertificateFault::Expired { at })
        );
        let from = binding.not_before;
        assert_eq!(
            binding.check(&identity.did(), Timestamp::from_ms(from.as_ms() - 1)),
            Err(CertificateFault::Early { from })
        );
    }

    /// promise: Bad input | A certificate with another's DID, or with later times than its node signed, is no node's
    #[test]
    fn a_binding_covers_the_key_and_the_times() {
        let (identity, thief) = (Keypair::generate(), Keypair::generate());
        let (mine, later) = (made(&identity), TlsCertificate::make(&identity, &[], NOW.saturating_add(DAY)).unwrap());
        let stolen = url_of(&mine);
        // the same binding around another key, and around other times
        let forged = CertificateFault::Forged { named: identity.did() };
        assert_eq!(Binding::read(&with_url(&stolen, NOW, None)), Err(forged.clone()));
        assert_eq!(Binding::read(&with_url(&stolen, NOW.saturating_add(DAY), Some(&mine))), Err(forged.clone()));
        assert!(Binding::read(&with_url(&stolen, NOW, Some(&mine))).is_ok(), "the control: as it was made");
        let renamed = stolen.replace(&identity.did().to_string(), &thief.did().to_string());
        let named = CertificateFault::Forged { named: thief.did() };
        assert_eq!(Binding::read(&with_url(&renamed, NOW, Some(&mine))), Err(named));
        assert_ne!(url_of(&later), stolen);
        for url in ["", "did:key:z6Mk", "did:key:z6Mk?nexus-tls-1=AA", "https://example.org/"] {
            assert_eq!(Binding::read(&with_url(url, NOW, None)), Err(CertificateFault::Unbound), "{url}");
        }
    }

    #[test]
    fn a_certificate_cut_anywhere_is_no_nodes() {
        let whole = made(&Keypair::generate()).certificate;
        for cut in 0..whole.len() {
            assert!(Binding::read(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(Binding::read(&[&whole[..], b"x"].concat()).is_err());
        assert_eq!(Binding::read(&vec![0x30; CERTIFICATE_BYTES_MAX + 1]), Err(CertificateFault::Unbound));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let identity = Keypair::generate();
        let (one, two) = (made(&identity), made(&identity));
        let mixed = TlsCertificate::read(&one.to_pem(), Zeroizing::new(two.key_pem().to_owned()));
        assert!(mixed.is_err(), "{mixed:?}");
        for key in ["", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"] {
            assert!(TlsCertificate::read(&one.to_pem(), Zeroizing::new(key.to_owned())).is_err(), "{key}");
        }
    }

    /// The DID URL of a certificate.
    fn url_of(made: &TlsCertificate) -> String {
        let (_, read) = X509Certificate::from_der(&made.certificate).unwrap();
        let names = read.subject_alternative_name().unwrap().unwrap();
        let url = names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(url) => Some((*url).to_owned()),
            _ => None,
        });
        url.unwrap()
    }

    /// A certificate with this URL among its names, and the key of `of`, else one of its own.
    fn with_url(url: &str, now: Timestamp, of: Option<&TlsCertificate>) -> Vec<u8> {
        let key = of.map(|of| KeyPair::from_pem(of.key_pem()).unwrap());
        let key = key.unwrap_or_else(|| KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let begin = now.as_ms() / 1_000 - SLACK.as_secs();
        (params.not_before, params.not_after) = (moment(begin).unwrap(), moment(begin + LIFETIME.as_secs()).unwrap());
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(url).unwrap()));
        params.self_signed(&key).unwrap().der().to_vec()
    }
}
