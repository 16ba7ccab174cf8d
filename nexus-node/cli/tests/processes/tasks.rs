//! Tasks and workers as processes: on the command line and over HTTP.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use crate::support::{HOWEVER_BUSY, Home, SOON, pair, until};
use nexus_client::wire::parse_timestamp;
use serde_json::{Value, json};

/// A worker, which ends with the test. Its lines are read as they come.
struct Worker {
    child: Child,
    lines: Receiver<String>,
    stderr: PathBuf,
}

impl Worker {
    /// A worker with these options, which are followed by `--` and the command. It has no sandbox: commands here write where
    /// the tests look. `sandbox.rs` has the others.
    fn start(home: &Home, options: &[&str]) -> Self {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stderr = home.beside(&format!("worker-{count}"));
        let however_busy = if options.contains(&"--cpu-max") { &[] } else { HOWEVER_BUSY };
        let mut command =
            home.command(&[&["worker", "--json", "--sandbox", "none"][..], however_busy, options].concat());
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&stderr).unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (line, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|read| line.send(read)));
        Self { child, lines, stderr }
    }

    /// The next task that it is done with.
    #[track_caller]
    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(SOON);
        serde_json::from_str(&line.unwrap_or_else(|error| panic!("{error}: {}", self.said()))).unwrap()
    }

    /// Its stderr so far.
    fn said(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    fn signal(&self, signal: &str) {
        send(self.child.id(), signal);
    }

    fn ended(&mut self) -> ExitStatus {
        until("the worker ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // so it ends its commands
            self.signal("-TERM");
            let _ = self.child.wait();
        }
    }
}

fn send(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
    assert!(sent.is_ok());
}

/// Whether a process runs. A dead one that nobody has asked for does not.
fn runs(pid: u32) -> bool {
    let listed = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8(listed.stdout).unwrap();
    !state.trim().is_empty() && !state.starts_with('Z')
}

/// The numbers in a file, once there are so many.
fn numbers(file: &Path, count: usize) -> Vec<u32> {
    until("the command has begun", || {
        let text = std::fs::read_to_string(file).ok()?;
        let numbers: Vec<u32> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (numbers.len() == count && text.ends_with('\n')).then_some(numbers)
    })
}

/// A command that writes its own number and that of a process that it began, and then goes on for long.
const LONG: &str =
    r#"sleep 1000 & echo "$$ $!" > "$1.new"; mv "$1.new" "$1"; echo "nexus:progress 40 begun" >&2; wait"#;

fn submit(home: &Home, arguments: &[&str]) -> String {
    let task = home.json(&[&["task", "submit"], arguments].concat());
    task["id"].as_str().unwrap().to_owned()
}

fn show(home: &Home, id: &str) -> Value {
    home.json(&["task", "show", id])
}

fn state(home: &Home, id: &str) -> String {
    show(home, id)["state"].as_str().unwrap().to_owned()
}

/// Waits for a task that has ended, and returns it.
fn ended(home: &Home, id: &str) -> Value {
    until("the task has ended", || Some(show(home, id)).filter(|task| !task["ended_at"].is_null()))
}

fn events(task: &Value) -> Vec<&str> {
    task["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect()
}

/// The first event with this word.
fn event<'a>(task: &'a Value, word: &str) -> &'a Value {
    task["events"].as_array().unwrap().iter().find(|event| event["event"] == word).unwrap()
}

