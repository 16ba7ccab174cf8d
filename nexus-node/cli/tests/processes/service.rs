//! The node as a service: its file, the process that the file describes, and what `doctor` says of it.
//!
//! No systemd is told anything: the tests hide the bus of the account that runs them.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::support::{Home, Ran, files, until};
use crate::unit_file::UnitFile;
use serde_json::{Value, json};

/// A name with signs that mean something to systemd, to a shell, or to both.
const NAME: &str = "my 100% $HOME \"node\" \\ é";

/// A person's home directory, with a data directory of an odd name.
struct Person {
    home: Home,
    data_dir: PathBuf,
}

impl Person {
    fn new() -> Self {
        let home = Home::on_disk();
        let data_dir = home.beside(NAME);
        fs::create_dir_all(&data_dir).unwrap();
        // a node started here must not take the ports of another test
        let listen = "[\"/ip4/127.0.0.1/udp/0/quic-v1\", \"/ip4/127.0.0.1/tcp/0\"]";
        let config = format!("mdns = false\napi_addr = \"127.0.0.1:0\"\nlisten = {listen}\n");
        fs::write(data_dir.join("config.toml"), config).unwrap();
        Self { home, data_dir }
    }

    fn unit(&self) -> PathBuf {
        self.home.beside("config/systemd/user/nexus-node.service")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(arguments);
        command.env("HOME", self.home.beside("")).env("NEXUS_DATA_DIR", &self.data_dir);
        command.env_remove("CLAUDE_CONFIG_DIR").env_remove("CODEX_HOME");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        self.run(&all).json()
    }

    #[track_caller]
    fn error(&self, arguments: &[&str]) -> (i32, Value) {
        let mut all = arguments.to_vec();
        all.push("--json");
        let ran = self.run(&all);
        (ran.code, ran.error())
    }

    /// The row of a check, if `doctor` has one.
    fn check(&self, name: &str) -> Option<Value> {
        let checks: Value = serde_json::from_str(&self.run(&["doctor", "--json"]).stdout).unwrap();
        checks.as_array().unwrap().iter().find(|check| check["check"] == name).cloned()
    }
}

/// promise: Commands and API | A service's file is written once, replaced if it differs, and removed without the data
#[test]
fn a_service_is_written_once_replaced_if_it_differs_and_removed_without_the_data() {
    let person = Person::new();
    assert_eq!(person.json(&["service", "status"])["state"], "not_installed");
    let printed = person.json(&["service", "install", "--print"]);
    assert!(!person.unit().exists(), "--print writes nothing");

    let done = person.json(&["service", "install"]);
    let expected = json!([true, false, false, null]);
    assert_eq!(json!([done["changed"], done["replaced"], done["started"], done["linger"]]), expected, "{done}");
    let named = json!(["nexus-node.service", person.unit(), "user", "linux"]);
    assert_eq!(json!([done["unit"], done["path"], done["scope"], done["system"]]), named, "{done}");
    assert_eq!(done["next"][1], "systemctl --user enable --now nexus-node.service");
    let text = fs::read_to_string(person.unit()).unwrap();
    assert_eq!(printed["text"], json!(text));
    assert_eq!(fs::metadata(person.unit()).unwrap().permissions().mode() & 0o777, 0o644);
    let status = person.json(&["service", "status", "--user"]);
    assert_eq!(json!([status["state"], status["installed"], status["starts_it"]]), json!(["unknown", true, true]));
    assert_eq!(json!([status["unit"], status["path"], status["scope"], status["system"]]), named, "{status}");

    let again = person.json(&["service", "install"]);
    assert_eq!((&again["changed"], &again["replaced"]), (&json!(false), &json!(false)), "twice is once");
    fs::write(person.unit(), text.replace("RestartSec=5", "RestartSec=99")).unwrap();
    let replaced = person.json(&["service", "install"]);
    assert_eq!((&replaced["changed"], &replaced["replaced"]), (&json!(true), &json!(true)));
    assert_eq!(fs::read_to_string(person.unit()).unwrap(), text);

    // people are told that nothing runs yet, and how it comes to run
    let told = person.run(&["service", "install"]).ok().stdout;
    assert!(told.contains("nothing was started") && told.contains("loginctl enable-linger"), "{told}");

    let removed = person.json(&["service", "remove"]);
    assert_eq!((&removed["removed"], &removed["stopped"]), (&json!(true), &json!(false)));
    assert_eq!(json!([removed["unit"], removed["path"], removed["scope"], removed["system"]]), named, "{removed}");
    assert_eq!(removed["next"], json!([]));
    assert!(!person.unit().exists() && person.data_dir.join("config.toml").exists());
    assert_eq!(
        person.json(&["service", "remove"])["removed"],
        false,
        "there is nothing to remove, and that is no fault"
    );
}

