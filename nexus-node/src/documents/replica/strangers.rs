//! Changes of programs, which this node writes in its own name.

use std::collections::BTreeSet;

use nexus_crdt::{DOCUMENT_CHANGE_BYTES_MAX, LogId};
use nexus_documents::{Broken, Change, ChangeHash, Fault, Living, Made, PatchJson, SyncMessage, SyncPeer};

use super::{Replica, SHARE_BYTES_MAX, may_be_of};

/// A program's changes after a look at them.
#[derive(Debug, Default)]
pub(in super::super) struct Looked {
    /// Changes to write. They are judged, and in the document once they are applied.
    pub(in super::super) made: Vec<Made>,
    /// Changes that come after others that are not here, and changes of other members, whose entries are to come.
    pub(in super::super) waiting: Vec<Vec<u8>>,
    /// The first one that is not taken, with the reason. If it breaks a rule, no change after it is looked at.
    pub(in super::super) refused: Option<(ChangeHash, String)>,
    /// The changes of the program that come after changes that do not count, and these.
    pub(in super::super) aside: Aside,
}

/// A program's changes that are not taken, as some of them do not count in this mesh.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Aside {
    /// Changes that are here and do not count.
    pub(in super::super) void: Vec<Vec<u8>>,
    /// Changes that come after them, which the program made without knowing.
    pub(in super::super) on_top: Vec<Vec<u8>>,
}

impl Aside {
    pub(in super::super) fn bytes(&self) -> usize {
        self.void.iter().chain(&self.on_top).map(Vec::len).sum()
    }
}

/// The edits of a program on top of changes that do not count.
#[derive(Debug, PartialEq)]
pub(in super::super) struct OnTop {
    /// Its first change.
    pub(in super::super) first: ChangeHash,
    /// The steps from the document with the changes that do not count to what the program has.
    pub(in super::super) steps: Vec<PatchJson>,
}

impl Replica {
    /// Judges changes of a program, each after those before it. A document whose changes were not written must not be used any
    /// more.
    pub(in super::super) fn judge_strangers(&mut self, log: &LogId, changes: Vec<Vec<u8>>) -> Looked {
        let mut looked = Looked::default();
        let mut lost = BTreeSet::new();
        for bytes in changes {
            let change = match Change::parse(&bytes) {
                Ok(change) => change,
                Err(fault) => {
                    looked.refused = Some((ChangeHash([0; 32]), fault.to_string()));
                    break;
                }
            };
            let hash = change.hash();
            if let Some(dep) = change.deps().iter().find(|dep| self.is_void(dep) || lost.contains(*dep)) {
                let why = format!("it comes after {dep}, which does not count in this mesh");
                looked.refused.get_or_insert((hash, why));
                lost.insert(hash);
                let is_own = !self.is_void(&hash);
                let of = if is_own { &mut looked.aside.on_top } else { &mut looked.aside.void };
                of.push(bytes);
                continue;
            }
            match self.look_at_stranger(log, &change, bytes.len() as u64) {
                Ok(Look::Known) => {}
                Ok(Look::Void) => {
                    looked.refused.get_or_insert((hash, "this mesh has it, and it does not count".to_owned()));
                    looked.aside.void.push(bytes);
                }
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
        if self.is_void(&hash) {
            return Ok(Look::Void);
        }
        let is_here = change.deps().iter().all(|dep| self.counting.contains(dep));
        // the word of another member comes with that member's entry
        let is_members = !may_be_of(change.actor(), log, self.document);
        if !is_here || is_members {
            return Ok(Look::Waits);
        }
        if self.numbers.get(change.actor()).is_some_and(|numbers| numbers.contains_key(&change.seq())) {
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

    /// Whether a change is here and does not count, as it was cut, revoked or refused, or was here until it was erased. It does not
    /// come back by a program that still has it.
    fn is_void(&self, hash: &ChangeHash) -> bool {
        match self.held.contains_key(hash) {
            true => !self.counting.contains(hash) && !self.is_waiting(hash),
            false => self.erased.contains(hash),
        }
    }

    /// The edits of a program on top of changes that do not count, as far as all is here that they need. The document stays as it is.
    pub(in super::super) fn on_top(&self, Aside { void, on_top }: &Aside) -> Option<OnTop> {
        let (mut judge, mut living) = (self.judge.clone(), self.living.clone());
        let mut add = |living: &mut Living, bytes: &[u8]| {
            let change = Change::parse(bytes).ok()?;
            let is_sound = judge.accept(&change).is_ok() && change.deps().iter().all(|dep| living.knows(dep));
            (is_sound && living.apply([bytes]).is_ok()).then(|| change.hash())
        };
        for bytes in void {
            add(&mut living, bytes);
        }
        let before = living.heads();
        let mut first = None;
        for bytes in on_top {
            let added = add(&mut living, bytes);
            first = first.or(added);
        }
        let steps = living.patches(&before, &living.heads()).ok()?;
        Some(OnTop { first: first?, steps })
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
    Void,
    Waits,
    New,
}
