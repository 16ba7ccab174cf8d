//! The level that this machine reaches, found by trying: a kernel may know a rule and have it switched off.

use nexus_node::api::Problem;

use super::{Level, Policy, Wish};

/// A level that holds on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) level: Level,
    /// The reason why it is no higher one, if that was wished for.
    pub(crate) short: Option<String>,
    /// The reason why a command has no `/tmp` of its own, if it has none.
    pub(crate) no_tmp: Option<String>,
}

/// The level for a wish, tried with this policy.
///
/// # Errors
/// This machine does not reach the level that was named, or no level holds with this policy.
pub(crate) fn reach(wish: Wish, policy: &Policy) -> Result<Reached, Problem> {
    let named = |level| Reached { level, short: None, no_tmp: None };
    let reached = match wish {
        Wish::None => named(Level::None),
        Wish::Kernel => named(Level::Kernel),
        Wish::Full => named(Level::Full),
        Wish::Auto => best(),
    };
    if reached.level == Level::None {
        return Ok(reached);
    }
    let Err(no_tmp) = tried(reached.level, policy, true) else { return Ok(reached) };
    // a policy that does not hold is an error, and no reason for less; but not every machine has namespaces
    match tried(reached.level, policy, false) {
        Ok(()) if reached.level == Level::Kernel => Ok(Reached { no_tmp: Some(no_tmp), ..reached }),
        Ok(()) => Err(unreachable(reached.level, &no_tmp)),
        Err(why) => Err(unreachable(reached.level, &why)),
    }
}

/// The best level that this machine reaches, with no permissions and no limits.
fn best() -> Reached {
    let mut short = None;
    for level in [Level::Full, Level::Kernel] {
        match try_level(level) {
            Ok(()) => return Reached { level, short, no_tmp: None },
            Err(why) => short = Some(why),
        }
    }
    Reached { level: Level::None, short, no_tmp: None }
}

/// The problem of a level that this machine does not reach.
fn unreachable(level: Level, why: &str) -> Problem {
    let problem = Problem::new("failed", format!("no sandbox of the level {} here: {why}", level.as_str()));
    problem.hint(match level {
        Level::Full => {
            "install bubblewrap, allow namespaces of users, or use --sandbox kernel; `nexus-node doctor` tries both"
        }
        _ => "it takes Linux 6.12 or later with Landlock; --sandbox none has the command do whatever your account may",
    })
}

#[cfg(not(target_os = "linux"))]
fn tried(_: Level, _: &Policy, _: bool) -> Result<(), String> {
    Err("it is there on Linux alone".to_owned())
}

#[cfg(not(target_os = "linux"))]
fn try_level(_: Level) -> Result<(), String> {
    Err("it is there on Linux alone".to_owned())
}

