//! Tokens of services, which are known by their prefix and the length of their body.

mod forms;

use std::ops::Range;

use super::SecretKind;
use super::run::{self, ALNUM, BASE64, DASH, DIGIT, DOT, HEX, LETTER, LOWER, UPPER, URL64};
use super::secret::Secret;
use super::value::{is_filler, is_random, is_words};

pub(super) use forms::{FORMS, Form};

/// The most bytes of a token that are read.
pub(super) const TOKEN_BYTES_MAX: usize = 1024;

/// The bytes of a token that say whether it is random.
const JUDGED_BYTES: usize = 128;

impl Form {
    /// The token of this form whose prefix is at a place.
    pub(super) fn find(&self, text: &str, prefix: Range<usize>) -> Option<Secret> {
        let bytes = text.as_bytes();
        // a prefix within a run of its own class is not the start of a token, and the run is not read again
        let is_within = prefix.start > 0 && run::is(bytes[prefix.start - 1], self.class & (DASH | DOT));
        if is_within || !run::begins(bytes, prefix.start) {
            return None;
        }
        let most = if self.most == 0 { TOKEN_BYTES_MAX } else { self.most };
        let end = run::end(bytes, prefix.end, self.class, most + 1);
        let length = end - prefix.end;
        // a dot at the end is that of the sentence
        let end = if bytes[..end].ends_with(b".") { end - 1 } else { end };
        let body = text.get(prefix.end..end)?;
        let judged = body.get(..JUDGED_BYTES).unwrap_or(body);
        let fits = length >= self.least && (length <= most || self.most == 0);
        // bodies of letters and hyphens could be words
        let is_words = (self.class & DASH != 0 || self.class == LETTER) && is_words(judged.as_bytes());
        (fits && !is_words && !is_filler(judged.as_bytes())).then(|| Secret::new(self.kind, prefix.start..end))
    }
}

/// The secret of an AWS access key that ends at a place: 40 characters of base64 in what follows.
///
/// Nothing marks such a secret but the id before it.
pub(super) fn aws_secret_behind(text: &str, id_end: usize) -> Option<Secret> {
    const NEAR_BYTES: usize = 160;
    const SECRET_BYTES: usize = 40;
    let bytes = text.as_bytes();
    let (mut at, near) = (id_end, bytes.len().min(id_end + NEAR_BYTES));
    while at < near {
        let end = run::end(bytes, at, BASE64, TOKEN_BYTES_MAX);
        // the `=` before the value, and not a part of it
        let start = at + bytes[at..end].iter().take_while(|byte| **byte == b'=').count();
        let named = bytes[start..end].iter().rposition(|byte| *byte == b'=').map_or(start, |sign| start + sign + 1);
        let value = text.get(named..end)?;
        if value.len() == SECRET_BYTES && is_random(value) && !is_filler(value.as_bytes()) {
            return Some(Secret::new(SecretKind::AwsSecretKey, named..end));
        }
        at = end + 1;
    }
    None
}

/// The forms of OpenAI behind `sk-`, and those of services that took them over.
pub(super) fn behind_sk(text: &str, prefix: Range<usize>) -> Option<Secret> {
    const PREFIXES: [(&str, SecretKind); 6] = [
        ("ant-", SecretKind::AnthropicKey),
        ("or-v1-", SecretKind::ServiceToken),
        ("proj-", SecretKind::OpenAiKey),
        ("svcacct-", SecretKind::OpenAiKey),
        ("admin-", SecretKind::OpenAiKey),
        ("", SecretKind::OpenAiKey),
    ];
    let bytes = text.as_bytes();
    let (named, kind) = PREFIXES.iter().find(|(named, _)| run::follows(bytes, prefix.end, named))?;
    let class = if named.is_empty() { ALNUM } else { URL64 };
    let form = Form { prefix: "sk-", class, least: 32, most: 0, kind: *kind };
    form.find(text, prefix)
}

