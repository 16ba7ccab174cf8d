//! The file of each program for MCP servers, and its form.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use directories::BaseDirs;
use nexus_node::api::Problem;

use super::agent_program::NAME;
use super::agent_program::{Program, Scope};
use super::hooks::{Form, HookFile};

/// The programs that a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum ProgramChoice {
    Claude,
    Codex,
    Cursor,
    Vscode,
    Gemini,
    Copilot,
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
            Self::Copilot => vec![Program::Copilot],
            Self::All => Program::ALL.to_vec(),
        };
        programs.into_iter().map(|program| Target::of(program, scope, here)).collect()
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
    /// The file for hooks, where the program has some.
    pub(in crate::commands) hooks: Option<HookFile>,
    /// The file that teaches the tools to the program's agents.
    pub(in crate::commands) skill: PathBuf,
    /// Whether an entry names its type `stdio`.
    pub(in crate::commands) names_type: bool,
    /// A path that exists if the program is installed.
    sign: PathBuf,
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
            Program::Gemini => {
                let directory = set("GEMINI_CLI_HOME").unwrap_or_else(|| home.to_owned()).join(".gemini");
                (directory.join("settings.json"), directory, ".gemini/settings.json")
            }
            Program::Copilot => {
                let directory = set("COPILOT_HOME").unwrap_or_else(|| home.join(".copilot"));
                (directory.join("mcp-config.json"), directory, ".github/mcp.json")
            }
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
        // a person's own directory of the program, and the project's
        let (own, shared) = match program {
            Program::Claude => (set("CLAUDE_CONFIG_DIR").unwrap_or_else(|| home.join(".claude")), ".claude"),
            Program::Codex => (sign.clone(), ".codex"),
            Program::Cursor => (sign.clone(), ".cursor"),
            Program::Gemini => (sign.clone(), ".gemini"),
            Program::Copilot => (sign.clone(), ".github"),
            Program::Vscode => (home.join(".copilot"), ".github"),
        };
        let directory = match scope {
            Scope::User => own,
            Scope::Project => here.join(shared),
        };
        let file = match program {
            Program::Codex | Program::Cursor => "hooks.json",
            Program::Copilot => "hooks/nexus.json",
            _ => "settings.json",
        };
        let hooks = Form::of(program).map(|form| HookFile { path: directory.join(file), form });
        // Codex reads skills where several programs look for them
        let skills = match (program, scope) {
            (Program::Codex, Scope::User) => home.join(".agents"),
            (Program::Codex, Scope::Project) => here.join(".agents"),
            _ => directory,
        };
        let skill = skills.join("skills").join(NAME).join("SKILL.md");
        let names_type = matches!(program, Program::Claude | Program::Cursor | Program::Vscode);
        Ok(Self { program, path, format, hooks, skill, names_type, sign })
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
