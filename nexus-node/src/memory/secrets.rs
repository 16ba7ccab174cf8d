//! Credentials in a memory that is written here: refused, masked or let through.

use std::borrow::Cow;
use std::collections::BTreeMap;

#[cfg(feature = "documents")]
use nexus_secrets::find_all;
use nexus_secrets::{Secret, find, mask};
use serde_json::Value;

use super::way::Secrets;
use super::{NewMemory, Patch, depth};
use crate::error::InputError;
use crate::error::SecretPlace;

/// Whether a credential was masked in something.
pub(crate) type Masked = bool;

impl Secrets {
    /// Refuses a text with a credential, unless they are allowed.
    ///
    /// # Errors
    /// [`InputError::Secret`]
    pub(crate) fn check(self, field: &'static str, text: &str) -> Result<(), InputError> {
        match self {
            Self::Allow => Ok(()),
            Self::Refuse | Self::Mask => refuse(SecretPlace::new(field), text),
        }
    }

    /// Refuses a text of a document with a credential that it did not have before, unless they are allowed.
    ///
    /// # Errors
    /// [`InputError::Secret`]
    #[cfg(feature = "documents")]
    pub(crate) fn check_written(self, written: &nexus_documents::WrittenText) -> Result<(), InputError> {
        if self == Self::Allow {
            return Ok(());
        }
        let of = |text: &str, secret: &nexus_secrets::Secret| text.get(secret.range.clone()).map(str::to_owned);
        let before: Vec<_> = find_all(&written.before).map(|secret| of(&written.before, &secret)).collect();
        match find_all(&written.text).find(|secret| !before.contains(&of(&written.text, secret))) {
            None => Ok(()),
            Some(secret) => Err(found(SecretPlace::new("text"), &secret, &written.text)),
        }
    }

    fn text(self, place: SecretPlace, text: &mut String) -> Result<Masked, InputError> {
        match self {
            Self::Allow => Ok(false),
            Self::Refuse => refuse(place, text).map(|()| false),
            Self::Mask => Ok(match mask(text) {
                Cow::Borrowed(_) if find(text).is_none() => false,
                masked => {
                    *text = masked.into_owned();
                    true
                }
            }),
        }
    }

    fn texts(self, field: &'static str, texts: &mut [String]) -> Result<Masked, InputError> {
        let mut masked = false;
        for text in texts {
            masked |= self.text(SecretPlace::new(field), text)?;
        }
        Ok(masked)
    }

    fn meta(self, meta: &mut BTreeMap<String, Value>) -> Result<Masked, InputError> {
        if self == Self::Allow {
            return Ok(false);
        }
        let mut masked = false;
        // deeper ones are refused for that
        for (name, value) in meta.iter_mut().filter(|(_, value)| depth::is_within(value, depth::LEVELS_MAX)) {
            // a name may make a credential of its value, at any depth
            let shown = |value: &Value| serde_json::json!({ name.as_str(): value }).to_string();
            let place = SecretPlace::named("meta", name);
            refuse(SecretPlace::new("meta"), name)?;
            masked |= self.value(&place, value)?;
            if let Some(secret) = find(&shown(value)) {
                if self == Self::Refuse {
                    return Err(InputError::Secret { kind: secret.kind, place });
                }
                *value = secret.kind.removed().into();
                masked = true;
            }
        }
        Ok(masked)
    }

