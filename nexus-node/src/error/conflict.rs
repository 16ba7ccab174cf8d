use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nexus_identity::{Did, Name};
use nexus_mesh::Multiaddr;

/// The current state that a change conflicts with. Nothing changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConflictError {
    /// There is a space of that name, or of one that only differs in case or form.
    #[error("there is a space {0} already")]
    SpaceExists(Name),
    /// Another member has that name, or one that only differs in case or form.
    #[error("another member is called {0} already")]
    NameTaken(Name),
    /// A node that has other members in its mesh stays there.
    #[error("this directory's node is in a mesh with other members already")]
    NotAlone,
    /// A node cannot redeem its own ticket.
    #[error("this is this node's own ticket")]
    OwnTicket,
    /// The leftover of an earlier join is in the way.
    #[error("{}: {source}", file.display())]
    Leftover {
        /// The leftover, which cannot be removed.
        file: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// Another program listens on the port of an address.
    #[error("{0} is in use by another program")]
    Port(Multiaddr),
    /// The voters cannot be changed so now.
    #[error("{reason}")]
    Voters {
        /// The reason in the leader's words.
        reason: String,
    },
    /// A memory that is there cannot be brought back.
    #[error("the memory {id} is not forgotten")]
    NotForgotten {
        /// Its id.
        id: String,
    },
    /// Another memory has the key of the one that is to be brought back.
    #[error("the memory {id} has the key {key} now")]
    KeyTaken {
        /// The other memory's id.
        id: String,
        /// The key.
        key: String,
    },
    /// Another memory has a key that differs from a new one only in case or form.
    #[error("the memory {id} has the key {key}, which differs from this one only in case or form")]
    KeyLike {
        /// The other memory's id.
        id: String,
        /// Its key.
        key: String,
    },
    /// Two memories of one call have keys that differ only in case or form.
    #[error("the keys {one} and {other} of one call differ only in case or form")]
    KeysAlike {
        /// The key of the earlier one.
        one: String,
        /// The key of the later one.
        other: String,
    },
    /// The request's id was given to another change before, on this node.
    #[error("a request with this id asked for something else before")]
    OtherRequest,
    /// A quorum answers, and nothing needs to be recovered.
    #[error("a quorum is there: nothing needs to be recovered")]
    QuorumThere,
    /// The key has another value than the expected one, or none.
    #[error("the key {}", .revision.map_or_else(|| "does not exist".to_owned(), |revision| format!("has another value, of revision {revision}")))]
    Mismatch {
        /// The revision of the key's last write; `None` if the key does not exist.
        revision: Option<u64>,
    },
    /// The lease of a token has ended.
    #[error("the token {token} is of no lease that stands")]
    StaleToken {
        /// The token.
        token: u64,
    },
    /// Another node holds the lock.
    #[error("the lock is held by {holder}")]
    Held {
        /// The holder.
        holder: Did,
        /// The holder's token.
        token: u64,
    },
    /// Another node held the lock for the whole time of waiting.
    #[error("the lock {name} is still held")]
    StillHeld {
        /// The lock's name.
        name: String,
    },
    /// The lease of a guard ended before it was released.
    #[error("the lease was over")]
    LeaseOver,
    /// A blob is a file of a directory that is kept.
    #[error("{hash} is a file of a directory that is kept")]
    BlobInDirectory {
        /// Its hash.
        hash: String,
    },
    /// A file that was to be added was changed while it was read. Nothing of it is kept.
    #[error("{} was changed, replaced or removed while it was read", .0.display())]
    FileChanged(std::path::PathBuf),
    /// Files of a directory are not here.
    #[error("{count} files of the directory {hash} are not here")]
    FilesMissing {
        /// The directory's hash.
        hash: String,
        /// Their number.
        count: usize,
    },
    /// A task has ended already.
    #[error("the task has ended already: {state}")]
    TaskOver {
        /// The word for its end.
        state: &'static str,
    },
    /// A task that has not ended is not submitted once more.
    #[error("the task has not ended")]
    TaskOpen,
    /// The token is of no claim that stands: the task ended, or another worker has it.
    #[error("this claim of the task no longer stands")]
    ClaimOver,
    /// A task that does not wait for an approval is neither approved nor rejected.
    #[error("the task does not wait for an approval")]
    NotWaiting,
    /// The blob with a task's input is not what its submitter says of it.
    #[error("the input is in a blob that does not begin as its submitter says, or is longer")]
    InputDiffers,
    /// The blob with a memory's text is not what its author says of it.
    #[error("the blob with its text does not begin as the memory does, or has another size")]
    TextDiffers,
    /// A later version of the leader answered with an unknown outcome.
    #[error("it was answered with something else")]
    OtherAnswer,
}
