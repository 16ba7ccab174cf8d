//! Commands that their input took over: they work against their worker, its other tasks and the machine.
//!
//! Modes of files mean nothing to the account of the system. A test about them that is run by it begins itself once more
//! with the number of another account.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::sandbox::{Machine, Worker, all, tried, with_word};
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
        until(&format!("{id} ends"), || {
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
        # it ends by itself, should nobody end it
        if ($name =~ /fork/) { for (1 .. 9000) { my $child = fork; exit if $child; select undef, undef, undef, 0.004; } exit; }
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

/// Tries things in Perl: each is a name, what is tried, and its arguments.
const TRIES: &str = r#"use strict; my ($errors, @all) = @ARGV; my %refused = map { $_ => 1 } split /,/, $errors; $| = 1;
    for (@all) {
        my ($name, $number, @rest) = split /,/;
        $! = 0; my $held = "\0" x 4096;
        my @given = map { /^-?\d+$/ ? 0 + $_ : $_ eq "BUFFER" ? $held : "$_\0" } @rest;
        my $result = syscall(0 + $number, @given);
        # the answer of the sandbox, and no other
        print "tried $name ", ($result == -1 && $refused{0 + $!} ? "no" : "yes"), "\n"; }"#;

/// Calls by their numbers in a sandbox of this level: true for each that was not answered as the sandbox does.
fn called(machine: &Machine, level: &str, calls: &[String]) -> BTreeMap<String, bool> {
    let errors = format!("{},{},{}", libc::EPERM, libc::ENOSYS, libc::ENOTSUP);
    let mut options = vec!["--sandbox", level, "--allow-net", "--", "/usr/bin/perl", "-e", TRIES, &errors];
    if level == "none" {
        options.retain(|option| *option != "--allow-net");
    }
    options.extend(calls.iter().map(String::as_str));
    let tried = tried(&machine.output(&options));
    assert_eq!(tried.len(), calls.len());
    tried
}

/// promise: Sandbox | No kind of socket leads out of a sandbox, and no number that processes share: tried on a real kernel at each level
#[test]
fn no_kind_of_socket_and_no_shared_number_leads_out() {
    let machine = Machine::new();
    let levels = machine.levels();
    let about = |file| std::fs::read_to_string(file).unwrap_or_default().trim().to_owned();
    eprintln!("levels {levels:?}, Linux {}, {}", about("/proc/sys/kernel/osrelease"), machine.home.json(&["doctor"]));
    if !Path::new("/usr/bin/perl").exists() {
        // the filters themselves are judged in `calls.rs`
        return;
    }
    let mut calls = Vec::new();
    for family in 0..46 {
        for kind in 0..11 {
            let is_pair = family == 1 && [1, 5].contains(&kind);
            // without a sandbox some of these have no such protocol, as the kernel was built; this test's are all else
            calls.push((
                format!("pair-{family}-{kind}"),
                format!("{},{family},{kind},0,BUFFER", libc::SYS_socketpair),
                is_pair,
            ));
            let is_net = [2, 10].contains(&family) && [1, 2].contains(&kind);
            calls.push((format!("socket-{family}-{kind}"), format!("{},{family},{kind},0", libc::SYS_socket), is_net));
        }
    }
    for protocol in [1, 2, 58, 115, 132, 136, 256, 262] {
        calls.push((format!("protocol-{protocol}"), format!("{},2,1,{protocol}", libc::SYS_socket), false));
        calls.push((
            format!("pair-protocol-{protocol}"),
            format!("{},1,1,{protocol},BUFFER", libc::SYS_socketpair),
            false,
        ));
    }
    // numbers that nobody has: without a sandbox these are other errors
    let shared = [
        ("msgget", libc::SYS_msgget, "0,0"),
        ("msgsnd", libc::SYS_msgsnd, "-1,BUFFER,1,2048"),
        ("msgrcv", libc::SYS_msgrcv, "-1,BUFFER,1,0,2048"),
        ("msgctl-stat", libc::SYS_msgctl, "0,11,BUFFER"),
        ("msgctl-remove", libc::SYS_msgctl, "-1,0,0"),
        ("semget", libc::SYS_semget, "0,1,0"),
        ("semop", libc::SYS_semop, "-1,BUFFER,1"),
        ("semtimedop", libc::SYS_semtimedop, "-1,BUFFER,1,0"),
        ("semctl-info", libc::SYS_semctl, "0,0,3,BUFFER"),
        ("semctl-remove", libc::SYS_semctl, "-1,0,0,0"),
        ("shmget", libc::SYS_shmget, "0,1,0"),
        ("shmat", libc::SYS_shmat, "-1,0,4096"),
        ("shmdt", libc::SYS_shmdt, "1"),
        ("shmctl-info", libc::SYS_shmctl, "0,14,BUFFER"),
        ("robust-list", libc::SYS_get_robust_list, "1,BUFFER,BUFFER"),
        ("mrelease", 448, "-1,0"),
        ("quotactl-fd", 443, "-1,0,0,0"),
        ("handle", libc::SYS_name_to_handle_at, "-100,.,BUFFER,BUFFER,0"),
        ("lease", libc::SYS_fcntl, "0,1024,9"),
        ("statmount", 457, "0,0,0,0"),
        ("listmount", 458, "0,0,0,0"),
        ("memfd-secret", 447, "-1"),
    ];
    calls.extend(shared.map(|(name, call, rest)| (name.to_owned(), format!("{call},{rest}"), false)));
    let of_files = [
        ("inotify-init", libc::SYS_inotify_init1, "0".to_owned()),
        ("inotify-add", libc::SYS_inotify_add_watch, format!("-1,{},4095", machine.path("home"))),
        ("setxattr", libc::SYS_setxattr, format!("{},user.x,x,1,0", machine.path("outside/precious"))),
        ("lsetxattr", libc::SYS_lsetxattr, format!("{},user.x,x,1,0", machine.path("outside/precious"))),
        ("fsetxattr", libc::SYS_fsetxattr, "-1,user.x,x,1,0".to_owned()),
        ("removexattr", libc::SYS_removexattr, format!("{},user.x", machine.path("outside/precious"))),
        ("lremovexattr", libc::SYS_lremovexattr, format!("{},user.x", machine.path("outside/precious"))),
        ("fremovexattr", libc::SYS_fremovexattr, "-1,user.x".to_owned()),
        ("setflags", libc::SYS_ioctl, format!("-1,{},BUFFER", 0x4008_6602)),
        ("fssetxattr", libc::SYS_ioctl, format!("-1,{},BUFFER", 0x401c_5820)),
    ];
    let among_others = of_files.clone().map(|(name, ..)| name);
    calls.extend(of_files.map(|(name, call, rest)| (name.to_owned(), format!("{call},{rest}"), false)));
    let lines: Vec<String> = calls.iter().map(|(name, call, _)| format!("{name},{call}")).collect();
    for level in levels {
        let tried = called(&machine, level, &lines);
        for (name, _, is_allowed) in &calls {
            // in namespaces of its own there are no files of others
            if !(level == "full" && among_others.contains(&name.as_str())) {
                assert_eq!(tried[name], *is_allowed, "{level}: {name}");
            }
        }
    }
    let tried = called(&machine, "none", &lines);
    // the kernel has an answer of its own to these as well: a family without pairs, one that is not built in
    let silent: Vec<&String> = tried.iter().filter(|(_, result)| !**result).map(|(name, _)| name).collect();
    assert!(
        tried.len() > 1_000
            && silent.iter().all(|name| name.starts_with("pair-")
                || name.starts_with("socket-")
                || ["statmount", "listmount", "memfd-secret", "lease", "robust-list"].contains(&name.as_str())),
        "{silent:?}"
    );
    assert!(silent.len() < 60, "{silent:?}");
}

/// Ways to the queues, semaphores and shared memory of an account, in Perl.
const SHARED: &str = r#"my ($queue, $set, $memory) = @ARGV; my $held;
    sub try { my ($name, $result) = @_; print "tried $name ", ($result ? "yes" : "no"), "\n"; }
    try("send", msgsnd($queue, pack("l! a*", 1, "forged"), 2048));
    try("receive", msgrcv($queue, $held, 60, 2, 2048));
    try("look", msgctl($queue, 2, $held = ""));
    try("semaphore", semop($set, pack("s3", 0, 1, 2048)));
    try("value", defined semctl($set, 0, 12, 0));
    try("read-memory", shmread($memory, $held, 0, 6));
    try("write-memory", shmwrite($memory, "forged", 0, 6));
    try("remove-queue", msgctl($queue, 0, 0));
    "#;

/// promise: Sandbox | A sandboxed command neither reads nor fills the queues, semaphores and shared memory of its account
#[test]
fn queues_of_the_account_are_out_of_reach() {
    let machine = Machine::new();
    if !Path::new("/usr/bin/perl").exists() {
        return;
    }
    let perl = |script: &str, arguments: &[&str]| {
        let output = Command::new("/usr/bin/perl").args(["-e", script]).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let made = perl(
        r#"my $queue = msgget(0, 0600 | 01000); msgsnd($queue, pack("l! a*", 2, "secret"), 0); my $set = semget(0, 1, 0600 | 01000);
        my $memory = shmget(0, 4096, 0600 | 01000); shmwrite($memory, "secret", 0, 6); print "$queue $set $memory""#,
        &[],
    );
    let numbers: Vec<&str> = made.split(' ').collect();
    assert_eq!(numbers.len(), 3, "{made}");
    let attempts = |level: &str| {
        let options = [&["--sandbox", level, "--", "/usr/bin/perl", "-e", SHARED][..], &numbers].concat();
        tried(&machine.output(&options))
    };
    for level in machine.levels() {
        let attempts = attempts(level);
        assert_eq!(attempts.len(), 8, "{attempts:?}");
        all(&attempts, false, &[], level);
    }
    let kept = perl(
        r#"my ($queue, $set, $memory) = @ARGV; my $held; msgrcv($queue, $held, 60, 0, 2048) and print substr($held, 8);
        shmread($memory, $held, 0, 6) and print " $held"; print " ", semctl($set, 0, 12, 0) + 0"#,
        &numbers,
    );
    assert_eq!(kept, "secret secret 0", "they are as they were");
    perl(r#"msgsnd($ARGV[0], pack("l! a*", 2, "secret"), 0)"#, &numbers);
    all(&attempts("none"), true, &[], "none");
    perl(r#"semctl($ARGV[1], 0, 0, 0); shmctl($ARGV[2], 0, 0)"#, &numbers);
}

/// The files below a directory, and whether every account may read them.
fn files_below(directory: &Path, is_open: bool, found: &mut Vec<(PathBuf, bool)>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let about = entry.metadata().unwrap();
        let mode = about.permissions().mode();
        if about.is_dir() {
            files_below(&entry.path(), is_open && mode & 0o005 == 0o005, found);
        } else if about.is_file() && entry.path().to_str().is_some_and(|path| !path.contains(['\n', ' ', '\''])) {
            found.push((entry.path(), is_open && mode & 0o004 != 0));
        }
    }
}

/// promise: Sandbox | A command reads of `/etc` what every account may read and nothing else, at each level, also if root runs its worker
#[test]
fn keys_among_the_settings_are_not_read() {
    let machine = Machine::new();
    let mut files = Vec::new();
    files_below(Path::new("/etc"), true, &mut files);
    let closed: Vec<&PathBuf> = files.iter().filter(|(_, is_open)| !is_open).map(|(path, _)| path).collect();
    let open: Vec<&PathBuf> = files.iter().filter(|(_, is_open)| *is_open).map(|(path, _)| path).collect();
    assert!(!closed.is_empty() && open.len() > 20, "{closed:?}");
    let work = machine.home.beside("work");
    let list = |paths: &[&PathBuf]| paths.iter().map(|path| format!("{}\n", path.display())).collect::<String>();
    std::fs::write(work.join("closed"), list(&closed)).unwrap();
    std::fs::write(work.join("open"), list(&open)).unwrap();
    let script = r#"while read -r file; do try "closed $file" head -c 1 "$file"; done <closed
        # the first byte of all in one, as long as none fails
        try open sh -c "while read -r file; do head -c 1 \"\$file\" >/dev/null || exit 1; done <open"
        try list ls /etc/ssl/certs"#;
    let dir = work.display().to_string();
    for level in machine.levels() {
        let attempts = machine.attempts(&["--sandbox", level, "--dir", &dir], script, &[]);
        assert_eq!(attempts.len(), closed.len() + 2);
        all(&attempts, false, &["open", "list"], level);
        assert!(attempts["open"], "{level}: what everybody may read");
    }
    if rustix::process::geteuid().is_root() {
        let attempts = machine.attempts(&["--sandbox", "none", "--dir", &dir], script, &[]);
        all(&attempts, true, &["list"], "none");
    }
}

/// promise: Sandbox | A command sees neither the machine's connections and sockets nor its mounts, and still all that a runtime reads about itself
#[test]
fn the_machine_is_not_seen_by_what_a_process_sees_of_itself() {
    let machine = Machine::new();
    // the shell reads these itself: those of a child are another process's
    let seen =
        "status stat statm maps cgroup cmdline comm limits io oom_score_adj auxv environ smaps_rollup fdinfo/0 sched";
    let hidden = "mountinfo mounts mountstats net/tcp net/tcp6 net/udp net/unix net/netlink net/arp net/route net/dev";
    let script = r#"self() { for name in $2; do if { read -r line || [ -n "$line" ]; } <"/proc/$3/$name"; then echo "tried $1-$name yes";
            else echo "tried $1-$name no"; fi; done 2>/dev/null; }
        self seen "$1" self
        self hidden "$2" self
        self thread "$2" "self/task/$$"
        self of-thread "$2" thread-self
        self machine "mounts net/tcp net/unix" .
        self of-parent "$2 environ maps cmdline status" $PPID
        try mtab cat /etc/mtab
        try list-files sh -c 'ls /proc/self/fd >/dev/null || [ -d /proc/self/fd ]'
        try list-net ls /proc/self/net/stat
        "#;
    for level in machine.levels() {
        let attempts = machine.attempts(&["--sandbox", level], script, &[seen, hidden]);
        let of = |begin: &str, is: bool| {
            let those: BTreeMap<String, bool> = attempts
                .iter()
                .filter(|(name, _)| name.starts_with(begin))
                .map(|(name, is)| (name.clone(), *is))
                .collect();
            assert!(!those.is_empty(), "{begin}");
            all(&those, is, &["seen-smaps_rollup", "seen-sched"], level);
        };
        of("seen-", true);
        if level == "kernel" {
            ["hidden-", "thread-", "of-thread-", "machine-", "of-parent-", "mtab"]
                .iter()
                .for_each(|begin| of(begin, false));
            // its own connections are those of the whole machine
            let attempts = machine.attempts(&["--sandbox", level, "--allow-net"], script, &[seen, hidden]);
            let hidden = attempts.iter().filter(|(name, _)| name.starts_with("hidden-"));
            all(&hidden.map(|(name, is)| (name.clone(), *is)).collect(), false, &[], level);
        }
    }
    let attempts = machine.attempts(&["--sandbox", "none"], script, &[seen, hidden]);
    all(
        &attempts,
        true,
        &["seen-sched", "seen-smaps_rollup", "mtab", "list-net", "thread-mountstats", "of-thread-mountstats"],
        "none",
    );
}

/// promise: Sandbox | Runtimes begin and work in a sandbox of the level `kernel`: Python, Node and Java
#[test]
fn runtimes_find_what_they_need() {
    let machine = Machine::new();
    let there = |program: &str| Path::new(program).exists();
    for level in machine.levels() {
        let run = |command: &[&str]| machine.output(&[&["--sandbox", level, "--"], command].concat());
        if there("/usr/bin/python3") {
            let script = "import os, threading, multiprocessing, resource, platform, tempfile, subprocess, shutil\n\
                open('/proc/self/status').read(); os.listdir('/proc/self/fd'); os.cpu_count()\n\
                open('x', 'w').write('x'); shutil.copy2('x', 'y'); shutil.copystat('x', 'y'); os.chmod('y', 0o600); os.utime('y')\n\
                threads = [threading.Thread(target=print) for _ in range(4)]; [t.start() for t in threads]; [t.join() for t in threads]\n\
                print(subprocess.run(['sh', '-c', 'cp -a x z && tar cf t x y && tar xf t && echo ok'], stdout=-1).stdout)";
            assert!(run(&["/usr/bin/python3", "-c", script]).as_str().unwrap().contains("ok"), "{level}");
        }
        if there("/usr/bin/node") {
            let script = "const os = require('os'); os.cpus(); os.freemem(); process.memoryUsage(); process.resourceUsage();\
                require('fs').copyFileSync('/etc/passwd', 'x'); new (require('worker_threads').Worker)('1', { eval: true })\
                .on('exit', () => console.log(require('child_process').execSync('echo ok').toString()))";
            assert!(run(&["/usr/bin/node", "-e", script]).as_str().unwrap().contains("ok"), "{level}");
        }
        if there("/usr/bin/java") {
            assert_ne!(run(&["sh", "-c", "java -version 2>&1"]), Value::Null, "{level}");
        }
    }
}

/// promise: Sandbox | `worker --file-size`, `--disk` and `--processes` end a command that takes too much, in a sandbox and without one
#[test]
fn a_command_takes_no_more_than_its_bounds() {
    let rogue = Rogue::new();
    let mark = format!("{}.77", 80_000 + std::process::id() % 9_000);
    rogue.script(0, "head -c 3000000 /dev/zero >large; echo $? >&2; exit 1");
    rogue.script(1, "n=0; while :; do n=$((n + 1)); head -c 900000 /dev/zero >f$n; done");
    rogue.script(
        2,
        "mkdir a a/b; cd a/b; n=0; while :; do n=$((n + 1)); head -c 900000 /dev/zero >f$n; mkdir d; cd d; done",
    );
    rogue.script(3, &format!("n=0; while [ $n -lt 60 ]; do n=$((n + 1)); setsid sleep {mark} & done; wait"));
    // each makes two, and they leave their parents
    rogue.script(
        4,
        &format!("bomb() {{ [ $1 -gt 0 ] || exit; (setsid sleep {mark} &); (bomb $(($1 - 1)) &); (bomb $(($1 - 1)) &); sleep {mark}; }}; bomb 9; wait"),
    );
    rogue.script(5, "head -c 700000 /dev/zero >small; sleep 1; echo fine");
    let mut levels = rogue.machine.levels();
    levels.push("none");
    for level in levels {
        let options = ["--file-size", "2M", "--disk", "20M", "--processes", "40"];
        let worker = rogue.worker(level, &options, "bounds");
        for (number, code) in
            [(0, "exit_1"), (1, "disk_full"), (2, "disk_full"), (3, "too_many_processes"), (4, "too_many_processes")]
        {
            let task = rogue.ended(&rogue.submit("bounds", number));
            assert_eq!(task["error"]["code"], code, "{level}: {number}: {task} {}", worker.said());
            assert_eq!((&task["claims"], &task["failures"]), (&json!(1), &json!(1)), "{level}: {number}");
            worker.next();
            assert_eq!(with_word(&mark), Vec::<u32>::new(), "{level}: {number}");
            let fine = rogue.ended(&rogue.submit("bounds", 5));
            assert_eq!(fine["output"], "fine", "{level}: {fine}");
            worker.next();
        }
        assert_eq!(rogue.directories(), Vec::<String>::new(), "{level}");
    }
}

/// promise: Sandbox | A worker removes the directory of each task, whatever modes are in it, and so does the warden of a killed worker
#[test]
fn no_directory_of_a_task_stays() {
    if ran_by_an_account("no_directory_of_a_task_stays") {
        return;
    }
    let rogue = Rogue::new();
    let stays = "mkdir -p a/b/c; echo x >a/b/c/x; ln -s /etc a/link; chmod 000 a/b/c a/b a . ..";
    rogue.script(0, stays);
    rogue.script(1, &format!("{stays}; exit 1"));
    rogue.script(2, "n=0; while [ $n -lt 3000 ]; do n=$((n + 1)); mkdir d && cd d || exit 1; done");
    rogue.script(3, &format!("{stays}; echo nexus:progress 50 >&2; sleep 60"));
    let mut levels = rogue.machine.levels();
    levels.push("none");
    for level in levels {
        let mut worker = rogue.worker(level, &[], "stays");
        for number in 0..3 {
            rogue.ended(&rogue.submit("stays", number));
            worker.next();
            assert_eq!(rogue.directories(), Vec::<String>::new(), "{level}: {number} {}", worker.said());
        }
        let id = rogue.submit("stays", 3);
        let begun = || {
            let task = rogue.machine.node.http("GET", &format!("/v1/tasks/{id}"), "").json();
            (task["progress"]["percent"] == 50).then_some(())
        };
        until("the command has begun", begun);
        assert_eq!(rogue.directories().len(), 1, "{level}");
        worker.child.kill().unwrap();
        worker.ended();
        until(&format!("{level}: its directory is gone"), || rogue.directories().is_empty().then_some(()));
        rogue.home().json(&["task", "cancel", &id]);
    }
}

/// promise: Sandbox | Where a worker may make namespaces, a command changes neither modes, times, owners nor attributes outside of its directories, at each level
#[test]
fn modes_of_others_are_not_changed() {
    if ran_by_an_account("modes_of_others_are_not_changed") {
        return;
    }
    let machine = Machine::new();
    let outside = machine.home.beside("outside");
    let script = r#"outside=$1 dir=$2
        try mode chmod 600 "$outside/precious"
        try mode-of-directory chmod 755 "$outside"
        try mode-of-keys chmod 755 "$3/.ssh"
        try time sh -c "[ -e '$outside/precious' ] && touch -c -d 2001-01-01 '$outside/precious'"
        try time-of-directory sh -c "[ -e '$outside' ] && touch -c -d 2001-01-01 '$outside'"
        try group chgrp "$(id -g)" "$outside/precious"
        try read-mode chmod 600 "$4/readable"
        try read-time touch -c -d 2001-01-01 "$4/readable"
        try own-mode sh -c "echo x >'$dir/own' && chmod 600 '$dir/own' && touch -d 2001-01-01 '$dir/own'"
        try task-mode sh -c "echo x >own && chmod 700 own && mkdir -p d && chmod 500 d && chmod 700 d"
        "#;
    let (readable, dir) = (machine.path("home/.claude"), machine.path("work"));
    std::fs::write(Path::new(&readable).join("readable"), "").unwrap();
    let attempts = |options: &[&str]| {
        let home = machine.path("home");
        machine.attempts(options, script, &[&outside.display().to_string(), &dir, &home, &readable])
    };
    // a level that has no namespaces here cannot keep this
    let has_namespaces = Command::new("unshare").args(["-Urm", "true"]).status().is_ok_and(|status| status.success());
    for level in machine.levels().into_iter().filter(|level| *level == "full" || has_namespaces) {
        let attempts = attempts(&["--sandbox", level, "--allow-write", &dir, "--allow-read", &readable]);
        all(&attempts, false, &["own-mode", "task-mode"], level);
        assert!(attempts["own-mode"] && attempts["task-mode"], "{level}: {attempts:?}");
    }
    all(&attempts(&["--sandbox", "none"]), true, &[], "none");
}

/// promise: Sandbox | A command touches no other task of its worker's account: neither its files, nor its processes, nor its sockets
#[test]
fn another_worker_of_the_account_is_not_touched() {
    let rogue = Rogue::new();
    rogue.script(
        0,
        "echo secret >mine; mkdir inner; echo $$ >pid; echo \"nexus:progress 50 $NEXUS_TASK_DIR\" >&2; sleep 100",
    );
    for level in rogue.machine.levels().into_iter().chain(["none"]) {
        let other = rogue.worker(if level == "none" { "kernel" } else { level }, &[], "other");
        let id = rogue.submit("other", 0);
        let begun = || {
            let task = rogue.machine.node.http("GET", &format!("/v1/tasks/{id}"), "").json();
            task["progress"]["text"].as_str().map(str::to_owned)
        };
        let theirs = until("the other command has begun", begun);
        let mine = Path::new(&theirs).join("mine");
        let is_shell =
            |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().starts_with(b"sh\0");
        let command = with_word("-c").into_iter().filter(is_shell).find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/environ"))
                .unwrap_or_default()
                .contains(&format!("NEXUS_TASK_DIR={theirs}"))
        });
        let command = command.unwrap_or_else(|| panic!("it runs: {}", other.said())).to_string();
        let worker = other.child.id().to_string();
        let warden = child_of(other.child.id()).to_string();
        let script = r#"theirs=$1; shift
            try list ls "$theirs"
            try list-above ls "$theirs/../.."
            try read cat "$theirs/mine"
            try write sh -c "echo x >>'$theirs/mine'"
            try new sh -c "echo x >'$theirs/new'"
            try rename mv "$theirs/mine" "$theirs/moved"
            try remove rm -r "$theirs/inner"
            try link ln "$theirs/mine" linked
            try lock cat "$theirs/../lock"
            try pipe mkfifo "$theirs/pipe"
            for pid in $*; do
                try "signal-$pid" kill -0 $pid
                try "stop-$pid" sh -c "kill -STOP $pid && kill -CONT $pid"
                try "environ-$pid" cat /proc/$pid/environ
                try "line-$pid" cat /proc/$pid/cmdline
                try "files-$pid" ls /proc/$pid/fd/
                try "root-$pid" cat "/proc/$pid/root$theirs/mine"
                try "cwd-$pid" ls /proc/$pid/cwd/
                try "memory-$pid" cat /proc/$pid/maps
                try "priority-$pid" renice -n 1 -p $pid
                try "limits-$pid" prlimit --pid $pid --core=0
            done"#;
        let arguments = [theirs.as_str(), &worker, &warden, &command];
        let attempts = rogue.machine.attempts(&["--sandbox", level], script, &arguments);
        assert!(attempts.len() == 10 + 3 * 10, "{attempts:?}");
        if level == "none" {
            // the processes of an account are its own; a warden shows its files to none but the account of the system
            let hidden: Vec<&String> = attempts.iter().filter(|(_, is)| !**is).map(|(name, _)| name).collect();
            assert!(hidden.len() < 12, "{hidden:?}");
        } else {
            all(&attempts, false, &[], level);
            assert_eq!(std::fs::read_to_string(&mine).unwrap(), "secret\n");
            assert!(Path::new(&theirs).join("inner").exists());
        }
        drop(other);
        rogue.home().json(&["task", "cancel", &id]);
    }
}

/// promise: Sandbox | Without namespaces root serves tasks only with `--allow-root`, and nobody's command may write a repository
#[test]
fn without_namespaces_a_worker_refuses_what_they_would_keep() {
    let machine = Machine::new();
    // a namespace of users in which there are none of mounts, and this account is root
    let without = |options: &[&str]| {
        let plain = machine.command(options);
        let mut command = Command::new("unshare");
        let none = "echo 0 >/proc/sys/user/max_mnt_namespaces && exec \"$0\" \"$@\"";
        command.args(["-Ur", "sh", "-c", none]).arg(crate::support::PROGRAM);
        command.args(plain.get_args().filter(|word| *word != "--allow-root"));
        for (name, value) in plain.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
    };
    let can = Command::new("unshare").args(["-Ur", "sh", "-c", "echo 0 >/proc/sys/user/max_mnt_namespaces"]).status();
    if machine.levels().is_empty() || !can.is_ok_and(|status| status.success()) {
        eprintln!("left out: there are no namespaces of users here to take others from");
        return;
    }
    let refused = |options: &[&str]| {
        let output = without(options).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = refused(&["--sandbox", "kernel", "--", "true"]);
    assert!(code == Some(4) && said.contains("run by root") && said.contains("--allow-root"), "{code:?} {said}");
    std::fs::create_dir(machine.home.beside("work/.git")).unwrap();
    let work = machine.path("work");
    let (code, said) = refused(&["--sandbox", "kernel", "--dir", &work, "--", "true"]);
    assert!(code == Some(4) && said.contains(".git") && said.contains("namespaces"), "{code:?} {said}");
}
