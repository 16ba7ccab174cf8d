use std::sync::Arc;

use tokio::sync::watch;

use crate::formats::Formats;
use crate::runtime::Shared;

/// Follows the format of critical state, from now on: says it to others, and has this node write entries of
/// the format that goes with it. What is raised here was applied by this node's own copy, or answered by a
/// leader that had proven that it leads; no peer's word alone does it.
pub(super) async fn follow(shared: Arc<Shared>, formats: Formats, mut raised: watch::Receiver<u16>) {
    loop {
        let critical = *raised.borrow_and_update();
        shared.mesh.set_formats(formats.written_at(critical), critical);
        if raised.changed().await.is_err() {
            return;
        }
    }
}
