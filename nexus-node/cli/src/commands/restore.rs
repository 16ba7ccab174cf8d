use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use nexus_identity::Keypair;
use nexus_node::api::Problem;
use nexus_node::datadir::{KeyKind, key_from_text};
use nexus_node::internals::backup::{Choice, Contents, Source, restore};
use nexus_node::internals::salvage::{Damage, DamagedFile};
use serde_json::json;
use zeroize::Zeroizing;

use crate::output::count;
use crate::session::CliSession;

/// The longest file of a key.
const KEY_BYTES_MAX: u64 = 64 << 10;

/// Make an empty data directory the node of a backup, or a damaged one whole
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// A directory or stream of `backup`, or a copy of a data directory; `-` reads a stream from stdin
    #[arg(value_name = "DIR|FILE|-", required_unless_present = "from_peers", conflicts_with = "from_peers")]
    from: Option<String>,
    /// The node's key, for a backup without keys
    #[arg(long, value_name = "FILE", conflicts_with = "from_peers")]
    identity: Option<PathBuf>,
    /// Leave out the blobs
    #[arg(long, conflicts_with = "from_peers")]
    no_blobs: bool,
    /// Make a damaged store anew from what can be read and, at the next start, from the other members
    #[arg(long)]
    from_peers: bool,
    /// With --from-peers: do not ask
    #[arg(long, requires = "from_peers")]
    yes: bool,
}

impl Restore {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        if session.elsewhere() {
            let problem = Problem::new("usage", "a restore makes a directory on this machine");
            return Err(problem.hint("leave --api out, and name the directory with --data-dir"));
        }
        let directory = session.data_dir()?;
        if self.from_peers {
            return mend(session, &directory, self.yes);
        }
        let identity = self.identity.as_deref().map(identity_in).transpose()?;
        let bar = session.printer.transfer("blobs", None);
        let told = |contents: &Contents| bar.set_position(contents.blob_bytes);
        let choice = Choice { identity: identity.as_ref(), no_blobs: self.no_blobs, told: Some(&told) };
        let restored = restore(self.source()?, &directory, choice);
        bar.finish_and_clear();
        let restored = restored?;
        let document = json!({
            "did": restored.did.to_string(),
            "name": restored.name,
            "mesh_did": restored.mesh.to_string(),
            "data_dir": directory,
            "entries": restored.contents.entries,
            "blobs": restored.contents.blobs,
            "blob_bytes": restored.contents.blob_bytes,
            "root_key": restored.contents.root,
            "kept_config": restored.kept_config,
        });
        session.printer.answer(&document, || {
            let mut entries = count(restored.contents.entries, "entry", "entries");
            if restored.contents.blobs > 0 {
                entries.push_str(&format!(" and {}", count(restored.contents.blobs, "blob", "blobs")));
            }
            format!("{} is {} again, with {entries}\nkept in {}", restored.name, restored.did, directory.display())
        })?;
        if restored.kept_config {
            session.printer.note("the config.toml that was there stays; the one of the backup is left out");
        }
        session.printer.note("the node goes on in a new log: never start the one that the backup is of again");
        session.printer.note(&format!("next: `{} up`", session.program()));
        Ok(())
    }

    fn source(&self) -> Result<Source, Problem> {
        let from = self.from.as_deref().unwrap_or("-");
        if from == "-" {
            return Ok(Source::Stream(Box::new(io::stdin())));
        }
        let path = Path::new(from);
        if path.is_dir() {
            return Ok(Source::Directory(path.to_owned()));
        }
        let file = File::open(path).map_err(|error| unread(path, &error))?;
        Ok(Source::Stream(Box::new(BufReader::new(file))))
    }
}

/// Makes damaged stores anew. It says what it will do, and asks on a terminal.
fn mend(session: &CliSession, directory: &Path, yes: bool) -> Result<(), Problem> {
    let bar = session.printer.progress("reading", None);
    let damage = Damage::look(directory);
    bar.finish_and_clear();
    let damage = damage?;
    let plan = plan(&damage);
    if yes || !session.printer.asks() {
        session.printer.note(&plan);
    } else {
        session.printer.confirm(&format!("{plan}\n"))?;
    }
    let bar = session.printer.progress("entries", Some(damage.readable));
    let (did, name, mesh, unreadable) = (damage.did, damage.name.clone(), damage.mesh(), damage.unreadable);
    let salvaged = damage.mend(|entries| bar.set_position(entries));
    bar.finish_and_clear();
    let salvaged = salvaged?;
    let kept: Vec<serde_json::Value> =
        salvaged.kept.iter().map(|(file, kept)| json!({ "file": file, "kept_as": kept })).collect();
    let document = json!({
        "did": did.to_string(),
        "name": name,
        "mesh_did": mesh.to_string(),
        "data_dir": directory,
        "entries": salvaged.entries,
        "unreadable": unreadable,
        "damaged": kept,
    });
    session.printer.answer(&document, || {
        let entries = count(salvaged.entries, "entry", "entries");
        format!("{name} is {did} again, with {entries}\nkept in {}", directory.display())
    })?;
    session.printer.note(&format!("next: `{} up` fetches the rest from the other members", session.program()));
    Ok(())
}

/// The plan, for a person.
fn plan(damage: &Damage) -> String {
    let mut lines = Vec::new();
    for DamagedFile { name, error } in &damage.files {
        lines.push(format!("{name} is damaged: {error}"));
    }
    if damage.has_files() {
        lines.push("each damaged file is kept beside, with `.damaged`".to_owned());
    }
    if damage.is_of_memories() {
        let lost = match damage.unreadable {
            0 => String::new(),
            lost => format!(", {lost} cannot"),
        };
        lines.push(format!("{} can be read{lost}", count(damage.readable, "entry", "entries")));
        lines.push("a new store gets those that follow no damaged one in their log".to_owned());
        let members = match damage.peers() {
            0 => "members that know this node".to_owned(),
            peers => count(peers as u64, "known member", "known members"),
        };
        lines.push(format!("the rest comes from {members} at the next start; what none of them has is lost"));
    }
    if damage.files.iter().any(|file| file.name.starts_with("raft")) {
        lines.push("keys and locks come from the other coordinators; without one they are lost".to_owned());
    }
    lines.join("\n")
}

fn identity_in(path: &Path) -> Result<Keypair, Problem> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| unread(path, &error))?;
    key_from_text(KeyKind::Identity, &text).map_err(|error| {
        Problem::new("invalid", format!("{}: {error}", path.display())).hint("give the `identity.key` of the node")
    })
}

fn unread(path: &Path, error: &io::Error) -> Problem {
    let code = if error.kind() == io::ErrorKind::NotFound { "not_found" } else { "failed" };
    Problem::new(code, format!("{}: {error}", path.display())).hint("nothing was changed")
}
