//! The programs that run agents.

use clap::ValueEnum;

/// A program that runs agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum Program {
    Claude,
    Codex,
    Cursor,
    Vscode,
    Gemini,
    Copilot,
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

impl Program {
    pub(in crate::commands) const ALL: [Self; 6] =
        [Self::Claude, Self::Codex, Self::Cursor, Self::Vscode, Self::Gemini, Self::Copilot];

    pub(in crate::commands) fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::Gemini => "gemini",
            Self::Copilot => "copilot",
        }
    }

    /// Its name in a shell.
    pub(super) fn command(self) -> &'static str {
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
            Self::Copilot => "Copilot CLI",
        }
    }
}

/// The server's name in those files.
pub(in crate::commands) const NAME: &str = "nexus";
