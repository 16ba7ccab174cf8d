//! The passages of a long text: each is found by itself, so that the length of the rest takes nothing from it.

use std::ops::Range;

use crate::words::beginning;

/// The longest text that is one passage, and the longest passage of a longer one, in bytes.
pub(super) const PASSAGE_BYTES_MAX: usize = 800;
/// The shortest passage of a longer text, but for the last one.
const PASSAGE_BYTES_MIN: usize = 400;
/// The most passages of a text. The last one takes the rest.
const PASSAGES_MAX: usize = 128;
/// The most of a text's first line that is a title, in bytes.
const TITLE_BYTES_MAX: usize = 160;

/// The passages of a text, in order: they end where a paragraph does, else a line, a sentence, a word.
pub(crate) fn passages(text: &str) -> Vec<Range<usize>> {
    cut(text, PASSAGE_BYTES_MIN, PASSAGE_BYTES_MAX)
}

/// The same with other bounds, in bytes.
pub(crate) fn cut(text: &str, min: usize, max: usize) -> Vec<Range<usize>> {
    let (mut start, mut found) = (0, Vec::new());
    while text.len() - start > max && found.len() + 1 < PASSAGES_MAX {
        let end = start + end_of_first(&text[start..], min, max);
        found.push(start..end);
        start = end;
    }
    found.push(start..text.len());
    found
}

/// The end of the first passage of a text that is longer than one.
fn end_of_first(text: &str, min: usize, max: usize) -> usize {
    let most = beginning(text, max);
    let least = beginning(text, min).len();
    let after = |sign: &str| most.rfind(sign).map(|at| at + sign.len()).filter(|end| *end > least);
    let signs = ["\n\n", "\n", ". ", "! ", "? ", "。", "; ", ", ", " "];
    signs.iter().find_map(|sign| after(sign)).unwrap_or(most.len()).max(1)
}

/// The first line of a text, as far as it can be a title.
pub(super) fn title(text: &str) -> &str {
    beginning(text.trim_start().lines().next().unwrap_or_default(), TITLE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_ends_its_passages_where_it_pauses() {
        assert_eq!(passages("").len(), 1);
        assert_eq!(passages(&"a ".repeat(400)).len(), 1);
        let text = format!("{}\n\n{}. {}", "a ".repeat(300), "b ".repeat(300), "c ".repeat(100));
        let found = passages(&text);
        assert_eq!(found.len(), 3);
        assert!(text[found[0].clone()].ends_with("\n\n") && text[found[1].clone()].ends_with(". "));
    }

    proptest! {
        #[test]
        fn passages_are_the_text(text in "([a-z ]{0,90}|[数据库。]{0,90}|\\n|\\n\\n|😀{0,40}){0,60}") {
            let found = passages(&text);
            let whole: String = found.iter().map(|at| &text[at.clone()]).collect();
            prop_assert_eq!(&whole, &text);
            prop_assert!(found.iter().all(|at| at.len() <= PASSAGE_BYTES_MAX));
        }
    }
}
