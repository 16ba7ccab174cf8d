//! Two processes with one identity: a copied data directory, or a thief with the key.

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_identity::Did;

use crate::identity::Identity;
use crate::notices::Notices;

/// The code of the warning in a process that members refuse, since another one with its identity is connected to them.
pub(crate) const RUNNING_TWICE: &str = "running_twice";
/// The code of the warning about another member of which a second process was refused here.
pub(crate) const RUNS_TWICE: &str = "runs_twice";

/// The longest time without a further refusal until a warning is taken back: two tries and some time for each.
const WARNED_FOR: Duration = Duration::from_secs(11 * 60);
/// The most members that are noted.
const MEMBERS_MAX: usize = 64;

/// The last refusals on account of another process with the same identity.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// By the members that refused this process.
    by_others: BTreeMap<Did, Duration>,
    /// By this node, of other members' second processes.
    by_us: BTreeMap<Did, Duration>,
}

impl Twins {
    /// Notes a refusal and warns of it, once.
    pub(super) fn refused(&mut self, peer: Did, by_us: bool, identity: &Identity, notices: &Notices, now: Duration) {
        let refusals = if by_us { &mut self.by_us } else { &mut self.by_others };
        if refusals.len() >= MEMBERS_MAX && !refusals.contains_key(&peer) {
            return;
        }
        refusals.insert(peer, now);
        let name = || identity.shown_name_of(&peer).unwrap_or_else(|| peer.to_string());
        if by_us {
            notices.note(
                RUNS_TWICE,
                peer.to_string(),
                format!("{0} runs twice: {0} is connected, and another process with its identity was refused", name()),
                "was its data directory copied? end the copy, and let it join with a ticket of its own; if its key was \
                 stolen: `nexus-node revoke`",
            );
        } else {
            notices.note(
                RUNNING_TWICE,
                identity.me().to_string(),
                format!("another process runs with the identity of this node: {} is connected to that one", name()),
                "was the data directory copied? end one of the two, and let it join with a ticket of its own; if the \
                 other is not yours: `nexus-node key rotate`; this node tries again every 5 minutes",
            );
        }
    }

    /// Notes that a member is connected, and takes back warnings of which nothing was heard any more.
    pub(super) fn look(&mut self, opened: Option<Did>, identity: &Identity, notices: &Notices, now: Duration) {
        if self.by_others.is_empty() && self.by_us.is_empty() {
            return;
        }
        let late = |last: &Duration| now.saturating_sub(*last) >= WARNED_FOR;
        self.by_others.retain(|peer, last| opened != Some(*peer) && !late(last));
        if self.by_others.is_empty() {
            notices.end(RUNNING_TWICE, &identity.me().to_string());
        }
        self.by_us.retain(|peer, last| {
            if late(last) {
                notices.end(RUNS_TWICE, &peer.to_string());
            }
            !late(last)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexus_crdt::Members;
    use nexus_identity::Keypair;
    use tokio::sync::watch;

    use super::*;

    fn did(n: u8) -> Did {
        Keypair::from_seed(&[n; 32]).did()
    }

    #[test]
    fn a_warning_of_two_processes_is_taken_back_when_nothing_is_heard_any_more() {
        let (_, members) = watch::channel(Arc::new(Members::of(did(0))));
        let (identity, notices, mut twins) =
            (Identity::new(did(1), did(0), members), Notices::default(), Twins::default());
        let codes = || notices.all().iter().map(|notice| notice.code).collect::<Vec<_>>();
        let minutes = |n: u64| Duration::from_secs(n * 60);
        for (peer, by_us, at) in [(2, false, 0), (3, false, 1), (2, true, 2), (2, true, 7)] {
            twins.refused(did(peer), by_us, &identity, &notices, minutes(at));
        }
        assert_eq!(codes(), [RUNNING_TWICE, RUNS_TWICE]);
        twins.look(Some(did(2)), &identity, &notices, minutes(8));
        assert_eq!(codes(), [RUNNING_TWICE, RUNS_TWICE], "another member still refuses");
        twins.look(Some(did(3)), &identity, &notices, minutes(8));
        assert_eq!(codes(), [RUNS_TWICE]);
        twins.look(None, &identity, &notices, minutes(17));
        assert_eq!(codes(), [RUNS_TWICE]);
        twins.look(None, &identity, &notices, minutes(18));
        assert!(codes().is_empty());
        // a flood of members
        for n in 0..200 {
            twins.refused(did(n), true, &identity, &notices, minutes(20));
        }
        assert!(twins.by_us.len() <= MEMBERS_MAX && codes().len() <= MEMBERS_MAX);
    }
}
