//! Values behind telling names: examples, passwords, random ones.

use super::run::{self, ALNUM, BASE64, DASH, DIGIT, DOT, HEX, LETTER, LOWER, UPPER};
use super::words;

/// The fewest characters of a random value.
pub(super) const RANDOM_BYTES_MIN: usize = 16;
const PASSWORD_BYTES_MIN: usize = 6;
const PASSWORD_BYTES_MAX: usize = 128;

/// Values that documents, defaults and jokes have in the place of a password.
const EXAMPLES: [&str; 35] = [
    "admin",
    "administrator",
    "admin123",
    "root",
    "root123",
    "guest",
    "test",
    "test123",
    "test1234",
    "user",
    "user123",
    "postgres",
    "mysql",
    "redis",
    "mongo",
    "rabbitmq",
    "minio",
    "minioadmin",
    "string",
    "none",
    "null",
    "nil",
    "true",
    "false",
    "undefined",
    "unset",
    "hunter2",
    "letmein",
    "letmein123",
    "qwerty",
    "qwerty123",
    "foobar",
    "abc123",
    "welcome1",
    "opensesame",
];

/// Parts that no real value has by chance: they say that the value is somewhere else.
const PARTS_OF_EXAMPLES: [&str; 39] = [
    "example",
    "your",
    "change",
    "placeholder",
    "redacted",
    "removed",
    "hidden",
    "masked",
    "dummy",
    "sample",
    "insert",
    "replace",
    "todo",
    "fixme",
    "xxxx",
    "****",
    "....",
    "…",
    "password",
    "passw0rd",
    "passwd",
    "p@ss",
    "pa55",
    "s3cr",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "credential",
    "12345",
    "abcdef",
    "qwerty",
    "<your",
    "fake",
    "test_",
    "test-",
    "topsecret",
    "not-a-",
];

/// Names of algorithms, encodings and types, which have letters and digits as passwords do.
const TECHNICAL: [&str; 46] = [
    "sha",
    "md",
    "md5sum",
    "base",
    "utf",
    "argon",
    "argon2id",
    "argon2i",
    "argon2d",
    "bcrypt",
    "scrypt",
    "pbkdf",
    "pkcs",
    "pkcs12",
    "ed",
    "ed25519",
    "x25519",
    "secp256k1",
    "secp256r1",
    "p256",
    "aes",
    "aes128",
    "aes256",
    "rsa",
    "hmac",
    "blake",
    "blake2b",
    "blake2s",
    "hs",
    "rs",
    "es",
    "oauth",
    "http",
    "https",
    "ipv",
    "int",
    "uint",
    "float",
    "string",
    "varchar",
    "char",
    "chacha",
    "poly",
    "tls",
    "ssl",
    "latin",
];

/// Whether a value only stands for another: an example, a variable, a reference.
pub(super) fn is_example(value: &str) -> bool {
    const LONGEST_EXAMPLE: usize = 48;
    let bytes = value.as_bytes();
    let Some(first) = bytes.first() else { return true };
    let second_is = |class| run::has(bytes, 1, class);
    let stands_for_another = match first {
        b'$' => second_is(LETTER) || matches!(bytes.get(1), Some(b'{' | b'(' | b'_')),
        b'%' => second_is(LETTER) || matches!(bytes.get(1), Some(b'{' | b'(')),
        b'<' | b'{' | b'[' | b'(' => true,
        b'~' | b'.' => matches!(bytes.get(1), Some(b'/' | b'.')),
        _ => false,
    };
    // random values have no such parts, but long ones may have any four characters
    let lower = value.to_ascii_lowercase();
    let names_itself = value.len() <= LONGEST_EXAMPLE && PARTS_OF_EXAMPLES.iter().any(|part| lower.contains(part));
    let is_repeated = distinct(bytes) < 4;
    stands_for_another || names_itself || is_repeated || EXAMPLES.contains(&&*lower) || is_elsewhere(value)
}

