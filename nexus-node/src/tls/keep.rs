//! The certificate of a data directory: the same across starts, and made anew in time.

use std::time::Duration;

use nexus_identity::Timestamp;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::certificate::LIFETIME;
use super::{ServerTls, TlsCertificate, TlsError};
use crate::datadir::DataDir;

/// The time between two looks at a certificate of a running node.
pub const LOOK_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// The rest of its time with which a certificate is made anew.
const RENEW_BEFORE: Duration = Duration::from_secs(LIFETIME.as_secs() / 3);

/// The certificate of a directory, and the names that it is for.
#[derive(Debug)]
pub struct KeptCertificate {
    names: Vec<String>,
    tls: ServerTls,
}

impl KeptCertificate {
    /// TLS with the certificate of a directory. An absent one is made, and one that fits no more is made anew.
    ///
    /// # Errors
    /// If none can be made. A directory that cannot be written is logged, and the certificate is good until the end.
    pub fn open(directory: &DataDir, names: Vec<String>, now: Timestamp) -> Result<Self, TlsError> {
        let certificate = current(directory, &names, now)?;
        Ok(Self { tls: ServerTls::new(&certificate)?, names })
    }

    /// TLS for listeners.
    pub fn tls(&self) -> &ServerTls {
        &self.tls
    }

    /// Looks whether the certificate still fits the directory's key and the time. Connections from now on get the
    /// new one.
    ///
    /// # Errors
    /// If none can be made; the former one is shown then.
    pub fn look(&self, directory: &DataDir, now: Timestamp) -> Result<(), TlsError> {
        self.tls.renew(&current(directory, &self.names, now)?)
    }
}

/// The certificate of a directory, if it fits, else a new one.
fn current(directory: &DataDir, names: &[String], now: Timestamp) -> Result<TlsCertificate, TlsError> {
    let files = directory.tls_files();
    let reason = match &files {
        Ok(Some((certificate, key))) => match TlsCertificate::read(certificate, Zeroizing::new(key.to_string())) {
            Ok(kept) => match misfit(&kept, directory, names, now) {
                None => return Ok(kept),
                Some(reason) => reason.to_owned(),
            },
            Err(error) => {
                warn!(directory = %directory.path().display(), %error, "the certificate is damaged; another is made");
                "it was damaged".to_owned()
            }
        },
        Ok(None) => "there was none".to_owned(),
        Err(error) => {
            warn!(directory = %directory.path().display(), %error, "the certificate cannot be read; another is made");
            "it could not be read".to_owned()
        }
    };
    let made = TlsCertificate::make(directory.identity(), names, now)?;
    info!(%reason, until = %made.binding().not_after, "made a certificate for TLS");
    if let Err(error) = directory.write_tls_files(&made.to_pem(), made.key_pem()) {
        warn!(%error, "the certificate for TLS cannot be kept; the next start makes another");
    }
    Ok(made)
}

/// The reason why a certificate is made anew.
fn misfit(kept: &TlsCertificate, directory: &DataDir, names: &[String], now: Timestamp) -> Option<&'static str> {
    let binding = kept.binding();
    if binding.did != directory.identity().did() {
        return Some("the node has another key");
    }
    if binding.names != names {
        return Some("its addresses and names have changed");
    }
    if now < binding.not_before {
        return Some("it is from the future");
    }
    (binding.not_after.since(now) < RENEW_BEFORE).then_some("its time is ending")
}

#[cfg(test)]
mod tests {
    use nexus_identity::Keypair;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_795_163_472_000);

    fn at(days: u64) -> Timestamp {
        NOW.saturating_add(Duration::from_secs(days * 86_400))
    }

    /// promise: Commands and API | The certificate stays across starts, until a third of its time is left
    #[test]
    fn a_certificate_is_kept_and_made_anew_in_time() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDir::create(&home.path().join("data"), Keypair::generate()).unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let look = |names: &[String], days| current(&directory, names, at(days)).unwrap().to_pem();
        let first = look(&names, 0);
        assert_eq!(look(&names, 200), first);
        let second = look(&names, 270);
        assert_ne!(second, first, "less than a third is left");
        assert_eq!(look(&names, 300), second);
        let more = [names.clone(), vec!["brain.example.org".to_owned()]].concat();
        let third = look(&more, 300);
        assert_ne!(third, second, "another name");
        assert_ne!(look(&more, 0), third, "it is from the future");
    }

    #[test]
    fn a_damaged_certificate_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let directory = DataDir::create(&home.path().join("data"), Keypair::generate()).unwrap();
        let first = current(&directory, &[], NOW).unwrap();
        let (path, _) = DataDir::tls_paths(directory.path());
        for junk in [&b""[..], b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, junk).unwrap();
            let next = current(&directory, &[], NOW).unwrap();
            assert_ne!(next.to_pem(), first.to_pem());
            assert_eq!(current(&directory, &[], NOW).unwrap().to_pem(), next.to_pem());
        }
        let foreign = TlsCertificate::make(&Keypair::generate(), &[], NOW).unwrap();
        directory.write_tls_files(&foreign.to_pem(), foreign.key_pem()).unwrap();
        assert_eq!(current(&directory, &[], NOW).unwrap().binding().did, directory.identity().did());
    }
}
