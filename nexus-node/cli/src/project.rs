//! The project of a directory, by what its repository says of itself. Nothing is written, and only the last part asks git.

mod git;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nexus_node::project::{ProjectChoice, ProjectPlace};

use self::git::Repository;
use crate::client::query;

/// The variables in which programs name the directory of a session to what they start, and the one with several.
const VARIABLES: [&str; 4] =
    ["CLAUDE_PROJECT_DIR", "GEMINI_PROJECT_DIR", "CURSOR_PROJECT_DIR", "WORKSPACE_FOLDER_PATHS"];

/// The place of a session in a directory; `None` for the home directory, the root, and what no project can be called.
///
/// A repository without a remote is known by its first commits alone, for which git is asked: at most for so long.
pub(crate) fn place_of(directory: &Path, patience: Duration) -> Option<ProjectPlace> {
    // of one that is gone its name is left
    let directory = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    match Repository::around(&directory, home().as_deref()) {
        Some(repository) => {
            let remotes = repository.remotes();
            let place = ProjectPlace::named(repository.name()?)?.remotes(remotes.iter().map(String::as_str));
            let commits = if place.marks.is_empty() { repository.first_commits(patience) } else { Vec::new() };
            Some(place.commits(commits.iter().map(String::as_str)))
        }
        None => {
            let is_nobodys = directory.parent().is_none() || home().is_some_and(|home| home == directory);
            if is_nobodys || directory == std::env::temp_dir() {
                return None;
            }
            ProjectPlace::named(directory.file_name()?.to_string_lossy().into_owned())
        }
    }
}

/// The same place with the marks of its first commits as well, by which forks and clones of another address are known.
pub(crate) fn with_commits(place: ProjectPlace, directory: &Path, patience: Duration) -> ProjectPlace {
    let Ok(directory) = std::fs::canonicalize(directory) else { return place };
    let Some(repository) = Repository::around(&directory, home().as_deref()) else { return place };
    if repository.remotes().is_empty() {
        // they are there already
        return place;
    }
    let commits = repository.first_commits(patience);
    place.commits(commits.iter().map(String::as_str))
}

/// The directory that the program around this one works in, by its variables; else the current one.
pub(crate) fn directory() -> Option<PathBuf> {
    let named = VARIABLES.iter().filter_map(std::env::var_os).filter(|value| !value.is_empty());
    let first = |value| std::env::split_paths(&value).next().filter(|path| path.is_absolute() && path.is_dir());
    named.filter_map(first).next().or_else(|| std::env::current_dir().ok())
}

/// The parameters of an address that say a session's project; empty for none.
pub(crate) fn parameters(choice: Option<&ProjectChoice>) -> String {
    match choice {
        None => String::new(),
        Some(ProjectChoice::Named(name)) => query(&[("project", Some(name))]),
        Some(ProjectChoice::At(place)) => {
            let marks = place.marks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let marks = Some(marks.as_str()).filter(|marks| !marks.is_empty());
            query(&[("place", Some(&place.name)), ("owner", place.owner.as_deref()), ("marks", marks)])
        }
        Some(_) => String::new(),
    }
}

fn home() -> Option<PathBuf> {
    std::fs::canonicalize(directories::BaseDirs::new()?.home_dir()).ok()
}
