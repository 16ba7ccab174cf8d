use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::sync_frame::FullFrame;
use nexus_crdt::{FullAuthor, LogId, Members, SpaceId};
use nexus_identity::Did;

use crate::ledger::rows::UsageRow;
use crate::ledger::{self, Incarnations, LineUsage, Quotas, is_writer, logs_by_place};
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
    /// Refused in the mesh's own space.
    of_mesh: bool,
    /// Every log that is not held.
    logs: bool,
    /// Every log that is not held in these spaces.
    spaces: BTreeSet<SpaceId>,
}

impl Refused {
    fn by_size(quotas: &Quotas, members: &Members, author: &Did, usage: &LineUsage) -> Self {
        let writes = is_writer(members, author);
        let reached = |in_mesh_space| quotas.size_reached(usage, writes, in_mesh_space).is_some();
        let logs = quotas.logs_reached(usage).is_some();
        let (of_mesh, memories) = (reached(true), reached(false));
        let all = of_mesh && memories;
        Self { all, memories, of_mesh: of_mesh && !all, logs, spaces: BTreeSet::new() }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn is_within(&self, other: &Self) -> bool {
        self.all <= other.all
            && self.memories <= other.memories
            && self.of_mesh <= (other.of_mesh || other.all)
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
        let by_key: BTreeMap<Did, UsageRow> = ledger::read_usage(view)?.into_iter().collect();
        let of_key = |key: &Did| Ok::<_, StoreError>(by_key.get(key).copied().unwrap_or_default());
        // a new key of which nothing is here yet has what its line has
        let lines = by_key.keys().flat_map(|key| members.line(key));
        for author in lines.collect::<BTreeSet<Did>>() {
            let usage = LineUsage::of(members, &author, of_key)?;
            refusals.0.insert(author, Refused::by_size(quotas, members, &author, &usage));
        }
        let logs: BTreeMap<(SpaceId, Did), u64> =
            logs_by_place(shared).into_iter().map(|(space, author, logs)| ((space, author), logs)).collect();
        for (space, author) in logs.keys() {
            for key in members.line(author) {
                let logs_of = |key: &Did| logs.get(&(*space, *key)).copied().unwrap_or(0);
                if quotas.incarnations_reached(Incarnations::of(members, &key, logs_of)).is_some() {
                    refusals.0.entry(key).or_default().spaces.insert(*space);
                }
            }
        }
        refusals.0.retain(|author, refused| !members.same_line(author, &me) && !refused.is_empty());
        let mut named = 0;
        refusals.0.retain(|_, refused| {
            named += refused.names();
            named <= NAMED_MAX
        });
        Ok(refusals)
    }

    /// Whether an author's entries fill another quota than these say, now that its line has so many logs in a space.
    pub(super) fn lack(
        &self,
        log: &LogId,
        logs: Incarnations,
        (view, quotas, members): (&dyn View, &Quotas, &Members),
    ) -> Result<bool, StoreError> {
        let usage = LineUsage::of(members, &log.author, |key| ledger::usage_of(view, key))?;
        let mut now = Refused::by_size(quotas, members, &log.author, &usage);
        if quotas.incarnations_reached(logs).is_some() {
            now.spaces.insert(log.space);
        }
        Ok(!now.is_empty() && self.0.get(&log.author).is_none_or(|refused| !now.is_within(refused)))
    }

    /// Whether entries of a log are taken by a node that holds some of it, or none.
    pub(super) fn takes(&self, log: &LogId, held: bool, mesh_space: SpaceId) -> bool {
        self.0.get(&log.author).is_none_or(|refused| {
            let in_mesh_space = log.space == mesh_space;
            let by_size = refused.all || refused.memories && !in_mesh_space || refused.of_mesh && in_mesh_space;
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
            of_mesh: refused.of_mesh,
            logs: refused.logs,
            spaces: refused.spaces.iter().map(|space| space.as_bytes().to_vec()).collect(),
        };
        FullFrame { authors: self.0.iter().map(author).collect() }
    }

    /// The refusals that a peer names, up to a bound. `None` if an author or a space has the wrong length.
    pub(super) fn from_frame(frame: &FullFrame) -> Option<Self> {
        let (mut refusals, mut named) = (Self::default(), 0);
        for FullAuthor { author, all, memories, logs, spaces, of_mesh } in &frame.authors {
            let author = Did::from_bytes(author.as_slice().try_into().ok()?);
            let space = |space: &Vec<u8>| Some(SpaceId::from_bytes(space.as_slice().try_into().ok()?));
            let spaces = spaces.iter().map(space).collect::<Option<BTreeSet<SpaceId>>>()?;
            let refused = Refused { all: *all, memories: *memories, of_mesh: *of_mesh, logs: *logs, spaces };
            named += refused.names();
            if named > NAMED_MAX {
                break;
            }
            refusals.0.insert(author, refused);
        }
        Some(refusals)
    }
}
