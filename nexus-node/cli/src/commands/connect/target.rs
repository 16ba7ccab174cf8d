//! The file of each program for MCP servers, and its form.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use directories::BaseDirs;
use nexus_node::api::Problem;

/// The programs that a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum ProgramChoice {
    Claude,
    Codex,
    Cursor,
    Vscode,
    Gemini,
    All,
}

impl ProgramChoice {
    /// Their places for a person, or for the project in this directory.
    pub(in crate::commands) fn targets(self, scope: Scope, here: &Path) -> Result<Vec<Target>, Problem> {
        let programs = match self {
            Self::Claude => vec![Program::Claude],
            Self::Codex => vec![Program::Codex],
            Self::Cursor => vec![Program::Cursor],
            Self::Vscode => vec![Program::Vscode],
            Self::Gemini => vec![Program::Gemini],
            Self::All => Program::ALL.to_vec(),
        };
        programs.into_iter().map(|program| Target::of(program, scope, here)).collect()
    }
}

/// A program that runs agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Program {
    Claude,
    Codex,
    Cursor,
    Vscode,
    Gemini,
}

/// The reach of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum Scope {
    User,
    Project,
}

impl Scope {
    pub(in crate::commands) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
        }
    }
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Format {
    /// JSON, with or without comments; the servers are under this name.
    Json { servers: &'static str },
    /// TOML; the servers are tables under `mcp_servers`.
    Toml,
}

/// The place of an entry.
#[derive(Debug)]
pub(in crate::commands) struct Target {
    pub(in crate::commands) program: Program,
    pub(in crate::commands) path: PathBuf,
    pub(in crate::commands) format: Format,
    /// The file for hooks, where the program is known to have some.
    pub(in crate::commands) hooks: Option<PathBuf>,
    /// Whether an entry names its type `stdio`.
    pub(in crate::commands) names_type: bool,
    /// A path that exists if the program is installed.
    sign: PathBuf,
}

impl Program {
    pub(in crate::commands) const ALL: [Self; 5] =
        [Self::Claude, Self::Codex, Self::Cursor, Self::Vscode, Self::Gemini];

    pub(in crate::commands) fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::Gemini => "gemini",
        }
    }

    /// Its name in a shell.
    fn command(self) -> &'static str {
        match self {
            Self::Vscode => "code",
            other => other.name(),
        }
    }

    pub(in crate::commands) fn title(self) -> &'static str {
        match self {
            Self::Claude => "Claude Code",
            Self::Codex => "Codex",
            Self::Cursor => "Cursor",
            Self::Vscode => "VS Code",
            Self::Gemini => "Gemini CLI",
        }
    }
}

impl Target {
    pub(in crate::commands) fn of(program: Program, scope: Scope, here: &Path) -> Result<Self, Problem> {
        let base = BaseDirs::new().ok_or_else(|| Problem::new("failed", "this account has no home directory"))?;
        let home = base.home_dir();
        let set = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        let (user, sign, project) = match program {
            Program::Claude => match set("CLAUDE_CONFIG_DIR") {
                Some(directory) => (directory.join(".claude.json"), directory, ".mcp.json"),
                None => (home.join(".claude.json"), home.join(".claude.json"), ".mcp.json"),
            },
            Program::Codex => {
                let directory = set("CODEX_HOME").unwrap_or_else(|| home.join(".codex"));
                (directory.join("config.toml"), directory, ".codex/config.toml")
            }
            Program::Cursor => (home.join(".cursor/mcp.json"), home.join(".cursor"), ".cursor/mcp.json"),
            Program::Vscode => {
                let directory = base.config_dir().join("Code").join("User");
                (directory.join("mcp.json"), directory, ".vscode/mcp.json")
            }
            Program::Gemini => (home.join(".gemini/settings.json"), home.join(".gemini"), ".gemini/settings.json"),
        };
        let format = match program {
            Program::Codex => Format::Toml,
            Program::Vscode => Format::Json { servers: "servers" },
            _ => Format::Json { servers: "mcpServers" },
        };
        let path = match scope {
            Scope::User => user,
            Scope::Project => here.join(project),
        };
        let hooks = (program == Program::Claude).then(|| match scope {
            Scope::User => set("CLAUDE_CONFIG_DIR").unwrap_or_else(|| home.join(".claude")).join("settings.json"),
            Scope::Project => here.join(".claude/settings.json"),
        });
        let names_type = matches!(program, Program::Claude | Program::Cursor | Program::Vscode);
        Ok(Self { program, path, format, hooks, names_type, sign })
    }

    /// Whether the program seems to be on this machine: its files are here, or a shell would find it.
    pub(in crate::commands) fn is_here(&self) -> bool {
        let name = self.program.command();
        let found = |path: std::ffi::OsString| {
            std::env::split_paths(&path).any(|directory| {
                ["", ".exe", ".cmd"].iter().any(|end| directory.join(format!("{name}{end}")).is_file())
            })
        };
        self.sign.exists() || std::env::var_os("PATH").is_some_and(found)
    }
}
