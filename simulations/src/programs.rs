//! Programs with the stock Automerge library, beside members who type in the same documents.
//!
//! A program keeps its document over restarts of nodes. It visits one node at a time, types before or after it has heard of
//! others' changes, and then comes back elsewhere or is closed for good. A word that a node has on its disk, as the node's heads say,
//! is promised like a member's.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use automerge::sync::{Message, State, SyncDoc};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, AutoCommit, ObjId, ROOT, ReadDoc, Value};
use nexus_documents::ChangeHash;
use nexus_node::documents::{ProgramHeard, ProgramLink};
use nexus_node::error::DocumentError;
use nexus_node::{Node, NodeError};

use crate::documents::{KEYS, OP_MAX, change_of, hash_of, index, words_of};
use crate::ledger::{Ledger, Outcome, Word};
use crate::plan::{NodeNo, Op};
use crate::world::{Sim, SimError};

/// The programs. Each has every document.
const PROGRAMS: u64 = 3;
/// The most messages of a visit in each direction.
const MESSAGES_MAX: usize = 64;

/// The documents that programs keep between their visits.
#[derive(Default)]
pub(crate) struct Programs(RefCell<BTreeMap<(u64, usize), Tab>>);

/// A document in a program.
struct Tab {
    doc: AutoCommit,
    /// The words of it that no node has acknowledged.
    pending: BTreeSet<String>,
}

impl Tab {
    fn new(number: usize) -> Self {
        let actor = ActorId::from(format!("program {number}").into_bytes());
        Self { doc: AutoCommit::new().with_actor(actor), pending: BTreeSet::new() }
    }

    fn object(&self, name: &str) -> Option<ObjId> {
        match self.doc.get(ROOT, name) {
            Ok(Some((Value::Object(_), id))) => Some(id),
            _ => None,
        }
    }

    /// Types a word, if the document is here. The word's place is the text's beginning, or a key of the map.
    fn type_word(&mut self, word: &str, in_text: bool) -> bool {
        let typed = match (self.object("text"), self.object("log")) {
            (Some(text), _) if in_text => self.doc.splice_text(&text, 0, 0, &format!("{word} ")).is_ok(),
            (_, Some(log)) if !in_text => self.doc.put(&log, word, true).is_ok(),
            _ => false,
        };
        self.doc.commit_with(CommitOptions::default().with_time(0));
        typed
    }

    /// The words that are typed in it.
    fn words(&self) -> BTreeSet<String> {
        let text = self.object("text").and_then(|text| self.doc.text(text).ok()).unwrap_or_default();
        let log = self.object("log").map(|log| self.doc.keys(log).collect::<Vec<_>>()).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).chain(log).collect()
    }
}

/// How a visit ended.
enum Visit {
    /// Nobody has more to say, and the node's heads are these.
    Quiet(Vec<automerge::ChangeHash>),
    /// The node has taken all that it may take now.
    Waits,
    /// The program has changes that do not count.
    Aside,
    /// A change was refused.
    Refused(String),
}

/// One visit of a program at a node.
pub(crate) async fn visit(sim: &Sim, (ledger, programs): (&RefCell<Ledger>, &Programs), number: usize, op: Op) {
    let visitor = Visitor { sim, ledger, no: op.node, number };
    let place = index(op.bytes, KEYS.len());
    match op.n % 12 {
        0 => return visitor.read_only(KEYS[place]).await,
        1 => return visitor.unsound(KEYS[place]).await,
        _ => {}
    }
    let which = ((op.bytes >> 4) % PROGRAMS, place);
    let tab = programs.0.borrow_mut().remove(&which);
    let mut tab = tab.unwrap_or_else(|| Tab::new(number));
    let word = format!("p{number}n{}", op.node);
    let in_text = op.n.is_multiple_of(2);
    // a program types offline, or after it has heard of the others
    if op.n.is_multiple_of(3) || visitor.sync(&mut tab, KEYS[place]).await {
        visitor.type_word(&mut tab, KEYS[place], &word, in_text);
        visitor.sync(&mut tab, KEYS[place]).await;
    }
    // a tab that is closed takes nothing with it that was acknowledged
    let stays = !op.n.is_multiple_of(4) || !tab.pending.is_empty();
    if stays {
        programs.0.borrow_mut().insert(which, tab);
    }
}

struct Visitor<'a> {
    sim: &'a Sim,
    ledger: &'a RefCell<Ledger>,
    no: NodeNo,
    number: usize,
}

