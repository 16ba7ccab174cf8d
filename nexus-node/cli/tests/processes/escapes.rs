//! Commands that their input took over: they work against their worker, its other tasks and the machine.
//!
//! Modes of files mean nothing to the account of the system. A test about them that is run by it begins itself once more
//! with the number of another account.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::sandbox::{Machine, Worker, with_word};
use crate::support::{Home, until};

/// The number of an account that nobody has.
const ACCOUNT: u32 = 12_345;

/// Whether the test was run by another process, whose account is not the system's. Then nothing is left to do.
fn ran_by_an_account(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(ACCOUNT), Some(ACCOUNT)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("escapes::{test}"), "--nocapture"]);
    let ended = command.uid(ACCOUNT).gid(ACCOUNT).current_dir("/").env("HOME", home.path()).status().unwrap();
    assert!(ended.success(), "as another account");
    true
}

/// The names in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// A worker on a machine whose directories of tasks are in a place of their own, and whose command is a script of the
/// input's choice.
struct Rogue {
    machine: Machine,
}

impl Rogue {
    fn new() -> Self {
        let machine = Machine::new();
        for name in ["tmp", "scripts"] {
            std::fs::create_dir(machine.home.beside(name)).unwrap();
        }
        Self { machine }
    }

    fn home(&self) -> &Home {
        &self.machine.home
    }

    /// The directories of tasks that are there.
    fn directories(&self) -> Vec<String> {
        names(&self.home().beside("tmp"))
    }

    fn worker(&self, level: &str, options: &[&str], capability: &str) -> Worker {
        let scripts = self.machine.path("scripts");
        // the input is a number
        let script = "read -r number; . \"$0/$number.sh\"";
        // without a sandbox there is nothing to allow
        let allowed: &[&str] = if level == "none" { &[] } else { &["--allow-read", &scripts] };
        let command = ["--", "sh", "-c", script, &scripts];
        let options = [&["--capability", capability, "--sandbox", level], allowed, options, &command].concat();
        let mut command = self.machine.command(&options);
        command.env("TMPDIR", self.home().beside("tmp"));
        Worker::of(command, self.home().beside(&format!("log-{capability}")))
    }

    fn script(&self, number: usize, script: &str) {
        std::fs::write(self.home().beside("scripts").join(format!("{number}.sh")), script).unwrap();
    }

    fn submit(&self, capability: &str, number: usize) -> String {
        let task = json!({ "capability": capability, "input": number, "attempts": 1, "timeout": "60s" });
        let submitted = self.machine.node.http("POST", "/v1/tasks", &task.to_string()).json();
        submitted["id"].as_str().unwrap_or_else(|| panic!("{submitted}")).to_owned()
    }

    fn ended(&self, id: &str) -> Value {
        until("the task ends", || {
            let task = self.machine.node.http("GET", &format!("/v1/tasks/{id}"), "").json();
            ["succeeded", "failed", "unknown"].contains(&task["state"].as_str().unwrap()).then_some(task)
        })
    }
}

/// promise: Sandbox | A command that fails has failed, and its worker goes on, whatever it does to the files and the processes that watch over it
#[test]
fn no_command_makes_its_attempt_an_untried_one() {
    if ran_by_an_account("no_command_makes_its_attempt_an_untried_one") {
        return;
    }
    let rogue = Rogue::new();
    let base = r#"base="$NEXUS_TASK_DIR/..""#;
    let ways = [
        "exit 1",
        "chmod 000 $base/report; exit 1",
        "chmod 000 $base/*; exit 1",
        "chmod 000 $base; exit 1",
        "chmod 000 $NEXUS_TASK_DIR; exit 1",
        "mkdir a a/b; chmod 000 a/b a . $base; exit 1",
        "rm -rf $base; exit 1",
        "rm -f $base/report $base/begun; mkdir $base/report $base/begun; exit 1",
        "rm -f $base/report $base/begun; mkfifo $base/report $base/begun; exit 1",
        "rm -f $base/report; ln -s /dev/zero $base/report; exit 1",
        "mv $base/report $base/other; mv $base $base-moved; exit 1",
        "for word in report begun; do echo 'failed for no reason' >>$base/$word & done; sleep 0.1; exit 1",
        "for file in /proc/$PPID/fd/* /proc/self/fd/*; do (echo 'failed for no reason' >$file) & done; sleep 0.1; exit 1",
        "for file in /proc/[0-9]*/fd/*; do timeout 0.01 dd if=/dev/zero of=$file count=9; done 2>/dev/null; exit 1",
        "kill -9 $PPID; sleep 0.1; exit 1",
        "kill -9 $$",
        "kill -STOP $PPID; sleep 0.1; kill -CONT $PPID; exit 1",
        "kill -INT $PPID; sleep 0.1; exit 1",
        "exit 126",
        "exit 125",
        "echo 'the sandbox could not be made' >&2; exit 126",
    ];
    for (number, way) in ways.iter().enumerate() {
        rogue.script(number, &format!("{base}\nexec 2>/dev/null\n{way}\n"));
    }
    rogue.script(ways.len(), "exit 0");
    let mut levels = rogue.machine.levels();
    // without a sandbox the command can end its worker; not by these
    levels.push("none");
    for level in levels {
        let worker = rogue.worker(level, &[], "rogue");
        for (number, way) in ways.iter().enumerate() {
            // without a sandbox it writes into any file, this test's among them
            if level == "none" && way.contains("[0-9]") {
                continue;
            }
            let task = rogue.ended(&rogue.submit("rogue", number));
            let tried = (&task["state"], &task["claims"], &task["failures"]);
            assert_eq!(tried, (&json!("failed"), &json!(1), &json!(1)), "{level}: {way}: {task} {}", worker.said());
            assert_eq!(worker.next()["result"], "failed", "{level}: {way}");
            // a worker that fails more than half of its tasks rests for a while
            assert_eq!(rogue.ended(&rogue.submit("rogue", ways.len()))["state"], "succeeded", "{level}: after {way}");
            assert_eq!(worker.next()["result"], "succeeded", "{level}: after {way}");
        }
        if level != "none" {
            assert_eq!(rogue.directories(), Vec::<String>::new(), "{level}: {}", worker.said());
        }
    }
}

