//! The permissions of a command, and its limits.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nexus_node::api::Problem;
use serde::{Deserialize, Serialize};

use super::Level;
use super::private::real;

/// The system's directories, which a command may read and run programs of.
pub(super) const SYSTEM: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];
/// The variables that a command keeps, besides those of its task and of `--env`.
const KEPT: [&str; 4] = ["PATH", "LANG", "TERM", "TZ"];
/// The beginning of more such variables.
const KEPT_PREFIX: &str = "LC_";
/// The most open files of a command in a sandbox, unless it is told otherwise.
const OPEN_FILES: u64 = 4096;
/// The largest file of a command in a sandbox, in bytes.
const FILE_SIZE: u64 = 16 << 30;
/// The most bytes in its own directory.
const DISK: u64 = 32 << 30;
/// The most processes of it at a time.
const PROCESSES: u64 = 1_000;

/// The permissions of a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) level: Level,
    /// Directories and files that it may read.
    pub(crate) read: Vec<PathBuf>,
    /// Directories and files that it may write.
    pub(crate) write: Vec<PathBuf>,
    /// Its program, a file.
    pub(crate) program: PathBuf,
    /// Bubblewrap's program, found before any command ran: a command may write into a directory of the `PATH`.
    pub(crate) bwrap: Option<PathBuf>,
    /// Whether it may use the network.
    pub(crate) net: bool,
    /// The directory that it sees as `/tmp`, if this machine can give it one.
    pub(crate) tmp: Option<PathBuf>,
    /// Files and directories that it never writes, wherever it may write.
    pub(crate) kept: Vec<PathBuf>,
    pub(crate) limits: Limits,
}

/// The limits of a command. The first four are of each of its processes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes of its address space.
    pub(crate) memory: Option<u64>,
    /// Seconds of a processor.
    pub(crate) cpu: Option<u64>,
    pub(crate) open_files: Option<u64>,
    /// Bytes of a file that it writes.
    pub(crate) file_size: Option<u64>,
    /// Bytes in its own directory.
    pub(crate) disk: Option<u64>,
    /// The number of its processes at a time.
    pub(crate) processes: Option<u64>,
}

impl Limits {
    /// Whether there are none.
    pub(crate) fn is_none(&self) -> bool {
        let Self { memory, cpu, open_files, file_size, disk, processes } = self;
        [memory, cpu, open_files, file_size, disk, processes].into_iter().all(Option::is_none)
    }

    /// These limits with those that a level has by itself.
    pub(crate) fn at(self, level: Level) -> Self {
        let or = |given: Option<u64>, most: u64| given.or((level > Level::None).then_some(most));
        let (open_files, file_size) = (or(self.open_files, OPEN_FILES), or(self.file_size, FILE_SIZE));
        let (disk, processes) = (or(self.disk, DISK), or(self.processes, PROCESSES));
        Self { open_files, file_size, disk, processes, ..self }
    }
}

/// A number of bytes: `512M`, `2G`, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl std::str::FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write 4096, 64K, 512M or 2G");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes > 0);
        bytes.map(Self).ok_or_else(wrong)
    }
}

/// The file of a program: a path as it is, a bare name by the `PATH`.
pub(crate) fn found(program: &OsStr) -> Option<PathBuf> {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return path.is_file().then(|| path.to_owned());
    }
    let directories = std::env::var_os("PATH")?;
    std::env::split_paths(&directories).map(|directory| directory.join(path)).find(|file| is_program(file))
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file()
}

/// The variables of a command in a sandbox, but for those of its task: others may hold secrets.
pub(crate) fn cleaned(more: &[String]) -> Vec<(OsString, OsString)> {
    let kept = |name: &OsStr| {
        let Some(name) = name.to_str() else { return false };
        KEPT.contains(&name) || name.starts_with(KEPT_PREFIX) || more.iter().any(|one| one == name)
    };
    std::env::vars_os().filter(|(name, _)| kept(name)).collect()
}

