//! Deleted bytes leave the disk of this node.

use axum::Json as Answer;

use super::problem::Problem;
use super::wire;
use crate::Node;

/// Compacts the files. The work goes on if the caller goes away.
pub(super) async fn compact(node: Node) -> Result<Answer<wire::Compacted>, Problem> {
    Ok(Answer(node.compact().await?.into()))
}

/// Tells how far a compaction is.
pub(super) async fn compacting(node: Node) -> Result<Answer<wire::Compacting>, Problem> {
    Ok(Answer(node.compacting().await?.into()))
}
