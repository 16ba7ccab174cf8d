//! A simulated disk: it loses power, tears writes, fills up, fails to sync, or lies about it.
//!
//! Writes since the last sync are kept apart. [`Disk::lose_power`] keeps a random part of them, sector
//! by sector, and returns the disk that the machine finds at its next start. The seed is an argument.
//!
//! ```
//! use nexus_node::internals::store::disk::Disk;
//! use nexus_node::internals::store::{Store, StoreOptions};
//!
//! let disk = Disk::new();
//! let store = Store::with_backend("simulated", disk.clone(), StoreOptions::default())?;
//! let after = disk.lose_power(7);
//! drop(store);
//! let store = Store::with_backend("simulated", after, StoreOptions::default())?;
//! # Ok::<(), nexus_node::internals::store::StoreError>(())
//! ```

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use image::Image;

mod image;

/// The unit of a power loss: it keeps a sector whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// A file on a simulated disk; clones are the same file.
#[derive(Clone, Debug)]
pub struct Disk {
    state: Arc<Mutex<DiskState>>,
    file: usize,
}

/// A fault of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    #[default]
    None,
    /// Every sync fails, and may keep any part of the writes.
    SyncFails,
    /// Every sync reports success and keeps nothing.
    SyncLies,
    /// Writes past this length, in bytes, fail as on a full disk.
    FullAt(u64),
    /// Every read fails.
    ReadFails,
}

#[derive(Default)]
struct DiskState {
    files: [FileState; 3],
    /// Whether the third file has taken the name of the first one, and whether that lasts.
    is_exchanged: bool,
    exchange_lasts: bool,
    fault: Fault,
    /// The number of writes and syncs until the power goes.
    steps_left: Option<u64>,
    steps: u64,
    off: bool,
}

#[derive(Default)]
struct FileState {
    /// The bytes that reads return.
    seen: Image,
    /// The bytes that survive a power loss, if others are seen.
    synced: Option<Image>,
    /// Steps since the last sync.
    unsynced: Vec<Step>,
    syncs: u64,
}

