//! The messages of the join door.

use std::fmt;

use crate::libp2p::Multiaddr;
use nexus_identity::{Chain, Name, TicketId};
use prost::Message;

use crate::wire;

/// A newcomer's request to the inviter.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The id of the ticket.
    pub ticket_id: TicketId,
    /// The ticket's secret.
    pub secret: [u8; 16],
    /// The newcomer's name for itself.
    pub name: Name,
    /// Its software version, for people.
    pub version: String,
    /// In the place of a ticket: the request of a member's key that this one is to take its place. Empty without.
    pub succession: Vec<u8>,
}

/// The longest version text that is sent or read.
const VERSION_BYTES_MAX: usize = 64;

/// Leaves the secret out: requests end up in logs.
impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

impl JoinRequest {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut version = self.version.clone();
        while version.len() > VERSION_BYTES_MAX {
            version.pop();
        }
        let name = self.name.as_str().to_owned();
        let (ticket_id, secret) = (self.ticket_id.to_vec(), self.secret.to_vec());
        wire::JoinRequest { ticket_id, secret, name, version, succession: self.succession.clone() }.encode_to_vec()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let wire = wire::JoinRequest::decode(bytes).ok()?;
        if wire.version.len() > VERSION_BYTES_MAX || wire.version.chars().any(char::is_control) {
            return None;
        }
        Some(Self {
            ticket_id: wire.ticket_id.try_into().ok()?,
            secret: wire.secret.try_into().ok()?,
            name: wire.name.parse().ok()?,
            version: wire.version,
            succession: wire.succession,
        })
    }
}

/// The inviter's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinReply {
    /// The newcomer is admitted.
    Admitted {
        /// The newcomer's credentials. The newcomer verifies them against the ticket's mesh.
        chain: Chain,
        /// Further addresses of the inviter.
        addresses: Vec<Multiaddr>,
    },
    /// The newcomer is refused.
    Refused {
        /// The reason.
        code: JoinRefusal,
        /// The reason in words, for people.
        message: String,
    },
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JoinRefusal {
    /// No such ticket, or a wrong secret.
    Unknown,
    /// The ticket has ended.
    Expired,
    /// All its uses are gone.
    Used,
    /// The ticket was withdrawn.
    Withdrawn,
    /// The newcomer's key was revoked; a revoked key never returns.
    Revoked,
    /// The inviter may not admit anybody, or not any more.
    NotAdmin,
    /// The inviter is busy, stopping or not ready: try again.
    Unavailable,
    /// The newcomer's member had too many keys, or many were changed just now.
    TooMany,
    /// Another member has that name.
    NameTaken,
    /// A code of a later version.
    Other(u32),
}

impl JoinRefusal {
    const KNOWN: [Self; 9] = [
        Self::Unknown,
        Self::Expired,
        Self::Used,
        Self::Withdrawn,
        Self::Revoked,
        Self::NotAdmin,
        Self::Unavailable,
        Self::TooMany,
        Self::NameTaken,
    ];

    /// The number on the wire.
    const fn number(self) -> u32 {
        match self {
            Self::Unknown => 1,
            Self::Expired => 2,
            Self::Used => 3,
            Self::Withdrawn => 4,
            Self::Revoked => 5,
            Self::NotAdmin => 6,
            Self::Unavailable => 7,
            Self::TooMany => 8,
            Self::NameTaken => 9,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: u32) -> Self {
        Self::KNOWN.into_iter().find(|code| code.number() == number).unwrap_or(Self::Other(number))
    }
}

impl JoinReply {
    /// A refusal to try again later.
    pub(crate) fn unavailable(message: &str) -> Self {
        Self::Refused { code: JoinRefusal::Unavailable, message: message.to_owned() }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let answer = match self {
            Self::Admitted { chain, addresses } => wire::JoinAnswer::Admitted(wire::Admitted {
                chain: chain.to_bytes(),
                addresses: wire::addresses_to_wire(addresses),
            }),
            Self::Refused { code, message } => {
                wire::JoinAnswer::Refused(wire::JoinRefused { code: code.number(), message: message.clone() })
            }
        };
        wire::JoinReply { answer: Some(answer) }.encode_to_vec()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match wire::JoinReply::decode(bytes).ok()?.answer? {
            wire::JoinAnswer::Admitted(admitted) => Some(Self::Admitted {
                chain: Chain::from_bytes(&admitted.chain).ok()?,
                addresses: wire::addresses_from_wire(&admitted.addresses),
            }),
            wire::JoinAnswer::Refused(refused) => {
                let message = refused.message.chars().filter(|c| !c.is_control()).take(500).collect();
                Some(Self::Refused { code: JoinRefusal::from_number(refused.code), message })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_refusal_survives_the_wire() {
        for code in JoinRefusal::KNOWN.into_iter().chain([JoinRefusal::Other(99)]) {
            let reply = JoinReply::Refused { code, message: "why".to_owned() };
            assert_eq!(JoinReply::from_bytes(&reply.to_bytes()), Some(reply));
        }
    }

    proptest! {
        #[test]
        fn a_request_survives_the_wire(ticket_id: [u8; 16], secret: [u8; 16], name in "[a-z]{1,20}", version in "[ -~]{0,64}", succession in prop::collection::vec(any::<u8>(), 0..9)) {
            let request = JoinRequest { ticket_id, secret, name: name.parse().unwrap(), version, succession };
            prop_assert_eq!(JoinRequest::from_bytes(&request.to_bytes()), Some(request));
        }

        #[test]
        fn any_bytes_are_a_message_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = JoinRequest::from_bytes(&bytes);
            let _ = JoinReply::from_bytes(&bytes);
        }
    }
}
