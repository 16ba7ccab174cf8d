//! The operations of edits, in changes that stay within the bounds of the judge.
//!
//! Before each operation its bytes are estimated from above. Operations that are sure to be there are counted apart, since the judge
//! allows only so many operations for the bytes of a change. Where a change is full, the next one begins, or the writer stops.

use std::ops::Range;

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::{CommitOptions, OwnedTransaction, Transactable};
use automerge::{Automerge, AutomergeError, ChangeHash, ObjId, ObjType, Prop, ReadDoc, ScalarValue};

use crate::change::{ACTOR_BYTES_MAX, OPS_MAX, OTHERS_MAX};
use crate::judge::{COUNTER_MAX, DOCUMENT_OPS_MAX, LINES_MAX};
use crate::living::edits::MarkExpand;
use crate::living::elements;
use crate::living::error::{Broken, EditError};
use crate::living::path::DocPath;

/// The most bytes of an operation without its key, its value, and the operations that it replaces.
const OP_BYTES: usize = 64;
/// The most bytes of one operation that is replaced, beside the first.
const REPLACED_BYTES: usize = 16;
/// The most bytes of deleted letters that were inserted in a row by one actor.
const RUN_BYTES: usize = 48;
/// The most bytes of a letter that has another number of bytes than the one before it, beside the letter.
const WIDTH_BYTES: usize = 3;
/// The most bytes of a change beside its operations, the changes before it, and the actors that it names.
const HEAD_BYTES: usize = 512;

/// The most bytes of an actor that a change names.
const ACTOR_BYTES: usize = ACTOR_BYTES_MAX + 1;
/// The most actors that an operation names, beside those of what it replaces: of its object, and of its place there.
const NAMED_MAX: usize = 2;

/// Why a writer stops.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// The edits do not fit into one change.
    Full,
    Error(EditError),
}

impl From<EditError> for Stop {
    fn from(error: EditError) -> Self {
        Self::Error(error)
    }
}

impl From<AutomergeError> for Stop {
    fn from(error: AutomergeError) -> Self {
        Self::Error(EditError::Library(error.to_string()))
    }
}

/// Operations by what is bounded.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// At most so many bytes.
    upper: usize,
    /// At least so many bytes.
    lower: usize,
    /// The lines of the judge's table.
    lines: usize,
    /// The operations.
    ops: usize,
    /// The operations that they replace.
    replaced: usize,
}

impl Cost {
    const fn and(self, other: Self) -> Self {
        Self {
            upper: self.upper.saturating_add(other.upper),
            lower: self.lower.saturating_add(other.lower),
            lines: self.lines.saturating_add(other.lines),
            ops: self.ops.saturating_add(other.ops),
            replaced: self.replaced.saturating_add(other.replaced),
        }
    }
}

/// The place of a new value.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A key, or an element that is there.
    At(Prop),
    /// A key of a map that was made just now, where nothing is.
    New(String),
    /// A new element of a list, before this one.
    Before(usize),
}

/// The time and the bounds of a writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) time: i64,
    /// The most bytes of a change.
    pub(crate) most: usize,
    /// Whether it begins another change where one is full.
    pub(crate) splits: bool,
    /// The operations that the document has.
    pub(crate) ops: u64,
    /// The highest counter of an operation in the document.
    pub(crate) highest: u64,
}

/// A document that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Always there, but while one change ends and the next begins.
    tx: Option<OwnedTransaction>,
    limits: Limits,
    /// A word about the changes.
    message: String,
    spent: Cost,
    /// The most bytes that each name of an actor takes. Nothing where all actors of the document are counted at the head.
    named: usize,
    last_key: String,
    made: Vec<ChangeHash>,
    /// The path of the edit, for messages.
    pub(crate) path: DocPath,
}

impl Writer {
    pub(crate) fn begin(doc: Automerge, limits: Limits, message: &str) -> Result<Self, Broken> {
        let tx = begun(doc)?;
        let mut writer = Self {
            tx: Some(tx),
            limits,
            message: message.to_owned(),
            spent: Cost::default(),
            named: 0,
            last_key: String::new(),
            made: Vec::new(),
            path: DocPath::root(),
        };
        writer.anew()?;
        Ok(writer)
    }

    /// Begins to count anew, with the head of a change.
    fn anew(&mut self) -> Result<(), Broken> {
        let doc = self.doc()?;
        let heads = doc.get_heads().len() + 1;
        let actors = usize::try_from(doc.stats().num_actors).unwrap_or(usize::MAX).min(OTHERS_MAX) * ACTOR_BYTES;
        // all of many actors would fill a change that names few of them
        let (actors, named) = if actors <= self.limits.most / 8 { (actors, 0) } else { (0, ACTOR_BYTES) };
        let upper = HEAD_BYTES + self.message.len() + heads * 32 + actors;
        self.named = named;
        self.spent = Cost { upper, ..Cost::default() };
        self.last_key.clear();
        Ok(())
    }

    /// The most bytes of a change.
    #[cfg(feature = "typed")]
    pub(crate) const fn most(&self) -> usize {
        self.limits.most
    }

