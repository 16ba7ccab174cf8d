//! How busy the machine is: its processors and its memory, as far as this process may use them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The load of a machine, in percent of what this process may use: 0 to 100; `None` where it cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The processors, as a mean of about 10 s.
    pub cpu: Option<u8>,
    /// The memory that is not available.
    pub memory: Option<u8>,
}

impl Load {
    /// Whether it is at or below these bounds. A load that cannot be told is.
    pub(crate) fn is_within(&self, cpu: u8, memory: u8) -> bool {
        self.cpu.is_none_or(|used| used <= cpu) && self.memory.is_none_or(|used| used <= memory)
    }
}

/// Readings of a machine's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The time of processors that was used, since some moment.
    pub busy: Duration,
    /// The time of processors that there was, since the same moment.
    pub all: Duration,
    /// The memory that is not available, in percent.
    pub memory: Option<u8>,
}

/// Reads a machine's counters; `None` where that is not possible. May block for a moment.
pub type UsageOf = Arc<dyn Fn() -> Option<Usage> + Send + Sync>;

/// The readings that a mean is of: those of 10 s, one each [`EVERY`].
const READINGS: usize = 3;
/// The time between two readings.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

/// Means of readings.
#[derive(Debug, Default)]
pub(crate) struct Meter(VecDeque<Usage>);

impl Meter {
    /// Takes a reading, and tells the load.
    pub(crate) fn read(&mut self, usage: Option<Usage>) -> Load {
        let Some(usage) = usage else { return Load::default() };
        if self.0.len() == READINGS {
            self.0.pop_front();
        }
        self.0.push_back(usage);
        let first = self.0[0];
        let (busy, all) = (usage.busy.saturating_sub(first.busy), usage.all.saturating_sub(first.all));
        Load { cpu: percent(busy.as_nanos(), all.as_nanos()), memory: usage.memory.map(|memory| memory.min(100)) }
    }

    /// Forgets all readings: they are from another time.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

fn percent(part: u128, all: u128) -> Option<u8> {
    let percent = part.saturating_mul(100).checked_div(all)?;
    Some(u8::try_from(percent.min(100)).unwrap_or(100))
}

/// The counters of this machine; where it has none that are known here, nothing can be told.
///
/// On Linux: `/proc/stat` and `/proc/meminfo`, and the limits of the process's own group (cgroup 2), if it has some.
#[cfg(target_os = "linux")]
pub(crate) fn of_machine() -> UsageOf {
    let group = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| linux::group(&text));
    let begun = tokio::time::Instant::now();
    Arc::new(move || {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let of_group = |file: &str| read(&format!("{}/{file}", group.as_ref()?));
        let (busy, all) = linux::processors(&read("/proc/stat")?)?;
        let whole = read("/proc/meminfo").and_then(|text| linux::memory(&text));
        let whole = whole.and_then(|(used, all)| percent(used, all));
        // a group without limits has what the machine has
        let (busy, all) = of_group("cpu.max")
            .and_then(|text| linux::quota(&text))
            .zip(of_group("cpu.stat").and_then(|text| linux::used(&text)))
            .map_or((busy, all), |(processors, used)| (used, begun.elapsed().mul_f64(processors)));
        let limited = of_group("memory.max").and_then(|text| text.trim().parse::<u128>().ok());
        let used = of_group("memory.current").and_then(|text| text.trim().parse::<u128>().ok());
        let memory = limited.zip(used).and_then(|(max, used)| percent(used, max)).max(whole);
        Some(Usage { busy, all, memory })
    })
}

/// The counters of this machine are not known here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of_machine() -> UsageOf {
    Arc::new(|| None)
}

/// The texts of Linux.
#[cfg(any(target_os = "linux", test))]
mod linux {
    use std::time::Duration;

    /// The directory of the process's group.
    pub(super) fn group(text: &str) -> Option<String> {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(format!("/sys/fs/cgroup{path}"))
    }

    /// The used and the whole time of all processors. A tick is a hundredth of a second in all that programs see.
    pub(super) fn processors(text: &str) -> Option<(Duration, Duration)> {
        let ticks = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().take(8);
        let ticks: Vec<u64> = ticks.map(|tick| tick.parse().ok()).collect::<Option<_>>()?;
        let all = ticks.iter().fold(0_u64, |sum, tick| sum.saturating_add(*tick));
        let idle = ticks.get(3)?.saturating_add(*ticks.get(4)?);
        let time = |ticks: u64| Duration::from_millis(ticks.saturating_mul(10));
        Some((time(all.saturating_sub(idle)), time(all)))
    }

    /// The memory that is not available, and all.
    pub(super) fn memory(text: &str) -> Option<(u128, u128)> {
        let row = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            value.split_ascii_whitespace().next()?.parse::<u128>().ok()
        };
        let all = row("MemTotal:")?;
        Some((all.saturating_sub(row("MemAvailable:")?), all))
    }

    /// The processors that a group may use; `None` without a limit.
    pub(super) fn quota(text: &str) -> Option<f64> {
        let (quota, period) = text.trim().split_once(' ')?;
        let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
        let processors = quota / period;
        (processors.is_finite() && processors > 0.0 && processors < 1e6).then_some(processors)
    }

    /// The time of processors that a group has used.
    pub(super) fn used(text: &str) -> Option<Duration> {
        let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(Duration::from_micros(micros.trim().parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_of_ten_seconds() {
        let usage =
            |busy, all| Usage { busy: Duration::from_secs(busy), all: Duration::from_secs(all), memory: Some(7) };
        let mut meter = Meter::default();
        assert_eq!(meter.read(Some(usage(90, 100))), Load { cpu: None, memory: Some(7) });
        assert_eq!(meter.read(Some(usage(90, 110))).cpu, Some(0));
        assert_eq!(meter.read(Some(usage(100, 120))).cpu, Some(50));
        // the first ten are forgotten
        assert_eq!(meter.read(Some(usage(110, 130))).cpu, Some(100));
        // a counter that goes back, as after a move to another machine
        assert_eq!(meter.read(Some(usage(0, 140))).cpu, Some(0));
        assert_eq!(meter.read(None), Load::default());
    }

    #[test]
    fn the_texts_of_linux_are_read() {
        let stat = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n";
        let (busy, all) = linux::processors(stat).unwrap();
        assert_eq!((busy, all), (Duration::from_millis(1_500), Duration::from_secs(10)));
        let info = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n";
        assert_eq!(linux::memory(info), Some((750, 1_000)));
        assert_eq!(linux::quota("150000 100000\n"), Some(1.5));
        assert_eq!(linux::used("usage_usec 2500000\nuser_usec 1\n"), Some(Duration::from_millis(2_500)));
        assert_eq!(linux::group("0::/user.slice\n").as_deref(), Some("/sys/fs/cgroup/user.slice"));
        for text in ["", "cpu ", "cpu 1", "cpu  a b c d e", "max 100000", "0 100000", "1 0", "-1 1", "MemTotal: 1 kB"] {
            assert!(linux::processors(text).is_none() && linux::quota(text).is_none(), "{text}");
            assert!(linux::memory(text).is_none() && linux::used(text).is_none(), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_tells_its_load() {
        let usage = of_machine()().unwrap();
        assert!(usage.all >= usage.busy && usage.memory.is_some(), "{usage:?}");
    }

    #[test]
    fn a_load_that_cannot_be_told_is_within_each_bound() {
        assert!(Load::default().is_within(0, 0));
        let load = Load { cpu: Some(80), memory: Some(50) };
        assert!(load.is_within(80, 90) && !load.is_within(79, 90) && !load.is_within(80, 49));
    }
}
