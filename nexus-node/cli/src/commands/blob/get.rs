use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use nexus_client::wire;
use nexus_identity::Timestamp;
use nexus_node::api::{Problem, code};
use nexus_node::blobs::{BadCollection, BlobHash, BlobsBeside, Collection, CollectionFile, FileKind, Unpacker};

use super::add::bad_tree;
use crate::client::{Client, query};
use crate::outfile::{OutFile, becomes_like, behind_links, directory_of, is_stdout, unwritten};
use crate::output::{Printer, called, count, size};

/// The size of the pieces in which content is copied, in bytes.
const PIECE_BYTES: usize = 256 * 1024;
/// The longest target of a link, in bytes.
const TARGET_BYTES_MAX: u64 = 4_096;

pub(super) fn get(
    client: &Client,
    printer: &Printer,
    blob: &str,
    output: Option<&Path>,
    wait: Duration,
) -> Result<(), Problem> {
    // `-` is standard output, as elsewhere
    let Some(output) = output.filter(|output| !is_stdout(output)) else {
        if printer.json() {
            let problem = Problem::new("usage", "--json prints a document, so the content needs a place");
            return Err(problem.hint("add `-o PATH`"));
        }
        let (blob, _) = fetch(client, printer, blob, wait)?;
        return to_stdout(client, &blob);
    };
    let real = behind_links(output).map_err(|error| unwritten(output, &error))?;
    can_be_written(&real)?;
    let (blob, sources) = fetch(client, printer, blob, wait)?;
    match blob.files {
        None => to_file(client, printer, &blob, output)?,
        Some(_) => to_directory(client, printer, &blob, &real)?,
    }
    let members: Vec<wire::Member> = if printer.json() { Vec::new() } else { client.get("/v1/members")? };
    printer.answer(&blob, || {
        let names: Vec<String> = sources.iter().map(|did| called(&members, did)).collect();
        let from = if names.is_empty() { "this node".to_owned() } else { names.join(", ") };
        let files = blob.files.map(|files| format!("{}, ", count(files, "file", "files"))).unwrap_or_default();
        format!("{}  {files}{}, from {from}", output.display(), size(blob.size))
    })
}

/// Has the node fetch the blob, and shows how far it is. Returns the blob, and the members from which it came.
fn fetch(client: &Client, printer: &Printer, blob: &str, wait: Duration) -> Result<(wire::Blob, Vec<String>), Problem> {
    let wait = wire::show_duration(wait);
    let path = format!("{}{}", super::reference::of(blob, "/fetch"), query(&[("wait", Some(&wait))]));
    let bar = printer.transfer("looking", None);
    let (mut sources, mut warned) = (Vec::new(), Vec::new());
    for line in client.post_lines(&path, Vec::new())? {
        let line: wire::BlobFetch = serde_json::from_str(&line?)
            .map_err(|error| Problem::new("failed", format!("the answer cannot be understood: {error}")))?;
        if let Some(progress) = line.progress {
            if let Some(size) = progress.size {
                bar.set_length(size);
                Printer::show_total(&bar);
            }
            bar.set_position(progress.bytes);
            bar.set_message(match progress.sources.len() as u64 {
                0 => "looking".to_owned(),
                sources => format!("from {}", count(sources, "node", "nodes")),
            });
            for did in progress.lied.into_iter().filter(|did| !warned.contains(did)).collect::<Vec<_>>() {
                let words = format!("{did} sent something else than the blob; it is asked no more");
                bar.suspend(|| printer.warning(&words, None));
                warned.push(did);
            }
            for did in progress.damaged.into_iter().filter(|did| !warned.contains(did)).collect::<Vec<_>>() {
                let words = format!("{did} says that parts of its copy are damaged");
                bar.suspend(|| printer.warning(&words, None));
                warned.push(did);
            }
            sources = progress.sources;
        }
        if let Some(error) = line.error {
            bar.finish_and_clear();
            let code = code(&error.code).map_or("failed", |code| code.name);
            return Err(Problem { code, message: error.message, hint: error.hint, id: error.id });
        }
        if let Some(blob) = line.blob {
            bar.finish_and_clear();
            return Ok((blob, sources));
        }
    }
    let problem = Problem::new("no_node", "the node went away in the middle of its answer");
    Err(problem.hint("ask again: it goes on where it was"))
}

/// Refuses a place before anything is fetched.
fn can_be_written(output: &Path) -> Result<(), Problem> {
    // an error says that it is a file, or not there
    if fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_some()) {
        let problem = Problem::new("conflict", format!("{} is a directory and not empty", output.display()));
        return Err(problem.hint("nothing was written; give a path that is not there yet"));
    }
    let parent = directory_of(output);
    if parent.is_dir() {
        return Ok(());
    }
    Err(Problem::new("not_found", format!("there is no directory {}", parent.display())).hint("nothing was written"))
}

/// The content of a blob that the node has.
fn content(client: &Client, hash: BlobHash) -> Result<impl Read + use<>, Problem> {
    client.bytes(&format!("/v1/blobs/{hash}?wait=0s"))
}

/// Lets an empty file have the content of a blob: it shares the blocks of the node's file where the file system can do
/// that, and is a copy elsewhere. All of it is verified.
fn fill(
    client: &Client,
    beside: Option<&BlobsBeside>,
    hash: BlobHash,
    mut to: &File,
    path: &Path,
    bar: &ProgressBar,
) -> Result<(), Problem> {
    let shared = beside.map_or(Ok(false), |beside| beside.write_to(hash, to, now()));
    if shared.map_err(|error| unwritten(path, &error))? {
        bar.inc(to.metadata().map_or(0, |about| about.len()));
        return Ok(());
    }
    copy(client, hash, |piece| {
        bar.inc(piece.len() as u64);
        to.write_all(piece).map_err(|error| unwritten(path, &error))
    })
}

