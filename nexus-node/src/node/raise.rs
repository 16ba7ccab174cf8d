use nexus_mesh::Mesh;
use tokio::sync::watch;

use crate::engine::Command;
use crate::formats::{Formats, WrittenFormat};
use crate::runtime::EngineHandle;
use crate::world::World;

/// Follows the format of critical state: the node writes entries of the format that goes with it, and says
/// both in its hellos. `written` is the format in which it writes entries at its start.
///
/// The node's own copy applied the raise, or a leader answered it with a proof that it leads. No peer's word
/// alone raises anything here.
pub(super) async fn follow(
    world: World,
    mesh: Mesh,
    engine: EngineHandle,
    formats: Formats,
    mut written: WrittenFormat,
    mut raised: watch::Receiver<u16>,
) {
    loop {
        let critical = *raised.borrow_and_update();
        let format = formats.written_at(critical);
        if format > written {
            // the engine has stopped, and this node with it
            let WrittenFormat { entry, tasks_apart, persons, erases } = format;
            let raise = || Command::Raise { format: entry, tasks_apart, persons, erases };
            if engine.run_once_there_is_room(&world, raise).await.is_err() {
                return;
            }
            written = format;
        }
        mesh.set_formats(written.entry, critical);
        if raised.changed().await.is_err() {
            return;
        }
    }
}
