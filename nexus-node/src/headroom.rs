//! The room on the disk below a node, and what may still be written.
//!
//! A node keeps a reserve of free space. Below it no memories are taken, of callers or of peers. Changes of the
//! membership go on down to a quarter of it. Free space is asked seldom: after a second,
//! or once a part of the distance to the reserve was written. A commit for which the disk had no room
//! all the same ends writing until a later try.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::world::World;

/// Tells the free bytes of a node's disk; `None` where they cannot be told. May block for a moment.
pub type FreeBytes = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// The longest time for which an answer counts.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The part of the distance to the reserve after which free space is asked again, as a divisor.
const ASK_PART: u64 = 4;
/// The bytes that a byte of a batch may take in the file.
const GROWTH: u64 = 2;
/// The part of the reserve that is left for changes of the membership to take, as a divisor.
const LAST_PART: u64 = 4;
/// The longest wait before a commit is tried again for which the disk had no room.
const RETRY_MAX: Duration = Duration::from_secs(32);

/// The kinds of writes for which there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// None.
    Nothing,
    /// Changes of the membership, and this node's own keeping.
    Duties,
    /// All.
    All,
}

/// The refusal of a write for lack of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk is full: {}", left(.free, .reserve))]
pub struct DiskFull {
    /// The free bytes, if they can be told.
    pub free: Option<u64>,
    /// The free bytes below which nothing is written.
    pub reserve: u64,
}

fn left(free: &Option<u64>, reserve: &u64) -> String {
    match free {
        Some(free) if free < reserve => {
            format!("{} MB are left, and nothing is written below {} MB", free / 1_000_000, reserve.div_ceil(1_000_000))
        }
        _ => "it has no room for a write".to_owned(),
    }
}

/// The room on a node's disk, cheap to clone.
#[derive(Clone)]
pub(crate) struct Headroom(Arc<Inner>);

struct Inner {
    ask: Option<FreeBytes>,
    gauge: Mutex<Gauge>,
    room: watch::Sender<Room>,
}

#[derive(Default)]
struct Gauge {
    reserve: u64,
    /// The time of the last answer.
    asked: Option<Duration>,
    free: Option<u64>,
    /// The bytes that may be written before free space is asked again.
    before_asking: u64,
    /// When a commit without room may be tried again, and the wait until then.
    retry: Option<(Duration, Duration)>,
}

impl Headroom {
    /// The room above a reserve, in bytes. Without a way to ask, only a failed commit tells.
    pub(crate) fn new(ask: Option<FreeBytes>, reserve: u64) -> Self {
        let gauge = Gauge { reserve, ..Gauge::default() };
        Self(Arc::new(Inner { ask, gauge: Mutex::new(gauge), room: watch::Sender::new(Room::All) }))
    }

    fn gauge(&self) -> MutexGuard<'_, Gauge> {
        self.0.gauge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the reserve, in bytes.
    pub(crate) fn set_reserve(&self, reserve: u64) {
        let mut gauge = self.gauge();
        (gauge.reserve, gauge.asked) = (reserve, None);
    }

    /// The room now. Asks the disk if the last answer is old, so it may block for a moment.
    pub(crate) fn look(&self, now: Duration) -> Room {
        let mut gauge = self.gauge();
        let is_old = gauge.asked.is_none_or(|asked| now.saturating_sub(asked) >= ASK_EVERY);
        if is_old || gauge.before_asking == 0 {
            gauge.asked = Some(now);
            gauge.free = self.0.ask.as_ref().and_then(|ask| ask());
            gauge.before_asking = gauge.free.map_or(u64::MAX, |free| free.saturating_sub(gauge.reserve) / ASK_PART);
        }
        let room = gauge.room(now);
        drop(gauge);
        self.tell(room);
        room
    }

    /// Notes a commit of so many bytes.
    pub(crate) fn wrote(&self, bytes: usize) {
        let mut gauge = self.gauge();
        gauge.before_asking = gauge.before_asking.saturating_sub((bytes as u64).saturating_mul(GROWTH));
        gauge.retry = None;
    }

    /// Notes a commit for which the disk had no room. Nothing is written for a while, longer each time.
    pub(crate) fn ran_out(&self, now: Duration) {
        let mut gauge = self.gauge();
        let wait = gauge.retry.map_or(ASK_EVERY, |(_, wait)| (wait * 2).min(RETRY_MAX));
        gauge.retry = Some((now + wait, wait));
        gauge.asked = None;
        drop(gauge);
        self.tell(Room::Nothing);
    }

    /// The room as it was last seen. Never blocks.
    pub(crate) fn room(&self) -> Room {
        *self.0.room.borrow()
    }

    /// The refusal of a write, with the numbers as they were last seen.
    pub(crate) fn refusal(&self) -> DiskFull {
        let gauge = self.gauge();
        DiskFull { free: gauge.free, reserve: gauge.reserve }
    }

