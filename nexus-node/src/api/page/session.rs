//! Signing a browser in: one-time codes, and the cookie.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use nexus_identity::Timestamp;

use crate::world::random;

/// The lifetime of a link.
const CODE_TTL: Duration = Duration::from_secs(300);
/// The most links at a time. A further one replaces the oldest.
const CODES_MAX: usize = 16;
/// The time that a browser stays signed in.
const COOKIE_TTL: Duration = Duration::from_secs(7 * 86_400);

/// The codes and the cookie's key. Signed-in browsers are not kept: a cookie carries its end and a
/// proof, made with a key from the token. A new token makes every cookie worthless.
pub(in crate::api) struct BrowserSession {
    /// The cookie's name, different for each node: to a browser all ports of a host are one site.
    cookie: String,
    key: [u8; 32],
    codes: Mutex<Vec<(blake3::Hash, Timestamp)>>,
}

impl BrowserSession {
    pub(in crate::api) fn new(port: u16, token: &str) -> Self {
        let key = blake3::derive_key("nexus-node 2026-10 cookie of the page", token.as_bytes());
        Self { cookie: format!("nexus-{port}"), key, codes: Mutex::default() }
    }

    /// A code for one browser, and its end.
    pub(super) fn code(&self, now: Timestamp) -> (String, Timestamp) {
        let code = BASE64URL_NOPAD.encode(&random::<32>());
        let end = now.saturating_add(CODE_TTL);
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|(_, end)| *end > now);
        if codes.len() == CODES_MAX {
            codes.remove(0);
        }
        codes.push((blake3::hash(code.as_bytes()), end));
        (code, end)
    }

    /// Uses a code up. Returns whether it was good.
    pub(super) fn redeem(&self, code: &str, now: Timestamp) -> bool {
        let shown = blake3::hash(code.as_bytes());
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let at = codes.iter().position(|(known, end)| *known == shown && *end > now);
        at.map(|at| codes.remove(at)).is_some()
    }

    /// The cookie for a browser that signs in now.
    /// Over TLS it never leaves TLS.
    pub(in crate::api) fn begin(&self, now: Timestamp, scheme: &str) -> String {
        let end = now.saturating_add(COOKIE_TTL).as_ms();
        let claim = format!("{end}.{}", HEXLOWER.encode(&random::<8>()));
        self.set(&format!("{claim}.{}", self.proof(&claim).to_hex()), COOKIE_TTL, scheme)
    }

    /// The cookie for a browser that signs out.
    pub(super) fn end(&self, scheme: &str) -> String {
        self.set("", Duration::ZERO, scheme)
    }

    fn set(&self, value: &str, age: Duration, scheme: &str) -> String {
        let secure = if scheme == "https" { "; Secure" } else { "" };
        format!("{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", self.cookie, age.as_secs())
    }

    fn proof(&self, claim: &str) -> blake3::Hash {
        blake3::keyed_hash(&self.key, claim.as_bytes())
    }

    /// Whether a request carries a good cookie.
    pub(in crate::api) fn holds(&self, headers: &HeaderMap, now: Timestamp) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut values =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        values.any(|(name, value)| name == self.cookie && self.is_good(value, now))
    }

    fn is_good(&self, value: &str, now: Timestamp) -> bool {
        let Some((claim, proof)) = value.rsplit_once('.') else { return false };
        // Comparing hashes takes equally long wherever they differ.
        let proven = blake3::Hash::from_hex(proof).is_ok_and(|proof| proof == self.proof(claim));
        let end = claim.split_once('.').and_then(|(end, _)| end.parse::<u64>().ok());
        proven && end.is_some_and(|end| end > now.as_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(session: &BrowserSession, cookie: &str, at: u64) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        session.holds(&headers, Timestamp::from_ms(at))
    }

    #[test]
    fn a_code_is_good_once_and_for_a_while() {
        let session = BrowserSession::new(8002, "secret");
        let at = Timestamp::from_ms;
        let (code, end) = session.code(at(1_000));
        assert!(!session.redeem("", at(1_000)) && !session.redeem(&code[1..], at(1_000)));
        assert!(session.redeem(&code, at(2_000)));
        assert!(!session.redeem(&code, at(2_000)), "used");
        let (late, _) = session.code(at(1_000));
        assert!(!session.redeem(&late, end), "too old");
        let codes: Vec<String> = (0..=CODES_MAX).map(|_| session.code(at(1_000)).0).collect();
        assert!(!session.redeem(&codes[0], at(1_000)), "a later one took its place");
        assert!(codes[1..].iter().all(|code| session.redeem(code, at(1_000))));
    }

    #[test]
    fn a_cookie_that_was_not_made_here_or_is_over_is_none() {
        let session = BrowserSession::new(8002, "secret");
        let cookie = session.begin(Timestamp::from_ms(1_000), "http");
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict"), "{cookie}");
        assert!(session.begin(Timestamp::from_ms(1_000), "https").ends_with("; Secure"));
        let cookie = cookie.split(';').next().unwrap();
        let end = 1_000 + 7 * 86_400_000;
        assert!(holds(&session, cookie, 2_000) && holds(&session, &format!("a=b; {cookie}; c=d"), end - 1));
        assert!(!holds(&session, cookie, end));
        assert!(!holds(&BrowserSession::new(8003, "secret"), cookie, 2_000), "another node's");
        assert!(!holds(&BrowserSession::new(8002, "secret2"), cookie, 2_000), "another token's");
        let longer = cookie.replacen("nexus-8002=", "nexus-8002=9", 1);
        for forged in
            [&longer, "nexus-8002=", "nexus-8002=.", "nexus-8002=9999999999999.aa.bb", &cookie[..cookie.len() - 1]]
        {
            assert!(!holds(&session, forged, 2_000), "{forged}");
        }
    }
}
