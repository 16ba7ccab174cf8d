//! The files that a running node has open, and whether they are still the ones under their names.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::store::FilePlace;

/// Files and directories of a data directory, each as it was when the node had opened it.
#[derive(Debug)]
pub(crate) struct Placed(Vec<(&'static str, PathBuf, OnceLock<FilePlace>)>);

impl Placed {
    /// The ones of these names. A file that is made later counts from the first look that finds it.
    pub(super) fn of(directory: &Path, names: &[&'static str]) -> Self {
        let placed = Self(names.iter().map(|name| (*name, directory.join(name), OnceLock::new())).collect());
        placed.gone(None);
        placed
    }

    /// The name of the first one of these, or of all, that was deleted, moved or exchanged. Costs a system call for each.
    pub(crate) fn gone(&self, of: Option<&[&str]>) -> Option<&'static str> {
        let mut looked_at = self.0.iter().filter(|(name, ..)| of.is_none_or(|of| of.contains(name)));
        let is_gone = |path: &Path, place: &OnceLock<FilePlace>| match place.get() {
            Some(place) => !place.is_still(path),
            None => {
                if path.exists() {
                    place.get_or_init(|| FilePlace::of(path));
                }
                false
            }
        };
        looked_at.find(|(_, path, place)| is_gone(path, place)).map(|(name, ..)| *name)
    }
}
