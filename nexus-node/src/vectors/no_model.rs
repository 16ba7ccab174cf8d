//! A build without feature `models` reads no models of its own.

use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::embedder::{EmbedFault, Embedder};
use super::models::ModelError;
use crate::world::World;

#[derive(Debug)]
pub(super) struct StaticModel;

impl StaticModel {
    pub(super) fn read_and_check(_: &Path) -> Result<Self, ModelError> {
        Err(ModelError::NotBuilt)
    }

    pub(super) const fn dimension(&self) -> usize {
        0
    }

    pub(super) const fn tokens(&self) -> usize {
        0
    }

    pub(super) const fn fingerprint(&self) -> &str {
        ""
    }
}

#[derive(Debug)]
pub(super) struct ModelEmbedder;

impl ModelEmbedder {
    pub(super) fn read(_: &Path, _: &str, _: World) -> Result<Self, ModelError> {
        Err(ModelError::NotBuilt)
    }
}

impl Embedder for ModelEmbedder {
    fn name(&self) -> &str {
        ""
    }

    fn model(&self) -> &str {
        ""
    }

    fn fixed(&self) -> Option<usize> {
        None
    }

    fn embed(&self, _: Vec<String>) -> BoxFuture<'static, Result<Vec<Option<Vec<f32>>>, EmbedFault>> {
        async { Err(EmbedFault::Unreachable("this build reads no models".to_owned())) }.boxed()
    }
}
