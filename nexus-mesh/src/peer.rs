//! The two names of a key: Nexus's DID and libp2p's peer id.

use libp2p::PeerId;
use libp2p::identity::{PublicKey, ed25519};
use nexus_identity::Did;

/// The peer id of a DID; `None` if its bytes are no point on the curve, which no peer can have.
pub fn peer_id_of(did: &Did) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(did.as_bytes()).ok()?;
    Some(PeerId::from_public_key(&PublicKey::from(key)))
}

/// The DID of a peer id; `None` if the peer's key is of another kind than ours.
pub fn did_of(peer: &PeerId) -> Option<Did> {
    let multihash = peer.as_ref();
    // code 0 is "identity": the peer id contains the public key itself
    if multihash.code() != 0 {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(multihash.digest()).ok()?;
    Some(Did::from_bytes(key.try_into_ed25519().ok()?.to_bytes()))
}

/// The same key for libp2p, which signs handshakes with it.
pub(crate) fn libp2p_keypair(key: &nexus_identity::Keypair) -> Option<libp2p::identity::Keypair> {
    let mut seed = key.seed();
    libp2p::identity::Keypair::ed25519_from_bytes(seed.as_mut_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_identity::Keypair;

    #[test]
    fn a_did_and_its_peer_id_name_each_other() {
        let key = Keypair::from_seed(&[7; 32]);
        let peer = peer_id_of(&key.did()).unwrap();
        assert_eq!(did_of(&peer), Some(key.did()));
        assert_eq!(libp2p_keypair(&key).unwrap().public().to_peer_id(), peer);
    }

    #[test]
    fn a_peer_with_another_kind_of_key_has_no_did() {
        assert_eq!(did_of(&PeerId::random()), None);
    }
}