enum Step {
    Write { offset: usize, data: Vec<u8> },
    SetLen { len: usize },
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::of_files(<[Image; 3]>::default())
    }

    /// A disk that holds these bytes.
    pub fn from_image(image: Vec<u8>) -> Self {
        Self::of_files([Image::of(&image), Image::default(), Image::default()])
    }

    fn of_files(images: [Image; 3]) -> Self {
        let files = images.map(|seen| FileState { seen, ..FileState::default() });
        let state = DiskState { files, exchange_lasts: true, ..DiskState::default() };
        Self { state: Arc::new(Mutex::new(state)), file: 0 }
    }

    /// A second file on the same disk, for a log. It loses power with the first one, and steps count together.
    pub fn log(&self) -> Self {
        Self { state: Arc::clone(&self.state), file: 1 }
    }

    /// The file under the name of the first one: the first one itself, until a file beside has taken its name.
    #[cfg(test)]
    pub(super) fn named(&self) -> Self {
        let file = if self.state().is_exchanged { 2 } else { 0 };
        Self { state: Arc::clone(&self.state), file }
    }

    /// A file beside, which may [take the name](Self::exchange) of the first one.
    #[cfg(test)]
    pub(super) fn beside(&self) -> Self {
        let file = if self.state().is_exchanged { 0 } else { 2 };
        Self { state: Arc::clone(&self.state), file }
    }

    /// Gives the file beside the name of the first one, and the first one the name beside. It lasts from the next
    /// [`sync_names`](Self::sync_names) on.
    #[cfg(test)]
    pub(super) fn exchange(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        (state.is_exchanged, state.exchange_lasts) = (!state.is_exchanged, false);
        Ok(())
    }

    /// Whether the file beside has the name of the first one.
    #[cfg(test)]
    pub(super) fn exchanged(&self) -> bool {
        self.state().is_exchanged
    }

    /// Brings the names to the disk.
    #[cfg(test)]
    pub(super) fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.exchange_lasts = true;
        Ok(())
    }

    /// A disk of which all files hold the bytes that reads return, as after a kill of the process.
    pub fn as_read(&self) -> Self {
        let state = self.state();
        Self::of_files(by_name(state.files.each_ref().map(|file| file.seen.clone()), state.is_exchanged))
    }

    /// The bytes that reads return.
    pub fn image(&self) -> Vec<u8> {
        self.state().files[self.file].seen.to_vec()
    }

    /// Sets the one fault of the disk.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// The size of the file, in bytes.
    pub fn bytes(&self) -> u64 {
        self.state().files[self.file].seen.len() as u64
    }

    /// The current fault.
    pub fn fault(&self) -> Fault {
        self.state().fault
    }

    /// Cuts the power after this number of writes, changes of length and syncs. Everything then fails
    /// until [`lose_power`](Self::lose_power).
    pub fn set_steps_left(&self, steps: u64) {
        self.state().steps_left = Some(steps);
    }

    /// The number of writes, changes of length and syncs so far.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// The number of syncs of the file so far.
    pub fn syncs(&self) -> u64 {
        self.state().files[self.file].syncs
    }

    /// Flips bits of a byte without a write. Does nothing past the end.
    pub fn flip(&self, offset: usize, mask: u8) {
        let mut state = self.state();
        let file = &mut state.files[self.file];
        file.seen.flip(offset, mask);
        if let Some(synced) = &mut file.synced {
            synced.flip(offset, mask);
        }
    }

    /// Cuts the power. This disk returns errors from now on. The returned disk has all synced bytes,
    /// and a random part of the others.
    pub fn lose_power(&self, seed: u64) -> Self {
        let mut state = self.state();
        state.off = true;
        let mut random = Random(seed);
        // The share varies from nearly nothing to nearly all.
        let kept_of_256 = random.next() % 257;
        let images =
            state.files.each_ref().map(|file| file.after_power_loss(&mut || random.next() % 256 < kept_of_256));
        let is_exchanged = match state.exchange_lasts {
            true => state.is_exchanged,
            false => state.is_exchanged == (random.next() % 256 < kept_of_256),
        };
        Self::of_files(by_name(images, is_exchanged))
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files in the order of their names.
fn by_name([first, log, beside]: [Image; 3], is_exchanged: bool) -> [Image; 3] {
    if is_exchanged { [beside, log, first] } else { [first, log, beside] }
}

impl FileState {
    /// Notes a step. Pages of the images are shared until they are written.
    fn step(&mut self, step: Step) {
        if self.unsynced.is_empty() {
            self.synced = Some(self.seen.clone());
        }
        self.unsynced.push(step);
    }

    fn set_len(&mut self, len: usize) {
        self.step(Step::SetLen { len });
        self.seen.resize(len);
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.seen.len() < end {
            self.set_len(end);
        }
        self.step(Step::Write { offset, data: data.to_vec() });
        self.seen.write(offset, data);
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.synced = None;
    }

    /// The synced bytes, and of the others those that are kept.
    fn after_power_loss(&self, is_kept: &mut dyn FnMut() -> bool) -> Image {
        let mut image = self.synced.as_ref().unwrap_or(&self.seen).clone();
        for step in &self.unsynced {
            match step {
                Step::SetLen { len } => {
                    if is_kept() {
                        image.resize(*len);
                    }
                }
                Step::Write { offset, data } => {
                    let mut at = 0;
                    while at < data.len() {
                        let sector_end = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
                        let end = sector_end.min(data.len());
                        if is_kept() {
                            image.write(offset + at, &data[at..end]);
                        }
                        at = end;
                    }
                }
            }
        }
        image
    }
}

impl DiskState {
    fn step(&mut self) -> io::Result<()> {
        if self.steps_left == Some(0) {
            self.off = true;
        }
        self.powered()?;
        self.steps_left = self.steps_left.map(|left| left - 1);
        self.steps += 1;
        Ok(())
    }

    fn powered(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    fn room_for(&self, len: usize) -> io::Result<()> {
        match self.fault {
            Fault::FullAt(full) if len as u64 > full => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for DiskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("bytes", &self.files.each_ref().map(|file| file.seen.len()))
            .field("unsynced", &self.files.each_ref().map(|file| file.unsynced.len()))
            .field("fault", &self.fault)
            .field("steps", &self.steps)
            .field("off", &self.off)
            .finish_non_exhaustive()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let state = self.state();
        state.powered()?;
        Ok(state.files[self.file].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        state.powered()?;
        if state.fault == Fault::ReadFails {
            return Err(io::Error::other("the disk cannot be read"));
        }
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        if state.files[self.file].seen.read(start, out) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
        if len > state.files[self.file].seen.len() {
            state.room_for(len)?;
        }
        state.files[self.file].set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.files[self.file].syncs += 1;
        match state.fault {
            Fault::SyncFails => Err(io::Error::other("the disk cannot keep what was written")),
            Fault::SyncLies => Ok(()),
            _ => {
                state.files[self.file].sync();
                Ok(())
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::StorageFull)?;
        let end = offset + data.len();
        state.room_for(end)?;
        state.files[self.file].write(offset, data);
        Ok(())
    }
}

/// SplitMix64: small, seeded, and good enough to choose sectors.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
