//! The verdict: whether a change means something after its ancestors.
//!
//! A library that applies operations without asking trusts their author: a deletion of what is not there, an element of another
//! list, two operations with one id. The judge keeps a table of the operations of all changes that it accepted. A new one may name
//! only operations that are among its ancestors and of the right kind. Operations in a row are one line of the table, so a pasted
//! text takes as much as one letter.

mod saved;

use std::collections::BTreeMap;

use crate::change::{Action, Change, Id, Key};
use crate::clock::Clock;
use crate::error::Fault;
use crate::hash::ChangeHash;

/// The number of the verdict. Another version that judges a change otherwise has another one.
pub const VERDICT: u16 = 1;
/// The most bytes of a change and its ancestors: 16 MiB.
pub const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
/// The most operations of a change and its ancestors.
pub const DOCUMENT_OPS_MAX: u64 = 4 << 20;
/// The most actors among the ancestors of a change.
pub const ACTORS_MAX: usize = 4_096;
/// The highest counter of an operation.
pub const COUNTER_MAX: u32 = u32::MAX / 2;
/// The most objects within one another: what reads a document calls itself once for each.
pub const DEPTH_MAX: u32 = 100;

/// How far the first operation of a change may be above those of its ancestors. A change of a past state is numbered after all
/// operations of the document, so it is as many as a document has.
const GAP_MAX: u64 = DOCUMENT_OPS_MAX;
/// The lines of the table that a change may take, beside one for each of its bytes. Programs do not write values that take no
/// byte, but for insertions in a row, which are one line, and deletions, which are none.
pub(crate) const LINES_MAX: usize = 4_096;
/// A counter's first value, in either direction, and one step of it. All steps of a document together stay in 64 bits.
pub(crate) const COUNTER_FIRST_MAX: u64 = 1 << 53;
pub(crate) const COUNTER_STEP_MAX: u64 = 1 << 40;

/// The place of an operation: the number of its line, and the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    line: u32,
    counter: u32,
}

/// The slot that an operation writes in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// The element that it inserts itself.
    Own,
    Element(Place),
    /// A key of a map, by its number.
    Key(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    Value,
    Counter,
    Mark,
}

/// Operations in a row that did the same: each but the first inserts an element.
#[derive(Clone, Copy, Debug)]
struct Written {
    first: u32,
    number: u32,
    object: u32,
    slot: Slot,
    wrote: Wrote,
}

impl Written {
    /// The slot of one of its operations.
    fn slot_of(&self, place: Place) -> Slot {
        if self.slot == Slot::Own { Slot::Element(place) } else { self.slot }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Map,
    Sequence,
}

#[derive(Clone, Copy, Debug)]
struct Object {
    kind: Kind,
    depth: u32,
}

/// A change that was accepted.
#[derive(Clone, Debug)]
struct Accepted {
    /// The counter of its first operation.
    start: u32,
    /// The highest counter of it and its ancestors.
    highest: u32,
    /// It and its ancestors.
    clock: Clock,
    /// The bytes and operations of this line's changes up to it.
    own: Sum,
    /// The bytes and operations of it and its ancestors.
    all: Sum,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    bytes: u64,
    ops: u64,
}

impl Sum {
    const fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), ops: self.ops.saturating_add(other.ops) }
    }
}

/// Changes of an actor in their order, with their operations. An actor has one line, unless two changes have one number: then each
/// goes on in a line of its own.
#[derive(Clone, Debug, Default)]
struct Line {
    /// The changes of the actor before this line begins.
    before: u32,
    changes: Vec<Accepted>,
    written: Vec<Written>,
}

/// The changes of a document that were accepted, as far as later ones are judged by them.
#[derive(Clone, Debug)]
pub struct Judge {
    /// Each change by its actor and its number there, from 0.
    known: BTreeMap<ChangeHash, (u32, u32)>,
    /// The lines of each actor.
    actors: BTreeMap<Box<[u8]>, Vec<u32>>,
    lines: Vec<Line>,
    /// The root is the first one.
    objects: Vec<Object>,
    made: BTreeMap<Place, u32>,
    keys: BTreeMap<Box<str>, u32>,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            actors: BTreeMap::new(),
            lines: Vec::new(),
            objects: vec![Object { kind: Kind::Map, depth: 0 }],
            made: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }
}

/// A change that is being judged, with what it adds to the table.
struct Case<'a, 'b> {
    judge: &'b Judge,
    /// The lines of the actors that the change names.
    actors: Vec<&'b [u32]>,
    /// The line of the change, which may be new.
    own: u32,
    start: u32,
    ancestors: Clock,
    counter: u32,
    written: Vec<Written>,
    objects: Vec<(Place, Object)>,
    keys: BTreeMap<&'a str, u32>,
    /// The object of a mark that was begun by the operation before.
    begun: Option<u32>,
}

