//! A blob by its hash, the first digits of it, or a tag.

use nexus_client::wire;
use nexus_node::api::Problem;

use crate::client::{Client, escape};

/// The digits of a hash in a table.
pub(super) const SHORT: usize = 12;

pub(super) fn of(blob: &str, word: &str) -> String {
    format!("/v1/blobs/{}{word}", escape(blob))
}

pub(super) fn want_copies(client: &Client, blob: &str, copies: u8) -> Result<wire::Blob, Problem> {
    client.post(&of(blob, "/copies"), &wire::WantCopies { copies: usize::from(copies) })
}
