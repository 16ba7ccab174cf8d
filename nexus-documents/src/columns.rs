//! Columns of a change: values in runs, as Automerge writes them, and in no other form.
//!
//! A run says how often a value comes, so few bytes can stand for any number of values. Values are read one by one, and
//! whoever reads them stops at a bound.

use crate::error::Fault;
use crate::reader::Reader;

/// A value of a column.
pub(crate) trait Item<'a>: Copy + PartialEq {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault>;
}

impl Item<'_> for u64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.uint()
    }
}

impl Item<'_> for i64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.int()
    }
}

impl<'a> Item<'a> for &'a str {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.text()
    }
}

const TORN: Fault = Fault::Form("a run of values is torn");

/// The run that is being read.
#[derive(Clone, Copy, Debug)]
enum Run<T> {
    /// Before the first one.
    None,
    Nulls,
    /// One value, again and again.
    Repeat(T),
    /// Values that differ from their neighbours, with the last one that was read.
    Literals(Option<T>),
}

/// Values in runs. A column that is not there has only nulls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rle<'a, T> {
    rest: Reader<'a>,
    run: Run<T>,
    left: u64,
    is_there: bool,
    has_values: bool,
}

impl<'a, T: Item<'a>> Rle<'a, T> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        let rest = Reader::new(bytes);
        Self { rest, run: Run::None, left: 0, is_there: !rest.is_empty(), has_values: false }
    }

    /// Whether all values have been read.
    pub(crate) const fn is_over(&self) -> bool {
        self.left == 0 && self.rest.is_empty()
    }

    /// Checks that the column ends here.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        match self.is_over() && (self.has_values || !self.is_there) {
            true => Ok(()),
            false => Err(Fault::Form("a column is longer than the others, or has no value")),
        }
    }

    /// The next value, which may be null.
    pub(crate) fn next(&mut self) -> Result<Option<T>, Fault> {
        if !self.is_there {
            return Ok(None);
        }
        if self.left == 0 {
            self.begin()?;
        }
        self.left -= 1;
        match &mut self.run {
            Run::None | Run::Nulls => Ok(None),
            Run::Repeat(value) => Ok(Some(*value)),
            Run::Literals(last) => {
                let value = T::read(&mut self.rest)?;
                if last.replace(value) == Some(value) {
                    return Err(TORN);
                }
                Ok(Some(value))
            }
        }
    }

    /// The next value.
    pub(crate) fn value(&mut self) -> Result<T, Fault> {
        self.next()?.ok_or(Fault::Form("a column lacks a value"))
    }

    /// Begins the next run. Neighbours that could be one run are not in Automerge's form.
    fn begin(&mut self) -> Result<(), Fault> {
        if self.rest.is_empty() {
            return Err(Fault::Form("a column is shorter than the others"));
        }
        let length = self.rest.int()?;
        let last = match &self.run {
            Run::None | Run::Nulls => None,
            Run::Repeat(value) => Some(*value),
            Run::Literals(last) => *last,
        };
        self.left = length.unsigned_abs();
        self.run = match length {
            2.. => {
                let value = T::read(&mut self.rest)?;
                if last == Some(value) {
                    return Err(TORN);
                }
                Run::Repeat(value)
            }
            1 => return Err(TORN),
            0 => {
                self.left = self.rest.uint()?;
                if matches!(self.run, Run::Nulls) || self.left == 0 {
                    return Err(TORN);
                }
                Run::Nulls
            }
            _ if matches!(self.run, Run::Literals(_)) => return Err(TORN),
            _ => Run::Literals(last),
        };
        self.has_values |= !matches!(self.run, Run::Nulls);
        Ok(())
    }
}

/// Numbers as their distances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delta<'a> {
    distances: Rle<'a, i64>,
    last: i64,
}

impl<'a> Delta<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { distances: Rle::new(bytes), last: 0 }
    }

    pub(crate) fn next(&mut self) -> Result<Option<i64>, Fault> {
        let Some(distance) = self.distances.next()? else { return Ok(None) };
        self.last = self.last.checked_add(distance).ok_or(Fault::Bytes("a number is too large"))?;
        Ok(Some(self.last))
    }

    pub(crate) fn end(&self) -> Result<(), Fault> {
        self.distances.end()
    }
}

/// Yes and no in turn, each with the number of times; no comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bools<'a> {
    rest: Reader<'a>,
    value: bool,
    left: u64,
    is_first: bool,
    has_yes: bool,
}

impl<'a> Bools<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: Reader::new(bytes), value: true, left: 0, is_first: true, has_yes: false }
    }

    pub(crate) fn next(&mut self) -> Result<bool, Fault> {
        while self.left == 0 {
            if self.rest.is_empty() {
                return Err(Fault::Form("a column is shorter than the others"));
            }
            self.left = self.rest.uint()?;
            self.value = !self.value;
            if self.left == 0 && !self.is_first {
                return Err(TORN);
            }
            self.is_first = false;
        }
        self.left -= 1;
        self.has_yes |= self.value;
        Ok(self.value)
    }

    pub(crate) fn end(&self) -> Result<(), Fault> {
        match self.left == 0 && self.rest.is_empty() {
            true => Ok(()),
            false => Err(Fault::Form("a column is longer than the others")),
        }
    }

    pub(crate) const fn has_yes(&self) -> bool {
        self.has_yes
    }
}