/// A program that leaves its parent, its group and its session, with a name of its choice.
const HIDES: &str = r#"use POSIX (); my ($mark, @names) = @ARGV; $| = 1;
    for my $name (@names) {
        $name = pack("H*", $name);
        next if fork; POSIX::setsid(); exit if fork;
        my $held = "$name\0"; syscall(157, 15, $held, 0, 0, 0);
        close STDIN; close STDOUT; close STDERR;
        kill 'STOP', $$ if $name =~ /stop/;
        if ($name =~ /fork/) { while (1) { my $child = fork; exit if $child; } }
        exit if $name =~ /end/;
        open my $file, '>', "begun-" . unpack("H*", $name); close $file;
        select undef, undef, undef, 0.05 while 1;
    }
    1 while wait != -1; open my $file, '>', 'all'; close $file; select undef, undef, undef, 0.2; print "done"; sleep 60 if -e 'stay';"#;

/// promise: Sandbox | No process outlives its task, whatever name it gives itself, also after a kill of its worker or of the process that watches over it
#[test]
fn no_name_hides_a_process() {
    if !Path::new("/usr/bin/perl").exists() || cfg!(not(target_arch = "x86_64")) {
        // the names are judged in `descendants.rs`
        return;
    }
    let machine = Machine::new();
    let work = machine.path("work");
    let names = [
        &b"plain"[..],
        b"\xff\xfe\xfd",
        b"\xc3(",
        b") S 1 (x",
        b"a) Z 1 1 1",
        b"))))",
        b"((((",
        b"x\ny) S 1 1",
        b"\n\n\n",
        b" S 1 1 1",
        b"",
        b"stop\xff",
        b"fork\xff",
    ];
    let names: Vec<String> = names.iter().map(|name| data_encoding::HEXLOWER.encode(name)).collect();
    let begun = machine.home.beside("work/all");
    let mut levels = machine.levels();
    levels.push("none");
    for (index, level) in levels.into_iter().enumerate() {
        let mark = format!("hides-{}-{index}", std::process::id());
        let mut options = vec!["--sandbox", level, "--dir", &work, "--", "/usr/bin/perl", "-e", HIDES, &mark];
        options.extend(names.iter().map(String::as_str));
        let count = || {
            let hidden = with_word(&mark);
            // the worker and the wardens have it in their lines, too
            let of_perl = |pid: &&u32| {
                std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().starts_with(b"/usr/bin/perl")
            };
            hidden.iter().filter(of_perl).count()
        };
        let worker = machine.worker(&options);
        let task = machine.task();
        assert_eq!((&task["state"], &task["output"]), (&json!("succeeded"), &json!("done")), "{level}: {task}");
        worker.next();
        assert_eq!(count(), 0, "{level}");
        std::fs::write(machine.home.beside("work/stay"), "").unwrap();
        for whom in ["warden", "worker"] {
            std::fs::remove_file(&begun).unwrap();
            let id = machine.home.json(&["task", "submit", "x", "--attempts", "1"])["id"].as_str().unwrap().to_owned();
            until("the command has begun", || begun.exists().then_some(()));
            assert!(count() > names.len() - 2, "{level}: {}", count());
            let number = worker.child.id();
            let number = if whom == "worker" { number } else { child_of(number) };
            assert!(Command::new("kill").args(["-KILL", &number.to_string()]).status().unwrap().success());
            until(&format!("{level}: all of it has ended with its {whom}"), || (count() == 0).then_some(()));
            if whom == "warden" {
                assert_eq!(worker.next()["error"]["code"], "signal_9", "{level}");
            }
            machine.home.run(&["task", "cancel", &id]);
        }
        drop(worker);
        std::fs::remove_file(machine.home.beside("work/stay")).unwrap();
        std::fs::remove_file(&begun).unwrap();
    }
}

/// The only child of a process.
fn child_of(parent: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let mut all: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
    for thread in std::fs::read_dir(format!("/proc/{parent}/task")).unwrap().flatten() {
        let more = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        all.extend(more.split_whitespace().map(str::to_owned));
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].parse().unwrap()
}
