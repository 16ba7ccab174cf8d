//! A root key under a passphrase.
//!
//! `nexus-sealed-root-1 MEMORY_KIB PASSES SALT SEALED`, the last two in base64. Argon2id derives a key
//! from the passphrase, and XChaCha20-Poly1305 seals the key file with it. The salt of 24 random bytes
//! is also the nonce: each is used once.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use data_encoding::BASE64;
use nexus_node::api::Problem;
use zeroize::Zeroizing;

const MARK: &str = "nexus-sealed-root-1";
/// The cost of a guess: 64 MiB and three passes (RFC 9106 § 4, the second recommended option).
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
/// The most memory that a file may ask for.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;
const SALT_BYTES: usize = 24;

pub(super) fn is_sealed(text: &str) -> bool {
    line(text).is_some_and(|line| line.starts_with(MARK))
}

pub(super) fn seal(plain: &str, mesh: &str, passphrase: &str) -> Result<String, Problem> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| Problem::new("failed", format!("no randomness: {error}")))?;
    let head = format!("{MARK} {MEMORY_KIB} {PASSES}");
    let cipher = cipher(passphrase, &salt, MEMORY_KIB, PASSES)?;
    let payload = Payload { msg: plain.as_bytes(), aad: head.as_bytes() };
    let sealed = cipher
        .encrypt(XNonce::from_slice(&salt), payload)
        .map_err(|_| Problem::new("internal", "the key could not be sealed"))?;
    let (salt, sealed) = (BASE64.encode(&salt), BASE64.encode(&sealed));
    Ok(format!("# The root key of {mesh}, sealed with a passphrase.\n{head} {salt} {sealed}\n"))
}

pub(super) fn open(text: &str, passphrase: &str) -> Result<Zeroizing<String>, Problem> {
    let damaged = || Problem::new("invalid", "the sealed key is damaged");
    let fields: Vec<&str> = line(text).unwrap_or_default().split_ascii_whitespace().collect();
    let [mark, memory, passes, salt, sealed] = fields[..] else { return Err(damaged()) };
    let (memory_kib, pass_count): (u32, u32) =
        (memory.parse().map_err(|_| damaged())?, passes.parse().map_err(|_| damaged())?);
    let salt = BASE64.decode(salt.as_bytes()).ok().filter(|salt| salt.len() == SALT_BYTES).ok_or_else(damaged)?;
    let sealed = BASE64.decode(sealed.as_bytes()).map_err(|_| damaged())?;
    if memory_kib > MEMORY_KIB_MAX || pass_count > PASSES_MAX {
        return Err(damaged());
    }
    let cipher = cipher(passphrase, &salt, memory_kib, pass_count)?;
    let head = format!("{mark} {memory} {passes}");
    let plain = cipher
        .decrypt(XNonce::from_slice(&salt), Payload { msg: &sealed, aad: head.as_bytes() })
        .map_err(|_| Problem::new("refused", "the passphrase is wrong, or the file is damaged"))?;
    String::from_utf8(plain).map(Zeroizing::new).map_err(|_| damaged())
}

fn cipher(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<XChaCha20Poly1305, Problem> {
    let invalid = |error: argon2::Error| Problem::new("invalid", format!("the sealed key is damaged: {error}"));
    let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(invalid)?;
    let mut key = Zeroizing::new([0; 32]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(passphrase.as_bytes(), salt, key.as_mut()).map_err(invalid)?;
    Ok(XChaCha20Poly1305::new(Key::from_slice(key.as_ref())))
}

fn line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Commands and API | The root key goes out, sealed by a passphrase, and comes back
    #[test]
    fn a_sealed_key_opens_with_its_passphrase_alone() {
        let sealed = seal("the key", "did:key:z6Mk", "correct horse").unwrap();
        assert!(is_sealed(&sealed) && !sealed.contains("the key\n") && !is_sealed("nexus-root-1 x"));
        assert_eq!(*open(&sealed, "correct horse").unwrap(), "the key");
        assert_eq!(open(&sealed, "wrong horse").unwrap_err().code, "refused");
        let cheaper = sealed.replace(" 3 ", " 1 ");
        assert_eq!(open(&cheaper, "correct horse").unwrap_err().code, "refused");
        let greedy = sealed.replace(" 65536 ", " 4000000000 ");
        assert_eq!(open(&greedy, "correct horse").unwrap_err().code, "invalid");
        for text in ["", "nexus-sealed-root-1", "nexus-sealed-root-1 1 1 x y", "nexus-sealed-root-1 8 1 AA== AA=="] {
            assert_eq!(open(text, "correct horse").unwrap_err().code, "invalid", "{text}");
        }
    }
}
