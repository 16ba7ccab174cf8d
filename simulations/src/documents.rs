//! Living documents under faults: typed in at every node, on both sides of every cut.
//!
//! Every edit has a word of its own that nobody else writes or deletes, so the ledger can tell which edits a document
//! shows. A word is in a text, in a list or a key of a map.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{Either, join, select};
use nexus_documents::{Change, ChangeHash, chunk};
use nexus_node::documents::{DocPath, Edit, Version};
use nexus_node::error::DocumentError;
use nexus_node::{Node, NodeError};
use serde_json::{Value, json};

use crate::ledger::{Counted, Ledger, Outcome, Word};
use crate::plan::{NodeNo, Op};
use crate::world::{Sim, SimError};

/// The keys of the documents that all type in. They have their texts and lists from the beginning: two texts that were
/// made apart would be two.
pub(crate) const KEYS: [&str; 3] = ["plan", "minutes", "list"];
/// The keys of documents that are created when somebody needs them, also on both sides of a cut.
const LATE: [&str; 3] = ["late 0", "late 1", "late 2"];
/// The document for changes that stand in each other's way. Later edits of it would be void with them.
const TWINS: &str = "twins";
/// The longest operation; a longer one counts as not acknowledged.
pub(crate) const OP_MAX: Duration = Duration::from_secs(20);
/// The time between two reads beside an edit.
const BESIDE: Duration = Duration::from_millis(3);
/// The most changes that a look reads.
const CHANGES_MAX: usize = 1_000;

/// A document as a node shows it.
#[derive(Clone, Debug)]
pub struct ShownDocument {
    /// The time before the read.
    pub at: Duration,
    /// Its version.
    pub heads: String,
    /// It as JSON.
    pub json: String,
    /// The words in it.
    pub words: BTreeSet<String>,
    /// Its counter, if it has one.
    pub count: Option<i64>,
    /// Its changes.
    pub changes: BTreeSet<String>,
}

/// Creates the documents that have texts from the beginning, at the founder.
pub(crate) async fn begin(sim: &Sim) -> Result<(), SimError> {
    sim.on(0, async |node: Node| {
        let documents = node.documents();
        for key in KEYS {
            documents.create(None, key).await?;
            let value = json!({ "text": "", "list": [], "log": {}, "title": "" });
            let edits =
                vec![Edit::Set { path: DocPath::root(), value }, Edit::Counter { path: path("/count"), value: 0 }];
            documents.edit(None, key, edits).await?;
        }
        documents.create(None, TWINS).await.map(drop)
    })
    .await
}

/// Does one operation and records what its client saw.
pub(crate) async fn operate(sim: &Sim, ledger: &RefCell<Ledger>, number: usize, op: Op) {
    let typist = Typist { sim, ledger, no: op.node, number, bytes: op.bytes };
    let key = KEYS[index(op.bytes, KEYS.len())];
    match op.n % 24 {
        0..9 => typist.splice(key).await,
        9..11 => typist.keys(key).await,
        11 | 12 => typist.insert(key).await,
        13 | 14 => typist.count(key).await,
        15 => typist.title(key).await,
        16 | 17 => typist.delete_junk(key).await,
        18 | 19 => typist.late().await,
        20 | 21 => typist.beside_a_misfit(key).await,
        22 => typist.twin().await,
        _ => typist.unsound(key).await,
    }
}

/// Types a word at a node right away, in a document that may not be here yet.
pub(crate) async fn type_word(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, number: usize) {
    Typist { sim, ledger, no, number, bytes: number as u64 }.late().await;
}

/// The words that a thief types in the name of a member, for which nothing is promised. They must be gone once all know.
pub(crate) async fn forge(sim: &Sim, ledger: &RefCell<Ledger>, no: NodeNo, word: &str, within: Duration) {
    for key in [KEYS[0], LATE[0]] {
        let word = format!("{word}{}", key.len());
        {
            let now = sim.now();
            let mut ledger = ledger.borrow_mut();
            ledger.documents.forged.insert(word.clone());
            ledger.documents.tainted.entry(key.to_owned()).or_insert(now);
        }
        let forging = sim.on(no, async |node: Node| {
            let documents = node.documents();
            documents.create(None, key).await?;
            documents.edit(None, key, vec![Edit::Set { path: path(&format!("/{word}")), value: true.into() }]).await
        });
        let _ = tokio::time::timeout(within, forging).await;
    }
}

