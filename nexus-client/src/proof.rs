//! The proof of an API that it holds the token, for a client that is about to send the token.
//!
//! While a node is down, any program of its machine may listen at its port. A client therefore sends a
//! nonce first, and goes on if the answer is the nonce's keyed hash. The hash covers the address at which
//! the API took the connection. A program that passes the nonce on to the node at another address gets a
//! hash that the client does not expect.

use std::fmt;
use std::net::SocketAddr;

use data_encoding::HEXLOWER;
use serde_json::Value;
use zeroize::Zeroizing;

/// The beginning of every issued token, by which it differs from the `api-token`.
pub const TOKEN_PREFIX: &str = "nxt_";
/// The route that answers with the proof.
const ROUTE: &str = "/healthz";
/// The field of its answer.
const PROOF: &str = "proof";
/// The shortest and the longest nonce, in characters.
const NONCE_CHARS: std::ops::RangeInclusive<usize> = 16..=128;
/// The largest answer that can hold a proof, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// The key of an API's proofs, from its token.
#[derive(Clone)]
pub struct ProofKey([u8; 32]);

impl ProofKey {
    /// The key of a token; for an issued one, of its hash in hex, which alone a node keeps.
    pub fn new(token: &str) -> Self {
        Self(blake3::derive_key("nexus-node 2026-11 proof of the API", token.as_bytes()))
    }

    /// The proof for a nonce, at the address that a connection leads to.
    ///
    /// # Errors
    /// A nonce of another length, or with other characters than those of base64url.
    pub fn prove(&self, nonce: &str, address: SocketAddr) -> Result<String, BadNonce> {
        let plain = nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !plain || !NONCE_CHARS.contains(&nonce.len()) {
            return Err(BadNonce);
        }
        Ok(self.hash(nonce, address).to_hex().to_string())
    }

    fn hash(&self, nonce: &str, address: SocketAddr) -> blake3::Hash {
        // neither contains a space
        blake3::keyed_hash(&self.0, format!("{nonce} {}", plain(address)).as_bytes())
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofKey").finish_non_exhaustive()
    }
}

/// A nonce is too short, too long or of other characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a nonce has {} to {} letters, digits, `-` or `_`", NONCE_CHARS.start(), NONCE_CHARS.end())]
pub struct BadNonce;

/// The secret of the proof that a node knows a token, and the token's name in the question; `None` for the `api-token`.
fn proof_secret(token: &str) -> Option<(String, String)> {
    let hash = token.starts_with(TOKEN_PREFIX).then(|| blake3::hash(token.as_bytes()))?;
    Some((hash.to_hex().to_string(), mark(hash.as_bytes())))
}

/// The name of an issued token in a question for the proof, from its hash. It tells nothing about the token.
pub fn mark(hash: &[u8; 32]) -> String {
    blake3::hash(hash).to_hex()[..16].to_owned()
}

#[expect(clippy::expect_used, reason = "without randomness anybody's answer would do")]
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// An address without the marks that only one end sees: IPv4 as IPv4, no scope.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A client's question for the proof, good for one connection.
#[derive(Debug)]
pub struct Challenge {
    nonce: String,
    /// The secret that is to be proven: the `api-token`, or one made from an issued token, whose hash alone a node has.
    secret: Zeroizing<String>,
    /// The name of the issued token.
    mark: Option<String>,
}

/// The reason why an answer proves nothing. The client has sent no token and no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unproven {
    /// The answer is no node's.
    #[error("something else answers there")]
    Foreign,
    /// The answer has no proof: the node is of a version without it, or something else answers.
    #[error("it answers without a proof")]
    Missing,
    /// The token is an issued one, which the node does not know: it was revoked, or is another node's.
    #[error("it does not know the token, which was revoked, or is another node's")]
    Unknown,
    /// The proof is not the one of this token at this address.
    #[error("its proof is not the one of this token at this address")]
    Wrong,
}

impl Challenge {
    /// A question with a random nonce, for the proof that a node knows this token.
    ///
    /// # Panics
    /// If the operating system gives no randomness: any answer would prove the node then.
    pub fn new(token: &str) -> Self {
        let (secret, mark) = match proof_secret(token) {
            Some((secret, mark)) => (secret, Some(mark)),
            None => (token.to_owned(), None),
        };
        Self { nonce: HEXLOWER.encode(&random()), secret: Zeroizing::new(secret), mark }
    }

