use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use nexus_identity::Timestamp;
use nexus_node::api::Problem;
use nexus_node::blobs::BlobHash;
use nexus_node::internals::backup::{BackupError, Contents, Frame, Head, Reader, Unpacker, Writer, key_files};
use serde_json::json;

use crate::outfile::behind_links;
use crate::output::{count, size};
use crate::session::CliSession;

/// Copy this node while it runs: memory, keys and locks, blobs, configuration, identity
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// An empty directory, or one to make; `-` writes one stream to stdout
    #[arg(value_name = "DIR|-")]
    to: String,
    /// Leave out the identity and the mesh's root key
    #[arg(long)]
    without_keys: bool,
    /// Leave out the blobs that are pinned or tagged, and those of memories and tasks
    #[arg(long)]
    no_blobs: bool,
}

/// A backup that was written.
struct Done {
    head: Option<Head>,
    contents: Contents,
    bytes: u64,
    /// The blobs that are damaged here, and left out.
    damaged: Vec<String>,
}

impl Backup {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        if !self.without_keys && session.elsewhere() {
            let problem = Problem::new("usage", "the keys of a node elsewhere are in its own directory");
            return Err(problem.hint("add --without-keys, or run this on that machine, without --api"));
        }
        let directory = if session.elsewhere() { None } else { Some(session.data_dir()?) };
        let files = Files { directory, keys: !self.without_keys, blobs: !self.no_blobs };
        if self.to == "-" { self.to_stdout(session, files) } else { self.to_directory(session, files) }
    }

    fn to_stdout(&self, session: &CliSession, files: Files) -> Result<(), Problem> {
        let out = io::stdout();
        if out.is_terminal() {
            let problem = Problem::new("usage", "a backup is no text for a terminal");
            return Err(problem.hint("give a directory, or send it on: `nexus-node backup - > FILE`"));
        }
        for_its_owner(&out)?;
        let mut sink = Stream(Writer::new(BufWriter::new(out.lock())).map_err(BackupError::Stream)?);
        let done = copy(session, files, &mut sink)?;
        sink.0.end().map_err(BackupError::Stream)?;
        session.printer.note(&told(&done, "stdout", self.without_keys));
        Ok(())
    }

    fn to_directory(&self, session: &CliSession, files: Files) -> Result<(), Problem> {
        let wrong = |error: io::Error| Problem::new("invalid", format!("{}: {error}", self.to));
        let to = std::path::absolute(&self.to).and_then(|to| behind_links(&to)).map_err(wrong)?;
        empty(&to)?;
        let parent = to.parent().unwrap_or(&to);
        let failed = |error: io::Error| {
            Problem::new("failed", format!("{}: {error}", to.display())).hint("nothing is there; is the disk full?")
        };
        fs::create_dir_all(parent).map_err(failed)?;
        // for its owner alone, and gone if this ends early
        let beside = beside(parent).map_err(failed)?;
        let mut sink = Directory(Unpacker::new(beside.path()));
        let mut done = copy(session, files, &mut sink)?;
        sink.0.finish()?;
        done.bytes = bytes_in(beside.path()).map_err(failed)?;
        move_to(beside, &to).map_err(failed)?;
        let document = json!({
            "path": to,
            "did": done.head.as_ref().map(|head| head.did().to_string()),
            "mesh_did": done.head.as_ref().map(|head| head.mesh().to_string()),
            "name": done.head.as_ref().map(|head| &head.name),
            "taken_at": done.head.as_ref().map(|head| Timestamp::from_ms(head.taken_at_ms).to_string()),
            "entries": done.contents.entries,
            "bytes": done.bytes,
            "blobs": done.contents.blobs,
            "blob_bytes": done.contents.blob_bytes,
            "blobs_damaged": done.damaged,
            "keys": done.contents.identity,
            "root_key": done.contents.root,
        });
        session.printer.answer(&document, || told(&done, &to.display().to_string(), self.without_keys))
    }
}

/// The place to which a backup goes.
trait Sink {
    fn take(&mut self, frame: Frame) -> Result<(), BackupError>;
}

struct Stream<W>(Writer<W>);

impl<W: Write> Sink for Stream<W> {
    fn take(&mut self, frame: Frame) -> Result<(), BackupError> {
        self.0.put(&frame).map_err(BackupError::Stream)
    }
}

struct Directory(Unpacker);

impl Sink for Directory {
    fn take(&mut self, frame: Frame) -> Result<(), BackupError> {
        self.0.take(frame)
    }
}

/// The files that are to go along.
struct Files {
    directory: Option<PathBuf>,
    keys: bool,
    blobs: bool,
}