struct Typist<'a> {
    sim: &'a Sim,
    ledger: &'a RefCell<Ledger>,
    no: NodeNo,
    number: usize,
    bytes: u64,
}

impl Typist<'_> {
    /// Types a word into a text, at the beginning of another one.
    async fn splice(&self, key: &str) {
        let word = format!("w{}n{}{}", self.number, self.no, "abcdefghijkl".repeat(index(self.bytes >> 4, 6)));
        let place = self.bytes >> 8;
        let junk = self.bytes.is_multiple_of(4).then(|| format!("junk{}x{} ", self.number, self.no));
        if let Some(junk) = &junk {
            self.ledger.borrow_mut().documents.junk.insert(junk.trim_end().to_owned());
        }
        let edits = async |node: &Node| {
            let read = node.documents().get(None, key, "/text", None).await?;
            let text = read.value.as_str().unwrap_or_default().to_owned();
            let at_heads = Some(heads(&read.version));
            let at = beginnings(&text)[index(place, beginnings(&text).len())].0;
            let insert = format!("{word} {}", junk.clone().unwrap_or_default());
            Ok(vec![Edit::Splice { path: path("/text"), at, delete: 0, insert, at_heads }])
        };
        let typing = self.promise(key, &word, edits);
        if self.number.is_multiple_of(3) {
            self.watched(key, typing).await;
        } else {
            typing.await;
        }
    }

    /// Writes keys of a map.
    async fn keys(&self, key: &str) {
        let word = format!("k{}n{}", self.number, self.no);
        let value = json!({ "by": self.no, "number": self.number });
        let edits = match self.number.is_multiple_of(2) {
            true => vec![Edit::Set { path: path(&format!("/log/{word}")), value }],
            false => vec![Edit::Merge { path: path("/log"), patch: json!({ &word: value }) }],
        };
        self.promise(key, &word, async |_| Ok(edits.clone())).await;
    }

    async fn insert(&self, key: &str) {
        let word = format!("l{}n{}", self.number, self.no);
        let at = if self.number.is_multiple_of(2) { "/list/-" } else { "/list/0" };
        // an empty list has no first element
        let edits = async |node: &Node| {
            let read = node.documents().get(None, key, "/list", None).await?;
            let at = if read.value.as_array().is_none_or(Vec::is_empty) { "/list/-" } else { at };
            Ok(vec![Edit::Insert { path: path(at), value: word.clone().into() }])
        };
        self.promise(key, &word, edits).await;
    }

    async fn count(&self, key: &str) {
        let by = i64::try_from(self.bytes % 7).unwrap_or(0) + 1;
        *self.ledger.borrow_mut().documents.count_asked.entry(key.to_owned()).or_default() += by;
        let edited = self.edit(key, async |_| Ok(vec![Edit::Increment { path: path("/count"), by }])).await;
        if edited == Outcome::Done {
            let counted = Counted { key: key.to_owned(), node: self.no, at: self.sim.now(), by };
            self.ledger.borrow_mut().documents.counted.push(counted);
        }
    }

    /// All write the same place: nobody promises whose value is shown.
    async fn title(&self, key: &str) {
        let value = format!("title {} of n{}", self.number, self.no).into();
        let edits = vec![Edit::Set { path: path("/title"), value }];
        self.edit(key, async |_| Ok(edits.clone())).await;
    }

    /// Deletes a word that nobody misses, whoever typed it.
    async fn delete_junk(&self, key: &str) {
        let place = self.bytes >> 8;
        self.edit(key, async |node| {
            let read = node.documents().get(None, key, "/text", None).await?;
            let text = read.value.as_str().unwrap_or_default().to_owned();
            let junk: Vec<_> = beginnings(&text).into_iter().filter(|(_, word)| word.starts_with("junk")).collect();
            let Some((at, word)) = junk.get(index(place, junk.len())) else { return Ok(Vec::new()) };
            let (at, delete) = (*at, word.chars().count() + 1);
            let at_heads = Some(heads(&read.version));
            Ok(vec![Edit::Splice { path: path("/text"), at, delete, insert: String::new(), at_heads }])
        })
        .await;
    }

    /// Writes a key of a document that may have been created nowhere yet.
    async fn late(&self) {
        let (key, word) = (LATE[index(self.bytes, LATE.len())], format!("r{}n{}", self.number, self.no));
        let edits = vec![Edit::Set { path: path(&format!("/{word}")), value: self.number.into() }];
        self.promise(key, &word, async |node| {
            node.documents().create(None, key).await?;
            Ok(edits.clone())
        })
        .await;
    }

    /// Two edits at once, of which the first fits nothing. They wait for the disk together.
    async fn beside_a_misfit(&self, key: &str) {
        // the edits after the first one wait for it
        let first = self.title(key);
        let (bad, word) = (format!("b{}n{}", self.number, self.no), format!("k{}n{}", self.number, self.no));
        let misfit = vec![
            Edit::Set { path: path(&format!("/log/{bad}")), value: true.into() },
            Edit::Delete { path: path("/log/nothing is here") },
        ];
        let misfit = async {
            self.sim.sleep(Duration::from_millis(1)).await;
            self.promise(key, &bad, async |_| Ok(misfit.clone())).await;
        };
        let fitting = vec![Edit::Set { path: path(&format!("/log/{word}")), value: true.into() }];
        let fitting = async {
            self.sim.sleep(Duration::from_millis(2)).await;
            self.promise(key, &word, async |_| Ok(fitting.clone())).await;
        };
        join(first, join(misfit, fitting)).await;
    }

    /// Writes a change of a program of which another change has the actor and the number: none of them may count once
    /// both are here.
    async fn twin(&self) {
        let actor = format!("twin {}", self.bytes % 4);
        let bytes = change_of(actor.as_bytes(), 1, self.number);
        let Some(hash) = hash_of(&bytes) else { return };
        let outcome = self.write_unseen(TWINS, bytes).await;
        let word = Word { key: hash.to_string(), node: self.no, at: self.sim.now(), outcome };
        self.ledger.borrow_mut().documents.twins.entry(actor).or_default().push(word);
    }

    /// Writes a change that is not the next one of its actor.
    async fn unsound(&self, key: &str) {
        let bytes = change_of(format!("unsound {}", self.number).as_bytes(), 9, self.number);
        self.ledger.borrow_mut().documents.unsound.extend(hash_of(&bytes).map(|hash| hash.to_string()));
        self.write_unseen(key, bytes).await;
    }

    async fn write_unseen(&self, key: &str, bytes: Vec<u8>) -> Outcome {
        let write = async |node: Node| node.documents().write_unseen(None, key, vec![bytes]).await;
        let outcome = outcome(&tokio::time::timeout(OP_MAX, self.sim.on(self.no, write)).await);
        self.count_outcome(outcome);
        outcome
    }

    /// Makes edits with which a word comes into a document, and notes what became of them.
    async fn promise(&self, key: &str, word: &str, edits: impl AsyncFn(&Node) -> Result<Vec<Edit>, NodeError>) {
        let said = |outcome| Word { key: key.to_owned(), node: self.no, at: self.sim.now(), outcome };
        let mut asked = said(Outcome::Unknown);
        self.ledger.borrow_mut().documents.words.insert(word.to_owned(), asked.clone());
        let edited = self.edit(key, edits).await;
        asked.outcome = edited;
        asked.at = self.sim.now();
        self.ledger.borrow_mut().documents.words.insert(word.to_owned(), asked);
    }

    async fn edit(&self, key: &str, edits: impl AsyncFn(&Node) -> Result<Vec<Edit>, NodeError>) -> Outcome {
        let editing = self.sim.on(self.no, async |node: Node| {
            let edits = edits(&node).await?;
            node.documents().edit(None, key, edits).await
        });
        let outcome = outcome(&tokio::time::timeout(OP_MAX, editing).await);
        self.count_outcome(outcome);
        outcome
    }

    fn count_outcome(&self, outcome: Outcome) {
        self.ledger.borrow_mut().count_outcome(outcome);
    }

    /// Reads the document all the while something is typed: each change that is shown is in an entry on the disk, so it has
    /// an author.
    async fn watched(&self, key: &str, typing: impl Future<Output = ()>) {
        let reading = async {
            loop {
                self.sim.sleep(BESIDE).await;
                let read = async |node: Node| node.documents().history(None, key, 8).await;
                let Ok((_, history)) = self.sim.on(self.no, read).await else { continue };
                let mut ledger = self.ledger.borrow_mut();
                ledger.documents.read_beside += 1;
                if let Some(early) = history.iter().find(|change| change.by.is_empty()) {
                    let (no, change) = (self.no, &early.version);
                    ledger.documents.faults.push(format!("n{no} shows {change} of {key}, which is in no entry"));
                }
            }
        };
        let (typing, reading) = (std::pin::pin!(typing), std::pin::pin!(reading));
        if let Either::Right((never, _)) = select(typing, reading).await {
            never
        }
    }
}

