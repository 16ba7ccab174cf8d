use std::time::Duration;

use crate::engine::{Command, Outcome};
use crate::identity::Identity;
use crate::runtime::EngineHandle;
use crate::world::{World, random};

/// The shortest time between two looks for memberships to end; the longest is twice that.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// Ends memberships whose credentials ended long ago. Of several admins one is first, at random; the others find nothing
/// to do. Ends with the node.
pub(super) async fn end_expired(world: World, engine: EngineHandle, identity: Identity) {
    let mut members = identity.follow();
    loop {
        let part = u32::from(u16::from_le_bytes(random()));
        let due = world.now() + LOOK_EVERY + LOOK_EVERY * part / u32::from(u16::MAX);
        let ended = async { while members.changed().await.is_ok() {} };
        tokio::select! {
            () = world.sleep_until(due) => {}
            () = ended => return,
        }
        loop {
            match engine.run_once_there_is_room(&world, || Command::EndExpired).await {
                Ok(Outcome::Expired { ended: 0 }) => break,
                Ok(Outcome::Expired { ended }) => {
                    tracing::info!(ended, "memberships were ended whose credentials ended long ago");
                }
                _ => return,
            }
        }
    }
}
