use nexus_crdt::BadTaskEvent;
use nexus_identity::TicketError;
use nexus_secrets::SecretKind;

use super::OpaqueError;
use super::SecretPlace;
use super::shown::Quoted;

/// The fault in a caller's input. Nothing changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A number of results is out of its range, which begins at 1.
    #[error("limit is {limit}, it may be 1 to {max}")]
    Limit {
        /// The number asked for.
        limit: usize,
        /// The bound.
        max: usize,
    },
    /// Too many memories are to be erased at once, or none.
    #[error("{count} memories are to be erased, it may be 1 to {max}")]
    Erased {
        /// Their number.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// A memory has no text.
    #[error("a memory has a text, and this one has none")]
    NoText,
    /// A question has no words.
    #[error("the question has no words to look for")]
    NoWords,
    /// A memory has too many tags.
    #[error("there are {count} tags, at most {max} are allowed")]
    Tags {
        /// Their number.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// A memory has too many aliases.
    #[error("there are {count} aliases, at most {max} are allowed")]
    Aliases {
        /// Their number.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// An alias is too long.
    #[error("an alias has {chars} characters, at most {max} are allowed")]
    Alias {
        /// Its characters.
        chars: usize,
        /// The bound.
        max: usize,
    },
    /// A task breaks a rule of form.
    #[error(transparent)]
    Task(BadTaskEvent),
    /// A task that is done once cannot be taken from its worker.
    #[error("a task that is done once cannot be preemptible")]
    OncePreempted,
    /// A task that is done once stays at its submitter's node.
    #[error("a task that is done once cannot have heirs")]
    OnceInherited,
    /// An heir hands a task out, which a reader cannot.
    #[error("{name} is no member that may write, so it cannot be an heir")]
    HeirReads {
        /// The member's DID.
        name: String,
    },
    /// A bound of load is no percentage.
    #[error("a bound of load is 0 to 100 percent")]
    Percent,
    /// A rule of approval is none that this version has.
    #[error("a rule of approval is `person` or `other`")]
    ApprovalRule,
    /// A worker names no capability, or too many.
    #[error("a worker names 1 to {max} capabilities")]
    Capabilities {
        /// The bound.
        max: usize,
    },
    /// A question is asked in too many other words.
    #[error("a question has at most {max} further phrasings, not {count}")]
    Phrasings {
        /// Their number.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// A memory would end before it begins to hold.
    #[error("the time until which it holds is not after the time from which it does")]
    Validity,
    /// A date is later than dates are written.
    #[error("{what} is after the year 9999")]
    Date {
        /// The date, or the time that leads to it.
        what: &'static str,
    },
    /// A memory and the one that it replaces are in different spaces.
    #[error("{} is in the space {}: what replaces it belongs there", Quoted(.id), Quoted(.space))]
    SupersedesElsewhere {
        /// The id of the memory to replace.
        id: String,
        /// Its space's name.
        space: String,
    },
    /// A group of words has too few different ones, or too many.
    #[error("a group has {min} to {max} different words")]
    GroupSize {
        /// The least.
        min: usize,
        /// The bound.
        max: usize,
    },
    /// A word of a group is too long.
    #[error("{} is too long: a word of a group has at most {parts} words and {chars} characters", Quoted(word))]
    GroupWord {
        /// Its beginning.
        word: String,
        /// The most words in it.
        parts: usize,
        /// The most characters.
        chars: usize,
    },
    /// A word of a group has a sign that is none of a word.
    #[error("{} has `=` or a control character", Quoted(word))]
    GroupSign {
        /// Its beginning.
        word: String,
    },
    /// A word of a group says nothing by itself.
    #[error("{} has no word that tells of anything", Quoted(word))]
    GroupStopWord {
        /// It.
        word: String,
    },
    /// A node has as many groups of words as count.
    #[error("this node has {count} groups of words, and {max} count")]
    Groups {
        /// Their number.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// A tag of a blob is empty, too long, or reads as a hash.
    #[cfg(feature = "blobs")]
    #[error("a tag has 1 to {max} bytes, no control characters, and is no hash")]
    BlobTag {
        /// The bound.
        max: usize,
    },
    /// A number of copies of a blob is out of range.
    #[cfg(feature = "blobs")]
    #[error("{wanted} copies are wanted, it may be 1 to {max}")]
    BlobCopies {
        /// The number.
        wanted: usize,
        /// The bound.
        max: usize,
    },
    /// A blob is no directory.
    #[cfg(feature = "blobs")]
    #[error(transparent)]
    Directory(#[from] nexus_blobs::BadCollection),
    /// JSON is nested deeper than readers of it follow.
    #[error("{what} may have at most {max} levels")]
    Depth {
        /// The JSON.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A tag, kind or key is empty or has control characters.
    #[error("{what} must not be empty or hold control characters")]
    Label {
        /// The kind of label.
        what: &'static str,
    },
    /// A text looks as if it has a credential. It would reach every machine of the mesh, and stay there.
    #[error("this looks like a secret: {kind}, in {place}")]
    Secret {
        /// Its form.
        kind: SecretKind,
        /// Its place.
        place: SecretPlace,
    },
    /// A text is no cursor.
    #[error("{} is not a cursor", Quoted(.0))]
    Cursor(String),
    /// A text is a number that another way of following hands out, and no cursor of events.
    #[error("{} is a number of an older kind, and no cursor of events", Quoted(.0))]
    OldCursor(String),
    /// A cursor is of another node.
    #[error("cursor {} is of another node: start without one", Quoted(.0))]
    ForeignCursor(String),
    /// Events of a kind without spaces were asked for of one space.
    #[error("events of {kind} are of no space: leave out the kind, or the space")]
    EventsSpace {
        /// The kind.
        kind: &'static str,
    },
    /// The mesh has as many spaces as this node allows.
    #[error("there are {count} spaces already, and no more may be made")]
    Spaces {
        /// Their number.
        count: usize,
    },
    /// A page of a space cannot be shown as a document.
    #[error("page does not project: {0}")]
    Page(#[source] OpaqueError),
    /// A ticket was asked for that nobody could use.
    #[error("a ticket has at least one use")]
    NoUses,
    /// A ticket was asked for by which several nodes would take the place of one.
    #[error("one node takes the place of a member: such a ticket has one use")]
    ReplacedTwice,
    /// A text is no ticket.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The node was made without a coordinator, and has no critical state.
    #[error("this node was made without a coordinator")]
    NoCoordinator,
    /// A schema that is none.
    #[error("the schema of the {part} is none: {why}")]
    Schema {
        /// `input` or `output`.
        part: &'static str,
        /// The reason.
        why: String,
    },
    /// A key that is one member's alone has no end.
    #[error("a key whose name begins with own/ and a member's DID needs a time to live")]
    EndlessKey,
    /// This build has no coordinators (feature `coordinators`), and no critical state.
    #[error("coordinators are not built in")]
    CoordinatorsNotBuilt,
    /// The name of a key or a lock is empty, too long, or has control characters.
    #[error("{what} must have 1 to {max} bytes and no control characters")]
    KeyName {
        /// The named thing.
        what: &'static str,
        /// The longest name, in bytes.
        max: usize,
    },
    /// The id of a request is empty, too long, or has control characters.
    #[error("a request's id must have 1 to {max} bytes and no control characters")]
    RequestId {
        /// The longest id, in bytes.
        max: usize,
    },
    /// A time is out of its range.
    #[error("{what} is {ms} ms, and must be {min} to {max} ms")]
    Time {
        /// The kind of time.
        what: &'static str,
        /// Its length, in milliseconds.
        ms: u64,
        /// The shortest, in milliseconds.
        min: u64,
        /// The longest, in milliseconds.
        max: u64,
    },
    /// A command on critical state that its format does not have yet.
    #[error("a command that format {format} does not have")]
    CommandFormat {
        /// The format.
        format: u16,
    },
}
