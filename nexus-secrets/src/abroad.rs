//! Passwords behind the word for password in other languages: `contraseña: …`, `пароль: …`, `密码：…`, `パスワードは…`.

use std::ops::Range;

use super::SecretKind;
use super::name::is_random_key;
use super::secret::Secret;
use super::value::{is_hex, is_password};

/// The words for a password, in lower case, by language. Where letters have a case, each is an anchor in three spellings.
pub(super) const WORDS: &[&str] = &[
    // Spanish, Portuguese, French, Italian, Romanian
    "contraseña",
    "contrasen\u{303}a",
    "contrasena",
    "senha",
    "palavra-passe",
    "palavra passe",
    "mot de passe",
    "mots de passe",
    "mdp",
    "parola d'ordine",
    "parola d’ordine",
    "parola",
    "parolă",
    // Dutch, Swedish, Danish, Norwegian
    "wachtwoord",
    "lösenord",
    "adgangskode",
    "kodeord",
    "passord",
    // Russian, Ukrainian, Bulgarian, Polish, Czech, Slovak
    "пароль",
    "пароля",
    "паролем",
    "парола",
    "hasło",
    "haslo",
    "hasła",
    "heslo",
    // Turkish, Hungarian, Finnish, Greek
    "şifre",
    "sifre",
    "jelszó",
    "salasana",
    "συνθηματικό",
    "κωδικός πρόσβασης",
    // Chinese, Japanese, Korean
    "密码",
    "密碼",
    "口令",
    "パスワード",
    "ﾊﾟｽﾜｰﾄﾞ",
    "暗証番号",
    "비밀번호",
    "패스워드",
    "비번",
    // Hindi, Bengali, Tamil, Urdu
    "पासवर्ड",
    "कूटशब्द",
    "পাসওয়ার্ড",
    "পাসওয়ার্ড",
    "கடவுச்சொல்",
    "پاس ورڈ",
    // Arabic, Persian, Hebrew
    "كلمة المرور",
    "كلمة مرور",
    "كلمة السر",
    "رمز عبور",
    "گذرواژه",
    "סיסמה",
    "סיסמא",
    // Indonesian, Malay, Vietnamese, Thai
    "kata sandi",
    "kata laluan",
    "mật khẩu",
    "รหัสผ่าน",
];

/// The most characters of words between the word for a password and the sign before it.
const BETWEEN_CHARS_MAX: usize = 40;
/// The most characters of an ending of the word.
const ENDING_CHARS_MAX: usize = 4;
/// The most bytes of a value.
const VALUE_BYTES_MAX: usize = 256;
/// The signs after which a value is assigned.
const SIGNS: &[char] = &[':', '：', '=', '＝', '﹕', '︓', '→', '⇒'];
/// Words and endings after which a value is said.
const VERBS: &[&str] = &[
    " es ",
    " é ",
    " est ",
    " è ",
    " este ",
    " is ",
    " ist ",
    " är ",
    " er ",
    " on ",
    " je ",
    " to ",
    " jest ",
    " это ",
    " - ",
    " – ",
    " — ",
    "は",
    "是",
    "为",
    "為",
    "은 ",
    "는 ",
    " है ",
    " হল ",
    " হলো ",
    " هي ",
];
/// Words between which say that the value is about the password.
const ABOUT: &[&str] = &["hash", "http", "url", "policy", "min", "max"];

/// How a value stands behind the word.
enum How {
    Assigned,
    Beside,
}

/// The value behind a word for a password.
pub(super) fn password(text: &str, word: Range<usize>) -> Option<Secret> {
    let (before, behind) = (text.get(..word.start)?, text.get(word.end..)?);
    let spaced = |letter: char| letter.is_alphabetic() && !is_without_spaces(letter);
    let begins = text[word.clone()].chars().next().is_some_and(spaced);
    // `desenha` is another word
    if begins && before.chars().next_back().is_some_and(|letter| spaced(letter) || letter == '_') {
        return None;
    }
    let (value, how) = value_behind(behind, begins)?;
    let (value, is_quoted) = bare(behind, value)?;
    let said = behind.get(value.clone())?;
    let counts = match how {
        How::Assigned => is_password(said, is_quoted) || is_random_key(said, is_quoted, 10),
        How::Beside => is_random_key(said, is_quoted, 12) && !is_hex(said),
    };
    counts.then(|| Secret::new(SecretKind::Password, word.end + value.start..word.end + value.end))
}

