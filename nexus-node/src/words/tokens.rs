//! Runs of letters and digits, in the form in which words are compared: by NFKC, without case, accents and characters
//! that nobody sees. The normal form and the decompositions are those of Unicode Standard Annex 15.

use std::ops::Range;

use icu_normalizer::properties::{CanonicalCombiningClassMapBorrowed, CanonicalDecompositionBorrowed, Decomposed};
use nexus_identity::folded;

use super::beginning;

/// The longest token that is kept whole, in bytes: a longer one is found by its beginning.
pub(super) const TOKEN_BYTES_MAX: usize = 256;

/// How the words of a run are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// By spaces: the run is a word.
    Spaced,
    /// Not at all: the run may have any number of words.
    Unspaced,
}

/// Calls with each run of letters and digits of one script in a text, in order, at most `most` times: its folded form,
/// and its place in the text. A run of an unspaced script may be as long as the text.
pub(super) fn each_token(text: &str, most: usize, mut each: impl FnMut(&str, Range<usize>, Script)) {
    let (mut left, mut lower) = (most, String::new());
    let mut run: Option<(usize, Script)> = None;
    let mut end_run = |run: Option<(usize, Script)>, end: usize| {
        let Some((start, script)) = run else { return true };
        if left == 0 {
            return false;
        }
        let spelled = &text[start..end];
        if spelled.is_ascii() {
            lower.clear();
            lower.push_str(beginning(spelled, TOKEN_BYTES_MAX));
            lower.make_ascii_lowercase();
            left -= 1;
            each(&lower, start..end, script);
        } else {
            let folded = without_accents(&folded(spelled));
            let folded = if script == Script::Spaced { beginning(&folded, TOKEN_BYTES_MAX) } else { &folded };
            if !folded.is_empty() {
                left -= 1;
                each(folded, start..end, script);
            }
        }
        true
    };
    for (at, c) in text.char_indices() {
        let now = if c.is_ascii() {
            c.is_ascii_alphanumeric().then_some(Script::Spaced)
        } else if is_letter(c) {
            Some(if is_unspaced(c) { Script::Unspaced } else { Script::Spaced })
        } else if run.is_some() && (is_mark(c) || is_unseen(c)) {
            continue;
        } else {
            None
        };
        if now != run.map(|(_, script)| script) {
            if !end_run(run, at) {
                return;
            }
            run = now.map(|script| (at, script));
        }
    }
    end_run(run, text.len());
}

/// A word in the form in which names, tags and kinds are compared: as the words of texts, but with all of its characters.
pub(crate) fn matched_form(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let folded = folded(text);
    folded.chars().filter(|c| !is_accent(*c)).flat_map(|c| Bases(Some(c))).collect()
}

/// A folded text without accents, and without what is neither letter nor digit nor a part of one.
fn without_accents(folded: &str) -> String {
    let kept = folded.chars().filter(|c| !is_accent(*c) && (is_letter(*c) || is_mark(*c)));
    let mut plain = String::with_capacity(folded.len());
    for c in kept {
        match spelled_out(c) {
            Some(letters) => plain.push_str(letters),
            None => plain.extend(Bases(Some(c))),
        }
    }
    plain
}

/// The letter without its accents, once.
struct Bases(Option<char>);

impl Iterator for Bases {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let mut c = self.0.take()?;
        // letters of other scripts are other letters with their signs
        while matches!(c, '\u{c0}'..='\u{52f}' | '\u{620}'..='\u{6ff}' | '\u{1e00}'..='\u{1fff}') {
            c = match CanonicalDecompositionBorrowed::new().decompose(c) {
                Decomposed::Expansion(base, _) | Decomposed::Singleton(base) => base,
                Decomposed::Default => break,
            };
        }
        Some(c)
    }
}

/// Letters that no decomposition brings to plain ones, as people write them where the keyboard lacks them.
const fn spelled_out(c: char) -> Option<&'static str> {
    Some(match c {
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ł' => "l",
        'þ' => "th",
        'ħ' => "h",
        'ı' => "i",
        'ŋ' => "n",
        'ŧ' => "t",
        _ => return None,
    })
}

/// Whether a character is a letter or a digit, or a sign that stands for some, as `㎡`.
fn is_letter(c: char) -> bool {
    c.is_alphanumeric() && c != '\u{640}' || matches!(c, '\u{2100}'..='\u{214f}' | '\u{3300}'..='\u{33ff}')
}

