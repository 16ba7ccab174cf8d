//! The call of this program that is written into the files of others.

use std::path::{Path, PathBuf};

use nexus_node::api::Problem;
use nexus_node::datadir::DataDir;

use super::agent_program::Scope;
use super::program_token;
use crate::session::{CliSession, default_data_dir, quoted};

/// The program's name, by which a shell finds it.
const PROGRAM: &str = "nexus-node";
/// The longest name of a project that a node takes, in bytes.
const PROJECT_BYTES_MAX: usize = 128;

/// A way to call this program, for the node of this session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) program: String,
    data_dir: Option<String>,
    project: Option<String>,
    /// The data directory in which each program's token is, if they have some.
    tokens: Option<PathBuf>,
    token_file: Option<String>,
    /// Whether other machines read the file, where each has a token of its own.
    pub(super) is_shared: bool,
    /// Conditions that each machine has to meet for itself.
    pub(super) needs: Vec<String>,
}

impl Call {
    /// The call for a person's own file names this program by its path, since not every program starts with a
    /// shell's PATH. A file of a project is read on other machines: it names nothing of this one.
    pub(super) fn of(scope: Scope, session: &CliSession, here: &Path) -> Result<Self, Problem> {
        if session.elsewhere() {
            return Err(Problem::new(
                "usage",
                "the server starts the node of a data directory, --api names another one",
            )
            .hint("leave --api and NEXUS_API out"));
        }
        let directory = session.data_dir()?;
        let absolute = std::path::absolute(&directory).unwrap_or_else(|_| directory.clone());
        let directory = (default_data_dir().as_ref() != Some(&directory))
            .then(|| std::path::absolute(&directory).unwrap_or(directory));
        let tokens = program_token::is_issued(session)?.then_some(absolute);
        match scope {
            Scope::User => {
                let program = crate::program::path();
                let program = program
                    .map_err(|error| Problem::new("failed", format!("this program cannot be found: {error}")))?;
                let data_dir = directory.map(|directory| directory.display().to_string());
                let program = program.display().to_string();
                let (token_file, is_shared, needs) = (None, false, Vec::new());
                Ok(Self { program, data_dir, project: None, tokens, token_file, is_shared, needs })
            }
            Scope::Project => {
                let project = project(here)?;
                let path = std::env::var_os("PATH").unwrap_or_default();
                let needs = needs(std::env::split_paths(&path), directory.as_deref());
                let (program, token_file, is_shared) = (PROGRAM.to_owned(), None, true);
                Ok(Self { program, data_dir: None, project, tokens, token_file, is_shared, needs })
            }
        }
    }

    /// The same with the token of a program, and the file of that. A file of a project is read on other machines: it names
    /// the program, and each machine finds its own token by that.
    pub(super) fn by(&self, program: &str) -> (Self, Option<PathBuf>) {
        let file = self.tokens.as_ref().map(|directory| DataDir::program_token_path(directory, program));
        let token_file = file.as_ref().filter(|_| !self.is_shared).map(|file| file.display().to_string());
        (Self { token_file, ..self.clone() }, file)
    }

    /// The arguments of a command.
    pub(super) fn arguments(&self, command: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let given = [("--data-dir", &self.data_dir), ("--token-file", &self.token_file), ("--project", &self.project)];
        for (flag, value) in given {
            arguments.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
        }
        arguments
    }

    /// The command as a line for a shell.
    pub(super) fn line(&self, command: &[&str]) -> String {
        // The shell of Windows' agents takes a backslash away.
        let program = if cfg!(windows) { self.program.replace('\\', "/") } else { self.program.clone() };
        let words = std::iter::once(program).chain(self.arguments(command));
        words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
    }
}

/// The name of a project's directory.
fn project(here: &Path) -> Result<Option<String>, Problem> {
    let Some(name) = here.file_name() else { return Ok(None) };
    let name = name.to_string_lossy().into_owned();
    if name.len() > PROJECT_BYTES_MAX || name.chars().any(char::is_control) {
        let message =
            format!("the name of this directory is no project's: it has 1 to {PROJECT_BYTES_MAX} plain characters");
        return Err(Problem::new("usage", message).hint("nothing was changed; rename the directory"));
    }
    Ok(Some(name))
}

/// The conditions for a file that names nothing of a machine.
fn needs(mut path: impl Iterator<Item = PathBuf>, data_dir: Option<&Path>) -> Vec<String> {
    let mut needs = Vec::new();
    if !path.any(|directory| ["", ".exe"].iter().any(|end| directory.join(format!("{PROGRAM}{end}")).is_file())) {
        needs.push(format!("each machine needs `{PROGRAM}` on its PATH, which has none here"));
    }
    if let Some(directory) = data_dir {
        let directory = directory.display();
        needs.push(format!(
            "this node's directory is not the default one: here the agent needs NEXUS_DATA_DIR={directory}"
        ));
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_line_for_a_shell_whatever_its_parts_hold() {
        let call = Call {
            program: "/opt/my tools/nexus-node".to_owned(),
            data_dir: Some("/it's".to_owned()),
            project: Some("a b".to_owned()),
            tokens: None,
            token_file: None,
            is_shared: false,
            needs: Vec::new(),
        };
        assert_eq!(
            call.line(&["hook", "prompt"]),
            "'/opt/my tools/nexus-node' hook prompt --data-dir '/it'\\''s' --project 'a b'"
        );
    }

    #[test]
    fn a_project_is_called_like_its_directory() {
        assert_eq!(project(Path::new("/a/my project")).unwrap().as_deref(), Some("my project"));
        assert_eq!(project(Path::new("/")).unwrap(), None);
        assert_eq!(project(Path::new("/a/b\nc")).unwrap_err().code, "usage");
        assert_eq!(project(&Path::new("/a").join("x".repeat(129))).unwrap_err().code, "usage");
    }

    #[test]
    fn a_missing_program_and_another_directory_are_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = || std::iter::once(directory.path().to_owned());
        assert_eq!(needs(path(), Some(Path::new("/elsewhere"))).len(), 2);
        std::fs::write(directory.path().join(PROGRAM), "").unwrap();
        assert!(needs(path(), None).is_empty());
    }
}
