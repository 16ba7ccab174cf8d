use std::fs;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::blobs::{
    BadTree, BlobsBeside, Collection, CollectionFile, FileChanged, FileKind, FileStamp, Found, Links, SteadyFile, walk,
};

use crate::client::{Client, query};
use crate::output::{Printer, count, size};

/// The number of files that are sent at a time.
const AT_ONCE: usize = 4;
/// Content that is kept by the directory of which it is a file.
const CACHED: [(&str, Option<&str>); 1] = [("cached", Some("true"))];

pub(super) fn add(
    client: &Client,
    printer: &Printer,
    path: &Path,
    tag: Option<&str>,
    links: Links,
    copies: Option<u8>,
) -> Result<(), Problem> {
    let kept = [("tag", tag)];
    let mut blob = if path == Path::new("-") {
        let bar = printer.transfer("adding", None);
        let sent = from_stdin(client, &kept, &bar);
        bar.finish_and_clear();
        sent?
    } else {
        let about = fs::metadata(path).map_err(|error| unread(path, &error))?;
        if about.is_dir() {
            directory(client, printer, path, tag, links)?
        } else if about.is_file() {
            let file = SteadyFile::open(path).map_err(|error| unread(path, &error))?;
            let bar = printer.transfer("adding", Some(about.len()));
            let sent = send_file(client, beside(client).as_ref(), &kept, file, &bar);
            bar.finish_and_clear();
            sent?
        } else {
            let problem = Problem::new("invalid", format!("{} is neither a file nor a directory", path.display()));
            return Err(problem.hint("`nexus-node blob add - < PATH` reads it to its end"));
        }
    };
    if let Some(copies) = copies {
        blob = super::reference::want_copies(client, &blob.hash, copies)?;
    }
    printer.answer(&blob, || blob.hash.clone())?;
    let files = blob.files.map(|files| format!("{}, ", count(files, "file", "files"))).unwrap_or_default();
    let kept = if blob.tags.is_empty() { "pinned".to_owned() } else { format!("as {}", blob.tags.join(", ")) };
    printer.note(&format!("{files}{}, {kept}; any member gets it with `nexus-node blob get HASH`", size(blob.size)));
    Ok(())
}

fn unread(path: &Path, error: &io::Error) -> Problem {
    let code = if error.kind() == io::ErrorKind::NotFound { "not_found" } else { "failed" };
    Problem::new(code, format!("{}: {error}", path.display()))
}

fn changed(changed: &FileChanged) -> Problem {
    let hint = "nothing was kept; add it again once nobody writes it, or add a copy of it";
    Problem::new("conflict", changed.to_string()).hint(hint)
}

/// Standard input: a pipe, or a file.
#[cfg(unix)]
fn from_stdin(client: &Client, kept: &[(&str, Option<&str>)], bar: &ProgressBar) -> Result<wire::Blob, Problem> {
    let unread = |error: io::Error| unread(Path::new("stdin"), &error);
    let stdin = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned().map_err(unread)?;
    send_steady(client, kept, SteadyFile::of(stdin.into(), None).map_err(unread)?, bar)
}

#[cfg(not(unix))]
fn from_stdin(client: &Client, kept: &[(&str, Option<&str>)], bar: &ProgressBar) -> Result<wire::Blob, Problem> {
    send(client, kept, bar.wrap_read(io::stdin().lock()))
}

/// Sends a file. If it changes meanwhile, its content breaks off before its end, and the node keeps nothing.
fn send_steady(
    client: &Client,
    parameters: &[(&str, Option<&str>)],
    mut content: SteadyFile,
    bar: &ProgressBar,
) -> Result<wire::Blob, Problem> {
    let sent = send(client, parameters, bar.wrap_read(&mut content));
    sent.map_err(|problem| content.check().err().map_or(problem, |now| changed(&now)))
}

fn send(client: &Client, parameters: &[(&str, Option<&str>)], content: impl Read) -> Result<wire::Blob, Problem> {
    client.put_content(&format!("/v1/blobs{}", query(parameters)), content)
}

/// The blobs of the node's directory, if this program has it.
fn beside(client: &Client) -> Option<BlobsBeside> {
    client.directory().map(BlobsBeside::of)
}

/// Shares a file with the node where the file system can do that, and sends it elsewhere.
fn send_file(
    client: &Client,
    beside: Option<&BlobsBeside>,
    parameters: &[(&str, Option<&str>)],
    content: SteadyFile,
    bar: &ProgressBar,
) -> Result<wire::Blob, Problem> {
    if let Some(offer) = beside.and_then(|beside| beside.offer(content.file())) {
        // the clone is of one moment, and of a file that somebody writes it is half of something
        content.check().map_err(|now| changed(&now))?;
        let parameters = [parameters, &[("offered", Some(offer.name()))]].concat();
        // an earlier version takes no offers, and a node of another account cannot open them
        if let Ok(blob) = send(client, &parameters, io::empty()) {
            bar.inc(blob.size);
            return Ok(blob);
        }
    }
    send_steady(client, parameters, content, bar)
}

