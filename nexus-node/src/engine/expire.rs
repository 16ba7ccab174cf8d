use std::time::Duration;

use nexus_crdt::Hlc;
use nexus_identity::{Did, Timestamp};

use super::io::{CommandId, Outcome};
use super::{Engine, LedgerError, Turn};
use crate::ledger::{find_entry, read_entry};

/// The time from the end of a member's credentials until its membership is ended for good.
pub(super) const EXPIRED_FOR: Duration = Duration::from_secs(7 * 86_400);
/// The most memberships that one command ends.
const TOGETHER: usize = 16;

impl Engine {
    /// Ends the memberships below this node whose credentials ended long ago: until then the gate alone refuses them.
    ///
    /// An end is final and clocks go wrong, so one clock is not enough. This node's has passed the time, and so has that
    /// of another member, by an entry that it wrote.
    pub(super) fn end_expired(&mut self, of: CommandId, turn: &mut Turn<'_>) -> Result<Outcome, LedgerError> {
        let (me, now) = (self.state.me, turn.now);
        let members = self.state.members.clone();
        let stands = |did: &Did| {
            let ends = members.get(did).map(|member| member.expires_at());
            ends.is_some_and(|end| end.is_none_or(|end| end >= now))
        };
        if !stands(&me) {
            return Ok(Outcome::Expired { ended: 0 });
        }
        let due = |(did, member): (&Did, &nexus_crdt::Member)| {
            let due = member.expires_at()?.saturating_add(EXPIRED_FOR);
            (due < now && self.may_revoke(did) && *did != me).then_some((*did, due))
        };
        let due: Vec<(Did, Timestamp)> = members.iter().filter_map(due).collect();
        let mut ended = 0;
        for (did, due) in due {
            if ended == TOGETHER {
                break;
            }
            // it may have ended with one before it
            if self.may_revoke(&did) && self.has_passed_for_others(&did, due, &stands, turn)? {
                self.revoke(did, None, of, turn)?;
                ended += 1;
            }
        }
        Ok(Outcome::Expired { ended })
    }

    /// Whether a current member besides this node and `subject` has written an entry at a time or after it.
    fn has_passed_for_others(
        &self,
        subject: &Did,
        time: Timestamp,
        stands: &dyn Fn(&Did) -> bool,
        turn: &Turn<'_>,
    ) -> Result<bool, LedgerError> {
        for (id, log) in &self.state.logs {
            if id.author == self.state.me || id.author == *subject || !stands(&id.author) {
                continue;
            }
            let Some(head) = log.head() else { continue };
            let Some(eno) = find_entry(&turn.draft, head.id)? else { continue };
            if read_entry(&turn.draft, eno)?.is_some_and(|entry| entry.header().hlc >= Hlc::at(time)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
