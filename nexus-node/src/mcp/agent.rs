//! The calling program.
//!
//! The name is the program's own claim: a label and no proof. But it comes from the program, not from
//! the model that it runs. A model can neither choose nor change the data beside its memories.

use axum::http::HeaderMap;
use data_encoding::BASE64URL_NOPAD;
use nexus_crdt::{AgentName, Source};
use serde_json::{Value, json};

use crate::api::caller::{Caller, user_agent};
use crate::api::pass::Pass;

/// The place of the client's name in each request of 2026-07-28.
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";

/// A program that speaks MCP; nameless, if it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agent(Option<AgentName>);

impl Agent {
    /// The agent of a caller's token; without one the sender of a message, as it calls itself.
    pub(super) fn of_caller(pass: &Pass, headers: &HeaderMap, message: &Value) -> Self {
        match pass.name() {
            Some(name) => Self(Some(name.clone())),
            None => Self::of(headers, message),
        }
    }

    /// The sender of a message: by its metadata, by the session id from its handshake, or by its user agent.
    pub(super) fn of(headers: &HeaderMap, message: &Value) -> Self {
        let params = message.get("params");
        let said = params.and_then(|params| {
            let handshake = message.get("method").is_some_and(|method| method == "initialize");
            if handshake { params.get("clientInfo") } else { params.get("_meta")?.get(CLIENT_INFO) }
        });
        let name = said
            .and_then(|info| AgentName::cut_from(info.get("name")?.as_str()?))
            .or_else(|| named_by_session(headers.get("mcp-session-id")?.to_str().ok()?))
            .or_else(|| user_agent(headers));
        Self(name)
    }

    /// The name, if there is one.
    pub(super) fn name(&self) -> Option<&str> {
        self.0.as_ref().map(AgentName::as_str)
    }

    /// A session id that contains its owner's name. Nothing is kept of the session, so the id survives
    /// a restart.
    pub(super) fn session(&self) -> String {
        let mut nonce = [0; 8];
        // Without randomness two sessions of one program have the same id, which harms nothing.
        let _ = getrandom::fill(&mut nonce);
        let said = json!([self.name().unwrap_or_default(), null, data_encoding::HEXLOWER.encode(&nonce)]);
        BASE64URL_NOPAD.encode(said.to_string().as_bytes())
    }

    /// The caller for the API: everything that is written over MCP is on a model's word.
    pub(super) fn caller(&self) -> Caller {
        Caller::new(self.0.clone(), Source::Model)
    }
}

/// The name in a session id. Its second part was a version once.
fn named_by_session(id: &str) -> Option<AgentName> {
    let bytes = (id.len() < 2_048).then(|| BASE64URL_NOPAD.decode(id.as_bytes()).ok())??;
    let (name, _version, _nonce): (String, Option<String>, String) = serde_json::from_slice(&bytes).ok()?;
    AgentName::cut_from(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    /// promise: Agents | Which instance, which agent and when is written by the node; nobody forges it
    #[test]
    fn a_program_is_known_by_what_it_says_with_the_request_or_said_at_the_handshake() {
        let meta = json!({ "params": { "_meta": { CLIENT_INFO: { "name": "ide", "version": "2" } } } });
        let ide = Agent(Some("ide".parse().unwrap()));
        let browser = [("user-agent", "curl/8.5.0 (linux)")];
        assert_eq!(Agent::of(&headers(&browser), &meta), ide);
        let handshake =
            json!({ "method": "initialize", "params": { "clientInfo": { "name": "ide", "version": "2" } } });
        assert_eq!(Agent::of(&headers(&[]), &handshake), ide);
        let session = ide.session();
        assert_ne!(session, ide.session());
        assert_eq!(Agent::of(&headers(&[("mcp-session-id", &session), browser[0]]), &json!({})), ide);
        let curl = Agent(Some("curl".parse().unwrap()));
        assert_eq!(Agent::of(&headers(&[("mcp-session-id", "of-another-server"), browser[0]]), &json!({})), curl);
        let nobody = Agent(None);
        assert_eq!(Agent::of(&headers(&[]), &json!({})), nobody);
        assert_eq!(Agent::of(&headers(&[("mcp-session-id", &nobody.session())]), &json!({})), nobody);
        // as an earlier version of this program gave it out
        let before = BASE64URL_NOPAD.encode(br#"["ide","2","00"]"#);
        assert_eq!(Agent::of(&headers(&[("mcp-session-id", &before)]), &json!({})), ide);
    }
}
