//! The index on disk of a build without feature `disk-index`: there is none.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;

use super::group::{Groups, Wanted};
use super::tail::{Forms, Touched};
use super::{Filter, Frequencies, Match, SearchError, Sought, Statistics};
use crate::ledger::rows::Eno;
#[cfg(feature = "mcp")]
use crate::ledger::rows::Place;

/// An index on disk that cannot be.
pub(crate) struct DiskIndex(Infallible);

impl DiskIndex {
    /// Whether this build has one.
    pub(crate) const BUILT: bool = false;

    pub(crate) fn open(_: &Path, _: [u8; 8]) -> Result<Self, SearchError> {
        Err(SearchError::NotBuilt)
    }

    pub(super) fn anew(_: &Path, _: [u8; 8]) -> Result<Self, SearchError> {
        Err(SearchError::NotBuilt)
    }

    pub(crate) fn covered(&self) -> Eno {
        match self.0 {}
    }

    pub(crate) fn update(&self, _: Forms, _: Eno) -> Result<(), SearchError> {
        match self.0 {}
    }

    pub(super) fn is_damaged(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn scrub(&self, _: &Path) -> Result<super::Scrubbed, SearchError> {
        match self.0 {}
    }

    pub(crate) fn rest(&self) {
        match self.0 {}
    }

    pub(super) fn statistics(&self, _: &BTreeSet<&str>) -> Result<(Frequencies, Statistics), SearchError> {
        match self.0 {}
    }

    pub(super) fn close(&self, _: &str) -> Result<BTreeSet<String>, SearchError> {
        match self.0 {}
    }

    #[cfg(feature = "mcp")]
    pub(super) fn stamped(
        &self,
        _: &Filter,
        _: &Touched,
    ) -> Result<Vec<(nexus_identity::Timestamp, Place)>, SearchError> {
        match self.0 {}
    }

    pub(super) fn any(&self, _: &Filter, _: &Touched) -> Result<bool, SearchError> {
        match self.0 {}
    }

    pub(super) fn has_groups(&self) -> Result<bool, SearchError> {
        match self.0 {}
    }

    pub(super) fn groups(&self, _: &BTreeSet<String>, _: &Wanted<'_>, _: &Touched) -> Result<Groups, SearchError> {
        match self.0 {}
    }

    pub(super) fn find(&self, _: &[Sought], _: &Filter, _: &Touched, _: usize) -> Result<Vec<Match>, SearchError> {
        match self.0 {}
    }
}

/// Runs code of the index, of which there is none.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, SearchError>) -> Result<T, SearchError> {
    run()
}
