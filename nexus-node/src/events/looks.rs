//! When a stream of changes looks at the coordinators' mode.

use std::time::Duration;

use nexus_mesh::timers;
use tokio::sync::watch;
use tokio::time::Instant;

/// The time between two looks for a while after a connection was opened or closed, and between two at rest.
const BRISK: Duration = Duration::from_millis(500);
const AT_REST: Duration = Duration::from_secs(4);
/// The time in which the coordinators settle after a connection was opened or closed.
const SETTLES: Duration = Duration::from_secs(10);

/// The looks at the mode. Most of its changes come with a connection that opens or closes, or soon after.
pub(super) struct Looks {
    contacts: watch::Receiver<()>,
    next: Instant,
    brisk_until: Instant,
}

impl Looks {
    pub(super) fn new(contacts: watch::Receiver<()>) -> Self {
        let now = Instant::now();
        Self { contacts, next: now + BRISK, brisk_until: now + SETTLES }
    }

    /// Waits until the next look is due. Dropping it early loses nothing.
    pub(super) async fn due(&mut self) {
        loop {
            tokio::select! {
                changed = self.contacts.changed() => {
                    if changed.is_err() {
                        // the node ends, and the stream with it
                        return std::future::pending().await;
                    }
                    let now = Instant::now();
                    self.brisk_until = now + SETTLES;
                    self.next = self.next.min(now + BRISK);
                }
                () = timers::sleep_until(self.next) => {
                    let now = Instant::now();
                    self.next = now + if now < self.brisk_until { BRISK } else { AT_REST };
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn looks_in(looks: &mut Looks, time: Duration) -> Vec<Duration> {
        let begin = Instant::now();
        let mut seen = Vec::new();
        while tokio::time::timeout_at(begin + time, looks.due()).await.is_ok() {
            seen.push(begin.elapsed());
        }
        seen
    }

    /// promise: Commands and API | A stream of changes looks at the coordinators' mode within half a second after connections change, and each four seconds at rest
    #[tokio::test(start_paused = true)]
    async fn looks_are_few_at_rest_and_soon_after_connections_change() {
        let (contacts, seen) = watch::channel(());
        let mut looks = Looks::new(seen);
        let begun = looks_in(&mut looks, SETTLES).await;
        assert!((19..=20).contains(&begun.len()), "it has just begun: {begun:?}");
        let at_rest = looks_in(&mut looks, Duration::from_secs(60)).await;
        assert!((14..=16).contains(&at_rest.len()), "{at_rest:?}");

        contacts.send_replace(());
        let soon = looks_in(&mut looks, SETTLES).await;
        assert!(soon.len() >= 19 && soon[0] <= BRISK, "{soon:?}");
        // connections that come and go make no more looks than that
        looks_in(&mut looks, SETTLES).await;
        let mut count = 0;
        for _ in 0..1_000 {
            contacts.send_replace(());
            count += looks_in(&mut looks, Duration::from_millis(10)).await.len();
        }
        assert!((18..=20).contains(&count), "{count}");

        drop(contacts);
        assert!(looks_in(&mut looks, SETTLES).await.is_empty(), "the node ends");
    }
}
