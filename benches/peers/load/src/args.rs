use std::collections::BTreeMap;
use std::str::FromStr;

use crate::Failure;

/// A command and its `--name value` pairs.
pub struct Args {
    pub command: String,
    pairs: BTreeMap<String, String>,
}

impl Args {
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let command = words.next().ok_or("which command?")?;
        let mut pairs = BTreeMap::new();
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} has no value"))?;
            pairs.insert(name.trim_start_matches("--").to_owned(), value);
        }
        Ok(Self { command, pairs })
    }

    pub fn text(&self, name: &str) -> Result<&str, Failure> {
        self.pairs.get(name).map(String::as_str).ok_or_else(|| format!("--{name} is missing").into())
    }

    pub fn list(&self, name: &str) -> Result<Vec<String>, Failure> {
        Ok(self.text(name)?.split(',').map(str::to_owned).collect())
    }

    pub fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, Failure> {
        match self.pairs.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("--{name} {text}: not such a number").into()),
        }
    }
}
