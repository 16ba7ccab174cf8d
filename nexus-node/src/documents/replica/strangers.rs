//! Changes of programs, which this node writes in its own name.

use nexus_crdt::{DOCUMENT_CHANGE_BYTES_MAX, LogId};
use nexus_documents::{Broken, Change, ChangeHash, Fault, Made, SyncMessage, SyncPeer};

use super::{Replica, SHARE_BYTES_MAX, may_be_of};

/// A program's changes after a look at them.
#[derive(Debug, Default)]
pub(in super::super) struct Looked {
    /// Changes to write. They are judged, and in the document once they are applied.
    pub(in super::super) made: Vec<Made>,
    /// Changes that come after others that are not here, and changes of other members, whose entries are to come.
    pub(in super::super) waiting: Vec<Vec<u8>>,
    /// The first one that is not taken, with the reason. No change after it is looked at.
    pub(in super::super) refused: Option<(ChangeHash, String)>,
}

impl Replica {
    /// Judges changes of a program, each after those before it. A document whose changes were not written must not be used any
    /// more.
    pub(in super::super) fn judge_strangers(&mut self, log: &LogId, changes: Vec<Vec<u8>>) -> Looked {
        let mut looked = Looked::default();
        for bytes in changes {
            let change = match Change::parse(&bytes) {
                Ok(change) => change,
                Err(fault) => {
                    looked.refused = Some((ChangeHash([0; 32]), fault.to_string()));
                    break;
                }
            };
            let hash = change.hash();
            match self.look_at_stranger(log, &change, bytes.len() as u64) {
                Ok(Look::Known) => {}
                Ok(Look::Waits) => looked.waiting.push(bytes),
                Ok(Look::New) => {
                    self.hold_made(hash, &change);
                    looked.made.push(Made { hash, bytes });
                }
                Err(why) => {
                    looked.refused = Some((hash, why));
                    break;
                }
            }
        }
        looked
    }

    fn look_at_stranger(&mut self, log: &LogId, change: &Change<'_>, bytes: u64) -> Result<Look, String> {
        let hash = change.hash();
        if self.counting.contains(&hash) {
            return Ok(Look::Known);
        }
        // a change that was cut, revoked or refused does not come back by a program that still has it
        let is_void =
            |hash: &ChangeHash| self.held.contains_key(hash) && !self.counting.contains(hash) && !self.is_waiting(hash);
        if is_void(&hash) {
            return Err("this mesh has it, and it does not count".to_owned());
        }
        if change.deps().iter().any(is_void) {
            return Err("it comes after a change that does not count in this mesh".to_owned());
        }
        let is_here = change.deps().iter().all(|dep| self.counting.contains(dep));
        // the word of another member comes with that member's entry
        let is_members = !may_be_of(change.actor(), log, self.document);
        if !is_here || is_members {
            return Ok(Look::Waits);
        }
        if self.numbers.contains_key(&(change.actor().into(), change.seq())) {
            return Err("another change has the same actor and number".to_owned());
        }
        let brought = self.shares.get(&(*log, true)).copied().unwrap_or_default();
        if brought.saturating_add(bytes) > SHARE_BYTES_MAX {
            return Err("this node has brought 16 MiB of the document".to_owned());
        }
        let most = DOCUMENT_CHANGE_BYTES_MAX as u64;
        if bytes > most {
            return Err(format!("it has {bytes} bytes, and an entry takes {most}"));
        }
        match self.judge.accept(change) {
            Ok(()) => Ok(Look::New),
            Err(Fault::MissingDeps(_)) => Ok(Look::Waits),
            Err(fault) => Err(fault.to_string()),
        }
    }

    /// Whether a change is here, and waits for one that comes before it.
    fn is_waiting(&self, hash: &ChangeHash) -> bool {
        self.waiting.values().flatten().any(|(waiting, _)| waiting == hash)
    }

    /// Applies changes that were judged.
    pub(in super::super) fn apply(&mut self, made: &[Made]) -> Result<(), Broken> {
        self.living.apply(made.iter().map(|made| made.bytes.as_slice()))
    }

    /// Takes what a message of a program says of it.
    pub(in super::super) fn hear(&mut self, peer: &mut SyncPeer, message: &SyncMessage) -> Result<(), Broken> {
        self.living.hear(peer, message)
    }
}

/// A program's change as it is here.
enum Look {
    Known,
    Waits,
    New,
}