/// Checks that no permission reaches a secret: rules of Landlock allow, and none takes anything away again.
///
/// # Errors
/// A directory that the command may read holds the home directory or one of these, or lies in one of these.
pub(crate) fn forbidden(policy: &Policy, secret: &[PathBuf]) -> Result<(), Problem> {
    // they run outside of the sandbox, or before it is closed
    for program in std::env::current_exe().iter().chain(&policy.bwrap).map(|program| real(program)) {
        if policy.write.iter().any(|directory| program.starts_with(real(directory))) {
            let message = format!("the command could replace {}, which makes its sandbox", program.display());
            return Err(Problem::new("refused", message)
                .hint("call it from outside of the directories that the command may write"));
        }
    }
    let home = directories::BaseDirs::new().map(|base| real(base.home_dir()));
    let system = SYSTEM.iter().chain(&["/etc"]).map(PathBuf::from);
    let given = policy.read.iter().chain(&policy.write).cloned();
    for (directory, is_given) in system.map(|one| (one, false)).chain(given.map(|one| (one, true))) {
        let directory = real(&directory);
        for secret in secret.iter().map(|secret| real(secret)) {
            if secret.starts_with(&directory) || directory.starts_with(&secret) {
                let message =
                    format!("the command could read {}, since it may read {}", secret.display(), directory.display());
                return Err(Problem::new("refused", message).hint(
                    "name directories that have nothing to do with the node's, or move the node's with --data-dir; \
                     --sandbox none has no such check",
                ));
            }
        }
        if is_given && real(&std::env::temp_dir()).starts_with(&directory) {
            let message = format!("{} holds the directories of other tasks", directory.display());
            return Err(Problem::new("refused", message).hint("name a directory below it"));
        }
        if is_given && home.as_ref().is_some_and(|home| home.starts_with(&directory)) {
            let message = format!("{} holds your home directory, with its keys", directory.display());
            return Err(Problem::new("refused", message).hint("name a directory below it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_none() {
        let size = |text: &str| text.parse::<Bytes>().map(|Bytes(bytes)| bytes).ok();
        assert_eq!(size("4096"), Some(4096));
        assert_eq!((size("64K"), size("512m"), size("2GiB")), (Some(64 << 10), Some(512 << 20), Some(2 << 30)));
        for wrong in ["", "0", "K", "-1", "1.5G", "7X", "99999999999G", "12ü"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_permission_that_reaches_the_nodes_directory_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let (data, work) = (base.path().join("work/data"), base.path().join("work"));
        std::fs::create_dir_all(&work).unwrap();
        let policy = |read: &[&Path], write: &[&Path]| Policy {
            level: Level::Kernel,
            read: read.iter().map(PathBuf::from).collect(),
            write: write.iter().map(PathBuf::from).collect(),
            program: PathBuf::from("/bin/true"),
            bwrap: None,
            net: false,
            tmp: None,
            kept: Vec::new(),
            limits: Limits::default(),
        };
        let code = |policy: &Policy, secret: &Path| forbidden(policy, &[secret.to_owned()]).err().map(|one| one.code);
        assert_eq!(code(&policy(&[], &[&work]), &data), Some("refused"), "also one that is not there yet");
        assert_eq!(code(&policy(&[&work], &[]), &data), Some("refused"));
        assert_eq!(code(&policy(&[&data.join("x")], &[]), &data), Some("refused"));
        assert_eq!(code(&policy(&[], &[]), Path::new("/usr/share/nexus")), Some("refused"));
        assert_eq!(code(&policy(&[Path::new("/")], &[]), Path::new("/srv/x")), Some("refused"));
        let beside = base.path().join("beside");
        assert_eq!(code(&policy(&[&beside], &[&beside]), &data), None);
        #[cfg(unix)]
        {
            let link = base.path().join("link");
            std::os::unix::fs::symlink(&work, &link).unwrap();
            assert_eq!(code(&policy(&[&link], &[]), &data), Some("refused"), "a link is followed");
        }
    }
}