/// Whether a value is an address, a path, a hash that says so, the public half of a key, or filled up.
fn is_elsewhere(value: &str) -> bool {
    const STARTS: [&str; 18] = [
        "sha1:",
        "sha256:",
        "SHA256:",
        "sha512:",
        "sha1-",
        "sha256-",
        "sha384-",
        "sha512-",
        "md5:",
        "h1:",
        "did:",
        "arn:",
        "urn:",
        "age1",
        "12D3Koo",
        "AAAAB3NzaC1",
        "AAAAC3NzaC1",
        "ENC[",
    ];
    value.contains("://") || value.contains("XXXX") || STARTS.iter().any(|start| value.starts_with(start))
}

/// Whether the body of a token of a service is filled with an example.
pub(super) fn is_filler(body: &[u8]) -> bool {
    const PARTS: [&str; 9] =
        ["xxxx", "XXXX", "EXAMPLE", "example", "0000000", "12345678", "abcdefgh", "ABCDEFGH", "your"];
    distinct(body) < 7.min(body.len()) || PARTS.iter().any(|part| run::contains(body, part))
}

/// Whether a value looks random: mixed, varied, and not of words.
pub(super) fn is_random(value: &str) -> bool {
    is_random_from(value, RANDOM_BYTES_MIN)
}

/// As [`is_random`], with another bound on the length.
pub(super) fn is_random_from(value: &str, least: usize) -> bool {
    let bytes = value.as_bytes();
    // the cheap question first: a text may have many values that repeat a few signs
    if bytes.len() < least || distinct(bytes) < (bytes.len() / 3).clamp(6, 9) || is_elsewhere(value) {
        return false;
    }
    let has = |class| bytes.iter().any(|byte| run::is(*byte, class));
    let (letters, in_words) = words::letters(bytes);
    let digits = bytes.iter().filter(|byte| run::is(**byte, DIGIT)).count();
    let is_mixed = (digits > 0 && letters > 0) || (has(LOWER) && has(UPPER) && bytes.len() >= 24);
    // the letters of hexadecimal are too few to make words
    let has_words = in_words * 2 >= letters && !(is_hex(value) && digits * 4 >= bytes.len());
    // dates, versions and numbers have few letters
    is_mixed && letters * 6 >= bytes.len() && !has_words && (letters + digits) * 5 >= bytes.len() * 4
}

/// Whether most letters of a value are in words.
pub(super) fn is_words(bytes: &[u8]) -> bool {
    let (letters, in_words) = words::letters(bytes);
    letters > 0 && in_words * 2 >= letters
}

/// Whether all of a value is hexadecimal, as hashes are.
pub(super) fn is_hex(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| run::is(byte, HEX))
}

/// Whether a value has the form of a UUID.
pub(super) fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether a value is what a service has as a key: signs of base64 and of addresses, no spaces.
pub(super) fn is_key_like(value: &str) -> bool {
    value.bytes().all(|byte| {
        run::is(byte, BASE64 | DASH | DOT)
            || matches!(
                byte,
                b'~' | b'|' | b':' | b'%' | b'!' | b'@' | b'#' | b'$' | b'^' | b'*' | b'(' | b')' | b'&' | b','
            )
    })
}

/// Whether a value looks like a password rather than a word, a type or code.
pub(super) fn is_password(value: &str, is_quoted: bool) -> bool {
    let bytes = value.as_bytes();
    let fits = (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&bytes.len());
    if !fits
        || bytes.iter().any(u8::is_ascii_whitespace)
        || is_example(value)
        || is_technical(value)
        || is_number(bytes)
    {
        return false;
    }
    if is_passphrase(value) {
        return true;
    }
    let has = |class| bytes.iter().any(|byte| run::is(*byte, class));
    let has_sign =
        bytes.iter().any(|byte| matches!(byte, b'!' | b'@' | b'#' | b'^' | b'*' | b'+' | b'$' | b'%' | b'?' | b'~'));
    // letters of both cases in no order are made by a machine
    let is_mixed = bytes.len() >= 10 && turns(bytes) * 4 >= bytes.len() && !is_words(bytes);
    if !has(LETTER) || !(has(DIGIT) || has_sign || is_mixed) {
        return false;
    }
    is_quoted || !(is_call(bytes) || is_code(value) && !is_random_from(value, 10))
}

