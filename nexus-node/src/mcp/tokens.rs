//! The number of tokens of a text, near enough for a budget.
//!
//! A model's own tokenizer has tables of megabytes, and each model has another one. So this counts by the kinds of
//! characters, rather too much than too little. Its tests compare it with o200k.

/// The part of a budget that is given out, as a fraction: estimates may be this much too low.
const SHARE: (usize, usize) = (15, 16);

/// About the number of tokens of a text.
pub(super) fn count(text: &str) -> usize {
    let (mut quarters, mut run, mut last) = (0, Vec::new(), None);
    for letter in text.chars() {
        let class = Class::of(letter);
        if last.is_some_and(|last| last != class) {
            quarters += of_run(last.unwrap_or(class), &run);
            run.clear();
        }
        last = Some(class);
        run.push(letter);
    }
    quarters += last.map_or(0, |last| of_run(last, &run));
    quarters.div_ceil(4)
}

/// Characters of which runs are cut into tokens in one way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Letters and digits of ASCII.
    Word,
    Space,
    Mark,
    /// Alphabets of two bytes a letter: Latin with accents, Greek, Cyrillic, Hebrew.
    Alphabet,
    /// Other alphabets and syllables.
    Script,
    /// Punctuation, arrows, signs.
    Sign,
    /// A word in few characters: Chinese, Japanese, Korean.
    Ideograph,
    /// Emoji and all that is rare.
    Rare,
}

impl Class {
    fn of(letter: char) -> Self {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' => Self::Word,
            ' ' | '\t' | '\n' | '\r' => Self::Space,
            _ if letter.is_ascii() => Self::Mark,
            '\u{80}'..='\u{5ff}' => Self::Alphabet,
            '\u{600}'..='\u{1fff}' => Self::Script,
            '\u{2000}'..='\u{2bff}' => Self::Sign,
            '\u{2c00}'..='\u{ffff}' => Self::Ideograph,
            _ => Self::Rare,
        }
    }
}

/// The quarters of tokens of a run of one class, which is not empty.
fn of_run(class: Class, run: &[char]) -> usize {
    let n = run.len();
    match class {
        Class::Word => of_word(run),
        // it belongs to the word after it
        Class::Space if run == [' '] => 0,
        Class::Space | Class::Mark if run.windows(2).all(|pair| pair[0] == pair[1]) => 4 + n / 4,
        Class::Space | Class::Mark | Class::Alphabet => 2 + 2 * n,
        Class::Script => 2 + 3 * n,
        Class::Sign => 6 * n,
        Class::Ideograph => 4 * n,
        Class::Rare => 16 * n,
    }
}

fn of_word(run: &[char]) -> usize {
    let n = run.len();
    if run.iter().all(char::is_ascii_digit) {
        return 4 * n.div_ceil(3);
    }
    if run.iter().any(char::is_ascii_digit) {
        // most are ids and hashes
        return 4 + 3 * (n - 1);
    }
    let humps = run.windows(2).filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()).count();
    let long = match n {
        0..=10 => 0,
        11..=16 => 4,
        // hardly a word
        _ => 2 * n,
    };
    4 + 4 * humps + long
}

/// A budget of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    left: usize,
}

impl Room {
    /// For an answer of at most so many tokens.
    pub(super) fn of(tokens: usize) -> Self {
        Self { left: tokens.saturating_mul(SHARE.0) / SHARE.1 }
    }

    /// The tokens that are left.
    pub(super) fn left(self) -> usize {
        self.left
    }

    /// Takes room for a text and the end of its line, if there is as much.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let tokens = count(text) + 1;
        let fits = tokens <= self.left;
        if fits {
            self.left -= tokens;
        }
        fits
    }

    /// A room of at most so many tokens, which are taken from this one.
    pub(super) fn part(&mut self, tokens: usize) -> Self {
        let left = tokens.min(self.left);
        self.left -= left;
        Self { left }
    }

    /// Gives back what is left of a part.
    pub(super) fn give_back(&mut self, part: Self) {
        self.left += part.left;
    }
}

/// The beginning of a text that has about so many tokens, and whether anything was cut.
pub(super) fn beginning(text: &str, tokens: usize) -> (&str, bool) {
    // a token has a byte at least, and hardly more than 24
    if text.len() <= tokens || (text.len() <= tokens.saturating_mul(24) && count(text) <= tokens) {
        return (text, false);
    }
    let ends: Vec<usize> =
        text.char_indices().map(|(at, _)| at).take(tokens.saturating_mul(24).saturating_add(1)).collect();
    let fits = ends.partition_point(|end| count(&text[..*end]) <= tokens);
    (&text[..ends[fits.saturating_sub(1)]], true)
}

/// The number of tokens by o200k, for tests.
#[cfg(test)]
pub(super) fn exact(text: &str) -> usize {
    tiktoken::get_encoding("o200k_base").unwrap().encode(text).len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXTS: &[&str] = &[
        "The staging database listens on port 5433 since the firewall of the old one was closed. We deploy on Mondays, \
         never on Fridays, and nobody restarts the ingest by hand.",
        "Die Testdatenbank lauscht jetzt auf Port 5433, weil die Portfreigabe der Firewall geändert wurde. \
         Gesundheitsprüfungen, Rückwärtskompatibilität und Versionsverwaltung sind Pflicht.",
        "我们决定在星期一部署。数据库的端口是5433，因为旧端口被占用了。请不要在星期五发布新版本。",
        "デプロイは月曜日に行います。データベースのポートは5433に変更されました。",
        "Мы развёртываем по понедельникам. Порт базы данных теперь 5433, потому что старый был занят.",
        "ننشر التحديثات يوم الاثنين. منفذ قاعدة البيانات هو 5433 الآن",
        "हम सोमवार को तैनात करते हैं। डेटाबेस का पोर्ट अब 5433 है",
        "🦀🔥 deploy 🚀 ok ✅ fail ❌ → ⇒ … “quoted” – dash — x²",
        "m4tzq7pf laptop 3d deploy-day: text\nkx2c6hwq cloud 12d: more\n  of it",
        "de5592caa6c54fbac55099ab1f998a19 5hygpcPy8Tt0WYMX41WtCUbXlobEndhVIZIqbq9Pt3G6Pn2/Ygf1gEEeSUIGkBVToIOpLj",
        "let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!(\"{error}: {body}\"));",
        "qwxzkvjtrplmnbvcxzqwrtpsdfghjklmnbvcxzqwrtpsdfghjkl",
    ];

    #[test]
    fn an_estimate_is_hardly_ever_too_low() {
        for text in TEXTS {
            let text = [*text; 5].join("\n");
            let (about, tokens) = (count(&text), exact(&text));
            assert!(about * SHARE.1 >= tokens * SHARE.0, "{about} of {tokens}: {text}");
            assert!(about <= tokens * 3, "{about} of {tokens}: {text}");
        }
    }

    proptest! {
        #[test]
        fn a_beginning_fits_and_is_the_longest(text in "(\\PC|[a-z \n]){0,200}", tokens in 0_usize..60) {
            let (start, cut) = beginning(&text, tokens);
            prop_assert!(text.starts_with(start));
            prop_assert_eq!(cut, start.len() < text.len());
            prop_assert!(!cut || count(start) <= tokens);
        }
    }
}
