use std::convert::Infallible;

use nexus_crdt::{Header, LogId, SpaceId, Verified};
use nexus_identity::Did;

use super::{Engine, Turn};
use crate::ledger::rows::UsageRow;
use crate::ledger::{Incarnations, LineUsage, is_writer, readers_write, rows};
use crate::store::Table;

impl Engine {
    /// Whether an entry may be taken by the quotas of its author. A refused entry does not wait here:
    /// it comes again once there is room.
    pub(super) fn has_room_for(&self, header: &Header) -> bool {
        let log = header.log();
        if self.state.members.same_line(&log.author, &self.state.me) {
            return true;
        }
        let writes = is_writer(&self.state.members, &log.author);
        if !writes && !readers_write(header.kind) {
            return false;
        }
        let usage = self.usage_of_line(&log.author);
        let in_mesh_space = log.space == SpaceId::mesh(&self.state.mesh);
        let fits = self.state.quotas.size_reached(&usage, writes, in_mesh_space).is_none();
        fits && (self.is_held(&log) || self.may_begin(&log, &usage))
    }

    /// The use of the store by all keys of a member.
    pub(super) fn usage_of_line(&self, key: &Did) -> LineUsage {
        let of_key = |key: &Did| Ok::<_, Infallible>(self.state.usage.get(key).copied().unwrap_or_default());
        LineUsage::of(&self.state.members, key, of_key).unwrap_or_default()
    }

    fn is_held(&self, log: &LogId) -> bool {
        self.state.logs.get(log).is_some_and(|log| log.held.is_some())
    }

    /// Whether an author may have one more log in a space.
    fn may_begin(&self, log: &LogId, usage: &LineUsage) -> bool {
        let logs_of = |author: &Did| {
            let of_key = LogId { author: *author, ..*log };
            self.state.logs.range(of_key.incarnations()).filter(|(_, log)| log.held.is_some()).count() as u64
        };
        let incarnations = Incarnations::of(&self.state.members, &log.author, logs_of);
        let quotas = &self.state.quotas;
        quotas.incarnations_reached(incarnations).is_none() && quotas.logs_reached(usage).is_none()
    }

    /// Counts a stored entry. `begins` says whether it is the first one of its log.
    pub(super) fn count(&mut self, entry: &Verified, begins: bool, turn: &mut Turn<'_>) {
        let author = entry.header().author;
        let usage = self.state.usage.entry(author).or_default();
        usage.add(entry, begins);
        if entry.header().space == SpaceId::mesh(&self.state.mesh) {
            usage.mesh_bytes += UsageRow::bytes_of(entry);
            turn.draft.put(Table::Usage, &rows::mesh_usage_key(&author), &usage.mesh_bytes.to_le_bytes());
        }
        turn.draft.put(Table::Usage, author.as_bytes(), &rows::encode(usage));
    }
}
