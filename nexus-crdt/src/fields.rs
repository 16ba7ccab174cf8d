//! The fields of a memory: one table for writing, checking, folding and showing them.
//!
//! To add a field, add a member to [`Core`] and a row to [`FIELDS`]; what remains is how it is
//! shown. Older nodes keep a field that they do not know, whatever its value. So a new one is
//! lenient: a value of another type counts as absent, and quarantines nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::attachment::TextAttachment;
use crate::origin::{AgentName, Origin, Source, lenient};

/// The value of a record's `core` field: what the record is created with. Members that this
/// version does not know are left alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Core {
    /// The text.
    pub text: String,
    /// The blob with the whole text, if this is a beginning.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub attachment: Option<TextAttachment>,
    /// The kind, `note` unless given.
    #[serde(default = "note")]
    pub kind: String,
    /// Tags, as given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Metadata, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, Value>,
    /// Other words by which somebody may look for it.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient")]
    pub aliases: Vec<String>,
    /// The key (`--id`): a live record of the space that has it is edited instead of doubled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The time of expiry, in milliseconds since the epoch; judged when it is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// The time from which it holds, in milliseconds since the epoch; none if nobody said.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub valid_from: Option<u64>,
    /// The time from which it no longer holds, in milliseconds since the epoch; none while it does.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub valid_to: Option<u64>,
    /// The id of the record that it replaces.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub supersedes: Option<String>,
    /// The former record, if this one is a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<Was>,
    /// The proof of who wrote its text in another mesh, in base64: see [`check_proof`](crate::check_proof).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub proof: Option<String>,
    /// The program that wrote it, by its own name.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub agent: Option<AgentName>,
    /// The source.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub source: Option<Source>,
}

/// A field of a memory: a row of [`FIELDS`].
#[derive(Clone, Copy, Debug)]
pub struct FieldSpec {
    /// Its name, as a member of a [`Core`] and as the field of a later write.
    pub name: &'static str,
    /// Whether later writes replace its value. A write to another field is kept, and has no meaning.
    pub editable: bool,
    /// Whether a value of another type breaks a rule of form. If not, it counts as absent.
    pub strict: bool,
    get: fn(&Core) -> Value,
    set: fn(&mut Core, Value) -> bool,
    admits: fn(&str) -> bool,
    is_said: fn(&Core) -> bool,
}

macro_rules! row {
    ($name:ident, editable: $editable:expr, strict: $strict:expr) => {
        FieldSpec {
            name: stringify!($name),
            editable: $editable,
            strict: $strict,
            get: |core| to_value(&core.$name),
            set: |core, value| match serde_json::from_value(value) {
                Ok(value) => {
                    core.$name = value;
                    true
                }
                Err(_) => false,
            },
            admits: |text| match serde_json::from_str(text) {
                Ok(value) => {
                    // names the type that the text is to be of
                    let _ = Core { $name: value, ..Core::default() };
                    true
                }
                Err(_) => false,
            },
            is_said: |core| core.$name.is_said(),
        }
    };
}

/// All fields, in the order in which they are shown.
pub static FIELDS: &[FieldSpec] = &[
    row!(text, editable: true, strict: true),
    row!(attachment, editable: true, strict: false),
    row!(kind, editable: true, strict: true),
    row!(tags, editable: true, strict: true),
    row!(meta, editable: true, strict: true),
    row!(aliases, editable: true, strict: false),
    row!(expires_at, editable: true, strict: true),
    row!(valid_from, editable: true, strict: false),
    row!(valid_to, editable: true, strict: false),
    row!(supersedes, editable: true, strict: false),
    row!(key, editable: false, strict: true),
    row!(was, editable: false, strict: true),
    row!(proof, editable: false, strict: false),
    row!(agent, editable: false, strict: false),
    row!(source, editable: false, strict: false),
];

impl FieldSpec {
    /// The editable field of a name.
    pub fn editable(name: &str) -> Option<&'static Self> {
        FIELDS.iter().find(|field| field.editable && field.name == name)
    }

    /// Whether a JSON text may stand in a later write of this field. If not, its entry is quarantined.
    pub fn admits(&self, text: &str) -> bool {
        !self.strict || (self.admits)(text)
    }

    /// The value that a later write says; what an empty core has, if it counts as absent. `None` for
    /// a text that [`admits`](Self::admits) refuses.
    pub fn read(&self, text: &str) -> Option<Value> {
        match (self.admits)(text) {
            true => serde_json::from_str(text).ok(),
            false => (!self.strict).then(|| (self.get)(&Core::default())),
        }
    }

    /// Its value in a core.
    pub fn get(&self, core: &Core) -> Value {
        (self.get)(core)
    }

    /// Puts a value into a core. Returns false, and changes nothing, if it is of another type.
    #[must_use]
    pub fn set(&self, core: &mut Core, value: Value) -> bool {
        (self.set)(core, value)
    }

    /// Whether a core says anything of it: text and kind always, others if they are not empty.
    pub fn is_said(&self, core: &Core) -> bool {
        (self.is_said)(core)
    }
}

