//! Commands of workers that try to get out of their sandbox, and commands that do honest work in it.
//!
//! Each attempt is made twice: in a sandbox, where it must fail, and without one, where it must succeed. So an attempt that
//! fails for another reason shows nothing, and is noticed. A machine without Landlock runs the parts about limits alone.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::support::{self, HOWEVER_BUSY, Home, Node, SOON, until};
use serde_json::{Value, json};

/// The beginning of a line with the result of an attempt: `tried NAME yes|no`.
pub(crate) const TRIED: &str = "tried ";
/// A function for shells that makes an attempt and tells how it went.
pub(crate) const TRY: &str = r#"try() { name=$1; shift; if ("$@") >/dev/null 2>&1; then echo "tried $name yes"; else echo "tried $name no"; fi; }
"#;

/// A machine with a node, secrets, a working tree and a directory that is nobody's business.
pub(crate) struct Machine {
    pub(crate) home: Home,
    pub(crate) node: Node,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        for directory in ["home/.ssh", "home/.claude", "work", "outside"] {
            std::fs::create_dir_all(home.beside(directory)).unwrap();
        }
        std::fs::write(home.beside("home/.ssh/id_ed25519"), "secret\n").unwrap();
        std::fs::write(home.beside("home/.claude/.credentials.json"), "secret\n").unwrap();
        std::fs::write(home.beside("outside/precious"), "precious\n").unwrap();
        std::fs::write(home.beside("outside/gone"), "").unwrap();
        let node = home.up();
        Self { home, node }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.home.beside(name).display().to_string()
    }

    /// The levels of a sandbox that this machine reaches.
    pub(crate) fn levels(&self) -> Vec<&'static str> {
        let doctor = self.home.json(&["doctor"]);
        let row = doctor.as_array().unwrap().iter().find(|row| row["check"] == "sandbox").unwrap();
        match row["detail"].as_str().unwrap().split(':').next().unwrap() {
            "full" => vec!["kernel", "full"],
            "kernel" => vec!["kernel"],
            "none" => vec![],
            other => panic!("{other}"),
        }
    }

    /// A worker with these options, which are followed by `--` and the command.
    pub(crate) fn worker(&self, options: &[&str]) -> Worker {
        Worker::of(self.command(options), self.home.beside("worker-log"))
    }

    pub(crate) fn command(&self, options: &[&str]) -> Command {
        let all = [&["worker", "--json"][..], HOWEVER_BUSY, &["--capability", "x"], options].concat();
        let mut command = self.home.command(&all);
        command.env("HOME", self.home.beside("home"));
        command
    }

    /// The end of a task.
    pub(crate) fn task(&self) -> Value {
        let ran = self.home.run(&[
            "task",
            "submit",
            "x",
            "--attempts",
            "1",
            "--timeout",
            "40s",
            "--deadline",
            "45s",
            "--wait",
            "--json",
        ]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// The output of a task whose worker has these options.
    pub(crate) fn output(&self, options: &[&str]) -> Value {
        let worker = self.worker(options);
        let task = self.task();
        assert_eq!(task["state"], "succeeded", "{options:?}: {task} {}", worker.said());
        task["output"].clone()
    }

    /// The attempts of a script, in a sandbox and without one. Its arguments are those after `--`.
    pub(crate) fn attempts(&self, options: &[&str], script: &str, arguments: &[&str]) -> BTreeMap<String, bool> {
        let script = format!("{TRY}{script}");
        let command = [&["--", "sh", "-c", &script, "sh"], arguments].concat();
        tried(&self.output(&[options, &command].concat()))
    }
}

/// A worker, which ends with the test.
pub(crate) struct Worker {
    pub(crate) child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Worker {
    pub(crate) fn of(mut command: Command, log: PathBuf) -> Self {
        let stderr = std::fs::File::create(&log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (line, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|read| line.send(read)));
        Self { child, lines, log }
    }

    #[track_caller]
    pub(crate) fn next(&self) -> Value {
        let line = self.lines.recv_timeout(SOON).unwrap_or_else(|error| panic!("{error}: {}", self.said()));
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the worker ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // so it ends its commands
            let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
            let _ = self.child.wait();
        }
    }
}

/// The attempts in an output.
pub(crate) fn tried(output: &Value) -> BTreeMap<String, bool> {
    let lines = output.as_str().unwrap_or_else(|| panic!("{output}")).lines();
    let attempt = |line: &str| {
        let (name, result) = line.split_once(TRIED)?.1.rsplit_once(' ').unwrap();
        Some((name.to_owned(), result == "yes"))
    };
    lines.filter_map(attempt).collect()
}

#[track_caller]
pub(crate) fn all(attempts: &BTreeMap<String, bool>, expected: bool, but: &[&str], whose: &str) {
    let others: Vec<&String> = attempts
        .iter()
        .filter(|(name, result)| **result != expected && !but.contains(&name.as_str()))
        .map(|(name, _)| name)
        .collect();
    assert!(others.is_empty(), "{whose}: {others:?} of {attempts:?}");
}

/// The numbers of the processes with this word in their command line.
pub(crate) fn with_word(word: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let says = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    numbers.filter(says).collect()
}

/// promise: Sandbox | A sandboxed command reads no key, no token, nothing in the home directory and nothing of other processes
/// promise: Sandbox | A sandboxed command changes nothing outside of its directories, by links and renames neither
#[test]
fn files_outside_are_neither_read_nor_changed() {
    let machine = Machine::new();
    let script = r#"data=$1 home=$2 outside=$3 node=$4
        for file in "$data"/api-token $(cat list); do try "read $file" cat "$data/${file##*/}"; done
        try list-data ls "$data"
        try read-ssh cat "$home/.ssh/id_ed25519"
        try read-agent cat "$home/.claude/.credentials.json"
        try list-home ls "$home"
        try read-outside cat "$outside/precious"
        try list-root ls /
        try list-run ls /run
        try read-shadow cat /etc/shadow
        try symlink-in sh -c "ln -s '$data/api-token' token; cat token"
        try symlink-dir sh -c "ln -s '$outside' there; cat there/precious"
        try hardlink-in sh -c "ln '$outside/precious' linked"
        try parent cat ../outside/precious
        try environ-of-node cat "/proc/$node/environ"
        try memory-of-node cat "/proc/$node/maps"
        try root-of-node cat "/proc/$node/root$outside/precious"
        try cwd-of-node ls "/proc/$node/cwd/"
        try files-of-node ls "/proc/$node/fd/"
        try line-of-node grep -q . "/proc/$node/cmdline"
        try root-of-itself ls "/proc/self/root$outside/"
        try write-new sh -c "echo x > '$outside/new'"
        try append sh -c "echo x >> '$outside/precious'"
        try overwrite sh -c "echo x > '$outside/precious'"
        try make-directory mkdir "$outside/directory"
        try hardlink-out sh -c "echo x > mine; ln mine '$outside/linked'"
        try rename-out sh -c "echo x > mine2; mv mine2 '$outside/moved'"
        try symlink-out ln -s /etc/passwd "$outside/symlink"
        try pipe-out mkfifo "$outside/pipe"
        try through-symlink sh -c "echo x > there/through"
        try touch-home touch "$home/.bashrc"
        try rename-in sh -c "mv '$outside/precious' stolen"
        try delete rm "$outside/gone"
        "#;
    let (data, home) = (machine.home.path().display().to_string(), machine.path("home"));
    let (outside, node) = (machine.path("outside"), machine.node.pid().to_string());
    let files: Vec<String> = std::fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(files.len() > 3, "{files:?}");
    let listed = |name: &str| {
        std::fs::create_dir_all(machine.home.beside(name)).unwrap();
        std::fs::write(machine.home.beside(name).join("list"), files.join("\n")).unwrap();
        machine.path(name)
    };
    for level in machine.levels() {
        let work = listed(&format!("work-{level}"));
        let options = ["--sandbox", level, "--dir", &work];
        let attempts = machine.attempts(&options, script, &[&data, &home, &outside, &node]);
        assert!(attempts.len() > 35, "{attempts:?}");
        // a namespace of its own has a root, a `/tmp` and a `/run` of its own, all empty but for what it may read
        all(&attempts, false, &[], level);
        let mut left: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["gone", "precious"], "{level}");
        assert_eq!(std::fs::read_to_string(machine.home.beside("outside/precious")).unwrap(), "precious\n");
        assert!(!machine.home.beside("home/.bashrc").exists());
    }
    let work = listed("work-none");
    let options = ["--sandbox", "none", "--dir", &work];
    let attempts = machine.attempts(&options, script, &[&data, &home, &outside, &node]);
    // these depend on the account and on the machine
    all(&attempts, true, &["read-shadow", "list-run"], "none");
}

