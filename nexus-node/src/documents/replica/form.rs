//! A document as bytes: whole, to go on with it, and as a page, to be read.
//!
//! The names and ancestors of the changes that count are not among the bytes: Automerge's file has them. All others are
//! numbered by the order of their names, those that count first.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_crdt::LogId;
use nexus_documents::{Broken, ChangeHash, DocPath, DocumentId, Judge, Living};
use nexus_identity::Did;
use serde_json::Value;

use super::{HeldChange, Holder, RefusedChange, Replica, Saved};
use crate::ledger::rows::{self, Eno};

type Hash = [u8; 32];
/// A change that waits for another one, with its bytes.
type Waiting = (Hash, Vec<u8>);
/// The number of an entry, that of its author, and whether it counts.
type HolderForm = (Eno, u32, bool);

/// A change that does not count.
#[derive(BorshSerialize, BorshDeserialize)]
struct OtherForm {
    hash: Hash,
    deps: Vec<Hash>,
    actor: Vec<u8>,
    seq: u64,
    sound: bool,
    holders: Vec<HolderForm>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Form {
    document: [u8; 16],
    last: Eno,
    taken: Eno,
    heads: Vec<Hash>,
    bytes: u64,
    file: Vec<u8>,
    authors: Vec<Did>,
    holders: Vec<Vec<HolderForm>>,
    others: Vec<OtherForm>,
    waiting: Vec<(Hash, Vec<Waiting>)>,
    colliding: Vec<Hash>,
    shares: Vec<(LogId, bool, u64)>,
    refused: Vec<(Hash, Did, String)>,
    erased: Vec<Hash>,
    judge: Vec<u8>,
}

/// A document as it is read.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(in super::super) struct Page {
    /// The last entry of the node that was looked at.
    pub(in super::super) last: Eno,
    heads: Vec<Hash>,
    json: String,
    /// The number of changes that others come after and that are not here.
    pub(in super::super) missing: u64,
    refused: Vec<(Hash, Vec<Did>, String)>,
}

/// The value at a path of a page.
#[derive(Debug, PartialEq)]
pub(in super::super) enum OfPage {
    Value(Value),
    Nothing,
    /// The page does not say: an object in it may stand for bytes.
    Unsure,
}

impl Page {
    /// The heads of the document.
    pub(in super::super) fn heads(&self) -> Vec<ChangeHash> {
        self.heads.iter().copied().map(ChangeHash).collect()
    }

    /// The bytes of its text.
    pub(in super::super) fn bytes(&self) -> u64 {
        self.json.len() as u64
    }

    /// The changes that are named as not taken: their members and the reason.
    pub(in super::super) fn refused(&self) -> impl Iterator<Item = (ChangeHash, &[Did], &str)> {
        self.refused.iter().map(|(hash, by, why)| (ChangeHash(*hash), by.as_slice(), why.as_str()))
    }

    /// The value at a path.
    pub(in super::super) fn value(&self, path: &DocPath) -> OfPage {
        let Ok(mut value) = serde_json::from_str::<Value>(&self.json) else { return OfPage::Unsure };
        for token in path.tokens() {
            let next = match &mut value {
                Value::Object(map) if map.contains_key("$bytes") => return OfPage::Unsure,
                Value::Object(map) => map.remove(token),
                Value::Array(list) => {
                    let is_number =
                        token == "0" || !token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit());
                    let at = token.parse::<usize>().ok().filter(|at| is_number && *at < list.len());
                    at.map(|at| list.swap_remove(at))
                }
                _ => None,
            };
            let Some(next) = next else { return OfPage::Nothing };
            value = next;
        }
        OfPage::Value(value)
    }
}

impl Replica {
    /// The document as it is read.
    ///
    /// # Errors
    /// [`Broken`] where the library fails.
    pub(in super::super) fn page(&self) -> Result<Page, Broken> {
        let value = match self.living.value(&DocPath::root(), None) {
            Ok(value) => value.unwrap_or_default(),
            Err(nexus_documents::ReadError::Broken(broken)) => return Err(broken),
            Err(error) => return Err(Broken::Library(error.to_string())),
        };
        Ok(Page {
            last: self.last,
            heads: self.living.heads().into_iter().map(|head| head.0).collect(),
            json: value.to_string(),
            missing: self.missing().len() as u64,
            refused: self.all_refused().into_iter().map(|(hash, by, why)| (hash.0, by, why)).collect(),
        })
    }

