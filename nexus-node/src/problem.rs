//! Problems in words and numbers: one table of codes for the API, the MCP servers and the command line.

use std::io::ErrorKind;

use nexus_crdt::BadTaskEvent;

use crate::backup::BackupError;
use crate::datadir::DataDirError;
use crate::error::{
    AccessError, COORDINATOR_HINT, ConflictError, ContactError, CriticalBound, DISK_FULL_HINT, DocumentError,
    FILE_GONE_HINT, InputError, NetworkError, NodeError, Resource,
};
use crate::store::{NotCompacted, StoreDamage, StoreError};

/// A code with its HTTP status and exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The name, for scripts.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The exit code of the command line.
    pub exit: u8,
}

/// Every code.
pub const CODES: &[Code] = &[
    // The caller's input.
    Code { name: "usage", status: 400, exit: 2 },
    Code { name: "malformed", status: 400, exit: 2 },
    Code { name: "invalid", status: 422, exit: 2 },
    Code { name: "secret_found", status: 422, exit: 2 },
    Code { name: "cursor_old", status: 422, exit: 2 },
    Code { name: "wrong_type", status: 415, exit: 2 },
    Code { name: "too_large", status: 413, exit: 2 },
    Code { name: "ambiguous", status: 409, exit: 2 },
    Code { name: "not_a_ticket", status: 422, exit: 2 },
    // Whether a node answers.
    Code { name: "no_node", status: 503, exit: 3 },
    // Not permitted.
    Code { name: "unauthorized", status: 401, exit: 4 },
    Code { name: "unproven", status: 401, exit: 4 },
    Code { name: "foreign_node", status: 401, exit: 4 },
    Code { name: "bad_certificate", status: 401, exit: 4 },
    Code { name: "refused", status: 403, exit: 4 },
    Code { name: "passphrase", status: 403, exit: 4 },
    Code { name: "foreign_origin", status: 403, exit: 4 },
    Code { name: "foreign_host", status: 421, exit: 4 },
    // Not there.
    Code { name: "not_found", status: 404, exit: 5 },
    Code { name: "no_route", status: 404, exit: 5 },
    Code { name: "no_method", status: 405, exit: 1 },
    // Not now.
    Code { name: "no_quorum", status: 503, exit: 6 },
    Code { name: "conflict", status: 409, exit: 7 },
    Code { name: "other_request", status: 422, exit: 7 },
    Code { name: "in_use", status: 409, exit: 7 },
    Code { name: "name_taken", status: 409, exit: 7 },
    Code { name: "full", status: 409, exit: 7 },
    Code { name: "too_many", status: 429, exit: 7 },
    Code { name: "timed_out", status: 504, exit: 8 },
    Code { name: "damaged", status: 503, exit: 1 },
    Code { name: "unreachable", status: 504, exit: 8 },
    Code { name: "outcome_unknown", status: 504, exit: 9 },
    Code { name: "disk_full", status: 507, exit: 1 },
    Code { name: "file_gone", status: 503, exit: 1 },
    Code { name: "too_new", status: 501, exit: 1 },
    Code { name: "not_raised", status: 501, exit: 1 },
    Code { name: "stopping", status: 503, exit: 1 },
    Code { name: "starting", status: 503, exit: 1 },
    // Faults of the program or of the machine.
    Code { name: "failed", status: 500, exit: 1 },
    Code { name: "internal", status: 500, exit: 1 },
    Code { name: "search", status: 500, exit: 1 },
    Code { name: "store", status: 500, exit: 1 },
    Code { name: "mesh", status: 500, exit: 1 },
    Code { name: "data_dir", status: 500, exit: 1 },
];

/// The row of a code.
pub fn code(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name)
}

/// The reason why a request was not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The code, for scripts.
    pub code: &'static str,
    /// The message, for people.
    pub message: String,
    /// The next step for the caller.
    pub hint: Option<String>,
    /// The id to ask with for the outcome, if it is unknown.
    pub id: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, id: None }
    }

    /// The node ends while it answers.
    pub(crate) fn stopping() -> Self {
        Self::new("stopping", "the node is stopping")
    }

    /// Sets the next step for the caller.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code of the command line.
    pub fn exit(&self) -> u8 {
        code(self.code).map_or(1, |code| code.exit)
    }
}

