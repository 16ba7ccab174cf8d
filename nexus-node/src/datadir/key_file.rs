//! A secret key as a small text file. The first line is for people. The second has the key with a
//! checksum, so that a mistyped or cut copy is noticed before it becomes another identity.
//!
//! ```text
//! # Nexus identity key of did:key:z6Mk…. Whoever has it is this node: keep it secret.
//! nexus-identity-key-1 aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qmzq4zpjtf6zky
//! ```

use std::fmt;

use data_encoding::BASE32_NOPAD;
use nexus_identity::Keypair;
use zeroize::Zeroizing;

const FORMAT: u32 = 1;
const SEED_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 8;

/// The owner of a key file's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// This node's own.
    Identity,
    /// The mesh's.
    Root,
}

/// Why a text is not a key file. The text's fault; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It has no line with a key, or several.
    #[error("it holds no {0} key")]
    NotAKeyFile(KeyKind),
    /// It holds a key, but of another kind.
    #[error("it holds a {found} key, not a {expected} key")]
    OtherKind {
        /// The kind that was asked for.
        expected: KeyKind,
        /// The kind it is.
        found: KeyKind,
    },
    /// Characters are missing or changed.
    #[error("its key is incomplete or mistyped")]
    Mistyped,
    /// The format is of a later version.
    #[error("its key has format {format}, newer than this version understands")]
    TooNew {
        /// Its format number.
        format: u32,
    },
}

impl KeyKind {
    const fn label(self) -> &'static str {
        match self {
            Self::Identity => "nexus-identity-key-",
            Self::Root => "nexus-root-key-",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::Root => "root",
        })
    }
}

/// The latest format that this version reads.
pub(super) const fn known_format() -> u32 {
    FORMAT
}

/// A key as the text of its file. Wiped when dropped: it *is* the secret.
pub fn key_to_text(kind: KeyKind, key: &Keypair) -> Zeroizing<String> {
    let seed = key.seed();
    let mut bytes = Zeroizing::new([0; SEED_BYTES + CHECKSUM_BYTES]);
    bytes[..SEED_BYTES].copy_from_slice(&*seed);
    bytes[SEED_BYTES..].copy_from_slice(&checksum(kind, &seed));
    let mut code = Zeroizing::new(BASE32_NOPAD.encode(&*bytes));
    code.make_ascii_lowercase();
    let did = key.did();
    let meaning = match kind {
        KeyKind::Identity => format!("Nexus identity key of {did}. Whoever has it is this node: keep it secret."),
        KeyKind::Root => {
            format!("Nexus root key of the mesh {did}. Whoever has it rules the mesh: keep it secret, and elsewhere.")
        }
    };
    Zeroizing::new(format!("# {meaning}\n{}{FORMAT} {}\n", kind.label(), *code))
}

/// The key in the text of a key file. Lines that start with `#` and empty ones do not count.
///
/// # Errors
/// [`KeyFileError`] says what is wrong with the text.
pub fn key_from_text(kind: KeyKind, text: &str) -> Result<Keypair, KeyFileError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (Some(line), None) = (lines.next(), lines.next()) else { return Err(KeyFileError::NotAKeyFile(kind)) };
    let (label, code) = line.split_once(' ').ok_or(KeyFileError::NotAKeyFile(kind))?;
    let Some(format) = label.strip_prefix(kind.label()) else {
        let other = [KeyKind::Identity, KeyKind::Root].into_iter().find(|other| label.starts_with(other.label()));
        return Err(
            other.map_or(KeyFileError::NotAKeyFile(kind), |found| KeyFileError::OtherKind { expected: kind, found })
        );
    };
    match format.parse::<u32>() {
        Ok(FORMAT) => {}
        Ok(format) if format > FORMAT => return Err(KeyFileError::TooNew { format }),
        _ => return Err(KeyFileError::NotAKeyFile(kind)),
    }
    let code = Zeroizing::new(code.trim().to_ascii_uppercase());
    let bytes = Zeroizing::new(BASE32_NOPAD.decode(code.as_bytes()).map_err(|_| KeyFileError::Mistyped)?);
    let (seed, found) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(KeyFileError::Mistyped)?;
    let seed: Zeroizing<[u8; SEED_BYTES]> = Zeroizing::new(seed.try_into().map_err(|_| KeyFileError::Mistyped)?);
    if *found != checksum(kind, &seed) {
        return Err(KeyFileError::Mistyped);
    }
    Ok(Keypair::from_seed(&seed))
}

fn checksum(kind: KeyKind, seed: &[u8; SEED_BYTES]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("nexus key file v1");
    hasher.update(kind.label().as_bytes());
    hasher.update(seed);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    checksum
}
