//! What can be set, where from, and what it means.
//!
//! A value comes from the first of these that gives one: a flag of the command line, a variable
//! `NEXUS_…` of the environment, `config.toml` in the data directory, the default. [`Settings`]
//! is the outcome and remembers the origin of each value.
//!
//! All keys are flat and carry their unit in their name (`_ms`, `_bytes`, `_max`); the table at
//! the end of this file is their one declaration: type, bounds, default, and whether a change
//! takes effect while the node runs. In the environment a key is `NEXUS_` and its name in capitals;
//! lists and `key=value` pairs are separated by commas there, as in `config set`.
//!
//! ```
//! use nexus_node::config::{Origin, Settings};
//!
//! let file = "mdns = false\nheartbeat_ms = 2_000\n";
//! let env = [("NEXUS_HEARTBEAT_MS".to_owned(), "3000".to_owned())];
//! let settings = Settings::resolve(Some(file), env, &[])?;
//! assert_eq!(settings.config().heartbeat_ms.get(), 3000);
//! assert_eq!(settings.origin("heartbeat_ms"), Some(Origin::Env));
//! assert!(!settings.config().mdns);
//! # Ok::<(), nexus_node::config::ConfigError>(())
//! ```
//!
//! | room | what is in it |
//! |---|---|
//! | `setting` | the types of values: how each is read and written |
//! | `settings` | laying the sources over each other |
//! | `edit` | changing one key of a file and nothing else |
//! | `nearest` | what was probably meant |
//! | `error` | what can be wrong |

mod edit;
mod error;
mod nearest;
mod setting;
mod settings;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};

use nexus_identity::Name;

pub use self::edit::{set, set_in, unset};
pub use self::error::{ConfigError, Origin};
pub use self::setting::{Addresses, Bounded, Endpoint, Labels, LogFilter, LogFormat};
pub use self::settings::{Row, Settings};

use self::setting::Setting;

/// What there is to know about a key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in `config.toml`.
    pub name: &'static str,
    /// What it does, as in the documentation.
    pub doc: &'static str,
    /// Whether a change takes effect while the node runs; else when it starts the next time.
    pub live: bool,
    allowed: fn() -> String,
}

impl Key {
    /// The key of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Which values it may have, for people.
    pub fn allowed(&self) -> String {
        (self.allowed)()
    }

    /// Its name in the environment.
    pub fn variable(&self) -> String {
        format!("{}{}", settings::PREFIX, self.name.to_ascii_uppercase())
    }
}

/// Declares the keys once: what they do, their type, default, and when a change takes effect.
macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $live:ident;)+) => {
        /// Everything that can be set.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Config {
            $($(#[doc = $doc])+ pub $key: $type,)+
            /// The highest formats that the node reads. Lower than its version's, it is as an older one.
            #[cfg(feature = "testing")]
            pub formats: crate::Formats,
        }

        /// Every key, in the order in which they are shown.
        pub const KEYS: &[Key] = &[$(Key {
            name: stringify!($key),
            doc: concat!($($doc, "\n"),+),
            live: keys!(@$live),
            allowed: <$type as Setting>::allowed,
        },)+];

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($key: $default,)+
                    #[cfg(feature = "testing")]
                    formats: crate::Formats::LATEST,
                }
            }
        }

        impl Config {
            /// Sets a key from what a person wrote; `None` if it may not be that.
            fn set_texts(&mut self, key: &str, texts: &[&str]) -> Option<()> {
                match key {
                    $(stringify!($key) => self.$key = Setting::from_texts(texts)?,)+
                    _ => return None,
                }
                Some(())
            }

            /// Sets a key from a value of a file; `None` if it may not be that.
            fn set_toml(&mut self, key: &str, value: &toml::Value) -> Option<()> {
                match key {
                    $(stringify!($key) => self.$key = Setting::from_toml(value)?,)+
                    _ => return None,
                }
                Some(())
            }

            /// The value of a key; `None` if it has none.
            fn toml(&self, key: &str) -> Option<toml::Value> {
                match key {
                    $(stringify!($key) => self.$key.to_toml(),)+
                    _ => None,
                }
            }
        }
    };
    (@live) => { true };
    (@restart) => { false };
}

impl Config {
    /// The highest formats that the node reads.
    pub(crate) const fn formats(&self) -> crate::Formats {
        #[cfg(feature = "testing")]
        return self.formats;
        #[cfg(not(feature = "testing"))]
        crate::Formats::LATEST
    }

    /// Checks what must hold between keys. The doc of each key says what concerns it.
    ///
    /// # Errors
    /// [`ConfigError::Relation`] with the first that does not hold.
    pub fn check(&self) -> Result<(), ConfigError> {
        let relation = |holds: bool, rule: &'static str, left: u64, right: u64| {
            if holds { Ok(()) } else { Err(ConfigError::Relation { rule, left, right }) }
        };
        let (beat, suspect, down) = (self.heartbeat_ms.get(), self.suspect_after_ms.get(), self.down_after_ms.get());
        relation(suspect >= 2 * beat, "suspect_after_ms must be at least twice heartbeat_ms", suspect, beat)?;
        relation(down > suspect, "down_after_ms must be more than suspect_after_ms", down, suspect)?;
        let (pending, connections) = (self.connections_pending_max.get(), self.connections_max.get());
        relation(
            pending <= connections,
            "connections_pending_max must not exceed connections_max",
            pending,
            connections,
        )?;
        let (body, text) = (self.http_body_bytes_max.get(), self.text_bytes_max.get());
        relation(body >= 2 * text, "http_body_bytes_max must be at least twice text_bytes_max", body, text)
    }
}