#[cfg(target_os = "linux")]
use self::linux::tried;
#[cfg(target_os = "linux")]
pub(crate) use self::linux::{abi, bwrap, try_level, try_own_tmp, works};

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{OsStr, OsString};
    use std::io::Read;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::mpsc;
    use std::time::Duration;

    use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};

    use super::super::confinement::NEEDED;
    use super::super::{Heard, Level, Limits, Policy, found};
    use crate::task_directory::TaskDirectory;

    /// The ABI of this kernel's Landlock, if it is on. It is found by trying, up to the one that is needed.
    pub(crate) fn abi() -> Option<i32> {
        let holds = |abi: ABI| {
            let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
            let rules = rules.handle_access(AccessFs::from_all(abi));
            let rules = match abi {
                ABI::V4 | ABI::V5 => rules.and_then(|rules| rules.handle_access(AccessNet::from_all(abi))),
                ABI::V6 => rules.and_then(|rules| rules.scope(Scope::from_all(abi))),
                _ => rules,
            };
            rules.and_then(Ruleset::create).is_ok()
        };
        let known = [ABI::V6, ABI::V5, ABI::V4, ABI::V3, ABI::V2, ABI::V1];
        known.into_iter().find(|abi| holds(*abi)).map(|abi| abi as i32)
    }

    /// Bubblewrap's program.
    pub(crate) fn bwrap() -> Option<PathBuf> {
        found(OsStr::new("bwrap"))
    }

    /// The longest time for an interpreter to show that it works.
    const WORKS_TIMEOUT: Duration = Duration::from_secs(2);
    /// The most bytes of a trial's words.
    const SAID_MAX: u64 = 16 << 10;

    fn nothing(level: Level) -> Policy {
        let (read, write, kept) = (Vec::new(), Vec::new(), Vec::new());
        let (program, bwrap, tmp) = (PathBuf::new(), bwrap(), None);
        Policy { level, read, write, program, bwrap, net: false, tmp, kept, limits: Limits::default() }
    }

    /// Tries a level with no permissions.
    ///
    /// # Errors
    /// The reason why it does not hold here.
    pub(crate) fn try_level(level: Level) -> Result<(), String> {
        tried(level, &nothing(level), false)
    }

    /// Tries whether a command at the level `kernel` can have a `/tmp` of its own.
    ///
    /// # Errors
    /// The reason why it has none.
    pub(crate) fn try_own_tmp() -> Result<(), String> {
        tried(Level::Kernel, &nothing(Level::Kernel), true)
    }

    pub(super) fn tried(level: Level, policy: &Policy, has_tmp: bool) -> Result<(), String> {
        let needed = NEEDED as i32;
        match abi() {
            None => return Err("this kernel has no Landlock, or it is switched off".to_owned()),
            Some(abi) if abi < needed => return Err(format!("Landlock here is of ABI {abi}, and {needed} is needed")),
            Some(_) => {}
        }
        if level == Level::Full && policy.bwrap.is_none() {
            return Err("bwrap is not on the PATH".to_owned());
        }
        let program = found(OsStr::new("true")).ok_or("there is no program `true` to try it with")?;
        let policy = Policy { level, program, ..policy.clone() };
        match run(policy, has_tmp, Path::new("/usr"), &["true".into()], None, None)? {
            Ran::Well => Ok(()),
            Ran::Badly(said) => Err(said),
            Ran::Late => Err("it did not end".to_owned()),
        }
    }

    /// Tries whether an interpreter works in a sandbox that holds. An interpreter that takes long is believed to.
    ///
    /// # Errors
    /// Its words.
    pub(crate) fn works(policy: &Policy, words: &[OsString], variables: &[(OsString, OsString)]) -> Result<(), String> {
        let program = words.first().map(PathBuf::from).unwrap_or_default();
        let policy = Policy { program, ..policy.clone() };
        let has_tmp = policy.tmp.is_some();
        match run(policy, has_tmp, Path::new("/usr"), words, Some(variables), Some(WORKS_TIMEOUT))? {
            Ran::Well | Ran::Late => Ok(()),
            Ran::Badly(said) => Err(said),
        }
    }

    enum Ran {
        Well,
        Badly(String),
        Late,
    }

    /// Runs a command in a sandbox.
    fn run(
        policy: Policy,
        has_tmp: bool,
        here: &Path,
        words: &[OsString],
        variables: Option<&[(OsString, OsString)]>,
        timeout: Option<Duration>,
    ) -> Result<Ran, String> {
        let error = |error: std::io::Error| format!("trying it: {error}");
        let directory = TaskDirectory::new().map_err(error)?;
        let tmp = has_tmp.then(|| directory.tmp());
        let policy = Policy { tmp, ..policy };
        let policy = serde_json::to_string(&policy).map_err(|error| format!("the policy: {error}"))?;
        let report = directory.path().join("report");
        let heard = Heard::at(&report).map_err(error)?;
        let parent = std::process::id().to_string();
        let mut command = Command::new(crate::program::itself().map_err(error)?);
        command.args(["sandbox-exec", "--parent", &parent, "--policy", &policy, "--report"]);
        command.arg(&report).arg("--").args(words);
        command.current_dir(here).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(variables) = variables {
            command.env_clear().envs(variables.iter().cloned());
        }
        let mut child = command.spawn().map_err(error)?;
        let (say, told) = mpsc::channel();
        let stderr = child.stderr.take();
        std::thread::spawn(move || {
            let mut said = Vec::new();
            if let Some(mut stderr) = stderr {
                // the rest is read, and not kept
                let _ = stderr.by_ref().take(SAID_MAX).read_to_end(&mut said);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            }
            let _ = say.send(said);
        });
        let said = match timeout {
            Some(timeout) => told.recv_timeout(timeout).ok(),
            None => told.recv().ok(),
        };
        if said.is_none() {
            // the warden ends its command
            crate::signals::send_to(child.id(), crate::signals::Forwarded::Interrupt, false);
        }
        let ended = child.wait().map_err(error)?;
        let Some(said) = said else { return Ok(Ran::Late) };
        let news = heard.news();
        if ended.success() && news.began {
            return Ok(Ran::Well);
        }
        let said = String::from_utf8_lossy(&said);
        let said = said.lines().rev().find(|line| !line.trim().is_empty()).map(|said| said.trim().to_owned());
        Ok(Ran::Badly(said.or(news.failed).unwrap_or_else(|| "it ended without a word".to_owned())))
    }

    const _: () = assert!(NEEDED as i32 == ABI::V6 as i32, "the texts say Linux 6.12");
}
