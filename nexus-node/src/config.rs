//! The settings of a node, their sources and their meaning.
//!
//! A value comes from the first of these that gives one: a flag of the command line, a variable
//! `NEXUS_…` of the environment, `config.toml` in the data directory, the default. [`Settings`] is the
//! outcome and remembers the origin of each value.
//!
//! Keys are flat and carry their unit in their name (`_ms`, `_bytes`, `_max`). The table at the end of
//! this file is their one declaration: type, bounds, default, and whether a change takes effect while
//! the node runs.
//!
//! In the environment a key is `NEXUS_` and its name in capitals. There, and in `config set`, commas
//! separate the items of lists and the `key=value` pairs.
//!
//! ```
//! use nexus_node::config::{SettingOrigin, Settings};
//!
//! let file = "mdns = false\nheartbeat_ms = 2_000\n";
//! let env = [("NEXUS_HEARTBEAT_MS".to_owned(), "3000".to_owned())];
//! let settings = Settings::resolve(Some(file), env, &[])?;
//! assert_eq!(settings.config().heartbeat_ms.get(), 3000);
//! assert_eq!(settings.origin("heartbeat_ms"), Some(SettingOrigin::Env));
//! assert!(!settings.config().mdns);
//! # Ok::<(), nexus_node::config::ConfigError>(())
//! ```
//!
//! | room | content |
//! |---|---|
//! | `setting` | the types of values: reading, writing, describing |
//! | `settings` | laying the sources over each other |
//! | `hosts` | names of hosts that an API answers to |
//! | `members` | members by DID or name |
//! | `embedder` | the embedder: an address, or a model |
//! | `span` | a length of time, or none |
//! | `edit` | changing one key of a file and nothing else |
//! | `nearest` | the known key nearest to a mistyped one |
//! | `error` | faults of a configuration |

mod edit;
mod embedder;
mod error;
mod hosts;
mod members;
mod nearest;
mod setting;
mod settings;
mod span;
#[cfg(test)]
mod tests;
mod value;

use std::net::{Ipv4Addr, SocketAddr};

use nexus_crdt::ApprovalRule;
use nexus_identity::Name;

pub use self::edit::{set, set_in, unset};
pub use self::embedder::{EmbedderModel, EmbedderPlace};
pub use self::error::{ConfigError, SettingOrigin};
pub use self::hosts::ApiHosts;
#[cfg(feature = "http")]
pub(crate) use self::hosts::without_port;
pub use self::members::MemberList;
pub use self::setting::{Addresses, Approvals, Bounded, Endpoint, Labels, LogFilter, LogFormat, TaskRouting};
pub use self::settings::{Row, Settings};
pub use self::span::DoneAfter;

use self::setting::Setting;

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in `config.toml`.
    pub name: &'static str,
    /// Its meaning, as in `docs/cli.md`.
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

    /// The values it may have, in words.
    pub fn allowed(&self) -> String {
        (self.allowed)()
    }

    /// Its name in the environment.
    pub fn variable(&self) -> String {
        format!("{}{}", settings::PREFIX, self.name.to_ascii_uppercase())
    }
}

/// The entries of the coordinators between two snapshots.
#[cfg(any(feature = "coordinators", feature = "testing"))]
const SNAPSHOT_EVERY: u64 = 10_000;

