//! The seam to what makes vectors of texts, and the check of all that comes out of it.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

use super::codes::{Codes, Unit, VectorFault};
use super::file::ModelIdentity;

/// The text by whose vector a model is known again.
pub(super) const PROBE: &str = "A memory that all agents share.";
/// The similarity of two vectors of the probe from which on they are of one model. Processors round differently.
const SAME_MODEL: f64 = 0.98;

/// Makes vectors of texts.
pub(super) trait Embedder: Send + Sync + fmt::Debug {
    /// The embedder with its model. Another model of which the embedder itself knows has another name.
    fn name(&self) -> &str;

    /// The model alone, for people.
    fn model(&self) -> &str;

    /// The dimension, if it is known and no other model can take the place of this one.
    fn fixed(&self) -> Option<usize>;

    /// The vector of each text, in order. `None` for a text of which the model knows nothing.
    fn embed(&self, texts: Vec<String>) -> BoxFuture<'static, Result<Vec<Option<Vec<f32>>>, EmbedFault>>;
}

/// Why an embedder gave no vectors that can be used.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum EmbedFault {
    /// It cannot be reached, or hung up.
    Unreachable(String),
    /// It did not answer in time.
    Slow(Duration),
    /// It answered with a status of its own.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "an embedder is asked over HTTP"))]
    Refused { status: u16, said: String },
    /// Its answer is no answer: unreadable, too large, of another count, or with a faulty vector.
    Lies(String),
    /// It gives other vectors than before.
    Changed,
}

impl EmbedFault {
    /// Whether it may lie in one of the texts alone.
    pub(super) const fn may_be_of_a_text(&self) -> bool {
        matches!(self, Self::Refused { status: 400 | 413 | 422 | 500, .. } | Self::Lies(_))
    }
}

impl fmt::Display for EmbedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the embedder cannot be reached: {why}"),
            Self::Slow(waited) => write!(f, "the embedder did not answer within {} ms", waited.as_millis()),
            Self::Refused { status, said } if said.is_empty() => write!(f, "the embedder answered {status}"),
            Self::Refused { status, said } => write!(f, "the embedder answered {status}: {said}"),
            Self::Lies(what) => write!(f, "the embedder's answer cannot be used: {what}"),
            Self::Changed => f.write_str("the embedder gives other vectors than before"),
        }
    }
}

impl From<VectorFault> for EmbedFault {
    fn from(fault: VectorFault) -> Self {
        Self::Lies(match fault {
            VectorFault::Dimension(found) => format!("a vector has {found} components; 1 to 4096 are read"),
            VectorFault::NotFinite => "a vector has a component that is no number".to_owned(),
            VectorFault::Zero => "a vector is all zeros".to_owned(),
        })
    }
}

/// The checked vectors of some texts, and the model that made them.
#[derive(Debug)]
pub(super) struct Embedded {
    pub(super) identity: ModelIdentity,
    pub(super) vectors: Vec<Option<Unit>>,
}

/// Asks an embedder for the vectors of some texts. With each question goes the probe, so that no vector of another model
/// is taken for one of `known`.
pub(super) async fn ask(
    embedder: &dyn Embedder,
    mut texts: Vec<String>,
    known: Option<&ModelIdentity>,
    patience: Duration,
) -> Result<Embedded, EmbedFault> {
    let fixed = embedder.fixed();
    if fixed.is_none() {
        texts.insert(0, PROBE.to_owned());
    }
    let asked = texts.len();
    let answer = tokio::time::timeout(patience, embedder.embed(texts)).await;
    let answer = answer.map_err(|_| EmbedFault::Slow(patience))??;
    if answer.len() != asked {
        return Err(EmbedFault::Lies(format!("it has {} vectors for {asked} texts", answer.len())));
    }
    let units = answer.into_iter().map(|vector| vector.map(Unit::of).transpose());
    let mut vectors: Vec<Option<Unit>> = units.collect::<Result<_, _>>()?;
    let (dimension, probe) = match fixed {
        Some(dimension) => (dimension, None),
        None => {
            let probe = vectors.remove(0).ok_or(EmbedFault::Lies("the probe has no vector".to_owned()))?;
            (probe.dimension(), Some(probe))
        }
    };
    if let Some(other) = vectors.iter().flatten().find(|unit| unit.dimension() != dimension) {
        let found = other.dimension();
        return Err(EmbedFault::Lies(format!("one vector has {dimension} components and another {found}")));
    }
    let same = known.is_none_or(|known| {
        known.dimension == dimension
            && known.probe.iter().zip(&probe).all(|(known, probe)| known.similarity(probe) >= SAME_MODEL)
    });
    if !same {
        return Err(EmbedFault::Changed);
    }
    let identity = ModelIdentity { name: embedder.name().to_owned(), dimension, probe: probe.as_ref().map(Codes::of) };
    Ok(Embedded { identity: known.cloned().unwrap_or(identity), vectors })
}