    /// The whole document as bytes.
    ///
    /// # Errors
    /// [`Broken`] where the library fails.
    pub(in super::super) fn to_bytes(&self) -> Result<Vec<u8>, Broken> {
        let mut authors = BTreeMap::new();
        for holder in self.held.values().flat_map(|held| &held.holders) {
            let next = u32::try_from(authors.len()).unwrap_or(u32::MAX);
            authors.entry(holder.author).or_insert(next);
        }
        let holder =
            |holder: &Holder| (holder.eno, authors.get(&holder.author).copied().unwrap_or(u32::MAX), holder.counts);
        let holders = |held: &HeldChange| held.holders.iter().map(holder).collect::<Vec<_>>();
        let others = || self.held.iter().filter(|(hash, _)| !self.counting.contains(*hash));
        let numbers: BTreeMap<ChangeHash, u64> =
            self.counting.iter().chain(others().map(|(hash, _)| hash)).copied().zip(0..).collect();
        let judge = self.judge.save(|hash| numbers.get(hash).copied());
        let mut in_order: Vec<(Did, u32)> = authors.iter().map(|(did, no)| (*did, *no)).collect();
        in_order.sort_unstable_by_key(|(_, no)| *no);
        let other = |(hash, held): (&ChangeHash, &HeldChange)| OtherForm {
            hash: hash.0,
            deps: held.deps.iter().map(|dep| dep.0).collect(),
            actor: held.actor.to_vec(),
            seq: held.seq,
            sound: held.sound,
            holders: holders(held),
        };
        let waiting = self
            .waiting
            .iter()
            .map(|(dep, all)| (dep.0, all.iter().map(|(hash, bytes)| (hash.0, bytes.clone())).collect::<Vec<_>>()));
        Ok(rows::encode(&Form {
            document: *self.document.as_bytes(),
            last: self.last,
            taken: self.saved.taken,
            heads: self.living.heads().into_iter().map(|head| head.0).collect(),
            bytes: self.living.bytes(),
            file: self.living.save()?,
            holders: self.counting.iter().map(|hash| self.held.get(hash).map(holders).unwrap_or_default()).collect(),
            authors: in_order.into_iter().map(|(did, _)| did).collect(),
            others: others().map(other).collect(),
            waiting: waiting.collect(),
            colliding: self.colliding.iter().map(|hash| hash.0).collect(),
            shares: self.shares.iter().map(|((log, counts), bytes)| (*log, *counts, *bytes)).collect(),
            refused: self.refused.iter().map(|refused| (refused.hash.0, refused.author, refused.why.clone())).collect(),
            erased: self.erased.iter().map(|hash| hash.0).collect(),
            judge: judge.ok_or_else(|| Broken::Library("its judge has changes that it does not".to_owned()))?,
        }))
    }

    /// The document of such bytes. Nothing if they are not of this document, or of other heads than they say: it is built
    /// from its entries then.
    pub(in super::super) fn of_bytes(document: DocumentId, bytes: &[u8]) -> Option<Self> {
        let form: Form = borsh::from_slice(bytes).ok().filter(|form: &Form| form.document == *document.as_bytes())?;
        let living = Living::load(&form.file, form.bytes).ok()?;
        let heads: Vec<ChangeHash> = form.heads.iter().copied().map(ChangeHash).collect();
        if living.heads() != heads || living.len() != form.holders.len() {
            return None;
        }
        let holders = |all: Vec<HolderForm>| -> Option<Vec<Holder>> {
            let holder = |(eno, author, counts): HolderForm| {
                form.authors.get(author as usize).map(|author| Holder { eno, author: *author, counts })
            };
            all.into_iter().map(holder).collect()
        };
        let counting: BTreeSet<ChangeHash> = living.changes().iter().map(|item| item.hash).collect();
        let mut numbers: Vec<ChangeHash> = counting.iter().copied().collect();
        let mut all_holders: BTreeMap<ChangeHash, Vec<HolderForm>> =
            numbers.iter().copied().zip(form.holders).collect();
        let mut held = BTreeMap::new();
        for item in living.changes() {
            let change = HeldChange {
                deps: item.deps.clone(),
                actor: item.actor.clone(),
                seq: item.seq,
                sound: true,
                holders: holders(all_holders.remove(&item.hash)?)?,
            };
            held.insert(item.hash, change);
        }
        for other in form.others {
            let change = HeldChange {
                deps: other.deps.into_iter().map(ChangeHash).collect(),
                actor: other.actor.into(),
                seq: other.seq,
                sound: other.sound,
                holders: holders(other.holders)?,
            };
            numbers.push(ChangeHash(other.hash));
            held.insert(ChangeHash(other.hash), change);
        }
        let name = |number: u64| numbers.get(usize::try_from(number).ok()?).copied();
        let judge = Judge::load(&form.judge, name)?;
        let waiting = form.waiting.into_iter().map(|(dep, all)| {
            (ChangeHash(dep), all.into_iter().map(|(hash, bytes)| (ChangeHash(hash), bytes)).collect())
        });
        let refused = form.refused.into_iter();
        let mut replica = Self {
            judge,
            living,
            saved: Saved { changes: held.len(), page: 0, taken: form.taken },
            held,
            waiting: waiting.collect(),
            counting,
            colliding: form.colliding.into_iter().map(ChangeHash).collect(),
            shares: form.shares.into_iter().map(|(log, counts, bytes)| ((log, counts), bytes)).collect(),
            refused: refused.map(|(hash, author, why)| RefusedChange { hash: ChangeHash(hash), author, why }).collect(),
            erased: form.erased.into_iter().map(ChangeHash).collect(),
            last: form.last,
            ..Self::new(document)
        };
        replica.count_numbers();
        Some(replica)
    }
}
