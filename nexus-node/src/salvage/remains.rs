//! The entries in the pages of a damaged store.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nexus_crdt::{Entry, EntryId, LogId, Verified};
use nexus_identity::Did;

use crate::ledger::rows::{self, Eno, EntryRow};
use crate::store::{Carving, Found, Place, Table};

/// The length of the key of an entry and of its payload, in bytes.
const ENO_BYTES: usize = 8;

/// The entries that a file holds, by their numbers.
#[derive(Debug)]
pub(super) struct Remains {
    /// The entries that can be read.
    pub(super) readable: u64,
    /// The entries that are known to be missing.
    pub(super) unreadable: u64,
    /// The latest format of this node's own entries.
    pub(super) own_format: Option<u16>,
    file: Carving,
    mesh: Did,
    me: Did,
    /// A number has several rows where freed pages show former ones.
    entries: Vec<(Eno, Place)>,
    payloads: BTreeMap<Eno, Vec<Place>>,
    /// The seqs from which on own logs are left out: a freed page shows an entry there that was never sent.
    doubled: BTreeMap<LogId, u64>,
}

impl Remains {
    /// Searches a file for entries of a mesh.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn find(path: &Path, mesh: Did, me: Did) -> io::Result<Self> {
        let mut file = Carving::open(path)?;
        let (mut entries, mut payloads) = (Vec::new(), BTreeMap::<Eno, Vec<Place>>::new());
        let may = |key: &[u8]| -> &'static [Table] {
            if key.len() == ENO_BYTES { &[Table::Entries, Table::Payloads] } else { &[] }
        };
        file.rows(&may, &mut |Found { table, key, place, .. }| {
            let Ok(eno) = rows::read_eno(table, key) else { return };
            match table {
                Table::Entries => entries.push((eno, place)),
                _ => payloads.entry(eno).or_default().push(place),
            }
        })?;
        entries.sort_unstable();
        let (readable, unreadable, own_format, doubled) = (0, 0, None, BTreeMap::new());
        let mut remains = Self { readable, unreadable, own_format, file, mesh, me, entries, payloads, doubled };
        remains.survey()?;
        Ok(remains)
    }

    /// Reads all of it once, to know how much there is and which own entries stand against each other.
    fn survey(&mut self) -> io::Result<()> {
        let mut own = BTreeMap::<(LogId, u64), EntryId>::new();
        let (mut last, mut present) = (0, 0);
        for no in 0..self.entries.len() {
            let Some(entry) = self.read(no)? else { continue };
            let (eno, header) = (self.entries[no].0, entry.header());
            if header.author == self.me {
                self.own_format = self.own_format.max(Some(header.format()));
                let other = own.insert((header.log(), header.seq), entry.id());
                if other.is_some_and(|other| other != entry.id()) {
                    let first = self.doubled.entry(header.log()).or_insert(header.seq);
                    *first = header.seq.min(*first);
                }
            }
            // in the order of the numbers, from 1
            present += u64::from(eno > last);
            last = eno;
        }
        self.readable = present;
        // numbers have no holes
        self.unreadable = last.saturating_sub(present);
        Ok(())
    }

    /// An entry with its payload, if its signature holds. One without a payload is of no use: what it says is elsewhere.
    fn read(&mut self, no: usize) -> io::Result<Option<Verified>> {
        let (eno, place) = self.entries[no];
        let key = rows::eno_key(eno);
        let Some(row) = self.file.read(Table::Entries, &key, place)? else { return Ok(None) };
        let Ok(EntryRow { header, signature, .. }) = rows::decode(Table::Entries, &row) else { return Ok(None) };
        let payloads = self.payloads.get(&eno).cloned().unwrap_or_default();
        for place in payloads {
            let payload = self.file.read(Table::Payloads, &key, place)?;
            let entry = Entry::decode(header.clone(), signature, payload);
            if let Ok(entry) = entry.and_then(|entry| entry.verify(&self.mesh)) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The entries in the order of their numbers.
    pub(super) fn entries(mut self) -> impl Iterator<Item = io::Result<Verified>> {
        (0..self.entries.len()).filter_map(move |no| {
            let entry = self.read(no).transpose()?;
            let counts = |entry: &Verified| {
                let (log, seq) = (entry.header().log(), entry.header().seq);
                self.doubled.get(&log).is_none_or(|first| seq < *first)
            };
            entry.as_ref().map_or(true, counts).then_some(entry)
        })
    }
}
