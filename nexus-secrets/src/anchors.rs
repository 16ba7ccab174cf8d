//! The anchors: short pieces of text near which a credential may be, each with the rule that looks there.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, PatternID};

use super::command::{COMMANDS, Flag};
use super::run::{ALNUM, DIGIT, HEX, UPPER, URL64};
use super::secret::Secret;
use super::token::FORMS;
use super::{SecretKind, abroad, address, block, command, header, name, token};

/// A rule with the text and the place of its anchor.
type Look = fn(&str, Range<usize>) -> Option<Secret>;

/// The rule behind an anchor.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// A form of [`FORMS`], by its place.
    Form(usize),
    /// A rule that needs nothing else.
    Look(Look),
    /// A telling name.
    Name,
    /// A command with a flag for its password.
    Command(Flag),
}

impl Rule {
    /// The credential near an anchor.
    pub(super) fn apply(self, text: &str, anchor: Range<usize>) -> Option<Secret> {
        match self {
            Self::Form(at) => FORMS.get(at)?.find(text, anchor),
            Self::Look(look) => look(text, anchor),
            Self::Name => name::value(text, anchor),
            Self::Command(flag) => command::password(text, anchor, flag),
        }
    }
}

/// Anchors with rules of their own.
const LOOKS: [(&str, Look); 27] = [
    ("-----BEGIN ", block::pem),
    ("---- BEGIN ", block::pem),
    ("Private-Lines: ", block::putty),
    ("LS0tLS1CRUdJTi", block::pem_in_base64),
    ("\"d\"", block::json_web_key),
    ("eyJ", header::json_web_token),
    ("ewog", header::json_web_token),
    ("eyAi", header::json_web_token),
    ("Bearer ", header::bearer),
    ("bearer ", header::bearer),
    ("Basic ", header::basic),
    ("basic ", header::basic),
    ("://", address::password),
    ("sk-", token::behind_sk),
    (":AA", token::telegram),
    ("Q~", token::azure_client),
    ("sig=", token::azure_signature),
    ("hooks.slack.com/services/", token::webhook),
    ("hooks.slack.com/workflows/", token::webhook),
    ("hooks.slack.com/triggers/", token::webhook),
    ("discord.com/api/webhooks/", token::webhook),
    ("discordapp.com/api/webhooks/", token::webhook),
    (".webhook.office.com/webhookb2/", token::webhook),
    (".atlasv1.", token::terraform),
    ("-us", token::mailchimp),
    ("nexus1", token::mesh_ticket),
    ("NEXUS1", token::mesh_ticket),
];

/// Anchors whose rules have arguments.
const MORE: [(&str, Look); 4] = [
    ("K10", token::cluster),
    ("pat", |text, at| token::two_parts(text, at, [(ALNUM, 14), (HEX, 64)], SecretKind::ServiceToken)),
    ("SG.", |text, at| token::two_parts(text, at, [(URL64, 22), (URL64, 43)], SecretKind::SendgridKey)),
    ("dt0c01.", |text, at| {
        token::two_parts(text, at, [(UPPER | DIGIT, 24), (UPPER | DIGIT, 64)], SecretKind::ServiceToken)
    }),
];

/// The first two characters of a decimal number in base64: the ids of Discord's bots.
const NUMBERS: [&str; 10] = ["MD", "MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT"];

/// All anchors, each with its rule.
pub(super) fn table() -> Vec<(String, Rule)> {
    let mut anchors: Vec<(String, Rule)> = Vec::new();
    anchors.extend(FORMS.iter().enumerate().map(|(at, form)| (form.prefix.to_owned(), Rule::Form(at))));
    anchors.extend(LOOKS.iter().chain(&MORE).map(|(anchor, look)| ((*anchor).to_owned(), Rule::Look(*look))));
    anchors.extend(NUMBERS.iter().map(|number| ((*number).to_owned(), Rule::Look(token::discord))));
    anchors.extend(COMMANDS.iter().map(|(command, flag)| ((*command).to_owned(), Rule::Command(*flag))));
    for word in abroad::WORDS {
        let mut letters = word.chars();
        let capital = letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>());
        let spellings: BTreeSet<String> =
            [Some(String::from(*word)), capital, Some(word.to_uppercase())].into_iter().flatten().collect();
        anchors.extend(spellings.into_iter().map(|word| (word, Rule::Look(abroad::password))));
    }
    for name in name::NAMES {
        let (first, rest) = name.split_at(1);
        let spellings = [name.to_owned(), first.to_ascii_uppercase() + rest, name.to_ascii_uppercase()];
        anchors.extend(spellings.map(|name| (name, Rule::Name)));
    }
    anchors
}

struct Anchors {
    automaton: AhoCorasick,
    rules: Vec<Rule>,
}

static ANCHORS: LazyLock<Anchors> = LazyLock::new(|| {
    let anchors = table();
    #[expect(clippy::expect_used, reason = "constant anchors")]
    let automaton = AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::DFA))
        .build(anchors.iter().map(|(anchor, _)| anchor))
        .expect("a few hundred short anchors");
    Anchors { automaton, rules: anchors.into_iter().map(|(_, rule)| rule).collect() }
});

/// The automaton of all anchors.
pub(super) fn all() -> &'static AhoCorasick {
    &ANCHORS.automaton
}

/// The rule of an anchor.
pub(super) fn rule(anchor: PatternID) -> Rule {
    ANCHORS.rules[anchor.as_usize()]
}

/// The kind of the token in a value, if a service documents its form.
pub(super) fn kind_of_token(value: &str) -> Option<SecretKind> {
    let anchors = all().find_overlapping_iter(value);
    let own = anchors.map(|anchor| (rule(anchor.pattern()), anchor.range()));
    own.filter(|(rule, _)| matches!(rule, Rule::Form(_) | Rule::Look(_)))
        .find_map(|(rule, at)| rule.apply(value, at))
        .map(|secret| secret.kind)
}
