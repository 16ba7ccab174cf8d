use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use nexus_node::api::{Problem, wire};
use nexus_node::blobs::{BadTree, BlobsBeside, Collection, CollectionFile, FileKind, Found, Links, walk};

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
        let sent = send(client, &kept, bar.wrap_read(io::stdin().lock()));
        bar.finish_and_clear();
        sent?
    } else {
        let about = fs::metadata(path).map_err(|error| unread(path, &error))?;
        if about.is_dir() {
            directory(client, printer, path, tag, links)?
        } else if about.is_file() {
            let file = File::open(path).map_err(|error| unread(path, &error))?;
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
        blob = super::want_copies(client, &blob.hash, copies)?;
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
    content: File,
    bar: &ProgressBar,
) -> Result<wire::Blob, Problem> {
    if let Some(offer) = beside.and_then(|beside| beside.offer(&content)) {
        let parameters = [parameters, &[("offered", Some(offer.name()))]].concat();
        // an earlier version takes no offers, and a node of another account cannot open them
        if let Ok(blob) = send(client, &parameters, io::empty()) {
            bar.inc(blob.size);
            return Ok(blob);
        }
    }
    send(client, parameters, bar.wrap_read(content))
}

fn directory(
    client: &Client,
    printer: &Printer,
    path: &Path,
    tag: Option<&str>,
    links: Links,
) -> Result<wire::Blob, Problem> {
    let found = walk(path, links).map_err(|error| bad_tree(&error))?;
    let bar = printer.transfer("adding", Some(found.iter().map(|file| file.size).sum()));
    let files = send_all(client, &found, &bar)?;
    let collection = Collection::new(files).map_err(|error| bad_tree(&error.into()))?;
    // each step names only content that is there: the files, the names, and last the directory
    send(client, &CACHED, Cursor::new(collection.names()))?;
    let sent = send(client, &[("directory", Some("true")), ("tag", tag)], Cursor::new(collection.links()));
    bar.finish_and_clear();
    sent
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
        let content = File::open(&file.source).map_err(|error| unread(&file.source, &error))?;
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
