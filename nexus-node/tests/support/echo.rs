//! A toy protocol, whole: every frame comes back. CONTRIBUTING.md ("To add a protocol") refers to this file.

use std::sync::Arc;

use futures::FutureExt;
use nexus_identity::Did;
use nexus_mesh::{FrameError, Rooms, Spawner, Stream, StreamProtocol, read_frame, write_frame};
use nexus_node::Node;

/// The name of the room, with the version of what is said in it.
pub(crate) const ECHO: StreamProtocol = StreamProtocol::new("/example/echo/1");
/// Streams that wait to be taken; more are reset.
const STREAMS_MAX: usize = 16;
/// The longest frame that is read, in bytes.
const FRAME_BYTES_MAX: usize = 1_024;

/// Serves the room.
pub(crate) fn serve(rooms: &mut Rooms, spawner: &Arc<dyn Spawner>) {
    let mut streams = rooms.register(ECHO, STREAMS_MAX);
    let tasks = spawner.clone();
    let serve = async move {
        while let Some((_member, stream)) = streams.recv().await {
            tasks.spawn("echo", echo(stream).map(drop).boxed());
        }
    };
    spawner.spawn("echo streams", serve.boxed());
}

async fn echo(mut stream: Stream) -> Result<(), FrameError> {
    while let Some(frame) = read_frame(&mut stream, FRAME_BYTES_MAX).await? {
        write_frame(&mut stream, &frame).await?;
    }
    Ok(())
}

/// Asks a member.
pub(crate) async fn ask(node: &Node, member: Did, words: &[u8]) -> Option<Vec<u8>> {
    let mut stream = node.open_stream(member, &ECHO).await.ok()?;
    write_frame(&mut stream, words).await.ok()?;
    read_frame(&mut stream, FRAME_BYTES_MAX).await.ok()?
}
