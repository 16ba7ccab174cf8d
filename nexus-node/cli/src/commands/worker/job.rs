//! The command of an attempt: its process group, its pipes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use nexus_client::wire;
use nexus_crdt::{JsonText, TASK_ATTACHMENT_BYTES_MAX, TASK_ERROR_BYTES_MAX};
use nexus_node::api::Problem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::workplace::{Permits, Prepared, Wardens, Workplace, unfit};
use crate::output::Printer;
#[cfg(target_os = "linux")]
use crate::sandbox::Heard;
use crate::signals::{Forwarded, send};
#[cfg(unix)]
use crate::signals::{group_lives, send_to};
use crate::task_directory::TaskDirectory;

/// The time of a command to end by itself once it is told to.
const GRACE: Duration = Duration::from_secs(5);
/// The time between two looks at its process group.
const LOOK: Duration = Duration::from_millis(20);
/// The longest time for the rest of the pipes once the command has ended.
const PIPES: Duration = Duration::from_secs(2);
/// The time of a warden to kill what its command began.
const SWEEP: Duration = Duration::from_secs(2);
/// The most bytes of a stdout that are kept. JSON may be spaced out there.
const STDOUT_BYTES_MAX: usize = 2 * TASK_ATTACHMENT_BYTES_MAX;
/// The most bytes that are read at once.
const CHUNK: usize = 8 << 10;
/// The most bytes of stderr that wait to be handed on, and of one part.
const LOG_BYTES_MAX: usize = 64 << 10;
const LOG_PART_BYTES_MAX: usize = 16 << 10;
/// The longest line that is looked at for progress, in bytes.
const LINE_BYTES_MAX: usize = 1 << 10;
/// The beginning of a line about progress.
const PROGRESS: &str = "nexus:progress";

/// A command that runs.
pub(super) struct Job {
    child: Child,
    /// Whether the child is a warden, which passes signals on.
    is_guarded: bool,
    /// The words of the warden.
    #[cfg(target_os = "linux")]
    heard: Option<Heard>,
    wardens: Arc<Wardens>,
    /// The child's number among them.
    number: Option<u32>,
    /// The number of its process group.
    #[cfg(unix)]
    group: Option<u32>,
    pipes: Vec<JoinHandle<()>>,
    stdout: Arc<Mutex<Output>>,
    stderr: Arc<Mutex<Said>>,
    progress: watch::Receiver<wire::TaskProgress>,
    /// Told whenever there is more on stderr.
    said: watch::Receiver<()>,
    /// The permissions of the sandbox; `None` without one.
    permits: Option<Permits>,
    /// The most bytes of stdout or stderr, and the news that there were more.
    output_max: Option<u64>,
    over: Arc<Notify>,
    /// Goes with the job.
    directory: TaskDirectory,
    printer: Printer,
}

/// The end of a command.
pub(super) enum JobEnd {
    /// It ended well, with this output.
    Succeeded(JsonText),
    /// It failed.
    Failed(wire::TaskError),
}

/// The bytes of a stdout so far.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    /// There were more than an output may have.
    more: bool,
}

/// A stderr so far, without lines about progress.
#[derive(Default)]
struct Said {
    /// Its end.
    kept: Vec<u8>,
    /// Whether there was more before it.
    is_cut: bool,
    line: Vec<u8>,
    /// The part that was not handed on yet, as text, and the bytes before it.
    log: String,
    log_from: u64,
}

/// The stderr of a command, to be handed on while it runs.
pub(super) struct Log {
    said: Arc<Mutex<Said>>,
    more: watch::Receiver<()>,
}

impl Log {
    /// Waits until there is more. `false` once there will be none.
    pub(super) async fn grows(&mut self) -> bool {
        self.more.changed().await.is_ok()
    }

    /// The next part, and the bytes before it; `None` if all was handed on.
    pub(super) fn part(&self) -> Option<(u64, String)> {
        let said = locked(&self.said);
        let mut end = said.log.len().min(LOG_PART_BYTES_MAX);
        while !said.log.is_char_boundary(end) {
            end -= 1;
        }
        (end > 0).then(|| (said.log_from, said.log[..end].to_owned()))
    }

