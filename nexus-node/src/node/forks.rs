use std::time::Duration;

use tokio::sync::watch;

use super::base::Base;
use crate::engine::{Again, Command, Outcome};
use crate::notices::{FORK, Notices};
use crate::runtime::{EngineHandle, fresh_incarnation};
use crate::world::{World, random};

/// The longest wait before this node settles a fork: another member's evidence may come first, and one is enough.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Starts the task that settles forks.
pub(super) fn start(base: &Base, unsettled: watch::Receiver<()>) {
    let settling = settle(base.world.clone(), base.engine.clone(), unsettled, base.notices.clone());
    base.world.spawn("forks", settling);
}

/// Settles forks: at the start, and when one is seen. Ends with the engine.
async fn settle(world: World, engine: EngineHandle, mut unsettled: watch::Receiver<()>, notices: Notices) {
    loop {
        let part = u32::from(u16::from_le_bytes(random()));
        world.sleep_until(world.now() + WAIT_MAX * part / u32::from(u16::MAX)).await;
        loop {
            let settle = || Command::Settle { fresh: fresh_incarnation() };
            let outcome = engine.run_once_there_is_room(&world, settle).await;
            let Ok(Outcome::Settled { again }) = outcome else { return };
            match again {
                Again::More => {}
                Again::Done => break,
                Again::Full => {
                    notices.note(
                        FORK,
                        String::new(),
                        "a part of what a fork of this node's log cost is not written again: half of its quota is used"
                            .to_owned(),
                        "the rest is in this node's store alone; all keys of this node have one quota: have admins raise `writer_bytes_max`",
                    );
                    break;
                }
            }
        }
        if unsettled.changed().await.is_err() {
            return;
        }
    }
}