    /// The texts in a value, whose depth is bounded.
    fn value(self, place: &SecretPlace, value: &mut Value) -> Result<Masked, InputError> {
        let mut masked = false;
        match value {
            Value::String(text) => masked = self.text(place.clone(), text)?,
            Value::Array(values) => {
                for value in values {
                    masked |= self.value(place, value)?;
                }
            }
            Value::Object(values) => {
                for value in values.values_mut() {
                    masked |= self.value(place, value)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        Ok(masked)
    }
}

fn refuse(place: SecretPlace, text: &str) -> Result<(), InputError> {
    find(text).map_or(Ok(()), |secret| Err(found(place, &secret, text)))
}

/// The error of a credential in a text.
fn found(mut place: SecretPlace, secret: &Secret, text: &str) -> InputError {
    (place.line, place.column) = (secret.line(text), secret.column(text));
    InputError::Secret { kind: secret.kind, place }
}

impl NewMemory {
    /// Refuses or masks the credentials in it, as it says. Says whether some were masked.
    ///
    /// # Errors
    /// [`InputError::Secret`]
    pub(crate) fn without_secrets(&mut self) -> Result<Masked, InputError> {
        let way = self.secrets;
        let mut masked = way.text(SecretPlace::new("text"), &mut self.text)?;
        masked |= way.texts("tags", &mut self.tags)?;
        masked |= way.texts("aliases", &mut self.aliases)?;
        masked |= way.meta(&mut self.meta)?;
        if let Some(kind) = &mut self.kind {
            masked |= way.text(SecretPlace::new("kind"), kind)?;
        }
        if let Some(key) = &self.key {
            way.check("id", key)?;
        }
        // text that was looked at is not looked at again
        self.secrets = Secrets::Allow;
        Ok(masked)
    }
}

impl Patch {
    /// As [`NewMemory::without_secrets`].
    ///
    /// # Errors
    /// [`InputError::Secret`]
    pub(crate) fn without_secrets(&mut self) -> Result<Masked, InputError> {
        let way = self.secrets;
        let mut masked = false;
        if let Some(text) = &mut self.text {
            masked |= way.text(SecretPlace::new("text"), text)?;
        }
        if let Some(kind) = &mut self.kind {
            masked |= way.text(SecretPlace::new("kind"), kind)?;
        }
        if let Some(aliases) = &mut self.aliases {
            masked |= way.texts("aliases", aliases)?;
        }
        if let Some(tags) = &mut self.tags {
            masked |= way.texts("tags", tags)?;
        }
        if let Some(meta) = &mut self.meta {
            masked |= way.meta(meta)?;
        }
        Ok(masked)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use nexus_secrets::SecretKind;

    /// A token of the right form that nobody issued.
    fn token() -> String {
        format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8")
    }

    fn memory(secrets: Secrets) -> NewMemory {
        let meta = [("of".to_owned(), json!({ "deep": ["x", token()] }))];
        NewMemory { text: "a text".into(), meta: meta.into(), secrets, ..NewMemory::default() }
    }

    fn place(error: &InputError) -> (SecretKind, String) {
        match error {
            InputError::Secret { kind, place } => (*kind, place.to_string()),
            other => panic!("{other:?}"),
        }
    }

    /// promise: Secrets | A text that looks like a secret is refused: kind and place, never the value
    #[test]
    fn a_memory_with_a_credential_is_refused_by_kind_and_place() {
        let at = |change: &dyn Fn(&mut NewMemory)| {
            let mut given = NewMemory { text: "a text".into(), ..NewMemory::default() };
            change(&mut given);
            let error = given.without_secrets().unwrap_err();
            assert!(!error.to_string().contains(&token()), "{error}");
            place(&error).1
        };
        let text = format!("first line\nuse {} for it", token());
        assert_eq!(at(&|given| given.text = text.clone()), "`text`, line 2, column 5");
        assert_eq!(at(&|given| given.tags = vec!["x".into(), token()]), "`tags`, line 1, column 1");
        assert_eq!(at(&|given| given.key = Some(token())), "`id`, line 1, column 1");
        assert_eq!(at(&|given| given.kind = Some(token())), "`kind`, line 1, column 1");
        assert_eq!(at(&|given| given.meta = memory(Secrets::Refuse).meta), "`meta` under \"of\", line 1, column 1");
        assert_eq!(at(&|given| given.meta = [(token(), json!(1))].into()), "`meta`, line 1, column 1");
        // a name that makes a credential of its value
        let named = json!({ "db_password": "Zx9!kd82_mQp" });
        assert_eq!(
            at(&|given| given.meta = [("a".into(), named.clone())].into()),
            "`meta` under \"a\", line 1, column 1"
        );
    }

    #[test]
    fn a_credential_is_masked_or_let_through_as_asked() {
        let mut masked = memory(Secrets::Mask);
        masked.text = format!("use {}", token());
        masked.meta.insert("password".into(), json!("Zx9!kd82_mQp"));
        assert!(masked.without_secrets().unwrap());
        assert_eq!(masked.text, "use [GitHub token removed]");
        assert_eq!(masked.meta["of"], json!({ "deep": ["x", "[GitHub token removed]"] }));
        assert!(!masked.meta["password"].to_string().contains("Zx9"), "{:?}", masked.meta);
        assert!(!masked.without_secrets().unwrap(), "it is not looked at again");
        let mut keyed = NewMemory { key: Some(token()), secrets: Secrets::Mask, ..NewMemory::default() };
        assert!(keyed.without_secrets().is_err());
        let mut allowed = memory(Secrets::Allow);
        let before = allowed.clone();
        assert_eq!((allowed.without_secrets().unwrap(), allowed), (false, before));
        let mut plain =
            NewMemory { text: "nothing of the kind".into(), secrets: Secrets::Mask, ..NewMemory::default() };
        assert!(!plain.without_secrets().unwrap());
    }

    #[test]
    fn a_change_is_looked_at_like_a_new_memory() {
        let patch = Patch { tags: Some(vec![token()]), ..Patch::default() };
        assert_eq!(place(&patch.clone().without_secrets().unwrap_err()).0, SecretKind::GithubToken);
        let mut masked = Patch { secrets: Secrets::Mask, ..patch.clone() };
        assert_eq!(
            (masked.without_secrets().unwrap(), masked.tags),
            (true, Some(vec!["[GitHub token removed]".to_owned()]))
        );
        assert!(!Patch { secrets: Secrets::Allow, ..patch }.without_secrets().unwrap());
    }
}
