//! The caller of a request: its program, and the highest source that it may claim.
//!
//! The connection decides, not the body. A body may name a lower source, never a higher one. This is a
//! label, not a proof: with the `api-token` any program may pass for the command line. A holder of that token
//! is the owner. A token that names an agent decides the name, and no header makes a person of it.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use nexus_crdt::{AgentName, Origin, Source};

use super::guard::Shown;
use super::pass::Pass;
use super::problem::Problem;
use crate::memory::Secrets;

/// Header that the program sends with each request, so that a person's typing counts as the person's.
pub const CLIENT: &str = "nexus-client";
/// The header's value from the command line.
pub const COMMAND_LINE: &str = "command-line";

/// A caller, as shown by the connection.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    agent: Option<AgentName>,
    most: Source,
    /// Whether a token gives it its name, so that it can have no other.
    named: bool,
}

impl Caller {
    /// A caller with this name and this highest source.
    pub(crate) const fn new(agent: Option<AgentName>, most: Source) -> Self {
        Self { agent, most, named: false }
    }

    /// The agent of a token, with this highest source.
    pub(crate) const fn named(agent: AgentName, most: Source) -> Self {
        Self { agent: Some(agent), most, named: true }
    }

    /// Whether a token gives it its name.
    pub(crate) const fn is_named(&self) -> bool {
        self.named
    }

    /// A caller whose writes are a file's, by a token's name or else by its own.
    pub(crate) fn importing(pass: &Pass, headers: &HeaderMap) -> Self {
        match pass.name() {
            Some(name) => Self::named(name.clone(), Source::Import),
            None => Self::new(user_agent(headers), Source::Import),
        }
    }

    pub(super) fn of(shown: Option<&Shown>, headers: &HeaderMap) -> Self {
        let typed = headers.get(CLIENT).is_some_and(|client| client == COMMAND_LINE);
        match shown {
            Some(Shown::Issued(token)) => Self::named(token.name().clone(), Source::Tool),
            // a browser's name tells nothing: its user types
            Some(Shown::Cookie) => Self::new(None, Source::User),
            _ => Self::new(user_agent(headers), if typed { Source::User } else { Source::Tool }),
        }
    }

    /// The way with credentials in this caller's writes. Only a person may allow one.
    ///
    /// # Errors
    /// `refused` for a program that allows one.
    pub(crate) fn secrets(&self, allow: bool) -> Result<Secrets, Problem> {
        match (allow, self.most) {
            (false, _) => Ok(Secrets::Refuse),
            (true, Source::User) => Ok(Secrets::Allow),
            (true, _) => Err(Problem::new("refused", "only a person may allow a secret, and no program")
                .hint("leave `allow_secret` out; `--allow-secret` at the command line allows one")),
        }
    }

    /// The origin of this caller's writes, from the requested agent and source.
    ///
    /// # Errors
    /// `invalid` for a malformed name, `refused` for a source above the connection's.
    pub(crate) fn origin(&self, agent: Option<&str>, source: Option<Source>) -> Result<Origin, Problem> {
        let given = agent.map(str::parse).transpose();
        let given: Option<AgentName> = given.map_err(|error| Problem::new("invalid", format!("agent: {error}")))?;
        if self.named && given.is_some() && given != self.agent {
            let name = self.agent.as_ref().map(AgentName::as_str).unwrap_or_default();
            return Err(Problem::new(
                "refused",
                format!("the token is of the agent {name}, and writes in no other name"),
            )
            .hint("leave `agent` out"));
        }
        let source = source.unwrap_or(self.most);
        if source > self.most {
            let message = format!("what comes this way is of `{}` at most, not of `{source}`", self.most);
            return Err(Problem::new("refused", message).hint("leave `source` out, or name a lower one"));
        }
        Ok(Origin::new(given.or_else(|| self.agent.clone()), source))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts.extensions.get(), &parts.headers))
    }
}