    /// The path to ask for, with `GET` and without a token.
    pub fn path(&self) -> String {
        let mark = self.mark.as_ref().map(|mark| format!("&mark={mark}")).unwrap_or_default();
        format!("{ROUTE}?nonce={}{mark}", self.nonce)
    }

    /// The `Host` to ask with, for the address that was dialled.
    pub fn host(dialled: SocketAddr) -> String {
        plain(dialled).to_string()
    }

    /// The largest body worth reading, in bytes.
    pub const fn answer_bytes_max() -> usize {
        ANSWER_BYTES_MAX
    }

    /// Checks the answer to the question.
    ///
    /// # Errors
    /// [`Unproven`]: the connection leads to another program, or to a node without this token.
    pub fn check(&self, dialled: SocketAddr, status: u16, body: &[u8]) -> Result<(), Unproven> {
        let answer: Value = serde_json::from_slice(body).map_err(|_| Unproven::Foreign)?;
        if status != 200 || answer["ok"] != true {
            return Err(Unproven::Foreign);
        }
        let proof = match answer.get(PROOF) {
            Some(Value::Null) if self.mark.is_some() => return Err(Unproven::Unknown),
            proof => proof.and_then(Value::as_str).ok_or(Unproven::Missing)?,
        };
        let expected = ProofKey::new(&self.secret).hash(&self.nonce, dialled);
        // Comparing hashes takes equally long wherever they differ.
        if blake3::Hash::from_hex(proof).is_ok_and(|proof| proof == expected) { Ok(()) } else { Err(Unproven::Wrong) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(challenge: &Challenge, dialled: &str, proof: Value) -> Result<(), Unproven> {
        let body = json!({ "ok": true, "proof": proof }).to_string();
        challenge.check(dialled.parse().unwrap(), 200, body.as_bytes())
    }

    #[test]
    fn a_proof_is_good_for_its_nonce_its_token_and_its_address_alone() {
        let challenge = Challenge::new("secret");
        let at = |token: &str, address: &str| {
            json!(ProofKey::new(token).prove(&challenge.nonce, address.parse().unwrap()).unwrap())
        };
        assert_eq!(check(&challenge, "127.0.0.1:8002", at("secret", "127.0.0.1:8002")), Ok(()));
        assert_eq!(check(&challenge, "127.0.0.1:8002", at("secret", "[::ffff:127.0.0.1]:8002")), Ok(()));
        for (token, address) in [("other", "127.0.0.1:8002"), ("secret", "127.0.0.1:8003"), ("secret", "[::1]:8002")] {
            assert_eq!(check(&challenge, "127.0.0.1:8002", at(token, address)), Err(Unproven::Wrong), "{address}");
        }
        let again = Challenge::new("secret");
        assert_eq!(check(&again, "127.0.0.1:8002", at("secret", "127.0.0.1:8002")), Err(Unproven::Wrong));
        for junk in [json!(""), json!("00"), json!("é")] {
            assert_eq!(check(&challenge, "127.0.0.1:8002", junk), Err(Unproven::Wrong));
        }
        assert_eq!(check(&challenge, "127.0.0.1:8002", json!(null)), Err(Unproven::Missing));
        let of = |status, body: &[u8]| challenge.check("127.0.0.1:8002".parse().unwrap(), status, body);
        assert_eq!(of(200, b"{\"ok\":true}"), Err(Unproven::Missing));
        for (status, body) in [(200, &b"hello"[..]), (200, b"{}"), (404, b"{\"ok\":true}"), (200, b"\xff"), (200, b"1")]
        {
            assert_eq!(of(status, body), Err(Unproven::Foreign), "{status}");
        }
    }

    #[test]
    fn a_nonce_is_short_and_plain() {
        let key = ProofKey::new("secret");
        let prove = |nonce: &str| key.prove(nonce, "127.0.0.1:1".parse().unwrap());
        assert!(prove("0123456789abcdef").is_ok() && prove(&"-_".repeat(64)).is_ok());
        for nonce in ["", "short", "0123456789abcde f", "0123456789abcdé", &"a".repeat(129)] {
            assert_eq!(prove(nonce), Err(BadNonce), "{nonce}");
        }
    }
}