/// The documents that a node shows, by key; the reason where it cannot show one.
pub(crate) async fn shown(sim: &Sim, no: NodeNo) -> BTreeMap<String, Result<ShownDocument, String>> {
    let mut all = BTreeMap::new();
    for key in KEYS.into_iter().chain(LATE).chain([TWINS]) {
        let at = sim.now();
        let read = sim.on(no, async |node: Node| {
            let documents = node.documents();
            let document = documents.get(None, key, "", None).await?;
            let (_, history) = documents.history(None, key, CHANGES_MAX).await?;
            Ok((document, history))
        });
        let shown = match read.await {
            Ok((document, history)) => {
                let (heads, json) = (document.version.to_string(), document.value.to_string());
                let changes = history.iter().map(|change| change.version.to_string()).collect();
                let count = document.value.get("count").and_then(Value::as_i64);
                Ok(ShownDocument { at, heads, json, words: words_of(&document.value), count, changes })
            }
            Err(SimError::Node(_, NodeError::NotFound { .. })) => continue,
            Err(SimError::Node(_, NodeError::Document(error))) => Err(error.to_string()),
            // it is going down
            Err(_) => continue,
        };
        all.insert(key.to_owned(), shown);
    }
    all
}

/// The words of a document: of its text and its list, and the keys of its map and of itself.
pub(crate) fn words_of(value: &Value) -> BTreeSet<String> {
    let text = value.get("text").and_then(Value::as_str).unwrap_or_default().split_whitespace().map(str::to_owned);
    let list = value.get("list").and_then(Value::as_array).into_iter().flatten();
    let list = list.filter_map(|item| item.as_str().map(str::to_owned));
    let log = value.get("log").and_then(Value::as_object).into_iter().flat_map(|log| log.keys().cloned());
    let own = value.as_object().into_iter().flat_map(|own| own.keys().cloned());
    let parts = ["text", "list", "log", "title", "count"];
    text.chain(list).chain(log).chain(own.filter(|key| !parts.contains(&key.as_str()))).collect()
}

