//! The index on disk of a build without feature `search`: there is none.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;

use nexus_crdt::Dot;

use super::{Document, Filter, Match, SearchError, Statistics};
use crate::ledger::rows::{Eno, Place, SpaceNo};

/// An index on disk that cannot be.
pub(crate) struct DiskIndex(Infallible);

impl DiskIndex {
    /// Whether this build has one.
    pub(crate) const BUILT: bool = false;

    pub(crate) fn open(_: &Path, _: [u8; 8]) -> Result<Self, SearchError> {
        Err(SearchError::NotBuilt)
    }

    pub(crate) fn covered(&self) -> Eno {
        match self.0 {}
    }

    pub(crate) fn update(&self, _: Vec<(Dot, Option<Document>)>, _: Eno) -> Result<(), SearchError> {
        match self.0 {}
    }

    pub(crate) fn rest(&self) {
        match self.0 {}
    }

    pub(super) fn statistics(&self, _: &[String]) -> Result<Statistics, SearchError> {
        match self.0 {}
    }

    pub(super) fn find(
        &self,
        _: &[String],
        _: &Filter,
        _: &BTreeSet<Place>,
        _: usize,
    ) -> Result<Vec<Match>, SearchError> {
        match self.0 {}
    }

    pub(super) fn similar(&self, _: u64, _: SpaceNo) -> Result<Vec<Place>, SearchError> {
        match self.0 {}
    }
}
