//! Repositories of git in the directories that a command may write.
//!
//! A person's own git obeys `config`, `hooks` and `info/attributes` of a repository, and `.git` of a worktree says where these
//! lie. A command that may write them would run whatever it likes at the person's next `git status`. So they are never
//! writable, and with them all of `.git`, but for objects, refs and logs of a worktree's repository. The same holds for `.git`
//! in each submodule that is there. In the main working tree, a new `.git/commondir` would lead git to other settings, and a
//! file that is not there cannot be kept from being made. So nothing of `.git` is writable there.

use std::path::{Path, PathBuf};

use super::private::real;

/// The longest `.git` or `commondir` that is read, in bytes.
const POINTER_MAX: u64 = 64 << 10;
/// The most submodules whose `.git` is kept.
const SUBMODULES_MAX: usize = 1_000;

/// A repository that a directory belongs to, by its `.git`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// `.git` in the directory: a directory, or a file in a worktree or a submodule.
    entry: PathBuf,
    /// The directory of git's own files about this working tree.
    own: PathBuf,
    /// The directory of the whole repository. The same without worktrees.
    common: PathBuf,
}

impl Repository {
    /// The repository whose working tree begins at a directory.
    ///
    /// A command of before may have written `.git`. So it leads out of the directory only where the other end knows of this
    /// working tree: else it would open whatever it names.
    pub(crate) fn of(directory: &Path) -> Option<Self> {
        let directory = real(directory);
        let entry = directory.join(".git");
        let kind = entry.symlink_metadata().ok()?;
        if kind.is_dir() {
            return Some(Self { own: entry.clone(), common: entry.clone(), entry });
        }
        let pointer = text(&entry).filter(|_| kind.is_file())?;
        let own = real(&directory.join(pointer.strip_prefix("gitdir:")?.trim()));
        let within = |own: PathBuf| Some(Self { entry: entry.clone(), common: own.clone(), own });
        if !own.is_dir() {
            return None;
        }
        if let Some(common) = own.parent().filter(|above| above.ends_with("worktrees")).and_then(Path::parent) {
            let is_known = text(&own.join("gitdir")).is_some_and(|back| real(&own.join(back.trim())) == entry);
            let is_its = text(&own.join("commondir")).is_some_and(|above| real(&own.join(above.trim())) == common);
            let common = common.to_owned();
            return (is_known && is_its).then_some(Self { entry, own, common });
        }
        // a submodule: what lies above the directory no command of here has written
        let above = directory.ancestors().skip(1);
        let is_modules = above.into_iter().any(|above| own.starts_with(above.join(".git/modules")));
        if is_modules || own.starts_with(&directory) { within(own) } else { None }
    }

    /// Whether a directory has a `.git` that cannot be kept from being replaced.
    pub(crate) fn is_loose(directory: &Path) -> bool {
        directory.join(".git").is_symlink()
    }

    /// `.git` in a directory, wherever it leads.
    pub(crate) fn entry_in(directory: &Path) -> Option<PathBuf> {
        let entry = directory.join(".git");
        entry.symlink_metadata().is_ok().then_some(entry)
    }

    /// The directories that git reads.
    pub(crate) fn read(&self) -> Vec<PathBuf> {
        let mut read = vec![self.common.clone()];
        if !self.own.starts_with(&self.common) {
            read.push(self.own.clone());
        }
        read
    }

    /// The directories that git writes for a commit. There are some in a worktree alone: elsewhere they cannot be told from
    /// those that nobody may write.
    pub(crate) fn written(&self) -> Vec<PathBuf> {
        let is_worktree = self.own.parent().is_some_and(|above| above == self.common.join("worktrees"));
        // its own settings would lie in a file that may not be there yet
        if !is_worktree || text(&self.common.join("config")).is_none_or(|text| has_own_settings(&text)) {
            return Vec::new();
        }
        let parts = ["objects", "refs", "logs"].map(|part| self.common.join(part));
        parts.into_iter().filter(|part| part.is_dir()).chain([self.own.clone()]).collect()
    }

