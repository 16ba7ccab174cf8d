use crate::ledger::rows::Eno;

/// A place in the order of this node's commits: after part `index` of entry `eno`. An entry may change many others, and a
/// reader may stop in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPlace {
    pub(crate) eno: Eno,
    pub(crate) index: u32,
}

impl LogPlace {
    /// After the whole of an entry.
    pub(crate) const fn after(eno: Eno) -> Self {
        Self { eno, index: u32::MAX }
    }

    /// Whether nothing of the entry is left.
    pub(super) const fn is_whole(self) -> bool {
        self.index == u32::MAX
    }
}
