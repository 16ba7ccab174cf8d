use super::super::run::{self, ALNUM};
use super::super::words::words_of;

/// Words by which a name tells that a credential is behind it.
pub(in super::super) const NAMES: [&str; 20] = [
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "passcode",
    "kennwort",
    "pass",
    "pwd",
    "pw",
    "secret",
    "token",
    "key",
    "auth",
    "authorization",
    "session",
    "sessionid",
    "sid",
    "appid",
    "credential",
    "credentials",
];

/// Words before `key` which make it a secret one. A key by itself is that of a map, a table, a keyboard.
const KEYED: [&str; 41] = [
    "api",
    "access",
    "secret",
    "private",
    "signing",
    "sign",
    "encryption",
    "encrypt",
    "master",
    "auth",
    "account",
    "shared",
    "app",
    "application",
    "service",
    "subscription",
    "license",
    "session",
    "storage",
    "deploy",
    "ssh",
    "crypto",
    "cipher",
    "hmac",
    "jwt",
    "aes",
    "webhook",
    "integration",
    "write",
    "ingest",
    "consumer",
    "client",
    "admin",
    "root",
    "x",
    "rest",
    "developer",
    "dev",
    "server",
    "preshared",
    "wireguard",
];

/// Words of which `key` is the end without a mark between.
const JOINED: [&str; 9] =
    ["apikey", "secretkey", "accesskey", "privatekey", "authkey", "accountkey", "sharedkey", "signingkey", "masterkey"];

/// Words behind the telling one which say that the value is about the credential.
const ABOUT: [&str; 66] = [
    "hash",
    "hashed",
    "id",
    "ids",
    "name",
    "names",
    "file",
    "path",
    "dir",
    "url",
    "uri",
    "endpoint",
    "length",
    "len",
    "min",
    "max",
    "count",
    "policy",
    "type",
    "expires",
    "expiry",
    "expiration",
    "ttl",
    "reset",
    "ref",
    "arn",
    "field",
    "header",
    "label",
    "hint",
    "prompt",
    "limit",
    "size",
    "format",
    "algorithm",
    "alg",
    "version",
    "at",
    "days",
    "enabled",
    "enable",
    "rotation",
    "timeout",
    "fingerprint",
    "digest",
    "checksum",
    "prefix",
    "suffix",
    "pattern",
    "regex",
    "store",
    "provider",
    "manager",
    "index",
    "usage",
    "budget",
    "rate",
    "created",
    "updated",
    "kind",
    "salt",
    "ring",
    "chain",
    "space",
    "map",
    "bucket",
];

/// Words anywhere in a name which say that the value is no secret.
const HARMLESS: [&str; 28] = [
    "public",
    "pub",
    "foreign",
    "primary",
    "cache",
    "sort",
    "partition",
    "idempotency",
    "csrf",
    "xsrf",
    "authenticity",
    "next",
    "page",
    "cursor",
    "continuation",
    "nonce",
    "hash",
    "checksum",
    "digest",
    "fingerprint",
    "max",
    "min",
    "publishable",
    "fence",
    "fencing",
    "anon",
    "row",
    "object",
];

/// The kind of a telling name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// People think up passwords, so these may be short.
    Password,
    /// Keys and secrets: made by machines, also as UUIDs.
    Key,
    /// Tokens and sessions: as keys, but often ids.
    Token,
    /// `auth`, which has a pair in base64 or a key.
    Auth,
    /// The header, with a scheme before the credential.
    Authorization,
}

/// The kind of the name at a place, unless it is the name of something about a credential.
pub(super) fn of(text: &str, start: usize, end: usize) -> Option<Telling> {
    let name = text.get(start..end)?;
    // `config.url.password` is a password: the last part of a path counts
    let own = name.rsplit('.').find(|part| !part.is_empty())?;
    let words = if own == "sid" { vec![own.to_owned()] } else { words_of(own) };
    let (at, telling) = (0..words.len()).rev().find_map(|at| Some((at, kind(text, start, &words, at)?)))?;
    let is_about = words[at + 1..].iter().any(|word| ABOUT.contains(&&**word));
    let is_harmless = words.iter().any(|word| HARMLESS.contains(&&**word));
    (!is_about && !is_harmless).then_some(telling)
}

fn kind(text: &str, start: usize, words: &[String], at: usize) -> Option<Telling> {
    let word = &*words[at];
    let ends_with = |ends: &[&str]| ends.iter().any(|end| word.ends_with(end));
    if ends_with(&["password", "passwd", "passphrase", "passwort", "kennwort", "pwd", "passcode"])
        || ["pw", "pass"].contains(&word)
    {
        return Some(Telling::Password);
    }
    if word == "key" {
        let before = match at.checked_sub(1) {
            Some(before) => words[before].clone(),
            None => word_before(text, start)?,
        };
        return KEYED.contains(&&*before).then_some(Telling::Key);
    }
    if ends_with(&JOINED) || ends_with(&["secret"]) || word.starts_with("credential") || word == "appid" {
        return Some(Telling::Key);
    }
    if ends_with(&["token"]) || ["sessionid", "session", "sid"].contains(&word) {
        return Some(Telling::Token);
    }
    match word {
        "authorization" => Some(Telling::Authorization),
        "auth" => Some(Telling::Auth),
        _ => None,
    }
}

/// The word before a place, with one space between: `signing key`.
fn word_before(text: &str, start: usize) -> Option<String> {
    const WORD_BYTES_MAX: usize = 16;
    let end = start.checked_sub(1)?;
    let begin = run::start(text.as_bytes(), end, ALNUM, WORD_BYTES_MAX);
    (text.as_bytes()[end] == b' ').then(|| text.get(begin..end).unwrap_or_default().to_ascii_lowercase())
}