/// Whether a character belongs to the letter before it.
fn is_mark(c: char) -> bool {
    !c.is_ascii()
        && (CanonicalCombiningClassMapBorrowed::new().get_u8(c) != 0
            || matches!(c, '\u{e31}'..='\u{e3a}' | '\u{e47}'..='\u{e4e}' | '\u{eb1}'..='\u{ebc}' | '\u{ec8}'..='\u{ece}'
                | '\u{17b4}'..='\u{17d3}' | '\u{102b}'..='\u{103e}' | '\u{fe00}'..='\u{fe0f}'))
}

/// Whether a mark only tells how a letter sounds, and is often left out.
const fn is_accent(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{591}'..='\u{5bd}' | '\u{5bf}'..='\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6dc}')
}

/// Whether nobody sees a character inside a word.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{640}' | '\u{feff}')
}

/// Whether a letter is of a script that is written without spaces between words, or with few.
const fn is_unspaced(c: char) -> bool {
    matches!(c as u32,
        0x3005..=0x3007 | 0x3040..=0x312f | 0x31a0..=0x31bf | 0x31f0..=0x31ff | 0xff66..=0xff9f // kana, bopomofo
        | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff // Han
        | 0x1100..=0x11ff | 0xa960..=0xa97f | 0xac00..=0xd7ff // hangul
        | 0x0e00..=0x0e7f | 0x0e80..=0x0eff | 0x1780..=0x17ff | 0x1000..=0x109f // Thai, Lao, Khmer, Burmese
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        each_token(text, 1_000, |folded, at, _| {
            assert!(text.get(at).is_some());
            found.push(folded.to_owned());
        });
        found
    }

    /// promise: Recall | Words are found in any case, with and without accents, composed or not, and whatever nobody sees in them
    #[test]
    fn one_word_has_one_form_however_it_is_written() {
        for (written, form) in [
            ("réunion", "reunion"),
            ("re\u{301}union", "reunion"),
            ("RÉUNION", "reunion"),
            ("Straße", "strasse"),
            ("Ångström", "angstrom"),
            ("Łódź", "lodz"),
            ("việt", "viet"),
            ("vie\u{323}\u{302}t", "viet"),
            ("İstanbul", "istanbul"),
            ("ısı", "isi"),
            ("ﬁle", "file"),
            ("ｒｅｐｏ", "repo"),
            ("m²", "m2"),
            ("㎡", "m2"),
            ("dead\u{ad}line", "deadline"),
            ("dead\u{200b}line", "deadline"),
            ("\u{feff}deadline", "deadline"),
            ("dead\u{2060}line\u{200d}", "deadline"),
            ("ёлка", "елка"),
            ("σΣς", "σσσ"),
            ("كِتَاب", "كتاب"),
            ("أحمد", "احمد"),
        ] {
            assert_eq!(tokens(written), [form], "{written}");
        }
    }

    #[test]
    fn korean_and_japanese_are_the_same_in_pieces() {
        let decompose =
            |text: &str| icu_normalizer::DecomposingNormalizerBorrowed::new_nfd().normalize(text).into_owned();
        for text in ["데이터베이스", "ガギグ", "バックアップ", "réunion", "Ελλάς", "й"] {
            assert_eq!(tokens(&decompose(text)), tokens(text), "{text}");
        }
        assert_eq!(tokens("ｶﾞｷﾞ"), ["ガギ"]);
    }

    #[test]
    fn scripts_are_told_apart_and_marks_end_no_run() {
        assert_eq!(tokens("使用postgres16数据库"), ["使用", "postgres16", "数据库"]);
        assert_eq!(tokens("ที่นี่ น้ำ"), ["ที่นี่", "น้ํา"].map(|it| without_accents(&folded(it))));
        assert_eq!(tokens("हिन्दी में").len(), 2);
        assert_eq!(tokens("ພາສາລາວ").len(), 1);
        assert_eq!(tokens("ភាសាខ្មែរ").len(), 1);
    }

    #[test]
    fn a_run_of_any_length_has_a_token() {
        let hash = "0123456789abcdef".repeat(4);
        assert_eq!(tokens(&hash).concat(), hash);
        assert_eq!(tokens(&"a".repeat(100_000)), ["a".repeat(TOKEN_BYTES_MAX)]);
        let long = "数据".repeat(50_000);
        assert_eq!(tokens(&long).concat(), long);
        assert!(tokens("\u{301}\u{200b} … \u{ad}").is_empty());
        assert_eq!(tokens("a b c d").len(), 4);
        let mut few = 0;
        each_token("a b c d", 2, |_, _, _| few += 1);
        assert_eq!(few, 2);
    }
}
