//! A model of static vectors, as model2vec has them: one vector a token, and the mean of them for a text.
//!
//! | file | content |
//! |---|---|
//! | `model.safetensors` | `embeddings` (tokens × dimension); maybe `mapping` (the row of each token), `weights` (of each token) |
//! | `tokenizer.json` | the tokenizer, as the crate `tokenizers` reads it |

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use safetensors::{Dtype, SafeTensors};
use tokenizers::Tokenizer;

use super::codes::DIMENSION_MAX;
use super::embedder::{EmbedFault, Embedder};
use super::models::{MODEL_BYTES_MAX, ModelError, TENSORS, TOKENIZER, TOKENIZER_BYTES_MAX};
use crate::world::World;

/// The most tokens of a text that count, as in model2vec.
const TOKENS_MAX: usize = 512;

/// A model in memory.
pub(super) struct StaticModel {
    tokenizer: Tokenizer,
    unknown: Option<u32>,
    bytes: Vec<u8>,
    embeddings: Numbers,
    mapping: Option<Numbers>,
    weights: Option<Numbers>,
    dimension: usize,
    rows: usize,
    /// The number of tokens of the tokenizer.
    tokens: usize,
    fingerprint: String,
}

/// Where the numbers of a tensor are.
#[derive(Clone, Debug)]
struct Numbers {
    kind: Dtype,
    at: Range<usize>,
}

impl std::fmt::Debug for StaticModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticModel").field("dimension", &self.dimension).field("rows", &self.rows).finish()
    }
}

impl StaticModel {
    /// Reads a model from its directory, and checks it as far as that needs no look at each number.
    pub(super) fn read(directory: &Path) -> Result<Self, ModelError> {
        let path = directory.join(TENSORS);
        let bytes = bytes_of(&path, MODEL_BYTES_MAX)?;
        let bad = |why: String| ModelError::NoModel { file: path.clone(), why };
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| bad(format!("it is no safetensors file: {error}")))?;
        let numbers = |name: &str| -> Option<(Numbers, Vec<usize>)> {
            let tensor = tensors.tensor(name).ok()?;
            // the data lies within the bytes
            let begin = (tensor.data().as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
            let at = begin..begin.checked_add(tensor.data().len())?;
            (at.end <= bytes.len()).then(|| (Numbers { kind: tensor.dtype(), at }, tensor.shape().to_vec()))
        };
        let names = || {
            let mut names = tensors.names();
            names.sort_unstable();
            names.truncate(8);
            names.join(", ")
        };
        let (embeddings, shape) =
            numbers("embeddings").ok_or_else(|| bad(format!("it has no tensor `embeddings`; it has {}", names())))?;
        let [rows, dimension] = *shape.as_slice() else {
            return Err(bad(format!("`embeddings` has {} axes; it must have two", shape.len())));
        };
        if rows == 0 || !(1..=DIMENSION_MAX).contains(&dimension) {
            return Err(bad(format!("`embeddings` is {rows} × {dimension}; 1 to {DIMENSION_MAX} components are read")));
        }
        if !matches!(embeddings.kind, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 | Dtype::I8) {
            return Err(bad(format!(
                "`embeddings` has numbers of kind {:?}; F64, F32, F16, BF16 and I8 are read",
                embeddings.kind
            )));
        }
        let list = |name: &str, kinds: &[Dtype]| match numbers(name) {
            None => Ok(None),
            Some((found, shape)) if shape.len() == 1 && kinds.contains(&found.kind) => Ok(Some((found, shape[0]))),
            Some((found, shape)) => {
                Err(bad(format!("`{name}` of kind {:?} and shape {shape:?} cannot be read", found.kind)))
            }
        };
        let mapping = list("mapping", &[Dtype::I32, Dtype::I64, Dtype::U32, Dtype::U64])?;
        let weights = list("weights", &[Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16])?;
        let (tokenizer, unknown, text) = tokenizer_of(&directory.join(TOKENIZER))?;
        let tokens = tokenizer.get_vocab_size(true);
        let known = mapping.as_ref().map_or(rows, |(_, length)| *length);
        if tokens > known || weights.as_ref().is_some_and(|(_, length)| *length < known.min(tokens)) {
            return Err(bad(format!("it has vectors of {known} tokens, and `{TOKENIZER}` has {tokens}")));
        }
        let mut hash = blake3::Hasher::new();
        hash.update(&bytes).update(text.as_bytes());
        let fingerprint = hash.finalize().to_hex()[..16].to_owned();
        let (mapping, weights) = (mapping.map(|(numbers, _)| numbers), weights.map(|(numbers, _)| numbers));
        Ok(Self { tokenizer, unknown, bytes, embeddings, mapping, weights, dimension, rows, tokens, fingerprint })
    }

