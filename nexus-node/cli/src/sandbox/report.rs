//! The words of a process about the command that it starts, and those who hear them.
//!
//! They go over a pipe that has a name until its ends are open, which is before the command begins. So nothing that a
//! command does to a file takes them away: neither its mode, nor its name, nor a full disk.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{Read, Result, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkfifoat};

/// The word of a command that began.
const BEGAN: &str = "began";
/// The word before the reason of a command that did not.
const FAILED: &str = "failed";
/// The word before the number of the signal that ended a command.
const SIGNAL: &str = "signal";
/// The word before the bound that a command went beyond.
const BEYOND: &str = "beyond";
/// The most bytes of a word with its reason.
const WORD_BYTES_MAX: usize = 2 << 10;
/// The most bytes that are heard. Nobody says more.
const HEARD_BYTES_MAX: u64 = 8 << 10;

/// The end of the pipe at which words are heard.
#[derive(Debug)]
pub(crate) struct Heard(File);

/// The end at which they are said.
#[derive(Debug)]
pub(crate) struct Said(File);

/// The words that were heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The command began, as far as anybody could tell.
    pub(crate) began: bool,
    /// The reason why it did not.
    pub(crate) failed: Option<String>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// The code of the bound that it went beyond, and a text.
    pub(crate) beyond: Option<(String, String)>,
}

impl Heard {
    /// Makes the pipe, and opens it.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
        // with an end of each kind nobody waits for the other side, and nobody sees an end before there were words
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path).map(Self)
    }

    /// The words so far.
    pub(crate) fn news(&self) -> News {
        let mut bytes = Vec::new();
        // it ends with an error, for nothing more is there yet
        let _ = (&self.0).take(HEARD_BYTES_MAX).read_to_end(&mut bytes);
        News::of(&String::from_utf8_lossy(&bytes))
    }
}

impl News {
    fn of(text: &str) -> Self {
        let mut news = Self::default();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                BEGAN => news.began = true,
                FAILED => news.failed = Some(rest.to_owned()),
                SIGNAL => news.signal = rest.parse().ok(),
                BEYOND => news.beyond = rest.split_once(' ').map(|(code, text)| (code.to_owned(), text.to_owned())),
                _ => {}
            }
        }
        news
    }
}

impl Said {
    /// Opens the pipe, and takes its name away: the command is not to find it.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        // without anybody who hears it this fails, and does not wait
        let said = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        // the name of an open file stays
        let _ = remove_file(path);
        Ok(Self(said))
    }

    /// Hands this end on to the next program that this process starts, which opens it by the name that comes back.
    pub(super) fn hand_on(&self) -> Result<PathBuf> {
        rustix::io::fcntl_setfd(&self.0, rustix::io::FdFlags::empty())?;
        Ok(PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd())))
    }

    /// # Errors
    /// Nobody hears it. Then the command is not to begin.
    pub(crate) fn began(&mut self) -> Result<()> {
        self.say(BEGAN)
    }

    pub(crate) fn failed(&mut self, why: &str) {
        // without it the attempt has failed
        let _ = self.say(&format!("{FAILED} {why}"));
    }

    pub(crate) fn ended_by(&mut self, signal: i32) {
        let _ = self.say(&format!("{SIGNAL} {signal}"));
    }

    pub(crate) fn beyond(&mut self, code: &str, text: &str) {
        let _ = self.say(&format!("{BEYOND} {code} {text}"));
    }

    fn say(&mut self, word: &str) -> Result<()> {
        let fits = |end: &usize| word.is_char_boundary(*end);
        let end = (0..=word.len().min(WORD_BYTES_MAX)).rev().find(fits).unwrap_or(0);
        // in one piece, so that it is heard whole or not at all
        self.0.write_all(format!("{}\n", word[..end].replace('\n', " ")).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// promise: Sandbox | Nothing that a command does to files takes away what its warden says of it
    #[test]
    fn words_are_heard_whatever_becomes_of_the_files() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("inner/report");
        std::fs::create_dir(base.path().join("inner")).unwrap();
        let heard = Heard::at(&path).unwrap();
        assert_eq!(heard.news(), News::default(), "nobody waits for words");
        let mut said = Said::at(&path).unwrap();
        assert!(!path.exists(), "its name is gone");
        assert!(Said::at(&path).is_err());
        std::fs::write(&path, "failed by somebody else\n").unwrap();
        std::fs::set_permissions(path.parent().unwrap(), std::fs::Permissions::from_mode(0o000)).unwrap();
        said.began().unwrap();
        said.failed(&format!("for\n{}", "ü".repeat(WORD_BYTES_MAX)));
        said.beyond("disk_full", "more than that");
        said.ended_by(9);
        let news = heard.news();
        assert!(news.began && news.signal == Some(9), "{news:?}");
        assert_eq!(news.beyond, Some(("disk_full".to_owned(), "more than that".to_owned())));
        let why = news.failed.unwrap();
        assert!(why.starts_with("for ü") && why.len() < WORD_BYTES_MAX, "{why}");
        std::fs::set_permissions(path.parent().unwrap(), std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn a_command_does_not_begin_where_nobody_hears_of_it() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("report");
        let heard = Heard::at(&path).unwrap();
        let mut said = Said::at(&path).unwrap();
        drop(heard);
        assert!(said.began().is_err());
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(Said::at(&path).is_err(), "and it does not wait");
    }
}
