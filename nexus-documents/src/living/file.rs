//! The changes in a file of Automerge, under bounds.
//!
//! A file is a row of parts: changes, compressed or not, and documents, which have all changes of a document in columns. A few
//! bytes of a column can stand for any number of operations. So the columns are expanded here, under a bound, and their runs are
//! counted, before the library sees them. The changes that it gives are strangers' changes like any others: they are judged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use automerge::Automerge;
use sha2::{Digest, Sha256};

use crate::change::{ACTOR_BYTES_MAX, Change, DEPS_MAX, MAGIC, expand, length};
use crate::error::Fault;
use crate::hash::ChangeHash;
use crate::judge::{ACTORS_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_OPS_MAX};
use crate::living::error::FileError;
use crate::living::guarded;
use crate::reader::Reader;

/// The most bytes of a file that changes are taken from: 16 MiB.
pub const FILE_BYTES_MAX: usize = DOCUMENT_BYTES_MAX as usize;
/// The most bytes of all columns of a file, once they are expanded.
const EXPANDED_MAX: u64 = 4 * DOCUMENT_BYTES_MAX;
/// The most changes of a file. A change that comes after another has some sixty bytes, so this is more than a document can have.
const CHANGES_MAX: u64 = DOCUMENT_BYTES_MAX / 64;
/// The most changes right before others, counted once for each.
const DEPS_IN_ALL_MAX: u64 = DOCUMENT_BYTES_MAX / 32;

const DOCUMENT: u8 = 0;
const PLAIN: u8 = 1;
const COMPRESSED: u8 = 2;

/// The bit of a column's number that says that it is compressed.
const DEFLATED: u64 = 8;

/// The changes in a file, as plain bytes, each after those before it. They are not judged yet.
///
/// # Errors
/// [`FileError`]. A file of strangers takes bounded time and memory, whatever is in it.
pub fn changes_of_file(bytes: &[u8]) -> Result<Vec<Vec<u8>>, FileError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { most: FILE_BYTES_MAX as u64, of: "bytes" });
    }
    if bytes.is_empty() {
        return Err(FileError::Form("it is empty"));
    }
    let found = found_in(bytes)?;
    let missing = found.missing();
    if !missing.is_empty() {
        return Err(FileError::MissingDeps(missing.into_iter().collect()));
    }
    Ok(found.in_order())
}

/// The changes in a row of parts, as in a file. Some may come after changes that are not among them.
///
/// # Errors
/// As [`changes_of_file`], but for [`FileError::MissingDeps`].
pub(crate) fn changes_in(bytes: &[u8]) -> Result<Vec<Vec<u8>>, FileError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { most: FILE_BYTES_MAX as u64, of: "bytes" });
    }
    Ok(found_in(bytes)?.in_order())
}

fn found_in(bytes: &[u8]) -> Result<Found, FileError> {
    let (mut rest, mut left, mut found) = (bytes, Left::default(), Found::default());
    while !rest.is_empty() {
        let (kind, data, part) = split(rest)?;
        rest = rest.get(part.len()..).unwrap_or_default();
        match kind {
            PLAIN | COMPRESSED => found.add(&expand(part)?)?,
            DOCUMENT => {
                checked(part, data)?;
                left.count(data)?;
                for change in loaded(part)? {
                    found.add(&change)?;
                }
            }
            other => return Err(FileError::Kind(other)),
        }
    }
    Ok(found)
}

/// A file of one document from its data, with its length and its checksum. For tests of what reads files.
#[doc(hidden)]
pub fn file_of_document(data: &[u8]) -> Vec<u8> {
    [MAGIC.as_slice(), &checksum(data)[..4], &[DOCUMENT], &length(data.len()), data].concat()
}

/// The first part: its kind, its data, and all of its bytes.
fn split(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), FileError> {
    let mut reader = Reader::new(bytes);
    if reader.array().map_err(form)? != MAGIC {
        return Err(FileError::Form("a part of it does not begin as one"));
    }
    let _checksum: [u8; 4] = reader.array().map_err(form)?;
    let [kind] = reader.array().map_err(form)?;
    let data = reader.sized().map_err(form)?;
    let part = bytes.get(..bytes.len() - reader.len()).unwrap_or_default();
    Ok((kind, data, part))
}

pub(super) fn form(fault: Fault) -> FileError {
    match fault {
        Fault::Bytes(why) | Fault::Form(why) => FileError::Form(why),
        Fault::TooLarge { most, of } => FileError::TooLarge { most, of },
        other => FileError::Change(other),
    }
}

fn checksum(data: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update([DOCUMENT]);
    hasher.update(length(data.len()));
    hasher.update(data);
    hasher.finalize().into()
}

