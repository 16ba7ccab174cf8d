//! The language of a text, told by its stop words, and the stem of a word in it.

use std::sync::LazyLock;

/// The most words of a text by which its language is told.
const WORDS_TO_TELL: usize = 64;

/// A language whose words are known in their inflected forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Language {
    #[default]
    English,
    German,
}

/// Words in order, cut from one text when they are first looked up. Each word of each text is, so they lie by their first
/// letters.
pub(crate) struct Words(LazyLock<ByLetter, fn() -> ByLetter>);

pub(crate) struct ByLetter {
    words: Vec<&'static str>,
    /// The place of the first word of each letter, and behind the last one.
    begins: [usize; LETTERS + 1],
}

const LETTERS: usize = 26;

impl Words {
    pub(crate) const fn new(cut: fn() -> ByLetter) -> Self {
        Self(LazyLock::new(cut))
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        let letter = word.bytes().next().map(|byte| usize::from(byte.wrapping_sub(b'a')));
        let Some(letter) = letter.filter(|letter| *letter < LETTERS) else { return false };
        let ByLetter { words, begins } = &*self.0;
        words[begins[letter]..begins[letter + 1]].contains(&word)
    }
}

/// Words that say nothing of a text's subject, those of questions among them: in order, in lower case, without accents.
static ENGLISH: Words = Words::new(|| {
    cut("a about after again all also although always am an and any anybody anyone anything are aren as at be because \
         been before being both but by can cannot could couldn d did didn do does doesn doing don done each either else \
         ever every everything few for from get gets getting go goes going got had hadn has hasn have haven having he her \
         here hers him his how however i if in into is isn it its just let ll m many may maybe me might more most much \
         must my neither no nobody nor not nothing now of off on once one ones only or other others ought our ours out \
         over own please re s same shall she should shouldn since so some somebody someone something sometimes still such \
         t tell than that the their theirs them then there these they thing things this those though to too under until \
         up upon us ve very was wasn we were weren what whatever when where whether which while who whoever whom whose \
         why will with within without won would wouldn yes yet you your yours")
});

/// The same for German. `bin` is left out, since texts of machines have it for another thing.
static GERMAN: Words = Words::new(|| {
    cut(
        "aber alle allem allen aller alles als also am an andere anderen auch auf aus bei beim bis bitte da dabei dafur \
         damit dann darf das dass davon dazu dein dem den denn der des deshalb die dies diese diesem diesen dieser dieses \
         doch dort du durch durfen ein eine einem einen einer eines einmal er es etwas euch euer fur gegen gerade gibt \
         hab habe haben hat hatte hatten hier ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im immer in ins ist ja je jede \
         jedem jeden jeder jedes jemand jetzt kann kein keine keinem keinen keiner konnen konnte man mehr mein mich mir \
         mit muss mussen nach nein nicht nichts noch nun nur ob oder ohne schon sehr sein seine seinem seinen seiner seit \
         sich sie sind so soll sollen sollte sondern sonst uber um und uns unser unsere unserem unseren unserer unter \
         viel viele vom von vor wann war waren warum was wegen weil welche welchem welchen welcher welches wem wen wenn \
         wer werden weshalb wessen wie wieder wieso will wir wird wo wobei wofur woher wohin wurde wurden zu zum zur \
         zwischen",
    )
});

/// Words that are in texts of any subject: they say little of one, however rare they are in a small memory.
static COMMON_ENGLISH: Words = Words::new(|| {
    cut(
        "add ask back bad become begin best better big bring build buy call case change check choose close come cost day \
         decide different down early easy end enough fail fall fast feel fill find first follow free full general give \
         good great hand happen hard help high hold hour idea important keep kind know large last late later leave left \
         less like line list little long look lose lot low main make maximum mean minimum minute money month move name \
         near need never new next night note number old open order part pass pay people person place plan play point \
         possible price problem put question quick reach reason receive rest right rule run say second see seem send set \
         short show side simple size slow small sort start stay stop store student take talk team think time today \
         together tomorrow tool top try turn type use used user using value want watch way week well win word work world \
         write wrong year yesterday",
    )
});

