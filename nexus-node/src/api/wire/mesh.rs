//! From the library's types for the mesh to the wire's.

use nexus_client::wire::{
    Behind, Compacted, CompactedPart, Compacting, Invitation, Joined, Member, Peer, RevokedMember, Status, Warning,
};

impl From<crate::node::Status> for Status {
    fn from(status: crate::node::Status) -> Self {
        let behind = status.behind.into_iter().map(|behind| Behind {
            did: behind.did.to_string(),
            name: behind.name,
            entries: behind.entries,
        });
        let warnings = status.warnings.into_iter().map(|warning| Warning {
            code: warning.code.to_owned(),
            message: warning.message,
            hint: Some(warning.hint),
        });
        let seen = status.coordinators;
        Self {
            did: status.did.to_string(),
            peer_id: status.peer_id,
            name: status.name,
            mesh_did: status.mesh_did.to_string(),
            version: status.version,
            uptime_s: status.uptime.as_secs(),
            membership: if status.member { "member" } else { "revoked" }.to_owned(),
            offline: status.offline,
            mode: seen.as_ref().map(|seen| seen.mode().as_str().to_owned()),
            voters: seen.as_ref().map(|seen| seen.voters.len()),
            voters_up: seen.as_ref().map(crate::coordinator::Coordinators::voters_up),
            coordinator: seen.as_ref().and_then(|seen| seen.leader).map(|did| did.to_string()),
            role: seen.as_ref().and_then(|seen| seen.role).map(|role| role.as_str().to_owned()),
            peers: status.peers,
            behind: behind.collect(),
            warnings: warnings.collect(),
            memories: None,
            conflicts: None,
            disk_bytes: None,
            last_sync: status.last_sync.map(|at| at.to_string()),
            next: None,
            embedder: Some(status.embedder.into()),
            rss_bytes: status.rss_bytes,
            pid: Some(std::process::id()),
            started_by: None,
        }
    }
}

impl From<crate::node::Compaction> for Compacted {
    fn from(done: crate::node::Compaction) -> Self {
        let (before_bytes, after_bytes) = done.bytes();
        let parts = done.parts.iter().map(|part| CompactedPart {
            part: part.name.to_owned(),
            before_bytes: part.before,
            after_bytes: part.after,
        });
        Self {
            freed_bytes: before_bytes.saturating_sub(after_bytes),
            before_bytes,
            after_bytes,
            clean: done.is_clean,
            parts: parts.collect(),
        }
    }
}

impl From<crate::node::CompactState> for Compacting {
    fn from(state: crate::node::CompactState) -> Self {
        Self {
            part: state.part.map(str::to_owned),
            done_bytes: state.done,
            bytes: state.of,
            erased_since: state.erased_since.map(|at| at.to_string()),
        }
    }
}

impl From<crate::node::Peer> for Peer {
    fn from(peer: crate::node::Peer) -> Self {
        Self {
            did: peer.did.to_string(),
            peer_id: peer.peer_id,
            name: peer.name,
            state: peer.state.to_string(),
            cause: peer.cause.map(|cause| cause.to_string()),
            rtt_ms: peer.rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
            path: peer.path.map(|path| path.to_string()),
            synced: peer.synced,
            behind: peer.behind,
            last_seen: peer.last_seen.map(|at| at.to_string()),
            clock_ahead_ms: peer.clock_ahead_ms,
        }
    }
}

impl From<crate::node::MemberInfo> for Member {
    fn from(member: crate::node::MemberInfo) -> Self {
        Self {
            did: member.did.to_string(),
            name: member.name,
            roles: member.roles.iter().map(ToString::to_string).collect(),
            admitted_by: Some(member.admitted_by.to_string()),
            expires_at: member.expires_at.map(|at| at.to_string()),
            person: member.person.map(|person| super::Person {
                id: person.id.to_string(),
                first: person.first,
                mine: person.is_mine,
            }),
            revoked: None,
        }
    }
}

/// A former member.
pub(in crate::api) fn former_member((member, end): (crate::node::MemberInfo, crate::node::MembershipEnd)) -> Member {
    let revoked = super::MembershipEnd { at: end.at.to_string(), by: end.by.to_string() };
    Member { revoked: Some(revoked), ..member.into() }
}

impl From<crate::node::RevokedMember> for RevokedMember {
    fn from(revoked: crate::node::RevokedMember) -> Self {
        let dids = |dids: Vec<nexus_identity::Did>| dids.iter().map(ToString::to_string).collect();
        Self {
            did: revoked.did.to_string(),
            revoked_at: revoked.revoked_at.to_string(),
            pins: revoked.pins,
            kept: dids(revoked.kept),
            fallen: dids(revoked.fallen),
        }
    }
}

impl From<crate::node::Invitation> for Invitation {
    fn from(invitation: crate::node::Invitation) -> Self {
        Self {
            ticket: invitation.ticket.to_string(),
            join: invitation.join,
            expires_at: invitation.expires_at.to_string(),
            person: invitation.ticket.person.as_ref().map(|person| match person {
                nexus_identity::TicketPerson::Inviters(_) => "mine".to_owned(),
                nexus_identity::TicketPerson::Other(_) => "other".to_owned(),
            }),
        }
    }
}

impl From<crate::node::Joined> for Joined {
    fn from(joined: crate::node::Joined) -> Self {
        Self {
            did: joined.did.to_string(),
            peer_id: joined.peer_id,
            mesh_did: joined.mesh_did.to_string(),
            name: joined.name,
            inviter: joined.inviter.to_string(),
        }
    }
}