/// A command beside the test, such as one that waits.
fn beside(home: &Home, arguments: &[&str]) -> JoinHandle<Output> {
    let child = home.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::spawn(move || child.wait_with_output().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Waits until a worker waits for work.
fn waiting(home: &Home, count: u64) {
    until("workers wait for work", || {
        let agents = home.json(&["agents"]);
        let waiting: u64 = agents.as_array()?.iter().map(|agent| agent["waiting"].as_u64().unwrap()).sum();
        (waiting == count).then_some(())
    });
}

/// promise: Tasks | `worker` serves tasks with a command: input on stdin, output from stdout, in an empty directory that goes
#[test]
fn a_command_does_a_task_and_its_output_comes_back() {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    let worker = Worker::start(&home, &["--capability", "echo", "--name", "parrot", "--", "cat"]);
    waiting(&home, 1);
    let agents = home.json(&["agents"]);
    assert_eq!(agents[0]["name"], "parrot");
    assert_eq!((&agents[0]["node_name"], &agents[0]["capabilities"]), (&json!("laptop"), &json!(["echo"])));
    assert_eq!(agents[0]["roles"], json!(["admin"]));

    let input = json!({"a": [1, 2.5, null], "b": "ü"});
    let done = home.json(&["task", "submit", "echo", "--input", &input.to_string(), "--wait"]);
    assert_eq!((&done["state"], &done["output"], &done["input"]), (&json!("succeeded"), &input, &input), "{done}");
    assert_eq!((&done["error"], &done["space"], &done["claims"]), (&Value::Null, &json!("tasks"), &json!(1)));
    assert_eq!((&done["timeout"], &done["priority"]), (&json!("5m"), &json!("normal")));
    let by = json!({"node": node.ready["did"], "name": "laptop", "agent": "parrot"});
    assert_eq!(done["assigned_to"], by);
    assert_eq!(events(&done), ["submitted", "claimed", "succeeded"]);
    let line = worker.next();
    assert_eq!((&line["id"], &line["result"], &line["attempt"]), (&done["id"], &json!("succeeded"), &json!(1)));

    // a file, stdin, and nothing
    let file = home.beside("input.json");
    std::fs::write(&file, "[1]\n").unwrap();
    let at = format!("@{}", file.display());
    assert_eq!(home.json(&["task", "submit", "echo", "--input", &at, "--wait"])["output"], json!([1]));
    let piped = home.run_with(&["task", "submit", "echo", "--input", "-", "--wait", "--json"], b"\"two words\"").json();
    assert_eq!(piped["output"], "two words");
    assert_eq!(home.json(&["task", "submit", "echo", "--wait"])["output"], Value::Null);

    // for people: who can read it, and the output alone on stdout
    let ran = home.run(&["task", "submit", "echo", "--input", "\"hello\"", "--wait"]).ok();
    assert_eq!(ran.stdout, "hello\n");
    assert!(ran.stderr.contains("every member of the mesh can read it"), "{ran:?}");
    let id = done["id"].as_str().unwrap();
    let shown = home.run(&["task", "show", id]).ok().stdout;
    assert!(
        shown.contains("parrot at laptop") && shown.contains("submitted") && shown.contains("succeeded"),
        "{shown}"
    );
    let listed = home.json(&["task", "list", "--state", "succeeded", "--limit", "2"]);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let next = listed["next"].as_str().unwrap();
    let rest = home.json(&["task", "list", "--after", next, "--state", "succeeded", "--state", "failed"]);
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (3, &Value::Null), "{rest}");
    assert!(home.run(&["task", "list"]).ok().stdout.contains("parrot at laptop"));
    assert_eq!(home.json(&["task", "list", "--state", "pending"])["items"], json!([]));
}

/// promise: Tasks | `worker` serves tasks with a command: input on stdin, output from stdout, in an empty directory that goes
#[test]
fn a_command_has_its_task_in_the_environment_and_a_directory_of_its_own() {
    let home = Home::new();
    let _node = home.up();
    let script = r#"printf '{"task":["%s","%s","%s","%s"],"at":"%s","files":%s}' "$NEXUS_TASK_ID" "$NEXUS_TASK_TOKEN" \
        "$NEXUS_TASK_ATTEMPT" "$NEXUS_TASK_CAPABILITY" "$PWD" "$(ls -A | wc -l)"; touch left; sleep 1000 &"#;
    let worker = Worker::start(&home, &["--capability", "a/b:c", "--", "sh", "-c", script]);
    let done = home.json(&["task", "submit", "a/b:c", "--wait"]);
    let given = &done["output"]["task"];
    assert_eq!((&given[0], &given[2], &given[3]), (&done["id"], &json!("1"), &json!("a/b:c")), "{done}");
    assert_eq!(given[1].as_str().unwrap().len(), 32);
    assert_eq!(done["output"]["files"], 0);
    worker.next();
    assert!(!Path::new(done["output"]["at"].as_str().unwrap()).exists(), "the directory is gone");
}

/// promise: Tasks | The command of a task that is done once checks its token right before its effect
#[test]
fn a_command_checks_its_token_before_its_effect() {
    let home = Home::new();
    let _node = home.up();
    let program = env!("CARGO_BIN_EXE_nexus-node");
    let data = home.path();
    let script = format!(
        "\"{program}\" --data-dir \"{}\" fence check \"$NEXUS_LOCK\" \"$NEXUS_LOCK_TOKEN\" >/dev/null && echo true",
        data.display()
    );
    let _worker = Worker::start(&home, &["--capability", "pay", "--", "sh", "-c", &script]);
    let done = home.json(&["task", "submit", "pay", "--once", "--wait"]);
    assert_eq!((&done["output"], &done["once"], &done["claims"]), (&json!(true), &json!(true), &json!(1)), "{done}");
    // a task that may be repeated has no lock
    let other = home.run(&["task", "submit", "pay", "--attempts", "1", "--wait", "--json"]);
    assert_eq!(other.code, 1, "{other:?}");
    let (me, id) = (done["submitter"].as_str().unwrap(), done["id"].as_str().unwrap());
    let key = format!("own/{me}/begun/{me}/{id}");
    let kept = home.json(&["kv", "get", &key]);
    assert_eq!(kept["value"], "succeeded");
}

/// promise: Tasks | A task that is done once is not tried again after its worker was killed: it ends as unknown
#[test]
fn a_task_that_is_done_once_is_not_repeated_after_a_kill() {
    let home = Home::new();
    let _node = home.up();
    let effects = home.beside("effects");
    let script = format!("echo \"$NEXUS_TASK_ID\" >>'{}'; sleep 600", effects.display());
    let options = ["--capability", "pay", "--", "sh", "-c", &script];
    let mut first = Worker::start(&home, &options);
    let id = submit(&home, &["pay", "--once"]);
    until("it has begun", || std::fs::read_to_string(&effects).is_ok_and(|text| text.contains('\n')).then_some(()));
    first.child.kill().unwrap();
    let _second = Worker::start(&home, &options);
    let ended = ended(&home, &id);
    assert_eq!((&ended["state"], &ended["claims"]), (&json!("unknown"), &json!(1)), "{ended}");
    let waited = home.run(&["task", "show", &id]).ok();
    assert!(waited.stdout.contains("may or may not have run"), "{waited:?}");
    assert_eq!(std::fs::read_to_string(&effects).unwrap().lines().count(), 1);
}

/// promise: Tasks | A command that fails is an attempt that failed, with its exit code and the end of its stderr
#[test]
fn a_command_that_fails_is_tried_again_and_its_words_are_kept() {
    let home = Home::new();
    let _node = home.up();
    let script = "read -r what; case \"$what\" in
        '\"no\"') head -c 5000 /dev/zero | tr '\\0' x >&2; printf '\\377 no luck\\n' >&2; exit 3;;
        '\"kill\"') kill -9 $$;;
        '\"large\"') head -c 5000000 /dev/zero | tr '\\0' x;;
        '\"endless\"') head -c 90000000 /dev/zero | tr '\\0' x;;
        '\"bytes\"') printf '\\000\\033[2Ja';;
        '\"again\"') [ \"$NEXUS_TASK_ATTEMPT\" = 2 ];;
    esac";
    let worker = Worker::start(&home, &["--capability", "try", "--", "sh", "-c", script]);
    let tried = |input: &str, attempts: &str| {
        let ran = home.run(&["task", "submit", "try", "--input", input, "--attempts", attempts, "--wait", "--json"]);
        let task: Value = serde_json::from_str(&ran.stdout).unwrap();
        (ran, task)
    };
    let (ran, task) = tried("\"no\"", "2");
    assert_eq!((ran.code, &task["state"], &task["error"]["code"]), (1, &json!("failed"), &json!("exit_3")), "{ran:?}");
    let message = task["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("\u{fffd} no luck") && (1_900..=2_048).contains(&message.len()), "{message}");
    assert_eq!(task["claims"], 2);
    assert_eq!(events(&task), ["submitted", "claimed", "failed", "claimed", "failed"]);
    assert!(ran.stderr.contains("\"code\":\"failed\"") && ran.stderr.contains("task show"), "{ran:?}");
    assert_eq!((worker.next()["result"].clone(), worker.next()["attempt"].clone()), (json!("failed"), json!(2)));

    let (ran, task) = tried("\"kill\"", "1");
    assert_eq!((ran.code, &task["error"]["code"]), (1, &json!("signal_9")));
    let (ran, task) = tried("\"large\"", "1");
    assert_eq!((ran.code, &task["error"]["code"]), (1, &json!("output_too_large")));
    let (ran, task) = tried("\"endless\"", "1");
    assert_eq!((ran.code, &task["error"]["code"]), (1, &json!("output_too_large")));
    let (ran, task) = tried("\"again\"", "3");
    assert_eq!((ran.code, &task["output"], &task["failures"]), (0, &Value::Null, &json!(1)), "{task}");

    // control characters reach no terminal
    let (ran, task) = tried("\"bytes\"", "1");
    assert_eq!((ran.code, &task["output"]), (0, &json!("\0\u{1b}[2Ja")));
    for command in [&["task", "show", task["id"].as_str().unwrap()][..], &["task", "list"]] {
        let shown = home.run(command).ok().stdout;
        assert!(!shown.contains(['\0', '\u{1b}']), "{shown:?}");
    }
    let shown = home.run(&["task", "submit", "try", "--input", "\"bytes\"", "--wait"]).ok().stdout;
    assert_eq!(shown, "\\u{0}\\u{1b}[2Ja\n");

    // a task that has ended is submitted once more
    let failed = home.json(&["task", "list", "--state", "failed", "--limit", "1"])["items"][0]["id"].clone();
    let again = home.json(&["task", "retry", failed.as_str().unwrap()]);
    assert_eq!((&again["retry_of"], &again["input"]), (&failed, &json!("endless")));
    assert_eq!(ended(&home, again["id"].as_str().unwrap())["error"]["code"], "output_too_large");
}

/// promise: Tasks | `task submit --wait` says at once why no worker has the task, then who has it and how far it is, and after a failure the last lines of stderr, each once
#[test]
fn whoever_waits_is_told_what_becomes_of_the_task() {
    let home = Home::new();
    let _node = home.up_with(&["--name", "laptop"]);
    let (news, go) = (home.beside("news"), home.beside("go"));
    let arguments = ["task", "submit", "fail", "--attempts", "1", "--wait"];
    let stderr = std::fs::File::create(&news).unwrap();
    let child = home.command(&arguments).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    let told = |what: &str| {
        until(what, || std::fs::read_to_string(&news).ok().filter(|said| said.contains(what)));
    };
    told("pending: no worker for fail waits\n");
    let script = r#"echo "nexus:progress 40 half" >&2; until [ -e "$1" ]; do sleep 0.05; done
        for n in $(seq 30); do echo "line $n" >&2; done
        printf 'bad \033[2J\nValueError: no\n  <no Python frame>\n' >&2; exit 3"#;
    let options = ["--capability", "fail", "--name", "parrot", "--", "sh", "-c", script, "sh", go.to_str().unwrap()];
    let worker = Worker::start(&home, &options);
    told("running: parrot at laptop\n");
    told("parrot at laptop: 40 % half\n");
    std::fs::write(&go, "").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = std::fs::read_to_string(&news).unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()), "{said}");
    let end = "line 30\nbad \\u{1b}[2J\nValueError: no\nerror: the task ";
    assert!(said.contains(end) && said.contains("has failed: exit_3\n"), "{said}");
    for once in ["line 13\n", "ValueError: no", "no worker for fail", "40 % half"] {
        assert_eq!(said.matches(once).count(), 1, "{once}: {said}");
    }
    assert!(!said.contains("line 12\n") && !said.contains("Python frame") && !said.contains("\\u{a}"), "{said}");
    let line = worker.next();
    assert!(line["error"]["message"].as_str().unwrap().ends_with("\nValueError: no"), "{line}");
    let listed = home.run(&["task", "list"]).ok().stdout;
    assert!(listed.contains("exit_3: ValueError: no"), "{listed}");
}

