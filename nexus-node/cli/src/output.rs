//! The printer: the only place that writes to stdout and stderr.
//!
//! Data goes to stdout, everything else to stderr. With `--json` stdout carries JSON documents
//! and nothing else.

mod table;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nexus_client::wire;
use nexus_node::api::Problem;
use serde::Serialize;

pub use self::table::Table;

/// The style of a text on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A name or a heading.
    Bold,
    /// Less important than the rest.
    Dim,
    /// As it should be.
    Good,
    /// A fault.
    Bad,
    /// Unusual, or to look at.
    Odd,
}

/// Prints all output of a command.
#[derive(Clone, Debug)]
pub struct Printer {
    json: bool,
    quiet: bool,
    colour: bool,
    colour_stderr: bool,
    /// The call of this program for the same node, if it needs more than its name.
    program: Option<String>,
}

/// The call of this program in texts of its own.
const PROGRAM: &str = "`nexus-node ";

impl Printer {
    /// A printer for documents (`--json`) or for people.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = wanted && !json && io::stdout().is_terminal();
        Self { json, quiet, colour, colour_stderr: wanted && io::stderr().is_terminal(), program: None }
    }

    /// With this call of the program in its hints, so that they are for the same node.
    pub(crate) fn calls(mut self, program: Option<String>) -> Self {
        self.program = program;
        self
    }

    /// A text of the program's own, with calls that are for the same node.
    pub(crate) fn own(&self, text: &str) -> String {
        match &self.program {
            Some(program) => {
                let mut parts = text.split(PROGRAM);
                let first = parts.next().unwrap_or_default().to_owned();
                parts.fold(first, |text, part| {
                    // some name the directory themselves
                    let program = if part.starts_with("--data-dir ") { "nexus-node" } else { program.as_str() };
                    format!("{text}`{program} {part}")
                })
            }
            None => text.to_owned(),
        }
    }

    /// Whether it prints documents.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether only the answer and errors are printed.
    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    /// Whether stdout shows colours.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// Prints the answer: a document for programs, a text for people.
    pub fn answer<T: Serialize>(&self, document: &T, text: impl FnOnce() -> String) -> Result<(), Problem> {
        self.raw(&self.written(document, text)?)
    }

    /// The same for a command that must end in order: a reader that is gone is a problem.
    pub(crate) fn report<T: Serialize>(&self, document: &T, text: impl FnOnce() -> String) -> Result<(), Problem> {
        written(&self.written(document, text)?).map_err(|error| unwritten(&error))
    }

    fn written<T: Serialize>(&self, document: &T, text: impl FnOnce() -> String) -> Result<Vec<u8>, Problem> {
        let text = if self.json {
            let document =
                serde_json::to_string(document).map_err(|error| Problem::new("internal", error.to_string()))?;
            // a document is a line: the JSON of others in it may have ends of lines between its tokens
            document.replace(['\n', '\r'], " ")
        } else {
            text()
        };
        Ok(format!("{}\n", text.trim_end_matches('\n')).into_bytes())
    }

    /// Prints bytes unchanged.
    #[expect(clippy::unused_self, reason = "everything that is printed goes through a printer")]
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Problem> {
        match written(bytes) {
            Ok(()) => Ok(()),
            // The reader has seen enough, as in `nexus-node list | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => Err(unwritten(&error)),
        }
    }

    /// Prints a remark beside the answer, for people only.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.stderr(&self.own(text));
        }
    }

    /// Prints a warning; the command goes on.
    pub fn warning(&self, message: &str, hint: Option<&str>) {
        self.stderr(&format!("{} {}", self.paint_stderr(Style::Odd, "warning:"), sane_lines(message)));
        if let Some(hint) = hint {
            let hint = self.own(&sane_lines(hint));
            self.stderr(&format!("{} {hint}", self.paint_stderr(Style::Bold, "hint:")));
        }
    }

    /// Prints the problem of a failed command.
    pub(crate) fn problem(&self, problem: &Problem) {
        self.stderr(&format!("{} {}", self.paint_stderr(Style::Bad, "error:"), sane_lines(&problem.message)));
        if let Some(hint) = &problem.hint {
            let hint = self.own(&sane_lines(hint));
            self.stderr(&format!("{} {hint}", self.paint_stderr(Style::Bold, "hint:")));
        }
        if self.json {
            self.problem_document(problem);
        }
    }

    /// Prints the last line of stderr with `--json`.
    pub(crate) fn problem_document(&self, problem: &Problem) {
        let hint = problem.hint.as_deref().map(|hint| self.own(hint));
        let document = wire::ErrorDocument { error: Problem { hint, ..problem.clone() }.into() };
        // Three texts can always be written as JSON.
        self.stderr(&serde_json::to_string(&document).unwrap_or_default());
    }

    /// Asks a question on the terminal. The typed answer is not shown.
    pub(crate) fn secret(&self, question: &str) -> Result<String, Problem> {
        let terminal = console::Term::stderr();
        let failed = |error: io::Error| Problem::new("failed", format!("terminal: {error}"));
        terminal.write_str(&format!("{question} ")).map_err(failed)?;
        terminal.read_secure_line().map_err(failed)
    }

    /// Whether somebody is there to be asked: both ends are a terminal, and the answer is for a person.
    pub(crate) fn asks(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks whether to go on.
    ///
    /// # Errors
    /// The answer is not yes; nothing was changed.
    /// Asks for a line at the terminal.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub(crate) fn line(&self, question: &str) -> Result<String, Problem> {
        let terminal = console::Term::stderr();
        let failed = |error: io::Error| Problem::new("failed", format!("terminal: {error}"));
        terminal.write_str(question).map_err(failed)?;
        Ok(terminal.read_line().map_err(failed)?.trim().to_owned())
    }

    /// Asks a question at the terminal. An empty answer is the default.
    ///
    /// # Errors
    /// The terminal cannot be read, or the answer is neither yes nor no three times.
    pub(crate) fn ask(&self, question: &str, default: bool) -> Result<bool, Problem> {
        for _ in 0..3 {
            match self.line(question)?.to_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => {}
            }
        }
        Err(Problem::new("failed", "the answer is neither yes nor no"))
    }

    pub(crate) fn confirm(&self, question: &str) -> Result<(), Problem> {
        self.agree(&format!("{question} Go on?"))
    }

    /// Whether a person sits at a terminal, also one who wants JSON.
    pub(crate) fn has_person() -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Shows a text on the terminal, and asks a question.
    ///
    /// # Errors
    /// The answer is not yes; nothing was changed.
    pub(crate) fn agree(&self, question: &str) -> Result<(), Problem> {
        let terminal = console::Term::stderr();
        let failed = |error: io::Error| Problem::new("failed", format!("terminal: {error}"));
        terminal.write_str(&format!("{question} [y/N] ")).map_err(failed)?;
        match terminal.read_line().map_err(failed)?.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Problem::new("refused", "nothing was changed")),
        }
    }

    /// A progress bar on a terminal; elsewhere a hidden one.
    pub fn progress(&self, what: &'static str, total: Option<u64>) -> ProgressBar {
        if self.quiet || self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let template = if total.is_some() { "{msg} {wide_bar} {percent}%  {eta}" } else { "{msg} {pos}  {per_sec}" };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// A progress bar of bytes on a terminal; elsewhere a hidden one.
    pub(crate) fn transfer(&self, what: &'static str, total: Option<u64>) -> ProgressBar {
        let bar = self.progress(what, total);
        if total.is_some() {
            Self::show_total(&bar);
        } else if let Ok(style) = ProgressStyle::with_template("{msg}  {decimal_bytes}  {decimal_bytes_per_sec}") {
            bar.set_style(style);
        }
        bar
    }

    /// Lets a bar of bytes show all of them, and the time that is left.
    pub(crate) fn show_total(bar: &ProgressBar) {
        let template = "{msg} {wide_bar} {decimal_bytes} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
    }

    /// A text in a style, if stdout shows styles.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { painted(style, text) } else { text.to_owned() }
    }

    fn paint_stderr(&self, style: Style, text: &str) -> String {
        if self.colour_stderr { painted(style, text) } else { text.to_owned() }
    }

    #[expect(clippy::unused_self, reason = "everything that is printed goes through a printer")]
    fn stderr(&self, line: &str) {
        // There is nowhere left to report an error.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

fn written(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush())
}