    /// A part was taken.
    pub(super) fn taken(&self, from: u64, text: &str) {
        let mut said = locked(&self.said);
        let end = from.saturating_add(text.len() as u64);
        // some of it may have made room meanwhile
        let taken = usize::try_from(end.saturating_sub(said.log_from)).unwrap_or(usize::MAX).min(said.log.len());
        said.drop_log(taken);
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The command with its program by a whole path, since it runs in another directory. A bare name is sought as ever.
pub(super) fn absolute(command: Vec<OsString>) -> Result<Vec<OsString>, Problem> {
    let mut words = command.into_iter();
    let Some(program) = words.next().map(PathBuf::from) else { return Ok(Vec::new()) };
    let is_name = program.components().count() == 1;
    let program = if is_name { program } else { std::path::absolute(&program).map_err(not_here)? };
    Ok(std::iter::once(program.into_os_string()).chain(words).collect())
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn not_here(error: std::io::Error) -> Problem {
    Problem::new("failed", format!("the present directory: {error}"))
}

impl Job {
    /// Begins the command.
    ///
    /// # Errors
    /// The command cannot begin, which is no fault of the task.
    pub(super) fn begin(workplace: &Workplace, claimed: &wire::ClaimedTask) -> Result<Self, Problem> {
        let prepared = workplace.prepare(claimed)?;
        let Prepared { mut command, is_guarded, directory, .. } = prepared;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let child = workplace.wardens.start(|| command.spawn());
        let program = || command.as_std().get_program().to_string_lossy().into_owned();
        let mut child = child.map_err(|error| unfit(&program(), &error))?;
        let (output_max, over) = (workplace.output_max, Arc::<Notify>::default());
        let bound = || Bound { left: output_max, over: over.clone() };
        let (progress, told) = watch::channel(wire::TaskProgress { percent: None, text: String::new() });
        let (more, said) = watch::channel(());
        let (stdout, stderr) = (Arc::<Mutex<Output>>::default(), Arc::<Mutex<Said>>::default());
        let mut pipes = vec![
            tokio::spawn(read(child.stdout.take(), stdout.clone(), bound())),
            tokio::spawn(heard(child.stderr.take(), stderr.clone(), bound(), progress, more)),
        ];
        pipes.extend(child.stdin.take().map(|stdin| tokio::spawn(fed(stdin, claimed.task.input.clone()))));
        Ok(Self {
            #[cfg(unix)]
            group: child.id(),
            number: child.id(),
            child,
            is_guarded,
            #[cfg(target_os = "linux")]
            heard: prepared.heard,
            wardens: workplace.wardens.clone(),
            pipes,
            stdout,
            stderr,
            progress: told,
            said,
            permits: workplace.permits(),
            output_max,
            over,
            directory,
            printer: workplace.printer.clone(),
        })
    }

    /// How far the command says that it is.
    pub(super) fn progress(&self) -> watch::Receiver<wire::TaskProgress> {
        self.progress.clone()
    }

    /// The text that it writes to its stderr.
    pub(super) fn log(&self) -> Log {
        Log { said: self.stderr.clone(), more: self.said.clone() }
    }

    /// Waits until the command has ended. Processes that it leaves behind are killed.
    ///
    /// # Errors
    /// The command did not begin, which is no fault of the task.
    pub(super) async fn ended(&mut self) -> Result<JobEnd, Problem> {
        let exited = tokio::select! {
            exited = self.child.wait() => exited,
            () = self.over.notified() => {
                self.kill().await;
                return Ok(self.too_much());
            }
        };
        self.kill_group();
        self.wardens.ended(self.number.take()).await;
        let rest = futures::future::join_all(self.pipes.drain(..2));
        // a process outside of the group may keep them open
        let _ = tokio::time::timeout(PIPES, rest).await;
        let failed = |code: String, message: String| Ok(JobEnd::Failed(wire::TaskError { code, message }));
        let status = match exited {
            Err(error) => return failed("failed".to_owned(), error.to_string()),
            Ok(status) => status,
        };
        let told = self.told()?;
        // it may have written its last just now
        if self.over.notified().now_or_never().is_some() {
            return Ok(self.too_much());
        }
        if let Some((code, message)) = told {
            return failed(code, message.unwrap_or_else(|| self.fault()));
        }
        if !status.success() {
            return failed(code_of(status), self.fault());
        }
        let Output { bytes, more } = std::mem::take(&mut *locked(&self.stdout));
        Ok(if more { too_large() } else { output(bytes) })
    }

    /// The code of what ended a command with a warden, if it did not end by itself, and a text. Only the warden's word gives a task back untried: whatever else is
    /// amiss may be the command's doing, and is a failure.
    #[cfg(target_os = "linux")]
    fn told(&self) -> Result<Option<(String, Option<String>)>, Problem> {
        let Some(heard) = &self.heard else { return Ok(None) };
        let news = heard.news();
        let signal = news.signal.map(|signal| (format!("signal_{signal}"), None));
        let beyond = news.beyond.map(|(code, text)| (code, Some(text)));
        let Some(why) = news.failed else { return Ok(beyond.or(signal)) };
        let said = locked(&self.stderr).end();
        let why = if said.is_empty() { why } else { format!("{why}: {said}") };
        Err(Problem::new("failed", why).hint("no task was tried: mend it, and start the worker again"))
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as on Linux")]
    fn told(&self) -> Result<Option<(String, Option<String>)>, Problem> {
        Ok(None)
    }

    /// The end of what it said, as an error, with a word about the sandbox if that may be the cause.
    fn fault(&self) -> String {
        let said = locked(&self.stderr).end();
        let hint = self.permits.as_ref().and_then(|permits| permits.hint(&said));
        let Some(hint) = hint else { return said };
        let room = TASK_ERROR_BYTES_MAX.saturating_sub(hint.len() + 1);
        let begin = character_from(&said, said.len().saturating_sub(room));
        format!("{}\n{hint}", &said[begin..]).trim_start().to_owned()
    }

    fn too_much(&self) -> JobEnd {
        let most = self.output_max.unwrap_or_default();
        let message = format!("the command wrote more than {most} bytes to its stdout or stderr");
        JobEnd::Failed(wire::TaskError { code: "output_too_large".to_owned(), message })
    }

    /// Ends the command and all that it began: they are asked to, and killed after a while.
    pub(super) async fn end(mut self) {
        let child = &mut self.child;
        send(child, Forwarded::Terminate, true);
        let gone = async {
            let _ = self.child.wait().await;
            while self.group_lives() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(GRACE, gone).await;
        self.kill().await;
    }

    /// Kills the command and all that it began.
    async fn kill(&mut self) {
        let child = &mut self.child;
        if self.is_guarded {
            // a killed warden could not look for those that left the group
            send(child, Forwarded::Interrupt, true);
            let _ = tokio::time::timeout(SWEEP, child.wait()).await;
        }
        send(child, Forwarded::Kill, true);
        let _ = child.wait().await;
        self.kill_group();
        self.wardens.ended(self.number.take()).await;
    }

    /// Whether somebody is in the command's process group.
    #[cfg(unix)]
    fn group_lives(&self) -> bool {
        self.group.is_some_and(group_lives)
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "as on Unix")]
    fn group_lives(&self) -> bool {
        false
    }

    /// Kills whoever is in the command's process group.
    fn kill_group(&self) {
        #[cfg(unix)]
        if let Some(group) = self.group {
            send_to(group, Forwarded::Kill, true);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.pipes.iter().for_each(JoinHandle::abort);
        // a command may have left very many files
        if let Err(error) = tokio::task::block_in_place(|| self.directory.remove()) {
            let message = format!("a part of {} is still there: {error}", self.directory.path().display());
            self.printer.warning(&message, Some("remove it: the command of a task left it behind"));
        }
    }
}

fn too_large() -> JobEnd {
    let message = format!("the output has more than {TASK_ATTACHMENT_BYTES_MAX} bytes as JSON");
    JobEnd::Failed(wire::TaskError { code: "output_too_large".to_owned(), message })
}

/// The output in these bytes: JSON as it is, or a text without its last ends of lines.
fn output(bytes: Vec<u8>) -> JobEnd {
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let place = error.utf8_error().valid_up_to();
            let message = format!(
                "the output is no UTF-8, from byte {place} on: print it as base64, or put it into a blob and print its hash"
            );
            return JobEnd::Failed(wire::TaskError { code: "output_not_utf8".to_owned(), message });
        }
    };
    if text.trim_ascii().is_empty() {
        return JobEnd::Succeeded(JsonText::default());
    }
    let of_text = || JsonText::text(text.trim_end_matches(['\n', '\r']));
    let output = JsonText::parse(text.as_str()).unwrap_or_else(|_| of_text());
    if output.as_str().len() <= TASK_ATTACHMENT_BYTES_MAX { JobEnd::Succeeded(output) } else { too_large() }
}

/// The word for a bad end.
fn code_of(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("signal_{signal}");
    }
    status.code().map_or_else(|| "failed".to_owned(), |code| format!("exit_{code}"))
}

/// Writes the input, and the end of a line.
async fn fed(mut stdin: ChildStdin, input: JsonText) {
    // a command need not read it
    let _ = stdin.write_all(format!("{input}\n").as_bytes()).await;
}

/// The bytes that a command may still write to a pipe.
struct Bound {
    left: Option<u64>,
    over: Arc<Notify>,
}

impl Bound {
    /// Counts bytes, and tells when there are too many.
    fn count(&mut self, bytes: usize) {
        let Some(left) = &mut self.left else { return };
        match left.checked_sub(bytes as u64) {
            Some(less) => *left = less,
            None => self.over.notify_one(),
        }
    }
}

/// Reads an output to its end, also one that is too large.
async fn read(pipe: Option<impl AsyncRead + Unpin>, output: Arc<Mutex<Output>>, mut bound: Bound) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0; CHUNK];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        bound.count(count);
        let mut output = locked(&output);
        if output.bytes.len() + count <= STDOUT_BYTES_MAX {
            output.bytes.extend_from_slice(&chunk[..count]);
        } else {
            output.more = true;
        }
    }
}