/// A command of these tests, which is this program itself: it makes attempts that a shell cannot make. Without a task it
/// does nothing.
#[test]
fn the_command_of_these_tests() {
    let (Ok(_), Ok(ways)) = (std::env::var("NEXUS_TASK_ID"), std::env::var("TEST_WAYS")) else { return };
    let ways: Vec<&str> = ways.split(' ').collect();
    let [api, socket, datagram, name] = ways[..] else { panic!("{ways:?}") };
    let report = |what: &str, ok: bool| println!("\n{TRIED}{what} {}", if ok { "yes" } else { "no" });
    let address: std::net::SocketAddr = api.parse().unwrap();
    report("tcp", std::net::TcpStream::connect(address).is_ok());
    report("listen", std::net::TcpListener::bind("127.0.0.1:0").is_ok());
    let udp = std::net::UdpSocket::bind("127.0.0.1:0");
    report("udp", udp.and_then(|udp| udp.send_to(b"x", address)).is_ok());
    report("unix", UnixStream::connect(socket).is_ok());
    report("unix-datagram", UnixDatagram::unbound().and_then(|from| from.send_to(b"x", datagram)).is_ok());
    let abstracted = SocketAddr::from_abstract_name(name).unwrap();
    report("abstract", UnixStream::connect_addr(&abstracted).is_ok());
    // a pair has no address, until it gets one
    let pair = UnixDatagram::pair().and_then(|(one, _)| one.connect(datagram).and_then(|()| one.send(b"x")));
    report("pair-elsewhere", pair.is_ok());
    report("pair", UnixStream::pair().is_ok());
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .map(|entries| entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
        .unwrap_or_default();
    // the fourth is the list itself
    report("more-files", open.iter().any(|file| *file > 3));
}

/// promise: Sandbox | A sandboxed command reaches neither the node's API nor any other socket; with `--allow-net` no Unix socket
#[test]
fn sockets_are_out_of_reach() {
    let machine = Machine::new();
    let (socket, datagram, name) =
        (machine.path("socket"), machine.path("datagram"), format!("nexus-{}", std::process::id()));
    let _listener = UnixListener::bind(&socket).unwrap();
    let _datagrams = UnixDatagram::bind(&datagram).unwrap();
    let _abstracted = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let own = std::env::current_exe().unwrap().display().to_string();
    let ways = format!("{} {socket} {datagram} {name}", machine.node.address());
    let attempts = |options: &[&str], arguments: &[&str]| {
        let command = ["--", &own, "--exact", "sandbox::the_command_of_these_tests", "--nocapture"];
        let mut command = machine.command(&[options, arguments, &command].concat());
        command.env("TEST_WAYS", &ways);
        let worker = Worker::of(command, machine.home.beside("worker-log"));
        let task = machine.task();
        assert_eq!(task["state"], "succeeded", "{task} {}", worker.said());
        tried(&task["output"])
    };
    let keep = ["--env", "TEST_WAYS"];
    for level in machine.levels() {
        let tried = attempts(&["--sandbox", level], &keep);
        assert_eq!(tried.len(), 9, "{tried:?}");
        all(&tried, false, &["pair"], level);
        assert!(tried["pair"], "{level}: programs talk with their children so");
        let tried = attempts(&["--sandbox", level, "--allow-net"], &keep);
        all(&tried, false, &["pair", "tcp", "udp", "listen"], level);
        assert!(tried["tcp"] && tried["udp"] && tried["listen"], "{level}: {tried:?}");
    }
    all(&attempts(&["--sandbox", "none"], &[]), true, &["more-files"], "none");
}

/// A program that makes system calls by their numbers, and tells which were refused as the sandbox does.
const CALLS: &str = r#"$| = 1; for (@ARGV) { my ($name, $number, $error, @rest) = split /,/;
    $! = 0; my $result = syscall($number, map { 0 + $_ } @rest);
    print "tried $name ", ($result == -1 && $! == $error ? "no" : "yes"), "\n"; }"#;