#[expect(clippy::expect_used, reason = "texts, numbers and JSON values have a JSON form")]
fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("a field has a JSON form")
}

/// A member of a core, said or left out.
trait Member {
    fn is_said(&self) -> bool;
}

impl Member for String {
    fn is_said(&self) -> bool {
        true
    }
}

impl<T> Member for Vec<T> {
    fn is_said(&self) -> bool {
        !self.is_empty()
    }
}

impl<K, V> Member for BTreeMap<K, V> {
    fn is_said(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> Member for Option<T> {
    fn is_said(&self) -> bool {
        self.is_some()
    }
}

fn note() -> String {
    "note".to_owned()
}

impl Core {
    /// Reads a core; `None` if the text is not an object whose strict members have their types.
    pub fn parse(value: &str) -> Option<Self> {
        value.starts_with('{').then(|| serde_json::from_str(value).ok()).flatten()
    }

    /// The JSON text, as a creating write holds it.
    #[expect(clippy::expect_used, reason = "strings and JSON values have a JSON form")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a core has a JSON form")
    }

    /// The value of a field by name; null for a name that is in no row of [`FIELDS`].
    pub fn get(&self, field: &str) -> Value {
        FIELDS.iter().find(|known| known.name == field).map_or(Value::Null, |known| known.get(self))
    }

    /// Its origin.
    pub fn origin(&self) -> Origin {
        Origin { agent: self.agent.clone(), source: self.source }
    }
}

/// Where a record that was written again comes from (a solo brain that joined a mesh, an import).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Was {
    /// Its former id: [`Dot::to_hex`](crate::Dot::to_hex), or whatever an imported file called it.
    pub id: String,
    /// Its former author's DID, as claimed by whoever wrote it again.
    pub author: String,
    /// When it was first created, in milliseconds since the epoch, as claimed likewise.
    pub created_at: u64,
}

impl Was {
    /// A former memory, with its id, its author's DID, and its creation in milliseconds since the epoch.
    pub fn new(id: impl Into<String>, author: impl Into<String>, created_at: u64) -> Self {
        Self { id: id.into(), author: author.into(), created_at }
    }
}

