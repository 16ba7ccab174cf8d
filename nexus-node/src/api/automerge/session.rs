use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use nexus_crdt::SpaceId;
use nexus_documents::{DocumentId, REPO_VERSION, RepoBody, RepoMessage, SyncMessage};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::making::KeptByAll;
use super::out::{Goodbye, Out};
use crate::documents::{Documents, Heard, Seat, Synced, TouchedDocuments, Word};
use crate::error::NodeError;

/// The most documents that a program follows over one socket.
const DOCUMENTS_MAX: usize = 10_000;
/// How long a document that is not here is waited for: another node may bring it.
const FIND_WITHIN: Duration = Duration::from_secs(5);
/// How long a program's edits that are kept aside are gathered.
const ASIDE_AFTER: Duration = Duration::from_secs(1);
/// The most bytes that a node keeps for one socket: of messages, and of changes that wait. A peer that follows 10,000 documents
/// takes less; a document of 16 MiB takes some 300 KiB.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// The bytes of changes, once they are expanded, after which messages are taken without waiting for more of them.
const TOGETHER_BYTES_MAX: usize = 1 << 20;

/// Messages about one document that are taken together: their changes are on the disk at once.
struct Together {
    document: DocumentId,
    messages: Vec<SyncMessage>,
    bytes: usize,
}

/// A document that was asked for and is not here yet.
struct Sought {
    until: Instant,
    message: SyncMessage,
}

/// The bytes that are kept for the documents of one socket.
#[derive(Debug)]
struct Kept {
    of: BTreeMap<DocumentId, usize>,
    bytes: usize,
    all: Arc<KeptByAll>,
}

impl Kept {
    fn new(all: Arc<KeptByAll>) -> Self {
        Self { of: BTreeMap::new(), bytes: 0, all }
    }

    /// Notes the bytes of a document, in place of those before. Whether all fit; if not, nothing is noted.
    fn put(&mut self, document: DocumentId, bytes: usize) -> bool {
        let others = self.bytes - self.of.get(&document).copied().unwrap_or_default();
        let sum = others.saturating_add(bytes);
        if sum > KEPT_BYTES_MAX || !self.all.exchange(self.bytes, sum) {
            return false;
        }
        self.bytes = sum;
        self.of.insert(document, bytes);
        true
    }

    fn remove(&mut self, document: DocumentId) {
        let left = self.bytes - self.of.remove(&document).unwrap_or_default();
        let _ = self.all.exchange(self.bytes, left);
        self.bytes = left;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.all.exchange(self.bytes, 0);
    }
}

/// The documents of one program, and the news of them.
pub(super) struct Session {
    documents: Documents,
    /// This node's name to the program.
    me: String,
    may_write: bool,
    /// The space of documents that the program brings.
    space: Option<String>,
    program: Option<String>,
    seat: Seat,
    open: BTreeMap<DocumentId, Synced>,
    sought: BTreeMap<DocumentId, Sought>,
    /// Documents of which a change was refused. The program hears no more of them over this socket.
    refused: BTreeSet<DocumentId>,
    /// Documents of which the program has changes that do not count. It hears no more of them, and what it says is kept aside, at
    /// this time if it has said something new.
    aside: BTreeMap<DocumentId, Option<Instant>>,
    kept: Kept,
    together: Option<Together>,
    looked: u64,
}

impl Session {
    pub(super) fn new(
        documents: Documents,
        seat: Seat,
        kept_by_all: Arc<KeptByAll>,
        me: String,
        may_write: bool,
        space: Option<String>,
    ) -> Self {
        let looked = *documents.committed().borrow();
        let (open, sought, refused) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (aside, kept, together) = (BTreeMap::new(), Kept::new(kept_by_all), None);
        Self {
            documents,
            me,
            may_write,
            space,
            program: None,
            seat,
            open,
            sought,
            refused,
            aside,
            kept,
            together,
            looked,
        }
    }

    pub(super) fn has_joined(&self) -> bool {
        self.program.is_some()
    }

    /// Why a message was refused, for the program.
    pub(super) fn error(&self, why: &str) -> RepoMessage {
        self.message(RepoBody::Error { message: why.to_owned() })
    }

    fn message(&self, body: RepoBody) -> RepoMessage {
        RepoMessage { sender: self.me.clone(), target: self.program.clone().unwrap_or_default(), body }
    }