fn unwritten(error: &io::Error) -> Problem {
    Problem::new("failed", format!("stdout: {error}"))
}

fn painted(style: Style, text: &str) -> String {
    let code = match style {
        Style::Bold => "1",
        Style::Dim => "2",
        Style::Good => "32",
        Style::Bad => "31",
        Style::Odd => "33",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// A foreign text of one line made safe for a terminal: a character that the terminal would obey, or
/// that nobody would see, is shown as its number.
pub(crate) fn sane(text: &str) -> String {
    escaped(text, |_| false)
}

/// The same for a text of several lines, which keeps its ends of lines and tabs.
pub(crate) fn sane_lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut sane = String::with_capacity(text.len());
    for c in text.chars() {
        if keep(c) || !(c.is_control() || is_unseen(c)) {
            sane.push(c);
        } else {
            sane.extend(c.escape_unicode());
        }
    }
    sane
}

/// Characters without a shape that reorder or hide text (Unicode's `Bidi_Control` and
/// `Default_Ignorable_Code_Point`, without the selectors of emoji), and separators of lines.
const fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A text in one line: cut to a width on a terminal, whole in a pipe.
pub(crate) fn in_a_line(text: &str, width: usize) -> String {
    if io::stdout().is_terminal() { first_line(text, width) } else { sane(text.trim_end_matches(['\n', '\r'])) }
}

/// The first line of a text, cut to a width.
pub(crate) fn first_line(text: &str, width: usize) -> String {
    let line = sane(text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default());
    let whole = line.chars().count() <= width && text.lines().count() <= 1;
    if whole {
        line
    } else {
        format!("{}…", line.chars().take(width.saturating_sub(1)).collect::<String>().trim_end())
    }
}

/// A text in lines that fit the terminal, each behind an indent; whole in a pipe.
pub(crate) fn wrapped(text: &str, indent: &str) -> String {
    let most = if io::stdout().is_terminal() { width().max(40) } else { usize::MAX };
    let mut lines: Vec<String> = vec![indent.to_owned()];
    for word in sane(text).split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        let begun = line.len() > indent.len();
        if begun && line.chars().count().saturating_add(1 + word.chars().count()) > most {
            lines.push(format!("{indent}{word}"));
        } else {
            line.push_str(if begun { " " } else { "" });
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// The width of the terminal; 100 columns without one.
pub(crate) fn width() -> usize {
    console::Term::stdout().size_checked().map_or(100, |(_, columns)| usize::from(columns))
}

/// Whether a terminal is too narrow for a table with everything.
pub(crate) fn is_narrow() -> bool {
    io::stdout().is_terminal() && width() < 110
}

/// A DID in a table: its end on a narrow terminal, where the whole would wrap each row.
pub(crate) fn did_in_table(did: &str) -> String {
    if is_narrow() { short_did(did) } else { did.to_owned() }
}

/// The form of a DID that fits a table.
pub(crate) fn short_did(did: &str) -> String {
    let at = did.len().saturating_sub(8);
    did.get(at..).map_or_else(|| did.to_owned(), |end| format!("…{end}"))
}

/// A member's name if it is known, else its short DID.
pub(crate) fn called(members: &[wire::Member], did: &str) -> String {
    let named = members.iter().find(|member| member.did == did && !member.name.is_empty());
    named.map_or_else(|| short_did(did), |member| member.name.clone())
}

/// `one memory`, `3 memories`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("one {one}") } else { format!("{number} {many}") }
}

/// Bytes in the unit that fits.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    let fitting = units.iter().find(|(_, unit)| bytes >= *unit);
    fitting.map_or_else(
        || format!("{bytes} B"),
        |(name, unit)| format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
    )
}

/// A duration in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// A timestamp without its fraction, for people.
pub(crate) fn moment(timestamp: &str) -> String {
    let (date, time) = timestamp.split_once('T').unwrap_or((timestamp, ""));
    format!("{date} {}", time.get(..8).unwrap_or(time)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Bad input | Texts of others that would move the cursor of a terminal
    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        assert_eq!(sane_lines("a\u{1b}[2Jb\r\u{9b}c\td\ne"), "a\\u{1b}[2Jb\\u{d}\\u{9b}c\td\ne");
        assert_eq!(sane("kind\nauthor    somebody else"), "kind\\u{a}author    somebody else");
    }

    /// promise: Bad input | Texts of others in which something is hidden or reordered
    #[test]
    fn what_nobody_would_see_is_shown() {
        assert_eq!(sane("a\u{202e}b\u{200b}c\u{2066}d\u{feff}"), "a\\u{202e}b\\u{200b}c\\u{2066}d\\u{feff}");
        assert_eq!(sane("naïve 日本語 עברית ❤️ ½"), "naïve 日本語 עברית ❤️ ½");
    }

    #[test]
    fn texts_are_cut_to_one_line() {
        assert_eq!(first_line("short", 10), "short");
        assert_eq!(first_line("a longer text", 8), "a longe…");
        assert_eq!(first_line("\nfirst\nsecond", 80), "first…");
    }

    #[test]
    fn sizes_and_spans_read_well() {
        assert_eq!([size(12), size(1_250), size(48_000_000)], ["12 B", "1.2 kB", "48.0 MB"]);
        assert_eq!([span(5), span(65), span(7_300), span(200_000)], ["5 s", "1 min 5 s", "2 h 1 min", "2 d 7 h"]);
        assert_eq!(moment("2026-11-20T08:31:12.123Z"), "2026-11-20 08:31:12");
    }
}
