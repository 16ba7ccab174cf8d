//! A change as bytes: its header, its columns, and its operations one by one.

use std::io::Read;

use sha2::{Digest, Sha256};

use crate::columns::{Bools, Delta, Rle};
use crate::error::Fault;
use crate::hash::ChangeHash;
use crate::reader::Reader;

/// The most bytes of a change: 2 MiB.
pub const CHANGE_BYTES_MAX: usize = 2 << 20;
/// The most operations of a change, and the most operations that these replace. Each letter of a text is one.
pub const OPS_MAX: u32 = 1 << 20;
/// The most changes after which a change can stand at once.
pub const DEPS_MAX: usize = 1_024;
/// The most bytes of an actor's id.
pub const ACTOR_BYTES_MAX: usize = 64;
/// The most bytes of the word about a change that an edit writes.
pub const MESSAGE_BYTES_MAX: usize = 256;
/// The most actors that the operations of a change name.
pub(crate) const OTHERS_MAX: usize = 1_024;
/// The most bytes of the key of a map.
pub(crate) const KEY_BYTES_MAX: usize = 4_096;
/// The time of a change, in either direction.
pub(crate) const TIME_MAX: u64 = 1 << 53;

pub(crate) const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const PLAIN: u8 = 1;
const COMPRESSED: u8 = 2;

/// The id of an operation, with the actor by its place in the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) counter: u32,
    pub(crate) actor: usize,
}

/// The place that an operation writes, in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    Text(&'a str),
    /// Before the first element.
    Head,
    Element(Id),
}

/// The effect of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    MakeMap,
    MakeList,
    MakeText,
    Put,
    /// A counter with its first value.
    PutCounter(i64),
    Delete,
    Increment(i64),
    BeginMark(&'a str),
    EndMark,
}

/// An operation.
#[derive(Clone, Debug)]
pub(crate) struct Op<'a> {
    /// The object; the root if there is none.
    pub(crate) object: Option<Id>,
    pub(crate) key: Key<'a>,
    pub(crate) insert: bool,
    pub(crate) action: Action<'a>,
}

/// A change, as bytes whose form is good up to its operations.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    hash: ChangeHash,
    bytes: usize,
    deps: Vec<ChangeHash>,
    actors: Vec<&'a [u8]>,
    seq: u64,
    start: u64,
    time: i64,
    message: &'a str,
    columns: Columns<'a>,
}

/// The bytes of each column; empty for one that is not there.
#[derive(Clone, Copy, Debug, Default)]
struct Columns<'a> {
    object_actor: &'a [u8],
    object_counter: &'a [u8],
    key_actor: &'a [u8],
    key_counter: &'a [u8],
    key_text: &'a [u8],
    insert: &'a [u8],
    action: &'a [u8],
    value_kind: &'a [u8],
    value: &'a [u8],
    replaced: &'a [u8],
    replaced_actor: &'a [u8],
    replaced_counter: &'a [u8],
    expand: &'a [u8],
    mark: &'a [u8],
}

impl<'a> Columns<'a> {
    /// The column of a number in the format.
    fn of(&mut self, number: u64) -> Option<&mut &'a [u8]> {
        Some(match number {
            0x01 => &mut self.object_actor,
            0x02 => &mut self.object_counter,
            0x11 => &mut self.key_actor,
            0x13 => &mut self.key_counter,
            0x15 => &mut self.key_text,
            0x34 => &mut self.insert,
            0x42 => &mut self.action,
            0x56 => &mut self.value_kind,
            0x57 => &mut self.value,
            0x70 => &mut self.replaced,
            0x71 => &mut self.replaced_actor,
            0x73 => &mut self.replaced_counter,
            0x94 => &mut self.expand,
            0xa5 => &mut self.mark,
            _ => return None,
        })
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let (mut columns, mut found, mut last) = (Self::default(), Vec::new(), None);
        for _ in 0..reader.uint()? {
            let (number, bytes) = (reader.uint()?, reader.uint()?);
            if last.replace(number).is_some_and(|last| last >= number) || bytes == 0 {
                return Err(Fault::Form("its columns are out of order, or one is empty"));
            }
            if columns.of(number).is_none() {
                return Err(Fault::Form("it has a column that this version does not know, or a compressed one"));
            }
            found.push((number, bytes));
        }
        for (number, bytes) in found {
            let taken = reader.take(bytes)?;
            if let Some(column) = columns.of(number) {
                *column = taken;
            }
        }
        Ok(columns)
    }
}