/// promise: Sandbox | Ways into the kernel and into other processes are refused: ptrace, namespaces, mounts, keys, io_uring, bpf
#[test]
fn calls_into_the_kernel_are_refused() {
    let machine = Machine::new();
    if !Path::new("/usr/bin/perl").exists() {
        // the filters themselves are judged in `calls.rs`
        return;
    }
    let (refused, absent) = (libc::EPERM, libc::ENOSYS);
    let node = machine.node.pid();
    let calls: Vec<String> = [
        // their results without a sandbox are others, whoever asks
        ("ptrace", libc::SYS_ptrace, refused, "0,0,0,0".to_owned()),
        ("process_vm_readv", libc::SYS_process_vm_readv, refused, format!("{node},0,0,0,0,0")),
        ("process_vm_writev", libc::SYS_process_vm_writev, refused, format!("{node},0,0,0,0,0")),
        ("kcmp", libc::SYS_kcmp, refused, "0,0,0,0,0".to_owned()),
        ("unshare", libc::SYS_unshare, refused, "0".to_owned()),
        ("unshare-user", libc::SYS_unshare, refused, "268435456".to_owned()),
        ("setns", libc::SYS_setns, refused, "-1,0".to_owned()),
        ("mount", libc::SYS_mount, refused, "0,0,0,0,0".to_owned()),
        ("umount", libc::SYS_umount2, refused, "0,0".to_owned()),
        ("chroot", libc::SYS_chroot, refused, "0".to_owned()),
        ("pivot_root", libc::SYS_pivot_root, refused, "0,0".to_owned()),
        ("open_tree", libc::SYS_open_tree, refused, "-1,0,0".to_owned()),
        ("fsopen", libc::SYS_fsopen, refused, "0,0".to_owned()),
        ("keyctl", libc::SYS_keyctl, refused, "0,-3,0,0,0".to_owned()),
        ("add_key", libc::SYS_add_key, refused, "0,0,0,0,0".to_owned()),
        ("request_key", libc::SYS_request_key, refused, "0,0,0,0".to_owned()),
        ("userfaultfd", libc::SYS_userfaultfd, refused, "1".to_owned()),
        ("bpf", libc::SYS_bpf, refused, "99,0,0".to_owned()),
        ("perf_event_open", libc::SYS_perf_event_open, refused, "0,0,-1,-1,0".to_owned()),
        ("io_uring_setup", libc::SYS_io_uring_setup, absent, "0,0".to_owned()),
        ("clone3", libc::SYS_clone3, absent, "0,0".to_owned()),
        ("clone-user", libc::SYS_clone, refused, format!("{},0,0,0,0", libc::CLONE_NEWUSER | libc::CLONE_FS)),
        ("raw-socket", libc::SYS_socket, refused, "2,3,1".to_owned()),
        ("netlink", libc::SYS_socket, refused, "16,3,0".to_owned()),
        ("packet", libc::SYS_socket, refused, "17,3,0".to_owned()),
        ("vsock", libc::SYS_socket, refused, "40,1,0".to_owned()),
        ("terminal", libc::SYS_ioctl, refused, "0,21522,0".to_owned()),
        ("limits-of-node", libc::SYS_prlimit64, refused, format!("{node},7,0,0")),
        ("priority-of-node", libc::SYS_setpriority, refused, format!("0,{node},0")),
        ("signal-to-node", libc::SYS_kill, refused, format!("{node},0")),
        ("shared-memory", libc::SYS_shmget, refused, "0,4096,896".to_owned()),
        ("queue", libc::SYS_msgget, refused, "0,896".to_owned()),
        ("later-call", 470, absent, "-1".to_owned()),
    ]
    .into_iter()
    .map(|(name, call, error, rest)| format!("{name},{call},{error},{rest}"))
    .collect();
    let attempts = |level: &str| {
        let mut options = vec!["--sandbox", level, "--", "/usr/bin/perl", "-e", CALLS];
        options.extend(calls.iter().map(String::as_str));
        tried(&machine.output(&options))
    };
    for level in machine.levels() {
        let attempts = attempts(level);
        assert_eq!(attempts.len(), calls.len(), "{attempts:?}");
        // there is no such process in a namespace of its own
        let elsewhere: &[&str] = if level == "full" { &["signal-to-node"] } else { &[] };
        all(&attempts, false, elsewhere, level);
    }
    let attempts = attempts("none");
    // accounts differ in this; much of it must succeed without a sandbox, or fail in another way
    let free = attempts.values().filter(|result| **result).count();
    assert!(free > 18, "{attempts:?}");
    for name in ["unshare", "keyctl", "kcmp", "io_uring_setup", "signal-to-node", "shared-memory", "limits-of-node"] {
        assert!(attempts[name], "{name}: {attempts:?}");
    }
}

