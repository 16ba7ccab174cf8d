//! The place where a worker's command runs: its directory, its sandbox, its limits, its variables.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use nexus_node::api::{Problem, wire};
use tokio::process::Command;

use super::job;
pub(super) use super::wardens::Wardens;
use crate::output::{Printer, sane};
#[cfg(target_os = "linux")]
use crate::sandbox::Heard;
use crate::sandbox::{Bytes, Level, Limits, Policy, Reached, Wish, cleaned, forbidden, found, reach};
use crate::session::{CliSession, state_dir};
use crate::task_directory::TaskDirectory;

/// The options of a worker about the place of its command.
#[derive(Debug, Args)]
pub(super) struct WorkplaceOptions {
    /// The confinement of the command; a level that this machine does not reach is an error
    #[arg(long, value_enum, default_value_t = Wish::Auto, value_name = "LEVEL", help_heading = "Sandbox")]
    sandbox: Wish,
    /// A directory that the command may read, besides the system's; may be given several times
    #[arg(long, value_name = "DIR", help_heading = "Sandbox")]
    allow_read: Vec<PathBuf>,
    /// A directory that it may write; may be given several times
    #[arg(long, value_name = "DIR", help_heading = "Sandbox")]
    allow_write: Vec<PathBuf>,
    /// Let it use the network; without this it has none
    #[arg(long, help_heading = "Sandbox")]
    allow_net: bool,
    /// A variable that it keeps, besides PATH, LANG, LC_*, TERM and TZ; may be given several times
    #[arg(long, value_name = "NAME", help_heading = "Sandbox")]
    env: Vec<String>,
    /// The directory that it runs in and may write, such as a working tree [default: an empty one of its own, which goes]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The most memory of each of its processes, as 512M or 2G: of the address space
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    memory: Option<Bytes>,
    /// The most time of a processor for each of its processes
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    cpu_time: Option<wire::Span>,
    /// The most open files of each of its processes [default: 4096 in a sandbox]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(16..), help_heading = "Limits")]
    open_files: Option<u64>,
    /// The most that it may write to stdout, or to stderr; more ends it
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    output_max: Option<Bytes>,
}

/// The place where a worker's commands run.
#[derive(Debug)]
pub(super) struct Workplace {
    /// The command, with its program.
    pub(super) command: Vec<OsString>,
    policy: Policy,
    dir: Option<PathBuf>,
    env: Vec<String>,
    /// The most bytes of a stdout or stderr.
    pub(super) output_max: Option<u64>,
    pub(super) wardens: Arc<Wardens>,
    pub(super) printer: Printer,
}

/// A command that is ready to be started, and its directories.
pub(super) struct Prepared {
    pub(super) command: Command,
    /// Whether a warden watches over it.
    pub(super) is_guarded: bool,
    /// The words of the warden.
    #[cfg(target_os = "linux")]
    pub(super) heard: Option<Heard>,
    /// Goes with the command.
    pub(super) directory: TaskDirectory,
}

impl WorkplaceOptions {
    /// The place, with a sandbox that was tried.
    ///
    /// # Errors
    /// This machine does not reach the level, a directory is not there or leads to secrets, or there is no such program.
    pub(super) fn prepare(self, command: Vec<OsString>, session: &CliSession) -> Result<Workplace, Problem> {
        let Self { sandbox, env, dir, output_max, .. } = &self;
        let (wish, env, dir, output_max) = (*sandbox, env.clone(), dir.clone(), *output_max);
        let dir = dir.map(|dir| there(&dir)).transpose()?;
        let policy = self.policy(&command, dir.as_deref())?;
        if wish != Wish::None && cfg!(target_os = "linux") {
            // an account without a home has none
            let secret: Vec<PathBuf> = session.data_dir().ok().into_iter().chain(state_dir()).collect();
            forbidden(&policy, &secret)?;
        }
        let Reached { level, short } = reach(wish, &policy)?;
        if level == Level::None && wish == Wish::Auto {
            let why = short.unwrap_or_default();
            let hint = "--sandbox kernel makes this an error, --sandbox none says that you know";
            let message = format!("the command may do whatever your account may: there is no sandbox here: {why}");
            session.printer.warning(&message, Some(hint));
        }
        let limits = policy.limits.at(level);
        if !limits.is_none() && !cfg!(target_os = "linux") {
            let problem = Problem::new("failed", "--memory, --cpu-time and --open-files are there on Linux alone");
            return Err(problem.hint("leave them out"));
        }
        let policy = Policy { level, limits, ..policy };
        let output_max = output_max.map(|Bytes(bytes)| bytes);
        let (wardens, printer) = (Arc::default(), session.printer.clone());
        Ok(Workplace { command, policy, dir, env, output_max, wardens, printer })
    }