/// promise: Bad input | A unit of somebody else, and a directory that cannot be a service's
#[test]
fn a_unit_of_somebody_else_stays() {
    let person = Person::new();
    fs::create_dir_all(person.unit().parent().unwrap()).unwrap();
    fs::write(person.unit(), "[Service]\nExecStart=/bin/true\n").unwrap();
    for command in ["install", "remove"] {
        let (code, error) = person.error(&["service", command]);
        assert_eq!((code, &error["code"]), (7, &json!("conflict")), "{error}");
        assert!(error["hint"].as_str().unwrap().starts_with("nothing was changed"), "{error}");
    }
    assert_eq!(fs::read_to_string(person.unit()).unwrap(), "[Service]\nExecStart=/bin/true\n");
    assert_eq!(person.json(&["service", "status"])["state"], "foreign");
}

/// promise: Bad input | A unit of somebody else, and a directory that cannot be a service's
#[test]
fn a_directory_that_a_node_has_is_refused_with_its_holder() {
    let home = Home::on_disk();
    let node = home.up();
    let (code, error) = home.error(&["service", "install"]);
    assert_eq!((code, &error["code"]), (7, &json!("in_use")), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&format!("process {}", node.pid())) && message.contains("nexus-node up"), "{message}");
    assert!(error["hint"].as_str().unwrap().contains("`nexus-node stop`"), "{error}");
    assert!(!home.beside("config").exists(), "nothing was written");
    home.json(&["stop"]);
    home.json(&["service", "install"]);
}