/// Declares the keys once: meaning, type, default, and when a change takes effect.
macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $live:ident;)+) => {
        /// The value of every key.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Config {
            $($(#[doc = $doc])+ pub $key: $type,)+
            /// The highest formats that the node reads. Lower than its version's, it is as an older one.
            #[cfg(feature = "testing")]
            pub formats: crate::formats::Formats,
            /// The entries of the coordinators between two snapshots: the same on all nodes of a mesh.
            #[cfg(feature = "testing")]
            pub snapshot_every: u64,
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
                    formats: crate::formats::Formats::LATEST,
                    #[cfg(feature = "testing")]
                    snapshot_every: SNAPSHOT_EVERY,
                }
            }
        }

        impl Config {
            /// Sets a key from a person's text; `None` if the value is not allowed.
            fn set_texts(&mut self, key: &str, texts: &[&str]) -> Option<()> {
                match key {
                    $(stringify!($key) => self.$key = Setting::from_texts(texts)?,)+
                    _ => return None,
                }
                Some(())
            }

            /// Sets a key from a value of a file; `None` if the value is not allowed.
            fn set_toml(&mut self, key: &str, value: &value::Value) -> Option<()> {
                match key {
                    $(stringify!($key) => self.$key = Setting::from_toml(value)?,)+
                    _ => return None,
                }
                Some(())
            }

            /// The value of a key; `None` if it has none.
            fn toml(&self, key: &str) -> Option<value::Value> {
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
    pub(crate) const fn formats(&self) -> crate::formats::Formats {
        #[cfg(feature = "testing")]
        return self.formats;
        #[cfg(not(feature = "testing"))]
        crate::formats::Formats::LATEST
    }

    /// The most that the node takes of one author's entries.
    pub(crate) fn quotas(&self) -> crate::ledger::Quotas {
        crate::ledger::Quotas {
            writer_bytes: self.writer_bytes_max.get(),
            writer_entries: self.writer_entries_max.get(),
            reader_bytes: self.reader_bytes_max.get(),
            incarnations: self.incarnations_max.get(),
            ..crate::ledger::Quotas::default()
        }
    }

    /// The entries of the coordinators between two snapshots.
    #[cfg(feature = "coordinators")]
    pub(crate) const fn snapshot_every(&self) -> u64 {
        #[cfg(feature = "testing")]
        return self.snapshot_every;
        #[cfg(not(feature = "testing"))]
        SNAPSHOT_EVERY
    }

    /// Checks the relations between keys. The doc of each key states its relation.
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

/// The default addresses to listen on: QUIC (feature `quic`) and TCP on one port of every interface.
fn listen_everywhere() -> Addresses {
    const DEFAULT: [&str; 4] =
        ["/ip4/0.0.0.0/udp/4002/quic-v1", "/ip4/0.0.0.0/tcp/4002", "/ip6/::/udp/4002/quic-v1", "/ip6/::/tcp/4002"];
    let offered = DEFAULT.iter().filter(|address| cfg!(feature = "quic") || !address.ends_with("/quic-v1"));
    Addresses(offered.filter_map(|address| address.parse().ok()).collect())
}

keys! {
    /// This node's name among the members. Default: the one of its membership, which is first the name of the
    /// machine.
    name: Option<Name> = None, live;

    /// The address of the HTTP API. Any but a loopback address lets other machines in, if they have the
    /// token, and speaks TLS 1.3. If 8002 of the default is taken, a free port is chosen.
    api_addr: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8002)), restart;

    /// Whether the API and the metrics speak HTTP in the clear off loopback, as behind a proxy of another
    /// machine. Whoever listens on the network then reads the token and all memories.
    cleartext: bool = false, restart;

    /// Hosts besides its own address that the API answers to, as behind a proxy or by a name of DNS. They are
    /// in the certificate, too. Each is given in full; its port may be given, if it is another one.
    api_hosts: ApiHosts = ApiHosts::default(), restart;

    /// A further address for `/metrics`, `/healthz` and `/readyz` alone, with the line in `metrics-token` as the
    /// token. Off loopback it speaks TLS, as the API. Default: none.
    metrics_addr: Option<SocketAddr> = None, restart;

    /// Addresses to listen on for other nodes: QUIC (`/udp/…/quic-v1`) and TCP. For port 0, or a
    /// default port that is taken, a free port is chosen and kept. With no address this node only
    /// dials.
    listen: Addresses = listen_everywhere(), restart;

    /// Addresses to dial besides the known ones. They are remembered once they prove to be of this mesh.
    bootstrap: Addresses = Addresses::default(), restart;

    /// Whether to find members on the local network by multicast DNS (feature `mdns`).
    mdns: bool = true, restart;

    /// Labels that the other members see, for people and for choosing workers. `voter=never` keeps this
    /// node from ever voting among the coordinators.
    labels: Labels = Labels::default(), restart;

    /// The events logged to stderr, in the notation of `tracing`: `info`, or `warn,nexus_node=debug`.
    /// Default: `warn,nexus=info`.
    log: LogFilter = LogFilter::default(), live;

    /// The form of the log: `text` or `json`.
    log_format: LogFormat = LogFormat::Text, restart;

    /// The OpenTelemetry collector for traces of requests, as OTLP over HTTP: `http://127.0.0.1:4318`,
    /// to which `/v1/traces` is added. Default: none, and no trace is sent.
    otlp_endpoint: Option<Endpoint> = None, restart;

    /// The embedder: the address of a service that makes vectors of texts, such as
    /// `http://127.0.0.1:11434/api/embed` (Ollama) or `http://127.0.0.1:8080/v1/embeddings` (as OpenAI has it), or
    /// `model:NAME` of `model list`. The texts of all memories in sight and all questions go there. Default: none.
    embedder: EmbedderPlace = EmbedderPlace::None, live;

    /// The model that an embedder at an address is asked for, by the name that it has there.
    embedder_model: EmbedderModel = EmbedderModel::default(), live;

    /// Memory for pages of the store, in bytes. A larger cache saves few reads: the operating system
    /// usually caches the same pages.
    cache_bytes: Bounded<{ 1 << 20 }, { 64 << 30 }> = Bounded::of::<{ 4 << 20 }>(), restart;

    /// The time between two heartbeats of the coordinators' leader, in milliseconds. Less than half of
    /// `raft_election_ms`, and the same on all members.
    raft_heartbeat_ms: Bounded<10, 10_000> = Bounded::of::<100>(), restart;

    /// The shortest silence of a leader before another is elected, in milliseconds; the longest is 7/4
    /// of it. More than the slowest round trip between coordinators, and the same on all members.
    raft_election_ms: Bounded<50, 60_000> = Bounded::of::<400>(), restart;

    /// The time that a member must have been up before it becomes a voter, in milliseconds.
    voter_settle_ms: Bounded<100, 3_600_000> = Bounded::of::<10_000>(), restart;

    /// The choice among the nodes at which workers wait for a task of this node: `weighted` by all that is known of them,
    /// `least-loaded`, or `round-robin`.
    task_routing: TaskRouting = TaskRouting::Weighted, restart;

    /// The capabilities whose tasks of this node a person must approve, as with `--needs-approval`: names, or beginnings of
    /// names with `*` at the end. `NAME=other` asks for another person, as with `--approved-by other`.
    task_approval: Approvals = Approvals::default(), restart;

    /// The rule by which tasks of this node are approved that need it: `person`, or `other` for all of them.
    task_approved_by: ApprovalRule = ApprovalRule::Person, restart;

    /// The most tasks of one other member and capability that workers of this node do at a time.
    task_bulkhead: Bounded<1, 1_000> = Bounded::of::<20>(), restart;

    /// The silence of this node after which the heirs of its tasks may take them over, in milliseconds. It needs a quorum of
    /// the coordinators some four times in that time, while such tasks are open.
    task_takeover_ms: Bounded<2_000, 3_600_000> = Bounded::of::<120_000>(), restart;

    /// The time between two beats of a node, in milliseconds.
    heartbeat_ms: Bounded<100, 60_000> = Bounded::of::<5_000>(), restart;

    /// The silence after which a peer counts as suspect, in milliseconds. At least twice
    /// `heartbeat_ms`, or one lost beat makes a healthy peer suspect.
    suspect_after_ms: Bounded<200, 600_000> = Bounded::of::<10_000>(), restart;

    /// The silence after which a peer counts as down, in milliseconds. More than `suspect_after_ms`.
    down_after_ms: Bounded<300, 3_600_000> = Bounded::of::<15_000>(), restart;

    /// The longest text of a memory, in bytes of JSON. It limits this node's own writes only: every
    /// member accepts all that fits into one entry.
    text_bytes_max: Bounded<64, { 48 << 10 }> = Bounded::of::<{ 32 << 10 }>(), live;

    /// The largest body of an HTTP request, in bytes; streamed bodies have no limit. At least twice
    /// `text_bytes_max`.
    http_body_bytes_max: Bounded<{ 4 << 10 }, { 1 << 30 }> = Bounded::of::<{ 8 << 20 }>(), live;

    /// The most connections at a time.
    connections_max: Bounded<1, 65_536> = Bounded::of::<128>(), restart;

    /// The most connections that are being set up at a time. At most `connections_max`.
    connections_pending_max: Bounded<1, 65_536> = Bounded::of::<32>(), restart;

    /// The most open streams of one peer at a time.
    streams_per_peer_max: Bounded<8, 4_096> = Bounded::of::<64>(), restart;

    /// The most frames and gossip messages a second from one peer. Above it, sync slows down and gossip
    /// is dropped.
    frames_per_second_max: Bounded<10, 1_000_000> = Bounded::of::<1_000>(), restart;

    /// The most bytes that are taken of one writer's entries, all spaces together. Over it the rest of that
    /// writer's entries is left to other members until there is room. This node's own entries have no bound.
    writer_bytes_max: Bounded<{ 16 << 10 }, { 1 << 50 }> = Bounded::of::<{ 1 << 30 }>(), restart;

    /// The most entries that are taken of one writer, all spaces together.
    writer_entries_max: Bounded<16, { 1 << 40 }> = Bounded::of::<2_000_000>(), restart;

    /// The most bytes that are taken of one reader's entries.
    reader_bytes_max: Bounded<{ 4 << 10 }, { 1 << 40 }> = Bounded::of::<{ 1 << 20 }>(), restart;

    /// The most incarnations that are taken of one author's log in a space. A node begins another one when
    /// its store was moved or put back.
    incarnations_max: Bounded<1, 16_384> = Bounded::of::<64>(), restart;

    /// The free bytes of the disk below which memories are not written, of this node or of others; reading goes on.
    /// Changes of the membership go on down to a quarter of it. With 0 the disk is used until it is full.
    disk_reserve_bytes: Bounded<0, { 1 << 50 }> = Bounded::of::<{ 64 << 20 }>(), live;

    /// The time after an erasure in which its bytes leave this disk: the node writes its files anew, as `compact` does now. With
    /// `off` it does not do so by itself.
    erase_after: DoneAfter = DoneAfter::seconds(86_400), live;

    /// The time after which this node erases memories of its own member that this one or an admin forgot, or that expired. An
    /// admin's node does so for those who are members no more. With `off` they stay on the disks, out of sight.
    forget_after: DoneAfter = DoneAfter::seconds(30 * 86_400), live;

    /// The bytes of blobs that no pin, tag or directory keeps. Over it the longest unused are removed, if two other members
    /// have them.
    blob_cache_bytes: Bounded<0, { 1 << 50 }> = Bounded::of::<{ 10 << 30 }>(), restart;

    /// The bytes of blobs that this node keeps for each other member that wants copies. With 0 it keeps none.
    blob_copies_bytes: Bounded<0, { 1 << 50 }> = Bounded::of::<{ 1 << 30 }>(), restart;

    /// Members whose aliases and groups of words count for nothing in recall here: DIDs, or names. A member gives
    /// itself its name, so a DID holds where a name may not.
    recall_ignores: MemberList = MemberList::default(), live;

    /// The most spaces that can be made here.
    spaces_max: Bounded<2, 65_536> = Bounded::of::<1_024>(), live;
}