/// promise: Sandbox | A sandboxed command signals no process outside, has no privileges and gains none
#[test]
fn a_command_has_no_privileges_and_kills_nobody() {
    let machine = Machine::new();
    let script = r#"
        try kill-node kill -0 "$1"
        try kill-parent kill -0 "$PPID"
        try kill-worker kill -0 "$(cat worker)"
        while read -r name value rest; do echo "status $name $value"; done < /proc/self/status
        "#;
    let (work, node) = (machine.path("work"), machine.node.pid().to_string());
    let run = |level: &str| {
        let script = format!("{TRY}{script}");
        let arguments = ["--sandbox", level, "--dir", &work, "--", "sh", "-c", &script, "sh", &node];
        let mut command = machine.command(&arguments);
        command.env("KEPT", "1");
        let worker = Worker::of(command, machine.home.beside("worker-log"));
        std::fs::write(machine.home.beside("work/worker"), worker.child.id().to_string()).unwrap();
        let task = machine.task();
        assert_eq!(task["state"], "succeeded", "{task} {}", worker.said());
        task["output"].clone()
    };
    for level in machine.levels() {
        let output = run(level);
        // in a namespace of its own its parent may be the first process of it, which is no secret
        let attempts = tried(&output);
        all(&attempts, false, if level == "full" { &["kill-parent"] } else { &[] }, level);
        assert_eq!(attempts.len(), 3, "{attempts:?}");
        let text = output.as_str().unwrap();
        for line in [
            "status NoNewPrivs: 1",
            "status Seccomp: 2",
            "status CapEff: 0000000000000000",
            "status CapPrm: 0000000000000000",
        ] {
            assert!(text.contains(line), "{level}: {line}: {text}");
        }
    }
    all(&tried(&run("none")), true, &[], "none");
}

