//! The place at which a recall continues.

use data_encoding::HEXLOWER;
use nexus_identity::Did;

use super::arguments::Recall;
use crate::mcp::answer::Refusal;
use crate::problem::Problem;

/// A cursor has the number of shown memories. It is good for the same question on the same node only.
pub(super) struct RecallCursor;

impl RecallCursor {
    pub(super) fn render(shown: usize, asked: &Recall, node: &Did) -> String {
        format!("{shown}-{}", question(asked, node))
    }

    pub(super) fn parse(text: &str, asked: &Recall, node: &Did) -> Result<usize, Refusal> {
        let of = text.split_once('-').and_then(|(shown, of)| Some((shown.parse().ok()?, of)));
        match of {
            Some((shown @ 1..super::RECALLED_MAX, of)) if of == question(asked, node) => Ok(shown),
            Some(_) => {
                let message = "the cursor is of another question or another node";
                Err(Problem::new("invalid", message).hint("ask the same as before, or start without one"))
            }
            None => Err(Problem::new("invalid", "that is not a cursor").hint("take `next` from the answer before")),
        }
    }
}

fn question(asked: &Recall, node: &Did) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(node.as_bytes());
    // Its members are strings and lists of strings, so writing them as JSON cannot fail.
    hasher.update(&serde_json::to_vec(asked).unwrap_or_default());
    HEXLOWER.encode(&hasher.finalize().as_bytes()[..8])
}
