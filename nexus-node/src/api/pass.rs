//! The rights that come with the proof of a request: the one place where scopes are looked at.
//!
//! Each route says what it needs where it is registered, and each tool of MCP beside its name. The `api-token` may do
//! everything but approve. An issued token may do what its scopes say, in the spaces that it names, and nothing that is its
//! owner's. The page's cookie is bounded before, by the guard.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, Method};
use nexus_crdt::AgentName;
use nexus_identity::folded;

use super::guard::Shown;
use super::issued::{IssuedToken, Scope};
use super::problem::Problem;
use crate::error::AccessError;
use crate::project::ProjectChoice;
use crate::{Brain, Node, NodeError};

/// The space of the records of projects.
const RECORDS: &str = "default";

/// The proof and the scopes that a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// No proof.
    Nothing,
    /// Any proof.
    Proof,
    /// These scopes, or the owner.
    Scopes(&'static [Scope]),
    /// One of these scopes, or the owner. The handler asks for those of what it tells.
    AnyOf(&'static [Scope]),
    /// Such scopes as `Scopes`, and no bound to some spaces: what it is about has none.
    Unbounded(&'static [Scope]),
    /// The owner of the node: the `api-token`, or the page where the guard lets it.
    Owner,
    /// A person's session: the page's cookie.
    Person,
}

/// The needs of all routes, by method and path.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteNeeds(BTreeMap<(String, String), Needs>);

impl RouteNeeds {
    pub(super) fn add(&mut self, method: &Method, path: &str, needs: Needs) {
        self.0.insert((method.as_str().to_owned(), path.to_owned()), needs);
    }

    /// The needs of a method of a path. A method that the path does not have is the owner's to be refused.
    pub(super) fn of(&self, method: &Method, path: &str) -> Needs {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let needs = self.0.get(&(method.as_str().to_owned(), path.to_owned()));
        needs.copied().unwrap_or(Needs::Owner)
    }

    /// Whether a caller may use a route.
    ///
    /// # Errors
    /// `refused`, with what it takes.
    pub(super) fn permit(&self, shown: &Shown, method: &Method, path: &str) -> Result<(), Problem> {
        let needs = self.of(method, path);
        if needs == Needs::Person {
            return if *shown == Shown::Cookie { Ok(()) } else { Err(a_persons()) };
        }
        // without a proof the guard lets nobody in but where none is needed
        let Shown::Issued(token) = shown else { return Ok(()) };
        let pass = Pass(Some(token.clone()));
        match needs {
            Needs::Nothing | Needs::Proof => Ok(()),
            Needs::Scopes(scopes) => pass.check(scopes),
            Needs::AnyOf(scopes) if scopes.iter().any(|scope| pass.allows(*scope)) => Ok(()),
            Needs::AnyOf(scopes) => pass.check(scopes),
            Needs::Unbounded(scopes) => {
                pass.check(scopes)?;
                if token.spaces().is_none() { Ok(()) } else { Err(unbounded()) }
            }
            Needs::Owner | Needs::Person => Err(owners()),
        }
    }
}

/// The refusal of what a person decides.
fn a_persons() -> Problem {
    Problem::new("refused", "a person approves, in a session of their own: no token does")
        .hint("`nexus-node web` opens the page, which has a button; on a terminal `nexus-node task approve ID` asks")
}

/// The refusal of what is the owner's alone.
fn owners() -> Problem {
    Problem::new("refused", "a token that names an agent never does this, whatever its scopes")
        .hint("it takes the `api-token`: its person does it at the command line")
}

/// The refusal of what no bound to spaces fits.
fn unbounded() -> Problem {
    Problem::new("refused", "this has no space, and the token is for some spaces alone")
        .hint("its person makes a token without --space: `nexus-node token create`")
}

/// The refusal of what a token waited for that is over.
pub(super) fn ended() -> Problem {
    Problem::new("unauthorized", "the token ended while it waited")
        .hint("its person makes another one: `nexus-node token create`")
}

/// The rights of a caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pass(Option<Arc<IssuedToken>>);

impl Pass {
    pub(super) fn shown(shown: &Shown) -> Self {
        match shown {
            Shown::Issued(token) => Self(Some(token.clone())),
            _ => Self(None),
        }
    }

    /// For a request that the guard has let in.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Shown>().map(Self::shown).unwrap_or_default()
    }

    /// The name of the token's agent, if it is a token that names one.
    pub(crate) fn name(&self) -> Option<&AgentName> {
        self.0.as_ref().map(|token| token.name())
    }

    /// Whether it may do this.
    pub(crate) fn allows(&self, scope: Scope) -> bool {
        self.0.as_ref().is_none_or(|token| token.allows(scope))
    }

    /// Whether it may do all of this.
    ///
    /// # Errors
    /// `refused`, with the first scope that it lacks.
    pub(crate) fn check(&self, scopes: &[Scope]) -> Result<(), Problem> {
        let Some(lacks) = scopes.iter().find(|scope| !self.allows(**scope)) else { return Ok(()) };
        let name = self.name().map(ToString::to_string).unwrap_or_default();
        Err(Problem::new("refused", format!("the token {name} has not the scope {lacks}"))
            .hint(format!("its person makes one that has: `nexus-node token create --name ANOTHER --scope {lacks}`")))
    }

    /// A memory as far as this caller may use it.
    pub(crate) fn brain(&self, brain: Brain) -> Brain {
        match self.0.as_ref().and_then(|token| token.spaces()) {
            Some(spaces) => brain.within(spaces),
            None => brain,
        }
    }

    /// The name of a project. To a caller of some spaces no record of another space names one.
    ///
    /// # Errors
    /// As [`Node::project_named`].
    pub(crate) async fn project(&self, node: &Node, choice: ProjectChoice) -> Result<String, NodeError> {
        match choice {
            // records are in the space of all
            ProjectChoice::At(place) if !self.sees(RECORDS) => Ok(place.name),
            choice => node.project_named(choice).await,
        }
    }

    /// Whether it may use some spaces alone.
    pub(crate) fn is_bounded(&self) -> bool {
        self.0.as_ref().is_some_and(|token| token.spaces().is_some())
    }

    /// The first of the spaces that it may use, if these are some alone.
    #[cfg(feature = "documents")]
    pub(crate) fn first_space(&self) -> Option<String> {
        self.0.as_ref().and_then(|token| token.spaces()).and_then(|spaces| spaces.first().cloned())
    }

    /// Whether it may use a space, by name or id.
    pub(crate) fn sees(&self, space: &str) -> bool {
        let Some(spaces) = self.0.as_ref().and_then(|token| token.spaces()) else { return true };
        let wanted = folded(space);
        spaces.iter().any(|own| folded(own) == wanted)
    }

    /// Refuses a space that this caller may not use.
    ///
    /// # Errors
    /// `refused`.
    pub(crate) fn check_space(&self, space: &str) -> Result<(), Problem> {
        if self.sees(space) {
            return Ok(());
        }
        let space: String = space.chars().take(64).collect();
        Err(NodeError::from(AccessError::OutOfReach { space }).into())
    }

    /// Refuses what has no space, to a caller that may use some spaces alone.
    ///
    /// # Errors
    /// `refused`.
    pub(crate) fn check_unbounded(&self) -> Result<(), Problem> {
        if self.is_bounded() { Err(unbounded()) } else { Ok(()) }
    }

    /// Resolves when the token is revoked, or its time is over; never without such a token.
    pub(super) async fn over(self) {
        match self.0 {
            Some(token) => token.over().await,
            None => std::future::pending().await,
        }
    }

    /// Waits for something that a caller is to get, as long as its token is good. Its holder gets nothing that
    /// comes at the very end of it.
    ///
    /// # Errors
    /// `unauthorized`, once the token is over.
    pub(crate) async fn while_good<T>(&self, what: impl Future<Output = T>) -> Result<T, Problem> {
        let Some(token) = self.0.clone() else { return Ok(what.await) };
        tokio::select! {
            biased;
            () = token.over() => Err(ended()),
            what = what => Ok(what),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Pass {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
