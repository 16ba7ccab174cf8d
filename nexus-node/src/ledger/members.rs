use nexus_crdt::{Kind, Members, Profile, SpaceId};
use nexus_identity::Chain;

use super::rows::Standing;
use super::{Genesis, LedgerError, read_genesis, view};
use crate::store::View;

/// The members of a store's mesh: the fold of the mesh space's credentials and profiles.
///
/// A credential proves itself. It counts at any place, also where its log is cut.
///
/// # Errors
/// An error of the view, or a chain of this node that does not hold.
pub(crate) fn read_members(store: &dyn View) -> Result<Members, LedgerError> {
    let Genesis { mesh, chain, .. } = read_genesis(store)?.ok_or(LedgerError::NoGenesis)?;
    chain.verify(&mesh)?;
    let mut members = Members::of(mesh);
    members.admit(&chain)?;
    let space = SpaceId::mesh(&mesh);
    for (no, _, _) in view::read_logs(store)?.into_iter().filter(|(_, log, _)| log.space == space) {
        for eno in view::enos_of_log(store, no, 0, u64::MAX)? {
            let Some(entry) = view::read_entry(store, eno)? else { continue };
            let (header, payload) = (entry.header(), entry.content().unwrap_or_default());
            match header.kind {
                Kind::CREDENTIAL => {
                    // a chain that does not hold was quarantined on arrival
                    let _ = Chain::from_bytes(payload).and_then(|chain| members.admit(&chain));
                }
                Kind::PROFILE if view::standing(store, eno)? == Standing::Applied => {
                    if let Ok(profile) = Profile::decode(payload) {
                        members.describe(&header.author, header.hlc, entry.id(), profile);
                    }
                }
                _ => {}
            }
        }
    }
    Ok(members)
}
