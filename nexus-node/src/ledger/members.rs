use std::collections::BTreeMap;

use nexus_crdt::{
    FormError, Head, Kind, LogId, Members, PlacedRevocation, PlacedSuccession, Profile, Revocation, Seat, SpaceId,
    Succession, Verified,
};
use nexus_identity::{Chain, Did};

use super::rows::Standing;
use super::{Genesis, LedgerError, read_genesis, view};
use crate::store::View;

/// The members of a store's mesh: the fold of the mesh space's credentials, revocations and profiles.
///
/// A credential proves itself. It counts at any place, also where its log is cut. Whether a revocation
/// counts is part of the verdict.
///
/// # Errors
/// An error of the view, or a chain of this node that does not hold.
pub(crate) fn read_members(store: &dyn View) -> Result<Members, LedgerError> {
    let Genesis { mesh, chain, .. } = read_genesis(store)?.ok_or(LedgerError::NoGenesis)?;
    let mut members = Members::of(mesh);
    let me = chain.verify(&mesh)?.subject;
    members.admit_by(&me, &chain)?;
    let space = SpaceId::mesh(&mesh);
    let mut held_logs = BTreeMap::new();
    for (no, log, _) in view::read_logs(store)?.into_iter().filter(|(_, log, _)| log.space == space) {
        held_logs.extend(view::read_branches(store, no)?.map(|held| (log, (no, held.cut))));
        for eno in view::enos_of_log(store, no, 0, u64::MAX)? {
            let standing = view::standing(store, eno)?;
            if standing == Standing::Quarantined {
                // it never counts, and whoever wrote it would have each start verify it again
                continue;
            }
            let Some(entry) = view::read_entry(store, eno)? else { continue };
            let (header, payload) = (entry.header(), entry.content().unwrap_or_default());
            match header.kind {
                Kind::CREDENTIAL => {
                    // a chain that does not hold was quarantined on arrival
                    let _ = Chain::from_bytes(payload).and_then(|chain| members.admit_by(&header.author, &chain));
                }
                Kind::REVOCATION => {
                    if let Ok(placed) = placed_revocation(&mesh, &entry) {
                        members.revoke(placed);
                    }
                }
                Kind::SEAT => {
                    if let Ok(seat) = Seat::decode(payload) {
                        members.seat(&header.author, header.hlc, entry.id(), seat);
                    }
                }
                Kind::SUCCESSION => {
                    // without the signatures of both keys it was quarantined on arrival
                    if let Ok(succession) = Succession::decode(payload) {
                        let (author, order) = (header.author, (header.seq, entry.id()));
                        let _ = members.succeed(PlacedSuccession { author, order, hlc: header.hlc, succession });
                    }
                }
                Kind::PROFILE if standing == Standing::Applied => {
                    if let Ok(profile) = Profile::decode(payload) {
                        members.describe(&header.author, header.hlc, entry.id(), profile);
                    }
                }
                _ => {}
            }
        }
    }
    let held = |log: &LogId| held_logs.get(log).copied();
    let branches = view::HeldBranches::new(store, &held);
    let decided = members.decided(&branches);
    branches.finish()?;
    Ok(decided.unwrap_or(members))
}

/// The chains of credentials of members, by member.
#[cfg(feature = "http")]
pub(crate) type Chains = BTreeMap<Did, Chain>;

/// A chain of each member that published one, and this node's own.
///
/// # Errors
/// An error of the view.
#[cfg(feature = "http")]
pub(crate) fn read_chains(store: &dyn View) -> Result<Chains, LedgerError> {
    let Genesis { mesh, chain, .. } = read_genesis(store)?.ok_or(LedgerError::NoGenesis)?;
    let space = SpaceId::mesh(&mesh);
    let mut chains = Chains::new();
    for (no, ..) in view::read_logs(store)?.into_iter().filter(|(_, log, _)| log.space == space) {
        for eno in view::enos_of_log(store, no, 0, u64::MAX)? {
            if view::standing(store, eno)? == Standing::Quarantined {
                continue;
            }
            let Some(entry) = view::read_entry(store, eno)? else { continue };
            if entry.header().kind != Kind::CREDENTIAL {
                continue;
            }
            let Ok(chain) = Chain::from_bytes(entry.content().unwrap_or_default()) else { continue };
            if let Ok(claims) = chain.verify(&mesh) {
                chains.insert(claims.subject, chain);
            }
        }
    }
    chains.insert(chain.verify(&mesh)?.subject, chain);
    Ok(chains)
}

/// The revocation of an entry of the mesh space.
///
/// # Errors
/// The payload is none, or the root's signature in it is another's.
pub(crate) fn placed_revocation(mesh: &Did, entry: &Verified) -> Result<PlacedRevocation, FormError> {
    let header = entry.header();
    let revocation = entry.content().and_then(Revocation::decode)?;
    let by_root = revocation.is_by_root(mesh).map_err(|error| FormError::Content(error.to_string()))?;
    let entry = Head { seq: header.seq, id: entry.id() };
    Ok(PlacedRevocation { log: header.log(), entry, hlc: header.hlc, revocation, by_root })
}
