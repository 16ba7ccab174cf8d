pub(in crate::commands) mod markdown;
mod others;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::{Value, json};

use self::others::Origin;
use crate::output::count;
use crate::session::CliSession;

/// The bytes sent at once. Each answer is read before more is sent, so neither side waits for the
/// other's buffer.
const CHUNK_BYTES: usize = 512 << 10;
/// The most refused lines that are reported one by one.
const TOLD_MAX: u64 = 20;

/// Write memories from JSON Lines, as `export` prints them, or from what another program keeps
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file; `-` reads stdin. With --from the file or the directory, in place of the program's own
    #[arg(value_name = "FILE|-", required_unless_present = "from")]
    file: Option<String>,
    /// The program whose memories are taken in; read twice, they are written once
    #[arg(long, value_name = "PROGRAM", value_enum)]
    from: Option<Origin>,
    /// Lines with what looks like a secret: refuse them, mask it, or allow it
    #[arg(long, value_name = "WAY", default_value = "refuse")]
    secrets: Ways,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ways {
    /// The line is refused, and told by its number
    Refuse,
    /// `[KIND removed]` is written in its place
    Mask,
    /// It is written like any other text
    Allow,
}

impl Ways {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Mask => "mask",
            Self::Allow => "allow",
        }
    }
}

#[derive(Default)]
struct Counts {
    imported: u64,
    known: u64,
    expired: u64,
    forgotten: u64,
    refused: u64,
    /// Of those refused, lines with a secret.
    secrets: u64,
    masked: u64,
}

impl Import {
    /// Imports the file. A bad line is reported by number and stops nothing. The exit code tells of bad
    /// lines.
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let client = session.client()?.streaming();
        let path = format!("/v1/import?secrets={}", self.secrets.as_str());
        let named = self.file.as_deref();
        let name = named.unwrap_or_default();
        let failed = |error: io::Error| Problem::new("invalid", format!("{name}: {error}"));
        let (mut source, length): (Box<dyn BufRead>, _) = match (self.from, name) {
            (Some(Origin::ServerMemory), _) => return graph(&Origin::graph(named.map(Path::new))?, session),
            (Some(from), _) => {
                let found = from.read(named.map(Path::new), &session.client()?)?;
                session.printer.note(&format!("read {}", count(found.files as u64, "file", "files")));
                let length = found.lines.len() as u64;
                (Box::new(Cursor::new(found.lines)), Some(length))
            }
            (None, "-") => (Box::new(io::stdin().lock()), None),
            (None, name) => {
                let file = File::open(name).map_err(|error| {
                    let code = if error.kind() == io::ErrorKind::NotFound { "not_found" } else { "invalid" };
                    Problem::new(code, format!("{name}: {error}"))
                })?;
                let length = file.metadata().map_err(failed)?.len();
                (Box::new(BufReader::new(file)), Some(length))
            }
        };
        let progress = session.printer.progress("import", length);
        let mut counts = Counts::default();
        let mut lines_before = 0;
        // Asks also for an empty file, to report a missing node.
        let mut asked = false;
        loop {
            let mut chunk = Vec::new();
            let mut lines = 0;
            while chunk.len() < CHUNK_BYTES && source.read_until(b'\n', &mut chunk).map_err(failed)? > 0 {
                lines += 1;
            }
            if chunk.is_empty() && asked {
                break;
            }
            asked = true;
            let bytes = chunk.len() as u64;
            for answer in client.post_lines(&path, chunk)? {
                let answer: wire::Imported = serde_json::from_str(&answer?)
                    .map_err(|error| Problem::new("failed", format!("an answer cannot be understood: {error}")))?;
                counts.add(&answer, lines_before, session);
            }
            lines_before += lines;
            progress.inc(bytes);
        }
        progress.finish_and_clear();
        counts.finish(session)
    }
}

/// Takes the file of the reference memory server into the graph.
fn graph(path: &PathBuf, session: &CliSession) -> Result<(), Problem> {
    let failed = |error: io::Error| {
        let code = if error.kind() == io::ErrorKind::NotFound { "not_found" } else { "invalid" };
        Problem::new(code, format!("{}: {error}", path.display()))
    };
    let lines = std::fs::read(path).map_err(failed)?;
    let answers = session.client()?.streaming().post_lines("/v1/graph", lines)?;
    let text = answers.collect::<Result<Vec<_>, _>>()?.concat();
    let counts: Value = serde_json::from_str(&text)
        .map_err(|error| Problem::new("failed", format!("an answer cannot be understood: {error}")))?;
    session.printer.answer(&counts, || {
        let of = |name: &str| counts[name].as_u64().unwrap_or_default();
        format!(
            "imported {}, {} and {}: `connect` an agent with `mcp --profile graph` to read them as before",
            count(of("entities"), "entity", "entities"),
            count(of("observations"), "observation", "observations"),
            count(of("relations"), "relation", "relations")
        )
    })
}

impl Counts {
    fn add(&mut self, answer: &wire::Imported, lines_before: u64, session: &CliSession) {
        self.masked += u64::from(answer.masked);
        match &answer.error {
            None if answer.known => self.known += 1,
            None if answer.expired => self.expired += 1,
            None if answer.forgotten => self.forgotten += 1,
            None => self.imported += 1,
            Some(error) => {
                self.refused += 1;
                self.secrets += u64::from(error.code == "secret_found");
                if self.refused <= TOLD_MAX {
                    session.printer.warning(&format!("line {}: {}", answer.line + lines_before, error.message), None);
                }
            }
        }
    }

    fn finish(&self, session: &CliSession) -> Result<(), Problem> {
        let Self { imported, known, expired, forgotten, refused, secrets, masked } = *self;
        if refused > 0 {
            let told =
                if refused > TOLD_MAX { format!(" (the first {TOLD_MAX} are told above)") } else { String::new() };
            let message =
                format!("{} refused{told}; {imported} imported, {known} known", count(refused, "line", "lines"));
            let hint = match secrets {
                0 => "mend those lines and import them",
                _ => "mend those lines and import them; `--secrets mask` takes secrets out of them",
            };
            return Err(Problem::new("invalid", message)
                .hint(format!("{hint}. Lines of an export are not doubled, nor are those with an `id`")));
        }
        let document = json!({
            "imported": imported, "known": known, "forgotten": forgotten, "expired": expired, "refused": refused,
            "masked": masked,
        });
        session.printer.answer(&document, || {
            let mut text = format!("imported {}", count(imported, "memory", "memories"));
            for (number, what) in [(known, "here already"), (expired, "expired"), (masked, "with secrets masked")] {
                if number > 0 {
                    text.push_str(&format!(", {number} {what}"));
                }
            }
            if forgotten > 0 {
                let were =
                    if forgotten == 1 { "was forgotten here and stays so" } else { "were forgotten here and stay so" };
                text.push_str(&format!("; {forgotten} {were}: `nexus-node forget --undo ID` writes one again"));
            }
            text
        })
    }
}