/// promise: Tasks | `task log` shows the stderr of a running task, also on another machine, and of one that has ended; with `--follow` it goes on to the end
#[test]
fn the_stderr_of_a_task_is_read_while_it_runs_on_any_machine() {
    let ((laptop, at_laptop), (cloud, _b)) = pair();
    let go = laptop.beside("go");
    let script = r#"echo "first ü" >&2; until [ -e "$1" ]; do sleep 0.05; done; printf 'last\033[2J' >&2; exit 3"#;
    let id = submit(&laptop, &["work", "--attempts", "1"]);
    assert_eq!(laptop.json(&["task", "list"])["items"][0]["state"], "pending");
    let none = laptop.run(&["task", "log", &id]).ok();
    assert!(none.stdout.is_empty() && none.stderr.contains("no log of it is kept"), "{none:?}");
    let _worker =
        Worker::start(&cloud, &["--capability", "work", "--", "sh", "-c", script, "sh", go.to_str().unwrap()]);
    for home in [&cloud, &laptop] {
        until("it has written something", || {
            let ran = home.run(&["task", "log", &id]);
            (ran.code == 0 && ran.stdout == "first ü\n").then_some(())
        });
    }
    let follow = beside(&laptop, &["task", "log", &id, "--follow"]);
    std::fs::write(&go, "").unwrap();
    let output = follow.join().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), "first ü\nlast\\u{1b}[2J"),
        "{output:?}"
    );
    ended(&laptop, &id);
    let log = at_laptop.http("GET", &format!("/v1/tasks/{id}/log"), "").json();
    assert_eq!((&log["text"], &log["open"]), (&json!("first ü\nlast\u{1b}[2J"), &json!(false)), "{log}");
    assert_eq!((&log["attempt"], &log["worker"]["name"]), (&json!(1), &json!("cloud")), "{log}");
    let next = log["next"].as_u64().unwrap();
    let rest = at_laptop.http("GET", &format!("/v1/tasks/{id}/log?attempt=1&from={next}"), "").json();
    assert_eq!((&rest["text"], &rest["from"], &rest["next"]), (&json!(""), &json!(next), &json!(next)), "{rest}");
}