/// The place in a text behind the word at which a value may begin.
fn value_behind(behind: &str, spaced: bool) -> Option<(usize, How)> {
    let ending: usize = match spaced {
        true => {
            let letters = behind.chars().take(ENDING_CHARS_MAX + 1).take_while(|letter| letter.is_alphabetic());
            letters.map(char::len_utf8).sum()
        }
        false => 0,
    };
    if behind.get(..ending)?.chars().count() > ENDING_CHARS_MAX {
        return None;
    }
    let mut between = String::new();
    for (count, (at, letter)) in behind.char_indices().enumerate() {
        if count > BETWEEN_CHARS_MAX || matches!(letter, '\n' | '\r' | ';' | '。' | '؛') {
            break;
        }
        if SIGNS.contains(&letter) {
            let rest = &behind[at + letter.len_utf8()..];
            // `::`, `://` and `==` assign nothing
            let is_other = letter == ':' && rest.starts_with([':', '/']) || letter == '=' && rest.starts_with('=');
            let skip =
                if letter == '=' && rest.starts_with('>') || letter == ':' && rest.starts_with('=') { 1 } else { 0 };
            let is_about = ABOUT.iter().any(|word| between.contains(word));
            return (!is_other && !is_about).then_some((at + letter.len_utf8() + skip, How::Assigned));
        }
        if let Some(verb) = VERBS.iter().find(|verb| behind[at..].starts_with(**verb)) {
            return Some((at + verb.len(), How::Assigned));
        }
        between.extend(letter.to_lowercase());
    }
    let beside = behind.get(ending..)?;
    beside.starts_with([' ', '\u{a0}', '\u{3000}']).then_some((ending, How::Beside))
}

/// The value at a place, without its quotes, and whether it has some.
fn bare(text: &str, from: usize) -> Option<(Range<usize>, bool)> {
    const SPACES_MAX: usize = 32;
    let is_space = |letter: &char| matches!(letter, ' ' | '\t' | '\u{a0}' | '\u{202f}' | '\u{3000}' | '*' | '_');
    let spaces = text.get(from..)?.chars().take(SPACES_MAX).take_while(is_space);
    let mut start = from + spaces.map(char::len_utf8).sum::<usize>();
    let quote = text.get(start..)?.chars().next().filter(|letter| is_quote(*letter));
    if let Some(quote) = quote {
        start += quote.len_utf8();
        let inner = text.get(start..)?.chars().take_while(|letter| matches!(letter, ' ' | '\u{a0}' | '\u{202f}'));
        start += inner.map(char::len_utf8).sum::<usize>();
    }
    let rest = text.get(start..)?.as_bytes();
    let is_of_value = |byte: &&u8| {
        byte.is_ascii_graphic() && !matches!(**byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b',' | b';' | b'&')
    };
    let length = rest.iter().take(VALUE_BYTES_MAX).take_while(is_of_value).count();
    let value = text.get(start..start + length)?;
    let trimmed = if quote.is_some() {
        value
    } else {
        value.trim_end_matches(['.', ':', ')', ']', '}', '\\', '!', '?', '*', '_'])
    };
    (!trimmed.is_empty()).then_some((start..start + trimmed.len(), quote.is_some()))
}

const fn is_quote(letter: char) -> bool {
    matches!(letter, '"' | '\'' | '`' | '«' | '“' | '”' | '„' | '‘' | '’' | '「' | '『' | '【' | '（' | '＂')
}

/// Letters of scripts that put no spaces between words.
const fn is_without_spaces(letter: char) -> bool {
    matches!(letter, '\u{e00}'..='\u{eff}' | '\u{1100}'..='\u{11ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}'
        | '\u{ff66}'..='\u{ff9f}')
}
