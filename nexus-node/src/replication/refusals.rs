use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::sync_frame::FullFrame;
use nexus_crdt::{FullAuthor, LogId, Members, SpaceId};
use nexus_identity::Did;

use crate::ledger::rows::UsageRow;
use crate::ledger::{self, Quotas, is_writer, logs_by_place};
use crate::store::{StoreError, View};

/// Authors and spaces that one message names at most. Beyond them a peer sends what is not taken.
const NAMED_MAX: usize = 8_192;

/// The authors of whom one end of a sync takes no more just now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusals(BTreeMap<Did, Refused>);

/// The part of an author's entries that is not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Refused {
    /// All of them.
    all: bool,
    /// Those outside of the mesh's own space.
    memories: bool,
    /// Every log that is not held.
    logs: bool,
    /// Every log that is not held in these spaces.
    spaces: BTreeSet<SpaceId>,
}

impl Refused {
    fn by_size(quotas: &Quotas, members: &Members, author: &Did, usage: &UsageRow) -> Self {
        let writes = is_writer(members, author);
        let reached = |in_mesh_space| quotas.size_reached(usage, writes, in_mesh_space).is_some();
        let logs = quotas.logs_reached(usage).is_some();
        Self { all: reached(true), memories: reached(false), logs, spaces: BTreeSet::new() }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn is_within(&self, other: &Self) -> bool {
        self.all <= other.all
            && self.memories <= other.memories
            && self.logs <= other.logs
            && self.spaces.is_subset(&other.spaces)
    }

    fn names(&self) -> usize {
        1 + self.spaces.len()
    }
}

impl Refusals {
    /// The refusals of a node that holds these logs of shared spaces, sorted. Its own entries are never
    /// refused.
    pub(super) fn read<'a>(
        view: &dyn View,
        quotas: &Quotas,
        members: &Members,
        me: Did,
        shared: impl Iterator<Item = &'a LogId>,
    ) -> Result<Self, StoreError> {
        let mut refusals = Self::default();
        for (author, usage) in ledger::read_usage(view)? {
            refusals.0.insert(author, Refused::by_size(quotas, members, &author, &usage));
        }
        for (space, author, logs) in logs_by_place(shared) {
            if quotas.incarnations_reached(logs).is_some() {
                refusals.0.entry(author).or_default().spaces.insert(space);
            }
        }
        refusals.0.retain(|author, refused| *author != me && !refused.is_empty());
        let mut named = 0;
        refusals.0.retain(|_, refused| {
            named += refused.names();
            named <= NAMED_MAX
        });
        Ok(refusals)
    }

    /// Whether an author's entries fill another quota than these say, now that it has so many logs in a space.
    pub(super) fn lack(
        &self,
        log: &LogId,
        logs: u64,
        (view, quotas, members): (&dyn View, &Quotas, &Members),
    ) -> Result<bool, StoreError> {
        let usage = ledger::usage_of(view, &log.author)?;
        let mut now = Refused::by_size(quotas, members, &log.author, &usage);
        if quotas.incarnations_reached(logs).is_some() {
            now.spaces.insert(log.space);
        }
        Ok(!now.is_empty() && self.0.get(&log.author).is_none_or(|refused| !now.is_within(refused)))
    }

    /// Whether entries of a log are taken by a node that holds some of it, or none.
    pub(super) fn takes(&self, log: &LogId, held: bool, mesh_space: SpaceId) -> bool {
        self.0.get(&log.author).is_none_or(|refused| {
            let by_size = refused.all || refused.memories && log.space != mesh_space;
            let by_number = !held && (refused.logs || refused.spaces.contains(&log.space));
            !by_size && !by_number
        })
    }

    /// Whether two ends may rightly differ in a log: their digests leave it out.
    pub(super) fn hides(&self, log: &LogId, mesh_space: SpaceId) -> bool {
        !self.takes(log, false, mesh_space)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn to_frame(&self) -> FullFrame {
        let author = |(author, refused): (&Did, &Refused)| FullAuthor {
            author: author.as_bytes().to_vec(),
            all: refused.all,
            memories: refused.memories,
            logs: refused.logs,
            spaces: refused.spaces.iter().map(|space| space.as_bytes().to_vec()).collect(),
        };
        FullFrame { authors: self.0.iter().map(author).collect() }
    }

    /// The refusals that a peer names, up to a bound. `None` if an author or a space has the wrong length.
    pub(super) fn from_frame(frame: &FullFrame) -> Option<Self> {
        let (mut refusals, mut named) = (Self::default(), 0);
        for FullAuthor { author, all, memories, logs, spaces } in &frame.authors {
            let author = Did::from_bytes(author.as_slice().try_into().ok()?);
            let space = |space: &Vec<u8>| Some(SpaceId::from_bytes(space.as_slice().try_into().ok()?));
            let spaces = spaces.iter().map(space).collect::<Option<BTreeSet<SpaceId>>>()?;
            let refused = Refused { all: *all, memories: *memories, logs: *logs, spaces };
            named += refused.names();
            if named > NAMED_MAX {
                break;
            }
            refusals.0.insert(author, refused);
        }
        Some(refusals)
    }
}
