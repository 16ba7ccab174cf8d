//! Tokens that name agents: making one, listing them, and revoking one. Their routes are the owner's, and the guard keeps the page out.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Json, Path};
use super::issued::{IssuedToken, NewToken, Scopes};
use super::problem::Problem;
use super::{Api, wire};

pub(super) async fn create(
    State(api): State<Api>,
    Json(new): Json<wire::NewToken>,
) -> Result<(StatusCode, Answer<wire::TokenMade>), Problem> {
    let wire::NewToken { name, scopes, spaces, ttl, rate } = new;
    let invalid = |what: &str, error: &dyn std::fmt::Display| Problem::new("invalid", format!("{what}: {error}"));
    let now = api.0.guard.now();
    let end = |span: wire::Span| now.date_after(span.0).ok_or_else(|| invalid("ttl", &"it has no such end"));
    let new = NewToken {
        name: name.parse().map_err(|error| invalid("name", &error))?,
        scopes: Scopes::of(scopes.iter().map(String::as_str)).map_err(|error| invalid("scopes", &error))?,
        spaces,
        expires_at: ttl.map(end).transpose()?,
        rate: rate.map(|rate| rate.parse()).transpose().map_err(|error| invalid("rate", &error))?,
    };
    let made = api.0.guard.issued().create(new, now)?;
    let (token, made) = (made.token.to_string(), shown_token(&made.issued));
    Ok((StatusCode::CREATED, Answer(wire::TokenMade { token, made })))
}

pub(super) async fn list(State(api): State<Api>) -> Result<Answer<Vec<wire::Token>>, Problem> {
    let tokens = api.0.guard.issued().list()?;
    Ok(Answer(tokens.iter().map(|token| shown_token(token)).collect()))
}

pub(super) async fn revoke(State(api): State<Api>, Path(name): Path) -> Result<Answer<wire::TokenRevoked>, Problem> {
    let token = api.0.guard.issued().revoke(&name)?;
    Ok(Answer(wire::TokenRevoked { name: token.name().to_string(), revoked: true }))
}

fn shown_token(token: &IssuedToken) -> wire::Token {
    wire::Token {
        name: token.name().to_string(),
        scopes: token.scopes().words(),
        spaces: token.spaces().map(|spaces| spaces.to_vec()).unwrap_or_default(),
        created_at: token.created_at().to_string(),
        expires_at: token.expires_at().map(|end| end.to_string()),
        rate: token.rate().map(|rate| rate.to_string()),
    }
}
