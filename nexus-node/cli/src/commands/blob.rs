//! Files and directories by their content, from whoever has them.

mod add;
mod get;
mod reference;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use nexus_client::wire;
use nexus_node::api::Problem;
use nexus_node::blobs::Links;

use self::reference::{SHORT, of, want_copies};
use crate::client::{Client, escape, query};
use crate::output::{Printer, Style, Table, called, count, size};
use crate::session::CliSession;

/// The most blobs of a page.
const PAGE: &str = "1000";
/// The longest time in which a node removes what nothing keeps.
const GC_WITHIN: Duration = Duration::from_secs(3_600);

/// Files and directories by their hash, from whoever has them
#[derive(Debug, Subcommand)]
pub(crate) enum Blob {
    /// Add a file, a directory or standard input, and print its hash
    ///
    /// Every member of the mesh that knows the hash can get it.
    Add {
        /// The file or directory; `-` for standard input
        path: PathBuf,
        /// A name that leads to it from now on; without one it is pinned
        #[arg(long)]
        tag: Option<String>,
        /// The treatment of symbolic links in a directory
        #[arg(long, value_enum, default_value_t = SymbolicLinks::Keep)]
        symlinks: SymbolicLinks,
        /// Have others keep copies, so many in all, this node's among them: 1 to 16
        #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=16))]
        copies: Option<u8>,
    },
    /// Get a blob, from this node or from the members that have it
    Get {
        /// The hash, the first digits of it, or a tag
        blob: String,
        /// The file or directory to write, instead of standard output (`-`)
        #[arg(short, long, value_name = "PATH")]
        output: Option<PathBuf>,
        /// Look for so long if nobody in reach has it
        #[arg(long, default_value = "10s", value_parser = wire::parse_duration)]
        wait: Duration,
    },
    /// List the blobs of this node, with the nodes that have them now
    List {
        /// With the files of directories
        #[arg(long)]
        all: bool,
    },
    /// Keep a blob on this node until it is unpinned
    Pin {
        /// The hash, the first digits of it, or a tag
        blob: String,
    },
    /// Take the pin of a blob away
    Unpin {
        /// The hash, the first digits of it, or a tag
        blob: String,
    },
    /// Let a name of this node lead to a blob, and keep it so
    Tag {
        /// The hash, the first digits of it, or a tag
        blob: String,
        /// The name
        tag: String,
    },
    /// Have other members keep copies of a blob, so many in all
    Copies {
        /// The hash, the first digits of it, or a tag
        blob: String,
        /// The number, this node's copy among them: 1 to 16. With 1 the others let go of theirs
        #[arg(value_parser = clap::value_parser!(u8).range(1..=16))]
        copies: u8,
    },
    /// Take a name of a blob away
    Untag {
        /// The name
        tag: String,
    },
    /// Remove a blob from this node, with its pin and tags; others keep theirs
    Rm {
        /// The hash, the first digits of it, or a tag
        blob: String,
    },
    /// Look through what is kept; damaged parts are marked and fetched anew
    Verify {
        /// The hash, the first digits of it, or a tag [default: all that something keeps]
        blob: Option<String>,
        /// Also blobs that nothing keeps
        #[arg(long, conflicts_with = "blob")]
        all: bool,
    },
    /// Remove the blobs that no pin, tag or directory keeps and nobody used for a while
    Gc {
        /// Only tell which
        #[arg(long)]
        dry_run: bool,
        /// Only those that nobody used for so long
        #[arg(long, default_value = "1h", value_parser = wire::parse_duration)]
        unused_for: Duration,
    },
}

/// The treatment of symbolic links in a directory.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SymbolicLinks {
    /// They stay links; one that leads out of the directory is refused
    Keep,
    /// The files to which they lead are added
    Follow,
    /// A directory with a link is refused
    Refuse,
}

impl From<SymbolicLinks> for Links {
    fn from(links: SymbolicLinks) -> Self {
        match links {
            SymbolicLinks::Keep => Self::Keep,
            SymbolicLinks::Follow => Self::Follow,
            SymbolicLinks::Refuse => Self::Refuse,
        }
    }
}

