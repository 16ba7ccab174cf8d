use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::{
    Branches, Branching, DRIFT_MAX, Dot, ENTRY_FORMAT_MAX, Evidence, Head, Hlc, HlcClock, Incarnation, LogId, Members,
    PAGE_RECORDS_MAX, Reach, SpaceId, SpaceRule,
};
use nexus_identity::plants::planted;
use nexus_identity::{Chain, ChainError, Did, Timestamp};

use super::waiting::Waiting;
use crate::ledger::rows::{self, Eno, LogNo, SpaceRow, UsageRow, meta};
use crate::ledger::{self, Erasers, Genesis, HeldBranches, LedgerError, Quotas, read_genesis, read_members};
use crate::store::{Order, StoreError, Table, View};

/// The engine's state of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    pub no: LogNo,
    pub held: Option<Branches>,
}

impl Log {
    pub(super) fn head(&self) -> Option<Head> {
        self.held.map(|held| held.head)
    }
}

/// The page for new records of a space.
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

/// The engine's state in memory: small, and read back from the store at the start.
#[derive(Debug)]
pub(super) struct EngineState {
    pub me: Did,
    pub mesh: Did,
    pub incarnation: Incarnation,
    pub clock: HlcClock,
    /// The time on which most members' clocks agree, where it is known.
    pub agreed: Option<Timestamp>,
    /// How far a foreign stamp may be ahead and still move the clock.
    pub drift: Duration,
    pub members: Arc<Members>,
    /// Whether something came that memberships depend on, since the last verdicts.
    pub undecided: bool,
    /// Logs of former members in which a branch became known that may be the one that counts.
    pub branched: BTreeSet<LogId>,
    /// Forked logs of which evidence, or a copy of what they lose, may be missing.
    pub unsettled: BTreeSet<LogId>,
    /// Former ids of our own memories under which somebody has forgotten them.
    pub forgotten_late: BTreeSet<Dot>,
    /// The members that erased something.
    pub erasers: Erasers,
    /// Evidence of forks of which only one entry is here, lower than all that is known of the log.
    pub astray: BTreeMap<LogId, Evidence>,
    pub logs: BTreeMap<LogId, Log>,
    pub spaces: BTreeMap<SpaceId, SpaceRow>,
    pub pages: BTreeMap<SpaceId, OpenPage>,
    pub next_eno: Eno,
    /// The format in which entries are written.
    pub entry_format: u16,
    /// Whether texts of tasks' events are written apart from their facts.
    pub tasks_apart: bool,
    /// Whether credentials say whose machine a member is.
    pub persons: bool,
    /// Whether members erase what they wrote.
    pub erases: bool,
    pub waiting: Waiting,
    /// The most that is taken of one author.
    pub quotas: Quotas,
    /// The use of the store by each author.
    pub usage: BTreeMap<Did, UsageRow>,
}

impl EngineState {
    pub(super) fn read(me: Did, store: &dyn View) -> Result<Self, LedgerError> {
        let Genesis { mesh, incarnation, .. } = read_genesis(store)?.ok_or(LedgerError::NoGenesis)?;
        let last =
            store.get(Table::Meta, meta::HLC)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let mut logs = BTreeMap::new();
        for (no, log, _) in ledger::read_logs(store)? {
            logs.insert(log, Log { no, held: ledger::read_branches(store, no)? });
        }
        let mut state = Self {
            me,
            mesh,
            incarnation,
            clock: HlcClock::after(Hlc(last)),
            agreed: None,
            drift: DRIFT_MAX,
            members: Arc::new(read_members(store)?),
            undecided: true,
            branched: BTreeSet::new(),
            unsettled: logs
                .iter()
                .filter(|(_, log)| log.held.is_some_and(|held| held.cut.is_some()))
                .map(|(id, _)| *id)
                .collect(),
            forgotten_late: BTreeSet::new(),
            erasers: ledger::read_erasers(store)?,
            astray: BTreeMap::new(),
            logs,
            spaces: ledger::read_spaces(store)?,
            pages: BTreeMap::new(),
            next_eno: ledger::last_eno(store)? + u64::from(!planted("reuses_last_number")),
            entry_format: ledger::entry_format(store)?.min(ENTRY_FORMAT_MAX),
            tasks_apart: ledger::writes_tasks_apart(store)?,
            persons: ledger::says_persons(store)?,
            erases: ledger::may_write_erasures(store)?,
            waiting: Waiting::default(),
            quotas: Quotas::default(),
            usage: ledger::read_usage(store)?.into_iter().collect(),
        };
        for space in state.spaces.keys().copied().collect::<Vec<_>>() {
            let page = state.read_open_page(space, store)?;
            state.pages.insert(space, page);
        }
        Ok(state)
    }

    /// Continues the page of our last record in a space.
    fn read_open_page(&self, space: SpaceId, view: &dyn View) -> Result<OpenPage, StoreError> {
        let Some(log) = self.logs.get(&self.own_log(space)) else {
            return Ok(OpenPage::default());
        };
        let mut last = None;
        // newest entries first, until one that created records: edits in between are few
        let range = (rows::log_index_prefix(log.no, 0), rows::log_index_prefix(log.no, u64::MAX));
        let bounds = (Bound::Included(range.0.as_slice()), Bound::Included(range.1.as_slice()));
        view.try_scan(Table::LogIndex, bounds, Order::Backward, &mut |_, value| {
            last = last_page_of(view, rows::read_eno(Table::LogIndex, value)?)?;
            Ok(if last.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        // counting its records would take a walk over its entries; a new page costs less
        Ok(last.map_or_else(OpenPage::default, |page| OpenPage { number: page + 1, records: 0 }))
    }

    /// The access rule of a space, if its definition is held.
    pub(super) fn rule_of(&self, space: SpaceId) -> Option<SpaceRule> {
        self.spaces.get(&space).map(|row| row.rule(space))
    }

    /// Takes a chain's members; `author` published it, if it is from an entry. Returns whether that changed anything.
    pub(super) fn admit(&mut self, chain: &Chain, author: Option<&Did>) -> Result<bool, ChainError> {
        let changed = Members::admit_shared(&mut self.members, chain, author)?;
        self.undecided |= changed;
        Ok(changed)
    }

    /// Asks the members something that depends on the branches of forked logs.
    pub(super) fn judged<T>(
        &self,
        view: &dyn View,
        ask: impl FnOnce(&Members, &dyn Branching) -> T,
    ) -> Result<T, StoreError> {
        let held = |log: &LogId| self.logs.get(log).and_then(|log| Some((log.no, log.held?.cut)));
        let branches = HeldBranches::new(view, &held);
        let answer = ask(&self.members, &branches);
        branches.finish()?;
        Ok(answer)
    }

    /// The entries of a log that count.
    pub(super) fn reach_of(&self, log: &LogId) -> Reach {
        let forked_at = self.logs.get(log).and_then(|log| log.held?.cut);
        self.members.reach_of(log, forked_at)
    }

    /// Our own log of a space.
    pub(super) fn own_log(&self, space: SpaceId) -> LogId {
        LogId { space, author: self.me, incarnation: self.incarnation }
    }

    /// The log's state, with a new number if it has none.
    pub(super) fn log_mut(&mut self, log: LogId, draft: &mut crate::store::Draft<'_>) -> &mut Log {
        let next = LogNo::try_from(self.logs.len()).unwrap_or(LogNo::MAX);
        self.logs.entry(log).or_insert_with(|| {
            draft.put(Table::Logs, &rows::log_key(next), &rows::encode(&log));
            Log { no: next, held: None }
        })
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
