//! A log file with a bound: at its limit it becomes the old one, and begins anew.
//!
//! The content is copied and the file emptied, rather than renamed. Other handles go on in the same file then: that of
//! stderr, which a panic writes to, and those of another process that was started for the same directory.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// The largest size of a log, and of the old one beside it.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// The most bytes of one event. The rest of a longer one is left out.
const EVENT_BYTES_MAX: usize = 64 << 10;
/// The room for a panic with its backtrace, which are written by the standard library.
const PANIC_BYTES: usize = 256 << 10;

/// A bounded log file.
#[derive(Clone, Debug)]
pub(crate) struct LogFile(Arc<Mutex<Files>>);

#[derive(Debug)]
struct Files {
    /// Appends: each event goes to the end, whoever else has written meanwhile.
    end: File,
    /// Reads and empties the same file.
    whole: File,
    old: PathBuf,
    bytes_max: u64,
}

impl LogFile {
    /// Opens a log for its owner alone, or makes it: it names peers and addresses.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::bounded(path, LOG_BYTES_MAX)
    }

    fn bounded(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let end = private(path, File::options().create(true).append(true))?;
        let whole = private(path, File::options().read(true).write(true))?;
        let mut old = path.to_owned().into_os_string();
        old.push(".1");
        let old = PathBuf::from(old);
        if old.exists() {
            private(&old, File::options().append(true))?;
        }
        let files = Files { end, whole, old, bytes_max };
        let this = Self(Arc::new(Mutex::new(files)));
        this.make_room(0);
        Ok(this)
    }

    /// A handle for the stderr of a process.
    pub(crate) fn stderr(&self) -> io::Result<File> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).end.try_clone()
    }

    /// Makes room before each panic, which the standard library writes to stderr.
    pub(crate) fn bound_panics(&self) {
        let (this, before) = (self.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            this.make_room(PANIC_BYTES);
            before(panic);
        }));
    }

    /// Lets the file begin anew if so many more bytes would pass its limit.
    fn make_room(&self, more: usize) {
        // a panic may come while an event is written, which makes room itself
        if let Ok(mut files) = self.0.try_lock() {
            files.make_room(more);
        }
    }
}

impl Files {
    fn make_room(&mut self, more: usize) {
        let length = self.whole.metadata().map_or(0, |known| known.len());
        if length + more as u64 <= self.bytes_max {
            return;
        }
        // a full disk takes no copy, and the bound counts more
        let _ = self.keep(length);
        let _ = self.whole.set_len(0);
    }

    /// Copies the content to the old log, as a whole or not at all.
    fn keep(&mut self, length: u64) -> io::Result<()> {
        let mut beside = self.old.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut copy = private(&beside, File::options().create(true).write(true).truncate(true))?;
        // of a log that had no bound before, the end
        self.whole.seek(SeekFrom::Start(length.saturating_sub(self.bytes_max)))?;
        let written = io::copy(&mut io::Read::take(&self.whole, self.bytes_max), &mut copy).map(drop);
        let kept = written.and_then(|()| std::fs::rename(&beside, &self.old));
        if kept.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        kept
    }
}

/// Opens a file, and takes the rights of others on it away: one of an earlier version may be open to others.
fn private(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

impl Write for LogFile {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let short = event.get(..EVENT_BYTES_MAX);
        let shown = short.unwrap_or(event);
        files.make_room(shown.len() + 1);
        files.end.write_all(shown)?;
        if short.is_some_and(|short| short.len() < event.len()) {
            files.end.write_all(b"\n")?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1_000;

    fn length(path: &Path) -> u64 {
        std::fs::metadata(path).map_or(0, |known| known.len())
    }

    /// promise: Agents | The log of a node that an agent started is bounded, and for its owner alone
    #[test]
    fn a_log_and_the_old_one_stay_within_their_bound_whoever_writes() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
        let mut log = LogFile::bounded(&path, MAX).unwrap();
        let mut stderr = log.stderr().unwrap();
        for number in 0..2_000_u32 {
            writeln!(log, "event {number}").unwrap();
            if number % 7 == 0 {
                stderr.write_all(b"something else\n").unwrap();
            }
            assert!(length(&path) <= MAX + 15 && length(&old) <= MAX, "{number}");
        }
        let both = std::fs::read_to_string(&old).unwrap() + &std::fs::read_to_string(&path).unwrap();
        let events: Vec<u32> = both.lines().filter_map(|line| line.strip_prefix("event ")?.parse().ok()).collect();
        let first = events[0];
        assert_eq!(events, (first..2_000).collect::<Vec<_>>(), "the latest are there, in order");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_log_that_is_too_large_already_is_cut_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
        std::fs::write(&path, vec![b'x'; 5_000]).unwrap();
        LogFile::bounded(&path, MAX).unwrap();
        assert_eq!((length(&path), length(&old)), (0, MAX));
    }

    #[test]
    fn a_long_event_is_cut_and_a_log_that_was_deleted_takes_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::bounded(&path, 4 * EVENT_BYTES_MAX as u64).unwrap();
        log.write_all(&vec![b'y'; 10 * EVENT_BYTES_MAX]).unwrap();
        assert_eq!(length(&path), EVENT_BYTES_MAX as u64 + 1);
        std::fs::remove_file(&path).unwrap();
        for _ in 0..10 {
            log.write_all(&vec![b'z'; EVENT_BYTES_MAX]).unwrap();
            let files = log.0.lock().unwrap();
            assert!(files.whole.metadata().unwrap().len() <= 4 * EVENT_BYTES_MAX as u64);
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_logs_are_for_their_owner_alone_also_those_that_were_not() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let paths = ["log", "log.1", "log.1.new"].map(|name| directory.path().join(name));
        for path in &paths {
            std::fs::write(path, "before").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let mut log = LogFile::bounded(&paths[0], 10).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&paths[0]), mode(&paths[1])], [0o600, 0o600]);
        log.write_all(b"0123456789").unwrap();
        assert_eq!([mode(&paths[0]), mode(&paths[1])], [0o600, 0o600]);
        assert_eq!(std::fs::read_to_string(&paths[1]).unwrap(), "before");
        assert!(!paths[2].exists());
    }
}
