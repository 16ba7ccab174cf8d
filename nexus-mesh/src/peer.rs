//! The two names of a key: Nexus's DID and libp2p's peer id.

use crate::libp2p::PeerId;
use crate::libp2p::identity::{PublicKey, ed25519};
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

/// The DID of a peer that has shown its key in a handshake. Whether a key is a point on the curve takes a square root,
/// too much for each message.
pub(crate) fn did_of_shown(peer: &PeerId) -> Option<Did> {
    /// The encoding of an Ed25519 key before its bytes: type 1, and 32 bytes of data.
    const ED25519: [u8; 4] = [0x08, 0x01, 0x12, 0x20];
    let multihash = peer.as_ref();
    let key = multihash.digest().strip_prefix(&ED25519).filter(|_| multihash.code() == 0)?;
    Some(Did::from_bytes(key.try_into().ok()?))
}

/// The same key for libp2p, which signs handshakes with it.
pub(crate) fn libp2p_keypair(key: &nexus_identity::Keypair) -> Option<crate::libp2p::identity::Keypair> {
    let mut seed = key.seed();
    crate::libp2p::identity::Keypair::ed25519_from_bytes(seed.as_mut_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_identity::Keypair;

    #[test]
    fn a_did_and_its_peer_id_name_each_other() {
        let key = Keypair::from_seed(&[7; 32]);
        let peer = peer_id_of(&key.did()).unwrap();
        assert_eq!((did_of(&peer), did_of_shown(&peer)), (Some(key.did()), Some(key.did())));
        assert_eq!(libp2p_keypair(&key).unwrap().public().to_peer_id(), peer);
    }

    #[test]
    fn a_peer_with_another_kind_of_key_has_no_did() {
        let peer = PeerId::random();
        assert_eq!((did_of(&peer), did_of_shown(&peer)), (None, None));
    }
}