    fn policy(self, command: &[OsString], dir: Option<&Path>) -> Result<Policy, Problem> {
        let usage = |message: &str, hint: &str| Err(Problem::new("usage", message).hint(hint));
        let Self { sandbox, allow_read, allow_write, allow_net, env, memory, cpu_time, open_files, .. } = self;
        let is_given = allow_net || !(allow_read.is_empty() && allow_write.is_empty() && env.is_empty());
        if sandbox == Wish::None && is_given {
            let message = "without a sandbox the command has every file, the network and all variables anyway";
            return usage(message, "leave out --sandbox none, or --allow-read, --allow-write, --allow-net and --env");
        }
        let cpu = cpu_time.map(|wire::Span(time)| time.as_secs() + u64::from(time.subsec_nanos() > 0));
        if let Some(name) = env.iter().find(|name| name.starts_with("LD_") || name.contains('=')) {
            let message = format!("--env {name}: it would be heeded outside of the sandbox, too, or is no name");
            return usage(&message, "let the command set it: `-- env NAME=VALUE CMD`");
        }
        if cpu == Some(0) {
            return usage("--cpu-time is at least a second", "write it as 30s or 5m");
        }
        let all = |paths: Vec<PathBuf>| paths.iter().map(|path| there(path)).collect::<Result<Vec<_>, _>>();
        let mut write = all(allow_write)?;
        write.extend(dir.map(Path::to_owned));
        let name = command.first().cloned().unwrap_or_default();
        // without a sandbox the system looks for it as ever
        let program = match found(&name) {
            Some(program) => program,
            None if sandbox == Wish::None => PathBuf::from(&name),
            None => {
                let problem = Problem::new("failed", format!("there is no program {}", name.to_string_lossy()));
                return Err(problem.hint("name it by a whole path, or a name on the PATH"));
            }
        };
        let limits = Limits { memory: memory.map(|Bytes(bytes)| bytes), cpu, open_files };
        Ok(Policy {
            level: Level::None,
            read: all(allow_read)?,
            write,
            program,
            bwrap: bwrap(),
            net: allow_net,
            limits,
        })
    }
}

#[cfg(target_os = "linux")]
fn bwrap() -> Option<PathBuf> {
    crate::sandbox::bwrap()
}

#[cfg(not(target_os = "linux"))]
fn bwrap() -> Option<PathBuf> {
    None
}

/// A directory that is there, by its real path.
fn there(path: &Path) -> Result<PathBuf, Problem> {
    let no = |why: String| Problem::new("invalid", format!("{}: {why}", path.display())).hint("name a directory");
    let real = path.canonicalize().map_err(|error| no(error.to_string()))?;
    if real.to_str().is_none() {
        return Err(no("its name is no text".to_owned()));
    }
    if real.is_dir() { Ok(real) } else { Err(no("it is no directory".to_owned())) }
}

impl Workplace {
    pub(super) fn level(&self) -> Level {
        self.policy.level
    }

    /// Tells people where the command runs.
    pub(super) fn note(&self, capabilities: &str, printer: &Printer) {
        let Policy { level, net, .. } = self.policy;
        let sandbox = match (level, net) {
            (Level::None, _) => "no sandbox".to_owned(),
            (level, true) => format!("sandbox {}, with the network", level.as_str()),
            (level, false) => format!("sandbox {}, no network", level.as_str()),
        };
        printer.note(&format!("serving {}; {sandbox}; Ctrl-C stops it", sane(capabilities)));
    }

    /// A command for a task, ready to be started.
    ///
    /// # Errors
    /// There is no room for its directory.
    pub(super) fn prepare(&self, claimed: &wire::ClaimedTask) -> Result<Prepared, Problem> {
        let no = |error: std::io::Error| job::unfit("a directory for the command", &error);
        let directory = TaskDirectory::new().map_err(no)?;
        let own = directory.task();
        let (mut command, is_guarded) = self.command_in(&own, directory.path())?;
        #[cfg(target_os = "linux")]
        let heard = is_guarded.then(|| Heard::at(&report(directory.path()))).transpose().map_err(no)?;
        command
            .current_dir(self.dir.as_ref().unwrap_or(&own))
            .env("TMPDIR", &own)
            .env("NEXUS_TASK_DIR", &own)
            .env("NEXUS_TASK_ID", &claimed.task.id)
            .env("NEXUS_TASK_TOKEN", &claimed.token)
            .env("NEXUS_TASK_ATTEMPT", claimed.attempt.to_string())
            .env("NEXUS_TASK_CAPABILITY", &claimed.task.capability)
            .envs(claimed.lock.as_ref().map(|lock| ("NEXUS_LOCK", lock.clone())))
            .envs(claimed.fence.map(|fence| ("NEXUS_LOCK_TOKEN", fence.to_string())))
            .env("NEXUS_TASK_SANDBOX", self.level().as_str());
        Ok(Prepared {
            command,
            is_guarded,
            #[cfg(target_os = "linux")]
            heard,
            directory,
        })
    }

    /// The command, or the warden that starts it. On Linux each command has one, so that none outlives its worker.
    fn command_in(&self, own: &Path, base: &Path) -> Result<(Command, bool), Problem> {
        let usage = || Problem::new("usage", "there is no command");
        let (program, arguments) = self.command.split_first().ok_or_else(usage)?;
        let mut policy = self.policy.clone();
        policy.write.push(own.to_owned());
        let is_free = self.level() == Level::None && self.policy.limits.is_none();
        let policy = match serde_json::to_string(&policy) {
            Ok(policy) if !is_free || cfg!(target_os = "linux") => policy,
            Err(error) if !is_free => return Err(Problem::new("internal", error.to_string())),
            // a path that is no text goes to no warden
            Ok(_) | Err(_) => {
                let mut command = Command::new(program);
                command.args(arguments);
                return Ok((command, false));
            }
        };
        let own_program =
            crate::program::itself().map_err(|error| Problem::new("failed", format!("this program: {error}")))?;
        let mut command = Command::new(own_program);
        let parent = std::process::id().to_string();
        command.args(["sandbox-exec", "--parent", &parent, "--policy", &policy, "--report"]).arg(report(base));
        command.arg("--").args(&self.command);
        if self.level() > Level::None {
            command.env_clear().envs(cleaned(&self.env)).env("HOME", own);
        }
        Ok((command, true))
    }
}

/// The name of the pipe over which a warden says how its command began and ended.
fn report(base: &Path) -> PathBuf {
    base.join("report")
}