    /// Resolves once there is room for all.
    pub(crate) async fn until_ample(&self) {
        let mut room = self.0.room.subscribe();
        // the sender is here, so the channel does not close
        let _ = room.wait_for(|room| *room == Room::All).await;
    }

    /// Resolves once there has been room for all for a while.
    pub(crate) async fn until_ample_for(&self, a_while: Duration, world: &World) {
        let mut room = self.0.room.subscribe();
        loop {
            self.until_ample().await;
            tokio::select! {
                () = world.sleep_until(world.now() + a_while) => return,
                _ = room.wait_for(|room| *room != Room::All) => {}
            }
        }
    }

    /// Looks for room again and again while there is too little, until the end.
    pub(crate) async fn watch(self, world: World, end: impl Future) {
        tokio::select! {
            _ = end => {}
            () = self.look_again(world) => {}
        }
    }

    async fn look_again(&self, world: World) {
        let mut room = self.0.room.subscribe();
        loop {
            if room.wait_for(|room| *room != Room::All).await.is_err() {
                return;
            }
            world.sleep_until(world.now() + ASK_EVERY).await;
            let (here, now) = (self.clone(), world.now());
            if world.blocking(move || here.look(now)).await.is_err() {
                return;
            }
        }
    }

    fn tell(&self, room: Room) {
        self.0.room.send_if_modified(|told| {
            if *told == room {
                return false;
            }
            match room {
                Room::All => tracing::info!("the disk has room again: writing goes on"),
                _ if *told == Room::All => tracing::warn!("{}: reading goes on", self.refusal()),
                _ => {}
            }
            *told = room;
            true
        });
    }
}

impl Gauge {
    fn room(&self, now: Duration) -> Room {
        if self.retry.is_some_and(|(at, _)| now < at) {
            return Room::Nothing;
        }
        match self.free {
            Some(free) if free < self.reserve / LAST_PART => Room::Nothing,
            Some(free) if free < self.reserve => Room::Duties,
            _ => Room::All,
        }
    }
}

/// The free bytes of the disk below a directory, for this account.
#[cfg(unix)]
pub(crate) fn of_directory(path: &std::path::Path) -> FreeBytes {
    let path = path.to_owned();
    Arc::new(move || {
        let disk = rustix::fs::statvfs(&path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    })
}

/// The free bytes of the disk below a directory cannot be told here.
#[cfg(not(unix))]
pub(crate) fn of_directory(_: &std::path::Path) -> FreeBytes {
    Arc::new(|| None)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk, the number of times that it was asked, and the room above a reserve of 64 MiB.
    fn disk(free: u64) -> (Arc<AtomicU64>, Arc<AtomicU64>, Headroom) {
        let (free, asked) = (Arc::new(AtomicU64::new(free)), Arc::new(AtomicU64::new(0)));
        let (there, count) = (free.clone(), asked.clone());
        let ask = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Some(there.load(Ordering::Relaxed))
        };
        (free, asked, Headroom::new(Some(Arc::new(ask)), 64 * MIB))
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_reserve_refuses_memories_first_and_its_last_part_everything() {
        let (free, _, headroom) = disk(64 * MIB);
        assert_eq!(headroom.look(at(0)), Room::All);
        free.store(64 * MIB - 1, Ordering::Relaxed);
        assert_eq!(headroom.look(at(1_000)), Room::Duties);
        free.store(16 * MIB - 1, Ordering::Relaxed);
        assert_eq!(headroom.look(at(2_000)), Room::Nothing);
        assert_eq!(
            headroom.refusal().to_string(),
            "the disk is full: 16 MB are left, and nothing is written below 68 MB"
        );
        headroom.set_reserve(0);
        assert_eq!(headroom.look(at(2_001)), Room::All);
    }

    #[test]
    fn the_disk_is_asked_after_a_second_or_a_part_of_the_distance_to_the_reserve() {
        let (_, asked, headroom) = disk(104 * MIB);
        for n in 0..100 {
            headroom.look(at(n * 9));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        headroom.wrote(4 << 20);
        headroom.look(at(900));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        headroom.wrote(1 << 20);
        headroom.look(at(900));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        headroom.look(at(1_900));
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_commit_without_room_is_tried_again_later_each_time_whatever_the_disk_says() {
        let headroom = Headroom::new(None, 64 * MIB);
        assert_eq!(headroom.look(at(0)), Room::All);
        let mut now = 0;
        for wait in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000] {
            headroom.ran_out(at(now));
            assert_eq!(headroom.room(), Room::Nothing);
            assert_eq!(headroom.look(at(now + wait - 1)), Room::Nothing);
            now += wait;
            assert_eq!(headroom.look(at(now)), Room::All);
        }
        headroom.wrote(1);
        headroom.ran_out(at(now));
        assert_eq!(headroom.look(at(now + 1_000)), Room::All);
    }
}
