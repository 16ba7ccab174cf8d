//! Tokens that name agents.

use super::Span;
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A token to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The agent that it names, which no other token of this node does.
    pub name: String,
    /// Its scopes: `memory:read`, `tasks:work`, a kind alone as `memory`, or `*`.
    pub scopes: Vec<String>,
    /// The only spaces that it may use, by name or id; all of them if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spaces: Vec<String>,
    /// The time after which it ends; never if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// How often it may ask: `5` or `5/s`, `100/m`, `1000/h`; as often as it likes if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
}

/// A token, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Token {
    /// The agent that it names.
    pub name: String,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// The only spaces that it may use; empty for all.
    pub spaces: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// When it ends by itself.
    pub expires_at: Option<String>,
    /// How often it may ask.
    pub rate: Option<String>,
}

/// A token that was made just now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TokenMade {
    /// The token without its secret.
    #[serde(flatten)]
    pub made: Token,
    /// The token, which is told this once.
    pub token: String,
}

/// The word that approves a task.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApproveTask {
    /// The passphrase, if approving takes one here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
}

/// The proof that approving takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Approving {
    /// `session` for a person's session, or `passphrase` for that and a passphrase.
    pub approve_with: String,
}

/// A change of the passphrase for approving.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeApproving {
    /// The passphrase from now on, of 8 characters at least; none if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
    /// The one until now, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<String>,
}

/// A token that is good no more.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TokenRevoked {
    /// The agent that it named.
    pub name: String,
    /// Always true.
    pub revoked: bool,
}
