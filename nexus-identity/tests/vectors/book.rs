//! The files of `docs/vectors`: read, compared, and completed on demand.

use std::collections::BTreeSet;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};

/// The environment variable that fills in missing fields: `NEXUS_VECTORS=fill`.
const FILL: &str = "NEXUS_VECTORS";

/// One file of vectors: lists of objects, each with a name of its own.
pub(crate) struct Book {
    path: PathBuf,
    lists: Map<String, Value>,
    filled: bool,
}

impl Book {
    pub(crate) fn open(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors").join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lists = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, lists, filled: false }
    }

    /// Checks every vector of a list. `derive` makes the derived fields of a vector; each of them must
    /// be there and equal.
    pub(crate) fn check(&mut self, list: &str, mut derive: impl FnMut(&Vector) -> Value) {
        let file = self.path.file_name().unwrap().to_string_lossy().into_owned();
        let fill = std::env::var(FILL).is_ok_and(|value| value == "fill");
        let vectors = self.lists.get_mut(list).and_then(Value::as_array_mut);
        let vectors = vectors.unwrap_or_else(|| panic!("{file} has no list {list:?}"));
        assert!(!vectors.is_empty(), "{file}: {list} is empty");
        let mut names = BTreeSet::new();
        for value in vectors {
            let vector = Vector { at: format!("{file}: {list}: {}", value["name"]), fields: value.clone() };
            assert!(names.insert(vector.text("name")), "{}: the name is taken", vector.at);
            let Value::Object(derived) = derive(&vector) else { panic!("a check derives an object") };
            for (field, derived) in derived {
                match vector.fields.get(&field) {
                    Some(recorded) => assert_eq!(recorded, &derived, "{}: {field}", vector.at),
                    None if fill => {
                        value[&field] = derived;
                        self.filled = true;
                    }
                    None => panic!("{}: no field {field:?}; {FILL}=fill fills it in", vector.at),
                }
            }
        }
    }
}

/// Writes filled-in fields back. Existing fields stay as they are.
impl Drop for Book {
    fn drop(&mut self) {
        if self.filled && !std::thread::panicking() {
            let text = serde_json::to_string_pretty(&self.lists).unwrap();
            std::fs::write(&self.path, text + "\n").unwrap();
        }
    }
}

/// One vector.
pub(crate) struct Vector {
    at: String,
    fields: Value,
}

impl Vector {
    /// A part of this one, such as one of its writes.
    pub(crate) fn part(&self, fields: &Value) -> Self {
        Self { at: self.at.clone(), fields: fields.clone() }
    }

    pub(crate) fn get(&self, field: &str) -> &Value {
        self.fields.get(field).unwrap_or_else(|| panic!("{}: no field {field:?}", self.at))
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.get(field).is_some()
    }

    pub(crate) fn text(&self, field: &str) -> String {
        self.get(field).as_str().unwrap_or_else(|| panic!("{}: {field} is no string", self.at)).to_owned()
    }

    /// Anything that is read from a string: DIDs, names, 64-bit numbers.
    pub(crate) fn parse<T: std::str::FromStr>(&self, field: &str) -> T {
        self.text(field).parse().unwrap_or_else(|_| panic!("{}: {field} is unreadable", self.at))
    }

    /// A number of up to 32 bits.
    pub(crate) fn number<T: TryFrom<u64>>(&self, field: &str) -> T {
        let number = self.get(field).as_u64().and_then(|number| T::try_from(number).ok());
        number.unwrap_or_else(|| panic!("{}: {field} is no number of its size", self.at))
    }

    pub(crate) fn list(&self, field: &str) -> Vec<Self> {
        let list = self.get(field).as_array().unwrap_or_else(|| panic!("{}: {field} is no list", self.at));
        list.iter().map(|fields| self.part(fields)).collect()
    }

    pub(crate) fn bytes(&self, field: &str) -> Vec<u8> {
        HEXLOWER.decode(self.text(field).as_bytes()).unwrap_or_else(|_| panic!("{}: {field} is no hex", self.at))
    }

    pub(crate) fn array<const N: usize>(&self, field: &str) -> [u8; N] {
        self.bytes(field).try_into().unwrap_or_else(|_| panic!("{}: {field} has not {N} bytes", self.at))
    }

    /// The vector itself, if it is no object.
    pub(crate) fn value(&self) -> &Value {
        &self.fields
    }
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

/// The name of an error's variant, which a vector gives for a refusal.
pub(crate) fn variant(error: &impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
