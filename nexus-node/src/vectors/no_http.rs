//! A build without feature `http` has no client.

use futures::FutureExt;
use futures::future::BoxFuture;
use zeroize::Zeroizing;

use super::embedder::{EmbedFault, Embedder};

#[derive(Debug)]
pub(super) struct HttpEmbedder;

impl HttpEmbedder {
    pub(super) fn new(_: &str, _: &str, _: Option<Zeroizing<String>>) -> Option<Self> {
        None
    }
}

impl Embedder for HttpEmbedder {
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
        async { Err(EmbedFault::Unreachable("this build has no HTTP client".to_owned())) }.boxed()
    }
}
