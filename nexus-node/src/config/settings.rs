use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::error::{ConfigError, SettingOrigin};
use super::value::Value;
use super::{Config, KEYS, Key, nearest};
use crate::datadir::DataDir;

/// The prefix of this program's variables in the environment.
pub(super) const PREFIX: &str = "NEXUS_";

/// Variables that are no keys: the node's address and directory, a worker's task, and a secret.
const NOT_KEYS: [&str; 8] =
    ["DATA_DIR", "API", "API_DID", "TOKEN", "TASK_ID", "TASK_TOKEN", "TASK_ATTEMPT", "EMBEDDER_KEY"];

/// The configuration with the origin of each value.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    config: Config,
    origins: BTreeMap<&'static str, SettingOrigin>,
    ignored: Vec<String>,
}

/// A key as `config show` lists it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub key: &'static str,
    /// Its value; null if it has none.
    pub value: serde_json::Value,
    /// Where the value comes from.
    pub origin: SettingOrigin,
    /// Whether a change takes effect while the node runs.
    pub live: bool,
}

impl Settings {
    /// Reads `config.toml` of a data directory, if there is one, and this process's environment,
    /// and lays the flags on top.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), or the file cannot be read.
    pub fn load(data_dir: &Path, flags: &[(&str, String)]) -> Result<Self, ConfigError> {
        let file = super::edit::read(&DataDir::config_path(data_dir))?;
        let env = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        Self::resolve(file.as_deref(), env, flags)
    }

    /// Lays the sources over each other: defaults, the text of a file, variables, flags. A flag
    /// that comes several times is a list.
    ///
    /// A variable that starts with `NEXUS_` but is no key belongs to another program. It is only
    /// [listed](Self::ignored), unless it looks like a mistyped key.
    ///
    /// # Errors
    /// The first fault, with its origin. Every value is checked, also one that another source hides.
    pub fn resolve(
        file: Option<&str>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        let mut this = Self::default();
        this.add_file(file.unwrap_or_default())?;
        this.add_env(env)?;
        this.add_flags(flags)?;
        this.config.check()?;
        Ok(this)
    }

    /// The values.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the value of a key comes from; `None` if there is no such key.
    pub fn origin(&self, key: &str) -> Option<SettingOrigin> {
        let key = Key::named(key)?;
        Some(self.origins.get(key.name).copied().unwrap_or(SettingOrigin::Default))
    }

    /// Variables `NEXUS_…` that are no keys of this program.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Every key with its value and origin.
    pub fn rows(&self) -> Vec<Row> {
        let row = |key: &Key| Row {
            key: key.name,
            value: serde_json::to_value(self.config.toml(key.name)).unwrap_or_default(),
            origin: self.origins.get(key.name).copied().unwrap_or(SettingOrigin::Default),
            live: key.live,
        };
        KEYS.iter().map(row).collect()
    }

    fn add_file(&mut self, text: &str) -> Result<(), ConfigError> {
        let table = Value::table_of(text).map_err(|error| ConfigError::Syntax { source: error.into() })?;
        for (name, value) in &table {
            let key = known(name, SettingOrigin::File)?;
            let set = self.config.set_toml(key.name, value);
            set.ok_or_else(|| bad_value(key, SettingOrigin::File, value))?;
            self.origins.insert(key.name, SettingOrigin::File);
        }
        Ok(())
    }

    fn add_env(&mut self, env: impl IntoIterator<Item = (String, String)>) -> Result<(), ConfigError> {
        let ours = env.into_iter().filter(|(variable, _)| variable.starts_with(PREFIX));
        // Sorted, so that the same mistakes always give the same error.
        for (variable, text) in ours.collect::<BTreeMap<_, _>>() {
            let name = &variable[PREFIX.len()..];
            if NOT_KEYS.contains(&name) {
                continue;
            }
            let lower = name.to_ascii_lowercase();
            let Some(key) = Key::named(&lower) else {
                if let Some(nearest) = nearest::typo(&lower) {
                    return Err(ConfigError::UnknownKey {
                        key: variable,
                        origin: SettingOrigin::Env,
                        nearest: Some(nearest),
                    });
                }
                self.ignored.push(variable);
                continue;
            };
            self.add_texts(key, SettingOrigin::Env, &[&text])?;
        }
        Ok(())
    }

    fn add_flags(&mut self, flags: &[(&str, String)]) -> Result<(), ConfigError> {
        let mut texts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, text) in flags {
            texts.entry(name).or_default().push(text);
        }
        for (name, texts) in texts {
            self.add_texts(known(name, SettingOrigin::Flag)?, SettingOrigin::Flag, &texts)?;
        }
        Ok(())
    }

    fn add_texts(&mut self, key: &'static Key, origin: SettingOrigin, texts: &[&str]) -> Result<(), ConfigError> {
        let set = self.config.set_texts(key.name, texts);
        set.ok_or_else(|| bad_value(key, origin, format!("{:?}", texts.join(","))))?;
        self.origins.insert(key.name, origin);
        Ok(())
    }
}

/// The key of this name, or an error that names the nearest key.
pub(super) fn known(name: &str, origin: SettingOrigin) -> Result<&'static Key, ConfigError> {
    Key::named(name).ok_or_else(|| ConfigError::UnknownKey {
        key: name.to_owned(),
        origin,
        nearest: nearest::nearest(name),
    })
}

pub(super) fn bad_value(key: &Key, origin: SettingOrigin, found: impl ToString) -> ConfigError {
    let mut found = found.to_string();
    if found.chars().count() > 80 {
        found = found.chars().take(80).chain(['…']).collect();
    }
    ConfigError::BadValue { key: key.name, origin, found, allowed: key.allowed() }
}