    /// The number of the node's last entry, as a watch.
    pub(super) fn committed(&self) -> watch::Receiver<u64> {
        self.documents.committed()
    }

    /// The last entry that was looked at.
    pub(super) const fn looked(&self) -> u64 {
        self.looked
    }

    /// The time at which a document that was asked for is unavailable, or one is to be kept aside.
    pub(super) fn due(&self) -> Option<Instant> {
        self.sought.values().map(|sought| sought.until).chain(self.aside.values().flatten().copied()).min()
    }

    /// Takes messages of the program that came together.
    pub(super) async fn heard(&mut self, messages: Vec<Bytes>, out: &mut Out) -> Result<(), Goodbye> {
        let mut done = Ok(());
        for bytes in messages {
            done = self.hear(&bytes, out).await;
            if done.is_err() {
                break;
            }
        }
        // those before one that ends the socket count
        let taken = self.take_together(out).await;
        done.and(taken)
    }

    async fn hear(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), Goodbye> {
        let message = RepoMessage::read(bytes).map_err(|error| Goodbye::Refused(error.to_string()))?;
        let RepoMessage { sender, body, .. } = message;
        if let RepoBody::Join { versions } = body {
            if self.has_joined() {
                return Err(Goodbye::refused("a program joins once"));
            }
            if !versions.iter().any(|version| version == REPO_VERSION) {
                return Err(Goodbye::Refused(format!("this node speaks version {REPO_VERSION} of the protocol alone")));
            }
            self.program = Some(sender);
            return out.send(self.message(RepoBody::Peer { version: REPO_VERSION.to_owned() })).await;
        }
        if !self.has_joined() {
            return Err(Goodbye::refused("a program says who it is first"));
        }
        if let RepoBody::Ephemeral { document, session, count, data } = body {
            // a program hands on what other programs behind it say, in their names
            self.say_word(document, (sender, session, count), data).await;
            return Ok(());
        }
        if self.program.as_ref() != Some(&sender) {
            return Err(Goodbye::refused("a program keeps the name that it joined with"));
        }
        match body {
            RepoBody::Leave => Err(Goodbye::Gone),
            RepoBody::Request { document, data } => self.synced(document, data, false, out).await,
            RepoBody::Sync { document, data } => self.synced(document, data, true, out).await,
            RepoBody::Unavailable { document } => {
                if self.sought.remove(&document).is_some() {
                    self.kept.remove(document);
                }
                Ok(())
            }
            // this version does not know the last, and took the first before
            RepoBody::Ephemeral { .. } | RepoBody::Error { .. } | RepoBody::Other(_) => Ok(()),
            RepoBody::Peer { .. } | RepoBody::Join { .. } => {
                Err(Goodbye::refused("a program joins, and a node answers"))
            }
        }
    }

    /// A word about a document that nobody keeps. It is dropped unless the program has the document open.
    async fn say_word(&mut self, document: DocumentId, (sender, session, count): (String, String, u64), data: Vec<u8>) {
        let Some((space, _)) = self.open.get(&document).map(Synced::place) else { return };
        let _ = self.seat.say(Word { space, document, sender, session, count, data }).await;
    }

    /// Tells the program the word of another one, if it still has the document open.
    pub(super) async fn tell_word(&self, word: &Word, out: &mut Out) -> Result<(), Goodbye> {
        let Word { space, document, sender, session, count, data } = word.clone();
        if self.open.get(&document).map(Synced::place) != Some((space, document)) {
            return Ok(());
        }
        let target = self.program.clone().unwrap_or_default();
        let body = RepoBody::Ephemeral { document, session, count, data };
        out.send(RepoMessage { sender, target, body }).await
    }

    /// The program follows a document from now on.
    fn begin(&mut self, document: DocumentId, synced: Synced) {
        self.seat.open(synced.place());
        self.open.insert(document, synced);
    }