/// The same for German.
static COMMON_GERMAN: Words = Words::new(|| {
    cut(
        "anfang arbeit arbeiten art beginnen bekommen bestimmt bleiben brauchen bringen denken ende ersten finden frage \
         fragen frau ganz geben gehen geht gemacht genau gross gut gute guten halten heissen heisst helfen herr jahr \
         jahre jahren klein kommen kommt lange lassen laufen leben legen letzte letzten liegen liste mal mann mensch \
         menschen minute minuten monat monate nach name namen nehmen neu neue neuen nutzen nutzt ort platz sache sachen \
         sagen schnell sehen setzen stehen steht stelle stellen stunde stunden tag tage tagen teil uhr verwenden \
         verwendet welt wert woche wochen zahl zeit ziehen",
    )
});

/// Words in order, separated by spaces: in lower case, without accents.
pub(crate) fn cut(words: &'static str) -> ByLetter {
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    let begins = |letter: u8| words.partition_point(|word| word.as_bytes() < &[b'a' + letter][..]);
    let mut at = [0; LETTERS + 1];
    for (letter, begin) in (0_u8..).zip(&mut at) {
        *begin = begins(letter);
    }
    ByLetter { words, begins: at }
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::German];

    /// The language with more stop words among some words of a text; English where both have as many.
    pub(crate) fn of<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut ahead = 0_i32;
        for word in words.take(WORDS_TO_TELL) {
            ahead += i32::from(Self::German.drops(word)) - i32::from(Self::English.drops(word));
        }
        if ahead > 0 { Self::German } else { Self::English }
    }

    /// Whether a word, in lower case and without accents, says nothing of a text's subject.
    pub(crate) fn drops(self, word: &str) -> bool {
        match self {
            Self::English => ENGLISH.has(word),
            Self::German => GERMAN.has(word),
        }
    }

    /// Whether a word, in lower case and without accents, is in texts of any subject. Its inflected forms are, too.
    pub(crate) fn is_common(self, word: &str) -> bool {
        let words = match self {
            Self::English => &COMMON_ENGLISH,
            Self::German => &COMMON_GERMAN,
        };
        let is_there = |word: &str| words.has(word);
        is_there(word)
            || is_there(&self.stem(word))
            || ["e", "s"].iter().any(|end| word.strip_suffix(end).is_some_and(is_there))
    }

    /// The part of a word that its inflected forms have in common.
    #[cfg(feature = "search")]
    pub(crate) fn stem(self, word: &str) -> std::borrow::Cow<'_, str> {
        use frostem::{Algorithm, Stemmer};

        thread_local! {
            static STEMMERS: [Stemmer; 2] = [Stemmer::new(Algorithm::English), Stemmer::new(Algorithm::German)];
        }
        let stem = STEMMERS.with(|stemmers| match stemmers[self as usize].stem(word) {
            std::borrow::Cow::Borrowed(stem) if stem.len() == word.len() => None,
            stem => Some(stem.into_owned()),
        });
        stem.map_or(std::borrow::Cow::Borrowed(word), std::borrow::Cow::Owned)
    }

    /// The word itself: stems are known with feature `search`.
    #[cfg(not(feature = "search"))]
    pub(crate) fn stem(self, word: &str) -> std::borrow::Cow<'_, str> {
        std::borrow::Cow::Borrowed(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_in_order_and_in_the_form_in_which_they_are_looked_up() {
        for words in [&ENGLISH, &GERMAN, &COMMON_ENGLISH, &COMMON_GERMAN] {
            assert!(words.0.words.iter().all(|word| words.has(word)));
            assert!(["", "zz", "{", "kubernetes", "über", "9"].iter().all(|word| !words.has(word)));
            let words = &words.0.words;
            assert!(
                words.len() > 80
                    && words.is_sorted()
                    && words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
            );
        }
    }

    #[test]
    fn a_text_is_in_the_language_of_its_stop_words() {
        let of = |text: &str| Language::of(text.split(' '));
        assert_eq!(of("die datenbank ist auf dem neuen server"), Language::German);
        assert_eq!(of("the database is on the new server"), Language::English);
        assert_eq!(of("postgres staging 5433"), Language::English);
        assert_eq!(of("was in so an"), Language::English);
    }

    #[cfg(feature = "search")]
    #[test]
    fn inflected_forms_have_one_stem() {
        for (language, words) in [
            (Language::English, ["deploys", "deployed", "deploying"]),
            (Language::German, ["rechnung", "rechnungen", "rechnung"]),
        ] {
            let stems: Vec<_> = words.map(|word| language.stem(word)).into();
            assert!(stems.windows(2).all(|pair| pair[0] == pair[1]), "{stems:?}");
        }
        assert_eq!(Language::English.stem("5433"), "5433");
    }
}