impl From<NodeError> for Problem {
    fn from(error: NodeError) -> Self {
        let (code, hint) = match &error {
            NodeError::DataDir(error) => data_dir(error),
            NodeError::Store(error) => store(error),
            error => (error.code(), hint(error)),
        };
        let (mut hint, mut id) = (hint.map(str::to_owned), None);
        if let NodeError::OutcomeUnknown { id: request, .. } = &error {
            hint = Some(format!(
                "look before you try again: `nexus-node kv outcome {request}` tells once a quorum answers"
            ));
            id = Some(request.to_string());
        }
        Self { code, message: error.to_string(), hint, id }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        use BackupError as E;
        let (code, hint) = match &error {
            E::NotABackup | E::Nothing { .. } => {
                ("invalid", "give the directory or the stream that `nexus-node backup` wrote")
            }
            E::TooNew { .. } => ("too_new", "use the version that wrote it, or a newer one"),
            E::Short | E::Damaged(_) => ("invalid", "nothing was changed; take another backup"),
            E::Blob { .. } => (
                "invalid",
                "nothing was changed; take another backup, or leave its blobs out with `--no-blobs`: other members may have them",
            ),
            E::NoKey => ("invalid", "it was written with `--without-keys`: give the key's file with `--identity FILE`"),
            E::OtherKey { .. } => ("invalid", "nothing was changed; give the key of that node"),
            E::Itself { .. } => ("conflict", "nothing was changed; give another directory with --data-dir"),
            E::Sound { .. } => ("conflict", "nothing was changed; `nexus-node up` starts the node"),
            E::Lost { .. } => (
                "store",
                "nothing was changed; use `nexus-node restore DIR` with a backup, or `nexus-node invite --replace NAME` on \
                 another member and join with that ticket in an empty directory; a node that was alone begins anew there: \
                 `nexus-node up --data-dir DIR`",
            ),
            E::Config(error) => {
                let problem = Self::new("invalid", error.to_string());
                return problem.hint("nothing was changed; mend config.toml; `nexus-node config show` lists the settings of a running node");
            }
            E::DataDir(error) => {
                let (code, hint) = data_dir(error);
                return Self { code, message: error.to_string(), hint: hint.map(str::to_owned), id: None };
            }
            E::Store(error) => {
                let (code, hint) = store(error);
                return Self { code, message: error.to_string(), hint: hint.map(str::to_owned), id: None };
            }
            E::Ledger(_) => ("invalid", "nothing was changed; take another backup"),
            E::Disk { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ("not_found", "give the directory or the stream that `nexus-node backup` wrote")
            }
            E::Disk { .. } | E::Stream(_) => ("failed", "is the disk full, or failing? `nexus-node doctor` looks"),
        };
        Self::new(code, format!("the backup: {error}")).hint(hint)
    }
}

/// The way on from a credential. Tools cannot allow one.
const SECRET_HINT: &str = "nothing was written: it would reach every machine of the mesh, and stay there. Leave it out, or \
    name the place where it is kept; `--allow-secret` at the command line writes it all the same";

