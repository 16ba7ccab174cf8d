//! The room on the disk below a node, and what may still be written.
//!
//! A node keeps a reserve of free space. Below it no memories are taken, of callers or of peers. Changes of the
//! membership go on down to a quarter of it. Free space is asked seldom: after a second,
//! or once a part of the distance to the reserve was written. A commit for which the disk had no room
//! all the same ends writing until a later try.
//!
//! Nothing is written either while a file of the node's is not the one under its name. It was deleted, moved or exchanged
//! then, and writes to it are gone with the process. That is looked at with each step and each commit, and by whoever
//! asks for the state: a node at rest does not wake for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::world::World;

/// Tells the free bytes of a node's disk; `None` where they cannot be told. May block for a moment.
pub type FreeBytes = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// The files of a node that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// The files of the memories' store.
    Store,
    /// The files of the coordinators.
    Coordinators,
    /// All.
    All,
}

/// Names one of these files that is no longer the one under its name; `None` while all are. May block for a moment.
pub(crate) type GoneFile = Arc<dyn Fn(Files) -> Option<&'static str> + Send + Sync>;

/// The time after which a write has all files looked at. The files that it went to are looked at with each write.
const LOOK_EVERY: Duration = Duration::from_millis(250);

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

/// The refusal of a write, as a file of the node's is no longer the one under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file} was deleted, moved or exchanged under the running node; writes acknowledged since it was last seen in its \
     place: {acknowledged}"
)]
pub struct FileGone {
    /// The name of the file in the data directory.
    pub file: &'static str,
    /// The number of writes that were acknowledged since the file was last seen in its place. They may be lost.
    pub acknowledged: u64,
}

/// The reason why nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwritten {
    /// The disk has no room.
    #[error(transparent)]
    Full(DiskFull),
    /// A file is not in its place.
    #[error(transparent)]
    Gone(FileGone),
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
    files: OnceLock<GoneFile>,
    seen: Mutex<Seen>,
    /// The writes that were acknowledged since all files were seen in their places.
    acknowledged: AtomicU64,
}