/// promise: Sandbox | No process outlives a sandboxed task: neither one that left its group and its parent, nor after a kill of the worker
#[test]
fn nothing_outlives_a_task() {
    let machine = Machine::new();
    let work = machine.path("work");
    for (index, level) in machine.levels().into_iter().enumerate() {
        let mark = format!("{}.{index}1", 90_000 + std::process::id() % 9_000);
        // a session of its own, without a parent, and without the pipes
        let script = format!(
            "setsid sh -c 'sleep {mark} & sleep {mark} & wait' >/dev/null 2>&1 </dev/null &
             (setsid sleep {mark} >/dev/null 2>&1 </dev/null &)
             nohup sleep {mark} >/dev/null 2>&1 </dev/null &
             sleep 0.2; touch begun; [ -e stay ] && sleep {mark}; echo done"
        );
        let options = ["--sandbox", level, "--dir", &work, "--", "sh", "-c", &script];
        let worker = machine.worker(&options);
        let task = machine.task();
        assert_eq!((&task["state"], &task["output"]), (&json!("succeeded"), &json!("done")), "{task}");
        worker.next();
        assert_eq!(with_word(&mark), Vec::<u32>::new(), "{level}: before the result is told");
        drop(worker);

        // the worker is killed while they run
        std::fs::remove_file(machine.home.beside("work/begun")).unwrap();
        std::fs::write(machine.home.beside("work/stay"), "").unwrap();
        let mut worker = machine.worker(&options);
        let id = machine.home.json(&["task", "submit", "x"])["id"].as_str().unwrap().to_owned();
        until("the command has begun", || machine.home.beside("work/begun").exists().then_some(()));
        assert!(with_word(&mark).len() >= 4, "{level}: {:?}", with_word(&mark));
        worker.child.kill().unwrap();
        worker.ended();
        until("all of it has ended", || with_word(&mark).is_empty().then_some(()));

        // the task is cancelled while they run
        std::fs::remove_file(machine.home.beside("work/begun")).unwrap();
        let worker = machine.worker(&options);
        until("the command has begun again", || machine.home.beside("work/begun").exists().then_some(()));
        machine.home.json(&["task", "cancel", &id]);
        let line = worker.next();
        assert_eq!((&line["result"], &line["sandbox"]), (&json!("lost"), &json!(level)), "{line}");
        assert_eq!(with_word(&mark), Vec::<u32>::new(), "{level}: a cancelled task");
        std::fs::remove_file(machine.home.beside("work/begun")).unwrap();
        std::fs::remove_file(machine.home.beside("work/stay")).unwrap();
    }
}

/// promise: Sandbox | A sandboxed command has none of the worker's variables but a few that are named
#[test]
fn the_environment_holds_no_secrets() {
    let machine = Machine::new();
    let script = r#"env; echo "mode $(stat -c %a "$NEXUS_TASK_DIR")"; echo "here $(pwd -P)""#;
    let run = |options: &[&str]| {
        let mut command = machine.command(&[options, &["--", "sh", "-c", script]].concat());
        command
            .env("NEXUS_TOKEN", "secret")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("KEPT", "1")
            .env("LC_TIME", "C");
        command.env("SSH_AUTH_SOCK", "/run/agent");
        let worker = Worker::of(command, machine.home.beside("worker-log"));
        let task = machine.task();
        assert_eq!(task["state"], "succeeded", "{task} {}", worker.said());
        let line = worker.next();
        let output = task["output"].as_str().unwrap().to_owned();
        let value = |name: &str| output.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        assert_eq!(line["sandbox"].as_str().unwrap(), value("NEXUS_TASK_SANDBOX="));
        let own = value("NEXUS_TASK_DIR=");
        assert_eq!((value("TMPDIR="), value("mode "), value("here ")), (own.clone(), "700".to_owned(), own.clone()));
        assert!(!Path::new(&own).exists() && !Path::new(&own).parent().unwrap().exists(), "{own} is gone");
        (output, own)
    };
    for level in machine.levels() {
        let (output, own) = run(&["--sandbox", level, "--env", "KEPT"]);
        let mut names: Vec<&str> = output.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_", "LANG", "TERM", "TZ"].contains(name));
        names.retain(|name| !name.starts_with("LC_") || *name == "LC_TIME");
        names.sort_unstable();
        let expected = ["HOME", "KEPT", "LC_TIME", "NEXUS_TASK_ATTEMPT", "NEXUS_TASK_CAPABILITY", "NEXUS_TASK_DIR"];
        let more = ["NEXUS_TASK_ID", "NEXUS_TASK_SANDBOX", "NEXUS_TASK_TOKEN", "PATH", "TMPDIR"];
        assert_eq!(names, [&expected[..], &more].concat(), "{level}");
        assert!(output.lines().any(|line| line == format!("HOME={own}")), "{output}");
        assert!(!output.contains("secret"), "{output}");
    }
    let (output, _) = run(&["--sandbox", "none"]);
    assert!(output.contains("AWS_SECRET_ACCESS_KEY=secret"), "without a sandbox it is as it was");
}

