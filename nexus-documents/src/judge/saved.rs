//! A judge as bytes, so that the changes which it accepted need not be judged again.
//!
//! The names of changes are not among the bytes: whoever saves a judge numbers them, and knows the names. Numbers are LEB128.

use std::collections::BTreeMap;

use super::{Accepted, Judge, Kind, Line, Object, Place, Slot, Sum, Written, Wrote};
use crate::change::length;
use crate::clock::Clock;
use crate::hash::ChangeHash;
use crate::reader::Reader;

/// The most lines for which a clock has a place.
const LINES_MAX: u64 = 1 << 24;

fn put(bytes: &mut Vec<u8>, number: u64) {
    // a number of 64 bits is one of a machine, or it is too large for all that a judge accepts
    bytes.extend(length(usize::try_from(number).unwrap_or(usize::MAX)));
}

fn put_sized(bytes: &mut Vec<u8>, part: &[u8]) {
    put(bytes, part.len() as u64);
    bytes.extend_from_slice(part);
}

fn small(reader: &mut Reader<'_>) -> Option<u32> {
    u32::try_from(reader.uint().ok()?).ok()
}

/// A number of things that take at least one byte each.
fn number(reader: &mut Reader<'_>) -> Option<usize> {
    usize::try_from(reader.uint().ok()?).ok().filter(|number| *number <= reader.len())
}

impl Judge {
    /// The judge as bytes. `number` says the number of each change that it accepted; nothing if one has none.
    pub fn save(&self, number: impl Fn(&ChangeHash) -> Option<u64>) -> Option<Vec<u8>> {
        let mut names: Vec<Vec<Option<u64>>> = self.lines.iter().map(|line| vec![None; line.changes.len()]).collect();
        for (hash, (line, place)) in &self.known {
            *names.get_mut(*line as usize)?.get_mut(*place as usize)? = number(hash);
        }
        let mut bytes = Vec::new();
        let mut keys: Vec<(&str, u32)> = self.keys.iter().map(|(key, number)| (&**key, *number)).collect();
        keys.sort_unstable_by_key(|(_, number)| *number);
        put(&mut bytes, keys.len() as u64);
        keys.iter().for_each(|(key, _)| put_sized(&mut bytes, key.as_bytes()));
        put(&mut bytes, self.actors.len() as u64);
        for (actor, lines) in &self.actors {
            put_sized(&mut bytes, actor);
            put(&mut bytes, lines.len() as u64);
            lines.iter().for_each(|line| put(&mut bytes, u64::from(*line)));
        }
        let mut made: Vec<(Place, u32)> = self.made.iter().map(|(place, object)| (*place, *object)).collect();
        made.sort_unstable_by_key(|(_, object)| *object);
        put(&mut bytes, made.len() as u64);
        for (place, object) in made {
            let Object { kind, depth } = *self.objects.get(object as usize)?;
            bytes.push(u8::from(kind == Kind::Sequence));
            for part in [depth, place.line, place.counter] {
                put(&mut bytes, u64::from(part));
            }
        }
        put(&mut bytes, self.lines.len() as u64);
        for (line, names) in self.lines.iter().zip(names) {
            put_line(&mut bytes, line, &names)?;
        }
        Some(bytes)
    }

    /// The judge of such bytes. `name` says the name of each number. Nothing if the bytes are of no judge; they are not trusted
    /// to be of this one, which is for the checksum of whoever keeps them.
    pub fn load(bytes: &[u8], name: impl Fn(u64) -> Option<ChangeHash>) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let from = &mut reader;
        let mut judge = Self::new();
        for key in 0..u32::try_from(number(from)?).ok()? {
            judge.keys.insert(from.text().ok()?.into(), key);
        }
        for _ in 0..number(from)? {
            let actor = from.sized().ok()?;
            let lines = (0..number(from)?).map(|_| small(from)).collect::<Option<Vec<u32>>>()?;
            judge.actors.insert(actor.into(), lines);
        }
        for object in 1..=u32::try_from(number(from)?).ok()? {
            let [kind] = from.array().ok()?;
            let kind = if kind == 0 { Kind::Map } else { Kind::Sequence };
            let (depth, line, counter) = (small(from)?, small(from)?, small(from)?);
            judge.objects.push(Object { kind, depth });
            judge.made.insert(Place { line, counter }, object);
        }
        let mut known = Vec::new();
        for no in 0..u32::try_from(number(from)?).ok()? {
            judge.lines.push(line(from, no, &name, &mut known)?);
        }
        judge.known = BTreeMap::from_iter(known);
        reader.is_empty().then_some(judge)
    }
}