/// The addresses to listen on unless others are given: QUIC and TCP on one port of every
/// interface.
fn listen_everywhere() -> Addresses {
    const DEFAULT: [&str; 4] =
        ["/ip4/0.0.0.0/udp/4002/quic-v1", "/ip4/0.0.0.0/tcp/4002", "/ip6/::/udp/4002/quic-v1", "/ip6/::/tcp/4002"];
    Addresses(DEFAULT.iter().filter_map(|address| address.parse().ok()).collect())
}

keys! {
    /// What the other members call this node when it makes or joins a mesh. Default: the name of
    /// the machine.
    name: Option<Name> = None, restart;

    /// Where the HTTP API listens. Anything but a loopback address lets other machines in, as far
    /// as the token goes. With the default, another port is chosen when 8002 is taken.
    api_addr: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8002)), restart;

    /// Where the node listens for other nodes: QUIC (`/udp/…/quic-v1`) and TCP. Port 0, or the
    /// default one when it is taken, is chosen freely and kept. None: this node only dials.
    listen: Addresses = listen_everywhere(), restart;

    /// Addresses to dial besides those known; remembered once they prove to be of this mesh.
    bootstrap: Addresses = Addresses::default(), restart;

    /// Whether to find members on the local network by multicast DNS.
    mdns: bool = true, restart;

    /// What is said about this node to the other members, for people and for choosing workers.
    /// `voter=never` keeps it from ever voting among the coordinators.
    labels: Labels = Labels::default(), restart;

    /// What is logged to stderr, in the notation of `tracing`: `info`, or `warn,nexus_node=debug`.
    /// Default: `warn,nexus=info`.
    log: LogFilter = LogFilter::default(), live;

    /// How it is logged.
    log_format: LogFormat = LogFormat::Text, restart;

    /// The OpenTelemetry collector that traces of requests are sent to, as OTLP over HTTP:
    /// `http://127.0.0.1:4318`, to which `/v1/traces` is added. Default: none, and nothing is sent.
    otlp_endpoint: Option<Endpoint> = None, restart;

    /// Memory for pages of the store, in bytes. More saves reads of what the operating system
    /// has usually cached anyway.
    cache_bytes: Bounded<{ 1 << 20 }, { 64 << 30 }> = Bounded::of::<{ 16 << 20 }>(), restart;

    /// How often the leader of the coordinators gives a sign of life, in milliseconds. Less than
    /// half of `raft_election_ms`, and the same on all members.
    raft_heartbeat_ms: Bounded<10, 10_000> = Bounded::of::<100>(), restart;

    /// How long a leader may be silent before another is elected, in milliseconds, at the least;
    /// at the most it is 7/4 of that. More than the slowest round trip between coordinators, and
    /// the same on all members.
    raft_election_ms: Bounded<50, 60_000> = Bounded::of::<400>(), restart;

    /// How long a member must have been up before it becomes a voter, in milliseconds.
    voter_settle_ms: Bounded<100, 3_600_000> = Bounded::of::<10_000>(), restart;

    /// How often a node says that it is there, in milliseconds.
    heartbeat_ms: Bounded<100, 60_000> = Bounded::of::<5_000>(), restart;

    /// How long a peer may be silent before it counts as suspect, in milliseconds. At least twice
    /// `heartbeat_ms`, or one lost heartbeat makes a healthy peer suspect.
    suspect_after_ms: Bounded<200, 600_000> = Bounded::of::<10_000>(), restart;

    /// How long a peer may be silent before it counts as down, in milliseconds. More than
    /// `suspect_after_ms`.
    down_after_ms: Bounded<300, 3_600_000> = Bounded::of::<15_000>(), restart;

    /// The longest text of a memory, in bytes of JSON. The bound is what fits into one entry;
    /// every member accepts all that fits, so this limits what is written here only.
    text_bytes_max: Bounded<64, { 48 << 10 }> = Bounded::of::<{ 32 << 10 }>(), live;

    /// The largest body of an HTTP request, in bytes; what is streamed has no limit. At least
    /// twice `text_bytes_max`.
    http_body_bytes_max: Bounded<{ 4 << 10 }, { 1 << 30 }> = Bounded::of::<{ 8 << 20 }>(), live;

    /// How many connections there may be at a time.
    connections_max: Bounded<1, 65_536> = Bounded::of::<128>(), restart;

    /// How many of them may be in the making. At most `connections_max`.
    connections_pending_max: Bounded<1, 65_536> = Bounded::of::<32>(), restart;

    /// How many streams a peer may have open at a time.
    streams_per_peer_max: Bounded<8, 4_096> = Bounded::of::<64>(), restart;

    /// How many frames and gossip messages a second are taken from a peer. Over it sync slows
    /// down and gossip is dropped.
    frames_per_second_max: Bounded<10, 1_000_000> = Bounded::of::<1_000>(), restart;

    /// How many spaces may be made here.
    spaces_max: Bounded<2, 65_536> = Bounded::of::<1_024>(), live;
}
