//! Rows out of the pages of a database file, whatever state its trees are in.
//!
//! redb keeps rows in leaf pages, which begin at multiples of 4,096 bytes (redb's design document, "Leaf page"). A page is
//! a byte 1, a free byte, the number of rows (u16), the ends of the keys and of the values, the keys, the values. The ends
//! count from the page's beginning (u32). All numbers are little-endian.
//!
//! A row counts if its [seal](super::seal) holds, so a damaged page loses its damaged rows alone. A freed page may show rows
//! of earlier. Bytes within a value may look like a page: their writer chose them, so a caller must check a row as if a
//! stranger had sent it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use super::seal::unseal;
use super::{Table, log_path};

const PAGE_BYTES: usize = 4_096;
const LEAF: u8 = 1;
const LEAF_HEAD_BYTES: usize = 4;
/// The bytes that are searched at once.
const WINDOW_BYTES: usize = 4 << 20;
/// The longest leaf of which all rows are found.
const LEAF_BYTES_MAX: usize = 1 << 20;
/// The first place in the log: behind every place in a database file.
const LOG_BEGIN: u64 = 1 << 62;

/// The place of a row's value in a file, with its seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    at: u64,
    bytes: u32,
}

/// A row that was found.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) table: Table,
    pub(crate) key: &'a [u8],
    pub(crate) place: Place,
}

/// A database file and the log beside it, which are searched for rows. They are only read. Either may be missing.
#[derive(Debug)]
pub(crate) struct Carving {
    main: Option<File>,
    log: Option<File>,
}

impl Carving {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let open = |path: &Path| match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        };
        Ok(Self { main: open(path)?, log: open(&log_path(path))? })
    }

    /// Shows the rows of those tables to which `may` says that a key of theirs may belong, in the order of the file.
    pub(crate) fn rows(
        &mut self,
        may: &dyn Fn(&[u8]) -> &'static [Table],
        see: &mut dyn FnMut(Found<'_>),
    ) -> io::Result<()> {
        self.main.as_mut().map_or(Ok(()), |main| search(main, 0, may, see))?;
        self.log.as_mut().map_or(Ok(()), |log| search(log, LOG_BEGIN, may, see))
    }

    /// Reads a value again.
    pub(crate) fn read(&mut self, table: Table, key: &[u8], place: Place) -> io::Result<Option<Vec<u8>>> {
        let mut stored = vec![0; place.bytes as usize];
        let (file, at) = match (&mut self.log, place.at.checked_sub(LOG_BEGIN)) {
            (Some(log), Some(at)) => (log, at),
            _ => match &mut self.main {
                Some(main) => (main, place.at),
                None => return Ok(None),
            },
        };
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut stored)?;
        Ok(unseal(table, key, &stored).map(<[u8]>::to_vec))
    }
}

/// Shows the rows of a file, whose first byte has this place.
fn search(
    file: &mut File,
    begin: u64,
    may: &dyn Fn(&[u8]) -> &'static [Table],
    see: &mut dyn FnMut(Found<'_>),
) -> io::Result<()> {
    let mut window = Vec::new();
    let mut start = begin;
    file.seek(SeekFrom::Start(0))?;
    loop {
        let wanted = WINDOW_BYTES + LEAF_BYTES_MAX - window.len();
        let read = (&mut *file).take(wanted as u64).read_to_end(&mut window)?;
        let is_last = read < wanted;
        let searched = if is_last { window.len() } else { WINDOW_BYTES };
        for page in (0..searched).step_by(PAGE_BYTES) {
            let rest = &window[page..window.len().min(page + LEAF_BYTES_MAX)];
            rows_of(rest, &mut |key, value| {
                let stored = &rest[value.clone()];
                for &table in may(key) {
                    if unseal(table, key, stored).is_none() {
                        continue;
                    }
                    let at = start + (page + value.start) as u64;
                    // a leaf is shorter than that
                    let Ok(bytes) = u32::try_from(stored.len()) else { continue };
                    see(Found { table, key, place: Place { at, bytes } });
                    return;
                }
            });
        }
        if is_last {
            return Ok(());
        }
        window.drain(..searched);
        start += searched as u64;
    }
}

/// Shows the keys of a leaf, and where their values are. Rows that cannot be are left out.
fn rows_of(page: &[u8], see: &mut dyn FnMut(&[u8], std::ops::Range<usize>)) {
    // values do not overlap: ends that say so would have bytes hashed again and again
    let mut room = page.len();
    for (key, value) in places_of(page).flatten() {
        let (Some(key), Some(bytes)) = (page.get(key), page.get(value.clone()).map(<[u8]>::len)) else { continue };
        let Some(left) = room.checked_sub(bytes) else { return };
        room = left;
        see(key, value);
    }
}

/// The places of keys and values in a leaf; none in another page.
fn places_of(page: &[u8]) -> impl Iterator<Item = Option<(Range<usize>, Range<usize>)>> {
    let rows = match page {
        &[LEAF, _, low, high, ..] => usize::from(u16::from_le_bytes([low, high])),
        _ => 0,
    };
    let number = |at: usize| {
        let bytes = page.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let (keys, values, first) = (LEAF_HEAD_BYTES, LEAF_HEAD_BYTES + 4 * rows, LEAF_HEAD_BYTES + 8 * rows);
    (0..rows).map(move |row| {
        let end_of = |ends: usize, row: usize| number(ends + 4 * row);
        let key_start = if row == 0 { Some(first) } else { end_of(keys, row - 1) };
        let value_start = if row == 0 { end_of(keys, rows - 1) } else { end_of(values, row - 1) };
        Some((key_start?..end_of(keys, row)?, value_start?..end_of(values, row)?))
    })
}

/// The size of a leaf of these keys, with values of these sizes. `None` if they are too many for one.
pub(super) fn leaf_bytes(rows: &[(&[u8], usize)]) -> Option<usize> {
    u16::try_from(rows.len()).ok()?;
    let leaf = rows.iter().fold(LEAF_HEAD_BYTES, |bytes, (key, value)| bytes + 8 + key.len() + value);
    (leaf <= LEAF_BYTES_MAX).then_some(leaf)
}

/// The beginning of a leaf with these keys, up to the values, of which it has the sizes. There is room for so many bytes.
pub(super) fn leaf_of(rows: &[(&[u8], usize)], bytes: usize) -> Vec<u8> {
    let mut leaf = Vec::with_capacity(bytes);
    leaf.extend([LEAF, 0]);
    leaf.extend((rows.len() as u16).to_le_bytes());
    let mut end = LEAF_HEAD_BYTES + 8 * rows.len();
    let sizes = rows.iter().map(|(key, _)| key.len()).chain(rows.iter().map(|(_, value)| *value));
    for bytes in sizes {
        end += bytes;
        leaf.extend((end as u32).to_le_bytes());
    }
    rows.iter().for_each(|(key, _)| leaf.extend(*key));
    leaf
}

/// The rows of a leaf, each `None` if it cannot be.
pub(super) fn rows_of_leaf(leaf: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    places_of(leaf).map(|places| {
        let (key, value) = places?;
        Some((leaf.get(key)?, leaf.get(value)?))
    })
}
