//! The embedder: an address, or a model of the data directory.

use std::fmt;

use super::setting::{Endpoint, Setting};
use super::value::Value;

/// The maker of vectors of memories, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EmbedderPlace {
    /// Nothing.
    #[default]
    None,
    /// A service at this address of plain HTTP.
    Http(Endpoint),
    /// A model of the data directory, by its name.
    Model(String),
}

impl EmbedderPlace {
    const MODEL: &str = "model:";
    /// The ends of the addresses whose forms are known.
    const PATHS: [&str; 2] = ["/embed", "/embeddings"];
    const NAME_BYTES_MAX: usize = 64;

    fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Some(Self::None);
        }
        if let Some(name) = text.strip_prefix(Self::MODEL) {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let fits = (1..=Self::NAME_BYTES_MAX).contains(&name.len());
            return (fits && !name.starts_with('.') && name.bytes().all(plain)).then(|| Self::Model(name.to_owned()));
        }
        let endpoint = Option::<Endpoint>::from_texts(&[text])??;
        let known = Self::PATHS.iter().any(|path| endpoint.as_str().ends_with(path));
        known.then_some(Self::Http(endpoint))
    }
}

impl fmt::Display for EmbedderPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Http(endpoint) => f.write_str(endpoint.as_str()),
            Self::Model(name) => write!(f, "{}{name}", Self::MODEL),
        }
    }
}

/// An empty text stands for none.
impl Setting for EmbedderPlace {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        Self::of(texts.last()?)
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::of(value.as_str()?)
    }

    fn to_toml(&self) -> Option<Value> {
        (*self != Self::None).then(|| Value::String(self.to_string()))
    }

    fn allowed() -> String {
        "an address such as http://127.0.0.1:11434/api/embed or http://127.0.0.1:8080/v1/embeddings (https is not spoken: \
         name a proxy beside the node), or model:NAME of `model list`"
            .to_owned()
    }
}

/// The name of a model, as an embedder knows it; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmbedderModel(String);

impl EmbedderModel {
    const BYTES_MAX: usize = 256;

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for EmbedderModel {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        let name = texts.last()?.trim();
        let fits = name.len() <= Self::BYTES_MAX && !name.contains(char::is_control);
        fits.then(|| Self(name.to_owned()))
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::from_texts(&[value.as_str()?])
    }

    fn to_toml(&self) -> Option<Value> {
        (!self.0.is_empty()).then(|| Value::String(self.0.clone()))
    }

    fn allowed() -> String {
        format!("a name of at most {} bytes, such as nomic-embed-text", Self::BYTES_MAX)
    }
}