/// The hint for an error of the node.
fn hint(error: &NodeError) -> Option<&'static str> {
    match error {
        NodeError::NotFound { what, .. } => not_found_hint(*what),
        NodeError::Conflict(conflict) => conflict_hint(conflict),
        NodeError::Refused(refusal) => refusal_hint(refusal),
        NodeError::Invalid(input) => input_hint(input),
        NodeError::BlobDamaged { .. } => Some(
            "bring back a node that has it whole, or add the file again where it is; `nexus-node blob verify` there shows \
             the damage",
        ),
        NodeError::Unreachable(ContactError::NoLog { .. }) => Some(
            "ask again once it is connected and of this version; `nexus-node task show ID` has the end of its stderr",
        ),
        NodeError::Unreachable(ContactError::NoAdmin) => Some(
            "nothing was changed; start a node of an admin, or use the mesh's root key: `nexus-node key rotate --root FILE`",
        ),
        NodeError::Coordinator(_) => Some(COORDINATOR_HINT),
        NodeError::NoQuorum { lost: true, .. } => Some(
            "these voters are no members any more: `nexus-node coordinator recover --i-understand` on an admin's node",
        ),
        NodeError::NoQuorum { .. } => Some(
            "nothing changed: critical writes and exact reads need a quorum, memory goes on; `nexus-node coordinator` shows who votes",
        ),
        NodeError::DiskFull(_) => Some(DISK_FULL_HINT),
        NodeError::FileGone(_) => Some(FILE_GONE_HINT),
        NodeError::TooNew(_) => Some("update this node: its data stays as it is, and it goes on where it stopped"),
        NodeError::NotRaised { needs: 3.., .. } => Some(
            "nothing was written; `nexus-node status` names the members to update, and until then leave the id out",
        ),
        NodeError::NotRaised { .. } => Some(
            "nothing was written; `nexus-node status` names the members to update, and until then it can be written as text",
        ),
        NodeError::Ambiguous { .. } => Some("use more of the id"),
        NodeError::TooLarge { .. } => Some("split it, or keep the bulk elsewhere and remember where"),
        NodeError::Mesh(NetworkError::Listen(_)) => Some(
            "nothing listens; give addresses of this machine with --listen, or set `listen` in config.toml: /ip4/0.0.0.0/tcp/0 \
             is any of them, on a free port",
        ),
        NodeError::Stopping(_) => Some("start it again: `nexus-node up`"),
        NodeError::Document(error) => document_hint(error),
        _ => None,
    }
}

/// The hint for what documents refuse.
fn document_hint(error: &DocumentError) -> Option<&'static str> {
    match error {
        DocumentError::KeyTaken { .. } => {
            Some("nothing was written: choose another key; `nexus-node doc list` shows them")
        }
        DocumentError::Former { .. } => Some(
            "`nexus-node doc edit KEY` writes to the present one; `nexus-node doc name ADDRESS NEW-KEY` gives this one a key \
             of its own, with which it takes edits",
        ),
        DocumentError::Busy { .. } => Some("send it again in a moment, and fewer or smaller ones at once"),
        DocumentError::Address(_) => Some("choose another key; `nexus-node doc list` shows the documents"),
        DocumentError::Missing(_) => {
            Some("`nexus-node doc get KEY` shows what is there, `nexus-node doc history KEY` its versions")
        }
        DocumentError::Edit(_) => Some("`nexus-node doc get KEY` shows what is there"),
        DocumentError::File(_) => Some("nothing was written"),
        _ => None,
    }
}

/// The hint for what is not there.
fn not_found_hint(what: Resource) -> Option<&'static str> {
    match what {
        Resource::Memory => Some("`nexus-node list` shows the memories of this node"),
        Resource::Space => Some("`nexus-node space list` shows the spaces, `nexus-node space create` makes one"),
        Resource::Member => Some("`nexus-node members` shows who belongs"),
        Resource::Task => Some("`nexus-node task list` shows the tasks of this node"),
        Resource::Blob => Some(
            "a blob of another node has to be named by its whole hash; if nobody in reach has it, `--wait 10m` waits for \
             somebody who does",
        ),
        Resource::BlobTag => Some("`nexus-node blob list` shows the tags of this node"),
        Resource::Document => {
            Some("`nexus-node doc list` shows the documents of a space, `nexus-node doc create KEY` makes one")
        }
        Resource::Words => {
            Some("`nexus-node vocabulary list` shows all; `nexus-node forget ID` takes another member's")
        }
        Resource::Replica => {
            Some("ask without `--local`: the coordinators answer; a node that just joined gets its copy in a moment")
        }
        Resource::Forgotten => {
            Some("give the id that `forget` printed; a memory whose content was erased does not come back")
        }
        _ => None,
    }
}

