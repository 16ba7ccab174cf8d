use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nexus_identity::Did;

use super::durable;
use super::text::{make_directory, read_text};

/// The most witnesses in one directory. A further one takes the place of another.
const WITNESSES_MAX: usize = 64;

/// A small file outside of a data directory: it keeps the age that the directory had when its node last wrote it.
///
/// A data directory with a lower age is an earlier state, also where every file has kept its place. The age is a
/// number, not a time: clocks go back, too.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    path: PathBuf,
    data: PathBuf,
}

impl Witness {
    /// The witness of a node's data directory among those in `state`. `None` if `state` is inside of the data
    /// directory: both would go back together.
    ///
    /// # Errors
    /// If the data directory cannot be found.
    pub(super) fn of(state: &Path, data: &Path, node: &Did) -> io::Result<Option<Self>> {
        let data = fs::canonicalize(data)?;
        let absolute = std::path::absolute(state)?;
        let state = fs::canonicalize(&absolute).unwrap_or(absolute);
        if state.starts_with(&data) {
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new_derive_key("nexus witness v1");
        hasher.update(node.as_bytes());
        hasher.update(data.as_os_str().as_encoded_bytes());
        let name = &hasher.finalize().to_hex()[..32];
        Ok(Some(Self { path: state.join(name), data }))
    }

    /// The age, if it was ever kept. An unreadable one is none: without it the directory's own numbers must do.
    pub(crate) fn age(&self) -> Option<u64> {
        let text = match read_text(&self.path) {
            Ok(text) => text?,
            Err(error) => {
                tracing::warn!(%error, "the age of the data directory cannot be read");
                return None;
            }
        };
        text.lines().find(|line| !line.starts_with('#'))?.trim().parse().ok()
    }

    /// Keeps an age, durably.
    ///
    /// # Errors
    /// The disk's; the former age is still there then.
    pub(crate) fn keep(&self, age: u64) -> io::Result<()> {
        if let (false, Some(state)) = (self.path.exists(), self.path.parent()) {
            if !state.is_dir() {
                make_directory(state)?;
            }
            make_room(state)?;
        }
        let data = self.data.display();
        let text =
            format!("# The age of a data directory. A lower one in it is a backup that was put back.\n{age}\n{data}\n");
        durable::replace(&self.path, text.as_bytes())
    }
}

/// Removes witnesses, so that there is a place for another one: those of directories that are gone, then the oldest.
fn make_room(state: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            files.push((metadata.modified()?, entry.path()));
        }
    }
    let surplus = (files.len() + 1).saturating_sub(WITNESSES_MAX);
    if surplus > 0 {
        files.sort_by_cached_key(|(modified, path)| (is_needed(path), *modified));
    }
    files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
}

/// Whether the data directory of a witness is there.
fn is_needed(path: &Path) -> bool {
    let text = read_text(path).ok().flatten();
    text.is_some_and(|text| text.lines().last().is_some_and(|data| Path::new(data).is_dir()))
}
