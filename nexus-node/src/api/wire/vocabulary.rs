//! Words that mean the same, on the wire.

use nexus_client::wire::{NewWords, Words};

use crate::api::Problem;
use crate::api::caller::Caller;

impl From<crate::memory::Words> for Words {
    fn from(group: crate::memory::Words) -> Self {
        let crate::memory::Words { id, words, space, author, author_name, at } = group;
        let (id, author, at) = (id.to_string(), author.to_string(), at.to_string());
        Self { id, words, space, author, author_name, at }
    }
}

/// The group, with its caller as origin.
pub(in crate::api) fn new_words(given: NewWords, caller: &Caller) -> Result<crate::memory::NewWords, Problem> {
    let NewWords { words, space, agent, source } = given;
    let origin = caller.origin(agent.as_deref(), source.map(Into::into))?;
    Ok(crate::memory::NewWords { words, space, origin, secrets: caller.secrets(false)? })
}
