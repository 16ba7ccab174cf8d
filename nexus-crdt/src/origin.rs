//! The origin of a text: the program that wrote it, and the source of its words.
//!
//! The author's node takes both from its caller. They are labels for readers: no verdict depends on
//! them, and a value of another form counts as absent.

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The source of a text, in ascending order of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A file that was read in.
    Import,
    /// A program, or the output of one.
    Tool,
    /// A language model.
    Model,
    /// A person.
    User,
}

impl Source {
    /// All of them, in ascending order of trust.
    pub const ALL: [Self; 4] = [Self::Import, Self::Tool, Self::Model, Self::User];

    /// The word for it in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Tool => "tool",
            Self::Model => "model",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Source {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        Self::ALL.into_iter().find(|source| source.as_str() == text).ok_or(NoSource)
    }
}

/// A text that names no [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a source is `user`, `model`, `tool` or `import`")]
pub struct NoSource;

/// A program's own name: 1 to [`AgentName::CHARS_MAX`] characters, none of
/// them a control character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct AgentName(String);

impl AgentName {
    /// The longest name, in characters.
    pub const CHARS_MAX: usize = 64;

    /// The name in a text of any length: control characters and surrounding space are left out, the
    /// rest is cut. `None` if nothing is left.
    pub fn cut_from(text: &str) -> Option<Self> {
        let kept: String = text.chars().filter(|letter| !letter.is_control()).take(Self::CHARS_MAX).collect();
        kept.trim().parse().ok()
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A text that is no [`AgentName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a program's name has 1 to {} characters and no control characters", AgentName::CHARS_MAX)]
pub struct NoAgentName;

impl TryFrom<String> for AgentName {
    type Error = NoAgentName;

    fn try_from(text: String) -> Result<Self, NoAgentName> {
        // counting stops at the bound, whatever the length
        let chars = text.chars().take(Self::CHARS_MAX + 1).count();
        let legal = (1..=Self::CHARS_MAX).contains(&chars) && !text.chars().any(char::is_control);
        legal.then_some(Self(text)).ok_or(NoAgentName)
    }
}

impl FromStr for AgentName {
    type Err = NoAgentName;

    fn from_str(text: &str) -> Result<Self, NoAgentName> {
        text.to_owned().try_into()
    }
}

/// The origin of a text: two members of a core, and the value of a write of field
/// [`Field::BY`](crate::Field::BY) beside an edit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Origin {
    /// The program, by its own name.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub agent: Option<AgentName>,
    /// The source of its words.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub source: Option<Source>,
}

impl Origin {
    /// An origin of these members.
    pub fn new(agent: impl Into<Option<AgentName>>, source: impl Into<Option<Source>>) -> Self {
        Self { agent: agent.into(), source: source.into() }
    }

    /// Reads an origin. A member of another form is absent.
    pub fn parse(text: &str) -> Self {
        // serde would read an array as well
        text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten().unwrap_or_default()
    }

    /// The JSON text, as a write of field [`Field::BY`](crate::Field::BY) holds it.
    #[expect(clippy::expect_used, reason = "two strings have a JSON form")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an origin has a JSON form")
    }

    /// Whether nothing is said.
    pub const fn is_empty(&self) -> bool {
        self.agent.is_none() && self.source.is_none()
    }
}

/// Reads a value that is absent if it is of another form: nodes that do not know the member take
/// any, and all must judge alike.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    Value::deserialize(from).map(|value| serde_json::from_value(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sources_are_ordered_by_trust_and_named_alike_everywhere() {
        assert!(Source::ALL.is_sorted_by(|less, more| less < more));
        for source in Source::ALL {
            assert_eq!(source.as_str().parse(), Ok(source));
            assert_eq!(serde_json::to_value(source).unwrap(), source.as_str());
        }
        assert!("User".parse::<Source>().is_err());
    }

    /// promise: Entries and memories | An origin of another form counts as absent, and the rest of the memory stays
    #[test]
    fn what_is_not_of_its_form_is_absent_and_the_rest_stays() {
        let both = Origin { agent: Some("ide".parse().unwrap()), source: Some(Source::Model) };
        assert_eq!(Origin::parse(&both.to_json()), both);
        assert_eq!(Origin::parse(r#"{"agent":"ide","source":"root"}"#), Origin { source: None, ..both.clone() });
        assert_eq!(Origin::parse(r#"{"agent":["ide"],"source":"model"}"#), Origin { agent: None, ..both.clone() });
        assert_eq!(Origin::parse(r#"{"agent":"ide","source":"model","more":1}"#), both);
        for text in ["", "7", "null", r#"["ide","model"]"#, r#"{"agent":"","source":{}}"#, "{\"agent\":\"a\\u0007\"}"] {
            assert!(Origin::parse(text).is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_name_cut_from_any_text_is_a_name(text in any::<String>()) {
            match AgentName::cut_from(&text) {
                Some(name) => prop_assert_eq!(name.as_str().parse::<AgentName>(), Ok(name.clone())),
                None => prop_assert!(text.chars().take(AgentName::CHARS_MAX).all(|c| c.is_control() || c.is_whitespace())),
            }
        }
    }

    #[test]
    fn a_name_is_cut_at_64_characters_and_a_longer_one_is_none() {
        assert_eq!(AgentName::cut_from(&"é".repeat(100)).unwrap().as_str().chars().count(), AgentName::CHARS_MAX);
        assert!("é".repeat(65).parse::<AgentName>().is_err());
        assert_eq!(AgentName::cut_from("\u{1b}[31mred\n").unwrap().as_str(), "[31mred");
    }
}
