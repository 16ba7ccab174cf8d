use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use nexus_crdt::{ApprovalRule, is_capability};
use nexus_identity::{NAME_BYTES_MAX, Name};

use super::value::Value;
use nexus_mesh::Multiaddr;
use nexus_mesh::multiaddr::Protocol;

/// A type of value: how it is read, written and described.
pub(super) trait Setting: Sized {
    /// Reads a person's texts: one, or several for a list. For other types the last one counts.
    fn from_texts(texts: &[&str]) -> Option<Self>;

    /// Reads the value of a file.
    fn from_toml(value: &Value) -> Option<Self>;

    /// The value for a file; `None` if there is none.
    fn to_toml(&self) -> Option<Value>;

    /// The allowed values, in words that follow "it is".
    fn allowed() -> String;
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// The number `N`, checked while compiling.
    pub const fn of<const N: u64>() -> Self {
        const { assert!(MIN <= N && N <= MAX) }
        Self(N)
    }

    /// A number, unless it is out of bounds.
    pub const fn new(number: u64) -> Option<Self> {
        if MIN <= number && number <= MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as a `usize`, or `usize::MAX` if it does not fit.
    pub fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Bounded<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u64, const MAX: u64> Setting for Bounded<MIN, MAX> {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        Self::new(texts.last()?.replace('_', "").parse().ok()?)
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::new(value.as_integer()?.try_into().ok()?)
    }

    fn to_toml(&self) -> Option<Value> {
        i64::try_from(self.0).ok().map(Value::Integer)
    }

    fn allowed() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }
}

impl Setting for bool {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        match *texts.last()? {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }

    fn allowed() -> String {
        "true or false".to_owned()
    }
}

impl Setting for SocketAddr {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        texts.last()?.parse().ok()
    }

    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }

    fn allowed() -> String {
        "an IP address and a port, such as 127.0.0.1:8002 or [::1]:8002".to_owned()
    }
}

/// An empty text stands for no address.
impl Setting for Option<SocketAddr> {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        match texts.last()?.trim() {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        }
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::from_texts(&[value.as_str()?])
    }

    fn to_toml(&self) -> Option<Value> {
        self.map(|address| Value::String(address.to_string()))
    }

    fn allowed() -> String {
        "an IP address and a port, such as 127.0.0.1:9102 or 0.0.0.0:9102".to_owned()
    }
}

/// An empty text stands for no name.
impl Setting for Option<Name> {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        match *texts.last()? {
            "" => Some(None),
            name => name.parse().ok().map(Some),
        }
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::from_texts(&[value.as_str()?])
    }

    fn to_toml(&self) -> Option<Value> {
        self.as_ref().map(|name| Value::String(name.to_string()))
    }

    fn allowed() -> String {
        format!("at most {NAME_BYTES_MAX} bytes without control characters and without white space at the ends")
    }
}

/// Addresses of nodes, each an IP address or a DNS name with a QUIC or a TCP port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(pub Vec<Multiaddr>);

impl Addresses {
    const MAX: usize = 64;

    fn of<'a>(mut texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let addresses: Option<Vec<Multiaddr>> = texts.try_fold(Vec::new(), |mut addresses, text| {
            let address: Multiaddr = text.parse().ok()?;
            addresses.push(address);
            Some(addresses)
        });
        addresses.filter(|all| all.len() <= Self::MAX && all.iter().all(is_dialable)).map(Self)
    }
}

/// Whether this version can listen on the address or dial it.
fn is_dialable(address: &Multiaddr) -> bool {
    use Protocol::{Dns, Dns4, Dns6, Ip4, Ip6, P2p, QuicV1, Tcp, Udp};
    let mut parts = address.iter();
    let host = matches!(parts.next(), Some(Ip4(_) | Ip6(_) | Dns(_) | Dns4(_) | Dns6(_)));
    let transport = match parts.next() {
        Some(Tcp(_)) => true,
        Some(Udp(_)) => parts.next() == Some(QuicV1),
        _ => false,
    };
    let end = match parts.next() {
        None => true,
        Some(P2p(_)) => parts.next().is_none(),
        Some(_) => false,
    };
    host && transport && end
}

