//! The form of the file: JSON with the hashes of tokens. A file that is not wholly understood counts as unread, since the
//! part that is not may be a restriction.

use std::collections::BTreeSet;
use std::path::Path;

use data_encoding::HEXLOWER;
use nexus_crdt::AgentName;
use nexus_identity::{Timestamp, folded};
use serde::{Deserialize, Serialize};

use super::rate::Rate;
use super::scope::Scopes;
use super::token::{IssuedToken, NewToken};
use crate::datadir::DataDir;

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptTokens {
    format: u32,
    tokens: Vec<KeptToken>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptToken {
    name: AgentName,
    /// The hash of the token, in hexadecimal digits.
    hash: String,
    scopes: Vec<String>,
    spaces: Vec<String>,
    /// In milliseconds, as is the end.
    created_at: u64,
    expires_at: Option<u64>,
    rate: Option<String>,
}

/// The tokens of a data directory; none if there is no file.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read(directory: &Path) -> Result<Vec<IssuedToken>, String> {
    let text = DataDir::issued_tokens_in(directory).map_err(|error| error.to_string())?;
    let Some(text) = text else { return Ok(Vec::new()) };
    let kept: KeptTokens = serde_json::from_str(&text).map_err(|error| format!("issued-tokens: {error}"))?;
    if kept.format != FORMAT {
        return Err(format!("issued-tokens has format {}, and this version understands {FORMAT}", kept.format));
    }
    if kept.tokens.len() > TOKENS_MAX {
        return Err(format!("issued-tokens has more than {TOKENS_MAX} tokens"));
    }
    let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    let token = |kept: KeptToken| {
        let token = understood(kept)?;
        let is_new = names.insert(folded(token.name().as_str())) && hashes.insert(token.hash);
        if is_new { Ok(token) } else { Err(format!("issued-tokens has {} twice", token.name())) }
    };
    kept.tokens.into_iter().map(token).collect()
}

fn understood(kept: KeptToken) -> Result<IssuedToken, String> {
    let KeptToken { name, hash, scopes, spaces, created_at, expires_at, rate } = kept;
    let hash = HEXLOWER.decode(hash.as_bytes()).ok().and_then(|hash| hash.try_into().ok());
    let hash = hash.ok_or_else(|| format!("issued-tokens: the hash of {name} is none"))?;
    let scopes = Scopes::of(scopes.iter().map(String::as_str));
    let scopes = scopes.map_err(|error| format!("issued-tokens: {name}: {error}"))?;
    let rate: Option<Rate> = rate.map(|rate| rate.parse()).transpose().map_err(|error| format!("{name}: {error}"))?;
    let new = NewToken { name, scopes, spaces, expires_at: expires_at.map(Timestamp::from_ms), rate };
    Ok(IssuedToken::new(hash, new, Timestamp::from_ms(created_at)))
}

/// The text of the file.
pub(super) fn text<'a>(tokens: impl Iterator<Item = &'a IssuedToken>) -> String {
    let kept = |token: &IssuedToken| KeptToken {
        name: token.name().clone(),
        hash: HEXLOWER.encode(&token.hash),
        scopes: token.scopes().words(),
        spaces: token.spaces.to_vec(),
        created_at: token.created_at.as_ms(),
        expires_at: token.expires_at().map(Timestamp::as_ms),
        rate: token.rate().map(|rate| rate.to_string()),
    };
    let kept = KeptTokens { format: FORMAT, tokens: tokens.map(kept).collect() };
    // Our documents have string keys, so writing them as JSON cannot fail.
    serde_json::to_string(&kept).unwrap_or_default()
}

/// The most tokens of a node.
pub const TOKENS_MAX: usize = 256;
