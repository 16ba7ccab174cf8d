//! Blobs to which entries refer, and who may read them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use nexus_crdt::{
    Core, Dot, Entry, Field, Kind, LogId, Members, PlacedTaskEvent, PlacedWrite, Target, TextAttachment,
    task_events_of, writes_of,
};
use nexus_identity::Did;

use super::rows::{self, EntryRow, decode, unreadable};
use super::view::{find_entry, find_space, has_any};
use crate::store::{Order, StoreError, Table, View};

/// The most references to a blob that are looked at. A blob with more, all of them in spaces that a member does not read, is
/// refused to it.
const LOOKED_AT_MAX: usize = 1_024;

/// Whether an entry refers to a blob.
pub(crate) fn is_attached(view: &dyn View, blob: &[u8; 32]) -> Result<bool, StoreError> {
    has_any(view, Table::BlobRefs, blob)
}

/// The blobs to which an entry refers.
pub(crate) fn attached_to(entry: &Entry) -> BTreeSet<[u8; 32]> {
    let mut blobs = BTreeSet::new();
    match entry.header().kind {
        Kind::WRITES => {
            for PlacedWrite { write, .. } in writes_of(entry).unwrap_or_default() {
                let attachment = match write.target {
                    Target::Create { .. } => Core::parse(&write.value).and_then(|core| core.attachment),
                    Target::Edit { .. } => attachment_in(write.field.as_str(), &write.value),
                };
                blobs.extend(attachment.map(|attachment| *attachment.blob()));
            }
        }
        kind if kind.is_tasks() => {
            for PlacedTaskEvent { event, .. } in task_events_of(entry).unwrap_or_default() {
                blobs.extend(event.attachment().map(|attachment| *attachment.blob()));
            }
        }
        _ => {}
    }
    blobs
}

/// The attachment that a write of a field says.
pub(crate) fn attachment_in(field: &str, value: &str) -> Option<TextAttachment> {
    (field == Field::ATTACHMENT).then(|| serde_json::from_str(value).ok()).flatten()
}

