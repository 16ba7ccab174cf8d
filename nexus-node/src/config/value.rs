//! Values of a settings file.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike, TomlError};

/// A value of a settings file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Boolean(bool),
    Array(Vec<Value>),
    Table(BTreeMap<String, Value>),
    /// A number with a point or a time, as it is written. No setting has such a value.
    Other(String),
}

impl Value {
    /// The values of a file, by their keys.
    pub(super) fn table_of(text: &str) -> Result<BTreeMap<String, Self>, TomlError> {
        let document: DocumentMut = text.parse()?;
        Ok(Self::table(document.as_table()))
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub(super) fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        if let Self::Boolean(value) = self { Some(*value) } else { None }
    }

    pub(super) fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    pub(super) fn as_table(&self) -> Option<&BTreeMap<String, Self>> {
        if let Self::Table(items) = self { Some(items) } else { None }
    }

    /// The value as it is put into a file.
    pub(super) fn written(&self) -> toml_edit::Value {
        match self {
            Self::String(text) | Self::Other(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Boolean(value) => (*value).into(),
            Self::Array(items) => items.iter().map(Self::written).collect::<Array>().into(),
            Self::Table(items) => {
                items.iter().map(|(key, value)| (key.as_str(), value.written())).collect::<InlineTable>().into()
            }
        }
    }

    fn table(table: &dyn TableLike) -> BTreeMap<String, Self> {
        table.iter().map(|(key, item)| (key.to_owned(), Self::of_item(item))).collect()
    }

    fn of_item(item: &Item) -> Self {
        match item {
            Item::Value(value) => Self::of(value),
            Item::Table(table) => Self::Table(Self::table(table)),
            Item::ArrayOfTables(tables) => {
                Self::Array(tables.iter().map(|table| Self::Table(Self::table(table))).collect())
            }
            Item::None => Self::Other(String::new()),
        }
    }

    fn of(value: &toml_edit::Value) -> Self {
        match value {
            toml_edit::Value::String(text) => Self::String(text.value().clone()),
            toml_edit::Value::Integer(number) => Self::Integer(*number.value()),
            toml_edit::Value::Boolean(value) => Self::Boolean(*value.value()),
            toml_edit::Value::Array(items) => Self::Array(items.iter().map(Self::of).collect()),
            toml_edit::Value::InlineTable(table) => Self::Table(Self::table(table)),
            toml_edit::Value::Float(number) => Self::Other(number.value().to_string()),
            toml_edit::Value::Datetime(time) => Self::Other(time.value().to_string()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(text) => f.write_str(text),
            value => value.written().fmt(f),
        }
    }
}
