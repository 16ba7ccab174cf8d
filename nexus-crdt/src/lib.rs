//! The entries of a Nexus mesh, and the rules by which every node folds them alike.
//!
//! Every durable act of a node is an [`Entry`] in its own signed, hash-chained log. Records, members
//! and spaces are a *fold* over the entries held. This crate holds the formats and the rules. It does
//! no I/O, reads no clock and draws no random number. The order in which entries arrive never matters.
//!
//! | items | decision |
//! |---|---|
//! | [`Entry`], [`Header`] | canonical bytes, ids, signatures |
//! | [`Leaves`] | payloads whose parts can be erased one by one |
//! | [`Head::admit`], [`Branches`] | whether an entry continues its log, and from where on none counts |
//! | [`Frontier`], [`plan`] | the entries that a peer lacks |
//! | [`Writes`], [`Dot`] | the writes in an entry, and their rules of form |
//! | [`FIELDS`], [`Core`], [`Origin`] | the fields of a memory, and the origin of their values |
//! | [`TextAttachment`] | texts that are too long for an entry |
//! | [`Fold`] | which values of a record are live |
//! | [`project`] | a page of records as an Automerge document |
//! | [`Members`] | the members of the mesh |
//! | [`Revocation`] | the end of a membership, and what of its logs counts |
//! | [`SpaceRule`] | the readers and the writers of a space |
//! | [`document_of`] | names and changes of a living document |
//! | [`Erase`], [`Confirmation`] | leaves that are to be erased, and the nodes that have done so |
//! | [`TaskEvent`], [`task_state`] | work that is handed over, and its one end |

mod access;
mod attachment;
mod document;
mod entry;
mod entry_id;
mod erase;
mod error;
mod evidence;
mod fields;
mod fold;
mod frontier;
mod hlc;
mod json;
mod log;
mod log_id;
mod members;
mod origin;
#[cfg(feature = "pages")]
mod page;
mod payload;
mod proof;
mod record;
mod revocation;
mod seat;
mod short;
mod space;
mod succession;
mod sync;
mod task;
mod writes;

pub use access::SpaceRule;
#[cfg(any(test, feature = "testing"))]
pub use access::{ADMINS_ALONE, HIDDEN_FROM_READERS};
pub use attachment::{TEXT_ATTACHMENT_BYTES_MAX, TextAttachment};
pub use document::{
    DOCUMENT_CHANGE_BYTES_MAX, DOCUMENT_KEY_BYTES_MAX, DOCUMENT_PARTS_MAX, DocumentPart, DocumentWords,
    document_leaves, document_of, is_document_key,
};
pub use entry::{
    ALL_LEAVES, Draft, ENTRY_FORMAT_FIRST, ENTRY_FORMAT_LEAVES, ENTRY_FORMAT_MAX, Entry, HEADER_BYTES_MAX, Header,
    Kind, REFS_MAX, Verified, payload_hash,
};
pub use entry_id::EntryId;
pub use erase::{CONFIRMED_TOGETHER_MAX, Confirmation, ERASED_TOGETHER_MAX, Erase, Erased};
pub use error::{EntryError, FormError};
pub use evidence::Evidence;
pub use fields::{Core, FIELDS, FieldSpec, Was};
pub use fold::{Fold, Live, version_of};
pub use frontier::{Frontier, Head};
pub use hlc::{DRIFT_MAX, Hlc, HlcClock};
pub use json::{BadJson, Inexact, InexactKind, JsonText, inexact, whole_characters};
pub use log::{ASIDE_MAX, Admission, Branches, Branching, Reach, Unforked};
pub use log_id::{Incarnation, LogId};
pub use members::{FormerMember, Member, Members, Profile, Revoked};
pub use origin::{AgentName, NoAgentName, NoSource, Origin, Source};
#[cfg(feature = "pages")]
pub use page::{PAGE_RECORDS_MAX, PageWrite, project};
pub use payload::PAYLOAD_BYTES_MAX;
pub use payload::{Content, LEAVES_MAX, Leaf, Leaves, SALT_BYTES, Salt};
pub use proof::{PROOF_BYTES_MAX, ProofError, Proven, check_proof, prove};
pub use record::{
    DOT_BYTES, Dot, DotPrefix, FIELD_BYTES_MAX, Field, OVER_MAX, Target, VALUE_BYTES_MAX, WRITES_MAX, Write, Writes,
};
pub use revocation::{PINS_MAX, Pin, PlacedRevocation, Revocation, RevocationDraft, RootRevocation};
pub use seat::Seat;
pub use short::{Lengthener, Shortener};
pub use space::{DERIVED_SPACES, SpaceDefinition, SpaceId, unnamed_spaces};
pub use succession::{PlacedSuccession, SUCCESSION_PINS_MAX, Succession};
pub use sync::{EntryFrame, FRAME_ENTRIES_MAX, FrontierPart, FullAuthor, LogHead, Range, SyncFrame, plan, sync_frame};
pub use task::{
    ApprovalRule, BadTaskEvent, CAPABILITY_BYTES_MAX, HeardEvent, PlacedTaskEvent, Priority, ReturnCause, Settlement,
    Submission, TASK_AFTER_MAX, TASK_ATTACHMENT_BYTES_MAX, TASK_ATTEMPT_MAX, TASK_ATTEMPTS_MAX, TASK_ERROR_BYTES_MAX,
    TASK_HEIRS_MAX, TASK_JSON_BYTES_MAX, TASK_NAME_BYTES_MAX, TASK_OWNERSHIP_MAX, TaskAttachment, TaskClaim, TaskEnd,
    TaskEvent, TaskId, TaskOwners, TaskPhase, TaskReturn, TaskRights, TaskSaid, TaskState, TaskToken, TaskVerb,
    TaskWord, is_capability, task_event_alone, task_event_at, task_events_of, task_state,
};
pub use writes::{PlacedWrite, writes_of};
