use std::collections::BTreeMap;

use automerge::SaveOptions;
use nexus_crdt::{Dot, LogId, PageWrite, PlacedWrite, SpaceId, Target, Verified, project, writes_of};

use crate::NodeError;
use crate::ledger::rows::{self, EntryRow, Standing};
use crate::ledger::{self, enos_of_log};
use crate::memory::Page;
use crate::store::{StoreError, Table, View};

/// Names a page of a space: the author's log and the number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PageName {
    log: LogId,
    number: u32,
}

/// The pages of a space, of which some were handed out.
pub(crate) struct Pages(BTreeMap<PageName, Vec<PageWrite>>);

impl Pages {
    /// All pages of a space as it is now.
    pub(super) fn read(view: &dyn View, space: SpaceId) -> Result<Self, StoreError> {
        Ok(Self(writes_by_page(view, space)?))
    }

    /// The next page as an Automerge document: Takes long for a large page.
    pub(crate) fn next(&mut self) -> Result<Option<Page>, NodeError> {
        let Some((place, writes)) = self.0.pop_first() else { return Ok(None) };
        let document =
            project(writes).map_err(|error| NodeError::Invalid(format!("page does not project: {error}")))?;
        let name = format!("{}-{}-{}", place.log.author.short(), hex(&place.log.incarnation.0), place.number);
        let options = SaveOptions { deflate: true, ..SaveOptions::default() };
        Ok(Some(Page { name, automerge: document.save_with_options(options) }))
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// All writes of a space that count, by the page of their record. Edits of records that are not
/// here belong to no page yet.
fn writes_by_page(view: &dyn View, space: SpaceId) -> Result<BTreeMap<PageName, Vec<PageWrite>>, StoreError> {
    let mut page_of: BTreeMap<Dot, PageName> = BTreeMap::new();
    let mut writes = Vec::new();
    for (no, log, _) in ledger::read_logs(view)?.into_iter().filter(|(_, log, _)| log.space == space) {
        for eno in enos_of_log(view, no, 0, u64::MAX)? {
            let Some(entry) = applied(view, eno)? else { continue };
            for PlacedWrite { index, write, .. } in writes_of(&entry).unwrap_or_default() {
                let dot = Dot { entry: entry.id(), index };
                let record = match write.target {
                    Target::Create { page } => {
                        page_of.insert(dot, PageName { log, number: page });
                        dot
                    }
                    Target::Edit { record } => record,
                };
                writes.push(PageWrite { dot, record, field: write.field, value: write.value, over: write.over });
            }
        }
    }
    let mut pages: BTreeMap<PageName, Vec<PageWrite>> = BTreeMap::new();
    for write in writes {
        if let Some(page) = page_of.get(&write.record) {
            pages.entry(*page).or_default().push(write);
        }
    }
    Ok(pages)
}

fn applied(view: &dyn View, eno: u64) -> Result<Option<Verified>, StoreError> {
    let Some(row) = view.get(Table::Entries, &rows::eno_key(eno))? else {
        return Ok(None);
    };
    if ledger::standing(view, eno)? != Standing::Applied {
        return Ok(None);
    }
    let row: EntryRow = rows::decode(Table::Entries, &row)?;
    let payload = view.get(Table::Payloads, &rows::eno_key(eno))?;
    row.into_entry(payload).map(Some)
}