/// promise: Sandbox | `worker --memory`, `--cpu-time`, `--open-files` and `--output-max` bound a command, in a sandbox and without one
#[test]
fn a_command_has_limits() {
    let machine = Machine::new();
    let mut levels = machine.levels();
    levels.push("none");
    for level in levels {
        let ended = |options: &[&str], script: &str| {
            let options = [&["--sandbox", level], options, &["--", "sh", "-c", script]].concat();
            let worker = machine.worker(&options);
            let task = machine.task();
            worker.next();
            task
        };
        let greedy = "head -c 300000000 /dev/zero | tail -c 299999999 | wc -c";
        let task = ended(&["--memory", "64M"], greedy);
        assert_ne!(task["output"], json!(299_999_999), "{level}: {task}");
        if level == "none" {
            assert_eq!(ended(&[], greedy)["output"], json!(299_999_999), "without a limit it has them");
        }
        let task = ended(&["--cpu-time", "1s"], "while :; do :; done");
        let code = task["error"]["code"].as_str().unwrap();
        // bubblewrap tells the number of a signal as a shell does
        assert_eq!(code, if level == "full" { "exit_152" } else { "signal_24" }, "{level}: {task}");
        let task = ended(&["--open-files", "64"], "ulimit -n; ulimit -n 65 2>/dev/null && echo more; ulimit -c");
        assert_eq!(task["output"], json!("64\n0"), "{level}: {task}");
        for endless in ["exec cat /dev/zero", "exec cat /dev/zero >&2"] {
            let task = ended(&["--output-max", "100K"], endless);
            assert_eq!(task["error"]["code"], "output_too_large", "{level}: {task}");
            assert!(task["error"]["message"].as_str().unwrap().contains("102400 bytes"), "{level}: {task}");
        }
        let task = ended(&["--output-max", "100K"], "head -c 1000 /dev/zero | tr '\\0' x; echo few >&2");
        assert_eq!(task["state"], "succeeded", "{level}: {task}");
    }
}

