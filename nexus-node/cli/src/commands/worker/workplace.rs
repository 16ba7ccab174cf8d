//! The place where a worker's command runs: its directory, its sandbox, its limits, its variables.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use nexus_client::wire;
use nexus_node::api::Problem;
use tokio::process::Command;

pub(super) use super::wardens::Wardens;
use crate::output::{Printer, sane};
#[cfg(target_os = "linux")]
use crate::sandbox::Heard;
use crate::sandbox::{
    Around, Bytes, Level, Limits, Needs, Opened, Policy, Private, Profile, Reached, Repository, Wish, cleaned,
    forbidden, reach,
};
use crate::session::{CliSession, state_dir};
use crate::task_directory::TaskDirectory;

/// The most directories that an error names.
const DIRECTORIES_NAMED: usize = 8;

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
    /// Serve tasks as root also without namespaces, where the command could change modes and times of the system's files
    #[arg(long, help_heading = "Sandbox")]
    allow_root: bool,
    /// Open what the tools of a kind need; may be given several times. The worker's first line says all of it
    #[arg(long = "profile", value_enum, value_name = "TOOLS", help_heading = "Sandbox")]
    profiles: Vec<Profile>,
    /// Let the command read and write an agent's credentials, as --profile agent wants
    #[arg(long, help_heading = "Sandbox")]
    yes: bool,
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
    /// The largest file that it may write [default: 16G in a sandbox]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    file_size: Option<Bytes>,
    /// The most bytes in its own directory, on Linux; more ends it [default: 32G in a sandbox]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    disk: Option<Bytes>,
    /// The most processes of it at a time, on Linux; more end it [default: 1000 in a sandbox]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Limits")]
    processes: Option<u64>,
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
    private: Private,
    /// The directory that it runs in, unless it is an empty one.
    dir: Option<PathBuf>,
    /// Files of the home directory that it finds below its own.
    files: Vec<PathBuf>,
    /// Its variables in a sandbox, but for those of its task.
    variables: Vec<(OsString, OsString)>,
    /// The reason why it has no `/tmp` of its own, if it has none.
    no_tmp: Option<String>,
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
    /// This machine does not reach the level, a directory is not there or leads to secrets, there is no such program, or the
    /// command's interpreter does not work there.
    pub(super) fn prepare(self, command: &[OsString], session: &CliSession) -> Result<Workplace, Problem> {
        let (wish, output_max, env, allow_root) = (self.sandbox, self.output_max, self.env.clone(), self.allow_root);
        let dir = self.dir.as_deref().map(there).transpose()?;
        // an account without a home has none
        let secret: Vec<PathBuf> = session.data_dir().ok().into_iter().chain(state_dir()).collect();
        let base = directories::BaseDirs::new();
        let private = Private::new(base.as_ref().map(directories::BaseDirs::home_dir), &secret);
        let (needs, opened) = self.needs(command, dir.as_deref(), &private, session)?;
        let Needs { program, command, read, path, trial } = needs;
        let policy = self.policy(program, read, dir.as_deref(), &opened)?;
        if wish != Wish::None && cfg!(target_os = "linux") {
            forbidden(&policy, &secret)?;
        }
        // each task has one: a machine without a place for it is told of before a task is taken
        drop(TaskDirectory::new().map_err(|error| unfit("a directory for the command", &error))?);
        let Reached { level, short, no_tmp } = reach(wish, &policy)?;
        if level == Level::None && wish == Wish::Auto {
            let why = short.unwrap_or_default();
            let hint = "--sandbox kernel makes this an error, --sandbox none says that you know";
            let message = format!("the command may do whatever your account may: there is no sandbox here: {why}");
            session.printer.warning(&message, Some(hint));
        }
        let limits = policy.limits.at(level);
        if !limits.is_none() && !cfg!(target_os = "linux") {
            let message =
                "--memory, --cpu-time, --open-files, --file-size, --disk and --processes are there on Linux alone";
            let problem = Problem::new("failed", message);
            return Err(problem.hint("leave them out"));
        }
        if level == Level::Kernel
            && let (Some(kept), Some(why)) = (policy.kept.first(), &no_tmp)
        {
            let message = format!(
                "the command could change {}, which your own git would obey: there are no namespaces here: {why}",
                kept.display()
            );
            let hint =
                "let it run in a copy of the files without .git, allow namespaces of users, or use --sandbox none";
            return Err(Problem::new("refused", message).hint(hint));
        }
        if level == Level::Kernel
            && let Some(why) = no_tmp.as_ref().filter(|_| is_root() && !allow_root)
        {
            let message = format!(
                "the command would be run by root, and could change modes of the system's files: there are no namespaces here: {why}"
            );
            let hint = "start the worker by an account of its own; where root is all there is, say --allow-root";
            return Err(Problem::new("refused", message).hint(hint));
        }
        // a place for it is made with each task
        let tmp = (level > Level::None && no_tmp.is_none()).then(PathBuf::new);
        let policy = Policy { level, limits, tmp, ..policy };
        let variables = variables(&env, &opened, &path);
        if level > Level::None
            && let Some(trial) = &trial
        {
            works(&policy, trial, &variables)?;
        }
        let output_max = output_max.map(|Bytes(bytes)| bytes);
        let (wardens, printer, files) = (Arc::default(), session.printer.clone(), opened.files);
        Ok(Workplace { command, policy, private, dir, files, variables, no_tmp, output_max, wardens, printer })
    }

    /// The needs of the command, with those that its profiles open.
    fn needs(
        &self,
        command: &[OsString],
        dir: Option<&Path>,
        private: &Private,
        session: &CliSession,
    ) -> Result<(Needs, Opened), Problem> {
        let from = std::env::current_dir()
            .map_err(|error| Problem::new("failed", format!("the present directory: {error}")))?;
        let around = Around { from: &from, dir, private };
        let mut opened = Opened::default();
        let mut needs = match Needs::of(command, &around) {
            Ok(needs) => needs,
            // without a sandbox the system looks for it as ever
            Err(_) if self.sandbox == Wish::None => {
                let program = command.first().map(PathBuf::from).unwrap_or_default();
                Needs { program, command: command.to_vec(), ..Needs::default() }
            }
            Err(problem) => return Err(problem),
        };
        for profile in &self.profiles {
            profile.open(&mut needs, &mut opened, &around)?;
        }
        if self.profiles.contains(&Profile::Agent) && !self.yes && self.sandbox != Wish::None {
            let files: Vec<String> = opened.files.iter().map(|file| private.shown(file)).collect();
            let files = if files.is_empty() { "variables with keys".to_owned() } else { files.join(", ") };
            let message = format!(
                "the command may read and change {files}, and use the network: whatever takes it over may, too"
            );
            if !session.printer.asks() {
                return Err(Problem::new("refused", message).hint("--yes says that you know"));
            }
            session.printer.confirm(&message)?;
        }
        for repository in dir.and_then(Repository::of).iter().flat_map(Repository::read) {
            // a person who named the working tree named its repository
            if !needs.read.contains(&repository) {
                needs.read.push(repository);
            }
        }
        Ok((needs, opened))
    }

    fn policy(
        self,
        program: PathBuf,
        mut read: Vec<PathBuf>,
        dir: Option<&Path>,
        opened: &Opened,
    ) -> Result<Policy, Problem> {
        let usage = |message: &str, hint: &str| Err(Problem::new("usage", message).hint(hint));
        let (file_size, disk) = (self.file_size.map(|Bytes(bytes)| bytes), self.disk.map(|Bytes(bytes)| bytes));
        let processes = self.processes;
        let Self { sandbox, allow_read, allow_write, allow_net, env, memory, cpu_time, open_files, profiles, .. } =
            self;
        let is_given =
            allow_net || !(allow_read.is_empty() && allow_write.is_empty() && env.is_empty() && profiles.is_empty());
        if sandbox == Wish::None && is_given {
            let message = "without a sandbox the command has every file, the network and all variables anyway";
            let hint = "leave out --sandbox none, or --allow-read, --allow-write, --allow-net, --env and --profile";
            return usage(message, hint);
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
        read.extend(all(allow_read)?);
        let mut write = all(allow_write)?;
        write.extend(dir.map(Path::to_owned));
        if let Some(directory) = write.iter().find(|directory| Repository::is_loose(directory)) {
            let message = format!("{}/.git is a link, which the command could replace", directory.display());
            let hint = "let it run in a worktree: `git worktree add DIR`";
            return Err(Problem::new("refused", message).hint(hint));
        }
        let kept = |directory: &PathBuf| match Repository::of(directory) {
            Some(repository) => repository.kept(),
            None => Repository::entry_in(directory).into_iter().collect(),
        };
        let kept = write.iter().flat_map(kept).collect();
        write.extend(opened.write.iter().chain(&opened.files).cloned());
        let memory = memory.map(|Bytes(bytes)| bytes);
        let limits = Limits { memory, cpu, open_files, file_size, disk, processes };
        let (net, bwrap) = (allow_net || opened.net, bwrap());
        Ok(Policy { level: Level::None, read, write, program, bwrap, net, tmp: None, kept, limits })
    }
}

