//! The calling program.
//!
//! The name is the program's own claim: a label and no proof. But it comes from the program, not from
//! the model that it runs. A model can neither choose nor change the data beside its memories.

use axum::http::{HeaderMap, header};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// The place of the client's name in each request of 2026-07-28.
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// The longest name or version kept, in characters.
const LABEL_CHARS_MAX: usize = 64;

/// A program that speaks MCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agent {
    name: String,
    version: Option<String>,
}

impl Agent {
    /// The sender of a message: by its metadata, by the session id from its handshake, or by its user agent.
    pub(super) fn of(headers: &HeaderMap, message: &Value) -> Self {
        let params = message.get("params");
        let said = params.and_then(|params| {
            let handshake = message.get("method").is_some_and(|method| method == "initialize");
            if handshake { params.get("clientInfo") } else { params.get("_meta")?.get(CLIENT_INFO) }
        });
        said.and_then(Self::from_client_info)
            .or_else(|| Self::from_session(headers.get("mcp-session-id")?.to_str().ok()?))
            .or_else(|| Self::from_user_agent(headers.get(header::USER_AGENT)?.to_str().ok()?))
            .unwrap_or_else(|| Self { name: "unknown".to_owned(), version: None })
    }

    fn from_client_info(info: &Value) -> Option<Self> {
        let name = label(info.get("name")?.as_str()?)?;
        Some(Self { name, version: info.get("version").and_then(Value::as_str).and_then(label) })
    }

    fn from_user_agent(text: &str) -> Option<Self> {
        let product = text.split_whitespace().next()?;
        let (name, version) = product.split_once('/').unwrap_or((product, ""));
        Some(Self { name: label(name)?, version: label(version) })
    }

    /// A session id that contains its owner's name. Nothing is kept of the session, so the id survives
    /// a restart.
    pub(super) fn session(&self) -> String {
        let mut nonce = [0; 8];
        // Without randomness two sessions of one program have the same id, which harms nothing.
        let _ = getrandom::fill(&mut nonce);
        let said = json!([self.name, self.version, data_encoding::HEXLOWER.encode(&nonce)]);
        BASE64URL_NOPAD.encode(said.to_string().as_bytes())
    }

    fn from_session(id: &str) -> Option<Self> {
        let bytes = (id.len() < 2_048).then(|| BASE64URL_NOPAD.decode(id.as_bytes()).ok())??;
        let (name, version, _nonce): (String, Option<String>, String) = serde_json::from_slice(&bytes).ok()?;
        Some(Self { name: label(&name)?, version: version.as_deref().and_then(label) })
    }

    /// The data beside a memory.
    pub(super) fn stamp(&self) -> Value {
        match &self.version {
            Some(version) => json!({ "name": self.name, "version": version }),
            None => json!({ "name": self.name }),
        }
    }
}

/// The stored form of a name: short, and without terminal control characters.
fn label(text: &str) -> Option<String> {
    let label: String = text.chars().filter(|letter| !letter.is_control()).take(LABEL_CHARS_MAX).collect();
    let label = label.trim();
    (!label.is_empty()).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_program_is_known_by_what_it_says_with_the_request_or_said_at_the_handshake() {
        let meta = json!({ "params": { "_meta": { CLIENT_INFO: { "name": "ide", "version": "2" } } } });
        let ide = Agent { name: "ide".into(), version: Some("2".into()) };
        let browser = [("user-agent", "curl/8.5.0 (linux)")];
        assert_eq!(Agent::of(&headers(&browser), &meta), ide);
        let handshake =
            json!({ "method": "initialize", "params": { "clientInfo": { "name": "ide", "version": "2" } } });
        assert_eq!(Agent::of(&headers(&[]), &handshake), ide);
        let session = ide.session();
        assert_ne!(session, ide.session());
        assert_eq!(Agent::of(&headers(&[("mcp-session-id", &session), browser[0]]), &json!({})), ide);
        let curl = Agent { name: "curl".into(), version: Some("8.5.0".into()) };
        assert_eq!(Agent::of(&headers(&[("mcp-session-id", "of-another-server"), browser[0]]), &json!({})), curl);
        assert_eq!(Agent::of(&headers(&[]), &json!({})).name, "unknown");
    }

    #[test]
    fn a_label_is_short_and_harmless() {
        assert_eq!(label("\u{1b}[31mred\n"), Some("[31mred".to_owned()));
        assert_eq!(label(&"é".repeat(100)).unwrap().chars().count(), LABEL_CHARS_MAX);
        assert_eq!(label(" \t"), None);
    }
}
