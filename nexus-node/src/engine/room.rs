use nexus_crdt::{Header, LogId, SpaceId, Verified};

use super::{Engine, Turn};
use crate::ledger::{is_writer, readers_write, rows};
use crate::store::Table;

impl Engine {
    /// Whether an entry may be taken by the quotas of its author. A refused entry does not wait here:
    /// it comes again once there is room.
    pub(super) fn has_room_for(&self, header: &Header) -> bool {
        let log = header.log();
        if log.author == self.state.me {
            return true;
        }
        let writes = is_writer(&self.state.members, &log.author);
        if !writes && !readers_write(header.kind) {
            return false;
        }
        let Some(usage) = self.state.usage.get(&log.author) else { return true };
        let in_mesh_space = log.space == SpaceId::mesh(&self.state.mesh);
        let quotas = &self.state.quotas;
        quotas.size_reached(usage, writes, in_mesh_space).is_none() && (self.is_held(&log) || self.may_begin(&log))
    }

    fn is_held(&self, log: &LogId) -> bool {
        self.state.logs.get(log).is_some_and(|log| log.held.is_some())
    }

    /// Whether an author may have one more log in a space.
    fn may_begin(&self, log: &LogId) -> bool {
        let incarnations =
            self.state.logs.range(log.incarnations()).filter(|(_, log)| log.held.is_some()).count() as u64;
        let quotas = &self.state.quotas;
        quotas.incarnations_reached(incarnations).is_none()
            && self.state.usage.get(&log.author).is_none_or(|usage| quotas.logs_reached(usage).is_none())
    }

    /// Counts a stored entry. `begins` says whether it is the first one of its log.
    pub(super) fn count(&mut self, entry: &Verified, begins: bool, turn: &mut Turn<'_>) {
        let author = entry.header().author;
        let usage = self.state.usage.entry(author).or_default();
        usage.add(entry, begins);
        turn.draft.put(Table::Usage, author.as_bytes(), &rows::encode(usage));
    }
}
