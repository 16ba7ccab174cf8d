//! Files, ports and signals, by Landlock; capabilities and limits. Then the process becomes the command.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::io::Errno;
use rustix::process::{
    Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit, test_kill_process,
};
use rustix::thread::{CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_no_new_privs};

use super::calls::Calls;
use super::mounts::{self, SHM, TMP};
use super::policy::SYSTEM;
use super::{Level, Limits, Policy};

/// The variable with the settings of this program's allocator, which has a thread otherwise.
pub(super) const ALLOCATOR: &str = "_RJEM_MALLOC_CONF";
/// The rules of Landlock that each level but `none` promises. Signals are among them from this one on: Linux 6.12.
pub(super) const NEEDED: ABI = ABI::V6;

/// Devices that hold nothing.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// The files by which a runtime learns about the machine. Other processes are not among it.
const ABOUT: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/version",
    "/proc/filesystems",
    "/proc/sys",
    "/sys/devices/system/cpu",
];
/// The files by which it learns about itself. The machine's mounts, connections and sockets are not among it.
const ABOUT_ITSELF: [&str; 22] = [
    "auxv",
    "cgroup",
    "cmdline",
    "comm",
    "cpuset",
    "environ",
    "fdinfo",
    "gid_map",
    "io",
    "limits",
    "loginuid",
    "maps",
    "oom_score",
    "oom_score_adj",
    "sched",
    "schedstat",
    "smaps",
    "smaps_rollup",
    "stat",
    "statm",
    "status",
    "uid_map",
];
/// The same of its first thread.
const ABOUT_A_THREAD: [&str; 3] = ["comm", "stat", "status"];
/// The directories whose names it may list there. A rule for more would lead into those of its threads, which hold the rest.
const LISTED_OF_ITSELF: [&str; 2] = ["fd", "task"];
/// The settings of the system that may lie elsewhere: of names, and of this place's time.
const LINKED: [&str; 2] = ["/etc/resolv.conf", "/etc/localtime"];
/// The most files that are looked at for whether everybody may read them. The rest is not there for a command.
const SETTINGS_MAX: usize = 50_000;
/// The same in namespaces of its own, where they hold nothing else.
const ABOUT_WITHIN: [&str; 2] = ["/proc", "/sys/devices/system/cpu"];
/// Devices in namespaces of its own: none of the machine's, and terminals that it makes.
const DEVICES_WITHIN: &str = "/dev";

/// Confines this process, and makes it the command. Returns only with an error.
pub(crate) fn become_command(policy: &Policy, command: &[OsString]) -> String {
    let confined = confine(policy);
    let Some((_, arguments)) = command.split_first() else { return "there is no command".to_owned() };
    match confined {
        Err(error) => error,
        Ok(()) => {
            let name = command.first().cloned().unwrap_or_default();
            let error = Command::new(&policy.program).arg0(name).args(arguments).env_remove(ALLOCATOR).exec();
            format!("{}: {error}", policy.program.display())
        }
    }
}

/// Puts this process into a domain of Landlock in which it may signal nothing but what it starts from then on. Returns whether
/// that holds.
pub(super) fn own_domain() -> bool {
    let restricted = || {
        set_no_new_privs(true).ok()?;
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).scope(Scope::Signal).ok()?;
        rules.create().ok()?.restrict_self().ok().filter(|status| status.ruleset == RulesetStatus::FullyEnforced)
    };
    // believed once it shows: whoever started this process is outside
    restricted().is_some() && getppid().is_some_and(|above| test_kill_process(above) == Err(Errno::PERM))
}

