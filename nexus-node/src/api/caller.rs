//! The caller of a request: its program, and the highest source that it may claim.
//!
//! The connection decides, not the body. A body may name a lower source, never a higher one. This is a
//! label, not a proof: with the token any program may pass for the command line. A holder of the token
//! is the owner.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use nexus_crdt::{AgentName, Origin, Source};

use super::guard::Shown;
use super::problem::Problem;
use crate::secrets::Secrets;

/// Header that the program sends with each request, so that a person's typing counts as the person's.
pub const CLIENT: &str = "nexus-client";
/// The header's value from the command line.
pub const COMMAND_LINE: &str = "command-line";

/// A caller, as shown by the connection.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    agent: Option<AgentName>,
    most: Source,
}

impl Caller {
    /// A caller with this name and this highest source.
    pub(crate) const fn new(agent: Option<AgentName>, most: Source) -> Self {
        Self { agent, most }
    }

    pub(super) fn of(shown: Option<Shown>, headers: &HeaderMap) -> Self {
        let typed = headers.get(CLIENT).is_some_and(|client| client == COMMAND_LINE);
        match shown {
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
        let given = given.map_err(|error| Problem::new("invalid", format!("agent: {error}")))?;
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
        Ok(Self::of(parts.extensions.get().copied(), &parts.headers))
    }
}

/// The product at the beginning of a `User-Agent`.
pub(crate) fn user_agent(headers: &HeaderMap) -> Option<AgentName> {
    let product = headers.get(header::USER_AGENT)?.to_str().ok()?.split_whitespace().next()?;
    AgentName::cut_from(product.split_once('/').map_or(product, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(shown: Option<Shown>, headers: &[(&'static str, &'static str)]) -> Caller {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Caller::of(shown, &headers)
    }

    #[test]
    fn the_connection_says_on_whose_word_a_caller_writes() {
        let curl = ("user-agent", "curl/8.5.0 (linux)");
        let origin = |caller: Caller| caller.origin(None, None).unwrap();
        let named = |name: &str, source| Origin::new(name.parse::<crate::AgentName>().unwrap(), source);
        assert_eq!(origin(caller(Some(Shown::Token), &[curl])), named("curl", Source::Tool));
        assert_eq!(origin(caller(Some(Shown::Token), &[curl, (CLIENT, "curl")])), named("curl", Source::Tool));
        let typed = [("user-agent", "nexus-node/1.0"), (CLIENT, COMMAND_LINE)];
        assert_eq!(origin(caller(Some(Shown::Token), &typed)), named("nexus-node", Source::User));
        let page = Origin::new(None, Source::User);
        assert_eq!(origin(caller(Some(Shown::Cookie), &[("user-agent", "Mozilla/5.0 (X11)")])), page);
        assert_eq!(origin(caller(None, &[])), Origin::new(None, Source::Tool));
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