fn checked(part: &[u8], data: &[u8]) -> Result<(), FileError> {
    if part.get(4..8) == checksum(data).get(..4) { Ok(()) } else { Err(FileError::Form("its checksum is wrong")) }
}

fn loaded(part: &[u8]) -> Result<Vec<Vec<u8>>, FileError> {
    let load = || -> Result<Vec<Vec<u8>>, automerge::AutomergeError> {
        let changes = Automerge::load(part)?.get_changes(&[]);
        Ok(changes.iter().map(|change| change.raw_bytes().to_vec()).collect())
    };
    let loaded = guarded(load).map_err(|broken| FileError::Library(broken.to_string()))?;
    loaded.map_err(|error| FileError::Library(error.to_string()))
}

/// The changes that were found.
#[derive(Debug, Default)]
struct Found {
    bytes: u64,
    changes: Vec<(ChangeHash, Vec<ChangeHash>, Vec<u8>)>,
    known: BTreeSet<ChangeHash>,
}

impl Found {
    fn add(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let change = Change::parse(bytes)?;
        if !self.known.insert(change.hash()) {
            return Ok(());
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > DOCUMENT_BYTES_MAX {
            return Err(FileError::TooLarge { most: DOCUMENT_BYTES_MAX, of: "bytes of changes" });
        }
        self.changes.push((change.hash(), change.deps().to_vec(), bytes.to_vec()));
        Ok(())
    }

    /// The changes before others that are not among them.
    fn missing(&self) -> BTreeSet<ChangeHash> {
        let deps = self.changes.iter().flat_map(|(_, deps, _)| deps);
        deps.filter(|dep| !self.known.contains(dep)).copied().collect()
    }

    /// Each after those before it that are among them, and otherwise as they came.
    fn in_order(self) -> Vec<Vec<u8>> {
        let (mut waits, mut after) = (Vec::new(), BTreeMap::<ChangeHash, Vec<usize>>::new());
        let mut ready = BTreeSet::new();
        for (at, (_, deps, _)) in self.changes.iter().enumerate() {
            let deps: Vec<&ChangeHash> = deps.iter().filter(|dep| self.known.contains(dep)).collect();
            waits.push(deps.len());
            if deps.is_empty() {
                ready.insert(at);
            }
            for dep in deps {
                after.entry(*dep).or_default().push(at);
            }
        }
        let mut changes: Vec<_> = self.changes.into_iter().map(Some).collect();
        let mut order = Vec::new();
        while let Some(at) = ready.pop_first() {
            let Some((hash, _, bytes)) = changes.get_mut(at).and_then(Option::take) else { continue };
            order.push(bytes);
            for next in after.remove(&hash).unwrap_or_default() {
                if let Some(left) = waits.get_mut(next) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        ready.insert(next);
                    }
                }
            }
        }
        order
    }
}

/// The rows and bytes to which the documents of a file may still expand.
#[derive(Debug)]
struct Left {
    bytes: u64,
    changes: u64,
    deps: u64,
    ops: u64,
    replaced: u64,
}

impl Default for Left {
    fn default() -> Self {
        Self {
            bytes: EXPANDED_MAX,
            changes: CHANGES_MAX,
            deps: DEPS_IN_ALL_MAX,
            ops: DOCUMENT_OPS_MAX,
            replaced: DOCUMENT_OPS_MAX,
        }
    }
}

/// The bounds on the rows of a table and on those of its groups.
struct Rows<'a> {
    rows: &'a mut u64,
    most_rows: u64,
    rows_of: &'static str,
    grouped: &'a mut u64,
    most_grouped: u64,
    grouped_of: &'static str,
}

impl Left {
    /// Counts what the data of a document expand to.
    fn count(&mut self, data: &[u8]) -> Result<(), FileError> {
        let mut reader = Reader::new(data);
        let actors = number(&mut reader, ACTORS_MAX as u64, "actors")?;
        for _ in 0..actors {
            let actor = reader.sized().map_err(form)?;
            if actor.is_empty() || actor.len() > ACTOR_BYTES_MAX {
                return Err(FileError::TooLarge {
                    most: ACTOR_BYTES_MAX as u64,
                    of: "bytes of an actor's id, or none",
                });
            }
        }
        let heads = number(&mut reader, CHANGES_MAX, "branches")?;
        reader.take(heads.saturating_mul(32)).map_err(form)?;
        let (changes, ops) = (columns(&mut reader)?, columns(&mut reader)?);
        let table = Rows {
            rows: &mut self.changes,
            most_rows: CHANGES_MAX,
            rows_of: "changes",
            grouped: &mut self.deps,
            most_grouped: DEPS_IN_ALL_MAX,
            grouped_of: "changes before others",
        };
        scan(&mut reader, &changes, table, &mut self.bytes)?;
        let table = Rows {
            rows: &mut self.ops,
            most_rows: DOCUMENT_OPS_MAX,
            rows_of: "operations",
            grouped: &mut self.replaced,
            most_grouped: DOCUMENT_OPS_MAX,
            grouped_of: "operations that are replaced",
        };
        scan(&mut reader, &ops, table, &mut self.bytes)
    }
}