/// The last look at the files.
#[derive(Default)]
struct Seen {
    gone: Option<FileGone>,
    /// The time of the last one at all of them, of those with a time.
    at: Option<Duration>,
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
        Self(Arc::new(Inner {
            ask,
            gauge: Mutex::new(gauge),
            room: watch::Sender::new(Room::All),
            files: OnceLock::new(),
            seen: Mutex::default(),
            acknowledged: AtomicU64::new(0),
        }))
    }

    /// Looks at the node's files from now on, too.
    pub(crate) fn watch_files(&self, files: GoneFile) {
        let _ = self.0.files.set(files);
    }

    /// The file that is not in its place any more, after a look at some of them. May block for a moment.
    pub(crate) fn look_at_files(&self, files: Files) -> Option<FileGone> {
        let look = self.0.files.get()?;
        // one after the other, so that an older look does not stand
        let mut seen = self.seen();
        let files = if seen.gone.is_some() { Files::All } else { files };
        match look(files) {
            None if files == Files::All => {
                self.0.acknowledged.store(0, Ordering::Relaxed);
                seen.gone = None;
            }
            Some(file) if seen.gone.is_none() => {
                let found = FileGone { file, acknowledged: self.0.acknowledged.load(Ordering::Relaxed) };
                tracing::error!("{found}");
                seen.gone = Some(found);
                drop(seen);
                self.tell(Room::Nothing);
                return Some(found);
            }
            _ => {}
        }
        seen.gone
    }

    /// The same after a look at all of them, if the last one is old, or else at these. May block for a moment.
    pub(crate) fn look_at_files_again(&self, files: Option<Files>, now: Duration) -> Option<FileGone> {
        let is_due = {
            let mut seen = self.seen();
            let is_due = seen.at.is_none_or(|at| now.saturating_sub(at) >= LOOK_EVERY);
            seen.at = if is_due { Some(now) } else { seen.at };
            is_due
        };
        match files {
            _ if is_due => self.look_at_files(Files::All),
            Some(files) => self.look_at_files(files),
            None => self.gone(),
        }
    }

    /// The file that was not in its place when they were last looked at. Never blocks for the disk.
    pub(crate) fn gone(&self) -> Option<FileGone> {
        self.seen().gone
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes writes that are acknowledged.
    pub(crate) fn acknowledged(&self, writes: usize) {
        self.0.acknowledged.fetch_add(writes as u64, Ordering::Relaxed);
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
        let is_gone = self.look_at_files_again(None, now).is_some();
        let mut gauge = self.gauge();
        let is_old = gauge.asked.is_none_or(|asked| now.saturating_sub(asked) >= ASK_EVERY);
        if is_old || gauge.before_asking == 0 {
            gauge.asked = Some(now);
            gauge.free = self.0.ask.as_ref().and_then(|ask| ask());
            gauge.before_asking = gauge.free.map_or(u64::MAX, |free| free.saturating_sub(gauge.reserve) / ASK_PART);
        }
        let room = if is_gone { Room::Nothing } else { gauge.room(now) };
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
    pub(crate) fn refusal(&self) -> Unwritten {
        if let Some(gone) = self.gone() {
            return Unwritten::Gone(gone);
        }
        let gauge = self.gauge();
        Unwritten::Full(DiskFull { free: gauge.free, reserve: gauge.reserve })
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
                Room::All => tracing::info!("writing goes on"),
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

    /// promise: Store and data directory | Nothing is acknowledged once a file of the node is deleted, moved or exchanged
    #[test]
    fn nothing_is_written_while_a_file_is_not_in_its_place_and_the_number_since_is_told() {
        let (free, _, headroom) = disk(128 * MIB);
        let gone = Arc::new(Mutex::new(None));
        let (seen, looks) = (gone.clone(), Arc::new(AtomicU64::new(0)));
        let count = looks.clone();
        assert_eq!(headroom.look_at_files(Files::All), None, "nobody has said which");
        headroom.watch_files(Arc::new(move |files| {
            count.fetch_add(1, Ordering::Relaxed);
            let gone: Option<(Files, &'static str)> = *seen.lock().unwrap();
            gone.filter(|(of, _)| files == Files::All || files == *of).map(|(_, name)| name)
        }));
        for n in 0..100 {
            assert_eq!(headroom.look(at(1_000 + n)), Room::All);
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1, "many writes share a look at all files");
        headroom.acknowledged(7);
        assert_eq!((headroom.look(at(1_300)), headroom.gone()), (Room::All, None), "they were seen after those");
        headroom.acknowledged(3);
        *gone.lock().unwrap() = Some((Files::Store, "brain.redb"));
        let told = FileGone { file: "brain.redb", acknowledged: 3 };
        assert_eq!(headroom.look_at_files_again(Some(Files::Coordinators), at(1_301)), None, "another one's file");
        assert_eq!(headroom.look_at_files_again(Some(Files::Store), at(1_302)), Some(told));
        assert_eq!((headroom.look(at(1_303)), headroom.refusal()), (Room::Nothing, Unwritten::Gone(told)));
        assert!(told.to_string().contains("brain.redb was deleted"), "{told}");
        // a second fault changes nothing of the first one
        *gone.lock().unwrap() = Some((Files::All, "blobs"));
        free.store(0, Ordering::Relaxed);
        assert_eq!((headroom.look(at(5_000)), headroom.look_at_files(Files::Store)), (Room::Nothing, Some(told)));
        *gone.lock().unwrap() = None;
        assert_eq!((headroom.look(at(6_000)), headroom.gone()), (Room::Nothing, None), "the disk is full as well");
        free.store(128 * MIB, Ordering::Relaxed);
        assert_eq!((headroom.look(at(7_000)), headroom.room()), (Room::All, Room::All));
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
