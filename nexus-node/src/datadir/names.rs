//! The names of the files of a data directory.

pub(super) const IDENTITY: &str = "identity.key";
pub(super) const NEXT: &str = "identity.key.next";
pub(super) const ROOT: &str = "root.key";
pub(super) const STORE: &str = "brain.redb";
pub(super) const STORE_LOG: &str = "brain.redb.wal";
/// A store that is written anew, and the one that it replaced.
pub(super) const COMPACTING: [&str; 4] = ["brain.redb.compact", "brain.redb.old", "raft.redb.compact", "raft.redb.old"];
pub(super) const RAFT: &str = "raft.redb";
pub(super) const JOURNAL: &str = "raft.log";
pub(crate) const CONFIG: &str = "config.toml";
pub(super) const API_TOKEN: &str = "api-token";
pub(super) const API_URL: &str = "api-url";
pub(super) const API_DID: &str = "api-did";
pub(super) const METRICS_TOKEN: &str = "metrics-token";
pub(super) const ISSUED_TOKENS: &str = "issued-tokens";
pub(super) const APPROVE_PASSPHRASE: &str = "approve-passphrase";

/// The directory of the connected programs' tokens.
pub(super) const PROGRAM_TOKENS: &str = "tokens";
pub(super) const EMBEDDER_KEY: &str = "embedder-key";
pub(super) const TLS_CERTIFICATE: &str = "tls-cert.pem";
pub(super) const TLS_KEY: &str = "tls-key.pem";

/// The directory of blobs.
pub(super) const BLOBS: &str = "blobs";

/// The directory of the search index.
pub(super) const SEARCH: &str = "search";
pub(super) const PORTS: &str = "ports";
pub(super) const MEMBERSHIP: &str = "membership";
pub(super) const VISITS: &str = "visits";
pub(super) const PROJECTS: &str = "projects";
pub(crate) const LOCK: &str = "lock";
pub(super) const AGENT_LOG: &str = "mcp-node.log";
pub(super) const AGENT_LOG_OLD: &str = "mcp-node.log.1";

/// The directory in which a restore prepares its files.
pub(super) const RESTORING: &str = "restoring";

/// Names that a directory without a node may hold: settings made beforehand, files of the file system,
/// and remains of an interrupted start.
pub(super) const HARMLESS: [&str; 10] = [
    CONFIG,
    LOCK,
    PORTS,
    API_TOKEN,
    METRICS_TOKEN,
    ISSUED_TOKENS,
    PROGRAM_TOKENS,
    "identity.key.new",
    "lost+found",
    ".DS_Store",
];

/// The files of a backup beside the stores. The first two make a directory this node's.
pub(crate) const BACKED_UP: [&str; 4] = [IDENTITY, NEXT, ROOT, CONFIG];

/// The stores' files, in the order in which a restore puts them into their place.
pub(crate) const STORES: [&str; 3] = [STORE, RAFT, JOURNAL];

/// The fingerprint of a directory that a restore has made. It fits no directory.
pub(crate) const PUT_BACK: &[u8] = b"put back";
