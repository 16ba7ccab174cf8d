//! Whether letters are words. Words have the pairs of letters that words have, and random letters do not.

use super::run::{self, DIGIT, LETTER, LOWER, UPPER};

/// For each letter the letters that often follow it, of the words in English prose and in names of code.
const PAIRS: [&str; 26] = [
    "bcdefgiklmnprstuvwxyz",
    "abeijlorstuy",
    "acehijklorstuy",
    "adegiloprsuvy",
    "abcdefgilmnopqrstvwxyz",
    "aefilorstuy",
    "aeghilnorstuy",
    "aeiorstuy",
    "abcdefgklmnoprstvxz",
    "aeosu",
    "aeilnosuy",
    "abcdefiklmopstuvy",
    "abeimnopsuy",
    "acdefgijklnopstuvxy",
    "abcdefgiklmnoprstuvwxy",
    "aehilnoprstuy",
    "lu",
    "abcdefgiklmnoprstuvwy",
    "acdefhiklmnopqstuwy",
    "acefhilmnoprstuwxy",
    "abcdefgilmnprstx",
    "aeiosy",
    "adehilnors",
    "acehipty",
    "abcdeimnopst",
    "aeiopz",
];

/// The pairs as bits.
const FOLLOW: [u32; 26] = {
    let mut follow = [0; 26];
    let mut letter = 0;
    while letter < 26 {
        let (pairs, mut at) = (PAIRS[letter].as_bytes(), 0);
        while at < pairs.len() {
            follow[letter] |= 1 << (pairs[at] - b'a');
            at += 1;
        }
        letter += 1;
    }
    follow
};

/// The words of a name in lower case: `dbApiKey_v2` has `db`, `api`, `key` and `v2`. At most 16 of them.
pub(super) fn words_of(name: &str) -> Vec<String> {
    const WORDS_MAX: usize = 16;
    let bytes = name.as_bytes();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < bytes.len() && words.len() < WORDS_MAX {
        if !run::is(bytes[at], DIGIT | LETTER) {
            at += 1;
            continue;
        }
        let upper = run::end(bytes, at, UPPER, usize::MAX);
        let after = run::end(bytes, upper, LOWER | DIGIT, usize::MAX);
        // in `APIKey` the last capital begins the next word
        let ends_before = upper > at + 1 && run::has(bytes, upper, LOWER);
        let end = if ends_before { upper - 1 } else { after };
        words.push(name.get(at..end).unwrap_or_default().to_ascii_lowercase());
        at = end;
    }
    words
}

/// How many letters the text has, and how many of them are in words.
pub(super) fn letters(bytes: &[u8]) -> (usize, usize) {
    let (mut all, mut in_words, mut at) = (0, 0, 0);
    while at < bytes.len() {
        let upper = run::end(bytes, at, UPPER, usize::MAX);
        // `Word` is one piece; of `WORDWord` the capitals are one by themselves
        let capital = upper == at + 1;
        let end = if upper == at || capital { run::end(bytes, upper, LOWER, usize::MAX) } else { upper };
        all += end - at;
        if is_word(&bytes[at..end]) {
            in_words += end - at;
        }
        at = end.max(at + 1);
    }
    (all, in_words)
}

/// Whether a run of letters of one case, perhaps with a capital, is a word.
fn is_word(run: &[u8]) -> bool {
    const LETTERS_MIN: usize = 3;
    let number = |letter: &u8| usize::from(letter.to_ascii_lowercase().wrapping_sub(b'a')).min(25);
    let numbers = || run.iter().map(number);
    let usual = numbers().zip(numbers().skip(1)).filter(|(a, b)| FOLLOW[*a] & (1 << b) != 0).count();
    // one pair in eight may be unusual: names of products, abbreviations
    run.len() >= LETTERS_MIN && usual * 8 >= (run.len() - 1) * 7
}