/// A Telegram token around `:AA`: the number of the bot before it, 33 characters behind it.
pub(super) fn telegram(text: &str, sign: Range<usize>) -> Option<Secret> {
    let bytes = text.as_bytes();
    let start = run::start(bytes, sign.start, DIGIT, 12);
    let end = run::end(bytes, sign.end, URL64, 34);
    let fits = (8..=10).contains(&(sign.start - start)) && end - sign.end == 33;
    let body = text.get(sign.end..end)?;
    (fits && is_random(body)).then(|| Secret::new(SecretKind::TelegramToken, start..end))
}

/// A Discord token: the id of the bot in base64, a time, a signature. It begins as a digit in base64 does.
pub(super) fn discord(text: &str, first: Range<usize>) -> Option<Secret> {
    let bytes = text.as_bytes();
    let id = run::end(bytes, first.start, ALNUM, 29);
    let time = run::end(bytes, id + 1, URL64, 8);
    let end = run::end(bytes, time + 1, URL64, 48);
    let dots = bytes.get(id) == Some(&b'.') && bytes.get(time) == Some(&b'.');
    let lengths = (22..=28).contains(&(id - first.start)) && time - id == 7 && (27..=45).contains(&(end - time - 1));
    let decoded = data_encoding::BASE64_NOPAD.decode(bytes.get(first.start..id)?);
    let is_number = decoded.is_ok_and(|id| id.iter().all(u8::is_ascii_digit));
    (run::begins(bytes, first.start) && dots && lengths && is_number)
        .then(|| Secret::new(SecretKind::DiscordToken, first.start..end))
}

/// A client secret of Azure around `Q~`: three characters and a digit before it, 31 to 34 behind it.
pub(super) fn azure_client(text: &str, sign: Range<usize>) -> Option<Secret> {
    let bytes = text.as_bytes();
    let is_part = |byte: &&u8| run::is(**byte, URL64 | DOT) || **byte == b'~';
    let start = sign.start.checked_sub(4)?;
    let before = bytes.get(start..sign.start)?;
    let end = sign.end + bytes.get(sign.end..)?.iter().take(35).take_while(is_part).count();
    let named = before.iter().all(|byte| is_part(&byte)) && before.last().is_some_and(u8::is_ascii_digit);
    let fits = named && run::begins(bytes, start) && (31..=34).contains(&(end - sign.end));
    (fits && !is_words(&bytes[sign.end..end])).then(|| Secret::new(SecretKind::AzureKey, start..end))
}

/// The signature of a signed address of Azure. `se=` or `sv=` in the same address tells it from other signatures.
pub(super) fn azure_signature(text: &str, name: Range<usize>) -> Option<Secret> {
    const ADDRESS_BYTES_MAX: usize = 512;
    let bytes = text.as_bytes();
    let mut end = name.end;
    while end - name.end < TOKEN_BYTES_MAX
        && bytes.get(end).is_some_and(|byte| *byte != b'=' && (run::is(*byte, BASE64) || *byte == b'%'))
    {
        end += 1;
    }
    let value = text.get(name.end..end)?;
    if value.len() < 40 || !is_random(value) {
        return None;
    }
    let before = bytes.get(name.start.saturating_sub(ADDRESS_BYTES_MAX)..name.start)?;
    let address = before.rsplit(|byte| byte.is_ascii_whitespace()).next()?;
    let is_signed = ["se=", "sv=", "st=", "sr="].iter().any(|part| run::contains(address, part));
    is_signed.then(|| Secret::new(SecretKind::AzureKey, name.end..end))
}

/// An address at which anybody may post. Behind the anchor come two or more parts, and the last is random.
pub(super) fn webhook(text: &str, path: Range<usize>) -> Option<Secret> {
    let bytes = text.as_bytes();
    let end = run::end(bytes, path.end, URL64 | DOT | BASE64, TOKEN_BYTES_MAX);
    let address = text.get(path.end..end)?.trim_end_matches('.');
    let last = address.rsplit('/').next()?;
    let fits = address.contains('/') && last.len() >= 20 && is_random(last) && !is_filler(last.as_bytes());
    fits.then(|| Secret::new(SecretKind::Webhook, path.start..path.end + address.len()))
}

