use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use nexus_identity::claimed;

use crate::entry_id::EntryId;
use crate::error::FormError;
use crate::fields::{Core, FieldSpec};
use crate::json;

/// The most writes of one entry.
pub const WRITES_MAX: usize = 1024;
/// The most dots that one write overwrites. More live values take more writes.
pub const OVER_MAX: usize = 64;
/// The longest field name, in bytes.
pub const FIELD_BYTES_MAX: usize = 64;
/// The longest value, in bytes of JSON.
pub const VALUE_BYTES_MAX: usize = 48 * 1024;
/// The size of a [`Dot`]'s bytes.
pub const DOT_BYTES: usize = 34;

/// The number of bytes of an entry id in a dot's text form.
const TEXT_ID_BYTES: usize = 15;

/// The id of one write: its entry, and its index there. The dot of the write that created a record is
/// the record's id.
///
/// Text form, for people and JSON: the first 15 bytes of the entry id in lower-case base32, then
/// `.index` unless the index is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Dot {
    /// The entry.
    pub entry: EntryId,
    /// The place of the write in the entry, from 0.
    pub index: u16,
}

impl Dot {
    /// Entry id, then index in big-endian order, so that bytes sort as dots do.
    pub fn to_bytes(self) -> [u8; DOT_BYTES] {
        let mut bytes = [0; DOT_BYTES];
        bytes[..32].copy_from_slice(self.entry.as_bytes());
        bytes[32..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// The dot of bytes from [`Dot::to_bytes`]; `None` for another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (entry, index) = bytes.split_first_chunk::<32>()?;
        let index = u16::from_be_bytes(index.try_into().ok()?);
        Some(Self { entry: EntryId::from_bytes(*entry), index })
    }

    /// All bytes in hexadecimal, for `was`, which needs the full id.
    pub fn to_hex(self) -> String {
        HEXLOWER.encode(&self.to_bytes())
    }

    /// The dot of a text from [`Dot::to_hex`].
    pub fn from_hex(text: &str) -> Option<Self> {
        Self::from_bytes(&HEXLOWER.decode(text.as_bytes()).ok()?)
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = BASE32_NOPAD.encode(&self.entry.as_bytes()[..TEXT_ID_BYTES]);
        f.write_str(&id.to_ascii_lowercase())?;
        if self.index > 0 {
            write!(f, ".{}", self.index)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dot({self})")
    }
}

/// A person's form of a [`Dot`]: its text form, or at least its first four characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DotPrefix {
    letters: String,
    index: u16,
}

impl DotPrefix {
    /// The whole bytes with which every matching entry id starts.
    pub fn bytes(&self) -> Vec<u8> {
        let whole = self.letters.len() * 5 / 8;
        let padded = format!("{:a<24}", self.letters).to_ascii_uppercase();
        let mut bytes = BASE32_NOPAD.decode(padded.as_bytes()).unwrap_or_default();
        bytes.truncate(whole);
        bytes
    }

    /// The dot in this entry, if the entry matches.
    pub fn dot_in(&self, entry: EntryId) -> Option<Dot> {
        let text = Dot { entry, index: 0 }.to_string();
        text.starts_with(&self.letters).then_some(Dot { entry, index: self.index })
    }
}

impl FromStr for DotPrefix {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (letters, index) = text.split_once('.').unwrap_or((text, "0"));
        let letters = letters.to_ascii_lowercase();
        let legal = letters.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        let canonical_index = index == "0" || !index.starts_with(['0', '+']);
        if !legal || !(4..=24).contains(&letters.len()) || !canonical_index {
            return Err(());
        }
        Ok(Self { letters, index: index.parse().map_err(|_| ())? })
    }
}

/// A field's name: 1 to [`FIELD_BYTES_MAX`] of `a-z 0-9 _ -`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Field(#[borsh(deserialize_with = "claimed::text")] String);

impl Field {
    /// The content of a new record: one JSON object, [`Core`].
    pub const CORE: &'static str = "core";
    /// `true`: the record is forgotten, whatever other fields hold.
    pub const GONE: &'static str = "gone";
    /// The [`Origin`](crate::Origin) of the other writes to the record in the same entry.
    pub const BY: &'static str = "by";
    /// The text, which every memory has. [`FIELDS`](crate::FIELDS) lists the others.
    pub const TEXT: &'static str = "text";
    /// The blob with the whole text: a [`TextAttachment`](crate::TextAttachment).
    pub const ATTACHMENT: &'static str = "attachment";
    /// The metadata. Older nodes keep an agent's name there.
    pub const META: &'static str = "meta";

