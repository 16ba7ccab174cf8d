use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// The record of runs that held, one line of JSON each, with the commit they held at. A line that was
/// cut off by the end of a process is no line: its seed runs again.
pub(super) struct HeldRuns {
    file: File,
    commit: String,
    runs: BTreeSet<String>,
}

impl HeldRuns {
    /// Opens the record or begins it.
    ///
    /// # Errors
    /// If the file cannot be opened, or if the commit is not given and git does not know one.
    pub(super) fn open(path: &Path, commit: Option<&str>) -> Result<Self, String> {
        let commit = commit.map_or_else(head, |commit| Ok(commit.to_owned()))?;
        let say = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(say)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(say)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(say)?;
            file.seek(std::io::SeekFrom::End(0)).map_err(say)?;
        }
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = lines.filter(|line| line["commit"] == commit.as_str());
        let runs = ours.filter_map(|line| line["run"].as_str().map(str::to_owned)).collect();
        Ok(Self { file, commit, runs })
    }

    /// Whether this run held at this commit.
    pub(super) fn has(&self, run: &str) -> bool {
        self.runs.contains(run)
    }

    /// Keeps the outcome of a run that held.
    ///
    /// # Errors
    /// If the file cannot be written: what is not kept would run again.
    pub(super) fn keep(&mut self, outcome: &Value) -> Result<(), String> {
        let line = json!({
            "run": outcome["run"],
            "commit": self.commit,
            "acknowledged": outcome["acknowledged"],
            "virtual_s": outcome["virtual_s"],
            "trace_hash": outcome["trace_hash"],
            "reached": outcome["reached"],
        });
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(|error| format!("a seed is not kept: {error}"))
    }
}

/// The commit of the working tree, where nothing has changed since.
fn head() -> Result<String, String> {
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    if !changes.is_empty() {
        return Err("the working tree has changes: commit them, or name this build with --commit".to_owned());
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Result<String, String> {
    let unknown = |why: &str| format!("git does not know the commit ({why}): name it with --commit");
    let output = Command::new("git").args(arguments).output().map_err(|error| unknown(&error.to_string()))?;
    let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
    if output.status.success() { Ok(said.trim().to_owned()) } else { Err(unknown(said.trim())) }
}
