//! Reads beside writes: they wait for the disk off the caller's task.

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::export::Pages;
use super::{Brain, Watch};
use crate::error::NodeError;
use crate::memory::{
    Change, ListQuery, Listing, Memory, MemoryRef, RecallQuery, Recalled, Revision, SpaceInfo, SpacePage, WatchQuery,
};

impl Brain {
    /// One memory, by its id, the beginning of it, or a former id.
    ///
    /// # Errors
    /// [`NodeError::NotFound`], [`NodeError::Ambiguous`].
    pub async fn get(&self, id: impl Into<MemoryRef>) -> Result<Memory, NodeError> {
        let id = id.into();
        self.reading(move |brain| brain.get_blocking(id)).await
    }

    /// The caller's key of a memory, if it has one.
    ///
    /// # Errors
    /// As [`Brain::get`].
    pub async fn key_of(&self, id: impl Into<MemoryRef>) -> Result<Option<String>, NodeError> {
        let id = id.into();
        self.reading(move |brain| brain.key_of_blocking(id)).await
    }

    /// The memories that fit a question, best first. A write that this node acknowledged is found at once.
    ///
    /// A question may be a text, or a [`RecallQuery`] that says more.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a question without words or a limit out of range,
    /// [`NodeError::NotFound`] or [`NodeError::Ambiguous`] for a space or member.
    pub async fn recall(&self, query: impl Into<RecallQuery>) -> Result<Recalled, NodeError> {
        let query = query.into();
        let world = &self.here().world;
        let began = world.now();
        let phrasings: Vec<&str> = [&query.text].into_iter().chain(&query.or).map(String::as_str).collect();
        let meaning = self.here().vectors.meaning_of(&phrasings).await;
        let recalled = self.reading(move |brain| brain.recall_meaning(&query, &meaning)).await;
        self.recall_times().note(world.now().saturating_sub(began));
        recalled
    }

    /// A page of memories, newest first.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a limit out of range or a foreign cursor,
    /// [`NodeError::NotFound`] for the space.
    pub async fn list(&self, query: impl Into<ListQuery>) -> Result<Listing, NodeError> {
        let query = query.into();
        self.reading(move |brain| brain.list_blocking(&query)).await
    }

    /// A memory's past, oldest first.
    ///
    /// # Errors
    /// As [`Brain::get`].
    pub async fn history(&self, id: impl Into<MemoryRef>) -> Result<Vec<Revision>, NodeError> {
        let id = id.into();
        self.reading(move |brain| brain.history_blocking(id)).await
    }

    /// The spaces that hold memories.
    ///
    /// # Errors
    /// An error of the store.
    pub async fn spaces(&self) -> Result<Vec<SpaceInfo>, NodeError> {
        self.reading(Self::spaces_blocking).await
    }

    /// Follows changes in the order in which this node commits them: from now on, or from a cursor on. Whoever has seen
    /// changes that are not here any more is told so first ([`ChangeKind::Missed`](crate::memory::ChangeKind::Missed)).
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a cursor of another node, [`NodeError::NotFound`] for the space.
    pub async fn watch(&self, query: WatchQuery) -> Result<Watch, NodeError> {
        self.reading(move |brain| brain.watch_blocking(&query)).await
    }

    /// The pages of a space as Automerge documents.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] for the space; the stream's items are errors of the store.
    pub async fn pages(&self, space: &str) -> Result<BoxStream<'static, Result<SpacePage, NodeError>>, NodeError> {
        let space = space.to_owned();
        let pages = self.reading(move |brain| brain.pages_of(&space)).await?;
        let brain = self.clone();
        let next = move |mut pages: Pages| {
            let brain = brain.clone();
            async move {
                let read = brain.reading(move |_| Ok((pages.next()?, pages))).await?;
                Ok(match read {
                    (Some(page), rest) => Some((page, rest)),
                    (None, _) => None,
                })
            }
        };
        Ok(stream::try_unfold(pages, next).boxed())
    }
}

impl Watch {
    /// The changes as a stream, which ends once the node has stopped.
    pub fn into_stream(self) -> BoxStream<'static, Result<Change, NodeError>> {
        let next = async |mut watch: Self| Ok(watch.next().await?.map(|change| (change, watch)));
        stream::try_unfold(self, next).boxed()
    }
}