    pub(crate) fn doc(&self) -> Result<&OwnedTransaction, Broken> {
        self.tx.as_ref().ok_or(Broken::Before)
    }

    fn tx(&mut self) -> Result<&mut OwnedTransaction, Stop> {
        self.tx.as_mut().ok_or(Stop::Error(Broken::Before.into()))
    }

    /// Ends the last change, and returns the document with all changes that were made.
    pub(crate) fn end(mut self) -> Result<(Automerge, Vec<ChangeHash>), Broken> {
        let doc = self.commit()?;
        Ok((doc, self.made))
    }

    /// The document as it was, if no change was ended.
    pub(crate) fn undone(mut self) -> Result<Automerge, Broken> {
        let (doc, _) = self.tx.take().ok_or(Broken::Before)?.rollback();
        Ok(doc)
    }

    fn commit(&mut self) -> Result<Automerge, Broken> {
        let tx = self.tx.take().ok_or(Broken::Before)?;
        let mut options = CommitOptions::default().with_time(self.limits.time);
        if !self.message.is_empty() {
            options.set_message(self.message.clone());
        }
        let (doc, hash, _) = tx.commit_with(options);
        self.made.extend(hash);
        Ok(doc)
    }

    fn fits(&self, cost: Cost) -> bool {
        let all = self.spent.and(cost);
        all.upper <= self.limits.most
            && all.ops <= OPS_MAX as usize
            && all.replaced <= OPS_MAX as usize
            && all.lines <= LINES_MAX + all.lower
    }

    /// Counts operations before they are written. Begins another change if they do not fit into this one.
    fn count(&mut self, cost: Cost) -> Result<(), Stop> {
        let ops = self.limits.ops.saturating_add(cost.ops as u64);
        let highest = self.limits.highest.saturating_add(cost.ops as u64);
        if ops > DOCUMENT_OPS_MAX {
            return Err(EditError::DocumentFull { most: DOCUMENT_OPS_MAX, of: "operations" }.into());
        }
        if highest > u64::from(COUNTER_MAX) {
            return Err(EditError::DocumentFull { most: u64::from(COUNTER_MAX), of: "numbers of operations" }.into());
        }
        if !self.fits(cost) {
            if !self.limits.splits {
                return Err(Stop::Full);
            }
            let doc = self.commit().map_err(EditError::from)?;
            self.tx = Some(begun(doc).map_err(EditError::from)?);
            self.anew().map_err(EditError::from)?;
            if !self.fits(cost) {
                return Err(EditError::TooLarge { path: self.path.clone(), most: self.limits.most }.into());
            }
        }
        self.spent = self.spent.and(cost);
        (self.limits.ops, self.limits.highest) = (ops, highest);
        Ok(())
    }

    /// The cost of one operation at a place.
    fn cost(&mut self, object: &ObjId, place: &Place, value: usize, lines: usize) -> Result<Cost, Stop> {
        let replaced = match place {
            Place::At(prop) => self.doc().map_err(EditError::from)?.get_all(object, prop.clone())?.len(),
            Place::New(_) | Place::Before(_) => 0,
        };
        let key = match place {
            Place::At(Prop::Map(key)) | Place::New(key) if *key != self.last_key => {
                self.last_key.clone_from(key);
                key.len() + 1
            }
            _ => 0,
        };
        Ok(Cost {
            upper: OP_BYTES + key + value + replaced * (REPLACED_BYTES + self.named) + NAMED_MAX * self.named,
            lower: key + value.saturating_sub(10),
            lines,
            ops: 1,
            replaced,
        })
    }

    pub(crate) fn put(&mut self, object: &ObjId, place: &Place, value: ScalarValue) -> Result<(), Stop> {
        let bytes = match &value {
            ScalarValue::Bytes(bytes) => bytes.len() + 10,
            ScalarValue::Str(text) => text.len() + 10,
            _ => 10,
        };
        let cost = self.cost(object, place, bytes, 1)?;
        self.count(cost)?;
        match place {
            Place::At(prop) => self.tx()?.put(object, prop.clone(), value)?,
            Place::New(key) => self.tx()?.put(object, key.as_str(), value)?,
            Place::Before(at) => self.tx()?.insert(object, *at, value)?,
        }
        Ok(())
    }

    pub(crate) fn make(&mut self, object: &ObjId, place: &Place, kind: ObjType) -> Result<ObjId, Stop> {
        let cost = self.cost(object, place, 0, 2)?;
        self.count(cost)?;
        Ok(match place {
            Place::At(prop) => self.tx()?.put_object(object, prop.clone(), kind)?,
            Place::New(key) => self.tx()?.put_object(object, key.as_str(), kind)?,
            Place::Before(at) => self.tx()?.insert_object(object, *at, kind)?,
        })
    }

    pub(crate) fn delete(&mut self, object: &ObjId, prop: Prop) -> Result<(), Stop> {
        let cost = self.cost(object, &Place::At(prop.clone()), 0, 0)?;
        self.count(cost)?;
        Ok(self.tx()?.delete(object, prop)?)
    }