fn directory(
    client: &Client,
    printer: &Printer,
    path: &Path,
    tag: Option<&str>,
    links: Links,
) -> Result<wire::Blob, Problem> {
    let found = walk(path, links).map_err(|error| bad_tree(&error))?;
    let stamps: Vec<_> = found.iter().map(stamp).collect();
    let bar = printer.transfer("adding", Some(found.iter().map(|file| file.size).sum()));
    let files = send_all(client, &found, &bar)?;
    is_as_before(path, links, &found, &stamps)?;
    let collection = Collection::new(files).map_err(|error| bad_tree(&error.into()))?;
    // each step names only content that is there: the files, the names, and last the directory
    send(client, &CACHED, Cursor::new(collection.names()))?;
    let sent = send(client, &[("directory", Some("true")), ("tag", tag)], Cursor::new(collection.links()));
    bar.finish_and_clear();
    sent
}

/// The state of a file of the directory; of a link its own, unless it is followed.
fn stamp(file: &Found) -> Option<FileStamp> {
    let about =
        if file.kind == FileKind::Symlink { fs::symlink_metadata(&file.source) } else { fs::metadata(&file.source) };
    about.ok().map(|about| FileStamp::of(&about))
}

/// Refuses a directory that somebody changed while its files were sent. Nothing keeps the files that were sent.
fn is_as_before(path: &Path, links: Links, found: &[Found], stamps: &[Option<FileStamp>]) -> Result<(), Problem> {
    let now = walk(path, links).map_err(|error| bad_tree(&error))?;
    let other = now.iter().zip(found).find(|(now, before)| now != before).map(|(now, _)| now);
    let other = other.or_else(|| now.get(found.len())).or_else(|| found.get(now.len()));
    let other =
        other.or_else(|| found.iter().zip(stamps).find(|(file, before)| stamp(file) != **before).map(|(file, _)| file));
    other.map_or(Ok(()), |file| Err(changed(&FileChanged(file.source.clone()))))
}

/// Sends the files, some at a time.
fn send_all(client: &Client, found: &[Found], bar: &ProgressBar) -> Result<Vec<CollectionFile>, Problem> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new((Vec::with_capacity(found.len()), None));
    let beside = beside(client);
    let work = || {
        while let Some(file) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
            let sent = send_one(client, beside.as_ref(), file, bar);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match sent {
                Ok(sent) => done.0.push(sent),
                Err(problem) => {
                    done.1.get_or_insert(problem);
                    // nobody begins another
                    next.store(found.len(), Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE.min(found.len()) {
            threads.spawn(work);
        }
    });
    let (files, problem) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    problem.map_or(Ok(files), Err)
}

fn send_one(
    client: &Client,
    beside: Option<&BlobsBeside>,
    file: &Found,
    bar: &ProgressBar,
) -> Result<CollectionFile, Problem> {
    let sent = if file.kind == FileKind::Symlink {
        let target = fs::read_link(&file.source).map_err(|error| unread(&file.source, &error))?;
        let target = target.into_os_string().into_encoded_bytes();
        send(client, &CACHED, bar.wrap_read(Cursor::new(target)))?
    } else {
        let content = SteadyFile::open(&file.source).map_err(|error| unread(&file.source, &error))?;
        send_file(client, beside, &CACHED, content, bar)?
    };
    let hash = sent.hash.parse().map_err(|_| Problem::new("failed", "the node's answer has no hash"))?;
    Ok(CollectionFile { path: file.path.clone(), hash, kind: file.kind })
}

/// The problem of a directory, with a way on.
pub(super) fn bad_tree(error: &BadTree) -> Problem {
    let (code, hint) = match error {
        BadTree::Link { .. } => ("invalid", Some("`--symlinks follow` adds what it leads to")),
        BadTree::Special(_) => ("invalid", Some("remove it, or add the other files by themselves")),
        BadTree::Collides(_) => {
            ("conflict", Some("nothing was written; get it on a disk that tells upper from lower case"))
        }
        BadTree::Name(_) => ("invalid", Some("give the file a name that every platform can have")),
        BadTree::Loop(_) => ("invalid", Some("`--symlinks keep` keeps the link as it is")),
        BadTree::Io { .. } => ("failed", None),
        _ => ("invalid", None),
    };
    let problem = Problem::new(code, error.to_string());
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