    /// A sync message about a document. `has` says whether the program has it, so that it may bring it here.
    async fn synced(&mut self, document: DocumentId, data: Vec<u8>, has: bool, out: &mut Out) -> Result<(), Goodbye> {
        if self.refused.contains(&document) {
            return Ok(());
        }
        let mut message = match self.documents.sync_message(data).await {
            Ok(Ok(message)) => message,
            Ok(Err(error)) => return self.refuse(document, &error.to_string(), out).await,
            Err(error) => return self.failed(document, error, out).await,
        };
        let waiting = self.open.get(&document).map_or(0, Synced::waiting_bytes);
        if !self.kept.put(document, message.rest_bytes + waiting) {
            let why =
                format!("a node keeps at most {KEPT_BYTES_MAX} bytes of messages for one socket, and 256 MiB for all");
            return self.refuse(document, &why, out).await;
        }
        if !self.open.contains_key(&document) {
            if self.open.len() + self.sought.len() >= DOCUMENTS_MAX {
                let why = format!("a program follows at most {DOCUMENTS_MAX} documents over one socket");
                return self.refuse(document, &why, out).await;
            }
            let found = match self.documents.synced(document, self.may_write).await {
                Ok(None) if has && self.may_write && !message.heads.is_empty() => {
                    let anew = self.documents.synced_anew(self.space.as_deref(), document).await;
                    anew.map(Some)
                }
                found => found,
            };
            match found {
                Ok(Some(synced)) => {
                    self.sought.remove(&document);
                    self.begin(document, synced);
                }
                Ok(None) => {
                    // whoever asks for a document has no change of it, and one that reads brings none
                    message.changes = Vec::new();
                    let until = Instant::now() + FIND_WITHIN;
                    self.sought.insert(document, Sought { until, message });
                    return Ok(());
                }
                Err(error) => return self.failed(document, error, out).await,
            }
        }
        if self.together.as_ref().is_some_and(|one| one.document != document || one.bytes > TOGETHER_BYTES_MAX) {
            self.take_together(out).await?;
        }
        let bytes = message.changes.iter().map(Vec::len).sum::<usize>();
        let together = self.together.get_or_insert_with(|| Together { document, messages: Vec::new(), bytes: 0 });
        together.bytes += bytes;
        together.messages.push(message);
        Ok(())
    }

    /// Takes the messages that wait for it.
    async fn take_together(&mut self, out: &mut Out) -> Result<(), Goodbye> {
        match self.together.take() {
            Some(Together { document, messages, .. }) => self.take(document, messages, out).await,
            None => Ok(()),
        }
    }

    async fn take(&mut self, document: DocumentId, messages: Vec<SyncMessage>, out: &mut Out) -> Result<(), Goodbye> {
        let Some(synced) = self.open.get_mut(&document) else { return Ok(()) };
        let rest_bytes = messages.last().map_or(0, |message| message.rest_bytes);
        let heard = self.documents.hear(synced, messages).await;
        if !self.kept.put(document, rest_bytes + synced.waiting_bytes()) {
            let _ = self.documents.keep_aside(synced).await;
            // the next news of the document ask for it again
            synced.forget_waiting();
        }
        match heard {
            Ok(Heard::Aside(why)) => self.set_aside(document, &why, out).await,
            Ok(Heard::Taken) => self.tell(document, out).await,
            Ok(Heard::Waits) => Ok(()),
            Ok(Heard::Refused(why)) => self.refuse(document, &why, out).await,
            Err(error) => self.failed(document, error, out).await,
        }
    }

    /// The program hears why, once, and that the document is unavailable. Its words about it are kept aside soon, from now on.
    async fn set_aside(&mut self, document: DocumentId, why: &str, out: &mut Out) -> Result<(), Goodbye> {
        let is_new = !self.aside.contains_key(&document);
        self.aside.entry(document).or_default().get_or_insert_with(|| Instant::now() + ASIDE_AFTER);
        if !is_new {
            return Ok(());
        }
        out.send(self.message(RepoBody::Unavailable { document })).await?;
        out.send(self.error(&format!("{document}: {why}"))).await
    }

    /// Keeps aside what is due, or all that is to be kept.
    pub(super) async fn keep_aside(&mut self, now: Option<Instant>) -> Vec<RepoMessage> {
        let mut said = Vec::new();
        for (document, at) in &mut self.aside {
            if at.take_if(|at| now.is_none_or(|now| *at <= now)).is_some()
                && let Some(synced) = self.open.get_mut(document)
                && let Some(words) = self.documents.keep_aside(synced).await
            {
                said.push((*document, words));
            }
        }
        said.into_iter().map(|(document, words)| self.error(&format!("{document}: {words}"))).collect()
    }

    /// Says what there is to say about a document.
    async fn tell(&mut self, document: DocumentId, out: &mut Out) -> Result<(), Goodbye> {
        if self.aside.contains_key(&document) {
            return Ok(());
        }
        let Some(synced) = self.open.get_mut(&document) else { return Ok(()) };
        match self.documents.say(synced).await {
            Ok(Some(data)) => out.send(self.message(RepoBody::Sync { document, data })).await,
            Ok(None) => Ok(()),
            Err(error) => self.failed(document, error, out).await,
        }
    }

