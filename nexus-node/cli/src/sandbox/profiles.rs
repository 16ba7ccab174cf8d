//! The needs of the tools of a kind, besides the files of the command itself: `worker --profile`.
//!
//! | profile | tools | reads | writes | variables |
//! |---|---|---|---|---|
//! | `python` | python3, python | packages of the account, directories of `PYTHONPATH` | | `PYTHONPATH`, `VIRTUAL_ENV`, `PYTHONUSERBASE` |
//! | `node` | node | directories of `NODE_PATH` | | `NODE_PATH` |
//! | `cargo` | cargo, rustc | sources and settings of Cargo, no credentials | | `CARGO_HOME`, `RUSTUP_HOME`, `CARGO_NET_OFFLINE` |
//! | `git` | git | git's settings of the account | with `--dir` a worktree: objects, refs and logs of its repository | `GIT_CONFIG_GLOBAL` |
//! | `agent` | | the credentials and settings of the agent that the command starts, file by file | the same | those that hold its key; it has the network |

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nexus_node::api::Problem;

use super::needs::{Around, Needs};

/// A kind of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Packages of the account beside those of the interpreter.
    Python,
    /// Modules of `NODE_PATH`.
    Node,
    /// Sources that Cargo has fetched, and its settings.
    Cargo,
    /// Git's settings; in a worktree, its repository.
    Git,
    /// Credentials and settings of the agent that the command starts, and the network; it takes --yes.
    Agent,
}

/// An agent's program, the files below home that it needs, and the variables that may hold its key.
struct Agent {
    program: &'static str,
    files: &'static [&'static str],
    variables: &'static [&'static str],
}

/// Files that are not there are left out.
const AGENTS: [Agent; 5] = [
    Agent {
        program: "claude",
        files: &[".claude/.credentials.json", ".claude.json", ".claude/settings.json", ".claude/CLAUDE.md"],
        variables: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN"],
    },
    Agent {
        program: "codex",
        files: &[".codex/auth.json", ".codex/config.toml", ".codex/AGENTS.md"],
        variables: &["OPENAI_API_KEY", "OPENAI_BASE_URL", "CODEX_API_KEY"],
    },
    Agent {
        program: "gemini",
        files: &[
            ".gemini/oauth_creds.json",
            ".gemini/google_accounts.json",
            ".gemini/installation_id",
            ".gemini/settings.json",
            ".gemini/GEMINI.md",
        ],
        variables: &["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT"],
    },
    Agent {
        program: "copilot",
        files: &[".copilot/config.json", ".config/github-copilot/apps.json", ".config/github-copilot/hosts.json"],
        variables: &["GH_TOKEN", "GITHUB_TOKEN"],
    },
    Agent {
        program: "opencode",
        files: &[".local/share/opencode/auth.json", ".config/opencode/opencode.json"],
        variables: &["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY"],
    },
];

/// The things that a profile opens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opened {
    /// Files below home that the command finds below its own home, too, by links. It reads and writes them.
    pub(crate) files: Vec<PathBuf>,
    /// Directories of a repository that it writes.
    pub(crate) write: Vec<PathBuf>,
    /// Variables that it keeps.
    pub(crate) keep: Vec<String>,
    /// Variables that it gets.
    pub(crate) set: Vec<(String, OsString)>,
    pub(crate) net: bool,
}

impl Profile {
    /// Adds what a profile opens to the needs of a command.
    ///
    /// # Errors
    /// The command is no agent that this program knows.
    pub(crate) fn open(self, needs: &mut Needs, opened: &mut Opened, around: &Around<'_>) -> Result<(), Problem> {
        let home = around.private.home.as_deref();
        let mut keep = |names: &[&str]| opened.keep.extend(names.iter().map(|name| (*name).to_owned()));
        match self {
            Self::Python => {
                ["python3", "python"].iter().for_each(|tool| needs.add_tool(tool, around));
                keep(&["PYTHONPATH", "VIRTUAL_ENV"]);
                add_listed(needs, "PYTHONPATH", around);
                let base =
                    std::env::var_os("PYTHONUSERBASE").map(PathBuf::from).or(home.map(|home| home.join(".local")));
                if let Some(base) = base.filter(|base| base.is_dir()) {
                    for packages in children(&base.join("lib")).filter(|path| named(path, "python")) {
                        needs.add(&packages, around.private);
                    }
                    opened.set.push(("PYTHONUSERBASE".to_owned(), base.into()));
                }
            }
            Self::Node => {
                needs.add_tool("node", around);
                keep(&["NODE_PATH"]);
                add_listed(needs, "NODE_PATH", around);
            }
            Self::Cargo => {
                ["cargo", "rustc"].iter().for_each(|tool| needs.add_tool(tool, around));
                for (name, below) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
                    let place = std::env::var_os(name).map(PathBuf::from).or(home.map(|home| home.join(below)));
                    let Some(place) = place.filter(|place| place.is_dir()) else { continue };
                    // neither `credentials.toml` nor what lies beside it
                    for part in ["registry", "git", "config.toml", "config", "settings.toml"] {
                        needs.add(&place.join(part), around.private);
                    }
                    opened.set.push((name.to_owned(), place.into()));
                }
            }
            Self::Git => {
                needs.add_tool("git", around);
                let settings = home.map(|home| [home.join(".gitconfig"), home.join(".config/git/config")]);
                let settings: Vec<PathBuf> = settings.into_iter().flatten().filter(|file| file.is_file()).collect();
                for file in settings.iter().chain(home.map(|home| home.join(".config/git/ignore")).iter()) {
                    needs.add(file, around.private);
                }
                if let Some(file) = settings.into_iter().next() {
                    opened.set.push(("GIT_CONFIG_GLOBAL".to_owned(), file.into()));
                }
                let repository = around.dir.and_then(super::git::Repository::of);
                opened.write.extend(repository.into_iter().flat_map(|one| one.written()));
            }
            Self::Agent => {
                let agent = AGENTS.iter().find(|agent| {
                    let starts = |word: &OsString| Path::new(word).file_stem() == Some(OsStr::new(agent.program));
                    needs.command.iter().any(starts)
                });
                let Some(agent) = agent else {
                    let known: Vec<&str> = AGENTS.iter().map(|agent| agent.program).collect();
                    let message =
                        format!("--profile agent knows no files of this command: it knows {}", known.join(", "));
                    return Err(Problem::new("usage", message).hint(
                        "open its files with --allow-read, its variables with --env, and the network with --allow-net",
                    ));
                };
                keep(agent.variables);
                let files = home.into_iter().flat_map(|home| agent.files.iter().map(|file| home.join(file)));
                opened.files.extend(files.filter(|file| file.is_file()));
                opened.net = true;
            }
        }
        Ok(())
    }
}

/// Adds the directories in a variable.
fn add_listed(needs: &mut Needs, variable: &str, around: &Around<'_>) {
    for directory in std::env::var_os(variable).iter().flat_map(std::env::split_paths) {
        if directory.is_absolute() {
            needs.add(&directory, around.private);
        }
    }
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn named(path: &Path, begin: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin))
}