impl Judge {
    /// A judge of a document without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a change was accepted.
    pub fn knows(&self, change: &ChangeHash) -> bool {
        self.known.contains_key(change)
    }

    /// The number of changes that were accepted.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no change was accepted.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Judges a change after all its ancestors were accepted, and accepts it. A change that was accepted before is accepted
    /// again. After an error nothing has changed. Two changes with one actor and number are accepted both, and no change after
    /// both of them is: [`standing`](crate::standing()) says what that means.
    ///
    /// # Errors
    /// [`Fault::MissingDeps`] until all changes before it were accepted. Any other fault is for good.
    pub fn accept(&mut self, change: &Change<'_>) -> Result<(), Fault> {
        if self.knows(&change.hash()) {
            return Ok(());
        }
        let (accepted, case) = self.judged(change)?;
        let Case { own, written, objects, keys, .. } = case;
        let keys: Vec<(Box<str>, u32)> = keys.into_iter().map(|(key, number)| (key.into(), number)).collect();
        self.keys.extend(keys);
        for (place, object) in objects {
            // places in its list were given in this order
            self.made.insert(place, u32::try_from(self.objects.len()).unwrap_or(u32::MAX));
            self.objects.push(object);
        }
        if self.lines.len() == own as usize {
            self.actors.entry(change.actor().into()).or_default().push(own);
            let before = u32::try_from(change.seq() - 1).unwrap_or(u32::MAX);
            self.lines.push(Line { before, ..Line::default() });
        }
        if let Some(line) = self.lines.get_mut(own as usize) {
            let number = u32::try_from(line.changes.len()).unwrap_or(u32::MAX);
            self.known.insert(change.hash(), (own, number));
            line.changes.push(accepted);
            line.written.extend(written);
        }
        Ok(())
    }

    fn judged<'a>(&self, change: &Change<'a>) -> Result<(Accepted, Case<'a, '_>), Fault> {
        let missing: Vec<ChangeHash> = change.deps().iter().filter(|dep| !self.knows(dep)).copied().collect();
        if !missing.is_empty() {
            return Err(Fault::MissingDeps(missing));
        }
        let deps: Vec<&Accepted> = change.deps().iter().filter_map(|dep| self.accepted(dep)).collect();
        let (mut ancestors, mut highest) = (Clock::default(), 0);
        for dep in &deps {
            ancestors.merge(&dep.clock);
            highest = highest.max(dep.highest);
        }
        // with one change right before it, all was looked at there
        if deps.len() > 1 {
            for lines in self.actors.values().filter(|lines| lines.len() > 1) {
                self.changes_of(lines, &ancestors)?;
            }
        }
        let lines_of = |actor: &&[u8]| self.actors.get(*actor).map(Vec::as_slice).unwrap_or_default();
        let actors: Vec<&[u32]> = change.actors().iter().map(lines_of).collect();
        let own_lines = actors.first().copied().unwrap_or_default();
        let before = self.changes_of(own_lines, &ancestors)?;
        if change.seq() != u64::from(before) + 1 {
            return Err(Fault::Place("it is not the next one of its actor"));
        }
        let goes_on = |line: &&u32| {
            let changes = self.lines.get(**line as usize).map_or(0, |line| line.changes.len());
            changes > 0 && ancestors.get(**line as usize) as usize == changes
        };
        let next = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        let own = own_lines.iter().rfind(goes_on).copied().unwrap_or(next);
        let line = self.lines.get(own as usize);
        if before == 0 && ancestors.iter().count() >= ACTORS_MAX {
            return Err(Fault::TooLarge { most: ACTORS_MAX as u64, of: "actors" });
        }
        let above = change.start().checked_sub(u64::from(highest)).filter(|above| *above > 0);
        let above = above.ok_or(Fault::Place("its first operation is not above those before it"))?;
        let start = u32::try_from(change.start()).ok().filter(|start| *start <= COUNTER_MAX && above <= GAP_MAX);
        let start = start.ok_or(Fault::Place("its first operation is too far above those before it"))?;

        let mut case = Case {
            judge: self,
            actors,
            own,
            start,
            ancestors,
            counter: start,
            written: Vec::new(),
            objects: Vec::new(),
            keys: BTreeMap::new(),
            begun: None,
        };
        let ops = case.run(change)?;
        // the library saves no first operation, and could not load such a change again
        if ops == 0 && above != 1 {
            return Err(Fault::Place("it has no operation, and does not come right after those before it"));
        }

        let size = Sum { bytes: change.size() as u64, ops: u64::from(ops) };
        let all = match deps.as_slice() {
            [dep] => dep.all,
            _ => self.sum(&case.ancestors),
        };
        let all = all.and(size);
        for (number, most, of) in [
            (all.bytes, DOCUMENT_BYTES_MAX, "bytes in the document"),
            (all.ops, DOCUMENT_OPS_MAX, "operations in the document"),
        ] {
            if number > most {
                return Err(Fault::TooLarge { most, of });
            }
        }
        let mut clock = case.ancestors.clone();
        clock.set(own as usize, ancestors_of(line) + 1);
        let last = line.and_then(|line| line.changes.last()).map(|last| last.own).unwrap_or_default();
        let accepted = Accepted { start, highest: highest.max(case.counter - 1), clock, own: last.and(size), all };
        Ok((accepted, case))
    }

    /// The number of an actor's changes among some ancestors, by its lines.
    fn changes_of(&self, lines: &[u32], ancestors: &Clock) -> Result<u32, Fault> {
        let (mut number, mut last) = (0_u32, 0);
        for line in lines {
            let changes = ancestors.get(*line as usize);
            let before = self.lines.get(*line as usize).map_or(0, |line| line.before);
            if changes > 0 {
                number = number.saturating_add(changes);
                last = last.max(before.saturating_add(changes));
            }
        }
        // lines that go on after one another have each number once
        if number == last { Ok(number) } else { Err(Fault::Place("two changes before it have one actor and number")) }
    }

    /// The accepted change of a hash.
    fn accepted(&self, change: &ChangeHash) -> Option<&Accepted> {
        let (actor, number) = self.known.get(change)?;
        self.lines.get(*actor as usize)?.changes.get(*number as usize)
    }

    fn sum(&self, clock: &Clock) -> Sum {
        let own = |(actor, changes): (usize, u32)| {
            let line = self.lines.get(actor)?;
            line.changes.get((changes as usize).checked_sub(1)?).map(|change| change.own)
        };
        clock.iter().filter_map(own).fold(Sum::default(), Sum::and)
    }
}