/// The time at which a blob is used.
#[expect(clippy::disallowed_methods, reason = "the clock of this machine, as the node on it has")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn hash_of(blob: &wire::Blob) -> Result<BlobHash, Problem> {
    blob.hash.parse().map_err(|_| Problem::new("failed", "the node's answer has no hash"))
}

/// Hands the content of a blob to a writer piece by piece, and verifies all of it.
fn copy(client: &Client, hash: BlobHash, mut to: impl FnMut(&[u8]) -> Result<(), Problem>) -> Result<(), Problem> {
    let mut content = content(client, hash)?;
    let (mut hasher, mut piece) = (blake3::Hasher::new(), vec![0; PIECE_BYTES]);
    loop {
        match content.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&piece[..read]);
                to(&piece[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(&error)),
        }
    }
    let is_right = hasher.finalize().as_bytes() == hash.as_bytes();
    if is_right { Ok(()) } else { Err(broken(&"it is something else than what was asked for")) }
}

fn broken(error: &dyn std::fmt::Display) -> Problem {
    Problem::new("failed", format!("the content broke off: {error}")).hint(
        "if the node's log says that the disk damaged it: `nexus-node blob rm` and `blob get` again, from another member",
    )
}

fn to_stdout(client: &Client, blob: &wire::Blob) -> Result<(), Problem> {
    if let Some(files) = blob.files {
        let message = format!("it is a directory of {}", count(files, "file", "files"));
        return Err(Problem::new("usage", message).hint("`-o DIR` writes it; it is on this node now"));
    }
    let stdout = io::stdout();
    let mut is_first = stdout.is_terminal();
    let mut out = stdout.lock();
    let written = copy(client, hash_of(blob)?, |piece| {
        if std::mem::take(&mut is_first)
            && piece.iter().any(|byte| byte.is_ascii_control() && !b"\t\n\r".contains(byte))
        {
            return Err(Problem::new("usage", "its content is no text for a terminal").hint("`-o FILE` writes it"));
        }
        match out.write_all(piece) {
            // the reader has seen enough
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => other.map_err(|error| unwritten(Path::new("stdout"), &error)),
        }
    });
    written?;
    out.flush().map_err(|error| unwritten(Path::new("stdout"), &error))
}

fn to_file(client: &Client, printer: &Printer, blob: &wire::Blob, output: &Path) -> Result<(), Problem> {
    if output.is_dir() {
        let problem = Problem::new("conflict", format!("{} is a directory, and the blob is a file", output.display()));
        return Err(problem.hint("nothing was written; give the path of the file"));
    }
    let out = OutFile::open(output)?;
    let bar = printer.transfer("writing", Some(blob.size));
    // a pipe or a device has no blocks to share
    let blobs = client.directory().map(BlobsBeside::of).filter(|_| out.is_plain());
    let filled = fill(client, blobs.as_ref(), hash_of(blob)?, out.file(), output, &bar);
    bar.finish_and_clear();
    filled?;
    out.keep()
}

fn to_directory(client: &Client, printer: &Printer, blob: &wire::Blob, output: &Path) -> Result<(), Problem> {
    if output.exists() && !output.is_dir() {
        let problem = Problem::new("conflict", format!("{} is a file, and the blob is a directory", output.display()));
        return Err(problem.hint("nothing was written; give a path that is not there yet"));
    }
    let collection = collection(client, hash_of(blob)?)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".nexus-blob-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let beside = builder.tempdir_in(directory_of(output)).map_err(|error| unwritten(output, &error))?;
    let bar = printer.transfer("writing", Some(blob.size));
    let mut unpacker = Unpacker::new(beside.path());
    let (links, files): (Vec<_>, Vec<_>) =
        collection.files().iter().partition(|file: &&CollectionFile| file.kind == FileKind::Symlink);
    let blobs = client.directory().map(BlobsBeside::of);
    for file in files {
        let to = unpacker.file(file).map_err(|error| bad_tree(&error))?;
        fill(client, blobs.as_ref(), file.hash, &to, Path::new(&file.path), &bar)?;
    }
    for link in links {
        let mut target = String::new();
        let read = content(client, link.hash)?.take(TARGET_BYTES_MAX).read_to_string(&mut target);
        read.map_err(|error| broken(&error))?;
        unpacker.link(link, &target).map_err(|error| bad_tree(&error))?;
    }
    bar.finish_and_clear();
    if let Ok(before) = fs::metadata(output) {
        becomes_like(beside.path(), &before);
        // it is empty, or this fails
        fs::remove_dir(output).map_err(|error| unwritten(output, &error))?;
    }
    fs::rename(beside.path(), output).map_err(|error| unwritten(output, &error))?;
    // it has another name now
    let _ = beside.keep();
    Ok(())
}

fn collection(client: &Client, links: BlobHash) -> Result<Collection, Problem> {
    let whole = |hash| {
        let mut bytes = Vec::new();
        copy(client, hash, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok::<_, Problem>(bytes)
    };
    let bad = |error: BadCollection| bad_tree(&error.into());
    let links = whole(links)?;
    let names = whole(Collection::names_of(&links).map_err(bad)?)?;
    Collection::read(&links, &names).map_err(bad)
}