impl<'a> Change<'a> {
    /// Reads a plain change. Its operations are read later, by the [`Judge`](crate::Judge).
    ///
    /// # Errors
    /// [`Fault::Bytes`], [`Fault::Form`] and [`Fault::TooLarge`], by the bytes alone.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        if bytes.len() > CHANGE_BYTES_MAX {
            return Err(Fault::TooLarge { most: CHANGE_BYTES_MAX as u64, of: "bytes" });
        }
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(Fault::Bytes("it does not begin as one"));
        }
        let checksum: [u8; 4] = reader.array()?;
        match reader.array()? {
            [PLAIN] => {}
            [COMPRESSED] => return Err(Fault::Form("it is compressed")),
            _ => return Err(Fault::Bytes("it is of another kind")),
        }
        let data = reader.sized()?;
        if !reader.is_empty() {
            return Err(Fault::Bytes("more bytes follow it"));
        }
        let hash = hash_of(data);
        if hash.0[..4] != checksum {
            return Err(Fault::Bytes("its checksum is wrong"));
        }

        let mut reader = Reader::new(data);
        let deps = deps(&mut reader)?;
        let own = actor(&mut reader)?;
        let (seq, start, time) = (reader.uint()?, reader.uint()?, reader.int()?);
        if seq == 0 || start == 0 || time.unsigned_abs() > TIME_MAX {
            return Err(Fault::Bytes("its number, its first operation or its time is out of range"));
        }
        let message = reader.text()?;
        let mut actors = vec![own];
        let others = bounded(reader.uint()?, OTHERS_MAX, "actors")?;
        for _ in 0..others {
            let other = actor(&mut reader)?;
            if other == own || actors.len() > 1 && actors.last().is_some_and(|last| *last >= other) {
                return Err(Fault::Form("its actors are out of order"));
            }
            actors.push(other);
        }
        let columns = Columns::read(&mut reader)?;
        if !reader.is_empty() {
            return Err(Fault::Form("bytes follow its columns"));
        }
        Ok(Self { hash, bytes: bytes.len(), deps, actors, seq, start, time, message, columns })
    }

    /// Its name.
    pub fn hash(&self) -> ChangeHash {
        self.hash
    }

    /// The changes right before it, in their order.
    pub fn deps(&self) -> &[ChangeHash] {
        &self.deps
    }

    /// The id of its actor, 1 to [`ACTOR_BYTES_MAX`] bytes.
    pub fn actor(&self) -> &'a [u8] {
        self.actors.first().copied().unwrap_or_default()
    }

    /// Its number among the changes of its actor, from 1.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The counter of its first operation.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Its time as its author says, in seconds since 1970; 0 where it says none.
    pub fn time(&self) -> i64 {
        self.time
    }

    /// A word about it, or nothing.
    pub fn message(&self) -> &'a str {
        self.message
    }

    /// The number of its bytes.
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// All actors that it names, its own first.
    pub(crate) fn actors(&self) -> &[&'a [u8]] {
        &self.actors
    }

    pub(crate) fn ops(&self) -> Ops<'a> {
        Ops::new(&self.columns, &self.actors)
    }
}

fn hash_of(data: &[u8]) -> ChangeHash {
    let mut hasher = Sha256::new();
    hasher.update([PLAIN]);
    hasher.update(length(data.len()));
    hasher.update(data);
    ChangeHash(hasher.finalize().into())
}