/// The product at the beginning of a `User-Agent`.
pub(crate) fn user_agent(headers: &HeaderMap) -> Option<AgentName> {
    let product = headers.get(header::USER_AGENT)?.to_str().ok()?.split_whitespace().next()?;
    AgentName::cut_from(product.split_once('/').map_or(product, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::super::issued::{NewToken, Scopes, TokenBook};
    use super::*;

    fn caller(shown: Option<Shown>, headers: &[(&'static str, &'static str)]) -> Caller {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Caller::of(shown.as_ref(), &headers)
    }

    #[test]
    fn the_connection_says_on_whose_word_a_caller_writes() {
        let curl = ("user-agent", "curl/8.5.0 (linux)");
        let origin = |caller: Caller| caller.origin(None, None).unwrap();
        let named = |name: &str, source| Origin::new(name.parse::<crate::memory::AgentName>().unwrap(), source);
        assert_eq!(origin(caller(Some(Shown::Token), &[curl])), named("curl", Source::Tool));
        assert_eq!(origin(caller(Some(Shown::Token), &[curl, (CLIENT, "curl")])), named("curl", Source::Tool));
        let typed = [("user-agent", "nexus-node/1.0"), (CLIENT, COMMAND_LINE)];
        assert_eq!(origin(caller(Some(Shown::Token), &typed)), named("nexus-node", Source::User));
        let page = Origin::new(None, Source::User);
        assert_eq!(origin(caller(Some(Shown::Cookie), &[("user-agent", "Mozilla/5.0 (X11)")])), page);
        assert_eq!(origin(caller(None, &[])), Origin::new(None, Source::Tool));
    }

    /// promise: Agents | A token's name is what this node signs as the agent; no header and no body makes it another one, or a person
    #[test]
    fn a_token_gives_its_agent_a_name_that_nothing_changes() {
        let scopes = Scopes::of(["*"]).unwrap();
        let name: AgentName = "claude".parse().unwrap();
        let new = NewToken { name, scopes, spaces: Vec::new(), expires_at: None, rate: None };
        let made = TokenBook::in_memory().create(new, nexus_identity::Timestamp::default()).unwrap();
        let shown = Some(Shown::Issued(made.issued));
        let pretends = [("user-agent", "nexus-node/1.0"), (CLIENT, COMMAND_LINE)];
        let caller = caller(shown, &pretends);
        let own = Origin::new("claude".parse::<AgentName>().unwrap(), Source::Tool);
        assert_eq!(caller.origin(None, None).unwrap(), own);
        assert_eq!(caller.origin(Some("claude"), None).unwrap(), own);
        for (agent, source) in [(Some("codex"), None), (None, Some(Source::User)), (None, Some(Source::Model))] {
            assert_eq!(caller.origin(agent, source).unwrap_err().code, "refused", "{agent:?} {source:?}");
        }
        assert_eq!(caller.secrets(true).unwrap_err().code, "refused");
    }

    #[test]
    fn a_source_is_lowered_and_never_raised() {
        for most in Source::ALL {
            for asked in Source::ALL {
                match Caller::new(None, most).origin(None, Some(asked)) {
                    Ok(origin) => assert!(asked <= most && origin.source == Some(asked)),
                    Err(problem) => assert!(asked > most && problem.code == "refused"),
                }
            }
        }
        let caller = Caller::new(Some("curl".parse().unwrap()), Source::Tool);
        assert_eq!(caller.secrets(true).unwrap_err().code, "refused");
        assert_eq!(caller.secrets(false), Ok(Secrets::Refuse));
        assert_eq!(Caller::new(None, Source::User).secrets(true), Ok(Secrets::Allow));
        assert_eq!(caller.origin(Some("a script"), None).unwrap().agent.unwrap().as_str(), "a script");
        assert_eq!(caller.origin(Some(""), None).unwrap_err().code, "invalid");
    }
}