    /// A field of this name. [`Writes::decode`] checks the names of others.
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_well_formed(&self) -> bool {
        let legal = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        (1..=FIELD_BYTES_MAX).contains(&self.0.len()) && self.0.bytes().all(legal)
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The record of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Target {
    /// A new record with this write's own dot as its id, on this page of the author's log.
    Create {
        /// The page's number, counted by the author.
        page: u32,
    },
    /// A record that another write created.
    Edit {
        /// That write's dot.
        record: Dot,
    },
}

/// One value for one field of one record, and the writes it replaces.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Write {
    /// The record.
    pub target: Target,
    /// The field; [`Field::CORE`] for a creating write and only for that.
    pub field: Field,
    /// The value: JSON text.
    #[borsh(deserialize_with = "claimed::text")]
    pub value: String,
    /// The writes of this field that the author saw and replaces, ascending. A dot that names no write
    /// of the same field of the same record has no effect.
    pub over: Vec<Dot>,
}

/// The payload of an entry of kind [`crate::Kind::WRITES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Writes(pub Vec<Write>);

impl Writes {
    /// Reads a payload and checks its rules of form.
    ///
    /// # Errors
    /// The first broken rule: the entry is quarantined.
    pub fn decode(payload: Option<&[u8]>) -> Result<Self, FormError> {
        let payload = payload.ok_or(FormError::Absent)?;
        // a write takes at least 13 bytes, so the payload's size bounds the count
        let writes: Self = borsh::from_slice(payload).map_err(|_| FormError::NotCanonical)?;
        writes.check()?;
        Ok(writes)
    }

    /// The canonical bytes.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writes encode")
    }

    pub(crate) fn check(&self) -> Result<(), FormError> {
        if !(1..=WRITES_MAX).contains(&self.0.len()) {
            return Err(FormError::Count { what: "writes", count: self.0.len(), max: WRITES_MAX });
        }
        let mut places = BTreeSet::new();
        for write in &self.0 {
            write.check()?;
            if let Target::Edit { record } = write.target
                && !places.insert((record, write.field.as_str()))
            {
                return Err(FormError::Twice);
            }
        }
        Ok(())
    }
}

