//! A section of a file that is kept from the mesh, for programs that read AGENTS.md, CLAUDE.md or GEMINI.md.
//!
//! Agents take such a file for their user's words. So it has memories of this node alone, and of the members that the
//! person names. It goes one way: a line that somebody writes into the section becomes a proposal, of which the next brief
//! tells.

mod section;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use nexus_client::wire;
use nexus_identity::{Did, Timestamp, folded};
use nexus_node::api::Problem;
use nexus_node::project::ProjectChoice;
use serde_json::{Value, json};

use self::section::{Mirrored, item, lines};
use crate::client::{Client, query};
use crate::outfile::{self, behind_links};
use crate::output::count;
use crate::project;
use crate::session::CliSession;

/// The kinds that are mirrored, each with its heading.
const KINDS: [(&str, &str); 4] =
    [("decision", "Decisions"), ("preference", "Preferences"), ("fact", "Facts"), ("task", "Unfinished")];
/// The most memories of a kind, and the longest section, in characters.
const OF_KIND_MAX: &str = "40";
const CHARS_MAX: usize = 12_000;
/// The longest wait for git.
const GIT_TIMEOUT: Duration = Duration::from_secs(2);
/// The time for which changes are gathered.
const TOGETHER: Duration = Duration::from_secs(1);

/// Keep a section of a file up to date from the memory
#[derive(Debug, Args)]
pub(crate) struct Mirror {
    /// AGENTS.md, CLAUDE.md, GEMINI.md, or any other file
    file: PathBuf,
    /// The project, in place of that of the file's directory
    #[arg(long, value_name = "P")]
    project: Option<String>,
    /// Memories of this member, too; repeated, of several
    #[arg(long, value_name = "MEMBER")]
    by: Vec<String>,
    /// Go on, and follow changes until stopped
    #[arg(long)]
    watch: bool,
}