/// promise: Bad input | A unit of somebody else, and a directory that cannot be a service's
#[test]
fn a_service_that_could_not_run_is_refused_and_nothing_is_written() {
    let person = Person::new();
    let with = |data_dir: &Path, arguments: &[&str]| {
        let mut all = arguments.to_vec();
        let data_dir = data_dir.to_str().unwrap();
        all.extend(["--data-dir", data_dir]);
        let (code, error) = person.error(&all);
        (code, error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
    };
    let install = ["service", "install"];
    // a word that would be another line of the unit
    let (code, name, message) = with(&person.home.beside("a\nExecStartPost=/bin/sh"), &install);
    assert_eq!((code, name.as_str()), (2, "invalid"), "{message}");
    // a file, somebody's files, a directory in memory
    let file = person.home.beside("file");
    fs::write(&file, "").unwrap();
    assert_eq!(with(&file, &install).0, 7);
    assert_eq!(with(&person.home.beside(""), &install).0, 7);
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    match mounts.lines().filter_map(|line| line.split(' ').nth(1)).find(|point| {
        *point == "/dev/shm" && mounts.lines().any(|line| line.split(' ').skip(1).take(2).eq([*point, "tmpfs"]))
    }) {
        Some(point) => {
            let (code, name, message) = with(&Path::new(point).join("nexus-of-nobody"), &install);
            assert_eq!((code, name.as_str()), (2, "invalid"));
            assert!(message.contains("empty after a reboot"), "{message}");
        }
        None => eprintln!("skipped a part: there is no /dev/shm in memory"),
    }
    // flags that contradict each other, and a node elsewhere
    for wrong in [
        &["service", "install", "--user", "--system"][..],
        &["service", "install", "--api", "http://127.0.0.1:1"],
        &["service"],
    ] {
        assert_eq!(person.run(wrong).code, 2, "{wrong:?}");
    }
    // the machine's service needs a node, whose owner runs it
    let (code, name, _) = with(&person.home.beside("nothing"), &["service", "install", "--system", "--print"]);
    assert_eq!((code, name.as_str()), (5, "not_found"));
    let root = fs::metadata(&person.data_dir).unwrap().uid() == 0;
    person.json(&["init"]);
    if root {
        let (code, error) = person.error(&["service", "install", "--system"]);
        assert_eq!((code, &error["code"]), (4, &json!("refused")), "{error}");
        // a directory of another account is not this account's service
        std::os::unix::fs::chown(&person.data_dir, Some(65_534), None).unwrap();
        let (code, error) = person.error(&["service", "install"]);
        assert_eq!((code, &error["code"]), (4, &json!("refused")), "{error}");
    } else {
        let (code, error) = person.error(&["service", "install", "--system"]);
        assert_eq!((code, &error["code"]), (4, &json!("refused")), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("sudo"), "{error}");
        fs::set_permissions(&person.data_dir, fs::Permissions::from_mode(0o500)).unwrap();
        assert_eq!(person.error(&["service", "install"]).1["code"], "data_dir");
    }
    assert!(!person.home.beside("config").exists(), "nothing was written");
}

/// promise: Commands and API | `systemd-analyze verify` finds no fault in a service's unit
#[test]
fn systemd_finds_no_fault_in_the_units() {
    let person = Person::new();
    person.json(&["init"]);
    if fs::metadata(&person.data_dir).unwrap().uid() == 0 {
        // of no account here: systemd warns of `nobody`
        std::os::unix::fs::chown(&person.data_dir, Some(54_321), None).unwrap();
    }
    let scratch = person.home.beside("verify");
    fs::create_dir_all(&scratch).unwrap();
    let unit = scratch.join("nexus-node.service");
    let verify = |scope: &str, text: &str| {
        fs::write(&unit, text).unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args([scope, "--man=no", "verify"]).arg(&unit);
        command.env("XDG_RUNTIME_DIR", &scratch).env("HOME", &scratch).env("SYSTEMD_COLORS", "0");
        let output = command.stdin(Stdio::null()).output().ok()?;
        Some(String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout))
    };
    for (scope, arguments) in [
        ("--user", &["service", "install", "--print"][..]),
        ("--system", &["service", "install", "--print", "--system"]),
    ] {
        let text = person.json(arguments)["text"].as_str().unwrap().to_owned();
        let Some(broken) = verify(scope, &text.replace("RestartSec=", "RestartSecs=")) else {
            eprintln!("skipped: there is no systemd-analyze here");
            return;
        };
        if !broken.contains("RestartSecs") {
            eprintln!("skipped {scope}: systemd-analyze cannot look here: {broken}");
            continue;
        }
        let found = verify(scope, &text).unwrap();
        let about: Vec<&str> = found.lines().filter(|line| line.contains("nexus-node")).collect();
        assert_eq!(about, [""; 0], "{text}");
    }
}

/// As much of systemd as a service needs: it starts a unit's command as the unit says, and knows when to start it again.
struct Supervisor {
    unit: UnitFile,
    home: PathBuf,
}

impl Supervisor {
    fn of(person: &Person) -> Self {
        Self { unit: UnitFile::parse(&fs::read_to_string(person.unit()).unwrap()), home: person.home.beside("") }
    }

