//! Files, ports and signals, by Landlock; capabilities and limits. Then the process becomes the command.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_no_new_privs};

use super::calls::Calls;
use super::mounts::{self, SHM, TMP};
use super::policy::SYSTEM;
use super::{Level, Limits, Policy};

/// The rules of Landlock that each level but `none` promises. Signals are among them from this one on: Linux 6.12.
pub(super) const NEEDED: ABI = ABI::V6;

/// Devices that hold nothing.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// The files by which a runtime learns about the machine and about itself. Other processes are not among it.
const ABOUT: [&str; 9] = [
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/version",
    "/proc/filesystems",
    "/proc/sys",
    "/sys/devices/system/cpu",
];
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
            let error = Command::new(&policy.program).arg0(name).args(arguments).exec();
            format!("{}: {error}", policy.program.display())
        }
    }
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
        // namespaces may have changed whose child this is
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(no("the signal of a parent's death"))?;
    }
    let calls = Calls::new(policy.net)?;
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
    for path in settings() {
        rules = allow(rules, &path, read)?;
    }
    for path in DEVICES {
        rules = allow(rules, Path::new(path), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    for path in if is_within { &ABOUT_WITHIN[..] } else { &ABOUT } {
        rules = allow(rules, Path::new(path), read)?;
    }
    if is_within {
        rules = allow(rules, Path::new(DEVICES_WITHIN), write | AccessFs::IoctlDev)?;
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

/// The settings of the system that every account may read. The others are those of accounts and keys.
fn settings() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir("/etc").into_iter().flatten().flatten();
    let for_all = |path: &Path| {
        let is_link = path.is_symlink();
        // a link to a directory may lead anywhere
        std::fs::metadata(path).is_ok_and(|to| to.permissions().mode() & 0o004 != 0 && (to.is_file() || !is_link))
    };
    entries.map(|entry| entry.path()).filter(|path| for_all(path)).collect()
}