    /// Tells the program what has come since the last look.
    pub(super) async fn follow(&mut self, out: &mut Out) -> Result<(), Goodbye> {
        let touched = self.documents.touched_since(self.looked).await;
        let (touched, looked) = touched.map_err(|_| Goodbye::Stopping)?;
        self.looked = looked;
        let open: Vec<DocumentId> = match &*touched {
            TouchedDocuments::All => self.open.keys().copied().collect(),
            TouchedDocuments::Some(places) => {
                let is_open = |place: &&(SpaceId, DocumentId)| {
                    self.open.get(&place.1).is_some_and(|synced| synced.place() == **place)
                };
                places.iter().filter(is_open).map(|(_, document)| *document).collect()
            }
        };
        for document in open {
            self.tell(document, out).await?;
        }
        let may_be_here = |document: &DocumentId| match &*touched {
            TouchedDocuments::All => true,
            TouchedDocuments::Some(places) => places.iter().any(|(_, touched)| touched == document),
        };
        let came: Vec<DocumentId> = self.sought.keys().filter(|document| may_be_here(document)).copied().collect();
        for document in came {
            match self.documents.synced(document, self.may_write).await {
                Ok(Some(synced)) => {
                    let Some(sought) = self.sought.remove(&document) else { continue };
                    self.begin(document, synced);
                    self.take(document, vec![sought.message], out).await?;
                }
                Ok(None) => {}
                Err(error) => self.failed(document, error, out).await?,
            }
        }
        Ok(())
    }

    /// Says of documents that nobody brought in time that they are unavailable. A later one is told all the same. Keeps aside what is
    /// due.
    pub(super) async fn give_up(&mut self, out: &mut Out) -> Result<(), Goodbye> {
        let now = Instant::now();
        for message in self.keep_aside(Some(now)).await {
            out.send(message).await?;
        }
        let late: Vec<DocumentId> =
            self.sought.iter().filter(|(_, sought)| sought.until <= now).map(|(document, _)| *document).collect();
        for document in late {
            self.sought.remove(&document);
            self.kept.remove(document);
            out.send(self.message(RepoBody::Unavailable { document })).await?;
        }
        Ok(())
    }

    /// The program hears why, and that the document is unavailable. Its other documents go on.
    async fn refuse(&mut self, document: DocumentId, why: &str, out: &mut Out) -> Result<(), Goodbye> {
        if let Some(synced) = self.open.remove(&document) {
            self.seat.close(synced.place());
        }
        self.sought.remove(&document);
        self.aside.remove(&document);
        self.kept.remove(document);
        if self.refused.len() < DOCUMENTS_MAX {
            self.refused.insert(document);
        }
        tracing::debug!(%document, why, "what a program says of a document is not taken");
        out.send(self.message(RepoBody::Unavailable { document })).await?;
        out.send(self.error(&format!("{document}: {why}"))).await
    }

    async fn failed(&mut self, document: DocumentId, error: NodeError, out: &mut Out) -> Result<(), Goodbye> {
        match error {
            NodeError::Stopping(_) => Err(Goodbye::Stopping),
            error => self.refuse(document, &error.to_string(), out).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Documents | The messages of one program take at most 8 MiB of a node, however many documents they name
    #[test]
    fn a_socket_is_kept_within_its_bytes() {
        let document = |n: u16| DocumentId::from_bytes([n.to_be_bytes(); 8].concat().try_into().unwrap());
        let (mut kept, mebibyte) = (Kept::new(Arc::default()), 1 << 20);
        assert!((0..8).all(|n| kept.put(document(n), mebibyte)), "eight fit");
        assert!(!kept.put(document(8), 1), "and not a byte more");
        assert!(!kept.put(document(0), mebibyte + 1), "nor in place of others");
        assert!(kept.put(document(0), mebibyte - 1) && kept.put(document(8), 1), "a smaller one leaves room");
        assert!(!kept.put(document(9), usize::MAX));
        kept.remove(document(1));
        kept.remove(document(1));
        assert!(kept.put(document(9), mebibyte) && !kept.put(document(10), 1));
        (0..20).for_each(|n| kept.remove(document(n)));
        assert_eq!((kept.bytes, kept.of.len()), (0, 0));
    }
}