/// Copies the node's stream, and then the files of its directory.
fn copy(session: &CliSession, files: Files, sink: &mut impl Sink) -> Result<Done, Problem> {
    let client = session.client()?.streaming();
    // a node of an earlier version knows no such parameter, and leaves blobs out
    let path = if files.blobs { "/v1/backup?blobs=true" } else { "/v1/backup" };
    let mut reader = Reader::new(client.bytes(path)?)?;
    let mut progress: ProgressBar = session.printer.progress("rows", None);
    let mut done = Done { head: None, contents: Contents::default(), bytes: 0, damaged: Vec::new() };
    let (mut in_blobs, mut blob) = (false, None);
    while let Some(frame) = reader.next_frame()? {
        done.contents.count(&frame);
        done.bytes = reader.bytes();
        progress.set_position(if in_blobs { done.contents.blob_bytes } else { done.contents.rows });
        match &frame {
            Frame::Head(head) => done.head = Some(head.clone()),
            Frame::Blobs { bytes, .. } => {
                progress.finish_and_clear();
                (progress, in_blobs) = (session.printer.transfer("blobs", Some(*bytes)), true);
            }
            Frame::Blob { hash, .. } => blob = Some(BlobHash::from_bytes(*hash).to_string()),
            Frame::BlobEnd { is_whole: false } => done.damaged.extend(blob.take()),
            _ => {}
        }
        sink.take(frame)?;
    }
    if let Some(directory) = &files.directory {
        for frame in key_files(directory, files.keys)? {
            done.contents.count(&frame);
            sink.take(frame)?;
        }
    }
    progress.finish_and_clear();
    for hash in &done.damaged {
        let told = format!("the blob {hash} is damaged here: it is left out");
        session.printer.warning(&told, Some("`nexus-node blob rm` and `blob get` bring it from another member"));
    }
    if files.blobs && done.head.as_ref().is_some_and(|head| !head.has_blobs()) {
        session
            .printer
            .warning("that node leaves blobs out of backups", Some("its version is an earlier one, or has no blobs"));
    }
    Ok(done)
}

fn told(done: &Done, to: &str, without_keys: bool) -> String {
    let mut entries = count(done.contents.entries, "entry", "entries");
    if done.contents.blobs > 0 {
        entries.push_str(&format!(", {}", count(done.contents.blobs, "blob", "blobs")));
    }
    let secret = match (without_keys, done.contents.root) {
        (true, _) => "it has no keys: a restore asks for this node's identity key; whoever reads it reads every memory",
        (false, true) => "it holds this node's key and the mesh's root key: whoever reads it is this node",
        (false, false) => "it holds this node's key: whoever reads it is this node",
    };
    format!("{entries}, {}, in {to}\n{secret}", size(done.bytes))
}

/// Refuses a place that holds something.
fn empty(to: &Path) -> Result<(), Problem> {
    match fs::read_dir(to).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Problem::new("conflict", format!("{} is not empty", to.display()))
            .hint("nothing was written; give a directory that is not there yet")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Problem::new("conflict", format!("{}: {error}", to.display()))
            .hint("nothing was written; give a directory that is not there yet")),
    }
}

/// A directory for this account alone, to be renamed.
fn beside(parent: &Path) -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".nexus-backup-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir_in(parent)
}

fn bytes_in(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { bytes_in(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

/// Renames a complete directory into its place, where at most an empty one is.
fn move_to(beside: tempfile::TempDir, to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir(to)?;
    }
    fs::rename(beside.path(), to)?;
    // it has another name now
    let _ = beside.keep();
    Ok(())
}

/// Takes the rights of others on a file that stdout goes to. Without keys, too: every memory is in it.
#[cfg(unix)]
fn for_its_owner(out: &io::Stdout) -> Result<(), Problem> {
    use rustix::fs::{FileType, Mode, fchmod, fstat};
    use rustix::process::geteuid;

    let refused = |why: &str| {
        Problem::new("refused", format!("others could read the backup: {why}")).hint(
            "nothing was written; give a directory of this account, or `umask 077; nexus-node backup - > FILE` with a new file",
        )
    };
    let about = fstat(out).map_err(|error| refused(&error.to_string()))?;
    // a pipe or a device stays as it is
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    if about.st_uid != geteuid().as_raw() {
        return Err(refused("the file that stdout goes to is another account's"));
    }
    if Mode::from_raw_mode(about.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
        let closed = fchmod(out, Mode::RUSR | Mode::WUSR);
        closed.map_err(|error| refused(&format!("the rights of the file that stdout goes to stay: {error}")))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn for_its_owner(_: &io::Stdout) -> Result<(), Problem> {
    Ok(())
}
