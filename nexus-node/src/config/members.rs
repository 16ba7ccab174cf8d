//! Members by DID or name.

use nexus_identity::{Did, NAME_BYTES_MAX, Name};

use super::setting::{Setting, items, texts};
use super::value::Value;

/// Members, each by DID or name, once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberList(Vec<String>);

impl MemberList {
    const MAX: usize = 64;

    /// The DIDs and names.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// These members; `None` if one is neither a DID nor a name, or there are more than 64.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let members = texts.into_iter().try_fold(Vec::new(), |mut members: Vec<String>, text| {
            // a mistyped DID would be nobody's name
            let is_one = match text.starts_with("did:") {
                true => text.parse::<Did>().is_ok(),
                false => text.parse::<Name>().is_ok(),
            };
            if is_one && !members.iter().any(|known| known == text) {
                members.push(text.to_owned());
            }
            is_one.then_some(members)
        });
        members.filter(|members| members.len() <= Self::MAX).map(Self)
    }
}

impl Setting for MemberList {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        Self::of(items(texts))
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::of(texts(value)?)
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::Array(self.0.iter().cloned().map(Value::String).collect()))
    }

    fn allowed() -> String {
        format!("a list of at most {} members, each a DID or a name of at most {NAME_BYTES_MAX} bytes", Self::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_by_did_or_name_and_once() {
        let did = nexus_identity::Keypair::from_seed(&[1; 32]).did().to_string();
        let read = |texts: &[&str]| MemberList::from_texts(texts).map(|members| members.0.join(" "));
        assert_eq!(read(&["laptop, laptop", &did]).unwrap(), format!("laptop {did}"));
        assert_eq!(read(&[""]).unwrap(), "");
        let list = MemberList::from_texts(&["laptop", &did]).unwrap();
        assert_eq!(MemberList::from_toml(&list.to_toml().unwrap()), Some(list));
        let many: Vec<String> = (0..65).map(|n| format!("member-{n}")).collect();
        for bad in ["did:key:z6Mk", "did:", "a\u{7}b", &"x".repeat(NAME_BYTES_MAX + 1), &many.join(",")] {
            assert_eq!(read(&[bad]), None, "{bad}");
        }
        assert_eq!(MemberList::from_toml(&Value::Integer(7)), None);
    }
}
