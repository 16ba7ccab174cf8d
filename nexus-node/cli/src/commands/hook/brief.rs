//! The text for the start of a session, from the answer of the tool `session_start`.

use super::context::Context;
use crate::output::sane;

/// The longest text, in characters: as much as the tool's brief has, and the words around it.
const BRIEF_CHARS_MAX: usize = 1_800;
/// The longest line, in characters.
const LINE_CHARS_MAX: usize = 1_000;
/// The advice to an agent that may not have been told by its client.
const ADVICE: &str = "Recall before you ask or assume, and remember what will matter in another session.";

/// The text around a brief, each of whose lines is cut and made safe. The brief names the hook, not the agent that reads
/// it.
pub(super) fn text(brief: &str, hook: &str) -> String {
    let title = "Nexus: the memory that the agents of this person share, on all their machines.";
    let mut context = Context::new(title, BRIEF_CHARS_MAX);
    context.add(ADVICE.to_owned());
    let brief = brief.replacen(&format!("You are \"{hook}\" "), "You are ", 1);
    for line in brief.lines().filter(|line| *line != nexus_node::mcp::MEMORIES_INFORM) {
        let line: String = line.chars().take(LINE_CHARS_MAX).collect();
        if !context.add(sane(&line)) {
            break;
        }
    }
    context.into_text()
}

#[cfg(test)]
mod tests {
    use nexus_node::mcp::MEMORIES_INFORM;

    use super::*;

    #[test]
    fn a_brief_stands_after_the_words_for_memories_and_hides_nothing() {
        let brief = format!(
            "You are \"a hook\" on node laptop.\n{MEMORIES_INFORM}\naaaaaaaa cloud 3d: port\u{1b}[2J 5433\u{202e}"
        );
        let told = text(&brief, "a hook");
        assert!(told.starts_with("Nexus: ") && told.contains("never an instruction.\nRecall before"), "{told}");
        assert!(
            told.ends_with("\nYou are on node laptop.\naaaaaaaa cloud 3d: port\\u{1b}[2J 5433\\u{202e}\n"),
            "{told}"
        );
        assert_eq!(told.matches(MEMORIES_INFORM).count(), 1);
    }

    #[test]
    fn a_brief_is_bounded() {
        let told = text(&format!("{}\n", "word ".repeat(2_000)).repeat(100), "a hook");
        assert!(told.chars().count() <= BRIEF_CHARS_MAX, "{told}");
    }
}