/// A token of Terraform around `.atlasv1.`.
pub(super) fn terraform(text: &str, sign: Range<usize>) -> Option<Secret> {
    let bytes = text.as_bytes();
    let start = run::start(bytes, sign.start, ALNUM, 15);
    let end = run::end(bytes, sign.end, URL64, TOKEN_BYTES_MAX);
    let fits = sign.start - start == 14 && end - sign.end >= 60 && !is_filler(&bytes[sign.end..end]);
    fits.then(|| Secret::new(SecretKind::ServiceToken, start..end))
}

/// A key of Mailchimp around `-us`: 32 hexadecimal digits before it, the number of a data center behind it.
pub(super) fn mailchimp(text: &str, sign: Range<usize>) -> Option<Secret> {
    let bytes = text.as_bytes();
    let start = run::start(bytes, sign.start, HEX, 33);
    let end = run::end(bytes, sign.end, DIGIT, 3);
    let fits = sign.start - start == 32 && run::begins(bytes, start) && (1..=2).contains(&(end - sign.end));
    (fits && !is_filler(&bytes[start..sign.start])).then(|| Secret::new(SecretKind::ServiceToken, start..end))
}

/// A token of two parts with a dot between them, after a prefix of any text: Airtable, SendGrid, Dynatrace.
pub(super) fn two_parts(text: &str, prefix: Range<usize>, parts: [(u8, usize); 2], kind: SecretKind) -> Option<Secret> {
    let bytes = text.as_bytes();
    let middle = run::end(bytes, prefix.end, parts[0].0, parts[0].1 + 1);
    let end = run::end(bytes, middle + 1, parts[1].0, parts[1].1 + 1);
    let lengths = middle - prefix.end == parts[0].1 && end.saturating_sub(middle + 1) == parts[1].1;
    let fits = lengths && run::begins(bytes, prefix.start) && bytes.get(middle) == Some(&b'.');
    (fits && !is_filler(bytes.get(middle + 1..end)?)).then(|| Secret::new(kind, prefix.start..end))
}

/// A ticket of a mesh of Nexus: base32 of a few hundred bytes, in either case.
pub(super) fn mesh_ticket(text: &str, prefix: Range<usize>) -> Option<Secret> {
    const BODY_BYTES_MIN: usize = 100;
    const BODY_BYTES_MAX: usize = 6_552;
    let bytes = text.as_bytes();
    if !run::begins(bytes, prefix.start) {
        return None;
    }
    let lower = run::end(bytes, prefix.end, LOWER | DIGIT, BODY_BYTES_MAX);
    let upper = run::end(bytes, prefix.end, UPPER | DIGIT, BODY_BYTES_MAX);
    let end = lower.max(upper);
    (end - prefix.end >= BODY_BYTES_MIN && !is_filler(&bytes[prefix.end..end]))
        .then(|| Secret::new(SecretKind::MeshTicket, prefix.start..end))
}

/// A token of a cluster of k3s: a hash, `::`, a user, a password.
pub(super) fn cluster(text: &str, prefix: Range<usize>) -> Option<Secret> {
    const HASH_BYTES: usize = 64;
    let bytes = text.as_bytes();
    let hash = run::end(bytes, prefix.end, HEX, HASH_BYTES + 1);
    let fits = run::begins(bytes, prefix.start) && hash - prefix.end == HASH_BYTES && run::follows(bytes, hash, "::");
    let user = run::end(bytes, hash + 2, URL64, 64);
    let end = run::end(bytes, user + 1, URL64, TOKEN_BYTES_MAX);
    (fits && end > user + 8).then(|| Secret::new(SecretKind::ServiceToken, prefix.start..end))
}