/// The variables of a command in a sandbox. A bare name leads to the same program inside as it does for the worker.
fn variables(env: &[String], opened: &Opened, path: &[PathBuf]) -> Vec<(OsString, OsString)> {
    let mut variables = cleaned(&[env, &opened.keep].concat());
    variables.extend(opened.set.iter().map(|(name, value)| (OsString::from(name), value.clone())));
    if let Some((_, value)) = variables.iter_mut().find(|(name, _)| name == "PATH")
        && let Ok(joined) = std::env::join_paths(path.iter().cloned().chain(std::env::split_paths(value)))
    {
        *value = joined;
    }
    variables
}

#[cfg(target_os = "linux")]
fn works(policy: &Policy, trial: &[OsString], variables: &[(OsString, OsString)]) -> Result<(), Problem> {
    crate::sandbox::works(policy, trial, variables).map_err(|said| {
        let program = trial.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        Problem::new("failed", format!("{program} does not work in the sandbox: {said}"))
            .hint("open what it needs with --allow-read DIR or --profile, or use --sandbox none: no task was taken")
    })
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
fn works(_: &Policy, _: &[OsString], _: &[(OsString, OsString)]) -> Result<(), Problem> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn bwrap() -> Option<PathBuf> {
    crate::sandbox::bwrap()
}

#[cfg(not(target_os = "linux"))]
fn bwrap() -> Option<PathBuf> {
    None
}

/// Whether this is the account of the system. It owns the system's files, so a command of its could change their modes, which
/// namespaces alone keep it from.
#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
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

/// The permissions of a sandbox, in the words of an error.
#[derive(Clone, Debug)]
pub(super) struct Permits {
    /// The directories that the command may read.
    read: String,
    net: bool,
}

/// The words of errors about files that a command may not use, or does not see.
const OF_FILES: [&str; 14] = [
    "permission denied",
    "operation not permitted",
    "read-only file system",
    "no such file",
    ": not found",
    "cannot find module",
    "no module named",
    "not a git repository",
    "can't open",
    "cannot open",
    "eacces",
    "eperm",
    "enoent",
    "not logged in",
];
/// The words of errors about a network that is not there.
const OF_NETWORK: [&str; 8] = [
    "could not resolve",
    "couldn't connect",
    "network is unreachable",
    "temporary failure in name resolution",
    "name or service not known",
    "enotfound",
    "eai_again",
    "failed to connect",
];

impl Permits {
    /// The line that an error ends with if the sandbox may have caused it.
    pub(super) fn hint(&self, said: &str) -> Option<String> {
        let said = said.to_lowercase();
        let speaks_of = |words: &[&str]| words.iter().any(|word| said.contains(word));
        let lets = wire::TaskError::SANDBOX;
        if !self.net && speaks_of(&OF_NETWORK) {
            return Some(format!("{lets} use no network: `nexus-node worker --allow-net` allows it"));
        }
        speaks_of(&OF_FILES).then(|| {
            format!(
                "{lets} read {}: `nexus-node worker --allow-read DIR`, `--dir DIR` and `--profile` allow more",
                self.read
            )
        })
    }
}

impl Workplace {
    /// The permissions of the sandbox; `None` without one.
    pub(super) fn permits(&self) -> Option<Permits> {
        if self.level() == Level::None {
            return None;
        }
        let given = self.policy.read.iter().chain(&self.policy.write).take(DIRECTORIES_NAMED);
        let given: Vec<String> = given.map(|directory| self.private.shown(directory)).collect();
        let own = "the system's directories and its own one";
        let read = if given.is_empty() { own.to_owned() } else { format!("{own}, {}", given.join(", ")) };
        Some(Permits { read, net: self.policy.net })
    }

    pub(super) fn level(&self) -> Level {
        self.policy.level
    }

    /// Tells people where the command runs, and what it may do there.
    pub(super) fn note(&self, capabilities: &str, printer: &Printer) {
        let shown = |path: &PathBuf| sane(&self.private.shown(path));
        let listed = |verb: &str, paths: &mut dyn Iterator<Item = &PathBuf>| {
            let paths: Vec<String> = paths.map(shown).collect();
            (!paths.is_empty()).then(|| format!("{verb} {}", paths.join(", ")))
        };
        let Policy { level, net, .. } = self.policy;
        let dir = self.dir.as_ref().map_or_else(|| "an empty directory".to_owned(), shown);
        let mut parts = vec![format!("serving {}", sane(capabilities)), format!("runs in {dir}")];
        if level == Level::None {
            parts.push("no sandbox".to_owned());
        } else {
            parts.push(format!("sandbox {}", level.as_str()));
            parts.extend(listed("reads", &mut self.policy.read.iter()));
            parts.extend(listed(
                "writes",
                &mut self.policy.write.iter().filter(|path| Some(*path) != self.dir.as_ref()),
            ));
            parts.push(if net { "with the network" } else { "no network" }.to_owned());
            parts.extend(self.no_tmp.as_ref().map(|_| "no /tmp".to_owned()));
        }
        printer.note(&format!("{}; Ctrl-C stops it", parts.join("; ")));
    }

    /// A command for a task, ready to be started.
    ///
    /// # Errors
    /// There is no room for its directory.
    pub(super) fn prepare(&self, claimed: &wire::ClaimedTask) -> Result<Prepared, Problem> {
        let no = |error: std::io::Error| unfit("a directory for the command", &error);
        let directory = TaskDirectory::new().map_err(no)?;
        let own = directory.task();
        self.link(&own).map_err(no)?;
        let (mut command, is_guarded) = self.command_in(&directory)?;
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

    /// Leads from its own home directory to files of the person's.
    fn link(&self, own: &Path) -> std::io::Result<()> {
        for file in &self.files {
            let Some(below) = self.private.home.as_ref().and_then(|home| file.strip_prefix(home).ok()) else {
                continue;
            };
            let link = own.join(below);
            link.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            linked(file, &link)?;
        }
        Ok(())
    }

    /// The command, or the warden that starts it. On Linux each command has one, so that none outlives its worker.
    fn command_in(&self, directory: &TaskDirectory) -> Result<(Command, bool), Problem> {
        let own = directory.task();
        let usage = || Problem::new("usage", "there is no command");
        let (program, arguments) = self.command.split_first().ok_or_else(usage)?;
        let mut policy = self.policy.clone();
        policy.write.push(own.clone());
        policy.tmp = policy.tmp.map(|_| directory.tmp());
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
        command
            .args(["sandbox-exec", "--parent", &parent, "--policy", &policy, "--report"])
            .arg(report(directory.path()));
        command.arg("--").args(&self.command);
        if self.level() > Level::None {
            command.env_clear().envs(self.variables.iter().cloned());
            // a person's is theirs to name
            if !self.variables.iter().any(|(name, _)| name == "HOME") {
                command.env("HOME", own);
            }
        }
        Ok((command, true))
    }
}

/// The name of the pipe over which a warden says how its command began and ended.
fn report(base: &Path) -> PathBuf {
    base.join("report")
}

#[cfg(unix)]
fn linked(file: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(file, link)
}

#[cfg(not(unix))]
fn linked(file: &Path, link: &Path) -> std::io::Result<()> {
    std::fs::hard_link(file, link)
}

/// The problem of a command that cannot begin.
pub(super) fn unfit(what: &str, error: &std::io::Error) -> Problem {
    let problem = Problem::new("failed", format!("{what}: {error}"));
    problem.hint("no task was tried: mend it, and start the worker again")
}