impl<'de> Deserialize<'de> for Was {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            id: String,
            author: String,
            created_at: u64,
        }
        // serde would read a struct from an array, too
        let members = serde_json::Map::deserialize(from)?;
        let Members { id, author, created_at } =
            serde_json::from_value(members.into()).map_err(serde::de::Error::custom)?;
        Ok(Self { id, author, created_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::record::{Field, Target, Write, Writes};
    use proptest::prelude::*;

    /// Any JSON that is strict: what a stranger may put anywhere.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-8_000_i32..8_000).prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
            any::<String>().prop_map(Value::from),
            prop::sample::select(Source::ALL.map(Source::as_str).to_vec()).prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("agent|source|id|[a-z]{0,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn any_core() -> impl Strategy<Value = Core> {
        let was = ("[a-z0-9]{0,8}", "[a-z:]{0,8}", any::<u64>());
        let was = was.prop_map(|(id, author, created_at)| Was { id, author, created_at });
        let labels = (any::<String>(), "[a-z]{1,8}", prop::collection::vec(any::<String>(), 0..3));
        let meta = prop::collection::btree_map(any::<String>(), any_json(), 0..3);
        let name = any::<String>().prop_map(|text| AgentName::cut_from(&text));
        let origin = (name, prop::option::of(prop::sample::select(Source::ALL.to_vec())));
        let aliases = prop::collection::vec(any::<String>(), 0..3);
        let attachment = any::<Option<([u8; 32], u64, String)>>();
        let attachment =
            attachment.prop_map(|of| of.map(|(blob, bytes, text)| TextAttachment::new(blob, bytes, &text)));
        let validity = (any::<(Option<u64>, Option<u64>, Option<String>)>(), attachment);
        let was = (prop::option::of(was), any::<Option<String>>(), aliases, validity);
        let rest = (prop::option::of("[a-z]{1,8}"), any::<Option<u64>>(), was, origin);
        (labels, meta, rest).prop_map(
            |(
                (text, kind, tags),
                meta,
                (key, expires_at, (was, proof, aliases, (validity, attachment)), (agent, source)),
            )| Core {
                text,
                attachment,
                kind,
                tags,
                meta,
                aliases,
                valid_from: validity.0,
                valid_to: validity.1,
                supersedes: validity.2,
                key,
                expires_at,
                was,
                proof,
                agent,
                source,
            },
        )
    }

    fn creation(value: String) -> Writes {
        Writes(vec![Write {
            target: Target::Create { page: 0 },
            field: Field::named(Field::CORE),
            value,
            over: vec![],
        }])
    }

    fn edit(field: &str, value: String) -> Writes {
        let record = crate::Dot { entry: crate::EntryId::from_bytes([1; 32]), index: 0 };
        Writes(vec![Write { target: Target::Edit { record }, field: Field::named(field), value, over: vec![] }])
    }

    proptest! {
        #[test]
        fn a_core_is_what_its_fields_are(core in any_core()) {
            prop_assert_eq!(Core::parse(&core.to_json()), Some(core.clone()));
            prop_assert!(Writes::decode(Some(&creation(core.to_json()).encode())).is_ok());
            let mut again = Core::default();
            for field in FIELDS {
                prop_assert_eq!(core.get(field.name), field.get(&core));
                prop_assert!(field.set(&mut again, field.get(&core)), "{}", field.name);
            }
            prop_assert_eq!(&again, &core);
            // said are the members that a creating write spells out
            let written: BTreeMap<String, Value> = serde_json::from_str(&core.to_json()).unwrap();
            let said = FIELDS.iter().filter(|field| field.is_said(&core));
            let said: BTreeMap<String, Value> = said.map(|field| (field.name.to_owned(), field.get(&core))).collect();
            prop_assert_eq!(written, said);
        }

        #[test]
        fn a_later_value_reads_as_it_was_written(core in any_core()) {
            for field in FIELDS.iter().filter(|field| field.editable) {
                let value = field.get(&core);
                prop_assert!(Writes::decode(Some(&edit(field.name, value.to_string()).encode())).is_ok());
                prop_assert_eq!(field.read(&value.to_string()), Some(value));
            }
        }

        #[test]
        fn any_json_in_a_field_is_its_value_or_absent_or_breaks_a_rule_and_never_panics(json in any_json()) {
            let text = json.to_string();
            for field in FIELDS {
                let mut set = Core::default();
                let fits = field.set(&mut set, json.clone());
                let core = format!("{{{:?}:{text}}}", field.name);
                let parsed = Core::parse(&core);
                prop_assert_eq!(parsed.is_some(), fits || !field.strict, "{}", core);
                let expected = field.get(&set);
                prop_assert!(parsed.is_none_or(|core| core.get(field.name) == expected), "{}", core);
                let held = Writes::decode(Some(&edit(field.name, text.clone()).encode()));
                prop_assert_eq!(held.is_ok(), fits || !field.strict || !field.editable);
                let read = field.read(&text).filter(|_| field.editable);
                prop_assert_eq!(read, ((fits || !field.strict) && field.editable).then_some(expected));
            }
        }

        #[test]
        fn any_json_in_by_agent_or_source_quarantines_nothing(json in any_json(), other in any_json()) {
            let text = json.to_string();
            prop_assert!(Writes::decode(Some(&edit(Field::BY, text.clone()).encode())).is_ok());
            let _ = Origin::parse(&text);
            let core = format!(r#"{{"text":"kept","agent":{text},"source":{other}}}"#);
            prop_assert!(Writes::decode(Some(&creation(core.clone()).encode())).is_ok());
            let core = Core::parse(&core).unwrap();
            prop_assert_eq!(core.text.as_str(), "kept");
            let named = json.as_str().is_some_and(|name| name.parse::<AgentName>().is_ok());
            prop_assert_eq!(core.agent.is_some(), named);
            let sourced = other.as_str().is_some_and(|source| source.parse::<Source>().is_ok());
            prop_assert_eq!(core.source.is_some(), sourced);
        }

        #[test]
        fn a_member_that_is_not_in_the_table_is_kept_and_changes_nothing(core in any_core(), json in any_json()) {
            let mut members: serde_json::Map<String, Value> = serde_json::from_str(&core.to_json()).unwrap();
            members.insert("of_a_later_version".to_owned(), json);
            let text = Value::Object(members).to_string();
            prop_assert!(json::is_strict(&text));
            prop_assert_eq!(Core::parse(&text), Some(core));
            let payload = creation(text.clone()).encode();
            prop_assert_eq!(&Writes::decode(Some(&payload)).unwrap().0[0].value, &text);
        }
    }

    #[test]
    fn fields_are_named_once_and_as_the_format_names_fields() {
        for (n, field) in FIELDS.iter().enumerate() {
            assert!(FIELDS[..n].iter().all(|other| other.name != field.name), "{}", field.name);
            assert!([Field::CORE, Field::GONE, Field::BY].iter().all(|other| *other != field.name));
        }
        assert_eq!(FIELDS[0].name, Field::TEXT);
        assert!(FieldSpec::editable(Field::META).is_some());
        assert!(FieldSpec::editable("key").is_none());
    }

    #[test]
    fn a_core_without_a_kind_is_a_note() {
        assert_eq!(Core::parse("{}").unwrap().kind, "note");
    }
}