/// promise: Tasks | A worker that rests says so on its stderr, in `agents`, and in the `why` of the tasks that wait for it
#[test]
fn a_worker_that_rests_says_so() {
    let home = Home::new();
    let _node = home.up_with(&["--name", "laptop"]);
    let worker = Worker::start(&home, &["--capability", "fail", "--", "sh", "-c", "echo no >&2; exit 3"]);
    for _ in 0..8 {
        let ran = home.run(&["task", "submit", "fail", "--attempts", "1", "--wait"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        worker.next();
    }
    until("the worker says so", || worker.said().contains("this worker rests from fail until ").then_some(()));
    let agents = home.json(&["agents"]);
    let agent = &agents.as_array().unwrap()[0];
    assert_eq!((&agent["health"], &agent["rest"]["failures"]), (&json!("failing"), &json!(8)), "{agents}");
    let until_then = agent["rest"]["until"].as_str().unwrap();
    assert!(home.run(&["agents"]).ok().stdout.contains("rests until"));
    let id = submit(&home, &["fail"]);
    let task = home.json(&["task", "show", &id, "--why"]);
    let why = task["why"].as_str().unwrap();
    assert!(why.starts_with("laptop's worker rests until ") && why.ends_with("after 8 failures"), "{why}");
    assert!(task["candidates"][0]["why_not"].as_str().unwrap().starts_with("it rests until "), "{task}");
    parse_timestamp(until_then).unwrap();
}

/// promise: Tasks | `task submit --wait` exits by the end: 0 done, 1 failed or cancelled, 4 rejected, 8 at its deadline
#[test]
fn whoever_waits_for_a_task_exits_by_its_end() {
    let ((laptop, _a), (cloud, _b)) = pair();
    let late = beside(&laptop, &["task", "submit", "nobody", "--deadline", "1s", "--wait", "--json"]);
    let cancelled = beside(&laptop, &["task", "submit", "cancel", "--wait", "--json"]);
    let rejected = beside(&cloud, &["task", "submit", "reject", "--approved-by", "other", "--wait", "--json"]);
    let approved = beside(&cloud, &["task", "submit", "approve", "--approved-by", "other", "--wait", "--json"]);
    let found = |home: &Home, capability: &str| {
        until("the task is here", || {
            let page = home.json(&["task", "list"]);
            let items = page["items"].as_array().unwrap();
            let task = items.iter().find(|task| task["capability"] == capability)?;
            Some((task["id"].as_str().unwrap().to_owned(), task["state"].as_str().unwrap().to_owned()))
        })
    };
    let (id, _) = found(&laptop, "cancel");
    let task = laptop.json(&["task", "cancel", &id, "--why", "no longer needed"]);
    assert_eq!(task["state"], "cancelled", "{task}");
    let (code, error) = laptop.error(&["task", "cancel", &id]);
    assert_eq!((code, &error["code"]), (7, &json!("conflict")), "{error}");

    // its submitter, and whom it admitted, approve nothing
    let (id, seen) = found(&cloud, "reject");
    assert_eq!(seen, "awaiting_approval");
    assert_eq!(cloud.approve(&id).problem(), "refused");
    let (id, _) = found(&laptop, "reject");
    laptop.json(&["task", "reject", &id, "--why", "too expensive"]);
    let (id, _) = found(&laptop, "approve");
    assert_eq!(laptop.approve(&id).status, 200);
    let worker = Worker::start(&cloud, &["--capability", "approve", "--", "echo", "done"]);

    for (waited, code, state, word) in [
        (late, 8, "failed", "deadline"),
        (cancelled, 1, "cancelled", "no longer needed"),
        (rejected, 4, "rejected", "too expensive"),
        (approved, 0, "succeeded", "done"),
    ] {
        let output = waited.join().unwrap();
        let task: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &task["state"]), (Some(code), &json!(state)), "{task}");
        assert!(text(&output.stdout).contains(word), "{task}");
        assert_eq!(text(&output.stderr).is_empty(), code == 0, "{output:?}");
    }
    assert_eq!(worker.next()["result"], "succeeded");
}

