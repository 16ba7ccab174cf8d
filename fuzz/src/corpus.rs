//! The kept inputs: `fuzz/corpus/TARGET/NAME`. Names that begin with `seed-` are made by `nexus-fuzz seed`;
//! those that begin with `crash-` broke something once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A kept input: its name and its bytes.
pub type Kept = (String, Vec<u8>);

/// The corpus of this repository.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The inputs of a target, by name. None if there is no folder.
///
/// # Errors
/// A file cannot be read.
pub fn read(corpus: &Path, target: &str) -> io::Result<Vec<Kept>> {
    let entries = match fs::read_dir(corpus.join(target)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut kept = Vec::new();
    for entry in entries {
        let entry = entry?;
        kept.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    kept.sort();
    Ok(kept)
}

/// Keeps an input.
///
/// # Errors
/// The file cannot be written.
pub fn keep(corpus: &Path, target: &str, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let folder = corpus.join(target);
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    fs::write(&path, bytes)?;
    Ok(path)
}

/// The name of an input that broke something.
pub fn crash_name(bytes: &[u8]) -> String {
    format!("crash-{}", &blake3::hash(bytes).to_hex()[..8])
}