    fn start(&self) -> Supervised {
        let (program, arguments) = self.unit.command("ExecStart");
        // systemd takes the closest limit that is allowed
        let script = "umask \"$1\"; ulimit -n \"$2\" 2>/dev/null; shift 2; exec \"$@\"";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh", self.unit.get("UMask"), self.unit.get("LimitNOFILE"), &program]);
        command.args(arguments).env_clear().env("HOME", &self.home).env("PATH", "/usr/bin:/bin").current_dir("/");
        for variable in self.unit.words("Environment") {
            let (name, value) = variable.split_once('=').unwrap();
            command.env(name, value);
        }
        let log = fs::File::options().create(true).append(true).open(self.home.join("journal")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Supervised(command.spawn().unwrap())
    }

    /// The table of `Restart=` in systemd.service(5), and `RestartPreventExitStatus=`.
    fn starts_again(&self, ended: ExitStatus) -> bool {
        assert_eq!(self.unit.get("Restart"), "on-failure");
        let prevented = self.unit.words("RestartPreventExitStatus");
        match (ended.code(), ended.signal()) {
            (Some(code), _) => code != 0 && !prevented.contains(&code.to_string()),
            // HUP, INT, TERM and PIPE are ways to stop it
            (None, signal) => !matches!(signal, Some(1 | 2 | 13 | 15)),
        }
    }
}

struct Supervised(Child);

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// promise: Commands and API | A service's node comes back after `kill -9` with its memories
#[test]
fn the_node_of_a_service_comes_back_after_kill_9_with_its_memories() {
    let person = Person::new();
    person.json(&["service", "install"]);
    let supervisor = Supervisor::of(&person);
    let ready = |pid: u32| {
        until("the service's node answers", || {
            let ran = person.run(&["status", "--json"]);
            let status: Value = serde_json::from_str(&ran.stdout).ok()?;
            (status["pid"] == pid).then_some(status)
        })
    };
    let mut node = supervisor.start();
    let status = ready(node.0.id());
    assert_eq!(status["started_by"], "service", "{status}");
    person.json(&["remember", "the machine was started again"]);
    for (path, _) in files(&person.data_dir) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        // the test wrote the settings before the service
        assert!(path.ends_with("config.toml") || mode & 0o077 == 0, "{}: {mode:o}", path.display());
    }
    // the service that runs is no conflict with itself
    assert_eq!(person.json(&["service", "install"])["changed"], false);

    node.0.kill().unwrap();
    assert!(supervisor.starts_again(node.0.wait().unwrap()), "it was killed");
    let mut node = supervisor.start();
    ready(node.0.id());
    let items = person.json(&["list"])["items"].clone();
    assert_eq!(items[0]["text"], "the machine was started again", "{items}");

    // a second one would say the same at each start, and is not started again
    let mut second = supervisor.start();
    let ended = second.0.wait().unwrap();
    assert_eq!(ended.code(), Some(7));
    assert!(!supervisor.starts_again(ended));
    // neither is one that was stopped
    person.json(&["stop"]);
    let ended = node.0.wait().unwrap();
    assert!(!supervisor.starts_again(ended), "{ended:?}");
}

/// promise: Commands and API | `doctor` says if a node that agents use is no service
#[test]
fn doctor_tells_of_a_node_that_agents_use_and_that_is_no_service() {
    let person = Person::new();
    person.json(&["init"]);
    assert_eq!(person.check("service"), None, "nobody uses it yet");
    for program in ["claude", "codex"] {
        person.json(&["connect", program]);
    }
    let row = person.check("service").unwrap();
    assert_eq!((&row["level"], &row["fix"]), (&json!("warning"), &json!("`nexus-node service install`")), "{row}");
    assert!(row["detail"].as_str().unwrap().contains("(Claude Code, Codex)"), "{row}");
    assert_eq!(person.run(&["doctor"]).code, 0, "it is no fault");
    // a service of another directory does not help
    person.json(&["service", "install", "--data-dir", person.home.beside("other").to_str().unwrap()]);
    assert_eq!(person.check("service").unwrap()["level"], "warning");
    person.json(&["service", "install"]);
    assert_eq!(person.check("service").unwrap()["level"], "ok");
}