/// promise: Tasks | A task that is cancelled ends its command and all that the command began
#[test]
fn a_cancelled_task_ends_its_command_and_all_that_it_began() {
    let home = Home::new();
    let _node = home.up();
    let pids = home.beside("pids");
    let command = ["--capability", "long", "--", "sh", "-c", LONG, "sh", pids.to_str().unwrap()];
    let worker = Worker::start(&home, &command);
    let id = submit(&home, &["long"]);
    let began = numbers(&pids, 2);
    assert!(began.iter().all(|pid| runs(*pid)));
    let progress =
        until("it says how far it is", || Some(show(&home, &id)["progress"].clone()).filter(Value::is_object));
    assert_eq!(progress, json!({"percent": 40, "text": "begun"}));
    assert_eq!(state(&home, &id), "running");
    assert!(home.run(&["task", "list"]).ok().stdout.contains("40 % begun"));

    assert_eq!(home.json(&["task", "cancel", &id])["state"], "cancelled");
    let line = worker.next();
    assert_eq!((&line["id"], &line["result"]), (&json!(id), &json!("lost")), "{line}");
    until("all have ended", || began.iter().all(|pid| !runs(*pid)).then_some(()));

    // a command that does not obey is killed after a while
    std::fs::remove_file(&pids).unwrap();
    let deaf = format!("trap '' TERM; {LONG}; while :; do sleep 1; done");
    let deaf = Worker::start(&home, &["--capability", "deaf", "--", "sh", "-c", &deaf, "sh", pids.to_str().unwrap()]);
    let id = submit(&home, &["deaf"]);
    let began = numbers(&pids, 2);
    home.json(&["task", "cancel", &id]);
    assert_eq!(deaf.next()["result"], "lost");
    until("all have ended", || began.iter().all(|pid| !runs(*pid)).then_some(()));
}

/// promise: Tasks | A worker that is killed loses its task within two seconds, and another one does it
#[test]
fn another_worker_does_the_task_of_one_that_was_killed() {
    let home = Home::new();
    let _node = home.up();
    let pids = home.beside("pids");
    let command = ["--capability", "work", "--", "sh", "-c", LONG, "sh", pids.to_str().unwrap()];
    let mut first = Worker::start(&home, &command);
    let id = submit(&home, &["work", "--input", "7"]);
    let began = numbers(&pids, 2);
    // its connection stands
    until("it says how far it is", || show(&home, &id)["progress"].is_object().then_some(()));
    let second = Worker::start(&home, &["--capability", "work", "--name", "second", "--", "cat"]);
    waiting(&home, 1);

    let killed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert_eq!(second.next()["result"], "succeeded");
    let task = ended(&home, &id);
    assert_eq!((&task["output"], &task["assigned_to"]["agent"]), (&json!(7), &json!("second")), "{task}");
    assert_eq!(events(&task), ["submitted", "claimed", "expired", "claimed", "succeeded"]);
    let noticed = parse_timestamp(event(&task, "expired")["at"].as_str().unwrap()).unwrap();
    let after = u128::from(noticed.as_ms()).saturating_sub(killed);
    assert!(after < 2_000, "noticed after {after} ms");
    // the command of a killed worker goes on
    began.iter().for_each(|pid| send(*pid, "-KILL"));
}

