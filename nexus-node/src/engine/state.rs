use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use nexus_crdt::{EntryId, Head, Hlc, HlcClock, Incarnation, Kind, LogId, Members, PAGE_RECORDS_MAX, Profile, SpaceId};
use nexus_identity::plants::{Plant, planted};
use nexus_identity::{Chain, Did, Name};

use super::EngineError;
use super::rows::{self, Eno, LogNo, SpaceNo, SpaceRow, VIEW_VERSION, meta, unreadable};
use super::waiting::Waiting;
use crate::store::{Batch, Order, StoreError, Table, View};

/// What a store begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The mesh.
    pub mesh: Did,
    /// This node's chain of credentials.
    pub chain: Chain,
    /// Which life of this node's store it is.
    pub incarnation: Incarnation,
    /// Eight random bytes that name the store in cursors.
    pub store: [u8; 8],
    /// Where the store is, if that can be told.
    pub fingerprint: Option<[u8; 32]>,
}

/// The batch that begins a store.
pub fn found(genesis: &Genesis) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Meta, meta::MESH, genesis.mesh.as_bytes());
    batch.put(Table::Meta, meta::CHAIN, &genesis.chain.to_bytes());
    batch.put(Table::Meta, meta::INCARNATION, &genesis.incarnation.0);
    batch.put(Table::Meta, meta::STORE, &genesis.store);
    batch.put(Table::Meta, meta::VIEW, &VIEW_VERSION.to_le_bytes());
    if let Some(fingerprint) = &genesis.fingerprint {
        batch.put(Table::Meta, meta::FINGERPRINT, fingerprint);
    }
    write_builtin_spaces(&mut batch, &genesis.mesh);
    batch
}

/// The spaces that come with a mesh, empty.
pub(super) fn write_builtin_spaces(batch: &mut Batch, mesh: &Did) {
    for (no, id, name) in [(0, SpaceId::mesh(mesh), "mesh"), (1, SpaceId::default_of(mesh), "default")] {
        #[expect(clippy::expect_used, reason = "constant names")]
        let name: Name = name.parse().expect("a name");
        let row = SpaceRow { no, name, access: 0, author: *mesh, records: 0, entries: 0, bytes: 0 };
        batch.put(Table::Spaces, id.as_bytes(), &rows::encode(&row));
    }
}

/// What a store began with; `None` if it is empty.
///
/// # Errors
/// The view's, or rows that do not read.
pub fn read_genesis(view: &dyn View) -> Result<Option<Genesis>, EngineError> {
    let Some(mesh) = view.get(Table::Meta, meta::MESH)? else {
        return Ok(None);
    };
    let need = |key| view.get(Table::Meta, key)?.ok_or_else(|| unreadable(Table::Meta));
    let eight = |bytes: Vec<u8>| bytes.try_into().map_err(|_| unreadable(Table::Meta));
    let fingerprint = view.get(Table::Meta, meta::FINGERPRINT)?.and_then(|bytes| bytes.try_into().ok());
    Ok(Some(Genesis {
        mesh: rows::read_did(&mesh)?,
        chain: Chain::from_bytes(&need(meta::CHAIN)?)?,
        incarnation: Incarnation(eight(need(meta::INCARNATION)?)?),
        store: eight(need(meta::STORE)?)?,
        fingerprint,
    }))
}

/// A log as the engine keeps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    pub no: LogNo,
    pub head: Option<Head>,
    /// How many second entries at a held seq are kept.
    pub forks: u32,
}

/// The page that new records of a space go to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenPage {
    pub number: u32,
    pub records: u32,
}

impl OpenPage {
    /// The page for one more record.
    pub(super) fn take(&mut self) -> u32 {
        if self.records >= PAGE_RECORDS_MAX {
            *self = Self { number: self.number + 1, records: 0 };
        }
        self.records += 1;
        self.number
    }
}

/// What the engine keeps in memory: small, and all of it read back from the store at start.
#[derive(Debug)]
pub(super) struct State {
    pub me: Did,
    pub mesh: Did,
    pub incarnation: Incarnation,
    pub clock: HlcClock,
    pub members: Members,
    pub logs: BTreeMap<LogId, Log>,
    pub spaces: BTreeMap<SpaceId, SpaceRow>,
    pub pages: BTreeMap<SpaceId, OpenPage>,
    pub next_eno: Eno,
    pub waiting: Waiting,
}

impl State {
    pub(super) fn read(me: Did, view: &dyn View) -> Result<Self, EngineError> {
        let Genesis { mesh, chain, incarnation, .. } = read_genesis(view)?.ok_or(EngineError::NoGenesis)?;
        chain.verify(&mesh)?;
        let last =
            view.get(Table::Meta, meta::HLC)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let logs = rows::read_logs(view)?;
        let logs = logs.into_iter().map(|(no, log, head)| (log, Log { no, head, forks: 0 })).collect();
        let mut members = Members::of(mesh);
        members.admit(&chain)?;
        let mut state = Self {
            me,
            mesh,
            incarnation,
            clock: HlcClock::after(Hlc(last)),
            members,
            logs,
            spaces: rows::read_spaces(view)?,
            pages: BTreeMap::new(),
            next_eno: rows::last_eno(view)? + u64::from(!planted(Plant::ReusesLastNumber)),
            waiting: Waiting::default(),
        };
        state.read_members(view)?;
        for space in state.spaces.keys().copied().collect::<Vec<_>>() {
            let page = state.read_open_page(space, view)?;
            state.pages.insert(space, page);
        }
        Ok(state)
    }

