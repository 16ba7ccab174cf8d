//! The processor time and the memory of processes.

use tokio::time::Instant;

/// The processor time of a process so far, in seconds. From `/proc`: fields 14 and 15 of its `stat`, in hundredths
/// of a second. `None` on other platforms.
pub(super) fn seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

/// The memory of this process, in bytes. From `/proc`; `None` on other platforms.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// The work of this process from now on.
pub(super) struct Work {
    begin: Instant,
    before: Option<f64>,
}

impl Work {
    pub(super) fn begin() -> Self {
        Self { begin: Instant::now(), before: seconds(std::process::id()) }
    }

    /// Cores that were busy since the beginning, on average.
    pub(super) fn cores(&self) -> Option<f64> {
        let after = seconds(std::process::id())?;
        Some((after - self.before?) / self.begin.elapsed().as_secs_f64())
    }
}
