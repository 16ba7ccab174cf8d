//! The service as it is to be: its words, checked once, whatever the platform.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::{launchd, systemd, task};

/// The sign of a file that this program wrote. A file without it is never changed or deleted.
const MARK: &str = "Written by `nexus-node service install`";

/// The most open files of a service: one for each connection of the largest `connections_max`.
pub(super) const FILES_MAX: u32 = 65_536;

/// The accounts for which a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// One account's own.
    User,
    /// The machine's.
    System,
}

impl Scope {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
        }
    }

    /// The flag that says so.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::User => "--user",
            Self::System => "--system",
        }
    }
}

/// A platform with services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Platform {
    Linux,
    Macos,
    Windows,
}

impl Platform {
    pub(super) fn here() -> Self {
        if cfg!(target_os = "macos") {
            Self::Macos
        } else if cfg!(windows) {
            Self::Windows
        } else {
            Self::Linux
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Macos => "macos",
            Self::Windows => "windows",
        }
    }

    /// The name of the service there.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Linux => systemd::UNIT,
            Self::Macos => launchd::LABEL,
            Self::Windows => task::NAME,
        }
    }

    /// Whether this project has ever loaded such a file.
    pub(super) fn tried(self) -> bool {
        self == Self::Linux
    }
}

/// A service that starts a node.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) scope: Scope,
    /// This program.
    pub(super) program: PathBuf,
    /// The node's directory.
    pub(super) data_dir: PathBuf,
    /// The account that runs it, where the file names one.
    pub(super) account: Option<String>,
    /// The place for state, if the account has another one than the usual.
    pub(super) state_home: Option<PathBuf>,
    /// The log file, where the platform keeps no log.
    pub(super) log: Option<PathBuf>,
}

/// The reason why a service cannot be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PlanError {
    /// A path is not text.
    NotText(PathBuf),
    /// A word has a character that ends lines, or that nobody sees.
    Control(String),
    /// A path depends on the current directory.
    Relative(PathBuf),
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotText(path) => write!(f, "{} is not text in UTF-8", path.display()),
            Self::Control(word) => write!(f, "{word:?} has a control character"),
            Self::Relative(path) => write!(f, "{} is not an absolute path", path.display()),
        }
    }
}

impl Plan {
    /// The text of the file for a platform.
    pub(super) fn text(&self, platform: Platform) -> Result<String, PlanError> {
        let words = Words {
            program: path(&self.program)?,
            data_dir: path(&self.data_dir)?,
            account: self.account.as_deref().map(word).transpose()?,
            state_home: self.state_home.as_deref().map(path).transpose()?,
            log: self.log.as_deref().map(path).transpose()?,
        };
        Ok(match platform {
            Platform::Linux => systemd::text(self.scope, &words),
            Platform::Macos => launchd::text(&words),
            Platform::Windows => task::text(&words),
        })
    }
}

/// The words of a plan. None has a control character.
pub(super) struct Words<'a> {
    pub(super) program: &'a str,
    pub(super) data_dir: &'a str,
    pub(super) account: Option<&'a str>,
    pub(super) state_home: Option<&'a str>,
    pub(super) log: Option<&'a str>,
}

impl Words<'_> {
    /// The arguments of the program.
    pub(super) fn arguments(&self) -> Vec<&str> {
        let mut arguments = vec!["--data-dir", self.data_dir, "up", "--started-by", "service"];
        arguments.extend(self.log.iter().flat_map(|log| ["--log-file", *log]));
        arguments
    }
}

/// The first line of a file of ours, in a comment.
pub(super) fn mark() -> String {
    format!("{MARK}, which replaces it; `nexus-node service remove` deletes it.")
}

/// Whether this program wrote a file.
pub(super) fn is_ours(text: &str) -> bool {
    // a comment of ours is below the line that says that it is XML
    text.lines().take(3).any(|line| line.contains(MARK))
}

/// Whether the service in a file starts the node of a directory.
pub(super) fn is_for(text: &str, platform: Platform, data_dir: &Path) -> bool {
    let Ok(data_dir) = path(data_dir) else { return false };
    is_ours(text)
        && match platform {
            Platform::Linux => systemd::names(text, data_dir),
            Platform::Macos => launchd::names(text, data_dir),
            Platform::Windows => task::names(text, data_dir),
        }
}

fn path(path: &Path) -> Result<&str, PlanError> {
    let text = path.to_str().ok_or_else(|| PlanError::NotText(path.to_owned()))?;
    if !path.is_absolute() {
        return Err(PlanError::Relative(path.to_owned()));
    }
    word(text)
}

fn word(text: &str) -> Result<&str, PlanError> {
    // XML cannot hold the last two in any form
    let bad = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.contains(bad) { Err(PlanError::Control(text.to_owned())) } else { Ok(text) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_would_end_its_line_is_refused_on_every_platform() {
        let plan = Plan {
            scope: Scope::User,
            program: "/bin/nexus-node".into(),
            data_dir: "/a\nExecStart=/bin/sh".into(),
            account: None,
            state_home: None,
            log: None,
        };
        for platform in [Platform::Linux, Platform::Macos, Platform::Windows] {
            let refused = PlanError::Control("/a\nExecStart=/bin/sh".into());
            assert_eq!(plan.text(platform), Err(refused));
            let relative = Plan { data_dir: "a".into(), ..plan.clone() };
            assert_eq!(relative.text(platform), Err(PlanError::Relative("a".into())));
            for control in ["/a\u{7f}", "/a\0", "/a\u{85}", "/\u{1b}[2J"] {
                let plan = Plan { data_dir: control.into(), ..plan.clone() };
                assert_eq!(plan.text(platform), Err(PlanError::Control(control.into())));
            }
        }
    }

    #[test]
    fn a_file_is_ours_by_its_first_lines_alone() {
        let plan = Plan {
            scope: Scope::User,
            program: "/bin/nexus-node".into(),
            data_dir: "/a b/c".into(),
            account: None,
            state_home: None,
            log: Some("/a b/log".into()),
        };
        for platform in [Platform::Linux, Platform::Macos, Platform::Windows] {
            let text = plan.text(platform).unwrap();
            assert!(is_ours(&text), "{text}");
            assert!(is_for(&text, platform, Path::new("/a b/c")), "{text}");
            assert!(!is_for(&text, platform, Path::new("/a b")) && !is_for(&text, platform, Path::new("/b/c")));
            assert!(!is_ours(&format!("[Unit]\n\n\n# {}", mark())));
        }
    }
}
