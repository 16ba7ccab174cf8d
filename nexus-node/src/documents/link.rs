//! A program's way to a node without its socket, for the simulator.

use nexus_documents::{DocumentId, SyncMessage};

use super::Documents;
use super::synced::{Heard, Synced};
use crate::error::NodeError;

/// A program that follows one document.
#[derive(Debug)]
pub struct ProgramLink {
    documents: Documents,
    synced: Synced,
}

/// The outcome of the changes in a message of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramHeard {
    /// They are on the disk, or were here.
    Taken,
    /// They wait for others.
    Waits,
    /// Some of them do not count in this mesh. The later changes of the program are kept aside.
    Aside(String),
    /// One is not taken, for this reason.
    Refused(String),
}

impl ProgramLink {
    /// A program opens a document, if it is here.
    ///
    /// # Errors
    /// The node stops.
    pub async fn open(documents: Documents, document: DocumentId, may_write: bool) -> Result<Option<Self>, NodeError> {
        let synced = documents.synced(document, may_write).await?;
        Ok(synced.map(|synced| Self { documents, synced }))
    }

    /// The node takes a message of Automerge's sync protocol.
    ///
    /// # Errors
    /// The node stops, its disk is full, or it may not write.
    pub async fn hear(&mut self, message: Vec<u8>) -> Result<ProgramHeard, NodeError> {
        let message: SyncMessage = match self.documents.sync_message(message).await? {
            Ok(message) => message,
            Err(error) => return Ok(ProgramHeard::Refused(error.to_string())),
        };
        Ok(match self.documents.hear(&mut self.synced, vec![message]).await? {
            Heard::Taken => ProgramHeard::Taken,
            Heard::Waits => ProgramHeard::Waits,
            Heard::Refused(why) => ProgramHeard::Refused(why),
            Heard::Aside(why) => {
                self.documents.keep_aside(&mut self.synced).await;
                ProgramHeard::Aside(why)
            }
        })
    }

    /// The next message of the node.
    ///
    /// # Errors
    /// As [`hear`](Self::hear).
    pub async fn say(&mut self) -> Result<Option<Vec<u8>>, NodeError> {
        self.documents.say(&mut self.synced).await
    }
}
