//! The node's place in its mesh, beside the store: enough to come back if the store is damaged.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use nexus_identity::{Chain, Did};
use toml_edit::{Array, DocumentMut, Table, value};

use super::text::TEXT_BYTES_MAX;

/// The most members whose addresses are kept.
const PEERS_MAX: usize = 64;
/// The most addresses of one of them.
const ADDRESSES_MAX: usize = 3;
/// The longest address that is kept, in bytes: members choose their own, and the file is a small one. In it each byte is
/// one, since an address with a byte that TOML would escape is not kept.
const ADDRESS_BYTES_MAX: usize = 128;

/// The mesh, the node's credentials, and where other members were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    /// The mesh.
    pub(crate) mesh: Did,
    /// The node's chain of credentials.
    pub(crate) chain: Chain,
    /// Addresses of other members.
    pub(crate) peers: BTreeMap<Did, Vec<String>>,
}

impl Membership {
    /// A place, with the addresses of some of the members that are known.
    pub(crate) fn new(mesh: Did, chain: Chain, peers: impl IntoIterator<Item = (Did, Vec<String>)>) -> Self {
        let peers = peers.into_iter().take(PEERS_MAX);
        let some = |addresses: Vec<String>| -> Vec<String> {
            let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte);
            let fits = |address: &String| address.len() <= ADDRESS_BYTES_MAX && address.bytes().all(plain);
            addresses.into_iter().filter(fits).take(ADDRESSES_MAX).collect()
        };
        let peers = peers.map(|(did, addresses)| (did, some(addresses)));
        let mut this = Self { mesh, chain, peers: peers.collect() };
        // a longer file would not be read again
        while this.to_text().len() as u64 > TEXT_BYTES_MAX && this.peers.pop_last().is_some() {}
        this
    }

    pub(super) fn to_text(&self) -> String {
        let peers =
            self.peers.iter().map(|(did, addresses)| (did.to_string(), value(addresses.iter().collect::<Array>())));
        let mut text = DocumentMut::new();
        text["mesh"] = value(self.mesh.to_string());
        text["chain"] = value(BASE64.encode(&self.chain.to_bytes()));
        text["peers"] = peers.collect::<Table>().into();
        text.to_string()
    }

    /// Reads a file. A member whose DID does not read is left out.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let text: DocumentMut = text.parse().ok()?;
        let mesh = text.get("mesh")?.as_str()?.parse().ok()?;
        let chain = BASE64.decode(text.get("chain")?.as_str()?.as_bytes()).ok()?;
        let peers = text.get("peers").and_then(|peers| peers.as_table_like());
        let peers = peers.into_iter().flat_map(|peers| peers.iter()).filter_map(|(did, addresses)| {
            let addresses = addresses.as_array()?.iter().filter_map(|address| address.as_str().map(str::to_owned));
            Some((did.parse().ok()?, addresses.collect()))
        });
        Some(Self::new(mesh, Chain::from_bytes(&chain).ok()?, peers))
    }
}

#[cfg(test)]
mod tests {
    use nexus_identity::{Claims, Keypair, Role, Timestamp};

    use super::*;
    use crate::datadir::DataDir;

    /// promise: Bad input | The node's place is kept beside the store, however many addresses members tell, and how long
    #[test]
    fn a_place_is_read_as_it_was_kept_whatever_members_say_of_themselves() {
        let (root, me) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        let claims = Claims::new(root.did(), me.did(), "laptop".parse().unwrap(), [Role::Admin], Timestamp::from_ms(1));
        let chain = Chain::found(claims.sign(&root)).unwrap();
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::create(&home.path().join("data"), me).unwrap();
        assert_eq!(dir.membership(), None);
        let long = format!("/dns4/{}/tcp/1", "x".repeat(100));
        let peers = (0..200_u8).map(|n| (Keypair::from_seed(&[n; 32]).did(), vec![long.clone(); 50]));
        let kept = Membership::new(root.did(), chain.clone(), peers);
        dir.write_membership(&kept).unwrap();
        assert_eq!(dir.membership().as_ref(), Some(&kept));
        assert_eq!(kept.peers.len(), PEERS_MAX);

        // each of these bytes is six in the file
        let control = format!("/dns4/{}/tcp/1", "\u{1}".repeat(100));
        let peers = (0..200_u8).map(|n| (Keypair::from_seed(&[n; 32]).did(), vec![control.clone(), long.clone()]));
        let place = Membership::new(root.did(), chain.clone(), peers);
        dir.write_membership(&place).unwrap();
        assert_eq!(dir.membership().as_ref(), Some(&place));
        assert!(place.peers.values().all(|addresses| *addresses == [long.clone()]));

        let huge = vec!["/dns4/".to_owned() + &"x".repeat(1 << 20)];
        let place = Membership::new(root.did(), chain, [(Keypair::from_seed(&[9; 32]).did(), huge)]);
        dir.write_membership(&place).unwrap();
        assert_eq!(dir.membership(), Some(place));
        for junk in ["", "mesh = 1", "mesh = \"did:key:z\"\nchain = \"AA\"", "\u{0}"] {
            std::fs::write(dir.path().join("membership"), junk).unwrap();
            assert_eq!(dir.membership(), None, "{junk}");
        }
    }
}