impl Setting for Addresses {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        Self::of(items(texts))
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::of(texts(value)?.into_iter())
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::Array(self.0.iter().map(|address| Value::String(address.to_string())).collect()))
    }

    fn allowed() -> String {
        format!(
            "a list of at most {} addresses such as /ip4/192.0.2.1/udp/4002/quic-v1 or /ip4/192.0.2.1/tcp/4002",
            Self::MAX
        )
    }
}

/// Capabilities whose tasks need an approval: names, and beginnings of names with `*` at the end, each with the rule by which
/// they are approved, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals(Vec<(String, Option<ApprovalRule>)>);

impl Approvals {
    const MAX: usize = 64;

    fn of<'a>(items: impl Iterator<Item = &'a str>) -> Option<Self> {
        let read = |item: &str| {
            let (name, rule) = match item.split_once('=') {
                Some((name, rule)) => (name, Some(rule.parse().ok()?)),
                None => (item, None),
            };
            let beginning = name.strip_suffix('*').unwrap_or(name);
            let is_name = is_capability(beginning) || beginning.is_empty() && name == "*";
            is_name.then(|| (name.to_owned(), rule))
        };
        let all: Vec<_> = items.take(Self::MAX + 1).map(read).collect::<Option<_>>()?;
        (all.len() <= Self::MAX).then_some(Self(all))
    }

    /// The rule for a capability that needs an approval; `Some(None)` if it names none. The stricter one counts.
    pub fn rule_of(&self, capability: &str) -> Option<Option<ApprovalRule>> {
        let is_named = |name: &str| match name.strip_suffix('*') {
            Some(beginning) => capability.starts_with(beginning),
            None => name == capability,
        };
        let mut rules = self.0.iter().filter(|(name, _)| is_named(name)).map(|(_, rule)| *rule).peekable();
        rules.peek()?;
        let strictest = rules.max_by_key(|rule| (*rule == Some(ApprovalRule::Other), rule.is_some()));
        strictest.map(|rule| rule.filter(|rule| *rule != ApprovalRule::Later))
    }
}

impl Setting for Approvals {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        Self::of(items(texts))
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::of(self::texts(value)?.into_iter())
    }

    fn to_toml(&self) -> Option<Value> {
        let item = |(name, rule): &(String, Option<ApprovalRule>)| {
            Value::String(rule.map_or_else(|| name.clone(), |rule| format!("{name}={rule}")))
        };
        Some(Value::Array(self.0.iter().map(item).collect()))
    }

    fn allowed() -> String {
        format!(
            "a list of at most {} capabilities such as deploy, beginnings such as pay/*, or deploy=other",
            Self::MAX
        )
    }
}

impl OneOf for ApprovalRule {
    const WORDS: &'static [(&'static str, Self)] = &[("person", Self::Person), ("other", Self::Other)];
}

/// `key=value` pairs that a node says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    const MAX: usize = 32;
    const KEY_BYTES_MAX: usize = 63;
    const VALUE_BYTES_MAX: usize = 255;

    fn of<'a>(pairs: impl Iterator<Item = Option<(&'a str, &'a str)>>) -> Option<Self> {
        let mut labels = BTreeMap::new();
        for pair in pairs {
            let (key, value) = pair?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
            let key_fits = (1..=Self::KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(plain);
            let value_fits =
                value.len() <= Self::VALUE_BYTES_MAX && !value.contains(|c: char| c.is_control() || c == ',');
            if !(key_fits && value_fits) {
                return None;
            }
            labels.insert(key.to_owned(), value.to_owned());
        }
        (labels.len() <= Self::MAX).then_some(Self(labels))
    }

    /// Labels of another node, if they keep the rules.
    pub(crate) fn checked(labels: BTreeMap<String, String>) -> Option<Self> {
        Self::of(labels.iter().map(|(key, value)| Some((key.as_str(), value.as_str()))))
    }
}