/// promise: Sandbox | Honest work goes on in a sandbox: shells, git and Python, files of the working tree, progress and exit codes
#[test]
fn honest_work_goes_on() {
    let machine = Machine::new();
    let work = machine.path("work");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        let output = command.args(["-C", &work, "-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    std::fs::write(machine.home.beside("work/file"), "one\n").unwrap();
    let has_git = git(&["init", "-q"]) && git(&["add", "file"]) && git(&["commit", "-q", "-m", "one"]);
    let has_python = Path::new("/usr/bin/python3").exists();
    let script = r#"
        read -r input; echo "tried input yes" | grep -q yes || exit 9; [ "$input" = null ] || exit 8
        echo "nexus:progress 40 begun" >&2
        try write sh -c "echo two-$NEXUS_TASK_SANDBOX >> file"
        try read grep -q two file
        try directories sh -c "mkdir -p a/b && echo x > a/b/x && mv a/b/x a/x && rm -r a/b && ln -s x a/link && cat a/link"
        try hardlink sh -c "ln file file2 && rm file2"
        try run sh -c "printf '#!/bin/sh\nexit 0\n' > run.sh && chmod +x run.sh && ./run.sh"
        try pipe sh -c "mkfifo fifo && (echo x > fifo &) && cat fifo"
        try temporary sh -c "f=\$(mktemp) && echo x > \$f && cat \$f"
        try home sh -c "echo x > ~/x && cat \$HOME/x"
        try allowed cat "$1/precious"
        try devices sh -c "head -c 9 /dev/urandom > /dev/null && : < /dev/zero"
        try users id -u
        try children sh -c "sleep 5 & kill \$!; wait; true"
        try threads sh -c "sort file > sorted"
        [ "$2" = false ] || try git git -c safe.directory='*' status --short
        [ "$3" = false ] || try python /usr/bin/python3 -c "import subprocess, threading, tempfile, json, os
t = threading.Thread(target=lambda: None); t.start(); t.join()
assert subprocess.check_output(['echo', 'x']) == b'x\n'
tempfile.NamedTemporaryFile().write(b'x'); os.listdir('.'); open('/proc/self/status').read() if os.environ.get('FIRST') else 0"
        sleep 0.5
        "#;
    let outside = machine.path("outside");
    for level in machine.levels() {
        let (git, python) = (has_git.to_string(), has_python.to_string());
        let options = ["--sandbox", level, "--dir", &work, "--allow-read", &outside];
        let script = format!("{TRY}{script}");
        let command = ["--", "sh", "-c", &script, "sh", &outside, &git, &python];
        let worker = machine.worker(&[&options[..], &command].concat());
        let task = machine.task();
        assert_eq!(task["state"], "succeeded", "{task} {}", worker.said());
        let attempts = tried(&task["output"]);
        all(&attempts, true, &[], level);
        assert!(attempts.len() >= 12, "{attempts:?}");
        let line = worker.next();
        assert_eq!((&line["result"], &line["sandbox"]), (&json!("succeeded"), &json!(level)));
        drop(worker);
        // they are there afterwards, and made once more
        assert!(std::fs::read_to_string(machine.home.beside("work/file")).unwrap().contains("two"));
        for left in ["a", "run.sh", "fifo", "sorted"] {
            let left = machine.home.beside("work").join(left);
            assert!(std::fs::remove_file(&left).is_ok() || std::fs::remove_dir_all(&left).is_ok(), "{left:?}");
        }
        std::fs::write(machine.home.beside("work/file"), "one\n").unwrap();

        let _worker = machine.worker(&["--sandbox", level, "--", "sh", "-c", "echo no luck >&2; exit 3"]);
        let task = machine.task();
        assert_eq!(
            (&task["error"]["code"], &task["error"]["message"]),
            (&json!("exit_3"), &json!("no luck")),
            "{task}"
        );
    }
}

/// promise: Sandbox | A worker does not start with a level that its machine does not reach, nor with permissions that lead to secrets
#[test]
fn a_worker_does_not_start_with_less_than_it_was_asked_for() {
    let machine = Machine::new();
    let empty = machine.path("empty");
    std::fs::create_dir(&empty).unwrap();
    std::os::unix::fs::symlink("/bin/true", machine.home.beside("empty/true")).unwrap();
    let refused = |options: &[&str], path: Option<&str>| {
        let mut command = machine.command(options);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let last: Value = serde_json::from_str(error.lines().last().unwrap()).unwrap();
        assert!(last["error"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
        (output.status.code().unwrap(), last["error"]["code"].as_str().unwrap().to_owned(), error)
    };
    let (code, name, error) = refused(&["--sandbox", "full", "--", "true"], Some(&empty));
    assert_eq!((code, name.as_str()), (1, "failed"), "{error}");
    assert!(error.contains("bwrap is not on the PATH"), "{error}");
    let nothing = refused(&["--sandbox", "none", "--allow-net", "--", "true"], None);
    assert_eq!((nothing.0, nothing.1.as_str()), (2, "usage"));
    let missing = machine.path("missing");
    let absent = refused(&["--sandbox", "none", "--dir", &missing, "--", "true"], None);
    assert_eq!((absent.0, absent.1.as_str()), (2, "invalid"));
    for size in [&["--memory", "much"][..], &["--output-max", "0"], &["--cpu-time", "0s"], &["--open-files", "1"]] {
        assert_eq!(refused(&[size, &["--", "true"]].concat(), None).0, 2, "{size:?}");
    }
    if machine.levels().is_empty() {
        assert_eq!(refused(&["--sandbox", "kernel", "--", "true"], None).1, "failed");
        return;
    }
    let (data, home) = (machine.home.path().display().to_string(), machine.path("home"));
    let above = machine.path("");
    std::os::unix::fs::symlink(&data, machine.home.beside("work/link")).unwrap();
    let link = machine.path("work/link");
    for (flag, path) in [
        ("--allow-write", &data),
        ("--allow-read", &data),
        ("--allow-read", &link),
        ("--dir", &above),
        ("--allow-read", &home),
        ("--allow-read", &"/".to_owned()),
        ("--allow-write", &std::env::temp_dir().display().to_string()),
    ] {
        let (code, name, error) = refused(&["--sandbox", "kernel", flag, path, "--", "true"], None);
        assert_eq!((code, name.as_str()), (4, "refused"), "{flag} {path}: {error}");
    }
    // a limit under which nothing runs makes no sandbox a weaker one
    let (_, name, error) = refused(&["--memory", "16K", "--", "true"], None);
    assert_eq!(name, "failed", "{error}");
    let (_, name, error) = refused(&["--env", "LD_PRELOAD", "--", "true"], None);
    assert_eq!(name, "usage", "{error}");
    let own = Path::new(support::PROGRAM).parent().unwrap().display().to_string();
    let (_, name, error) = refused(&["--allow-write", &own, "--", "true"], None);
    assert!(name == "refused" && error.contains("could replace"), "{error}");
    let (_, name, error) = refused(&["--", "no-such-program"], None);
    assert_eq!(name, "failed", "{error}");
    let script = machine.home.beside("work/script");
    let written = |text: &str| {
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    written("#!/no/such/interpreter\n");
    let (_, name, error) = refused(&["--", &script.display().to_string()], None);
    assert!(name == "failed" && error.contains("/no/such/interpreter"), "{error}");
    // a program that cannot begin is no failure of a task
    written("#!/bin/sh\n");
    let mut worker = machine.worker(&["--sandbox", "kernel", "--", &script.display().to_string()]);
    assert_eq!((&machine.task()["state"], &worker.next()["result"]), (&json!("succeeded"), &json!("succeeded")));
    written("#!/no/such/interpreter\n");
    let id = machine.home.json(&["task", "submit", "x"])["id"].as_str().unwrap().to_owned();
    assert_eq!(worker.next()["result"], "released");
    assert_eq!(worker.ended().code(), Some(1), "{}", worker.said());
    assert_eq!(machine.home.json(&["task", "show", &id])["failures"], 0);
}

/// promise: Sandbox | A sandboxed command inherits no open file but its pipes
#[test]
fn files_that_the_worker_inherited_are_closed() {
    let machine = Machine::new();
    let run = |level: &str| {
        let options = ["--sandbox", level, "--", "sh", "-c", "cat <&7"];
        let plain = machine.command(&options);
        let mut shell = Command::new("sh");
        let leak = format!("exec 7<'{}'; exec \"$0\" \"$@\"", machine.path("home/.ssh/id_ed25519"));
        shell.arg("-c").arg(leak).arg(support::PROGRAM).args(plain.get_args()).stdin(Stdio::null());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let _worker = Worker::of(shell, machine.home.beside("worker-log"));
        machine.task()
    };
    for level in machine.levels() {
        let task = run(level);
        assert_eq!((&task["state"], &task["output"]), (&json!("failed"), &Value::Null), "{level}: {task}");
    }
    assert_eq!(run("none")["output"], "secret", "so it was inherited");
}

/// promise: Sandbox | A failure in a sandbox that speaks of files or the network ends with the options that allow more; one without a sandbox does not
#[test]
fn a_failure_in_a_sandbox_says_so() {
    let machine = Machine::new();
    let precious = machine.path("outside/precious");
    let count = std::cell::Cell::new(0);
    let fails = |options: &[&str], script: &str| {
        // a worker that fails so often would rest
        count.set(count.get() + 1);
        let name = format!("worker-{}", count.get());
        let worker = machine.worker(&[options, &["--name", &name, "--", "sh", "-c", script]].concat());
        let task = machine.task();
        assert_eq!(task["state"], "failed", "{task} {}", worker.said());
        task["error"]["message"].as_str().unwrap().to_owned()
    };
    let long = format!("yes | head -c 5000 >&2; cat {precious}x");
    for level in machine.levels() {
        let work = machine.path("work");
        let said = fails(&["--sandbox", level, "--allow-read", &work], &format!("cat {precious}"));
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() > 1 && lines[0].contains("outside/precious"), "{said}");
        let last = lines.last().unwrap();
        assert!(last.starts_with("the sandbox lets it read ") && last.contains(&work), "{said}");
        assert!(last.contains("--allow-read DIR") && last.contains("--dir DIR"), "{said}");
        let said = fails(&["--sandbox", level], &long);
        assert!(said.len() <= 2_048 && said.lines().last().unwrap().starts_with("the sandbox lets it read "), "{said}");
        let said = fails(&["--sandbox", level], "echo 'Could not resolve host: example' >&2; exit 6");
        assert!(said.ends_with("--allow-net` allows it"), "{said}");
        let said = fails(&["--sandbox", level, "--allow-net"], "echo 'Could not resolve host: example' >&2; exit 6");
        assert!(!said.contains("the sandbox"), "{said}");
        let said = fails(&["--sandbox", level], "echo 'two and two are five' >&2; exit 1");
        assert_eq!(said, "two and two are five");
    }
    let said = fails(&["--sandbox", "none"], &long);
    assert!(!said.contains("the sandbox") && said.contains("No such file"), "{said}");
}

/// promise: Sandbox | A worker says at its start which sandbox it has, and without one that it has none
#[test]
fn a_worker_says_which_sandbox_it_has() {
    let machine = Machine::new();
    let said = |options: &[&str]| {
        let all = [&["worker", "--allow-root", "--capability", "x"], options, &["--", "true"]].concat();
        let worker = Worker::of(machine.home.command(&all), machine.home.beside("worker-log"));
        let serving = || Some(worker.said()).filter(|said| said.contains("Ctrl-C stops it"));
        until("the worker serves", serving)
    };
    assert!(said(&["--sandbox", "none"]).contains("no sandbox"));
    match machine.levels().last() {
        Some(best) => {
            let line = said(&[]);
            assert!(line.contains(&format!("runs in an empty directory; sandbox {best}; no network")), "{line}");
            let line = said(&["--allow-net"]);
            assert!(line.contains(&format!("sandbox {best}; with the network")), "{line}");
        }
        None => assert!(said(&[]).contains("the command may do whatever your account may")),
    }
}
