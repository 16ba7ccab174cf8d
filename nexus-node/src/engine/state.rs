use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use nexus_crdt::{Head, Hlc, HlcClock, Incarnation, LogId, Members, PAGE_RECORDS_MAX, SpaceId};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::waiting::Waiting;
use crate::ledger::rows::{self, Eno, LogNo, SpaceNo, SpaceRow, meta, unreadable};
use crate::ledger::{self, Genesis, LedgerError, read_genesis, read_members};
use crate::store::{Order, StoreError, Table, View};

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
    pub(super) fn read(me: Did, store: &dyn View) -> Result<Self, LedgerError> {
        let Genesis { mesh, incarnation, .. } = read_genesis(store)?.ok_or(LedgerError::NoGenesis)?;
        let last =
            store.get(Table::Meta, meta::HLC)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let logs = ledger::read_logs(store)?;
        let logs = logs.into_iter().map(|(no, log, head)| (log, Log { no, head, forks: 0 })).collect();
        let mut state = Self {
            me,
            mesh,
            incarnation,
            clock: HlcClock::after(Hlc(last)),
            members: read_members(store)?,
            logs,
            spaces: ledger::read_spaces(store)?,
            pages: BTreeMap::new(),
            next_eno: ledger::last_eno(store)? + u64::from(!planted("reuses_last_number")),
            waiting: Waiting::default(),
        };
        for space in state.spaces.keys().copied().collect::<Vec<_>>() {
            let page = state.read_open_page(space, store)?;
            state.pages.insert(space, page);
        }
        Ok(state)
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

/// The page of the last record that an entry created.
fn last_page_of(view: &dyn View, eno: Eno) -> Result<Option<u32>, StoreError> {
    let range = (rows::record_key(eno, 0), rows::record_key(eno, u16::MAX));
    let bounds = (Bound::Included(range.0.as_slice()), Bound::Included(range.1.as_slice()));
    let Some((_, row)) = view.first(Table::Records, bounds, Order::Backward)? else {
        return Ok(None);
    };
    Ok(Some(rows::decode::<rows::RecordRow>(Table::Records, &row)?.page))
}
