//! The logs that this node holds, as its sessions see them: read once for each committed state, and shared by all sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nexus_crdt::{Branches, Frontier, LogId, Members, SpaceId};
use nexus_identity::Did;

use super::Audience;
use crate::ledger;
use crate::ledger::rows::{LogNo, SpaceRow};
use crate::store::{StoreError, View};

/// The most different audiences of a state whose logs are kept. All members that read the same spaces and formats are one.
const AUDIENCES_MAX: usize = 8;

/// The logs that this node holds in its latest committed state. One for all sessions of a node: each reads every log otherwise,
/// whenever it compares digests.
#[derive(Debug, Default)]
pub struct Holdings(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    /// The number of the state.
    state: u64,
    held: Option<Arc<Held>>,
    ours: Vec<Arc<Ours>>,
}

/// The rows of a state.
#[derive(Debug)]
struct Held {
    logs: Vec<(LogNo, LogId, Branches)>,
    spaces: BTreeMap<SpaceId, SpaceRow>,
}

/// A log as a session sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionLog {
    pub(super) id: LogId,
    /// Whether both ends may read its space.
    pub(super) shared: bool,
}

/// The logs of this node for one audience.
#[derive(Debug)]
pub(super) struct Ours {
    me: Did,
    members: Arc<Members>,
    reads: u16,
    spaces: BTreeSet<SpaceId>,
    logs: BTreeMap<LogNo, SessionLog>,
    /// The numbers of the logs of shared spaces.
    numbers: BTreeMap<LogId, LogNo>,
    /// The logs of spaces that both ends may read.
    pub(super) shared: Frontier,
    /// This node's own logs, of all spaces.
    pub(super) own: Frontier,
    digest: OnceLock<[u8; 32]>,
}

impl Holdings {
    /// The logs of a state for an audience.
    pub(super) fn of(&self, audience: &Audience, view: &dyn View) -> Result<Arc<Ours>, StoreError> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = view.state().filter(|state| *state >= latest.state) else {
            // a state without a number, or of before: nobody else asks for it
            drop(latest);
            let held = Held::read(view)?;
            return Ok(Arc::new(held.ours(audience, audience.shared_of(&held.spaces), view)?));
        };
        let held = match &latest.held {
            Some(held) if latest.state == state => held.clone(),
            _ => {
                // others that ask for this state wait, and need not read it
                let held = Arc::new(Held::read(view)?);
                *latest = Latest { state, held: Some(held.clone()), ours: Vec::new() };
                held
            }
        };
        let spaces = audience.shared_of(&held.spaces);
        if let Some(ours) = latest.ours.iter().find(|ours| ours.is_for(audience, &spaces)) {
            return Ok(ours.clone());
        }
        let ours = Arc::new(held.ours(audience, spaces, view)?);
        if latest.ours.len() < AUDIENCES_MAX {
            latest.ours.push(ours.clone());
        }
        Ok(ours)
    }
}

impl Held {
    fn read(view: &dyn View) -> Result<Self, StoreError> {
        Ok(Self { logs: ledger::read_held(view)?, spaces: ledger::read_spaces(view)? })
    }

    fn ours(&self, audience: &Audience, spaces: BTreeSet<SpaceId>, view: &dyn View) -> Result<Ours, StoreError> {
        let (me, members, reads) = (audience.me(), audience.shared_members(), audience.reads());
        let (mut logs, mut numbers) = (BTreeMap::new(), BTreeMap::new());
        let (mut shared, mut own) = (Frontier::default(), Frontier::default());
        for (no, id, held) in &self.logs {
            let log = SessionLog { id: *id, shared: spaces.contains(&id.space) };
            logs.insert(*no, log);
            if log.shared {
                numbers.insert(*id, *no);
                if let Some(head) = audience.last(view, id, held)? {
                    shared.advance(*id, head);
                }
            }
            if id.author == me {
                own.advance(*id, held.head);
            }
        }
        Ok(Ours { me, members, reads, spaces, logs, numbers, shared, own, digest: OnceLock::new() })
    }
}

impl Ours {
    fn is_for(&self, audience: &Audience, spaces: &BTreeSet<SpaceId>) -> bool {
        Arc::ptr_eq(&self.members, &audience.shared_members())
            && (self.me, self.reads) == (audience.me(), audience.reads())
            && self.spaces == *spaces
    }

    /// The digest of the shared logs.
    pub(super) fn digest(&self) -> [u8; 32] {
        *self.digest.get_or_init(|| self.shared.digest())
    }
}

/// The logs that a session knows: those of the state that it last compared, and those that have begun since.
#[derive(Debug, Default)]
pub(super) struct KnownLogs {
    ours: Option<Arc<Ours>>,
    logs: BTreeMap<LogNo, SessionLog>,
    numbers: BTreeMap<LogId, LogNo>,
}

impl KnownLogs {
    pub(super) fn of(ours: Arc<Ours>) -> Self {
        Self { ours: Some(ours), ..Self::default() }
    }

    pub(super) fn log(&self, no: LogNo) -> Option<SessionLog> {
        let compared = self.ours.as_ref().and_then(|ours| ours.logs.get(&no));
        compared.or_else(|| self.logs.get(&no)).copied()
    }

    /// Adds a log that is not known yet.
    pub(super) fn add(&mut self, no: LogNo, log: SessionLog) {
        self.logs.insert(no, log);
        if log.shared {
            self.numbers.insert(log.id, no);
        }
    }

    /// The number of a log of a shared space.
    pub(super) fn number(&self, log: &LogId) -> Option<LogNo> {
        let compared = self.ours.as_ref().and_then(|ours| ours.numbers.get(log));
        compared.or_else(|| self.numbers.get(log)).copied()
    }

    /// How many logs of shared spaces are within a range.
    pub(super) fn count(&self, range: impl RangeBounds<LogId> + Clone) -> usize {
        let compared = self.ours.iter().map(|ours| ours.numbers.range(range.clone()).count()).sum::<usize>();
        compared + self.numbers.range(range).count()
    }

    /// The logs of shared spaces.
    pub(super) fn shared(&self) -> impl Iterator<Item = &LogId> {
        self.ours.iter().flat_map(|ours| ours.numbers.keys()).chain(self.numbers.keys())
    }
}
