//! The running systemd, asked and told through its own programs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nexus_node::api::Problem;

use super::systemd::UNIT;
use super::words::Scope;

/// The directory that is there while systemd runs: sd_booted(3).
const BOOTED: &str = "/run/systemd/system";
/// The longest answer: a node may take 30 s to stop.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The time between two looks at a program that runs. It has no event to wait for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The longest text that is read from a program.
const TEXT_BYTES_MAX: u64 = 64 << 10;

/// The systemd of an account, or of the machine.
#[derive(Debug)]
pub(super) struct Systemctl {
    scope: Scope,
    /// The programs, each with its first arguments.
    systemctl: Vec<OsString>,
    loginctl: Vec<OsString>,
}

/// The unit as systemd sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// `active`, `activating`, `failed`, `inactive`.
    pub(super) active: String,
    pub(super) sub: String,
    pub(super) enabled: bool,
    pub(super) pid: Option<u32>,
    pub(super) restarts: Option<u64>,
    /// The file that it was read from.
    pub(super) file: Option<PathBuf>,
}

impl Systemctl {
    /// The systemd that runs here, if one does and answers.
    pub(super) fn running(scope: Scope) -> Option<Self> {
        Self::at(Path::new(BOOTED), vec!["systemctl".into()], vec!["loginctl".into()], scope)
    }

    fn at(booted: &Path, systemctl: Vec<OsString>, loginctl: Vec<OsString>, scope: Scope) -> Option<Self> {
        let this = Self { scope, systemctl, loginctl };
        (booted.is_dir() && this.ask(&["show", "--property=Version"]).is_ok()).then_some(this)
    }

    pub(super) fn state(&self) -> Result<State, Problem> {
        let wanted = "--property=ActiveState,SubState,UnitFileState,MainPID,NRestarts,FragmentPath";
        Ok(State::parse(&self.ask(&["show", UNIT, wanted])?))
    }

    /// Has systemd read its files again.
    pub(super) fn reload(&self) -> Result<(), Problem> {
        self.ask(&["daemon-reload"]).map(drop)
    }

    /// Enables the unit, and starts it. With `anew` it is stopped first.
    pub(super) fn start(&self, anew: bool) -> Result<(), Problem> {
        self.ask(&["enable", UNIT])?;
        // a service that failed too often starts again only after this
        let _ = self.ask(&["reset-failed", UNIT]);
        self.ask(&[if anew { "restart" } else { "start" }, UNIT]).map(drop)
    }

    /// Disables the unit, and stops it.
    pub(super) fn stop(&self) -> Result<(), Problem> {
        self.ask(&["disable", "--now", UNIT])?;
        // a failed unit would stay in systemd's list; without one this is refused, and that is no fault
        let _ = self.ask(&["reset-failed", UNIT]);
        Ok(())
    }

    /// Whether the account's services run without a login; switched on if that is permitted.
    pub(super) fn linger(&self, uid: u32) -> bool {
        let uid = uid.to_string();
        let known = run(&self.loginctl, &["show-user", &uid, "--property=Linger", "--value"]);
        known.is_ok_and(|known| known.trim() == "yes")
            || run(&self.loginctl, &["enable-linger", "--no-ask-password", &uid]).is_ok()
    }

    fn ask(&self, arguments: &[&str]) -> Result<String, Problem> {
        let mut all = vec!["--no-ask-password", "--no-pager"];
        all.extend((self.scope == Scope::User).then_some("--user"));
        all.extend_from_slice(arguments);
        run(&self.systemctl, &all)
    }
}

impl State {
    /// Reads the lines of `systemctl show`.
    fn parse(text: &str) -> Self {
        let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let value = |name: &str| values.get(name).copied().unwrap_or_default();
        let number = |name: &str| value(name).parse::<u64>().ok();
        Self {
            active: value("ActiveState").to_owned(),
            sub: value("SubState").to_owned(),
            enabled: value("UnitFileState") == "enabled",
            pid: number("MainPID").and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
            restarts: number("NRestarts"),
            file: Some(value("FragmentPath")).filter(|path| !path.is_empty()).map(PathBuf::from),
        }
    }
}

/// Runs a program to its end. Returns its output.
fn run(program: &[OsString], arguments: &[&str]) -> Result<String, Problem> {
    let (name, first) = program.split_first().ok_or_else(|| Problem::new("internal", "no program"))?;
    let line = format!("{} {}", name.display(), arguments.join(" "));
    let failed =
        |why: &str| Problem::new("failed", format!("`{line}` failed: {why}")).hint("run it by hand to see more");
    let mut command = Command::new(name);
    command.args(first).args(arguments).env("LC_ALL", "C").env("SYSTEMD_COLORS", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
    let end = Instant::now() + TIMEOUT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Problem::new("timed_out", format!("`{line}` has not ended in {} s", TIMEOUT.as_secs()))
                    .hint("it may still happen; `nexus-node service status` tells"));
            }
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            Err(error) => return Err(failed(&error.to_string())),
        }
    };
    if status.success() {
        return Ok(read(child.stdout.take()));
    }
    let complaint = read(child.stderr.take());
    let complaint = complaint.trim();
    Err(failed(if complaint.is_empty() { "it gave no reason" } else { complaint }))
}