/// The hint for what is otherwise than the caller takes it to be.
fn conflict_hint(conflict: &ConflictError) -> Option<&'static str> {
    match conflict {
        ConflictError::BlobInDirectory { .. } => {
            Some("nothing was removed: remove the directory; `nexus-node blob list` shows it")
        }
        ConflictError::FilesMissing { .. } => Some("nothing was kept; add the directory again"),
        ConflictError::NameTaken(_) => Some("nothing was changed: take another name; `nexus-node members` shows them"),
        ConflictError::TaskOver { .. } => {
            Some("nothing changed: an end stays; `nexus-node task retry ID` submits it once more")
        }
        ConflictError::ClaimOver => {
            Some("stop the work: its result is kept as late, and another worker may have the task")
        }
        ConflictError::TaskOpen => {
            Some("nothing changed: wait for its end, or take it back: `nexus-node task cancel ID`")
        }
        ConflictError::NotWaiting => Some("nothing changed; `nexus-node task show ID` tells its state"),
        ConflictError::KeyTaken { .. } => Some("nothing was written; forget that one first, or edit it"),
        ConflictError::KeyLike { .. } => Some("nothing was written; give the key as it is there, or another one"),
        ConflictError::KeysAlike { .. } => {
            Some("nothing was written; give both the same key for one memory, or keys that differ in more")
        }
        ConflictError::OtherRequest => {
            Some("nothing changed: give each change an id of its own, and use it again for the same change alone")
        }
        _ => None,
    }
}

/// The hint for what the caller may not do.
fn refusal_hint(refusal: &AccessError) -> Option<&'static str> {
    match refusal {
        AccessError::Revoked => Some("`nexus-node export` writes them; a new directory can join with a new ticket"),
        AccessError::NotAbove { by, .. } if by.is_empty() => {
            Some("`nexus-node revoke --root FILE` does it with the mesh's root key")
        }
        AccessError::NotAbove { .. } => {
            Some("run `nexus-node revoke` on one of their nodes, or here with the root key: `--root FILE`")
        }
        AccessError::StillUp { .. } => Some(
            "a member that is up is not replaced: stop its node first, or end its membership with `nexus-node revoke`",
        ),
        AccessError::Inviter { code: nexus_mesh::JoinRefusal::NameTaken, .. } => {
            Some("nothing was changed, and the ticket is still good: `nexus-node join TICKET --name ANOTHER`")
        }
        AccessError::NotByRoot => Some("nothing was changed; `nexus-node revoke --root FILE`"),
        AccessError::OwnMembership => Some("`nexus-node leave` ends it"),
        AccessError::NoSuccession { .. } | AccessError::BadSuccession => Some(
            "nothing was changed; an admin's `nexus-node key rotate --for NAME` lets another one within a day through, and \
                 `nexus-node key rotate --root FILE` does it with the mesh's root key",
        ),
        AccessError::OwnRotation => {
            Some("nothing was changed: `nexus-node key rotate --for NAME`, on another admin's node")
        }
        AccessError::WouldTakeAlong { .. } => {
            Some("nothing was changed: have an admin above this node revoke it, who keeps them")
        }
        AccessError::Full(CriticalBound::Line { .. } | CriticalBound::Locks { .. }) => {
            Some("nothing changed: try again once others have given locks back; `nexus-node lock list` shows them")
        }
        AccessError::Full(_) => Some("nothing changed: delete keys, or give locks back"),
        AccessError::TooManyTasks { .. } => Some(
            "nothing was submitted: start a worker for them, or cancel some; `nexus-node task list --state pending`",
        ),
        AccessError::TooManyWorkers { .. } => Some("stop some of them, and try again"),
        AccessError::KeptEnough { .. } => {
            Some("the result is lost unless that node is reached before its task ends: have its person look at it")
        }
        AccessError::NotYourTask(_) => Some("do it on its submitter's node, or on an admin's"),
        AccessError::NotAdmin(_) => Some("run it on an admin's machine: `nexus-node members` shows who is one"),
        AccessError::NoApprover(_) => {
            Some("`nexus-node task show ID` names the rule and who could; do it there, on the page or at a terminal")
        }
        AccessError::MayNotRead { .. } => Some(
            "nothing was submitted: name a member among the readers of that space; `nexus-node space list` shows them",
        ),
        AccessError::NobodyApproves => Some(
            "nothing was submitted: leave `--approved-by other` out, or have an admin above this node let another one in",
        ),
        AccessError::NotAdmitted { .. } => {
            Some("that member says it: `nexus-node members mine NAME` there; nothing changed")
        }
        AccessError::PersonsTooNew => {
            Some("update all members; until then invite without saying whose machine it is, and say it later")
        }
        _ => None,
    }
}