    /// The same with a look at each number, for a model that is new here.
    pub(super) fn read_and_check(directory: &Path) -> Result<Self, ModelError> {
        let this = Self::read(directory)?;
        let bad = |why: &str| ModelError::NoModel { file: directory.join(TENSORS), why: why.to_owned() };
        let finite = |numbers: &Numbers| (0..this.length(numbers)).all(|at| this.number(numbers, at).is_finite());
        if !finite(&this.embeddings) || !this.weights.as_ref().is_none_or(finite) {
            return Err(bad("a number of it is infinite or none"));
        }
        if let Some(mapping) = &this.mapping
            && (0..this.length(mapping)).any(|at| this.row(mapping, at).is_none())
        {
            return Err(bad("`mapping` names a row that is not there"));
        }
        Ok(this)
    }

    pub(super) const fn dimension(&self) -> usize {
        self.dimension
    }

    pub(super) const fn tokens(&self) -> usize {
        self.tokens
    }

    /// The beginning of the hash of both files.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The mean of the vectors of a text's tokens; `None` if the model knows none of them.
    fn vector(&self, text: &str) -> Result<Option<Vec<f32>>, EmbedFault> {
        // a text of a member must not end the node, whatever the tokenizer makes of it
        let encoded = catch_unwind(AssertUnwindSafe(|| self.tokenizer.encode_fast(text, false)));
        let failed = |why: String| EmbedFault::Lies(format!("a text has no tokens: {why}"));
        let encoded = encoded.map_err(|_| failed("the tokenizer broke off".to_owned()))?;
        let encoded = encoded.map_err(|error| failed(error.to_string()))?;
        let mut sum = vec![0.0_f64; self.dimension];
        let mut count = 0.0;
        for id in encoded.get_ids().iter().filter(|id| Some(**id) != self.unknown).take(TOKENS_MAX) {
            let Ok(token) = usize::try_from(*id) else { continue };
            let row = match &self.mapping {
                Some(mapping) if token < self.length(mapping) => self.row(mapping, token),
                Some(_) => None,
                None => Some(token).filter(|row| *row < self.rows),
            };
            let Some(row) = row else { continue };
            let weight = self.weights.as_ref().filter(|weights| token < self.length(weights));
            let weight = weight.map_or(1.0, |weights| self.number(weights, token));
            for (at, sum) in sum.iter_mut().enumerate() {
                *sum += weight * self.number(&self.embeddings, row * self.dimension + at);
            }
            count += 1.0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a component")]
        let mean: Vec<f32> = sum.into_iter().map(|sum| (sum / f64::max(count, 1.0)) as f32).collect();
        Ok(mean.iter().any(|component| component.abs() > 1e-30).then_some(mean))
    }

    fn length(&self, numbers: &Numbers) -> usize {
        numbers.at.len() / bytes_of_kind(numbers.kind)
    }

    fn row(&self, mapping: &Numbers, token: usize) -> Option<usize> {
        let number = self.number(mapping, token);
        #[expect(clippy::cast_precision_loss, reason = "a row")]
        let within = number >= 0.0 && number < self.rows as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within")]
        within.then_some(number as usize)
    }

    /// A number of a tensor, as a float. Its place was checked.
    #[expect(clippy::cast_precision_loss, reason = "rows are far fewer")]
    fn number(&self, numbers: &Numbers, at: usize) -> f64 {
        let size = bytes_of_kind(numbers.kind);
        let begin = numbers.at.start + at * size;
        let bytes = self.bytes.get(begin..begin + size).unwrap_or_default();
        fn of<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes.try_into().unwrap_or([0; N])
        }
        match numbers.kind {
            Dtype::F32 => f64::from(f32::from_le_bytes(of(bytes))),
            Dtype::F64 => f64::from_le_bytes(of(bytes)),
            Dtype::F16 => half(u16::from_le_bytes(of(bytes))),
            Dtype::BF16 => f64::from(f32::from_bits(u32::from(u16::from_le_bytes(of(bytes))) << 16)),
            Dtype::I8 => f64::from(i8::from_le_bytes(of(bytes))),
            Dtype::I32 => f64::from(i32::from_le_bytes(of(bytes))),
            Dtype::U32 => f64::from(u32::from_le_bytes(of(bytes))),
            Dtype::I64 => i64::from_le_bytes(of(bytes)) as f64,
            _ => u64::from_le_bytes(of(bytes)) as f64,
        }
    }
}