fn confine(policy: &Policy) -> Result<(), String> {
    let no = |what: &str| {
        let what = what.to_owned();
        move |error: rustix::io::Errno| format!("{what}: {error}")
    };
    // the warden's end is the command's
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(no("the signal of a parent's death"))?;
    if policy.level == Level::None {
        return if policy.limits.is_none() { Ok(()) } else { limit(policy.limits) };
    }
    close_inherited()?;
    if policy.level == Level::Kernel
        && let Some(tmp) = &policy.tmp
    {
        mounts::make(policy, tmp)?;
        // a change of rights may take the signal away
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(no("the signal of a parent's death"))?;
    }
    let calls = Calls::new(policy.net, policy.level < Level::Full)?;
    set_no_new_privs(true).map_err(no("no new privileges"))?;
    let rules = landlocked(policy).map_err(|error| format!("Landlock: {error}"))?;
    let status = rules.restrict_self().map_err(|error| format!("Landlock: {error}"))?;
    if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
        return Err("Landlock: the rules do not hold in full".to_owned());
    }
    // a worker of root's would keep them
    clear_ambient_capability_set().map_err(no("capabilities"))?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(no("capabilities"))?;
    limit(policy.limits)?;
    calls.apply()
}

/// Closes the files that the worker inherited. This program's own files close by themselves.
fn close_inherited() -> Result<(), String> {
    const CLOSED_AT_EXEC: u64 = 0o2_000_000;
    let no = |error: std::io::Error| format!("the open files: {error}");
    let entries = std::fs::read_dir("/proc/self/fdinfo").map_err(no)?;
    let mut inherited = Vec::new();
    for entry in entries {
        let entry = entry.map_err(no)?;
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let info = std::fs::read_to_string(entry.path()).map_err(no)?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok()).unwrap_or(0);
        if number > 2 && flags & CLOSED_AT_EXEC == 0 {
            inherited.push(number);
        }
    }
    inherited
        .into_iter()
        .try_for_each(|number| nix::unistd::close(number).map_err(|error| format!("file {number}: {error}")))
}

fn limit(limits: Limits) -> Result<(), String> {
    let set = |resource: Resource, soft: u64, hard: u64| {
        let now = rustix::process::getrlimit(resource);
        let at_most = |value: u64| Some(now.maximum.map_or(value, |maximum| value.min(maximum)));
        let new = Rlimit { current: at_most(soft), maximum: at_most(hard) };
        setrlimit(resource, new).map_err(|error| format!("a limit: {error}"))
    };
    // an image of its memory is a file that nobody asked for
    set(Resource::Core, 0, 0)?;
    limits.open_files.map_or(Ok(()), |files| set(Resource::Nofile, files, files))?;
    limits.file_size.map_or(Ok(()), |bytes| set(Resource::Fsize, bytes, bytes))?;
    // a signal that it may catch comes first
    limits.cpu.map_or(Ok(()), |seconds| set(Resource::Cpu, seconds, seconds.saturating_add(1)))?;
    limits.memory.map_or(Ok(()), |bytes| set(Resource::As, bytes, bytes))
}

fn landlocked(policy: &Policy) -> Result<RulesetCreated, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))?
        .scope(Scope::from_all(NEEDED))?;
    if !policy.net {
        rules = rules.handle_access(AccessNet::from_all(NEEDED))?;
    }
    let mut rules = rules.create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = read | AccessFs::Execute;
    // no devices and no sockets
    let write = run
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::RemoveDir
        | AccessFs::RemoveFile
        | AccessFs::MakeDir
        | AccessFs::MakeReg
        | AccessFs::MakeFifo
        | AccessFs::MakeSym
        | AccessFs::Refer;
    let is_within = policy.level == Level::Full;
    for path in SYSTEM {
        rules = allow(rules, Path::new(path), run)?;
    }
    for path in settings(Path::new("/etc")).iter().map(PathBuf::as_path).chain(LINKED.iter().map(Path::new)) {
        rules = allow(rules, path, read)?;
    }
    for path in DEVICES {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    for path in if is_within { &ABOUT_WITHIN[..] } else { &ABOUT } {
        rules = allow(rules, Path::new(path), read)?;
    }
    if is_within {
        rules = allow(rules, Path::new(DEVICES_WITHIN), write | AccessFs::IoctlDev)?;
    } else {
        let itself = Path::new("/proc/self");
        for name in ABOUT_ITSELF {
            rules = allow(rules, &itself.join(name), read)?;
        }
        let first_thread = itself.join("task").join(std::process::id().to_string());
        for name in ABOUT_A_THREAD {
            rules = allow(rules, &first_thread.join(name), read)?;
        }
        for name in LISTED_OF_ITSELF {
            rules = allow(rules, &itself.join(name), AccessFs::ReadDir.into())?;
        }
    }
    if policy.tmp.is_some() {
        for own in [TMP, SHM] {
            rules = allow(rules, Path::new(own), write)?;
        }
    }
    rules = allow(rules, &policy.program, run)?;
    for path in &policy.read {
        rules = allow(rules, path, run)?;
    }
    for path in &policy.write {
        rules = allow(rules, path, write)?;
    }
    Ok(rules)
}