/// Whether a member may have a blob of this node: it reads a space in which somebody else refers to it. A blob to which nobody
/// else refers was added openly: every member that names its hash may have it. A member's own references do not count, since
/// it can write one for any hash.
pub(crate) fn may_have(view: &dyn View, members: &Members, peer: &Did, blob: &[u8; 32]) -> Result<bool, StoreError> {
    let (mut others, mut may) = (0, false);
    view.try_scan_prefix(Table::BlobRefs, blob, Order::Forward, &mut |key, _| {
        let dot = rows::dot_at_end(key).ok_or_else(|| unreadable(Table::BlobRefs))?;
        let Some(log) = log_of(view, dot)?.filter(|log| log.author != *peer) else {
            return Ok(ControlFlow::Continue(()));
        };
        others += 1;
        let rule = find_space(view, log.space)?.map(|row| row.rule(log.space));
        may = rule.is_some_and(|rule| members.may_read(peer, &rule));
        let is_over = may || others >= LOOKED_AT_MAX;
        Ok(if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(may || others == 0)
}

/// The log of an entry that is here.
fn log_of(view: &dyn View, dot: Dot) -> Result<Option<LogId>, StoreError> {
    let Some(eno) = find_entry(view, dot.entry)? else { return Ok(None) };
    let Some(row) = view.get(Table::Entries, &rows::eno_key(eno))? else { return Ok(None) };
    let log = decode::<EntryRow>(Table::Entries, &row)?.log;
    let row = view.get(Table::Logs, &rows::log_key(log))?.ok_or_else(|| unreadable(Table::Logs))?;
    decode(Table::Logs, &row).map(Some)
}

#[cfg(test)]
mod tests {
    use nexus_crdt::{EntryId, HIDDEN_FROM_READERS, Incarnation, SpaceId};
    use nexus_identity::{Chain, Claims, Keypair, Role, Signature, Timestamp};

    use super::super::rows::SpaceRow;
    use super::*;
    use crate::store::{Batch, Store};

    const BLOB: [u8; 32] = [9; 32];
    const MESH: u8 = 0;
    const MEMBER: u8 = 2;
    const OTHER: u8 = 3;
    const READER: u8 = 4;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn members() -> Members {
        let claims = |issuer: u8, subject: u8, role| {
            let (mesh, name) = (key(MESH).did(), format!("n{subject}").parse().unwrap());
            Claims::new(mesh, key(subject).did(), name, [role], Timestamp::from_ms(1)).issued_by(key(issuer).did())
        };
        let founder = Chain::found(claims(MESH, 1, Role::Admin).sign(&key(MESH))).unwrap();
        let mut members = Members::of(key(MESH).did());
        for (subject, role) in [(MEMBER, Role::Member), (OTHER, Role::Member), (READER, Role::Reader)] {
            members.admit(&founder.extend(claims(1, subject, role).sign(&key(1))).unwrap()).unwrap();
        }
        members
    }

    fn space(is_hidden: bool) -> SpaceId {
        SpaceId::from_bytes([u8::from(is_hidden) + 1; 32])
    }

    /// A store with two spaces, an open one and one that readers do not read, and references to the blob: by whom, and whether in
    /// the hidden one.
    fn store(references: &[(u8, bool)]) -> Store {
        let (store, mut batch) = (Store::memory().unwrap(), Batch::new());
        for is_hidden in [false, true] {
            let access = if is_hidden { HIDDEN_FROM_READERS } else { 0 };
            let (no, name, author) = (u32::from(is_hidden) + 5, "council".parse().unwrap(), key(MEMBER).did());
            let row = SpaceRow { no, name, access, author, records: 0, entries: 0, bytes: 0, cut: false };
            batch.put(Table::Spaces, space(is_hidden).as_bytes(), &rows::encode(&row));
        }
        for (n, (author, is_hidden)) in (1_u16..).zip(references) {
            let mut id = [7; 32];
            id[..2].copy_from_slice(&n.to_be_bytes());
            let (id, eno, no) = (EntryId::from_bytes(id), u64::from(n), u32::from(n));
            let incarnation = Incarnation([1; 8]);
            let log = LogId { space: space(*is_hidden), author: key(*author).did(), incarnation };
            let row = EntryRow { log: no, seq: 0, header: Vec::new(), signature: Signature::from_bytes([0; 64]) };
            batch.put(Table::Ids, id.as_bytes(), &rows::eno_key(eno));
            batch.put(Table::Entries, &rows::eno_key(eno), &rows::encode(&row));
            batch.put(Table::Logs, &rows::log_key(no), &rows::encode(&log));
            batch.put(Table::BlobRefs, &rows::blob_ref_key(&BLOB, Dot { entry: id, index: 0 }), &[]);
        }
        store.commit(&[batch]).unwrap();
        store
    }

    fn may(references: &[(u8, bool)]) -> [bool; 2] {
        let (store, members) = (store(references), members());
        let view = store.snapshot().unwrap();
        [MEMBER, READER].map(|peer| may_have(&view, &members, &key(peer).did(), &BLOB).unwrap())
    }

    /// promise: Blobs | A member has a blob of others if it reads a space in which somebody else refers to it, or if nobody else does
    #[test]
    fn a_blob_is_for_those_that_read_a_space_in_which_another_refers_to_it() {
        let (hidden, open) = (true, false);
        assert_eq!(may(&[]), [true, true], "it was added openly");
        assert_eq!(may(&[(OTHER, open)]), [true, true]);
        assert_eq!(may(&[(OTHER, hidden)]), [true, false]);
        assert_eq!(may(&[(OTHER, hidden), (MEMBER, open)]), [true, true], "one space is enough");
        assert_eq!(may(&[(OTHER, hidden), (READER, open)]), [true, false], "its own word opens nothing");
        assert_eq!(may(&[(READER, open)]), [true, true], "nobody else refers to it");
        let many: Vec<(u8, bool)> = (0..LOOKED_AT_MAX).map(|_| (OTHER, hidden)).collect();
        assert_eq!(may(&many), [true, false]);
    }
}
