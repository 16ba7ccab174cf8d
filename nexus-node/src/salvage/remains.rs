//! The entries in the pages of a damaged store.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use nexus_crdt::{Entry, EntryId, Header, Leaves, LogId, Verified, payload_hash};
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
    /// The payloads that headers name, by number and hash. A payload of freed pages or of a stranger's bytes costs no entry
    /// more than one look.
    payloads: BTreeMap<(Eno, [u8; 32]), Place>,
    /// The seqs from which on own logs are left out: a freed page shows an entry there that was never sent.
    doubled: BTreeMap<LogId, u64>,
    /// The values that were read.
    #[cfg(test)]
    reads: usize,
}

impl Remains {
    /// Searches a file for entries of a mesh.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn find(path: &Path, mesh: Did, me: Did) -> io::Result<Self> {
        let mut file = Carving::open(path)?;
        let (mut entries, mut payloads) = (Vec::new(), Vec::new());
        let may = |key: &[u8]| -> &'static [Table] {
            if key.len() == ENO_BYTES { &[Table::Entries, Table::Payloads] } else { &[] }
        };
        file.rows(&may, &mut |Found { table, key, place, .. }| {
            let Ok(eno) = rows::read_eno(table, key) else { return };
            match table {
                Table::Entries => entries.push((eno, place)),
                _ => payloads.push((eno, place)),
            }
        })?;
        entries.sort_unstable();
        let (readable, unreadable, own_format, doubled) = (0, 0, None, BTreeMap::new());
        let mut remains = Self {
            readable,
            unreadable,
            own_format,
            file,
            mesh,
            me,
            entries,
            payloads: BTreeMap::new(),
            doubled,
            #[cfg(test)]
            reads: 0,
        };
        remains.index(payloads)?;
        remains.survey()?;
        Ok(remains)
    }

    /// Finds the payload of each header. Every row is read once, however many have the same number: a member can plant
    /// rows in the bytes of its payloads.
    fn index(&mut self, payloads: Vec<(Eno, Place)>) -> io::Result<()> {
        let mut named = BTreeSet::new();
        for no in 0..self.entries.len() {
            let header = self.row(no)?.and_then(|row| Header::decode(&row.header).ok());
            named.extend(header.map(|header| (self.entries[no].0, header.payload_hash)));
        }
        for (eno, place) in payloads {
            let Some(payload) = self.value(Table::Payloads, eno, place)? else { continue };
            let root = Leaves::decode(&payload).ok().map(|leaves| leaves.root());
            for hash in root.into_iter().chain([payload_hash(&payload)]) {
                if named.contains(&(eno, hash)) {
                    self.payloads.entry((eno, hash)).or_insert(place);
                }
            }
        }
        Ok(())
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

    fn value(&mut self, table: Table, eno: Eno, place: Place) -> io::Result<Option<Vec<u8>>> {
        #[cfg(test)]
        {
            self.reads += 1;
        }
        self.file.read(table, &rows::eno_key(eno), place)
    }

    fn row(&mut self, no: usize) -> io::Result<Option<EntryRow>> {
        let (eno, place) = self.entries[no];
        let row = self.value(Table::Entries, eno, place)?;
        Ok(row.and_then(|row| rows::decode(Table::Entries, &row).ok()))
    }

    /// An entry with its payload, if its signature holds. One without a payload is of no use: what it says is elsewhere.
    fn read(&mut self, no: usize) -> io::Result<Option<Verified>> {
        let eno = self.entries[no].0;
        let Some(EntryRow { header, signature, .. }) = self.row(no)? else { return Ok(None) };
        let Ok(Header { payload_hash, .. }) = Header::decode(&header) else { return Ok(None) };
        let Some(place) = self.payloads.get(&(eno, payload_hash)).copied() else { return Ok(None) };
        let payload = self.value(Table::Payloads, eno, place)?;
        let entry = Entry::decode(header, signature, payload).and_then(|entry| entry.verify(&self.mesh));
        Ok(entry.ok().filter(|entry| entry.payload().is_some()))
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

#[cfg(test)]
mod tests {
    use nexus_crdt::{Content, Draft, Hlc, Incarnation, Kind, SpaceId};
    use nexus_identity::Keypair;

    use super::*;
    use crate::store::{Batch, Store, StoreOptions};

    /// promise: Bad input | Rows that a member plants make the salvage of a store longer by their own length alone
    #[test]
    fn rows_planted_under_one_number_are_read_a_few_times_each() {
        const PLANTED: usize = 40;
        let (key, home) = (Keypair::from_seed(&[1; 32]), tempfile::tempdir().unwrap());
        let space = SpaceId::mesh(&key.did());
        // pages of several stores in one file: many rows, all with the number 1
        let mut image = Vec::new();
        for no in 0..PLANTED {
            let log = LogId { space, author: key.did(), incarnation: Incarnation((no as u64).to_be_bytes()) };
            let draft = Draft {
                mesh: key.did(),
                log,
                after: None,
                hlc: Hlc(1),
                kind: Kind(0),
                refs: Vec::new(),
                payload: Content::Whole(format!("payload {no}").into_bytes()),
            };
            let entry = Verified::write(draft, &key);
            let (header, signature) = (entry.header_bytes().to_vec(), *entry.signature());
            let mut batch = Batch::new();
            let row = EntryRow { log: 0, seq: 0, header, signature };
            batch.put(Table::Entries, &rows::eno_key(1), &rows::encode(&row));
            batch.put(Table::Payloads, &rows::eno_key(1), entry.payload().unwrap());
            let path = home.path().join(no.to_string());
            let store = Store::open(&path, StoreOptions::default()).unwrap();
            store.commit(&[batch]).unwrap();
            store.close();
            image.extend(std::fs::read(&path).unwrap());
        }
        let path = home.path().join("image");
        std::fs::write(&path, image).unwrap();
        let mut remains = Remains::find(&path, key.did(), Keypair::from_seed(&[2; 32]).did()).unwrap();
        assert!(remains.entries.len() >= PLANTED, "{} were found", remains.entries.len());
        assert!(remains.reads <= 6 * remains.entries.len(), "{} reads", remains.reads);
        for no in 0..remains.entries.len() {
            assert!(remains.read(no).unwrap().is_some(), "each finds its own payload");
        }
    }
}