pub(super) fn number(reader: &mut Reader<'_>, most: u64, of: &'static str) -> Result<u64, FileError> {
    let number = reader.uint().map_err(form)?;
    if number > most { Err(FileError::TooLarge { most, of }) } else { Ok(number) }
}

/// The numbers of columns, with their bytes.
fn columns(reader: &mut Reader<'_>) -> Result<Vec<(u64, u64)>, FileError> {
    let columns = number(reader, DEPS_MAX as u64, "columns")?;
    let mut found = Vec::new();
    for _ in 0..columns {
        found.push((reader.uint().map_err(form)?, reader.uint().map_err(form)?));
    }
    Ok(found)
}

/// Expands the columns of a table, and counts their rows.
fn scan(reader: &mut Reader<'_>, columns: &[(u64, u64)], table: Rows<'_>, left: &mut u64) -> Result<(), FileError> {
    // columns of a group have rows of their own: as many as the column that counts them says
    let (mut rows, mut group) = (0, None);
    let mut grouped = 0_u64;
    for (spec, bytes) in columns {
        let taken = reader.take(*bytes).map_err(form)?;
        let mut expanded = Vec::new();
        let column = if spec & DEFLATED == 0 {
            taken
        } else {
            let mut inflated = flate2::read::DeflateDecoder::new(taken).take(left.saturating_add(1));
            inflated.read_to_end(&mut expanded).map_err(|_| FileError::Form("a column cannot be expanded"))?;
            &expanded
        };
        *left = left
            .checked_sub(column.len() as u64)
            .ok_or(FileError::TooLarge { most: EXPANDED_MAX, of: "bytes in its columns" })?;
        let (id, kind) = (spec >> 4, spec & 7);
        let is_grouped = group == Some(id) && kind != 0;
        let (most, of) =
            if is_grouped { (table.most_grouped, table.grouped_of) } else { (table.most_rows, table.rows_of) };
        let (counted, sum) = counted(column, kind, most)?.ok_or(FileError::TooLarge { most, of })?;
        if kind == 0 {
            group = Some(id);
            grouped = grouped.saturating_add(sum);
        }
        if is_grouped {
            grouped = grouped.max(counted);
        } else {
            rows = rows.max(counted);
        }
    }
    let over = |most, of| move || FileError::TooLarge { most, of };
    *table.rows = table.rows.checked_sub(rows).ok_or_else(over(table.most_rows, table.rows_of))?;
    *table.grouped = table.grouped.checked_sub(grouped).ok_or_else(over(table.most_grouped, table.grouped_of))?;
    Ok(())
}

/// The rows of a column and, for one of whole numbers, their sum; nothing if there are too many.
fn counted(column: &[u8], kind: u64, most: u64) -> Result<Option<(u64, u64)>, FileError> {
    let mut reader = Reader::new(column);
    let (mut rows, mut sum) = (0_u64, 0_u64);
    if kind == 7 {
        // the bytes of values: the column before it says whose they are
        return Ok(Some((0, 0)));
    }
    while !reader.is_empty() {
        let length = if kind == 4 { 0 } else { reader.int().map_err(form)? };
        let (run, is_literal) = match length {
            0 => (reader.uint().map_err(form)?, false),
            1.. => {
                let value = item(&mut reader, kind)?;
                sum = sum.saturating_add(value.saturating_mul(length.unsigned_abs()));
                (length.unsigned_abs(), false)
            }
            _ => (length.unsigned_abs(), true),
        };
        rows = rows.saturating_add(run);
        if rows > most {
            return Ok(None);
        }
        if is_literal {
            for _ in 0..run {
                sum = sum.saturating_add(item(&mut reader, kind)?);
            }
        }
    }
    Ok(Some((rows, sum)))
}

/// One value of a column, as far as it is a whole number.
fn item(reader: &mut Reader<'_>, kind: u64) -> Result<u64, FileError> {
    match kind {
        3 => reader.int().map(|_| 0),
        5 => reader.sized().map(|_| 0),
        _ => reader.uint(),
    }
    .map_err(form)
}