/// The hint for an input that breaks a rule.
fn input_hint(input: &InputError) -> Option<&'static str> {
    match input {
        InputError::Depth { .. } => Some("write the deep part as a text of JSON"),
        InputError::GroupSize { .. } | InputError::GroupSign { .. } => {
            Some("give words that mean the same, each as an argument: `vocabulary add deploy \"ship it\"`")
        }
        InputError::GroupWord { .. } => Some("a longer wording is an alias of a memory: `remember --alias`"),
        InputError::GroupStopWord { .. } => Some("such words are in any text; leave it out"),
        InputError::Groups { .. } => {
            Some("`nexus-node vocabulary remove WORD` makes room; `nexus-node vocabulary list` shows them")
        }
        InputError::Secret { .. } => Some(SECRET_HINT),
        InputError::Task(BadTaskEvent::Capability) | InputError::Capabilities { .. } => {
            Some("a capability is a name as `resize` or `code/review:rust`, the same at the task and at its worker")
        }
        InputError::OldCursor(_) => {
            Some("begin without a cursor and read all once; `/v1/watch` takes a revision as before")
        }
        InputError::OncePreempted => Some("nobody would know what became of it; leave out one of the two"),
        InputError::OnceInherited => Some("the right to begin it is its submitter's alone; leave out one of the two"),
        InputError::HeirReads { .. } => Some("name a member whose role is member or admin"),
        InputError::Date { .. } => Some("give an earlier one, or leave it out: it then has no end"),
        InputError::Percent => Some("100 is no bound; only Linux can tell the load"),
        InputError::Task(BadTaskEvent::TooLarge { .. }) => {
            Some("add the bulk with `nexus-node blob add`, and give its hash")
        }
        InputError::Task(BadTaskEvent::Json(_)) => Some("give one JSON document, with each key of an object once"),
        InputError::Task(BadTaskEvent::Token) => Some("give the token that came with the claim"),
        InputError::Task(BadTaskEvent::Attempt) => Some("give a time as `300s` or `2h`"),
        _ => None,
    }
}

fn data_dir(error: &DataDirError) -> (&'static str, Option<&'static str>) {
    use DataDirError as E;
    let (code, hint) = match error {
        E::Empty { .. } => ("not_found", "`nexus-node up` makes a node there"),
        E::Initialized { .. } => ("conflict", "`nexus-node up` runs it; another node wants another --data-dir"),
        E::Foreign { .. } => ("conflict", "give an empty directory with --data-dir"),
        E::Restoring { .. } => ("conflict", "run `nexus-node restore` again: it begins anew"),
        E::NotADirectory { .. } => ("conflict", "give a directory with --data-dir"),
        E::InUse { .. } => {
            ("in_use", "`nexus-node stop` ends it, if it answers; or give another directory with --data-dir")
        }
        E::OtherAccount { .. } => {
            ("refused", "nothing was changed; run this as that account, or give another directory with --data-dir")
        }
        E::Damaged { .. } => ("data_dir", "nothing was changed; bring the file back from a backup"),
        E::TooNew { .. } => ("data_dir", "nothing was changed; use the version that wrote it, or a newer one"),
        E::Denied { .. } => ("data_dir", "run this as the account that owns it, or mend its permissions"),
        E::ReadOnly { .. } => ("data_dir", READ_ONLY_HINT),
        _ => ("data_dir", "nothing was changed; is the disk full, or failing? `nexus-node doctor` looks"),
    };
    (code, Some(hint))
}

