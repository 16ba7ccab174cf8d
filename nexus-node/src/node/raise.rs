use nexus_mesh::Mesh;
use tokio::sync::watch;

use crate::formats::Formats;

/// Follows the format of critical state: the node says it in its hellos, and writes entries of the format
/// that goes with it. The node's own copy applied it, or a leader answered it with a proof that it leads.
/// No peer's word alone raises anything here.
pub(super) async fn follow(mesh: Mesh, formats: Formats, mut raised: watch::Receiver<u16>) {
    loop {
        let critical = *raised.borrow_and_update();
        mesh.set_formats(formats.written_at(critical), critical);
        if raised.changed().await.is_err() {
            return;
        }
    }
}