impl Visitor<'_> {
    fn type_word(&self, tab: &mut Tab, key: &str, word: &str, in_text: bool) {
        if tab.type_word(word, in_text) {
            tab.pending.insert(word.to_owned());
            self.note(key, word, Outcome::Unknown);
        }
    }

    fn note(&self, key: &str, word: &str, outcome: Outcome) {
        let said = Word { key: key.to_owned(), node: self.no, at: self.sim.now(), outcome };
        let mut ledger = self.ledger.borrow_mut();
        ledger.count_outcome(outcome);
        ledger.documents.words.insert(word.to_owned(), said);
    }

    fn fault(&self, key: &str, fault: &str) {
        let (no, number, now) = (self.no, self.number, self.sim.now());
        let mut ledger = self.ledger.borrow_mut();
        // words after those of a thief may be void with them
        if !ledger.documents.is_tainted(key, now) {
            ledger.documents.faults.push(format!("program {number} at n{no}, {key}: {fault}"));
        }
    }

    /// Brings a program and a node to one document, and notes which of the program's words the node has. Whether that was done.
    async fn sync(&self, tab: &mut Tab, key: &str) -> bool {
        let exchange = self.sim.on(self.no, async |node: Node| {
            let before = node.documents().get(None, key, "", None).await?;
            let Some(mut link) = ProgramLink::open(node.documents(), before.info.id, true).await? else {
                return Err(NodeError::Document(DocumentError::File("the document is gone".to_owned())));
            };
            let visit = exchange(&mut tab.doc, &mut link).await?;
            Ok((before, visit))
        });
        let ended = tokio::time::timeout(OP_MAX, exchange).await;
        match ended {
            Ok(Ok((before, Visit::Quiet(theirs)))) => {
                let ours = tab.doc.get_heads();
                if theirs != ours {
                    let fault = format!("nobody has more to say, and they have {ours:?} and {theirs:?}");
                    self.fault(key, &fault);
                    return false;
                }
                let lacks = |hash: &&ChangeHash| tab.doc.get_change_by_hash(&automerge::ChangeHash(hash.0)).is_none();
                if let Some(lacks) = before.version.0.iter().find(lacks) {
                    self.fault(key, &format!("nobody has more to say, and the program lacks {lacks}"));
                }
                let (own, theirs) = (tab.words(), words_of(&before.value));
                let is_part = |word: &&String| word.starts_with('p') && !own.contains(*word);
                if let Some(lost) = theirs.iter().find(is_part) {
                    self.fault(key, &format!("the node shows {lost}, and the program does not"));
                }
                for word in std::mem::take(&mut tab.pending) {
                    self.note(key, &word, Outcome::Done);
                }
                true
            }
            Ok(Ok((_, Visit::Waits))) => false,
            Ok(Ok((_, Visit::Aside))) => {
                *tab = Tab::new(self.number);
                false
            }
            Ok(Ok((_, Visit::Refused(why)))) => {
                self.fault(key, &format!("a change of it is refused: {why}"));
                *tab = Tab::new(self.number);
                false
            }
            // the node goes down, has a full disk, or has heard nothing of the document
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// A program that may only read types a word, which must come nowhere.
    async fn read_only(&self, key: &str) {
        let word = format!("o{}n{}", self.number, self.no);
        let mut tab = Tab::new(self.number);
        let exchange = self.sim.on(self.no, async |node: Node| {
            let document = node.documents().get(None, key, "", None).await?.info.id;
            let Some(mut link) = ProgramLink::open(node.documents(), document, false).await? else { return Ok(()) };
            exchange(&mut tab.doc, &mut link).await?;
            if tab.type_word(&word, true) {
                self.note(key, &word, Outcome::Refused);
                exchange(&mut tab.doc, &mut link).await?;
            }
            Ok(())
        });
        let _: Result<Result<(), SimError>, _> = tokio::time::timeout(OP_MAX, exchange).await;
    }

    /// A program that brings a change which is not the next one of its actor.
    async fn unsound(&self, key: &str) {
        let bytes = change_of(format!("rogue {}", self.number).as_bytes(), 9, self.number);
        let Some(hash) = hash_of(&bytes) else { return };
        self.ledger.borrow_mut().documents.unsound.insert(hash.to_string());
        let message = message_with(hash, &bytes);
        let bring = self.sim.on(self.no, async |node: Node| {
            let document = node.documents().get(None, key, "", None).await?.info.id;
            let Some(mut link) = ProgramLink::open(node.documents(), document, true).await? else { return Ok(None) };
            link.hear(message).await.map(Some)
        });
        if let Ok(Ok(Some(ProgramHeard::Taken))) = tokio::time::timeout(OP_MAX, bring).await {
            self.fault(key, &format!("{hash} is taken, whose verdict does not hold"));
        }
    }
}

/// Passes messages until nobody has more to say.
async fn exchange(doc: &mut AutoCommit, link: &mut ProgramLink) -> Result<Visit, NodeError> {
    let mut state = State::new();
    let mut waits = false;
    for _ in 0..MESSAGES_MAX {
        let ours = doc.sync().generate_sync_message(&mut state);
        if let Some(message) = &ours {
            match link.hear(message.clone().encode()).await? {
                ProgramHeard::Taken => waits = false,
                ProgramHeard::Waits => waits = true,
                ProgramHeard::Aside(_) => return Ok(Visit::Aside),
                ProgramHeard::Refused(why) => return Ok(Visit::Refused(why)),
            }
        }
        let theirs = link.say().await?;
        if let Some(message) = theirs.as_deref().and_then(|bytes| Message::decode(bytes).ok()) {
            // a node says nothing that the library cannot take
            if let Err(error) = doc.sync().receive_sync_message(&mut state, message) {
                return Ok(Visit::Refused(format!("the program cannot take what the node says: {error}")));
            }
        } else if ours.is_none() {
            let mut heads = state.their_heads.unwrap_or_default();
            heads.sort_unstable();
            return Ok(if waits { Visit::Waits } else { Visit::Quiet(heads) });
        }
    }
    Ok(Visit::Waits)
}

/// A sync message with one change, as a program without the library writes it.
fn message_with(hash: ChangeHash, change: &[u8]) -> Vec<u8> {
    // one head, nothing asked for, no filters, one piece
    let mut message = vec![0x42, 1];
    message.extend_from_slice(&hash.0);
    message.extend_from_slice(&[0, 0, 1, u8::try_from(change.len()).unwrap_or(0)]);
    message.extend_from_slice(change);
    message
}