    /// Folds the mesh space's credentials, then its profiles.
    fn read_members(&mut self, view: &dyn View) -> Result<(), EngineError> {
        let space = SpaceId::mesh(&self.mesh);
        let mut profiles = Vec::new();
        for (_, log) in self.logs.iter().filter(|(id, _)| id.space == space) {
            for eno in enos_of_log(view, log.no, 0, u64::MAX)? {
                let Some(entry) = rows::read_entry(view, eno)? else { continue };
                let (header, payload) = (entry.header(), entry.payload().unwrap_or_default());
                match header.kind {
                    Kind::CREDENTIAL => {
                        // what does not hold was quarantined when it came
                        let _ = Chain::from_bytes(payload).and_then(|chain| self.members.admit(&chain));
                    }
                    Kind::PROFILE => {
                        if let Ok(profile) = Profile::decode(payload) {
                            profiles.push((header.author, header.hlc, entry.id(), profile));
                        }
                    }
                    _ => {}
                }
            }
        }
        for (author, hlc, id, profile) in profiles {
            self.members.describe(&author, hlc, id, profile);
        }
        Ok(())
    }

    /// Goes on with the page that our last record in a space is on.
    fn read_open_page(&self, space: SpaceId, view: &dyn View) -> Result<OpenPage, StoreError> {
        let Some(log) = self.logs.get(&self.own_log(space)) else {
            return Ok(OpenPage::default());
        };
        let mut last = None;
        let mut bad = false;
        // newest entries first, until one that created records: edits in between are few
        let range = (rows::log_index_prefix(log.no, 0), rows::log_index_prefix(log.no, u64::MAX));
        let bounds = (Bound::Included(range.0.as_slice()), Bound::Included(range.1.as_slice()));
        view.scan(Table::LogIndex, bounds, Order::Backward, &mut |_, value| {
            let Ok(eno) = rows::read_eno(Table::LogIndex, value) else {
                bad = true;
                return ControlFlow::Break(());
            };
            match last_page_of(view, eno) {
                Ok(None) => ControlFlow::Continue(()),
                Ok(page) => {
                    last = page;
                    ControlFlow::Break(())
                }
                Err(_) => {
                    bad = true;
                    ControlFlow::Break(())
                }
            }
        })?;
        if bad {
            return Err(unreadable(Table::LogIndex));
        }
        // how full it is would take a walk over its entries; a new page costs less
        Ok(last.map_or_else(OpenPage::default, |page| OpenPage { number: page + 1, records: 0 }))
    }

    /// Our own log of a space.
    pub(super) fn own_log(&self, space: SpaceId) -> LogId {
        LogId { space, author: self.me, incarnation: self.incarnation }
    }

    /// The number of a log, a new one if need be.
    pub(super) fn log_mut(&mut self, log: LogId, draft: &mut crate::store::Draft<'_>) -> &mut Log {
        let next = LogNo::try_from(self.logs.len()).unwrap_or(LogNo::MAX);
        self.logs.entry(log).or_insert_with(|| {
            draft.put(Table::Logs, &rows::log_key(next), &rows::encode(&log));
            Log { no: next, head: None, forks: 0 }
        })
    }

    /// The number for a space that comes into view.
    pub(super) fn next_space_no(&self) -> SpaceNo {
        SpaceNo::try_from(self.spaces.len()).unwrap_or(SpaceNo::MAX)
    }
}

/// Who belongs to the mesh of a store, without an engine.
pub(crate) fn read_members(me: Did, view: &dyn View) -> Result<Members, EngineError> {
    Ok(State::read(me, view)?.members)
}

/// The page of the last record that an entry created.
fn last_page_of(view: &dyn View, eno: Eno) -> Result<Option<u32>, StoreError> {
    let range = (rows::record_key(eno, 0), rows::record_key(eno, u16::MAX));
    let bounds = (Bound::Included(range.0.as_slice()), Bound::Included(range.1.as_slice()));
    let Some((_, row)) = view.first(Table::Records, bounds, Order::Backward)? else {
        return Ok(None);
    };
    Ok(Some(rows::decode::<rows::RecordRow>(Table::Records, &row)?.page))
}

/// The applied and unapplied entries of a log between two seqs, in order, forks included.
pub(crate) fn enos_of_log(view: &dyn View, log: LogNo, from: u64, to: u64) -> Result<Vec<Eno>, StoreError> {
    let mut enos = Vec::new();
    let start = rows::log_index_prefix(log, from);
    let end = rows::log_index_key(log, to, EntryId::from_bytes([0xff; 32]));
    let mut bad = false;
    view.scan(Table::LogIndex, (Bound::Included(&start), Bound::Included(&end)), Order::Forward, &mut |_, value| {
        match rows::read_eno(Table::LogIndex, value) {
            Ok(eno) => enos.push(eno),
            Err(_) => bad = true,
        }
        ControlFlow::Continue(())
    })?;
    if bad { Err(unreadable(Table::LogIndex)) } else { Ok(enos) }
}
