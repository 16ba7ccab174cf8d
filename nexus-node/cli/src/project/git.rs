use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The longest configuration or pointer that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The most first commits that mark a repository: those with the lowest ids, so that all clones have the same.
const FIRST_COMMITS_MAX: usize = 4;

/// A repository around a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repository {
    /// The directory whose name the project has: of a worktree that of the main one, of a submodule its own.
    root: PathBuf,
    /// The working tree in which git is asked.
    tree: PathBuf,
    /// The directory with the configuration: all worktrees share it.
    common: PathBuf,
}

impl Repository {
    /// The innermost repository around a directory. One whose root is the home directory holds somebody's settings, and is
    /// no project of all below it.
    pub(super) fn around(directory: &Path, home: Option<&Path>) -> Option<Self> {
        let (tree, own) = directory.ancestors().take_while(|above| Some(*above) != home).find_map(|above| {
            let inside = above.join(".git");
            let own = if inside.is_dir() { inside } else { pointer(&inside, "gitdir:", above)? };
            Some((above.to_owned(), own))
        })?;
        let common = pointer(&own.join("commondir"), "", &own).unwrap_or_else(|| own.clone());
        let common = std::fs::canonicalize(&common).unwrap_or(common);
        // the worktrees of one repository are one project
        let root = match common.parent() {
            Some(main) if common != own && common.ends_with(".git") => main.to_owned(),
            _ if common != own => common.clone(),
            _ => tree.clone(),
        };
        Some(Self { root, tree, common })
    }

    /// The name of its root.
    pub(super) fn name(&self) -> Option<String> {
        let name = self.root.file_name()?.to_string_lossy().into_owned();
        Some(name.strip_suffix(".git").filter(|name| !name.is_empty()).map(str::to_owned).unwrap_or(name))
    }

    /// The addresses of its remotes, `origin` first.
    pub(super) fn remotes(&self) -> Vec<String> {
        let text = read(&self.common.join("config")).unwrap_or_default();
        let (mut first, mut others, mut remote) = (Vec::new(), Vec::new(), None);
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[') {
                let name = section.strip_prefix("remote \"").and_then(|rest| rest.rsplit_once("\"]"));
                remote = name.map(|(name, _)| name.to_owned());
            } else if let (Some(name), Some((key, value))) = (&remote, line.split_once('='))
                && key.trim().eq_ignore_ascii_case("url")
            {
                let list = if name == "origin" { &mut first } else { &mut others };
                list.push(value.trim().trim_matches('"').to_owned());
            }
        }
        first.append(&mut others);
        first
    }

    /// The ids of its first commits, if git tells them in time. A shallow clone has others, which say nothing.
    pub(super) fn first_commits(&self, patience: Duration) -> Vec<String> {
        if self.common.join("shallow").exists() {
            return Vec::new();
        }
        let mut git = Command::new("git");
        // a repository may come from anybody: nothing in its configuration is to be run, and nothing fetched
        git.args(["-c", "protocol.allow=never", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
        git.env("GIT_NO_LAZY_FETCH", "1").env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
        git.args(["rev-list", "--max-parents=0", "HEAD"]).current_dir(&self.tree);
        // a hook of git's own names another repository in these
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"] {
            git.env_remove(variable);
        }
        let started = git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut git) = started else { return Vec::new() };
        let Some(stdout) = git.stdout.take() else { return Vec::new() };
        let (sender, told) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut text = String::new();
            let whole = stdout.take(FILE_BYTES_MAX).read_to_string(&mut text);
            sender.send(whole.map(|_| text).unwrap_or_default())
        });
        let text = told.recv_timeout(patience);
        let _ = git.kill();
        let ended = git.wait();
        let text = text.ok().filter(|_| ended.is_ok()).unwrap_or_default();
        let is_id = |line: &&str| line.len() >= 40 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut ids: Vec<String> = text.lines().filter(is_id).map(str::to_owned).collect();
        ids.sort_unstable();
        ids.truncate(FIRST_COMMITS_MAX);
        ids
    }
}

/// The path in a file that points elsewhere, from the directory beside which it is read.
fn pointer(file: &Path, front: &str, from: &Path) -> Option<PathBuf> {
    let text = read(file)?;
    let path = text.strip_prefix(front)?.trim();
    (!path.is_empty()).then(|| from.join(path))
}

fn read(file: &Path) -> Option<String> {
    let mut text = Vec::new();
    std::fs::File::open(file).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