/// The words of a text with their places, and the end.
fn beginnings(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut at) = (Vec::new(), 0);
    for part in text.split_inclusive(' ') {
        found.push((at, part.trim_end().to_owned()));
        at += part.chars().count();
    }
    found.push((at, String::new()));
    found
}

fn outcome<T>(answer: &Result<Result<T, SimError>, tokio::time::error::Elapsed>) -> Outcome {
    match answer {
        Ok(Ok(_)) => Outcome::Done,
        Ok(Err(SimError::Node(_, NodeError::Document(DocumentError::Broken { .. })))) => Outcome::Unknown,
        Ok(Err(SimError::Node(_, NodeError::Document(_) | NodeError::NotFound { .. }))) => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

/// A change without an operation.
pub(crate) fn change_of(actor: &[u8], seq: u8, number: usize) -> Vec<u8> {
    let time = u8::try_from(number % 32).unwrap_or(0);
    let message = format!("number {number}");
    let len = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or(0);
    // no changes before it, its number, its first operation, its time, a message, no other actors, no columns
    let mut data = vec![0, len(actor)];
    data.extend_from_slice(actor);
    data.extend_from_slice(&[seq, 1, time, len(message.as_bytes())]);
    data.extend_from_slice(message.as_bytes());
    data.extend_from_slice(&[0, 0]);
    chunk(&data)
}

pub(crate) fn hash_of(bytes: &[u8]) -> Option<ChangeHash> {
    Change::parse(bytes).ok().map(|change| change.hash())
}

fn heads(version: &Version) -> Vec<ChangeHash> {
    version.0.clone()
}

fn path(path: &str) -> DocPath {
    path.parse().unwrap_or_default()
}

pub(crate) fn index(choice: u64, len: usize) -> usize {
    usize::try_from(choice).unwrap_or(0).checked_rem(len).unwrap_or(0)
}
