//! The arguments of a command, and the reason why it did not succeed.

use std::collections::BTreeMap;

/// The reason why a command did not succeed.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The `--name value` pairs of a command.
pub(crate) struct Args(BTreeMap<String, String>);

impl Args {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut pairs = BTreeMap::new();
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} has no value"))?;
            pairs.insert(name.trim_start_matches("--").to_owned(), value);
        }
        Ok(Self(pairs))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn need(&self, name: &str) -> Result<&str, Failure> {
        Ok(self.text(name).ok_or_else(|| format!("--{name} is missing"))?)
    }

    pub(crate) fn number(&self, name: &str, default: usize) -> Result<usize, Failure> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => Ok(text.parse().map_err(|_| format!("--{name} {text}: no such number"))?),
        }
    }
}
