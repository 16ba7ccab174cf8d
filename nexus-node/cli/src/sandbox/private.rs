//! The places that no rule opens by itself: the home directory, what holds keys, the node's own directories.
//!
//! Rules of Landlock allow, and none takes anything away again. So a directory is opened only if nothing below it is secret, as
//! far as names tell. Where one is not, the file that a command needs is opened alone.

use std::path::{Path, PathBuf};

/// Names of files and directories that hold keys.
const KEYS: [&str; 22] = [
    ".aws",
    ".azure",
    ".docker",
    ".env",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pgpass",
    ".pypirc",
    ".ssh",
    ".vault-token",
    "api-token",
    "application_default_credentials.json",
    "credentials",
    "credentials.json",
    "credentials.toml",
    "secrets.json",
    "secrets.toml",
    "secrets.yaml",
];
/// The beginnings of more such names.
const KEY_BEGINNINGS: [&str; 2] = [".env.", "id_"];
/// The ends of more such names.
const KEY_ENDS: [&str; 6] = [".key", ".kdbx", ".p12", ".pem", ".pfx", ".ppk"];
/// Directories below home that hold what belongs to many programs.
const SHARED: [&str; 9] = [
    ".cache",
    ".config",
    ".local",
    ".local/bin",
    ".local/lib",
    ".local/share",
    ".local/state",
    "Library",
    "Library/Application Support",
];
/// The most names of a directory that are looked at. A directory with more is not opened.
const NAMES_MAX: usize = 10_000;

/// The places of this account that no rule opens by itself.
#[derive(Clone, Debug)]
pub(crate) struct Private {
    pub(crate) home: Option<PathBuf>,
    /// The directories of this account's nodes.
    secret: Vec<PathBuf>,
}

impl Private {
    pub(crate) fn new(home: Option<&Path>, secret: &[PathBuf]) -> Self {
        Self { home: home.map(real), secret: secret.iter().map(|path| real(path)).collect() }
    }

    /// Whether a directory may be opened without a person having named it.
    pub(super) fn may_open(&self, directory: &Path) -> bool {
        let directory = real(directory);
        let is_shared = |home: &PathBuf| {
            home.starts_with(&directory)
                || SHARED.iter().any(|shared| directory == home.join(shared))
                // such as `.cargo` and `.npm`, which hold settings and keys beside programs
                || directory.parent() == Some(home)
                    && starts_with_dot(&directory)
                    && !directory.join("pyvenv.cfg").is_file()
        };
        directory.is_dir()
            && directory.parent().is_some()
            && !real(&std::env::temp_dir()).starts_with(&directory)
            && !self.home.as_ref().is_some_and(is_shared)
            && !self.secret.iter().any(|secret| secret.starts_with(&directory) || directory.starts_with(secret))
            && !holds_keys(&directory)
    }

    /// Whether a file may be opened without a person having named it.
    pub(super) fn may_open_file(&self, file: &Path) -> bool {
        let file = real(file);
        let is_key = file.file_name().and_then(|name| name.to_str()).is_none_or(is_key);
        !is_key && !self.secret.iter().any(|secret| file.starts_with(secret))
    }

    /// A path for people.
    pub(crate) fn shown(&self, path: &Path) -> String {
        let below = self.home.as_ref().and_then(|home| path.strip_prefix(home).ok());
        below.map_or_else(|| path.display().to_string(), |below| format!("~/{}", below.display()))
    }
}

fn starts_with_dot(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_key(name: &str) -> bool {
    KEYS.contains(&name)
        // public keys are no secret
        || KEY_BEGINNINGS.iter().any(|begin| name.starts_with(begin)) && !name.ends_with(".pub")
        || KEY_ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether something directly in a directory looks like a key. A directory that cannot be read counts as one with keys.
fn holds_keys(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return true };
    let mut count = 0;
    for entry in entries {
        count += 1;
        let Ok(entry) = entry else { return true };
        if count > NAMES_MAX || entry.file_name().to_str().is_some_and(is_key) {
            return true;
        }
    }
    false
}

/// A path without links, as far as it exists.
pub(super) fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors()
        .find_map(|above| {
            let rest = path.strip_prefix(above).ok()?;
            let above = above.canonicalize().ok()?;
            Some(if rest.as_os_str().is_empty() { above } else { above.join(rest) })
        })
        .unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Sandbox | No directory with keys is opened by itself, nor the home directory, nor one of many programs
    #[test]
    fn what_holds_keys_is_not_opened() {
        let base = tempfile::tempdir().unwrap();
        let home = base.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let private = Private::new(Some(&home), &[home.join("node")]);
        let made = |path: &str| {
            let path = home.join(path);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let file = |path: &str| std::fs::write(home.join(path), "x").unwrap();
        for never in [".", "..", ".cargo", ".local", ".local/share", ".config", ".npm", "node", "node/x"] {
            assert!(!private.may_open(&made(never)), "{never}");
        }
        for may in ["code/tool", ".pyenv/versions/3.11.7", ".local/share/uv/tools/ruff", "venv"] {
            assert!(private.may_open(&made(may)), "{may}");
        }
        for (directory, key) in
            [("a", ".env"), ("b", ".env.local"), ("c", "server.pem"), ("d", "id_ed25519"), ("e", "credentials")]
        {
            made(directory);
            assert!(private.may_open(&home.join(directory)));
            file(&format!("{directory}/{key}"));
            assert!(!private.may_open(&home.join(directory)), "{key}");
            assert!(!private.may_open_file(&home.join(directory).join(key)), "{key}");
        }
        file("code/tool/id_ed25519.pub");
        assert!(private.may_open(&home.join("code/tool")), "a public key is none");
        made(".venv");
        file(".venv/pyvenv.cfg");
        assert!(private.may_open(&home.join(".venv")));
        assert!(!private.may_open(&home.join("missing")));
        assert_eq!(
            (private.shown(&real(&home).join("x/y")), private.shown(Path::new("/opt/x"))),
            ("~/x/y".into(), "/opt/x".into())
        );
    }
}
