//! The data directory of a service: whether a node can live there after a reboot, and who has it now.

use std::path::{Component, Path, PathBuf};

use nexus_node::api::Problem;
use nexus_node::datadir::{Contents, DataDir, DataDirError};

use super::account::{self, Owner};
use super::words::Scope;
use crate::commands::doctor::drive;
use crate::holder;
use crate::problems::data_dir_problem;
use crate::session::CliSession;

/// File systems that are empty after a reboot.
const FLEETING: [&str; 2] = ["tmpfs", "ramfs"];
/// Directories that many machines empty at a reboot, and that a service of the machine has of its own.
const SHARED_TMP: [&str; 2] = ["/tmp", "/var/tmp"];

/// The absolute path of a data directory, which need not exist.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Problem> {
    let absolute =
        std::path::absolute(path).map_err(|error| Problem::new("failed", format!("{}: {error}", path.display())))?;
    if !absolute.components().any(|part| part == Component::ParentDir) {
        // without `.` and doubled slashes
        return Ok(absolute.components().collect());
    }
    let existing = absolute.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    let rest = |part| absolute.strip_prefix(part).ok().filter(|rest| rest.components().all(is_name));
    match existing.and_then(|(part, real)| Some(real.join(rest(part)?))) {
        Some(real) => Ok(real.components().collect()),
        None => Err(Problem::new("invalid", format!("{} leads nowhere", path.display()))
            .hint("nothing was changed; give the directory without `..`")),
    }
}

fn is_name(part: Component<'_>) -> bool {
    matches!(part, Component::Normal(_))
}

/// Refuses a directory in which the service could not run.
pub(super) fn check(path: &Path, scope: Scope, session: &CliSession) -> Result<(), Problem> {
    DataDir::contents(path).map_err(data_dir_problem)?;
    if let Some(kind) = drive::kind_of(path).filter(|kind| FLEETING.contains(&kind.as_str())) {
        let message = format!("{} is on a {kind}, which is empty after a reboot", path.display());
        return Err(
            Problem::new("invalid", message).hint("nothing was changed; give a directory on a disk with --data-dir")
        );
    }
    let in_tmp = SHARED_TMP.iter().any(|shared| path.starts_with(shared));
    if in_tmp && scope == Scope::System {
        let message = format!(
            "{} is in a directory for temporary files, which a service of the machine does not see",
            path.display()
        );
        return Err(
            Problem::new("invalid", message).hint("nothing was changed; give another directory with --data-dir")
        );
    }
    if in_tmp {
        let message = format!("{} is in a directory that many machines empty at a reboot", path.display());
        session.printer.warning(&message, None);
    }
    rights(path, scope)
}

/// The account that a service of the machine runs as: the owner of its directory, and never root.
pub(super) fn account(path: &Path) -> Result<String, Problem> {
    let contents = DataDir::contents(path).map_err(data_dir_problem)?;
    let Some(owner) = Owner::of(path).filter(|_| contents == Contents::Node) else {
        let message = format!("{} holds no node, so nobody can tell whose service it is to be", path.display());
        let hint = "nothing was changed; name the directory of your node with --data-dir, or make one there first, as the \
                    account that is to run it: `nexus-node init`";
        return Err(Problem::new("not_found", message).hint(hint));
    };
    if owner.uid == 0 {
        let message = format!("{} belongs to root, and a node needs none of root's rights", path.display());
        let hint = "nothing was changed; give the directory to the account that is to run the node (`chown -R`), or use --user";
        return Err(Problem::new("refused", message).hint(hint));
    }
    Ok(owner.name())
}

/// Refuses a directory of another account, and one that the service's account could not write.
fn rights(path: &Path, scope: Scope) -> Result<(), Problem> {
    let denied = || data_dir_problem(DataDirError::Denied { file: path.to_owned() });
    if scope == Scope::System {
        return if account::owner_may_write(path) { Ok(()) } else { Err(denied()) };
    }
    if let Some(owner) = Owner::of(path).filter(|owner| owner.uid != account::own().uid) {
        let message = format!("{} belongs to {}", path.display(), owner.name());
        let hint = "nothing was changed; run this as that account, or give another directory with --data-dir";
        return Err(Problem::new("refused", message).hint(hint));
    }
    let existing = path.ancestors().find(|part| part.exists()).unwrap_or(path);
    if account::may_write(existing) { Ok(()) } else { Err(denied()) }
}

/// Refuses a directory that a node has, unless it is the node of process `ours`.
pub(super) fn free(path: &Path, ours: Option<u32>, session: &CliSession) -> Result<(), Problem> {
    // a lock that is not there is held by nobody, and must not be made by another account
    if !path.join("lock").exists() {
        return Ok(());
    }
    let data_dir = match DataDir::open_any(path) {
        Ok(data_dir) => data_dir,
        Err(DataDirError::Empty { .. }) => return Ok(()),
        Err(error) => return Err(data_dir_problem(error)),
    };
    match data_dir.lock() {
        Ok(_) => Ok(()),
        Err(DataDirError::InUse { pid, .. }) if pid.is_some() && pid == ours => Ok(()),
        Err(error) => {
            let found = holder::of_directory(&error);
            let hint =
                format!("nothing was changed; stop it first: `{} stop`, then install the service", session.program());
            Err(Problem::new("in_use", found.unwrap_or_else(|| error.to_string())).hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_absolute_without_steps_back() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        assert_eq!(absolute(&real.join("a/./b//c/")).unwrap(), real.join("a/b/c"));
        std::fs::create_dir(real.join("a")).unwrap();
        assert_eq!(absolute(&real.join("a/../x y")).unwrap(), real.join("x y"));
        assert_eq!(absolute(&real.join("no/../x")).unwrap_err().code, "invalid");
    }
}