impl Blob {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let printer = &session.printer;
        match self {
            Self::Add { path, tag, symlinks, copies } => {
                add::add(&client.streaming(), printer, &path, tag.as_deref(), symlinks.into(), copies)
            }
            Self::Get { blob, output, wait } => get::get(&client.streaming(), printer, &blob, output.as_deref(), wait),
            Self::List { all } => list(&client, printer, all),
            Self::Pin { blob } => {
                let blob: wire::Blob = client.post(&of(&blob, "/pin"), &())?;
                printer.answer(&blob, || format!("pinned {}", blob.hash))
            }
            Self::Unpin { blob } => {
                let blob: wire::Blob = client.post(&of(&blob, "/unpin"), &())?;
                printer.answer(&blob, || match blob.tags.as_slice() {
                    [] => format!("unpinned {}", blob.hash),
                    tags => format!("unpinned {}; it is kept as {}", blob.hash, tags.join(", ")),
                })
            }
            Self::Tag { blob, tag } => {
                let blob: wire::Blob = client.post(&of(&blob, "/tag"), &wire::BlobTag { tag: tag.clone() })?;
                printer.answer(&blob, || format!("{tag} is {}", blob.hash))
            }
            Self::Copies { blob, copies } => {
                let blob = want_copies(&client, &blob, copies)?;
                printer.answer(&blob, || match &blob.copies {
                    None => format!("no further copies of {}", blob.hash),
                    Some(copies) => format!("{} of {} copies of {}", copies.count, copies.wanted, blob.hash),
                })?;
                if copies > 1 {
                    printer.note(
                        "others get theirs as they are in reach; `nexus-node blob list` tells how many there are",
                    );
                }
                Ok(())
            }
            Self::Untag { tag } => {
                let blob: wire::Blob = client.delete(&format!("/v1/blobs/tags/{}", escape(&tag)))?;
                printer.answer(&blob, || format!("{tag} was {}", blob.hash))
            }
            Self::Rm { blob } => {
                let gone: wire::BlobsRemoved = client.delete(&of(&blob, ""))?;
                printer.answer(&gone, || format!("removed {}", removed(&gone)))
            }
            Self::Verify { blob, all } => verify::verify(&client.streaming(), printer, blob.as_deref(), all),
            Self::Gc { dry_run, unused_for } => {
                let asked = wire::BlobGc { unused_for: Some(wire::Span(unused_for)), dry_run };
                let gone: wire::BlobsRemoved = client.patient(GC_WITHIN).post("/v1/blobs/gc", &asked)?;
                printer.answer(&gone, || {
                    let named = gone.hashes.iter().filter(|_| dry_run).map(|hash| format!("\n{hash}"));
                    let verb = if dry_run { "would remove" } else { "removed" };
                    format!("{verb} {}{}", removed(&gone), named.collect::<String>())
                })
            }
        }
    }
}

fn removed(gone: &wire::BlobsRemoved) -> String {
    format!("{}, {}", count(gone.blobs, "blob", "blobs"), size(gone.bytes))
}

fn list(client: &Client, printer: &Printer, all: bool) -> Result<(), Problem> {
    let mut blobs: Vec<wire::Blob> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let all = all.then_some("true");
        let path = format!("/v1/blobs{}", query(&[("all", all), ("limit", Some(PAGE)), ("after", after.as_deref())]));
        let page: wire::BlobPage = client.get(&path)?;
        blobs.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let members: Vec<wire::Member> = if printer.json() { Vec::new() } else { client.get("/v1/members")? };
    printer.answer(&blobs, || table(&blobs, &members, printer))
}

fn table(blobs: &[wire::Blob], members: &[wire::Member], printer: &Printer) -> String {
    if blobs.is_empty() {
        return "no blobs here; `nexus-node blob add FILE` adds one".to_owned();
    }
    let mut table = Table::new(["HASH", "SIZE", "FILES", "KEPT", "COPIES", "ON"]);
    for blob in blobs {
        let pin = blob.pinned.then(|| "pinned".to_owned());
        let copies = blob.copies.as_ref().map(|copies| format!("{} of {} kept", copies.count, copies.wanted));
        let others = blob.kept_for.iter().map(|did| format!("for {}", called(members, did)));
        let damaged = (blob.damaged > 0).then(|| count(blob.damaged, "damaged part", "damaged parts"));
        let kept: Vec<String> = pin.into_iter().chain(blob.tags.iter().cloned()).chain(copies).chain(others).collect();
        let is_bad = damaged.is_some();
        let shown: Vec<String> = kept.iter().cloned().chain(damaged).collect();
        let on: Vec<String> = blob.providers.iter().map(|did| called(members, did)).collect();
        table.row([
            (blob.hash.chars().take(SHORT).collect(), Some(if kept.is_empty() { Style::Dim } else { Style::Bold })),
            (size(blob.size), None),
            (blob.files.map_or_else(String::new, |files| files.to_string()), None),
            (if shown.is_empty() { "no".to_owned() } else { shown.join(", ") }, is_bad.then_some(Style::Bad)),
            (blob.providers.len().to_string(), None),
            (on.join(", "), Some(Style::Dim)),
        ]);
    }
    table.show(printer)
}