/// A number in LEB128.
pub(crate) fn length(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let part = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(part);
            return bytes;
        }
        bytes.push(part | 0x80);
    }
}

/// The bytes of a plain change with this data, with its length and its checksum.
pub fn chunk(data: &[u8]) -> Vec<u8> {
    let checksum = hash_of(data).0;
    [&MAGIC, &checksum[..4], &[PLAIN], &length(data.len()), data].concat()
}

/// The plain form of a change: the same bytes, or those of a compressed one. The hash of a compressed change is that of its
/// plain form.
///
/// # Errors
/// [`Fault::Bytes`], and [`Fault::TooLarge`] for one whose plain form has more than [`CHANGE_BYTES_MAX`] bytes: it is not
/// expanded further.
pub fn expand(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, Fault> {
    let too_large = Fault::TooLarge { most: CHANGE_BYTES_MAX as u64, of: "bytes" };
    if bytes.len() > CHANGE_BYTES_MAX {
        return Err(too_large);
    }
    let mut reader = Reader::new(bytes);
    if reader.array()? != MAGIC {
        return Err(Fault::Bytes("it does not begin as one"));
    }
    let checksum: [u8; 4] = reader.array()?;
    if reader.array()? != [COMPRESSED] {
        return Ok(bytes.into());
    }
    let deflated = reader.sized()?;
    if !reader.is_empty() {
        return Err(Fault::Bytes("more bytes follow it"));
    }
    let mut data = Vec::new();
    let mut inflated = flate2::read::DeflateDecoder::new(deflated).take(CHANGE_BYTES_MAX as u64 + 1);
    inflated.read_to_end(&mut data).map_err(|_| Fault::Bytes("it cannot be expanded"))?;
    if data.len() > CHANGE_BYTES_MAX {
        return Err(too_large);
    }
    let plain = chunk(&data);
    // the checksum is that of the plain form
    if plain.get(4..8) == Some(&checksum) { Ok(plain.into()) } else { Err(Fault::Bytes("its checksum is wrong")) }
}

fn bounded(number: u64, most: usize, of: &'static str) -> Result<usize, Fault> {
    let bounded = usize::try_from(number).ok().filter(|number| *number <= most);
    bounded.ok_or(Fault::TooLarge { most: most as u64, of })
}

fn deps(reader: &mut Reader<'_>) -> Result<Vec<ChangeHash>, Fault> {
    let number = bounded(reader.uint()?, DEPS_MAX, "changes before it")?;
    let mut deps = Vec::with_capacity(number.min(reader.len() / 32));
    for _ in 0..number {
        let dep = ChangeHash(reader.array()?);
        if deps.last().is_some_and(|last| *last >= dep) {
            return Err(Fault::Form("the changes before it are out of order"));
        }
        deps.push(dep);
    }
    Ok(deps)
}

fn actor<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let actor = reader.sized()?;
    if actor.is_empty() || actor.len() > ACTOR_BYTES_MAX {
        return Err(Fault::TooLarge { most: ACTOR_BYTES_MAX as u64, of: "bytes of an actor's id, or none" });
    }
    Ok(actor)
}

/// The objects that operations write to.
#[derive(Debug)]
struct Objects<'a> {
    actor: Rle<'a, u64>,
    counter: Rle<'a, u64>,
}

/// The keys and elements that operations write.
#[derive(Debug)]
struct Keys<'a> {
    actor: Rle<'a, u64>,
    counter: Delta<'a>,
    text: Rle<'a, &'a str>,
}

/// The operations that others replace.
#[derive(Debug)]
struct Replaces<'a> {
    number: Rle<'a, u64>,
    actor: Rle<'a, u64>,
    counter: Delta<'a>,
}