    pub(crate) fn increment(&mut self, object: &ObjId, prop: Prop, by: i64) -> Result<(), Stop> {
        let cost = self.cost(object, &Place::At(prop.clone()), 10, 0)?;
        self.count(cost)?;
        Ok(self.tx()?.increment(object, prop, by)?)
    }

    /// Marks letters of a text: where the mark begins, and right after that in the change where it ends.
    pub(crate) fn mark(
        &mut self,
        text: &ObjId,
        range: Range<usize>,
        (name, value): (&str, ScalarValue),
        expand: MarkExpand,
    ) -> Result<(), Stop> {
        let bytes = name.len() + if let ScalarValue::Str(text) = &value { text.len() + 10 } else { 10 };
        let upper = 2 * (OP_BYTES + NAMED_MAX * self.named) + bytes;
        self.count(Cost { upper, lines: 2, ops: 2, ..Cost::default() })?;
        let mark = Mark::new(name.to_owned(), value, range.start, range.end);
        let expand = match expand {
            MarkExpand::Before => ExpandMark::Before,
            MarkExpand::After => ExpandMark::After,
            MarkExpand::Both => ExpandMark::Both,
            MarkExpand::None => ExpandMark::None,
        };
        Ok(self.tx()?.mark(text, mark, expand)?)
    }

    /// Deletes letters of a text, and inserts others there. It may take more than one change.
    pub(crate) fn splice(&mut self, text: &ObjId, at: usize, delete: usize, insert: &str) -> Result<(), Stop> {
        let mut runs = self.runs(text, at, delete)?.into_iter().peekable();
        while runs.peek().is_some() {
            let (room, ops) = self.room();
            let run_bytes = RUN_BYTES + self.named;
            let mut cost = Cost { upper: OP_BYTES + NAMED_MAX * self.named, ..Cost::default() };
            while let Some(run) = runs.peek_mut() {
                let number = (*run).min(ops - cost.ops);
                if number == 0 || cost.ops > 0 && cost.upper + run_bytes > room {
                    break;
                }
                cost.upper += run_bytes;
                (cost.ops, cost.replaced) = (cost.ops + number, cost.replaced + number);
                *run -= number;
                if *run == 0 {
                    runs.next();
                }
            }
            self.count(cost)?;
            let deleted = isize::try_from(cost.ops).unwrap_or(isize::MAX);
            self.tx()?.splice_text(text, at, deleted, "")?;
        }
        let (mut rest, mut at) = (insert, at);
        while !rest.is_empty() {
            let (room, ops) = self.room();
            let upper = OP_BYTES + NAMED_MAX * self.named;
            let (mut cost, mut width) = (Cost { upper, lines: 1, ..Cost::default() }, 0);
            for letter in rest.chars() {
                let turn = if letter.len_utf8() == width { 0 } else { WIDTH_BYTES };
                width = letter.len_utf8();
                if cost.ops > 0 && (cost.upper + width + turn > room || cost.ops >= ops) {
                    break;
                }
                cost.upper += width + turn;
                (cost.lower, cost.ops) = (cost.lower + width, cost.ops + 1);
            }
            let (now, later) = rest.split_at(cost.lower);
            self.count(cost)?;
            self.tx()?.splice_text(text, at, 0, now)?;
            (rest, at) = (later, at + cost.ops);
        }
        Ok(())
    }

    /// The bytes and operations of the next piece of a splice: what is left in this change, or what the next one has if this one
    /// is all but full.
    fn room(&self) -> (usize, usize) {
        let room = self.limits.most.saturating_sub(self.spent.upper);
        let ops = (OPS_MAX as usize).saturating_sub(self.spent.ops.max(self.spent.replaced));
        if room < 1_024 || ops < 16 { (self.limits.most / 2, OPS_MAX as usize / 2) } else { (room, ops) }
    }

    /// The letters of a part of a text, in runs that were inserted in a row by one actor: such a run is deleted in few bytes.
    fn runs(&self, text: &ObjId, at: usize, number: usize) -> Result<Vec<usize>, EditError> {
        // so few are not worth a look at the whole text
        if number <= 16 {
            return Ok(vec![1; number]);
        }
        let (mut runs, mut position, mut next) = (Vec::<usize>::new(), 0, None);
        for (id, letters) in elements(self.doc()?, text, None) {
            let width = letters.chars().count();
            if position >= at && position < at + number {
                let is_next = next.as_ref() == Some(&id);
                match runs.last_mut().filter(|_| is_next) {
                    Some(run) => *run += width,
                    None => runs.push(width),
                }
                next = match id {
                    ObjId::Id(counter, actor, place) => Some(ObjId::Id(counter + 1, actor, place)),
                    ObjId::Root => None,
                };
            }
            position += width;
        }
        // elements of other programs may have several letters
        let found: usize = runs.iter().sum();
        if found == number { Ok(runs) } else { Ok(vec![1; number]) }
    }
}

fn begun(doc: Automerge) -> Result<OwnedTransaction, Broken> {
    doc.into_transaction(None, None).map_err(|error| Broken::Library(error.to_string()))
}
