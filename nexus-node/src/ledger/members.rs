use nexus_crdt::{Kind, Members, Profile, SpaceId};
use nexus_identity::Chain;

use super::rows::Standing;
use super::{Genesis, LedgerError, read_genesis, view};
use crate::store::View;

/// Who belongs to the mesh of a store: folds the mesh space's credentials and profiles.
///
/// A credential proves itself: it counts wherever it stands, also where its log is cut.
///
/// # Errors
/// The view's, or the node's own chain does not hold.
pub(crate) fn read_members(store: &dyn View) -> Result<Members, LedgerError> {
    let Genesis { mesh, chain, .. } = read_genesis(store)?.ok_or(LedgerError::NoGenesis)?;
    chain.verify(&mesh)?;
    let mut members = Members::of(mesh);
    members.admit(&chain)?;
    let space = SpaceId::mesh(&mesh);
    for (no, _, _) in view::read_logs(store)?.into_iter().filter(|(_, log, _)| log.space == space) {
        for eno in view::enos_of_log(store, no, 0, u64::MAX)? {
            let Some(entry) = view::read_entry(store, eno)? else { continue };
            let (header, payload) = (entry.header(), entry.payload().unwrap_or_default());
            match header.kind {
                Kind::CREDENTIAL => {
                    // what does not hold was quarantined when it came
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
