//! The table of targets. A new decoder is one line of [`TARGETS`], one file of `fuzz_targets` and one seed.

mod crdt;
mod documents;
mod identity;
mod node;

use nexus_mesh::fuzzed as mesh;
use nexus_node::internals::fuzzed as values;
use values::{api, coordinator, mcp};

/// A decoder, and the bounds of its executions.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its folder of the corpus, too.
    pub name: &'static str,
    /// Reads any bytes. Returns whether they were read; panics if a law does not hold.
    pub run: fn(&[u8]) -> bool,
    /// The most bytes allocated at one time.
    pub allowance: Allowance,
    /// The longest input.
    pub bytes_max: usize,
}

/// The memory that an execution may take: so much, and so much more for each byte of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes.
    pub fixed: usize,
    /// Bytes for each byte.
    pub each: usize,
}

impl Allowance {
    /// The allowance for an input of this length, in bytes.
    pub const fn of(self, bytes: usize) -> usize {
        self.fixed + self.each * bytes
    }
}

/// A value that is read and written again a few times. The smallest element of a list takes one byte on the
/// wire and about 32 in memory, and a vector that grows exists twice for a moment.
const DECODED: Allowance = Allowance { fixed: 64 * 1024, each: 64 };
/// A small document of JSON is a tree of maps: a member takes five bytes as text, and a node of a map some
/// hundred.
const TREE: Allowance = Allowance { fixed: 64 * 1024, each: 512 };
/// A value of critical state. For bytes behind a length borsh asks the system for zeros, up to 1 MiB, before
/// it finds fewer bytes. It never touches them, and only members reach these decoders.
const CRITICAL: Allowance = Allowance { fixed: 1024 * 1024 + 64 * 1024, each: 64 };
/// A state machine works on the value, beside a state of its own.
const APPLIED: Allowance = Allowance { fixed: 2 * 1024 * 1024, each: 512 };

/// A compressed change is expanded up to its bound, into a buffer that grows.
const EXPANDED: Allowance = Allowance { fixed: 8 * 1024 * 1024, each: 64 };
/// A table of operations: a line for each byte, and so many more for each change.
const JUDGED: Allowance = Allowance { fixed: 2 * 1024 * 1024, each: 1_024 };
/// The library's document beside the table, at a few versions.
const BUILT: Allowance = Allowance { fixed: 4 * 1024 * 1024, each: 8 * 1024 };
/// A run of a few bytes stands for as many operations as a document may have, and the library expands it.
const LOADED: Allowance = Allowance { fixed: 1024 * 1024 * 1024, each: 1_024 };

const fn target(name: &'static str, run: fn(&[u8]) -> bool, allowance: Allowance) -> Target {
    Target { name, run, allowance, bytes_max: 8 * 1024 }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    // identities, which strangers show
    target("chain", identity::chain, DECODED),
    target("did", identity::did, DECODED),
    target("name", identity::name, DECODED),
    target("ticket", identity::ticket, DECODED),
    // a stranger at the gate and at the door
    target("hello", mesh::hello, DECODED),
    target("listen", mesh::listen, DECODED),
    target("frames", mesh::frames, DECODED),
    target("join_request", mesh::join_request, DECODED),
    target("join_reply", mesh::join_reply, DECODED),
    // a stranger at an address of the API
    target("certificate", values::certificate, DECODED),
    // members: beats
    target("beat", mesh::beat, DECODED),
    target("whereabouts", values::whereabouts, DECODED),
    // members: entries, by gossip and by sync
    target("entry_frame", crdt::entry_frame, DECODED),
    target("header", crdt::header, DECODED),
    target("leaves", crdt::leaves, DECODED),
    target("writes", crdt::writes, TREE),
    target("core", crdt::core, TREE),
    target("proof", crdt::proof, DECODED),
    target("page", crdt::page, APPLIED),
    target("profile", crdt::profile, DECODED),
    target("revocation", crdt::revocation, APPLIED),
    target("seat", crdt::seat, APPLIED),
    target("evidence", crdt::evidence, APPLIED),
    target("succession", crdt::succession, APPLIED),
    target("erasure", crdt::erasure, DECODED),
    target("confirmation", crdt::confirmation, DECODED),
    target("space", crdt::space, DECODED),
    target("record_ids", crdt::record_ids, DECODED),
    target("sync_frame", crdt::sync_frame, DECODED),
    target("sync_session", node::sync_session, APPLIED),
    target("engine", node::engine, APPLIED),
    // members and their programs: changes of documents
    target("document_change", documents::document_change, EXPANDED),
    target("document_changes", documents::document_changes, JUDGED),
    target("document_applied", documents::document_applied, BUILT),
    target("document_file", documents::document_file, LOADED),
    target("document_sync", documents::document_sync, LOADED),
    target("repo_message", documents::repo_message, DECODED),
    // members: critical state
    target("envelope", coordinator::envelope, APPLIED),
    target("log_entry", coordinator::entry, CRITICAL),
    target("snapshot_head", coordinator::snapshot_head, CRITICAL),
    target("machine", coordinator::machine, APPLIED),
    target("proposal", coordinator::proposal, APPLIED),
    target("proposals", coordinator::proposals, APPLIED),
    target("query", coordinator::query, APPLIED),
    target("answer", coordinator::answer, CRITICAL),
    target("outcomes", coordinator::outcomes, CRITICAL),
    target("audit_page", coordinator::audit_page, CRITICAL),
    target("audit_record", coordinator::audit_record, CRITICAL),
    // programs of this machine: the API, and MCP on it
    target("head", api::head, TREE),
    target("parameters", api::parameters, TREE),
    target("body", api::body, TREE),
    target("import_line", api::import_line, TREE),
    target("text", api::text, DECODED),
    target("backup", values::backup, CRITICAL),
    target("cursor", values::cursor, DECODED),
    target("memory_id", values::memory_id, DECODED),
    target("trace", values::trace, DECODED),
    target("searched", values::searched, TREE),
    target("message", mcp::message, TREE),
    target("session", mcp::session, DECODED),
    target("graph_line", mcp::graph_line, TREE),
];

/// The target of that name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
