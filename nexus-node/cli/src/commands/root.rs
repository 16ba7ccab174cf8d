mod sealed;

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use nexus_client::wire;
use nexus_identity::Keypair;
use nexus_node::api::Problem;
use nexus_node::datadir::{DataDir, KeyKind, key_from_text, key_to_text};
use serde_json::json;
use zeroize::Zeroizing;

use crate::problems::data_dir_problem;
use crate::session::CliSession;

/// The shortest passphrase, in characters.
const PASSPHRASE_CHARS_MIN: usize = 8;

/// The mesh's root key: out to a safe place, and back
#[derive(Debug, Subcommand)]
pub(crate) enum Root {
    /// Write the root key to a file; on a terminal it is sealed with a passphrase
    Export {
        /// The file, which must not exist yet
        file: PathBuf,
    },
    /// Remove the root key from this machine
    Remove,
    /// Bring the root key back
    Import {
        /// The file that `root export` wrote
        file: PathBuf,
    },
}

impl Root {
    /// Moves the key. It never passes through the API: the running node only tells its mesh.
    pub(crate) fn run(self, session: &CliSession) -> Result<(), Problem> {
        let status: wire::Status = session.client()?.get("/v1/status")?;
        let data_dir = DataDir::open(&session.data_dir()?).map_err(data_dir_problem)?;
        if data_dir.identity().did().to_string() != status.did {
            let message = format!("the node at that address is not the one of {}", data_dir.path().display());
            return Err(Problem::new("conflict", message).hint("run this on that node's machine"));
        }
        let mesh = status.mesh_did;
        match self {
            Self::Export { file } => {
                let key = held(&data_dir, &mesh)?;
                export(&key, &mesh, &file, session)?;
                report(session, &mesh, &file, || format!("wrote the root key of {mesh} to {}", file.display()))?;
                session.printer.note("keep it off this machine; then `nexus-node root remove`");
                Ok(())
            }
            Self::Remove => {
                held(&data_dir, &mesh)?;
                data_dir.remove_root().map_err(data_dir_problem)?;
                let path = data_dir.path().join("root.key");
                report(session, &mesh, &path, || format!("removed the root key of {mesh} from this machine"))
            }
            Self::Import { file } => {
                let key = key(&mesh, Some(&file), session)?;
                data_dir.write_root(&key).map_err(data_dir_problem)?;
                report(session, &mesh, &file, || format!("the root key of {mesh} is back"))
            }
        }
    }
}

/// The root key of a mesh: from a file, or the one on this machine.
pub(super) fn key(mesh: &str, file: Option<&Path>, session: &CliSession) -> Result<Keypair, Problem> {
    let Some(file) = file else {
        return held(&DataDir::open(&session.data_dir()?).map_err(data_dir_problem)?, mesh);
    };
    let key = import(file, session)?;
    if key.did().to_string() == mesh {
        return Ok(key);
    }
    Err(Problem::new("conflict", format!("{} is the root key of {}, not of {mesh}", file.display(), key.did())))
}

fn report(session: &CliSession, mesh: &str, path: &Path, text: impl FnOnce() -> String) -> Result<(), Problem> {
    session.printer.answer(&json!({ "mesh_did": mesh, "path": path }), text)
}

/// The root key on this machine, if it is that of the mesh.
fn held(data_dir: &DataDir, mesh: &str) -> Result<Keypair, Problem> {
    let key = data_dir.root().map_err(data_dir_problem)?;
    key.filter(|key| key.did().to_string() == mesh).ok_or_else(|| {
        Problem::new("not_found", format!("the root key of {mesh} is not on this machine")).hint(
            "it is where the mesh was made, or where it was exported to; `nexus-node root import FILE` brings it back",
        )
    })
}

fn export(key: &Keypair, mesh: &str, file: &Path, session: &CliSession) -> Result<(), Problem> {
    let plain = key_to_text(KeyKind::Root, key);
    let text = if io::stdin().is_terminal() && io::stderr().is_terminal() {
        let passphrase = Zeroizing::new(session.printer.secret("passphrase:")?);
        if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
            let hint = "several words are easier to keep than one odd one";
            let message = format!("a passphrase has at least {PASSPHRASE_CHARS_MIN} characters");
            return Err(Problem::new("invalid", message).hint(hint));
        }
        if *passphrase != *Zeroizing::new(session.printer.secret("once more:")?) {
            return Err(Problem::new("invalid", "the passphrases differ"));
        }
        Zeroizing::new(sealed::seal(&plain, mesh, &passphrase)?)
    } else {
        let message = "the key is written unsealed: whoever reads the file owns the mesh";
        session.printer.warning(message, Some("on a terminal it is sealed with a passphrase"));
        plain
    };
    write_new(file, text.as_bytes())
}

/// Writes a new file for its owner alone, durably.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Problem::new("conflict", format!("{} is there already", path.display()))
            .hint("choose another name; what is there may be a key"),
        _ => disk(path, &error),
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| disk(path, &error))
}

fn import(file: &Path, session: &CliSession) -> Result<Keypair, Problem> {
    let text = fs::read_to_string(file).map(Zeroizing::new).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::new("not_found", format!("there is no {}", file.display())),
        _ => disk(file, &error),
    })?;
    let text = if sealed::is_sealed(&text) {
        let passphrase = if io::stdin().is_terminal() {
            session.printer.secret("passphrase:")?
        } else {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map_err(|error| disk(Path::new("stdin"), &error))?;
            line.trim_end_matches(['\n', '\r']).to_owned()
        };
        sealed::open(&text, &Zeroizing::new(passphrase))?
    } else {
        text
    };
    key_from_text(KeyKind::Root, &text)
        .map_err(|error| Problem::new("invalid", format!("{} holds no root key: {error}", file.display())))
}

fn disk(path: &Path, error: &io::Error) -> Problem {
    Problem::new("failed", format!("{}: {error}", path.display()))
}