/// The number of changes in a line that goes on.
fn ancestors_of(line: Option<&Line>) -> u32 {
    line.map_or(0, |line| u32::try_from(line.changes.len()).unwrap_or(u32::MAX))
}

impl<'a> Case<'a, '_> {
    /// Judges all operations, and returns their number.
    fn run(&mut self, change: &Change<'a>) -> Result<u32, Fault> {
        let lines_max = LINES_MAX + change.size();
        let mut ops = change.ops();
        let mut number = 0;
        while let Some(op) = ops.next()? {
            if self.counter > COUNTER_MAX {
                return Err(Fault::Place("its operations are too far above those before it"));
            }
            let judged = self.op(op.object, op.key, op.insert, op.action, &ops.replaced);
            judged.map_err(|why| Fault::Operation { at: number, why })?;
            if self.written.len() + self.objects.len() > lines_max {
                return Err(Fault::TooLarge { most: lines_max as u64, of: "operations for its bytes" });
            }
            self.counter += 1;
            number += 1;
        }
        match self.begun {
            None => Ok(number),
            Some(_) => Err(Fault::Operation { at: number, why: "the mark before it does not end" }),
        }
    }

    fn op(
        &mut self,
        object: Option<Id>,
        key: Key<'a>,
        insert: bool,
        action: Action<'a>,
        replaced: &[Id],
    ) -> Result<(), &'static str> {
        let own = Place { line: self.own, counter: self.counter };
        let (object, Object { kind, depth }) = self.object(object)?;
        let slot = match (kind, key) {
            (Kind::Map, Key::Text(key)) if !insert => Slot::Key(self.key(key)),
            (Kind::Sequence, Key::Head) if insert => Slot::Own,
            (Kind::Sequence, Key::Element(id)) => {
                let element = self.place(id)?;
                let known = self.find(element).filter(|known| known.slot == Slot::Own && known.object == object);
                known.ok_or("it names an element that is not in this object")?;
                if insert { Slot::Own } else { Slot::Element(element) }
            }
            _ => return Err("its key does not fit its object"),
        };
        let is_step = matches!(action, Action::Increment(_));
        match action {
            _ if insert && !replaced.is_empty() => return Err("it inserts, and replaces"),
            Action::Delete | Action::Increment(_) if replaced.is_empty() => return Err("it changes nothing"),
            Action::Delete | Action::Increment(_) if insert => return Err("it inserts nothing"),
            Action::BeginMark(_) | Action::EndMark if !insert => return Err("a mark stands at no place"),
            Action::PutCounter(first) if first.unsigned_abs() > COUNTER_FIRST_MAX => {
                return Err("a counter is too large");
            }
            Action::Increment(by) if by.unsigned_abs() > COUNTER_STEP_MAX => {
                return Err("a counter's step is too large");
            }
            _ => {}
        }
        for id in replaced {
            let place = self.place(*id)?;
            let known = self.find(place).ok_or("it replaces what is not there")?;
            if known.object != object || known.slot_of(place) != slot || known.wrote == Wrote::Mark {
                return Err("it replaces what is at another place");
            }
            if is_step && known.wrote != Wrote::Counter {
                return Err("it counts what is no counter");
            }
        }
        match (self.begun.take(), action) {
            (None, Action::EndMark) => return Err("it ends no mark"),
            (Some(begun), Action::EndMark) if begun == object => {}
            (Some(_), _) => return Err("the mark before it does not end"),
            (None, Action::BeginMark(_)) => self.begun = Some(object),
            (None, _) => {}
        }
        let wrote = match action {
            Action::Delete | Action::Increment(_) => return Ok(()),
            Action::BeginMark(_) | Action::EndMark => Wrote::Mark,
            Action::PutCounter(_) => Wrote::Counter,
            Action::MakeMap | Action::MakeList | Action::MakeText | Action::Put => Wrote::Value,
        };
        if let Some(kind) = match action {
            Action::MakeMap => Some(Kind::Map),
            Action::MakeList | Action::MakeText => Some(Kind::Sequence),
            _ => None,
        } {
            if depth >= DEPTH_MAX {
                return Err("it makes an object too deep within others");
            }
            self.objects.push((own, Object { kind, depth: depth + 1 }));
        }
        self.write(Written { first: own.counter, number: 1, object, slot, wrote });
        Ok(())
    }

    /// Adds an operation to the table.
    fn write(&mut self, one: Written) {
        if let Some(last) = self.written.last_mut()
            && last.first + last.number == one.first
            && (last.slot, one.slot) == (Slot::Own, Slot::Own)
            && (last.object, last.wrote) == (one.object, one.wrote)
        {
            last.number += 1;
            return;
        }
        self.written.push(one);
    }

    /// The place of an operation that is among the ancestors, or before in this change.
    fn place(&self, id: Id) -> Result<Place, &'static str> {
        const UNKNOWN: &str = "it names an operation that is not before it";
        if id.actor == 0 && id.counter >= self.start {
            let place = Place { line: self.own, counter: id.counter };
            return if place.counter < self.counter { Ok(place) } else { Err(UNKNOWN) };
        }
        for line in self.actors.get(id.actor).copied().unwrap_or_default() {
            let Some(changes) = self.judge.lines.get(*line as usize).map(|line| &line.changes) else { continue };
            // those that begin at it or before it
            let begun = changes.partition_point(|change| change.start <= id.counter);
            if begun > 0 && begun <= self.ancestors.get(*line as usize) as usize {
                let place = Place { line: *line, counter: id.counter };
                if self.find(place).is_some() {
                    return Ok(place);
                }
            }
        }
        Err(UNKNOWN)
    }

    /// The operation at a place, if it wrote something that stays.
    fn find(&self, place: Place) -> Option<&Written> {
        let is_own = place.line == self.own && place.counter >= self.start;
        let written = if is_own { &self.written } else { &self.judge.lines.get(place.line as usize)?.written };
        let at = written.partition_point(|written| written.first <= place.counter).checked_sub(1)?;
        written.get(at).filter(|found| place.counter - found.first < found.number)
    }

    fn object(&self, id: Option<Id>) -> Result<(u32, Object), &'static str> {
        const UNKNOWN: &str = "it writes to an object that is not there";
        let Some(id) = id else { return self.judge.objects.first().map(|root| (0, *root)).ok_or(UNKNOWN) };
        let place = self.place(id)?;
        let known = self.judge.objects.len();
        if let Some(number) = self.judge.made.get(&place) {
            return self.judge.objects.get(*number as usize).map(|object| (*number, *object)).ok_or(UNKNOWN);
        }
        let own = self.objects.binary_search_by_key(&place, |(place, _)| *place).map_err(|_| UNKNOWN)?;
        let number = u32::try_from(known + own).map_err(|_| UNKNOWN)?;
        self.objects.get(own).map(|(_, object)| (number, *object)).ok_or(UNKNOWN)
    }

    fn key(&mut self, key: &'a str) -> u32 {
        if let Some(number) = self.judge.keys.get(key) {
            return *number;
        }
        let next = self.judge.keys.len() + self.keys.len();
        *self.keys.entry(key).or_insert(u32::try_from(next).unwrap_or(u32::MAX))
    }
}
