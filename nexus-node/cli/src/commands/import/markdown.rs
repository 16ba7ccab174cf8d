//! Notes in Markdown as memories: an item of a list or a paragraph each, under the heading above it.

/// The longest heading that is put before a text, in characters.
const HEADING_CHARS_MAX: usize = 120;
/// The shortest text that says something, in characters.
const TEXT_CHARS_MIN: usize = 8;

/// The marks around the section that `mirror` keeps: it came from the mesh.
pub(in crate::commands) const MIRROR_BEGIN: &str = "<!-- nexus: begin";
pub(in crate::commands) const MIRROR_END: &str = "<!-- nexus: end";

/// A note: its front matter, and its body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// The plain values, also those under another one, by their names.
    pub(super) front: Vec<(String, String)>,
    pub(super) tags: Vec<String>,
    pub(super) body: String,
}

impl Note {
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.front
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Reads a file. Only what such files have of YAML is read: names with plain values, and lists of tags.
    pub(super) fn read(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines();
        if lines.next().map(str::trim_end) != Some("---") {
            return Self { body: text.to_owned(), ..Self::default() };
        }
        let mut note = Self::default();
        let (mut in_tags, mut ended) = (false, false);
        for line in lines.by_ref() {
            if line.trim_end() == "---" {
                ended = true;
                break;
            }
            let line = line.trim();
            if let Some(item) = line.strip_prefix("- ") {
                if in_tags {
                    note.tags.push(unquoted(item));
                }
                continue;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let (name, value) = (name.trim().to_owned(), value.trim());
            in_tags = name == "tags";
            if in_tags {
                let list = value.trim_start_matches('[').trim_end_matches(']');
                note.tags.extend(list.split(',').map(unquoted).filter(|tag| !tag.is_empty()));
            } else {
                note.front.push((name, unquoted(value)));
            }
        }
        if !ended {
            return Self { body: text.to_owned(), ..Self::default() };
        }
        note.body = lines.collect::<Vec<_>>().join("\n");
        note
    }
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches(['"', '\'']).to_owned()
}

/// The texts of a note: each item of a list at the margin, and each paragraph, behind the headings above it.
pub(super) fn texts(body: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut headings: Vec<(usize, String)> = Vec::new();
    let mut block: Vec<&str> = Vec::new();
    let (mut fence, mut mirrored) = (false, false);
    let mut end = |block: &mut Vec<&str>, headings: &[(usize, String)]| {
        let lines = std::mem::take(block);
        let text = without_comments(&lines.join("\n"));
        let text = text.trim();
        // the sign of an item is no part of its text
        let text = item(text).unwrap_or(text);
        let leads_elsewhere = text.starts_with('@') && !text.contains(char::is_whitespace);
        if leads_elsewhere || text.chars().filter(|c| c.is_alphanumeric()).count() < TEXT_CHARS_MIN {
            return;
        }
        // the first heading is often the file's title
        let above: Vec<&str> = headings.iter().filter(|(level, _)| *level > 1).map(|(_, text)| text.as_str()).collect();
        texts.push(if above.is_empty() { text.to_owned() } else { format!("{}: {text}", above.join(", ")) });
    };
    for line in body.lines() {
        if line.contains(MIRROR_BEGIN) {
            mirrored = true;
        }
        if mirrored {
            mirrored = !line.contains(MIRROR_END);
            end(&mut block, &headings);
            continue;
        }
        if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            fence = !fence;
            block.push(line);
            continue;
        }
        if fence {
            block.push(line);
            continue;
        }
        if let Some((level, heading)) = heading(line) {
            end(&mut block, &headings);
            headings.retain(|(above, _)| *above < level);
            headings.push((level, heading));
        } else if line.trim().is_empty() {
            // an item goes on after an empty line if it is indented, which the next line shows
            if block.first().is_none_or(|first| item(first).is_none()) {
                end(&mut block, &headings);
            }
        } else if item(line).is_some() {
            end(&mut block, &headings);
            block.push(line);
        } else {
            let goes_on = line.starts_with([' ', '\t']);
            if !goes_on && block.first().is_some_and(|first| item(first).is_some()) {
                end(&mut block, &headings);
            }
            block.push(line);
        }
    }
    end(&mut block, &headings);
    texts
}

/// The level and the text of a heading.
fn heading(line: &str) -> Option<(usize, String)> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    let is_one = (1..=6).contains(&level) && rest.starts_with(' ');
    let text = rest.trim().trim_end_matches('#').trim();
    (is_one && !text.is_empty()).then(|| (level, text.chars().take(HEADING_CHARS_MAX).collect()))
}

/// The text of an item of a list at the margin.
fn item(line: &str) -> Option<&str> {
    if let Some(text) = ["- ", "* ", "+ "].iter().find_map(|sign| line.strip_prefix(sign)) {
        return Some(text);
    }
    let digits = line.find(|c: char| !c.is_ascii_digit()).filter(|at| (1..=3).contains(at))?;
    line[digits..].strip_prefix(". ").or_else(|| line[digits..].strip_prefix(") "))
}

fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some(from) = rest.find("<!--") {
        kept.push_str(&rest[..from]);
        rest = rest[from..].find("-->").map_or("", |to| &rest[from + to + 3..]);
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_its_items_and_paragraphs_under_their_headings() {
        let body = "# Shop\n\nA shop for tea\nand coffee.\n\n## Build\n\n- use pnpm, never npm\n  - also in CI\n- run tests\n  with `--all`\n\n### Deploy\n1. push the tag\n2) wait for the green light\n\n```sh\n# no heading\nmake\n```\n\n<!-- hidden\nthing -->\n@AGENTS.md\n\n- ok\n";
        assert_eq!(
            texts(body),
            [
                "A shop for tea\nand coffee.",
                "Build: use pnpm, never npm\n  - also in CI",
                "Build: run tests\n  with `--all`",
                "Build, Deploy: push the tag",
                "Build, Deploy: wait for the green light\n```sh\n# no heading\nmake\n```",
            ]
        );
        assert!(texts("").is_empty() && texts("# only\n## headings\n").is_empty());
        let mirrored = format!(
            "before the section\n\n{MIRROR_BEGIN} -->\n- from the mesh it came\n{MIRROR_END} x -->\n\nafter the section\n"
        );
        assert_eq!(texts(&mirrored), ["before the section", "after the section"]);
        assert_eq!(texts("before it all\n<!-- nexus: begin -->\nnever ended"), ["before it all"]);
    }

    #[test]
    fn front_matter_is_read_as_far_as_such_files_have_it() {
        let note = Note::read(
            "---\nname: deploy\ndescription: \"how: to\"\nmetadata:\n  type: feedback\ntags: [a, 'b']\n---\nbody\n",
        );
        assert_eq!(
            (note.value("name"), note.value("description"), note.value("type")),
            (Some("deploy"), Some("how: to"), Some("feedback"))
        );
        assert_eq!((note.tags, note.body.as_str()), (vec!["a".to_owned(), "b".to_owned()], "body"));
        let list = Note::read("---\ntitle: T\ntags:\n- x\n- y\npermalink: p\n---\n");
        assert_eq!((list.tags.len(), list.value("permalink")), (2, Some("p")));
        for none in ["", "---", "---\nname: x\n", "text\n---\n", "--- \u{0}"] {
            assert_eq!(Note::read(none).body, none, "{none:?}");
        }
    }
}