/// The beginning of what a program has printed.
fn read(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    // a text that cannot be read says nothing
    let _ = pipe.map(|pipe| pipe.take(TEXT_BYTES_MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A systemd that writes down how it was called, and answers with the files of a directory.
    struct Pretended(tempfile::TempDir);

    impl Pretended {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            for name in ["systemctl", "loginctl"] {
                let script = format!(
                    "cd '{}'\necho {name} \"$@\" >> calls\nfor word do\n  [ -f \"refuse-$word\" ] && echo no >&2 && exit 1\n\
                     done\ncat {name}-says 2>/dev/null\nexit 0\n",
                    directory.path().display()
                );
                fs::write(directory.path().join(name), script).unwrap();
            }
            Self(directory)
        }

        fn answers(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(format!("{name}-says")), text).unwrap();
        }

        fn refuses(&self, word: &str) {
            fs::write(self.0.path().join(format!("refuse-{word}")), "").unwrap();
        }

        /// A program as a script: one that was just written may not be run itself while others fork.
        fn program(&self, name: &str) -> Vec<OsString> {
            vec!["/bin/sh".into(), self.0.path().join(name).into()]
        }

        fn running(&self, scope: Scope) -> Option<Systemctl> {
            Systemctl::at(self.0.path(), self.program("systemctl"), self.program("loginctl"), scope)
        }

        fn calls(&self) -> Vec<String> {
            let calls = fs::read_to_string(self.0.path().join("calls")).unwrap_or_default();
            let _ = fs::remove_file(self.0.path().join("calls"));
            calls.lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn a_systemd_that_does_not_run_or_answer_is_not_told_anything() {
        let pretended = Pretended::new();
        let at =
            |booted: &Path, systemctl| Systemctl::at(booted, systemctl, pretended.program("loginctl"), Scope::User);
        assert!(at(Path::new("/nonexistent/systemd"), pretended.program("systemctl")).is_none());
        assert_eq!(pretended.calls(), [""; 0]);
        assert!(at(pretended.0.path(), vec!["/nonexistent/systemctl".into()]).is_none());
        pretended.refuses("show");
        assert!(pretended.running(Scope::User).is_none());
    }

    #[test]
    fn the_unit_is_enabled_started_and_stopped_for_its_scope() {
        let pretended = Pretended::new();
        for (scope, flags) in
            [(Scope::User, "--no-ask-password --no-pager --user"), (Scope::System, "--no-ask-password --no-pager")]
        {
            let systemctl = pretended.running(scope).unwrap();
            systemctl.reload().unwrap();
            systemctl.start(false).unwrap();
            systemctl.start(true).unwrap();
            systemctl.stop().unwrap();
            let expected = [
                "show --property=Version",
                "daemon-reload",
                "enable nexus-node.service",
                "reset-failed nexus-node.service",
                "start nexus-node.service",
                "enable nexus-node.service",
                "reset-failed nexus-node.service",
                "restart nexus-node.service",
                "disable --now nexus-node.service",
                "reset-failed nexus-node.service",
            ];
            assert_eq!(pretended.calls(), expected.map(|call| format!("systemctl {flags} {call}")));
        }
    }

    #[test]
    fn a_refusal_of_systemd_is_told_with_its_words() {
        let pretended = Pretended::new();
        pretended.refuses("daemon-reload");
        let problem = pretended.running(Scope::User).unwrap().reload().unwrap_err();
        assert!(problem.message.contains("daemon-reload") && problem.message.ends_with("failed: no"), "{problem:?}");
        assert!(problem.hint.is_some());
    }

    #[test]
    fn lingering_is_asked_for_once_and_only_if_it_is_off() {
        let pretended = Pretended::new();
        let systemctl = pretended.running(Scope::User).unwrap();
        pretended.calls();
        pretended.answers("loginctl", "yes\n");
        assert!(systemctl.linger(7));
        assert_eq!(pretended.calls(), ["loginctl show-user 7 --property=Linger --value"]);
        pretended.answers("loginctl", "no\n");
        assert!(systemctl.linger(7));
        assert_eq!(pretended.calls().last().unwrap(), "loginctl enable-linger --no-ask-password 7");
        pretended.refuses("enable-linger");
        assert!(!systemctl.linger(7));
    }

    #[test]
    fn the_state_of_a_unit_is_read_from_its_properties() {
        let text = "MainPID=4711\nNRestarts=2\nActiveState=active\nSubState=running\nFragmentPath=/a=b/nexus-node.service\n\
                    UnitFileState=enabled\n";
        let state = State::parse(text);
        assert_eq!((state.active.as_str(), state.sub.as_str(), state.enabled), ("active", "running", true));
        assert_eq!((state.pid, state.restarts), (Some(4711), Some(2)));
        assert_eq!(state.file, Some(PathBuf::from("/a=b/nexus-node.service")));
        let none = State::parse("MainPID=0\nActiveState=inactive\nSubState=dead\nFragmentPath=\nUnitFileState=\n");
        assert_eq!((none.pid, none.file, none.enabled), (None, None, false));
        assert_eq!(State::parse("nonsense"), State::default());
    }
}
