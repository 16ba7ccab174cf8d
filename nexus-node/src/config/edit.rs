//! Changing one key of a file: comments, order and everything else stay as they are.

use std::fs;
use std::io;
use std::path::Path;

use toml_edit::{DocumentMut, Item};

use super::error::{ConfigError, SettingOrigin};
use super::settings::{Settings, bad_value, known};
use super::{Config, Key};
use crate::datadir::{DataDir, replace};

/// Sets a key in the text of a file to a value as a person writes it: commas separate the items of a
/// list. An empty name takes the key out.
///
/// # Errors
/// A fault of the key, of its value, or of the file with the change.
pub fn set(text: &str, key: &str, value: &str) -> Result<String, ConfigError> {
    let key = known(key, SettingOrigin::File)?;
    let mut config = Config::default();
    let set = config.set_texts(key.name, &[value]);
    set.ok_or_else(|| bad_value(key, SettingOrigin::File, format!("{value:?}")))?;
    let mut document = parse(text)?;
    match config.toml(key.name) {
        None => {
            document.remove(key.name);
        }
        Some(value) => {
            let mut value = value.written();
            match document.get_mut(key.name) {
                // Replaces the old value in its place, so that the comments around it stay.
                Some(Item::Value(before)) => {
                    *value.decor_mut() = before.decor().clone();
                    *before = value;
                }
                _ => {
                    document.insert(key.name, Item::Value(value));
                }
            }
        }
    }
    checked(document)
}

/// Takes a key out of the text of a file, with the comment above it, so that its default holds.
///
/// # Errors
/// An unknown key, or another fault of the file.
pub fn unset(text: &str, key: &str) -> Result<String, ConfigError> {
    let key = known(key, SettingOrigin::File)?;
    let mut document = parse(text)?;
    document.remove(key.name);
    checked(document)
}

/// Sets a key in `config.toml` of a data directory. The new file is written beside the old one and
/// renamed. The returned key says whether the change takes effect while the node runs.
///
/// # Errors
/// As [`set`], or the file cannot be read or written; it is unchanged then.
pub fn set_in(data_dir: &Path, key: &str, value: &str) -> Result<&'static Key, ConfigError> {
    let path = DataDir::config_path(data_dir);
    let text = set(&read(&path)?.unwrap_or_default(), key, value)?;
    replace(&path, text.as_bytes()).map_err(|source| ConfigError::File { file: path, source })?;
    known(key, SettingOrigin::File)
}

/// The text of a file, or `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::File { file: path.to_owned(), source }),
    }
}

fn parse(text: &str) -> Result<DocumentMut, ConfigError> {
    text.parse().map_err(|error: toml_edit::TomlError| ConfigError::Syntax { source: error.into() })
}

fn checked(document: DocumentMut) -> Result<String, ConfigError> {
    let text = document.to_string();
    Settings::resolve(Some(&text), [], &[])?;
    Ok(text)
}