/// The mend of a directory that takes no writes.
const READ_ONLY_HINT: &str = "nothing was changed; mount it for writing, or give another directory with --data-dir; a disk that failed is mounted so, \
     too";

fn store(error: &StoreError) -> (&'static str, Option<&'static str>) {
    let (code, hint) = match error {
        StoreError::InUse { .. } => ("in_use", "stop the other process, or give another directory with --data-dir"),
        StoreError::TooNew { .. } => ("store", "nothing was changed; use the version that wrote it, or a newer one"),
        StoreError::Damaged {
            what: StoreDamage::Lost | StoreDamage::NoMesh | StoreDamage::OtherNode | StoreDamage::OtherMesh,
            ..
        } => (
            "store",
            "nothing was changed; put this node's own file back, or make an empty directory the node of a backup with \
             `nexus-node restore DIR`. Without both, `nexus-node restore --from-peers` goes on in the same mesh with what \
             other members have; a node that was alone is empty then",
        ),
        StoreError::Damaged { .. } | StoreError::NotAStore { .. } => (
            "store",
            "nothing was changed; `nexus-node restore --from-peers` makes it anew from what can be read and what peers have",
        ),
        StoreError::Full { .. } => ("disk_full", DISK_FULL_HINT),
        StoreError::NoRoomBeside { .. } => (
            "disk_full",
            "nothing has changed; make room on the disk, and try again: a second file is written beside the first one",
        ),
        StoreError::NotCompacted { why: NotCompacted::Running, .. } => {
            ("in_use", "it goes on; `nexus-node status` says when it has ended")
        }
        StoreError::NotCompacted { .. } => ("store", "nothing has changed: try again"),
        StoreError::Reopened { .. } => ("starting", "nothing is lost: try again"),
        StoreError::Disk { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            ("store", "run this as the account that owns the directory, or mend the permissions of this file")
        }
        StoreError::Disk { source, .. } if source.kind() == ErrorKind::ReadOnlyFilesystem => ("store", READ_ONLY_HINT),
        StoreError::Poisoned { .. } => ("store", "start the node again; what it acknowledged is on disk"),
        _ => ("store", "is the disk full, or failing? `nexus-node doctor` looks"),
    };
    (code, Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words in a text between these two, as far as they are like codes.
    fn words<'a>(text: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
        let is_code =
            |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let rest = text.split(begin).skip(1).filter_map(|rest| rest.split_once(end));
        rest.map(|(word, _)| word.trim()).filter(is_code).collect()
    }

    /// The Rust files below a directory.
    fn sources(directory: &std::path::Path, into: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|end| end == "rs") {
                into.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }

    /// promise: Commands and API | Every code of an error is in the table of codes
    #[test]
    fn every_code_that_is_given_anywhere_is_listed() {
        let listed = |name: &str, place: &str| assert!(code(name).is_some(), "{name} of {place} is not listed");
        // an exhaustive match: a new variant has its arm there
        let (_, of_errors) = include_str!("error.rs").split_once("pub const fn code(").unwrap();
        let (of_errors, _) = of_errors.split_once("\n    }\n").unwrap();
        let codes = words(of_errors, "=> \"", "\"");
        assert!(codes.len() > 15 && codes.contains(&"search") && codes.contains(&"file_gone"), "{codes:?}");
        codes.into_iter().for_each(|name| listed(name, "NodeError"));
        for name in words(include_str!("problem.rs").split("#[cfg(test)]").next().unwrap(), "(\"", "\",") {
            listed(name, "problem.rs");
        }
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut all = Vec::new();
        sources(&root.join("src"), &mut all);
        sources(&root.join("cli/src"), &mut all);
        assert!(all.len() > 300, "the program and the command line");
        for name in all.iter().flat_map(|text| words(text, "Problem::new(\"", "\"")) {
            listed(name, "a source");
        }
    }

    #[test]
    fn every_code_is_listed_once_with_an_exit_code_of_the_contract() {
        for (index, row) in CODES.iter().enumerate() {
            assert!(CODES[..index].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!((1..=9).contains(&row.exit) && (400..600).contains(&row.status), "{}", row.name);
        }
    }
}