impl Setting for Labels {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        Self::of(items(texts).map(|item| item.split_once('=')))
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::of(value.as_table()?.iter().map(|(key, value)| Some((key.as_str(), value.as_str()?))))
    }

    fn to_toml(&self) -> Option<Value> {
        let pairs = self.0.iter().map(|(key, value)| (key.clone(), Value::String(value.clone())));
        Some(Value::Table(pairs.collect()))
    }

    fn allowed() -> String {
        format!(
            "at most {} pairs key=value; keys are letters, digits and ._-/, values have no commas and at most {} bytes",
            Self::MAX,
            Self::VALUE_BYTES_MAX
        )
    }
}

/// The filter of logged events. The logging setup parses the notation; here it is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    const BYTES_MAX: usize = 1_024;

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        // `nexus` is the prefix of all crates of this project. The libp2p crates log much that only
        // their developers need.
        Self("warn,nexus=info".to_owned())
    }
}

impl Setting for LogFilter {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        let filter = texts.last()?.trim();
        let fits = (1..=Self::BYTES_MAX).contains(&filter.len()) && !filter.contains(char::is_control);
        fits.then(|| Self(filter.to_owned()))
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::from_texts(&[value.as_str()?])
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::String(self.0.clone()))
    }

    fn allowed() -> String {
        "error, warn, info, debug, trace or off, also by module: warn,nexus_node=debug".to_owned()
    }
}

/// The address of a service that speaks HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    const BYTES_MAX: usize = 1_024;

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Plain HTTP only: a collector on the same machine or network needs no TLS, and can forward to one
    /// that does.
    fn of(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let host = rest.split('/').next().filter(|host| !host.is_empty() && !host.starts_with(':'))?;
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#@\"<>\\^`{|}".contains(&byte);
        let port = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).is_none_or(|(_, port)| {
            // 0 is a port to listen on.
            port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        (port && text.len() <= Self::BYTES_MAX && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }
}

/// An empty text stands for no address.
impl Setting for Option<Endpoint> {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        match texts.last()?.trim() {
            "" => Some(None),
            text => Endpoint::of(text).map(Some),
        }
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::from_texts(&[value.as_str()?])
    }

    fn to_toml(&self) -> Option<Value> {
        self.as_ref().map(|endpoint| Value::String(endpoint.0.clone()))
    }

    fn allowed() -> String {
        "an address such as http://127.0.0.1:4318 (https is not spoken: name a collector beside the node)".to_owned()
    }
}

/// How events are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON document a line.
    Json,
}

impl OneOf for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// The way in which a node is chosen for a task, among those at which workers wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskRouting {
    /// By all that is known of the nodes.
    #[default]
    Weighted,
    /// The node with the most free processors and memory.
    LeastLoaded,
    /// Each in its turn.
    RoundRobin,
}

impl OneOf for TaskRouting {
    const WORDS: &'static [(&'static str, Self)] =
        &[("weighted", Self::Weighted), ("least-loaded", Self::LeastLoaded), ("round-robin", Self::RoundRobin)];
}

/// A setting that is one of some words, in the order in which people read them.
pub(super) trait OneOf: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

impl<T: OneOf> Setting for T {
    fn from_texts(texts: &[&str]) -> Option<Self> {
        let text = texts.last()?;
        Self::WORDS.iter().find(|(word, _)| word == text).map(|(_, value)| *value)
    }

    fn from_toml(value: &Value) -> Option<Self> {
        Self::from_texts(&[value.as_str()?])
    }

    fn to_toml(&self) -> Option<Value> {
        Self::WORDS.iter().find(|(_, value)| value == self).map(|(word, _)| Value::String((*word).to_owned()))
    }

    fn allowed() -> String {
        let words: Vec<&str> = Self::WORDS.iter().map(|(word, _)| *word).collect();
        match words.as_slice() {
            [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            words => words.concat(),
        }
    }
}

/// The texts of a file's list; `None` if it is another value.
pub(super) fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

/// The items of a list, whether they came one by one or separated by commas.
pub(super) fn items<'a>(texts: &[&'a str]) -> impl Iterator<Item = &'a str> {
    texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|item| !item.is_empty())
}