/// A number of half precision.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let value = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 => return f64::NAN,
        _ => (1.0 + fraction / 1_024.0) * 2_f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -value } else { value }
}

const fn bytes_of_kind(kind: Dtype) -> usize {
    match kind {
        Dtype::I8 => 1,
        Dtype::F16 | Dtype::BF16 => 2,
        Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
        _ => 8,
    }
}

/// The bytes of a file that is not larger than `most`.
fn bytes_of(path: &Path, most: u64) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::File { file: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > most {
        return Err(ModelError::TooLarge { file: path.to_owned(), size, max: most });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The tokenizer of a file, its token for what it does not know, and the text of the file.
fn tokenizer_of(path: &Path) -> Result<(Tokenizer, Option<u32>, String), ModelError> {
    let bytes = bytes_of(path, TOKENIZER_BYTES_MAX)?;
    let bad = |why: String| ModelError::NoModel { file: path.to_owned(), why };
    let text = String::from_utf8(bytes).map_err(|_| bad("it is no text".to_owned()))?;
    let read = catch_unwind(|| text.parse::<Tokenizer>());
    let read = read.map_err(|_| bad("the tokenizer in it cannot be read".to_owned()))?;
    let mut tokenizer = read.map_err(|error| bad(format!("it is no tokenizer: {error}")))?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| bad(error.to_string()))?;
    let document: serde_json::Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let model = &document["model"];
    let by_id = model["unk_id"].as_u64().and_then(|id| u32::try_from(id).ok());
    let unknown = by_id.or_else(|| tokenizer.token_to_id(model["unk_token"].as_str()?));
    Ok((tokenizer, unknown, text))
}

/// A model in memory as an embedder.
#[derive(Debug)]
pub(super) struct ModelEmbedder {
    model: Arc<StaticModel>,
    name: String,
    called: String,
    world: World,
}

impl ModelEmbedder {
    pub(super) fn read(directory: &Path, called: &str, world: World) -> Result<Self, ModelError> {
        let model = Arc::new(StaticModel::read(directory)?);
        let name = format!("model:{called}#{}", model.fingerprint);
        Ok(Self { model, name, called: called.to_owned(), world })
    }
}

impl Embedder for ModelEmbedder {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> &str {
        &self.called
    }

    fn fixed(&self) -> Option<usize> {
        Some(self.model.dimension)
    }

    fn embed(&self, texts: Vec<String>) -> BoxFuture<'static, Result<Vec<Option<Vec<f32>>>, EmbedFault>> {
        let (model, world) = (self.model.clone(), self.world.clone());
        let work = move || texts.iter().map(|text| model.vector(text)).collect();
        async move {
            world.reading(work).await.unwrap_or_else(|_| Err(EmbedFault::Unreachable("the node stops".to_owned())))
        }
        .boxed()
    }
}
