//! The vectors of memories.

use std::path::PathBuf;
use std::sync::Arc;

use crate::node::base::Base;
use crate::vectors::{self, Vectors};

pub(in crate::node) fn start(base: &Base, dir: Option<PathBuf>) -> Arc<Vectors> {
    let vectors = Arc::new(Vectors::new(base.world.clone(), dir, &base.config));
    base.world.spawn("vectors", vectors::keep(vectors.clone(), base.source()));
    vectors
}