/// Adds a rule, if there is such a path. A file gets what files may have.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEEDED) };
    rules.add_rule(PathBeneath::new(opened, access))
}

/// The settings of the system that every account may read, as files and as directories that hold nothing else. The others
/// are those of accounts and keys, also where the account of the system may read them.
fn settings(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), SETTINGS_MAX);
    readable_below(root, &mut left, &mut found);
    found
}

/// Adds what every account may read below a directory. Returns whether that is all of it.
fn readable_below(directory: &Path, left: &mut usize, found: &mut Vec<PathBuf>) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    let mut is_all = true;
    for entry in entries {
        *left = left.saturating_sub(1);
        let (Ok(entry), 1..) = (entry, *left) else { return false };
        let path = entry.path();
        // of a link, and not of what it leads to: that is judged where it lies
        let Ok(about) = entry.metadata() else { return false };
        let (kind, mode) = (about.file_type(), about.permissions().mode());
        let is_readable = if kind.is_symlink() {
            continue;
        } else if kind.is_dir() && mode & 0o005 == 0o005 {
            let before = found.len();
            let is_whole = readable_below(&path, left, found);
            if is_whole {
                found.truncate(before);
                found.push(path);
            }
            is_whole
        } else if kind.is_file() && mode & 0o004 != 0 {
            found.push(path);
            true
        } else {
            false
        };
        is_all &= is_readable;
    }
    is_all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Sandbox | A command reads the settings that every account may read, and no others, also if root runs it
    #[test]
    fn settings_are_what_every_account_may_read() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for name in ["all/deep", "some/keys", "some/all", "closed/open", "listed", "passed"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        let files = [
            "one",
            "all/deep/file",
            "some/keys/key",
            "some/all/file",
            "some/file",
            "closed/open/file",
            "listed/file",
            "passed/file",
        ];
        files.iter().for_each(|name| std::fs::write(path(name), "").unwrap());
        std::fs::write(path("shadow"), "").unwrap();
        std::os::unix::fs::symlink(path("shadow"), path("all/link")).unwrap();
        std::os::unix::fs::symlink("/root", path("link")).unwrap();
        let mode = |name: &str, mode| std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).unwrap();
        for name in files.iter().chain(&["all", "all/deep", "some", "some/all", "closed/open"]) {
            let is_directory = path(name).is_dir();
            mode(name, if is_directory { 0o755 } else { 0o644 });
        }
        for (name, bits) in [
            ("shadow", 0o640),
            ("some/keys/key", 0o640),
            ("some/keys", 0o755),
            ("closed", 0o750),
            ("listed", 0o754),
            ("passed", 0o751),
        ] {
            mode(name, bits);
        }
        let mut found = settings(root.path());
        found.sort();
        assert_eq!(found, ["all", "one", "some/all", "some/file"].map(path));
        let (mut most, mut few) = (3, Vec::new());
        assert!(!readable_below(root.path(), &mut most, &mut few) && few.len() < 3, "{few:?}");
    }
}
