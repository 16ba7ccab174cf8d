//! The files that a running node has open, and whether they are still the ones under their names.

use std::path::{Path, PathBuf};

use crate::store::FilePlace;

/// Files and directories of a data directory, each as it was when the node had opened it.
#[derive(Debug)]
pub(crate) struct Placed(Vec<(&'static str, PathBuf, FilePlace)>);

impl Placed {
    /// The ones of these names that are there.
    pub(super) fn of(directory: &Path, names: &[&'static str]) -> Self {
        let there = names.iter().map(|name| (*name, directory.join(name))).filter(|(_, path)| path.exists());
        let placed = there.map(|(name, path)| {
            let place = FilePlace::of(&path);
            (name, path, place)
        });
        Self(placed.collect())
    }

    /// The name of the first one of these, or of all, that was deleted, moved or exchanged. Costs a system call for each.
    pub(crate) fn gone(&self, of: Option<&[&str]>) -> Option<&'static str> {
        let looked_at = self.0.iter().filter(|(name, ..)| of.is_none_or(|of| of.contains(name)));
        looked_at.into_iter().find(|(_, path, place)| !place.is_still(path)).map(|(name, ..)| *name)
    }
}