impl Mirror {
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?;
        let project = self.project(&client)?;
        self.once(&project, &client, session)?;
        if !self.watch {
            return Ok(());
        }
        let following = session.client()?.streaming();
        // one change that waits is as good as many: each time the section is made anew
        let (sender, changes) = mpsc::sync_channel(1);
        let ended = std::thread::spawn(move || {
            for line in following.lines("/v1/events", &[("accept", "text/event-stream")])? {
                if line?.starts_with("data:") {
                    let _ = sender.try_send(());
                }
            }
            Ok(())
        });
        while changes.recv().is_ok() {
            let until = Instant::now() + TOGETHER;
            while changes.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
            self.once(&project, &client, session)?;
        }
        ended.join().unwrap_or(Ok(()))
    }

    fn project(&self, client: &Client) -> Result<String, Problem> {
        if let Some(name) = &self.project {
            return Ok(name.clone());
        }
        let file = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone());
        let place = file.parent().and_then(|directory| project::place_of(directory, GIT_TIMEOUT));
        let place = place.ok_or_else(|| {
            let problem = Problem::new("usage", format!("{} is in no project", self.file.display()));
            problem.hint("name one: `nexus-node mirror FILE --project P`")
        })?;
        let answer: Value =
            client.get(&format!("/v1/project{}", project::parameters(Some(&ProjectChoice::At(place)))))?;
        Ok(answer["name"].as_str().unwrap_or_default().to_owned())
    }

    /// Writes the section as the mesh has it now, after what somebody wrote into it was proposed.
    fn once(&self, project: &str, client: &Client, session: &CliSession) -> Result<(), Problem> {
        let failed = |error: io::Error| Problem::new("failed", format!("{}: {error}", self.file.display()));
        let real = behind_links(&self.file).map_err(failed)?;
        let held = match fs::read_to_string(&real) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.map_err(failed)?,
        };
        let file = Mirrored::of(&held).map_err(|_| {
            let message = format!("the marks of the section in {} are not one pair", self.file.display());
            Problem::new("invalid", message)
                .hint("nothing was changed; take the marks out, or put the missing one back")
        })?;
        let parts = self.parts(project, client)?;
        let known: Vec<String> = parts.iter().flat_map(|(_, items)| items.clone()).collect();
        let proposed = file.by_hand(&known);
        for text in &proposed {
            propose(text, project, &self.file, client)?;
        }
        let after = file.with(&lines(&parts));
        let changed = after != held;
        if changed {
            // somebody may have written meanwhile
            let now = fs::read_to_string(&real).unwrap_or_default();
            if now != held {
                let problem = Problem::new("conflict", format!("{} was changed meanwhile", self.file.display()));
                return Err(problem.hint("it was left alone: try again"));
            }
            write(&real, after.as_bytes()).map_err(failed)?;
        }
        let document = json!({
            "path": self.file, "project": project, "memories": known.len(), "proposed": proposed.len(), "changed": changed,
        });
        session.printer.answer(&document, || {
            let what = if changed { "wrote" } else { "is as it was:" };
            let mut text = format!(
                "{} {what} {} of {project}",
                self.file.display(),
                count(known.len() as u64, "memory", "memories")
            );
            if !proposed.is_empty() {
                let of = count(proposed.len() as u64, "line", "lines");
                text.push_str(&format!("; {of} that you wrote wait for your word: `nexus-node list --kind proposal`"));
            }
            text
        })
    }

    /// The memories of the project by kinds, oldest first, so that a new one changes few lines.
    fn parts(&self, project: &str, client: &Client) -> Result<Vec<(&'static str, Vec<String>)>, Problem> {
        let status: wire::Status = client.get("/v1/status")?;
        let members: Vec<wire::Member> = client.get("/v1/members")?;
        let mut authors = vec![status.did];
        for wanted in &self.by {
            let called: Vec<&str> =
                members.iter().filter(|member| is_called(member, wanted)).map(|member| member.did.as_str()).collect();
            match called.as_slice() {
                [did] => authors.push((*did).to_owned()),
                [] => return Err(Problem::new("not_found", format!("no member is called {wanted}"))),
                several => {
                    let message = format!("{wanted} fits several members: {}", several.join(", "));
                    return Err(Problem::new("ambiguous", message).hint("give one of the DIDs"));
                }
            }
        }
        let mut chars = 0;
        let mut parts = Vec::new();
        for (kind, heading) in KINDS {
            let asked = [("project", Some(project)), ("kind", Some(kind)), ("limit", Some(OF_KIND_MAX))];
            let listing: wire::Listing = client.get(&format!("/v1/memories{}", query(&asked)))?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let now = Timestamp::from_ms(u64::try_from(now).unwrap_or_default()).to_string();
            let holds = |memory: &&wire::Memory| memory.valid_to.as_ref().is_none_or(|end| *end > now);
            let own = listing.items.iter().filter(|memory| authors.contains(&memory.author)).filter(holds);
            let mut items: Vec<String> =
                own.filter(|memory| memory.conflicts.is_empty()).map(|memory| item(&memory.text)).collect();
            items.retain(|item| {
                chars += item.chars().count();
                chars <= CHARS_MAX
            });
            items.reverse();
            parts.push((heading, items));
        }
        Ok(parts)
    }
}

/// Whether a DID or a name means a member, by the rules of the node: names are compared without case and form. A name with
/// the end of a DID means that member alone.
fn is_called(member: &wire::Member, wanted: &str) -> bool {
    if member.did == wanted || member.name == wanted {
        return true;
    }
    // equal names are shown with the ends of their DIDs
    let end = member.did.parse::<Did>().map(|did| format!(" ({})", did.short())).unwrap_or_default();
    let name = member.name.strip_suffix(&end).unwrap_or(&member.name);
    folded(name) == folded(wanted)
}

/// Proposes a line that somebody wrote. Proposed twice, it is one proposal.
fn propose(text: &str, project: &str, file: &Path, client: &Client) -> Result<(), Problem> {
    let hash = blake3::hash(format!("{project}\0{text}").as_bytes());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let memory = json!({
        "text": text,
        "kind": "proposal",
        "tags": [format!("project:{project}")],
        "id": format!("proposal:{}", &hash.to_hex()[..24]),
        "meta": { "file": name },
        "source": "import",
    });
    // an accepted proposal keeps its new kind
    let path = format!("/v1/memories/{}", memory["id"].as_str().unwrap_or_default());
    if client.get::<Value>(&path).is_ok() {
        return Ok(());
    }
    client.post::<Value>("/v1/memories", &memory).map(drop)
}

/// Writes a file whole, in the place of the one before.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.exists() {
        return outfile::replace(path, bytes);
    }
    fs::write(path, bytes)
}
