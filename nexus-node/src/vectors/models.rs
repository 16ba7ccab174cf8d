//! The models of static vectors in a data directory: adding, listing, removing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::model::StaticModel;

/// The file with the vectors.
pub(super) const TENSORS: &str = "model.safetensors";
/// The file with the tokenizer.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// A file of some models that is kept and not read.
const CONFIG: &str = "config.json";
/// The largest file of vectors, in bytes.
pub(super) const MODEL_BYTES_MAX: u64 = 2 << 30;
/// The largest file of a tokenizer, in bytes.
pub(super) const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
/// The most models of a directory.
const MODELS_MAX: usize = 64;
/// The longest name of a model, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The directory in which a model is prepared.
const PREPARED: &str = ".adding";
/// The largest file of a model's configuration, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// A model of a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// Its name, for the setting `embedder`: `model:NAME`.
    pub name: String,
    /// The components of a vector.
    pub dimension: usize,
    /// The tokens that it knows.
    pub tokens: usize,
    /// The size of its files, in bytes.
    pub bytes: u64,
    /// The beginning of the hash of its files (BLAKE3).
    pub fingerprint: String,
}

/// Why a model was not added, listed or removed. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file cannot be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file is larger than any that is read.
    #[error("{} has {size} bytes; at most {max} are read", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size, in bytes.
        size: u64,
        /// The largest size.
        max: u64,
    },
    /// A file is not of a model.
    #[error("{}: {why}", file.display())]
    NoModel {
        /// The file.
        file: PathBuf,
        /// The fault.
        why: String,
    },
    /// A name cannot be one of a model.
    #[error("{0:?} cannot be the name of a model")]
    BadName(String),
    /// There is a model of that name.
    #[error("there is a model {0} already")]
    Exists(String),
    /// There is no model of that name.
    #[error("there is no model {0}")]
    Unknown(String),
    /// There are as many models as there can be.
    #[error("there are {MODELS_MAX} models already")]
    TooMany,
    /// This build reads no models.
    #[error("this build reads no models: it has not the feature `models`")]
    NotBuilt,
}

/// Whether a text can be the name of a model: 1 to 64 of `a-z A-Z 0-9 . _ -`, and no dot first.
fn is_model_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

/// Copies a model into a directory of models, after it was read and checked wholly. `from` is a directory with
/// `model.safetensors` and `tokenizer.json`, or the file of the vectors, with the tokenizer beside it. Without a name it is
/// called as that directory.
///
/// # Errors
/// [`ModelError`].
pub fn add_model(models: &Path, from: &Path, name: Option<&str>) -> Result<Model, ModelError> {
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |source| ModelError::File { file, source }
    };
    let from = fs::canonicalize(from).map_err(failed(from))?;
    let (tensors, beside) = match from.parent().filter(|_| from.is_file()) {
        Some(parent) => (from.clone(), parent.to_owned()),
        None => (from.join(TENSORS), from.clone()),
    };
    let called = name.map(str::to_owned).or_else(|| Some(beside.file_name()?.to_string_lossy().into_owned()));
    let name = called.unwrap_or_default();
    if !is_model_name(&name) {
        return Err(ModelError::BadName(name));
    }
    let to = models.join(&name);
    if to.exists() {
        return Err(ModelError::Exists(name));
    }
    private(models).map_err(failed(models))?;
    if names(models)?.len() >= MODELS_MAX {
        return Err(ModelError::TooMany);
    }
    let prepared = models.join(PREPARED);
    let outcome = prepare(&tensors, &beside, &prepared).and_then(|()| {
        let model = described(&name, &prepared)?;
        fs::rename(&prepared, &to).map_err(failed(&to))?;
        crate::datadir::sync_parent(&to).map_err(failed(&to))?;
        Ok(model)
    });
    if outcome.is_err() {
        let _ = fs::remove_dir_all(&prepared);
    }
    outcome
}

/// Copies the files, and brings them to the disk.
fn prepare(tensors: &Path, beside: &Path, to: &Path) -> Result<(), ModelError> {
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |source| ModelError::File { file, source }
    };
    if to.exists() {
        fs::remove_dir_all(to).map_err(failed(to))?;
    }
    private(to).map_err(failed(to))?;
    let copy = |from: &Path, name: &str, most: u64| {
        let mut source = fs::File::open(from).map_err(failed(from))?;
        let data = source.metadata().map_err(failed(from))?;
        if !data.is_file() {
            return Err(ModelError::NoModel { file: from.to_owned(), why: "it is no file".to_owned() });
        }
        if data.len() > most {
            return Err(ModelError::TooLarge { file: from.to_owned(), size: data.len(), max: most });
        }
        let place = to.join(name);
        let mut copy = crate::datadir::new_file(&place).map_err(failed(&place))?;
        io::copy(&mut io::Read::take(&mut source, most), &mut copy).map_err(failed(&place))?;
        copy.sync_all().map_err(failed(&place))
    };
    copy(tensors, TENSORS, MODEL_BYTES_MAX)?;
    copy(&beside.join(TOKENIZER), TOKENIZER, TOKENIZER_BYTES_MAX)?;
    let config = beside.join(CONFIG);
    if config.is_file() { copy(&config, CONFIG, CONFIG_BYTES_MAX) } else { Ok(()) }
}

/// The models of a directory, by their names. A model that cannot be read now is an error.
///
/// # Errors
/// [`ModelError::File`], [`ModelError::NoModel`].
pub fn list_models(models: &Path) -> Result<Vec<Model>, ModelError> {
    names(models)?.into_iter().map(|name| described(&name, &models.join(&name))).collect()
}

/// Removes a model.
///
/// # Errors
/// [`ModelError::Unknown`], [`ModelError::File`].
pub fn remove_model(models: &Path, name: &str) -> Result<(), ModelError> {
    let directory = models.join(name);
    if !is_model_name(name) || !directory.is_dir() {
        return Err(ModelError::Unknown(name.to_owned()));
    }
    fs::remove_dir_all(&directory).map_err(|source| ModelError::File { file: directory, source })
}

/// The names of the models of a directory, which need not be there.
fn names(models: &Path) -> Result<Vec<String>, ModelError> {
    let failed = |source| ModelError::File { file: models.to_owned(), source };
    let entries = match fs::read_dir(models) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if is_model_name(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn described(name: &str, directory: &Path) -> Result<Model, ModelError> {
    let model = StaticModel::read_and_check(directory)?;
    let size = |name: &str| fs::metadata(directory.join(name)).map_or(0, |data| data.len());
    Ok(Model {
        name: name.to_owned(),
        dimension: model.dimension(),
        tokens: model.tokens(),
        bytes: [TENSORS, TOKENIZER, CONFIG].map(size).iter().sum(),
        fingerprint: model.fingerprint().to_owned(),
    })
}

/// Makes a directory for its owner alone, if it is not there.
fn private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