impl Write {
    /// The canonical bytes: a leaf of an entry of format 2.
    #[expect(clippy::expect_used, reason = "borsh writes to memory")]
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a write encodes")
    }

    /// How long its canonical encoding is, in bytes.
    pub fn encoded_bytes(&self) -> usize {
        self.value_at() + self.value.len() + 4 + self.over.len() * DOT_BYTES
    }

    /// Where its value begins in its encoding: behind target, field and the value's length.
    pub(crate) fn value_at(&self) -> usize {
        let target = match self.target {
            Target::Create { .. } => 1 + 4,
            Target::Edit { .. } => 1 + DOT_BYTES,
        };
        target + 4 + self.field.as_str().len() + 4
    }

    fn check(&self) -> Result<(), FormError> {
        if !self.field.is_well_formed() {
            return Err(FormError::FieldName);
        }
        if self.over.len() > OVER_MAX {
            return Err(FormError::Count { what: "overwritten writes", count: self.over.len(), max: OVER_MAX });
        }
        if !self.over.is_sorted_by(|a, b| a < b) {
            return Err(FormError::OverOrder);
        }
        if self.value.len() > VALUE_BYTES_MAX {
            return Err(FormError::Count { what: "bytes of a value", count: self.value.len(), max: VALUE_BYTES_MAX });
        }
        let wrong = |why| FormError::Value { field: self.field.as_str().to_owned(), why };
        let creates = matches!(self.target, Target::Create { .. });
        if creates != (self.field.as_str() == Field::CORE) {
            return Err(wrong("a record is created with its core, and the core is written once"));
        }
        if creates && !self.over.is_empty() {
            return Err(wrong("a creating write replaces nothing"));
        }
        if !json::is_strict(&self.value) {
            return Err(wrong("not JSON, or a key twice"));
        }
        let fits = match self.field.as_str() {
            Field::CORE => Core::parse(&self.value).is_some(),
            Field::GONE => self.value == "true",
            name => FieldSpec::editable(name).is_none_or(|field| field.admits(&self.value)),
        };
        fits.then_some(()).ok_or_else(|| wrong("of another type"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dot(n: u8, index: u16) -> Dot {
        Dot { entry: EntryId::from_bytes([n; 32]), index }
    }

    fn create(text: &str) -> Write {
        let core = Core { text: text.to_owned(), kind: "note".to_owned(), ..Core::default() };
        Write {
            target: Target::Create { page: 0 },
            field: Field::named(Field::CORE),
            value: core.to_json(),
            over: vec![],
        }
    }

    fn edit(field: &str, value: &str, over: Vec<Dot>) -> Write {
        Write { target: Target::Edit { record: dot(1, 0) }, field: Field::named(field), value: value.to_owned(), over }
    }

    fn decode(writes: Vec<Write>) -> Result<Writes, FormError> {
        Writes::decode(Some(&Writes(writes).encode()))
    }

    #[test]
    fn what_keeps_the_rules_passes() {
        let writes = vec![create("a"), edit("text", "\"b\"", vec![dot(2, 0), dot(2, 7)]), edit("gone", "true", vec![])];
        assert_eq!(decode(writes.clone()).unwrap().0, writes);
    }

    /// promise: Bad input | Payloads that break a rule of form: quarantined
    #[test]
    fn what_breaks_a_rule_of_form_is_named() {
        let core = |value: &str| Write { value: value.to_owned(), ..create("") };
        let cases = [
            (vec![], "writes"),
            (vec![create("x"); WRITES_MAX + 1], "writes"),
            (vec![edit("Text", "1", vec![])], "field name"),
            (vec![edit("", "1", vec![])], "field name"),
            (vec![edit("text", "\"a\"", vec![]), edit("text", "\"b\"", vec![])], "twice"),
            (vec![edit("text", "\"a\"", vec![dot(2, 0), dot(1, 0)])], "ascending"),
            (vec![edit("text", "\"a\"", vec![dot(2, 0), dot(2, 0)])], "ascending"),
            (vec![edit("text", "\"a\"", (0..65).map(|n| dot(3, n)).collect())], "overwritten writes"),
            (vec![edit("text", "7", vec![])], "another type"),
            (vec![edit("gone", "false", vec![])], "another type"),
            (vec![edit("meta", r#"{"a":1,"a":2}"#, vec![])], "a key twice"),
            (vec![edit("other", "{", vec![])], "not JSON"),
            (vec![edit("core", "{}", vec![])], "written once"),
            (vec![core("[]")], "another type"),
            (vec![core(r#"{"text":7}"#)], "another type"),
            (vec![core(r#"{"was":["id","author",1]}"#)], "another type"),
            (vec![Write { over: vec![dot(1, 1)], ..create("x") }], "replaces nothing"),
            (vec![edit("other", &format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX)), vec![])], "bytes of a value"),
        ];
        for (writes, expected) in cases {
            let error = decode(writes).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error} should mention {expected}");
        }
        assert_eq!(Writes::decode(None), Err(FormError::Absent));
        let mut trailing = Writes(vec![create("x")]).encode();
        trailing.push(0);
        assert_eq!(Writes::decode(Some(&trailing)), Err(FormError::NotCanonical));
    }

    proptest! {
        /// promise: Bad input | Payloads that break a rule of form: quarantined
        #[test]
        fn any_bytes_are_writes_or_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(writes) = Writes::decode(Some(&bytes)) {
                prop_assert_eq!(writes.encode(), bytes);
            }
        }

        /// promise: Bad input | Payloads that break a rule of form: quarantined
        #[test]
        fn a_claimed_count_takes_no_memory_ahead_of_its_bytes(count: u32) {
            let mut bytes = count.to_le_bytes().to_vec();
            bytes.extend([1; 64]);
            let _ = Writes::decode(Some(&bytes));
        }

        /// promise: Entries and memories | A memory is found by any beginning of its id
        #[test]
        fn a_dot_is_found_by_any_beginning_of_its_text(id: [u8; 32], index: u16, letters in 4_usize..=24) {
            let dot = Dot { entry: EntryId::from_bytes(id), index };
            let text = dot.to_string();
            let suffix = if index == 0 { String::new() } else { format!(".{index}") };
            let typed: DotPrefix = format!("{}{suffix}", &text[..letters]).parse().unwrap();
            prop_assert_eq!(typed.dot_in(dot.entry), Some(dot));
            prop_assert!(dot.entry.as_bytes().starts_with(&typed.bytes()));
            prop_assert_eq!(Dot::from_hex(&dot.to_hex()), Some(dot));
        }
    }

    /// promise: Entries and memories | A memory is found by any beginning of its id
    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "abc", "abcd.", "abcd.x", "abcd.01", "abcd.70000", "abc1", "abcd efgh", "abcd.1.2"] {
            assert!(text.parse::<DotPrefix>().is_err(), "{text}");
        }
    }
}