/// How often the case of neighbouring letters differs. It does so at each word of `camelCase`, and in random letters.
fn turns(bytes: &[u8]) -> usize {
    let differs = |pair: &&[u8]| {
        run::is(pair[0], LETTER) && run::is(pair[1], LETTER) && run::is(pair[0], UPPER) != run::is(pair[1], UPPER)
    };
    bytes.windows(2).filter(differs).count()
}

/// Whether a value is a number of code, perhaps with its type: `0x80090033`, `2147483648u32`.
fn is_number(bytes: &[u8]) -> bool {
    let is_hex = run::follows(bytes, 0, "0x");
    let of_digits = |byte: &&u8| byte.is_ascii_digit() || **byte == b'_' || (is_hex && byte.is_ascii_hexdigit());
    let from = if is_hex { 2 } else { 0 };
    let end = from + bytes[from..].iter().take_while(of_digits).count();
    let has_type = matches!(bytes.get(end), None | Some(b'u' | b'i' | b'f' | b'U' | b'L' | b'n'));
    end > from && has_type && bytes.len() - end <= "usize".len()
}

/// Whether a value is the name of a constant: `MAX_KEY_2`.
pub(super) fn is_constant(value: &str) -> bool {
    let bytes = value.as_bytes();
    let digits = bytes.iter().filter(|byte| run::is(**byte, DIGIT)).count();
    let of_constants = bytes.iter().all(|byte| run::is(*byte, UPPER | DIGIT) || *byte == b'_');
    of_constants && bytes.contains(&b'_') && digits * 5 < bytes.len()
}

/// Whether a value is four words or more, joined by hyphens.
fn is_passphrase(value: &str) -> bool {
    let mut pieces = 0;
    let all = value.split('-').all(|piece| {
        pieces += 1;
        piece.len() >= 3 && piece.bytes().all(|byte| run::is(byte, LOWER))
    });
    all && pieces >= 4
}

/// Whether a bare value is a name with a bracket behind it: a call, a macro, a type.
fn is_call(bytes: &[u8]) -> bool {
    let name = run::end(bytes, 0, ALNUM | DASH | DOT, usize::MAX);
    let bracket = if bytes.get(name) == Some(&b'!') { name + 1 } else { name };
    name > 0 && matches!(bytes.get(bracket), Some(b'(' | b'[' | b'<' | b'{'))
}

/// Whether a bare value is an expression: a path of names, a constant, a reference.
fn is_code(value: &str) -> bool {
    let bytes = value.as_bytes();
    let first = run::end(bytes, 0, ALNUM | DASH, usize::MAX);
    let joins = run::follows(bytes, first, "::") || run::follows(bytes, first, "->");
    // `config.db2.password`, `user_2_name`
    let is_path = bytes.iter().all(|byte| run::is(*byte, ALNUM | DOT) || *byte == b'_')
        && bytes.iter().any(|byte| matches!(byte, b'.' | b'_'));
    joins
        || is_path
        || is_constant(value)
        || matches!(bytes.first(), Some(b'&' | b'*' | b'?' | b'|' | b'!' | b'=' | b'-' | b'/' | b'@' | b':'))
}

/// Whether a value is a technical word with a number: `SHA-256`, `argon2id`, `256-bit`, `v2`.
fn is_technical(value: &str) -> bool {
    const LONGEST: usize = 14;
    let lower = value.to_ascii_lowercase();
    let bytes = lower.as_bytes();
    if bytes.len() > LONGEST {
        return false;
    }
    let letters = run::end(bytes, 0, LETTER, usize::MAX);
    let word = lower.get(..letters).unwrap_or_default();
    let digits = run::end(bytes, 0, DIGIT, usize::MAX);
    let is_measure = digits > 0 && lower.get(digits..).is_some_and(|rest| rest.starts_with('-') || rest.len() < 3);
    is_measure || TECHNICAL.contains(&word) || TECHNICAL.contains(&&*lower)
}

/// How many different bytes a value has.
fn distinct(bytes: &[u8]) -> usize {
    let mut seen = [false; 256];
    bytes.iter().filter(|byte| !std::mem::replace(&mut seen[usize::from(**byte)], true)).count()
}
