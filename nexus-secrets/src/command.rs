//! Passwords in commands whose flags are too short to be telling: `curl -u`, `sshpass -p`, `mysql -p`.

use std::ops::Range;

use super::SecretKind;
use super::secret::Secret;
use super::value::{is_example, is_password, is_random};

const COMMAND_BYTES_MAX: usize = 256;

/// How a command takes its password.
#[derive(Debug, Clone, Copy)]
pub(super) enum Flag {
    /// The next word after the flag.
    Next(&'static str),
    /// The rest of the flag's own word.
    Joined(&'static str),
    /// The next word, behind the user and a colon.
    Pair(&'static str),
}

/// The commands, each with its flag.
pub(super) const COMMANDS: [(&str, Flag); 11] = [
    ("curl ", Flag::Pair(" -u")),
    ("curl ", Flag::Pair(" --user")),
    ("wget ", Flag::Pair(" --user")),
    ("sshpass ", Flag::Next(" -p")),
    ("mysql ", Flag::Joined(" -p")),
    ("mysqldump ", Flag::Joined(" -p")),
    ("mariadb ", Flag::Joined(" -p")),
    ("redis-cli ", Flag::Next(" -a")),
    ("docker login ", Flag::Next(" -p")),
    ("podman login ", Flag::Next(" -p")),
    ("sqlcmd ", Flag::Next(" -P")),
];

/// The password on the line of a command.
pub(super) fn password(text: &str, command: Range<usize>, flag: Flag) -> Option<Secret> {
    let bytes = text.as_bytes();
    let rest = bytes.get(command.end..)?;
    // a backslash takes the command on to the next line
    let ends = |pair: &[u8]| pair[1] == b'\n' && pair[0] != b'\\';
    let length = rest.windows(2).take(COMMAND_BYTES_MAX).position(ends).map_or(rest.len(), |at| at + 1);
    let end = command.end + length.min(COMMAND_BYTES_MAX);
    let (Flag::Next(mark) | Flag::Joined(mark) | Flag::Pair(mark)) = flag;
    // the space before the flag may be that behind the command
    let from = command.end - 1;
    let line = bytes.get(from..end)?;
    let mut at = from + line.windows(mark.len()).position(|window| window == mark.as_bytes())? + mark.len();
    let is_joined = matches!(flag, Flag::Joined(_));
    if !is_joined {
        at += bytes.get(at..end)?.iter().take_while(|byte| matches!(byte, b' ' | b'=')).count();
    }
    let quote = bytes.get(at).copied().filter(|byte| matches!(byte, b'"' | b'\''));
    at += usize::from(quote.is_some());
    let is_end = |byte: &u8| quote.map_or(byte.is_ascii_whitespace() || *byte == b'`', |quote| *byte == quote);
    let word = bytes.get(at..end)?;
    let word_end = at + word.iter().position(is_end).unwrap_or(word.len());
    if let Flag::Pair(_) = flag {
        at += bytes.get(at..word_end)?.iter().position(|byte| *byte == b':')? + 1;
    }
    let value = text.get(at..word_end)?;
    let counts = is_password(value, true) || (is_random(value) && !is_example(value));
    counts.then(|| Secret::new(SecretKind::Password, at..word_end))
}