/// promise: Tasks | A worker that is told to stop ends its commands, gives their tasks back untried, and exits with 0
#[test]
fn a_worker_that_is_told_to_stop_gives_its_tasks_back() {
    let home = Home::new();
    let _node = home.up();
    let pids = home.beside("pids");
    let command = ["--capability", "work", "--", "sh", "-c", LONG, "sh", pids.to_str().unwrap()];
    for signal in ["-TERM", "-INT"] {
        let mut worker = Worker::start(&home, &command);
        let id = submit(&home, &["work"]);
        let began = numbers(&pids, 2);
        worker.signal(signal);
        assert_eq!(worker.next()["result"], "released");
        assert_eq!(worker.ended().code(), Some(0), "{}", worker.said());
        until("all have ended", || began.iter().all(|pid| !runs(*pid)).then_some(()));
        let task = show(&home, &id);
        assert_eq!((&task["state"], &task["failures"]), (&json!("pending"), &json!(0)), "{task}");
        assert_eq!(events(&task), ["submitted", "claimed", "released"]);
        home.json(&["task", "cancel", &id]);
        std::fs::remove_file(&pids).unwrap();
    }
    // a worker without a task has nothing to give back
    let mut idle = Worker::start(&home, &command);
    waiting(&home, 1);
    idle.signal("-TERM");
    assert_eq!(idle.ended().code(), Some(0));
    waiting(&home, 0);

    // nobody reads its lines any more: it ends in order
    let mut pipe = home.command(&[&["worker"][..], HOWEVER_BUSY, &["--capability", "other", "--", "true"]].concat());
    let mut pipe = Watching(pipe.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    drop(pipe.0.stdout.take());
    home.json(&["task", "submit", "other", "--wait"]);
    assert_eq!(until("the worker ends", || pipe.0.try_wait().unwrap()).code(), Some(1));

    // a command that cannot begin is no fault of the task
    let id = submit(&home, &["work"]);
    let mut unfit = Worker::start(&home, &["--capability", "work", "--", "/no/such/program"]);
    assert_eq!(unfit.ended().code(), Some(1));
    assert!(unfit.said().contains("/no/such/program"), "{}", unfit.said());
    assert_eq!(events(&show(&home, &id)), ["submitted", "claimed", "released"]);
}

/// promise: Tasks | A worker outlives the restart of its node, and its result arrives, also one from meanwhile
#[test]
fn a_result_arrives_although_its_node_was_killed_meanwhile() {
    let home = Home::new();
    let mut node = home.up();
    let (go, done) = (home.beside("go"), home.beside("done"));
    let script = r#"until [ -e "$1" ]; do sleep 0.05; done; echo '"done"'; touch "$2""#;
    let paths = [go.to_str().unwrap(), done.to_str().unwrap()];
    let worker = Worker::start(&home, &["--capability", "work", "--", "sh", "-c", script, "sh", paths[0], paths[1]]);
    for (killed, while_away) in [(true, true), (true, false), (false, false)] {
        let id = submit(&home, &["work"]);
        until("it is worked on", || (state(&home, &id) == "running").then_some(()));
        if killed {
            node.kill_9();
        } else {
            node.terminate();
        }
        if while_away {
            std::fs::write(&go, "").unwrap();
            until("the command has ended", || done.exists().then_some(()));
        }
        node = home.up();
        std::fs::write(&go, "").unwrap();
        let line = worker.next();
        assert_eq!((&line["id"], &line["result"]), (&json!(id), &json!("succeeded")), "{line}: {}", worker.said());
        let task = show(&home, &id);
        assert_eq!((&task["output"], &task["claims"]), (&json!("done"), &json!(1)), "{task}");
        std::fs::remove_file(&go).unwrap();
        std::fs::remove_file(&done).unwrap();
    }
    assert_eq!(worker.said().matches("warning:").count(), 3, "said once each: {}", worker.said());
    drop(node);
}

/// promise: Tasks | A worker whose node is away ends its command once its lease has passed
#[test]
fn a_command_ends_once_its_lease_has_passed_without_a_renewal() {
    let home = Home::new();
    let node = home.up();
    let pids = home.beside("pids");
    let command = ["--capability", "work", "--lease", "2s", "--", "sh", "-c", LONG, "sh", pids.to_str().unwrap()];
    let worker = Worker::start(&home, &command);
    submit(&home, &["work"]);
    let began = numbers(&pids, 2);
    node.kill_9();
    let line = worker.next();
    assert_eq!(line["result"], "lost", "{line}");
    assert!(line["error"]["message"].as_str().unwrap().contains("2s"), "{line}");
    until("all have ended", || began.iter().all(|pid| !runs(*pid)).then_some(()));
}

/// promise: Tasks | `worker --concurrency N` does N tasks at a time, and takes no more
#[test]
fn a_worker_does_as_many_tasks_at_a_time_as_it_may() {
    let home = Home::new();
    let _node = home.up();
    let meeting = home.beside("meeting");
    std::fs::create_dir(&meeting).unwrap();
    // each waits for the other
    let script = r#"touch "$1/$NEXUS_TASK_ID"; until [ "$(ls "$1" | wc -l)" -ge 2 ]; do sleep 0.05; done"#;
    let place = meeting.to_str().unwrap();
    let options = ["--capability", "meet", "--concurrency", "2", "--", "sh", "-c", script, "sh", place];
    let worker = Worker::start(&home, &options);
    let both = [submit(&home, &["meet"]), submit(&home, &["meet"])];
    assert_eq!(
        (worker.next()["result"].clone(), worker.next()["result"].clone()),
        (json!("succeeded"), json!("succeeded"))
    );
    both.iter().for_each(|id| drop(ended(&home, id)));

    let pids = home.beside("pids");
    let full = ["--capability", "one", "--", "sh", "-c", LONG, "sh", pids.to_str().unwrap()];
    let _full = Worker::start(&home, &full);
    submit(&home, &["one"]);
    numbers(&pids, 2);
    let second = submit(&home, &["one"]);
    assert_eq!(state(&home, &second), "pending");
    let agents = home.json(&["agents"]);
    assert_eq!(agents[0]["running"], 1, "{agents}");
    let why = show(&home, &second)["why"].as_str().unwrap().to_owned();
    assert!(why.contains("no worker for one"), "{why}");
}

/// promise: Tasks | A worker that confines its command less than a task asks does not run it; capabilities that the settings name wait for an approval
#[test]
fn a_task_asks_for_a_sandbox_and_settings_ask_for_an_approval() {
    let home = Home::new();
    home.json(&["init", "--name", "laptop"]);
    std::fs::write(home.path().join("config.toml"), "task_approval = [\"deploy\", \"pay/*\"]\n").unwrap();
    let _node = home.up();
    let file = home.beside("begun");
    let command =
        ["--capability", "echo", "--preset", "ide", "--cpu-max", "100", "--", "touch", file.to_str().unwrap()];
    let worker = Worker::start(&home, &command);
    let id = submit(&home, &["echo", "--sandbox", "kernel", "--attempts", "1"]);
    let failed = ended(&home, &id);
    assert_eq!((&failed["state"], &failed["error"]["code"]), (&json!("failed"), &json!("sandbox")), "{failed}");
    assert_eq!((&failed["sandbox"], &worker.next()["error"]["code"]), (&json!("kernel"), &json!("sandbox")));
    assert!(!file.exists());
    for (capability, state) in [("deploy", "awaiting_approval"), ("pay/now", "awaiting_approval"), ("pay", "pending")] {
        let task = home.json(&["task", "submit", capability]);
        assert_eq!((&task["state"], &task["needs_approval"]), (&json!(state), &json!(state != "pending")), "{task}");
    }
    let bad = home.run(&["task", "submit", "echo", "--sandbox", "strong"]);
    assert_eq!(bad.code, 2, "{}", bad.stderr);
}

/// promise: Tasks | A program that submits the same request twice has one task; a token that no longer counts is a conflict
#[test]
fn a_request_is_one_task_and_an_old_token_is_refused() {
    let home = Home::new();
    let node = home.up();
    let id = submit(&home, &["a", "--request", "june", "--input", "1"]);
    assert_eq!(submit(&home, &["a", "--request", "june", "--input", "1"]), id);
    assert_ne!(submit(&home, &["a", "--request", "july", "--input", "1"]), id);
    assert_eq!(home.json(&["task", "list"])["items"].as_array().unwrap().len(), 2);

    let ask = |verb: &str, body: Value| node.http("POST", &format!("/v1/tasks/{verb}"), &body.to_string());
    let claim = json!({"capabilities": ["a"], "wait": "10s"});
    let claimed = ask("claim", claim.clone()).json();
    assert_eq!(
        (&claimed["task"]["id"], &claimed["attempt"], &claimed["lease_ms"]),
        (&json!(id), &json!(1), &json!(30_000))
    );
    let old = claimed["token"].clone();
    assert_eq!(ask(&format!("{id}/finish"), json!({"token": old, "release": true})).json()["state"], "pending");
    let claimed = ask("claim", claim).json();
    let token = claimed["token"].clone();
    assert_eq!((&claimed["task"]["id"], &claimed["attempt"]), (&json!(id), &json!(2)), "{claimed}");
    let renewed = ask(&format!("{id}/renew"), json!({"token": token, "percent": 1})).json();
    assert!(renewed["left_ms"].as_u64().unwrap() > 290_000, "{renewed}");
    for (verb, body) in [
        ("renew", json!({"token": old})),
        ("renew", json!({"token": old, "wait": "10s"})),
        ("finish", json!({"token": old, "error": {"message": "no"}})),
        ("finish", json!({"token": old, "output": 1})),
    ] {
        let answer = ask(&format!("{id}/{verb}"), body);
        assert_eq!((answer.status, answer.problem().as_str()), (409, "conflict"), "{verb}");
    }
    let done = ask(&format!("{id}/finish"), json!({"token": token, "output": 2})).json();
    assert_eq!((&done["state"], &done["output"]), (&json!("succeeded"), &json!(2)));
    assert_eq!(ask(&format!("{id}/renew"), json!({"token": token})).problem(), "conflict");
    assert_eq!(ask("claim", json!({"capabilities": ["b"], "wait": "0s"})).status, 204);
}

/// promise: Tasks | `task watch ID` tells of each change of a task, and ends with it
#[test]
fn a_task_is_followed_to_its_end() {
    let home = Home::new();
    let node = home.up();
    let id = submit(&home, &["a"]);
    let watching = beside(&home, &["task", "watch", &id, "--json"]);
    let all = home.command(&["task", "watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut all = Watching(all);
    let mut lines = BufReader::new(all.0.stdout.take().unwrap()).lines();
    // it has begun once it tells of something
    let told = until("the watch tells of a task", || {
        submit(&home, &["other"]);
        node.http("POST", "/v1/tasks/claim", "{\"capabilities\":[\"other\"],\"wait\":\"0s\"}");
        lines.next()
    });
    assert!(serde_json::from_str::<Value>(&told.unwrap()).unwrap()["state"].is_string());
    let worker = Worker::start(&home, &["--capability", "a", "--", "true"]);
    assert_eq!(worker.next()["result"], "succeeded");
    let output = watching.join().unwrap();
    assert!(output.status.success());
    let states: Vec<String> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((states.first().unwrap().as_str(), states.last().unwrap().as_str()), ("pending", "succeeded"));
    // of one that has ended, its end
    let again = home.run(&["task", "watch", &id]).ok().stdout;
    assert_eq!(again.lines().count(), 1, "{again}");
    let events = node.http("GET", &format!("/v1/tasks/events?task={id}"), "");
    assert!(events.head.contains("text/event-stream") && events.body.contains("event: succeeded"), "{events:?}");
}

/// A command that ends with the test.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// promise: Bad input | Tasks, claims and results that break a rule, on the command line and over HTTP
#[test]
fn bad_input_is_refused_in_words_and_changes_nothing() {
    let home = Home::new();
    let node = home.up();
    let large = format!("\"{}\"", "x".repeat(5 << 20));
    let file = home.beside("large.json");
    std::fs::write(&file, &large).unwrap();
    let at_file = format!("@{}", file.display());
    let long = "x".repeat(129);
    for (arguments, code) in [
        (&["No Capital"][..], "invalid"),
        (&[""], "invalid"),
        (&["a", "--input", "{"], "invalid"),
        (&["a", "--input", "@/no/such/file"], "invalid"),
        (&["a", "--input", &at_file], "invalid"),
        (&["a", "--timeout", "0s"], "invalid"),
        (&["a", "--timeout", "8d"], "invalid"),
        (&["a", "--request", &long], "invalid"),
        (&["a", "--timeout=-5s"], "usage"),
        (&["a", "--timeout", "soon"], "usage"),
        (&["a", "--deadline=-1h"], "usage"),
        (&["a", "--deadline", "tomorrow"], "usage"),
        (&["a", "--attempts", "0"], "usage"),
        (&["a", "--attempts", "101"], "usage"),
        (&["a", "--priority", "first"], "usage"),
        (&["a", "--never"], "usage"),
    ] {
        let (exit, error) = home.error(&[&["task", "submit"], arguments].concat());
        assert_eq!((exit, error["code"].as_str()), (2, Some(code)), "{arguments:?}: {error}");
        assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{arguments:?}: {error}");
    }
    for arguments in [&["a", "--to", "nobody"][..], &["a", "--space", "nowhere"]] {
        let (exit, error) = home.error(&[&["task", "submit"], arguments].concat());
        assert_eq!((exit, error["code"].as_str()), (5, Some("not_found")), "{error}");
    }
    for verb in ["show", "cancel", "retry", "watch"] {
        let (exit, error) = home.error(&["task", verb, "aaaaaaaaaaaaaaaaaaaaaaaa"]);
        assert_eq!((exit, error["code"].as_str()), (5, Some("not_found")), "{verb}: {error}");
        assert!(error["hint"].as_str().unwrap().contains("task list"), "{error}");
    }
    assert_eq!(home.error(&["task", "reject", "aaaa"]).0, 2, "a rejection has a reason");
    assert_eq!(home.error(&["task", "list", "--state", "done"]).0, 2);
    for options in [&["--lease", "10ms"][..], &["--lease", "8d"], &["--concurrency", "0"]] {
        let ran = home.run(&[&["worker", "--json", "--capability", "a"], options, &["--", "true"]].concat());
        assert_eq!(ran.code, 2, "{ran:?}");
        ran.error();
    }
    let ran = home.run(&["worker", "--json", "--capability", "A B", "--", "true"]);
    assert_eq!((ran.code, &ran.error()["code"]), (2, &json!("invalid")));
    assert_eq!(home.error(&["worker", "--capability", "a"]).0, 2, "there is no command");
    assert_eq!(home.json(&["task", "list"])["items"], json!([]));

    let many: Vec<String> = (0..65).map(|n| format!("c{n}")).collect();
    let token = "0".repeat(32);
    for (path, body, status) in [
        ("tasks", "{", 400),
        ("tasks", "[]", 422),
        ("tasks", "{}", 422),
        ("tasks", "{\"capability\":\"a\",\"timeout\":-5}", 422),
        ("tasks", "{\"capability\":\"a\",\"timeout\":\"-5s\"}", 422),
        ("tasks", "{\"capability\":\"a\",\"attempts\":-1}", 422),
        ("tasks", "{\"capability\":\"a\",\"attempts\":0}", 422),
        ("tasks", "{\"capability\":\"a\",\"never\":true}", 422),
        ("tasks", "{\"capability\":\"a\",\"priority\":\"first\"}", 422),
        ("tasks/claim", "{}", 422),
        ("tasks/claim", "{\"capabilities\":[]}", 422),
        ("tasks/claim", "{\"capabilities\":[\"A\"]}", 422),
        ("tasks/claim", &json!({"capabilities": many}).to_string(), 422),
        ("tasks/claim", "{\"capabilities\":[\"a\"],\"lease\":\"10ms\"}", 422),
        ("tasks/claim", "{\"capabilities\":[\"a\"],\"from\":[\"nobody\"]}", 404),
        ("tasks/aaaa/finish", "{\"token\":\"x\"}", 422),
        ("tasks/aaaa/finish", &json!({"token": token, "output": 1, "release": true}).to_string(), 422),
        ("tasks/aaaa/finish", &json!({"token": token, "error": {}}).to_string(), 422),
        ("tasks/aaaa/renew", &json!({"token": token, "percent": 300}).to_string(), 422),
        ("tasks/aaaa/renew", &json!({"token": token}).to_string(), 404),
    ] {
        let answer = node.http("POST", &format!("/v1/{path}"), body);
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
        answer.problem();
    }
    for (path, status) in [
        ("tasks?state=done", 422),
        ("tasks?limit=0", 422),
        ("tasks?limit=1001", 422),
        ("tasks?after=zz", 422),
        ("tasks?more=1", 422),
        ("tasks/aaaa?wait=soon", 422),
        ("tasks/aaaa?wait=1s", 404),
        ("tasks/events?task=aaaa", 404),
        ("tasks/events?colour=1", 422),
    ] {
        let answer = node.http("GET", &format!("/v1/{path}"), "");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    let host = node.address();
    for (method, path) in
        [("POST", "/v1/tasks"), ("POST", "/v1/tasks/claim"), ("GET", "/v1/tasks"), ("GET", "/v1/agents")]
    {
        let answer = node.raw(method, path, &[("Host", &host)], b"{\"capabilities\":[\"a\"],\"capability\":\"a\"}");
        assert_eq!(answer.problem(), "unauthorized", "{method} {path}");
    }
    // work for a worker at its bounds is taken
    let whole = format!("\"{}\"", "x".repeat((4 << 20) - 2));
    let worker = Worker::start(&home, &["--capability", "echo", "--", "cat"]);
    let done = home.run_with(&["task", "submit", "echo", "--input", "-", "--wait", "--json"], whole.as_bytes()).json();
    assert_eq!(done["output"].as_str().unwrap().len(), (4 << 20) - 2);
    let id = done["id"].as_str().unwrap();
    let shown = home.run(&["task", "show", id]).ok().stdout;
    assert!(shown.contains(" MB in a blob; --whole shows it)") && shown.len() < 4_000, "{shown}");
    let shown = home.json(&["task", "show", id]);
    assert_eq!(shown["output"]["bytes"], 4 << 20);
    let hash = shown["output"]["$blob"].as_str().unwrap();
    assert_eq!(home.json(&["task", "show", "--whole", id])["output"], done["output"]);
    assert_eq!(home.run(&["blob", "get", hash, "-o", "-"]).ok().stdout, whole);
    assert_eq!(worker.next()["result"], "succeeded");
}

/// promise: Tasks | Ten lines of Python are a worker
#[test]
fn the_worker_in_python_works() {
    let home = Home::new();
    let node = home.up();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/worker.py");
    let mut python = Command::new("python3");
    python.arg(program).env("NEXUS_API", node.text("api")).env("NEXUS_TOKEN", node.token()).stdin(Stdio::null());
    let Ok(python) = python.spawn() else { return };
    let _worker = Watching(python);
    let done = home.json(&["task", "submit", "upper", "--input", "\"two words\"", "--wait"]);
    assert_eq!((&done["output"], &done["assigned_to"]["agent"]), (&json!("TWO WORDS"), &json!("worker.py")));
}
