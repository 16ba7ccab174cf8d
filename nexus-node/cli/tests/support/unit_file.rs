//! Reads units as systemd does, as far as ours go: systemd.syntax(7), systemd.service(5), systemd.unit(5).
//!
//! It was written from those pages, and not from the code that writes units.

#![allow(dead_code, unreachable_pub, missing_debug_implementations, reason = "each test program uses its part")]

/// The settings of a unit, in order.
pub struct UnitFile(Vec<(String, String)>);

impl UnitFile {
    pub fn parse(text: &str) -> Self {
        let mut settings = Vec::new();
        for line in text.split('\n') {
            assert!(!line.ends_with('\\'), "a line that goes on: {line}");
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';', '[']) {
                continue;
            }
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("no setting: {line}"));
            settings.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Self(settings)
    }

    /// The value of a setting that is there once.
    pub fn get(&self, name: &str) -> &str {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let (_, value) = values.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(values.next().is_none(), "{name} twice");
        value
    }

    /// The words of a setting, as they are.
    pub fn words(&self, name: &str) -> Vec<String> {
        split(self.get(name)).iter().map(|word| without_specifiers(word)).collect()
    }

    /// A program with its arguments. Variables are replaced in the arguments alone.
    pub fn command(&self, name: &str) -> (String, Vec<String>) {
        let mut words = split(self.get(name)).into_iter().map(|word| without_specifiers(&word));
        let program = words.next().expect("a program");
        assert!(program.starts_with('/'), "a prefix of systemd's: {program}");
        (program, words.map(|word| without_variables(&word)).collect())
    }
}

/// Splits at spaces, and undoes quotes and escapes.
fn split(value: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', _) => {
                let escaped = rest.next().expect("an escape has an end");
                assert!(matches!(escaped, '\\' | '"' | '\''), "an escape with another meaning: \\{escaped}");
                word.push(escaped);
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => (quote, begun) = (Some(c), true),
            (' ' | '\t', None) => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (c, _) => {
                assert!(quote.is_some() || c != ';', "a word that ends the command");
                word.push(c);
                begun = true;
            }
        }
    }
    assert!(quote.is_none(), "a quote without end: {value}");
    if begun {
        words.push(word);
    }
    words
}

fn without_specifiers(word: &str) -> String {
    doubled(word, '%')
}

fn without_variables(word: &str) -> String {
    doubled(word, '$')
}

/// Undoes the doubling of a sign. Alone it would stand for something else.
fn doubled(word: &str, sign: char) -> String {
    let mut plain = String::new();
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        if c == sign {
            assert_eq!(rest.next(), Some(sign), "{sign} alone in {word}");
        }
        plain.push(c);
    }
    plain
}