fn put_line(bytes: &mut Vec<u8>, line: &Line, names: &[Option<u64>]) -> Option<()> {
    put(bytes, u64::from(line.before));
    put(bytes, line.changes.len() as u64);
    let (mut last, mut before) = (0, Sum::default());
    let mut clock = &Clock::default();
    for (change, name) in line.changes.iter().zip(names) {
        put(bytes, (*name)?);
        put(bytes, u64::from(change.start.checked_sub(last)?));
        put(bytes, u64::from(change.highest.checked_sub(change.start.saturating_sub(1))?));
        put(bytes, change.own.bytes.checked_sub(before.bytes)?);
        put(bytes, change.own.ops.checked_sub(before.ops)?);
        put(bytes, change.all.bytes);
        put(bytes, change.all.ops);
        let differs = change.clock.differs(clock);
        put(bytes, differs.len() as u64);
        for (place, changes) in differs {
            put(bytes, place as u64);
            put(bytes, u64::from(changes));
        }
        (last, before, clock) = (change.start, change.own, &change.clock);
    }
    put(bytes, line.written.len() as u64);
    let mut last = 0;
    for written in &line.written {
        put(bytes, u64::from(written.first.checked_sub(last)?));
        put(bytes, u64::from(written.number));
        put(bytes, u64::from(written.object));
        let wrote = match written.wrote {
            Wrote::Value => 0,
            Wrote::Counter => 1,
            Wrote::Mark => 2,
        };
        match written.slot {
            Slot::Own => bytes.push(wrote),
            Slot::Key(key) => {
                bytes.push(wrote | 4);
                put(bytes, u64::from(key));
            }
            Slot::Element(place) => {
                bytes.push(wrote | 8);
                put(bytes, u64::from(place.line));
                put(bytes, u64::from(place.counter));
            }
        }
        last = written.first;
    }
    Some(())
}

fn line(
    from: &mut Reader<'_>,
    no: u32,
    name: &impl Fn(u64) -> Option<ChangeHash>,
    known: &mut Vec<(ChangeHash, (u32, u32))>,
) -> Option<Line> {
    let mut line = Line { before: small(from)?, ..Line::default() };
    let (mut last, mut own, mut clock) = (0_u32, Sum::default(), Clock::default());
    for place in 0..u32::try_from(number(from)?).ok()? {
        known.push((name(from.uint().ok()?)?, (no, place)));
        let start = last.checked_add(small(from)?)?;
        let highest = start.saturating_sub(1).checked_add(small(from)?)?;
        own = own.and(Sum { bytes: from.uint().ok()?, ops: from.uint().ok()? });
        let all = Sum { bytes: from.uint().ok()?, ops: from.uint().ok()? };
        for _ in 0..number(from)? {
            let at = from.uint().ok().filter(|at| *at < LINES_MAX)?;
            clock.set(usize::try_from(at).ok()?, small(from)?);
        }
        line.changes.push(Accepted { start, highest, clock: clock.clone(), own, all });
        last = start;
    }
    let mut last = 0_u32;
    for _ in 0..number(from)? {
        let first = last.checked_add(small(from)?)?;
        let (number, object) = (small(from)?, small(from)?);
        let [tag] = from.array().ok()?;
        let wrote = match tag & 3 {
            0 => Wrote::Value,
            1 => Wrote::Counter,
            2 => Wrote::Mark,
            _ => return None,
        };
        let slot = match tag >> 2 {
            0 => Slot::Own,
            1 => Slot::Key(small(from)?),
            2 => Slot::Element(Place { line: small(from)?, counter: small(from)? }),
            _ => return None,
        };
        line.written.push(Written { first, number, object, slot, wrote });
        last = first;
    }
    Some(line)
}
