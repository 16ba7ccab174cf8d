//! A document as a value of a program's own type, by autosurgeon.
//!
//! The type says what is in the document: [`Text`] for texts that several write at once, [`Counter`] for counters, lists and maps. A
//! value is read whole. A change writes what differs, in the way of all edits.

use std::fmt;
use std::marker::PhantomData;

pub use autosurgeon::{Counter, Hydrate, Reconcile, Text};
use nexus_documents::{ChangeError, ReadError};

use super::version::Version;
use super::watch::DocumentWatch;
use super::{Documents, Edited, missing};
use crate::error::{DocumentError, NodeError};

/// A document as a value of a type ([`Documents::typed`]), cheap to clone.
pub struct TypedDocument<T> {
    documents: Documents,
    space: Option<String>,
    name: String,
    of: PhantomData<fn() -> T>,
}

impl Documents {
    /// A document as a value of a program's own type.
    pub fn typed<T>(&self, space: Option<&str>, name: &str) -> TypedDocument<T> {
        let (space, name) = (space.map(str::to_owned), name.to_owned());
        TypedDocument { documents: self.clone(), space, name, of: PhantomData }
    }
}

impl<T> TypedDocument<T> {
    /// Creates the document of the key, or finds it.
    ///
    /// # Errors
    /// As [`Documents::create`].
    pub async fn create(&self) -> Result<Edited, NodeError> {
        self.documents.create(self.space.as_deref(), &self.name).await
    }

    /// Follows it, as [`Documents::watch`].
    ///
    /// # Errors
    /// As [`Documents::watch`].
    pub async fn watch(&self, from: Option<Version>) -> Result<DocumentWatch, NodeError> {
        self.documents.watch(self.space.as_deref(), &self.name, from).await
    }
}

impl<T: Hydrate + Send + 'static> TypedDocument<T> {
    /// The value as it is now; nothing as long as the document has no values.
    ///
    /// # Errors
    /// As [`Documents::get`]; [`DocumentError::Edit`] where the document does not fit the type.
    pub async fn get(&self) -> Result<Option<T>, NodeError> {
        let found = self.documents.find(self.space.as_deref(), &self.name).await?;
        let shared = self.documents.open(&found);
        let read = shared.read(&self.documents.brain, |replica| match replica.living().hydrate() {
            Ok(value) => Ok(value),
            Err(error @ ReadError::Type(_)) => Err(DocumentError::Edit(error.to_string()).into()),
            Err(error) => Err(missing(error).into()),
        });
        read.await
    }
}

impl<T: Default + Hydrate + Reconcile> TypedDocument<T> {
    /// Has a program change the value: all of its change is written or nothing, as by [`Documents::change`]. It begins with
    /// the default as long as the document has no values. Let one program make the first change, and others wait for it: of two
    /// values that begin apart, one is shown.
    ///
    /// # Errors
    /// As [`Documents::change`]; [`DocumentError::Edit`] where the document does not fit the type.
    pub async fn change<R: Send + 'static>(
        &self,
        program: impl Fn(&mut T) -> Result<R, ChangeError> + Send + Sync + 'static,
    ) -> Result<(R, Edited), NodeError> {
        let run = move |draft: &mut nexus_documents::Draft<'_>| {
            let mut value: T = draft.hydrate()?.unwrap_or_default();
            let said = program(&mut value)?;
            draft.reconcile(&value)?;
            Ok(said)
        };
        self.documents.change(self.space.as_deref(), &self.name, run).await
    }
}

impl<T> Clone for TypedDocument<T> {
    fn clone(&self) -> Self {
        self.documents.typed(self.space.as_deref(), &self.name)
    }
}

impl<T> fmt::Debug for TypedDocument<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedDocument").field("space", &self.space).field("name", &self.name).finish_non_exhaustive()
    }
}