/// The operations of a change, read one after the other.
#[derive(Debug)]
pub(crate) struct Ops<'a> {
    actors: Vec<&'a [u8]>,
    used: Vec<bool>,
    objects: Objects<'a>,
    keys: Keys<'a>,
    insert: Bools<'a>,
    action: Rle<'a, u64>,
    value_kind: Rle<'a, u64>,
    values: Reader<'a>,
    replaces: Replaces<'a>,
    expand: Option<Bools<'a>>,
    mark: Rle<'a, &'a str>,
    /// The operations that the last one replaces, in their order.
    pub(crate) replaced: Vec<Id>,
    read: u32,
    replaced_in_all: u64,
}

/// The values of operations, as far as the verdict asks.
enum Value {
    Null,
    /// A whole number.
    Int(i64),
    Counter(i64),
    Other,
}

impl<'a> Ops<'a> {
    fn new(columns: &Columns<'a>, actors: &[&'a [u8]]) -> Self {
        Self {
            actors: actors.to_vec(),
            used: vec![false; actors.len()],
            objects: Objects { actor: Rle::new(columns.object_actor), counter: Rle::new(columns.object_counter) },
            keys: Keys {
                actor: Rle::new(columns.key_actor),
                counter: Delta::new(columns.key_counter),
                text: Rle::new(columns.key_text),
            },
            insert: Bools::new(columns.insert),
            action: Rle::new(columns.action),
            value_kind: Rle::new(columns.value_kind),
            values: Reader::new(columns.value),
            replaces: Replaces {
                number: Rle::new(columns.replaced),
                actor: Rle::new(columns.replaced_actor),
                counter: Delta::new(columns.replaced_counter),
            },
            expand: (!columns.expand.is_empty()).then(|| Bools::new(columns.expand)),
            mark: Rle::new(columns.mark),
            replaced: Vec::new(),
            read: 0,
            replaced_in_all: 0,
        }
    }

    /// The next operation; `None` after the last one, once all columns end with it.
    pub(crate) fn next(&mut self) -> Result<Option<Op<'a>>, Fault> {
        if self.action.is_over() {
            self.end()?;
            return Ok(None);
        }
        if self.read == OPS_MAX {
            return Err(Fault::TooLarge { most: u64::from(OPS_MAX), of: "operations" });
        }
        self.read += 1;
        let object = match (self.objects.actor.next()?, self.objects.counter.next()?) {
            (None, None) => None,
            (Some(actor), Some(counter)) => Some(self.id(actor, i64::try_from(counter).unwrap_or(i64::MAX))?),
            _ => return Err(Fault::Form("an object has half an id")),
        };
        let key = match (self.keys.actor.next()?, self.keys.counter.next()?, self.keys.text.next()?) {
            (None, None, Some(text)) if text.len() > KEY_BYTES_MAX => {
                return Err(Fault::TooLarge { most: KEY_BYTES_MAX as u64, of: "bytes of a key" });
            }
            (None, None, Some(text)) => Key::Text(text),
            (None, Some(0), None) => Key::Head,
            (Some(actor), Some(counter), None) => Key::Element(self.id(actor, counter)?),
            _ => return Err(Fault::Form("a key is neither a text nor an element")),
        };
        let insert = self.insert.next()?;
        let action = self.action.value()?;
        let value = self.value()?;
        self.replaced()?;
        let (expands, mark) =
            (self.expand.as_mut().map(Bools::next).transpose()?.unwrap_or_default(), self.mark.next()?);
        let (is_mark, is_null) = (action == 7, matches!(value, Value::Null));
        if !is_mark && (expands || mark.is_some()) {
            return Err(Fault::Form("an operation that is no mark has the parts of one"));
        }
        let action = match (action, value, mark) {
            (0 | 2 | 3 | 4, _, _) if !is_null => return Err(Fault::Form("an operation without a value has one")),
            (0, ..) => Action::MakeMap,
            (1, Value::Counter(first), _) => Action::PutCounter(first),
            (1, ..) => Action::Put,
            (2, ..) => Action::MakeList,
            (3, ..) => Action::Delete,
            (4, ..) => Action::MakeText,
            (5, Value::Int(by), _) => Action::Increment(by),
            (7, _, Some(name)) => Action::BeginMark(name),
            (7, Value::Null, None) => Action::EndMark,
            _ => return Err(Fault::Form("an operation is of a kind that this version does not know")),
        };
        Ok(Some(Op { object, key, insert, action }))
    }

    /// Checks that all columns end, and that each actor is named.
    fn end(&self) -> Result<(), Fault> {
        self.objects.actor.end()?;
        self.objects.counter.end()?;
        self.keys.actor.end()?;
        self.keys.counter.end()?;
        self.keys.text.end()?;
        self.insert.end()?;
        self.action.end()?;
        self.value_kind.end()?;
        self.replaces.number.end()?;
        self.replaces.actor.end()?;
        self.replaces.counter.end()?;
        self.mark.end()?;
        if let Some(expand) = &self.expand {
            expand.end()?;
            if !expand.has_yes() {
                return Err(Fault::Form("a column has no value"));
            }
        }
        match self.values.is_empty() && self.used.iter().skip(1).all(|used| *used) {
            true => Ok(()),
            false => Err(Fault::Form("it has values or actors that no operation names")),
        }
    }

    fn id(&mut self, actor: u64, counter: i64) -> Result<Id, Fault> {
        let actor = usize::try_from(actor).ok().filter(|actor| *actor < self.actors.len());
        let actor = actor.ok_or(Fault::Bytes("an operation names an actor that is not there"))?;
        if let Some(used) = self.used.get_mut(actor) {
            *used = true;
        }
        let counter = u32::try_from(counter).ok().filter(|counter| *counter > 0);
        Ok(Id { actor, counter: counter.ok_or(Fault::Bytes("the id of an operation is out of range"))? })
    }

    fn replaced(&mut self) -> Result<(), Fault> {
        self.replaced.clear();
        let number = self.replaces.number.value()?;
        self.replaced_in_all = self.replaced_in_all.saturating_add(number);
        if self.replaced_in_all > u64::from(OPS_MAX) {
            return Err(Fault::TooLarge { most: u64::from(OPS_MAX), of: "operations that are replaced" });
        }
        for _ in 0..number {
            let actor = self.replaces.actor.value()?;
            let counter = self.replaces.counter.next()?.ok_or(Fault::Form("a column lacks a value"))?;
            let id = self.id(actor, counter)?;
            let place = |id: &Id| (id.counter, self.actors.get(id.actor).copied().unwrap_or_default());
            if self.replaced.last().is_some_and(|last| place(last) >= place(&id)) {
                return Err(Fault::Form("operations that are replaced are out of order"));
            }
            self.replaced.push(id);
        }
        Ok(())
    }

    /// The next value. The lower four bits of its kind say what it is, the others how many bytes it has.
    fn value(&mut self) -> Result<Value, Fault> {
        const FORM: Fault = Fault::Form("a value has bytes that it does not need");
        let kind = self.value_kind.value()?;
        let bytes = self.values.take(kind >> 4)?;
        let mut reader = Reader::new(bytes);
        let value = match kind & 0xf {
            0..=2 if bytes.is_empty() => {
                if kind == 0 {
                    Value::Null
                } else {
                    Value::Other
                }
            }
            3 => reader.uint().map(|_| Value::Other)?,
            4 => Value::Int(reader.int()?),
            5 if bytes.len() == 8 => return Ok(Value::Other),
            6 => {
                return std::str::from_utf8(bytes)
                    .map(|_| Value::Other)
                    .map_err(|_| Fault::Bytes("a text is no UTF-8"));
            }
            7 => return Ok(Value::Other),
            8 => Value::Counter(reader.int()?),
            9 => reader.int().map(|_| Value::Other)?,
            _ => return Err(Fault::Form("a value is of a kind that this version does not know")),
        };
        if reader.is_empty() { Ok(value) } else { Err(FORM) }
    }
}
