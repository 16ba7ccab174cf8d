//! The service as it is to be: its words, checked once.

use std::path::{Path, PathBuf};

use super::systemd;
use super::words::{Scope, Words, is_ours};

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
}

/// The reason why a service cannot be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PlanError {
    /// A path is not text.
    NotText(PathBuf),
    /// A word has a character that ends lines, that nobody sees, or that systemd does not read.
    Control(String),
    /// A path depends on the current directory.
    Relative(PathBuf),
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotText(path) => write!(f, "{} is not text in UTF-8", path.display()),
            Self::Control(word) => write!(f, "{word:?} has a control character, or a number that is no character"),
            Self::Relative(path) => write!(f, "{} is not an absolute path", path.display()),
        }
    }
}

impl Plan {
    /// The text of the file.
    pub(super) fn text(&self) -> Result<String, PlanError> {
        let words = Words {
            program: path(&self.program)?,
            data_dir: path(&self.data_dir)?,
            account: self.account.as_deref().map(word).transpose()?,
            state_home: self.state_home.as_deref().map(path).transpose()?,
        };
        Ok(systemd::text(self.scope, &words))
    }
}

/// Whether the service in a file starts the node of a directory.
pub(super) fn is_for(text: &str, data_dir: &Path) -> bool {
    path(data_dir).is_ok_and(|data_dir| is_ours(text) && systemd::names(text, data_dir))
}

fn path(path: &Path) -> Result<&str, PlanError> {
    let text = path.to_str().ok_or_else(|| PlanError::NotText(path.to_owned()))?;
    if !path.is_absolute() {
        return Err(PlanError::Relative(path.to_owned()));
    }
    word(text)
}

fn word(text: &str) -> Result<&str, PlanError> {
    if text.contains(|c: char| c.is_control() || is_no_character(c)) {
        return Err(PlanError::Control(text.to_owned()));
    }
    Ok(text)
}

/// Whether Unicode has this number for no character. Systemd calls a line with one no UTF-8, and ignores it.
fn is_no_character(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::service::linux::words::mark;

    fn plan(data_dir: &str) -> Plan {
        Plan {
            scope: Scope::User,
            program: "/bin/nexus-node".into(),
            data_dir: data_dir.into(),
            account: None,
            state_home: None,
        }
    }

    #[test]
    fn a_word_that_would_end_its_line_or_lose_it_is_refused() {
        for control in ["/a\nExecStart=/bin/sh", "/a\u{7f}", "/a\0", "/a\u{85}", "/\u{1b}[2J"] {
            assert_eq!(plan(control).text(), Err(PlanError::Control(control.into())));
        }
        for unread in ["/\u{fdd0}", "/\u{fdef}", "/\u{fffe}", "/\u{ffff}", "/\u{1fffe}", "/\u{10ffff}"] {
            assert_eq!(plan(unread).text(), Err(PlanError::Control(unread.into())));
        }
        for read in ["/\u{fdcf}", "/\u{fdf0}", "/\u{fffd}", "/\u{e000}", "/\u{10fffd}"] {
            assert!(plan(read).text().is_ok(), "{read:?}");
        }
        assert_eq!(plan("a").text(), Err(PlanError::Relative("a".into())));
    }

    #[test]
    fn a_file_is_ours_by_its_first_line_alone() {
        let text = plan("/a b/c").text().unwrap();
        assert!(is_ours(&text), "{text}");
        assert!(is_for(&text, Path::new("/a b/c")), "{text}");
        assert!(!is_for(&text, Path::new("/a b")) && !is_for(&text, Path::new("/b/c")));
        assert!(!is_ours(&format!("[Unit]\n# {}", mark())));
    }
}