    /// The files and directories that are never written, each of which is there.
    pub(crate) fn kept(&self) -> Vec<PathBuf> {
        let mut kept = vec![self.entry.clone()];
        kept.extend(self.submodules());
        if self.own != self.common {
            let pointers = ["commondir", "gitdir", "config.worktree"].map(|name| self.own.join(name));
            kept.extend(pointers.into_iter().filter(|pointer| pointer.exists()));
        }
        kept
    }
}

impl Repository {
    /// `.git` of each submodule that is there, and of those in them.
    fn submodules(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = Vec::new();
        let mut next: Vec<PathBuf> = self.entry.parent().map(Path::to_owned).into_iter().collect();
        while let Some(tree) = next.pop() {
            let listed = text(&tree.join(".gitmodules")).unwrap_or_default();
            let paths = listed.lines().filter_map(|line| line.split_once('=').filter(|(key, _)| key.trim() == "path"));
            for (_, path) in paths {
                let below = real(&tree.join(path.trim()));
                let entry = below.join(".git");
                // a path that leads out of the tree is none of git's
                let is_new = below.starts_with(&tree) && entry.exists() && !found.contains(&entry);
                if is_new && found.len() < SUBMODULES_MAX {
                    found.push(entry);
                    next.push(below);
                }
            }
        }
        found
    }
}

/// Whether worktrees have settings of their own, by the setting `extensions.worktreeConfig` in whatever case.
fn has_own_settings(config: &str) -> bool {
    config.to_ascii_lowercase().contains("worktreeconfig")
}

/// A small text.
fn text(file: &Path) -> Option<String> {
    use std::io::Read;
    let file = std::fs::File::open(file).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    let mut text = String::new();
    file.take(POINTER_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Sandbox | `.git` opens nothing that does not know of this working tree, whoever wrote it
    #[test]
    fn a_worktree_leads_to_its_repository() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        let (main, tree, own) = (base.join("main"), base.join("tree"), base.join("main/.git/worktrees/tree"));
        for directory in [&own, &tree, &main.join(".git/objects"), &main.join(".git/refs"), &main.join(".git/hooks")] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        write(&main.join(".git/config"), "[core]\n");
        write(&tree.join(".git"), &format!("gitdir: {}\n", own.display()));
        write(&own.join("commondir"), "../..\n");
        write(&own.join("gitdir"), &format!("{}\n", tree.join(".git").display()));
        let (of_main, of_tree) = (Repository::of(&main).unwrap(), Repository::of(&tree).unwrap());
        assert_eq!((of_main.read(), of_main.written()), (vec![main.join(".git")], vec![]), "nothing of it is written");
        assert_eq!(of_main.kept(), [main.join(".git")]);
        assert_eq!(of_tree.read(), [main.join(".git")]);
        assert_eq!(of_tree.written(), [main.join(".git/objects"), main.join(".git/refs"), own.clone()]);
        assert_eq!(of_tree.kept(), [tree.join(".git"), own.join("commondir"), own.join("gitdir")]);
        write(&main.join(".git/config"), "[extensions]\n\tworktreeConfig = true\n");
        assert_eq!(of_tree.written(), Vec::<PathBuf>::new(), "settings that are not there yet could be made");
        // pointers that lead nowhere, or where nobody knows of this working tree
        let other = base.join("other");
        std::fs::create_dir_all(&other).unwrap();
        for text in [
            "",
            "gitdir:",
            "gitdir: /no/such",
            "x",
            "gitdir: /etc",
            &format!("gitdir: {}", main.join(".git").display()),
        ] {
            write(&other.join(".git"), text);
            // an empty one is the directory itself
            assert!(Repository::of(&other).is_none_or(|found| found.own == other), "{text:?}");
        }
        write(&other.join(".git"), &format!("gitdir: {}\n", own.display()));
        assert_eq!(Repository::of(&other), None, "it is another's");
        let made = other.join("made/worktrees/x");
        std::fs::create_dir_all(&made).unwrap();
        write(&made.join("gitdir"), &other.join(".git").display().to_string());
        write(&made.join("commondir"), &main.join(".git").display().to_string());
        write(&other.join(".git"), &format!("gitdir: {}\n", made.display()));
        assert_eq!(Repository::of(&other), None, "it claims to be of another repository");
        assert_eq!(Repository::of(&base), None);
    }
}
