//! The records of projects, as the members of a mesh write them.
//!
//! A record is a memory of a kind of its own, whose text is the project's name and its marks with ` = ` between them. It is
//! indexed by terms that no question has, as a [`group`](super::group) is:
//!
//! | term | to find |
//! |---|---|
//! | `=%MARK:SPACE:AUTHOR:ID` | the records with a mark |
//! | `=%/NAME:SPACE:AUTHOR:ID` | the records with a name, in lower case |

use std::collections::BTreeSet;

use nexus_crdt::Dot;
use nexus_identity::{Did, folded};

use super::PROJECT;
use super::group::{GroupTerm, prefix};
use crate::ledger::rows::SpaceNo;
use crate::project::{MARKS_MAX, Mark, is_name};

/// The longest text of a record, in bytes: longer ones are none.
const TEXT_BYTES_MAX: usize = 2 << 10;
/// The sign between the name and the marks.
const SIGN: &str = " = ";
/// The beginning of the keys of records. No key of a word begins so.
const KEYS: char = '%';

/// A project by its name and its marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProjectRecord {
    pub(crate) name: String,
    pub(crate) marks: BTreeSet<Mark>,
}

impl ProjectRecord {
    /// The record of a memory; `None` if it is none.
    pub(crate) fn read(kind: &str, text: &str) -> Option<Self> {
        if kind != PROJECT || text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut parts = text.split(SIGN);
        let name = parts.next().filter(|name| is_name(name))?.to_owned();
        let marks = parts.map(|mark| mark.parse().ok()).collect::<Option<BTreeSet<Mark>>>()?;
        (1..=MARKS_MAX).contains(&marks.len()).then_some(Self { name, marks })
    }

    /// The text of its memory.
    pub(crate) fn text(&self) -> String {
        let marks = self.marks.iter().map(ToString::to_string);
        std::iter::once(self.name.clone()).chain(marks).collect::<Vec<_>>().join(SIGN)
    }

    /// The caller's key of its memory: an author has one record for a name.
    pub(crate) fn key(&self, author: &Did) -> String {
        format!("{PROJECT}:{}:{}", self.name, author.short())
    }

    /// The terms under which it is indexed, separated by spaces, and their number.
    pub(super) fn terms(&self, space: SpaceNo, author: &Did, record: &Dot) -> (String, usize) {
        let of = GroupTerm::of(space, author, record);
        let keys = self.marks.iter().map(key_of_mark).chain([key_of_name(&self.name)]);
        let terms: Vec<String> = keys.map(|key| format!("{}{of}", prefix(&key))).collect();
        (terms.join(" "), terms.len())
    }
}

/// The key of the records with a mark.
pub(crate) fn key_of_mark(mark: &Mark) -> String {
    format!("{KEYS}{mark}")
}

/// The key of the records with a name. It holds no sign that ends a term.
pub(crate) fn key_of_name(name: &str) -> String {
    format!("{KEYS}/{}", data_encoding::HEXLOWER.encode(folded(name).as_bytes()))
}

/// Whether the words of a document are the terms of a record.
pub(super) fn is_record(words: &str) -> bool {
    words.starts_with(&format!("={KEYS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_is_written_and_nothing_else_is_one() {
        let marks = ["remote:a", "commit:b"].map(|of| Mark::of(of.as_bytes()));
        let record = ProjectRecord { name: "acme/shop".to_owned(), marks: marks.into() };
        assert_eq!(ProjectRecord::read(PROJECT, &record.text()), Some(record.clone()));
        let mark = marks[0];
        for text in [
            "shop".to_owned(),
            format!("shop = {mark} = x"),
            format!(" = {mark}"),
            format!("a\nb = {mark}"),
            format!("shop={mark}"),
            format!("{} = {mark}", "x".repeat(129)),
            format!("shop{}", format!(" = {mark}").repeat(100)),
        ] {
            assert_eq!(ProjectRecord::read(PROJECT, &text), None, "{text}");
        }
        assert_eq!(ProjectRecord::read("note", &record.text()), None);
        // of marks that are the same there is one
        assert_eq!(ProjectRecord::read(PROJECT, &format!("shop = {mark} = {mark}")).unwrap().marks.len(), 1);
    }
}