/// Reads a stderr to its end. Lines about progress are handed on; the end of the rest is kept.
async fn heard(
    pipe: Option<impl AsyncRead + Unpin>,
    said: Arc<Mutex<Said>>,
    mut bound: Bound,
    progress: watch::Sender<wire::TaskProgress>,
    more: watch::Sender<()>,
) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0; CHUNK];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        bound.count(count);
        let mut said = locked(&said);
        for byte in &chunk[..count] {
            said.line.push(*byte);
            if *byte == b'\n' || said.line.len() >= LINE_BYTES_MAX {
                said.take(|told| drop(progress.send_replace(told)));
            }
        }
        more.send_replace(());
    }
    // a last line without an end
    locked(&said).take(|told| drop(progress.send_replace(told)));
    more.send_replace(());
}

/// The place of the first character from a place on, or the end of the text.
fn character_from(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

impl Said {
    /// Ends a line.
    fn take(&mut self, tell: impl FnOnce(wire::TaskProgress)) {
        let line = std::mem::take(&mut self.line);
        match told(String::from_utf8_lossy(&line).trim_end()) {
            Some(told) => tell(told),
            None => {
                self.kept.extend_from_slice(&line);
                self.log.push_str(&String::from_utf8_lossy(&line));
            }
        }
        let over = self.kept.len().saturating_sub(TASK_ERROR_BYTES_MAX);
        self.is_cut |= over > 0;
        self.kept.drain(..over);
        self.drop_log(self.log.len().saturating_sub(LOG_BYTES_MAX));
    }

    /// Drops at least so many bytes from the beginning of the log.
    fn drop_log(&mut self, bytes: usize) {
        let bytes = character_from(&self.log, bytes);
        self.log.drain(..bytes);
        self.log_from += bytes as u64;
    }

    /// The end of what was said, as an error.
    fn end(&mut self) -> String {
        self.take(drop);
        let text = String::from_utf8_lossy(&self.kept);
        // bytes that are no text take more room as text
        let over = text.len().saturating_sub(TASK_ERROR_BYTES_MAX);
        let begin = character_from(&text, over);
        let text = wire::TaskError::meaning(&text[begin..]);
        // the rest of a line that was cut says little, unless it is all there is
        let whole = text.split_once('\n').filter(|_| self.is_cut || begin > 0).map_or(text, |(_, whole)| whole);
        whole.to_owned()
    }
}

/// The progress in a line: `nexus:progress 40 text`.
fn told(line: &str) -> Option<wire::TaskProgress> {
    let rest = line.strip_prefix(PROGRESS)?;
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let rest = rest.trim();
    let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let percent = first.trim_end_matches('%').parse::<u8>().ok().filter(|percent| *percent <= 100);
    let text = if percent.is_some() { text.trim() } else { rest };
    Some(wire::TaskProgress { percent, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The JSON of an output, or the code of a failure.
    fn output_of(bytes: impl Into<Vec<u8>>) -> Result<String, String> {
        match output(bytes.into()) {
            JobEnd::Succeeded(json) => Ok(json.to_string()),
            JobEnd::Failed(error) => Err(error.code),
        }
    }

    /// promise: Tasks | A command's output is the JSON that it printed, byte for byte, or else a text: a number of any length keeps its digits
    #[test]
    fn an_output_is_json_as_it_is_or_else_a_text() {
        let deep = format!("{}0{}", "[".repeat(127), "]".repeat(127));
        for json in [
            "42",
            "12345678901234567890123",
            "18446744073709551616",
            "12345e6",
            "3.141592653589793238462643",
            "-0",
            "1.0",
            "{\"b\" : 1,\r\n  \"a\":\t2}",
            r#""\u00e9""#,
            &deep,
        ] {
            assert_eq!(output_of(format!(" {json}\n")), Ok(json.to_owned()));
        }
        let deeper = format!("[{deep}]");
        for text in
            ["two words", "1E400", "0012", "1_000", "NaN", "{\"a\":1,\"a\":2}", "\u{feff}1", "1 2", &deeper, "+1"]
        {
            assert_eq!(output_of(format!("{text}\r\n")), Ok(json!(text).to_string()));
        }
        assert_eq!(output_of(*b" \n"), Ok("null".to_owned()));
    }

    #[test]
    fn an_output_that_is_no_text_or_too_large_fails() {
        for bytes in [&[0xff, b'a', 0, b'\n'][..], b"\"\xc3\"", b"caf\xe9", b"\xed\xa0\x80"] {
            assert_eq!(output_of(bytes), Err("output_not_utf8".to_owned()));
        }
        let too_large = Err("output_too_large".to_owned());
        assert_eq!(output_of(vec![b'a'; TASK_ATTACHMENT_BYTES_MAX - 2]).map(|json| json.len()), Ok(4 << 20));
        assert_eq!(output_of(vec![b'a'; TASK_ATTACHMENT_BYTES_MAX - 1]), too_large, "with its quotes it is too large");
        assert_eq!(output_of(vec![1; TASK_ATTACHMENT_BYTES_MAX / 2]), too_large, "as JSON it is six times as large");
    }

    #[test]
    fn progress_is_read_from_its_lines_alone() {
        let progress = |line: &str| told(line).map(|told| (told.percent, told.text));
        assert_eq!(progress("nexus:progress 40 two of five"), Some((Some(40), "two of five".to_owned())));
        assert_eq!(progress("nexus:progress 100%"), Some((Some(100), String::new())));
        assert_eq!(progress("nexus:progress nearly there"), Some((None, "nearly there".to_owned())));
        assert_eq!(progress("nexus:progress 400 percent"), Some((None, "400 percent".to_owned())));
        assert_eq!(progress("nexus:progressing"), None);
        assert_eq!(progress("an error"), None);
    }

    /// The words of a command that wrote this to its stderr.
    fn said(bytes: &[u8]) -> Said {
        let mut said = Said::default();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            said.line.extend_from_slice(line);
            said.take(drop);
        }
        said
    }

    #[test]
    fn an_error_is_whole_lines_and_ends_with_one_that_says_something() {
        assert_eq!(said(b"KeyError: 'x'\n\n  <no Python frame>\n").end(), "KeyError: 'x'");
        let long: Vec<u8> = (0..1_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let end = said(&long).end();
        assert!(end.len() <= TASK_ERROR_BYTES_MAX && end.ends_with("line 999"), "{end}");
        assert!(end.lines().all(|line| line.starts_with("line ")), "{end}");
        assert_eq!(said(&[b'x'; 5_000]).end().len(), TASK_ERROR_BYTES_MAX, "one long line is all there is");
        assert_eq!(said(b"").end(), "");
        assert_eq!(said(b"nexus:progress 5\n").end(), "");
    }

    #[test]
    fn a_log_is_handed_on_in_parts_and_drops_its_beginning_where_nobody_takes_it() {
        let text: Vec<u8> = (0..4_000).flat_map(|n| format!("\u{fc} {n}\n").into_bytes()).collect();
        let (_more, more) = watch::channel(());
        let log = Log { said: Arc::new(Mutex::new(said(&text))), more };
        let mut read = String::new();
        while let Some((from, part)) = log.part() {
            assert!(part.len() <= LOG_PART_BYTES_MAX && from == read.len() as u64);
            log.taken(from, &part);
            // an answer that was lost: the same part again
            log.taken(from, &part);
            read.push_str(&part);
        }
        assert_eq!(read.as_bytes(), text);
        let log = Log { said: Arc::new(Mutex::new(said(&text.repeat(3)))), ..log };
        let (from, part) = log.part().unwrap();
        assert!(from > 0 && part.contains('\n'));
        assert!(locked(&log.said).log.len() <= LOG_BYTES_MAX);
        log.taken(0, "");
        assert_eq!(log.part().unwrap().0, from);
    }

    #[test]
    fn a_program_is_found_from_another_directory() {
        let found = |program: &str| absolute(vec![program.into(), "-x".into()]).unwrap();
        assert_eq!(found("python3")[0], "python3");
        assert!(PathBuf::from(&found("./work.sh")[0]).is_absolute());
        assert!(PathBuf::from(&found("tools/work.sh")[0]).is_absolute());
    }
}
