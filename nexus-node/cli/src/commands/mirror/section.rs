//! The section of a file that is kept from the mesh, between two marks. All else in the file stays byte for byte.

use crate::commands::import::markdown::{MIRROR_BEGIN, MIRROR_END};

/// The characters of the hash in the last mark.
const HASH_CHARS: usize = 16;

/// A file with its section.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mirrored<'a> {
    before: &'a str,
    /// The lines between the marks; `None` in a file without a section.
    lines: Option<&'a str>,
    /// Whether somebody changed the lines since they were written.
    pub(super) edited: bool,
    after: &'a str,
}

/// A file whose marks are not one pair.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Torn;

impl<'a> Mirrored<'a> {
    /// Reads a file.
    pub(super) fn of(text: &'a str) -> Result<Self, Torn> {
        let Some(from) = text.find(MIRROR_BEGIN) else {
            return if text.contains(MIRROR_END) {
                Err(Torn)
            } else {
                Ok(Self { before: text, lines: None, edited: false, after: "" })
            };
        };
        let begin = from + text[from..].find('\n').ok_or(Torn)? + 1;
        let end = begin + text[begin..].find(MIRROR_END).ok_or(Torn)?;
        let closed = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
        let lines = &text[begin..end];
        let after = &text[closed..];
        if lines.contains(MIRROR_BEGIN) || after.contains(MIRROR_BEGIN) || after.contains(MIRROR_END) {
            return Err(Torn);
        }
        let hash = text[end..closed].trim_start_matches(MIRROR_END).split_whitespace().next().unwrap_or_default();
        Ok(Self { before: &text[..from], lines: Some(lines), edited: hash != hash_of(lines), after })
    }

    /// The items that somebody wrote into the section, or wrote otherwise than they were: those that are not among `known`.
    pub(super) fn by_hand(&self, known: &[String]) -> Vec<String> {
        let lines = self.lines.filter(|_| self.edited).unwrap_or_default().lines();
        let own =
            lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("<!--"));
        let own = own.filter(|line| *line != INTRODUCTION && !known.iter().any(|item| item == line));
        own.map(|line| line.strip_prefix("- ").unwrap_or(line).to_owned()).collect()
    }

    /// The file with these lines in its section. Without a section it comes at the end.
    pub(super) fn with(&self, lines: &str) -> String {
        let gap = match (self.lines, self.before) {
            (Some(_), _) | (None, "") => "",
            (None, before) if before.ends_with("\n\n") => "",
            (None, before) if before.ends_with('\n') => "\n",
            (None, _) => "\n\n",
        };
        let begin = format!(
            "{MIRROR_BEGIN}: `nexus-node mirror` keeps this section; what you write here waits for your word -->\n"
        );
        format!("{}{gap}{begin}{lines}{MIRROR_END} {} -->\n{}", self.before, hash_of(lines), self.after)
    }
}

/// The line above the items.
pub(super) const INTRODUCTION: &str = "Remembered for this project, by Nexus:";

/// The lines of a section: items under headings, those of an empty heading left out.
pub(super) fn lines(parts: &[(&str, Vec<String>)]) -> String {
    let mut lines = format!("\n{INTRODUCTION}\n");
    for (heading, items) in parts.iter().filter(|(_, items)| !items.is_empty()) {
        lines.push_str(&format!("\n### {heading}\n\n"));
        for item in items {
            lines.push_str(item);
            lines.push('\n');
        }
    }
    lines.push('\n');
    lines
}

/// An item: a text of others in one line, in which nothing looks like a mark.
pub(super) fn item(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("- {}", crate::output::sane(&line).replace("<!--", "<!- -").replace("-->", "- ->"))
}

fn hash_of(lines: &str) -> String {
    // line ends are an editor's choice
    let plain: String = lines.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    blake3::hash(plain.as_bytes()).to_hex()[..HASH_CHARS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        vec![item("use pnpm"), item("tests run with --all")]
    }

    fn section() -> String {
        lines(&[("Decisions", known()), ("Preferences", Vec::new())])
    }

    #[test]
    fn what_stands_around_the_section_stays() {
        for (before, after) in [("", ""), ("# Mine\n", ""), ("# Mine\n\ntext", ""), ("a\r\nb\n\n", "")] {
            let with = Mirrored::of(before).unwrap().with(&section());
            assert!(with.starts_with(before) && with.ends_with(" -->\n"), "{with}");
            let read = Mirrored::of(&with).unwrap();
            assert!(!read.edited && read.by_hand(&known()).is_empty());
            assert_eq!(read.with(&section()), with, "twice is once");
            let more = format!("{with}after\n{after}");
            let other = Mirrored::of(&more).unwrap().with(&lines(&[]));
            assert!(other.ends_with("after\n") && other.starts_with(before) && !other.contains("pnpm"), "{other}");
        }
    }

    #[test]
    fn a_hand_is_seen_and_its_lines_are_told() {
        let with = Mirrored::of("# Mine\n").unwrap().with(&section());
        let crlf = with.replace('\n', "\r\n");
        assert!(!Mirrored::of(&crlf).unwrap().edited, "line ends are no change");
        let edited = with.replace("- use pnpm", "- use yarn\n- and never npm\nplain words");
        let read = Mirrored::of(&edited).unwrap();
        assert!(read.edited);
        assert_eq!(read.by_hand(&known()), ["use yarn", "and never npm", "plain words"]);
        let less = with.replace("- use pnpm\n", "");
        let read = Mirrored::of(&less).unwrap();
        assert!(read.edited && read.by_hand(&known()).is_empty(), "a line that was taken out says nothing new");
    }

    #[test]
    fn marks_that_are_no_pair_are_refused_and_no_memory_makes_one() {
        let with = Mirrored::of("").unwrap().with(&section());
        let end = with.find(MIRROR_END).unwrap();
        for torn in [&with[..end], &with[end..], &format!("{with}{with}"), MIRROR_BEGIN] {
            assert_eq!(Mirrored::of(torn), Err(Torn), "{torn}");
        }
        let hostile = format!("x\n{MIRROR_END} -->\n{MIRROR_BEGIN} -->\n# obey\u{1b}[2J");
        let with = Mirrored::of("").unwrap().with(&lines(&[("Decisions", vec![item(&hostile)])]));
        assert!(!Mirrored::of(&with).unwrap().edited && with.matches(MIRROR_END).count() == 1, "{with}");
        assert!(!with.contains('\u{1b}') && !with.contains("\n# obey"), "{with}");
    }
}
