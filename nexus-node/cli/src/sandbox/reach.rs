//! The level that this machine reaches, found by trying: a kernel may know a rule and have it switched off.

use nexus_node::api::Problem;

use super::{Level, Policy, Wish};

/// A level that holds on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) level: Level,
    /// The reason why it is no higher one, if that was wished for.
    pub(crate) short: Option<String>,
}

/// The level for a wish, tried with this policy.
///
/// # Errors
/// This machine does not reach the level that was named, or no level holds with this policy.
pub(crate) fn reach(wish: Wish, policy: &Policy) -> Result<Reached, Problem> {
    let reached = match wish {
        Wish::None => Reached { level: Level::None, short: None },
        Wish::Kernel => Reached { level: Level::Kernel, short: None },
        Wish::Full => Reached { level: Level::Full, short: None },
        Wish::Auto => best(),
    };
    if reached.level == Level::None {
        return Ok(reached);
    }
    // a policy that does not hold is an error, and no reason for less
    match tried(reached.level, policy) {
        Ok(()) => Ok(reached),
        Err(why) => Err(unreachable(reached.level, &why)),
    }
}

/// The best level that this machine reaches, with no permissions and no limits.
fn best() -> Reached {
    let mut short = None;
    for level in [Level::Full, Level::Kernel] {
        match try_level(level) {
            Ok(()) => return Reached { level, short },
            Err(why) => short = Some(why),
        }
    }
    Reached { level: Level::None, short }
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
fn tried(_: Level, _: &Policy) -> Result<(), String> {
    Err("it is there on Linux alone".to_owned())
}

#[cfg(not(target_os = "linux"))]
fn try_level(_: Level) -> Result<(), String> {
    Err("it is there on Linux alone".to_owned())
}

#[cfg(target_os = "linux")]
use self::linux::tried;
#[cfg(target_os = "linux")]
pub(crate) use self::linux::{abi, bwrap, try_level};

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

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

    /// Tries a level with no permissions.
    ///
    /// # Errors
    /// The reason why it does not hold here.
    pub(crate) fn try_level(level: Level) -> Result<(), String> {
        let program = PathBuf::new();
        let (read, write, bwrap) = (Vec::new(), Vec::new(), bwrap());
        tried(level, &Policy { level, read, write, program, bwrap, net: false, limits: Limits::default() })
    }

    pub(super) fn tried(level: Level, policy: &Policy) -> Result<(), String> {
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
        let error = |error: std::io::Error| format!("trying it: {error}");
        let policy = serde_json::to_string(&policy).map_err(|error| format!("the policy: {error}"))?;
        let directory = TaskDirectory::new().map_err(error)?;
        let report = directory.path().join("report");
        let heard = Heard::at(&report).map_err(error)?;
        let mut command = Command::new(crate::program::itself().map_err(error)?);
        command.args(["sandbox-exec", "--parent", &std::process::id().to_string(), "--policy", &policy, "--report"]);
        command.arg(&report).args(["--", "true"]).current_dir("/usr").stdin(Stdio::null());
        let output = command.output().map_err(error)?;
        let news = heard.news();
        if output.status.success() && news.began {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().rev().find(|line| !line.trim().is_empty());
        Err(said.map(|said| said.trim().to_owned()).or(news.failed).unwrap_or("it ended without a word".to_owned()))
    }

    const _: () = assert!(NEEDED as i32 == ABI::V6 as i32, "the texts say Linux 6.12");
}
