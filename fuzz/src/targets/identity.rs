//! Credentials, tickets and names.

use data_encoding::BASE32_NOPAD;
use nexus_crdt::Members;
use nexus_identity::{Chain, Did, Keypair, Name, NameError, Role, Ticket};
use nexus_node::net::Multiaddr;

/// The root of the mesh, as in `docs/vectors`.
pub(super) fn root() -> Did {
    Keypair::from_seed(&[0; 32]).did()
}

/// A chain of credentials, shown at the gate, in a beat or in an entry.
pub(super) fn chain(bytes: &[u8]) -> bool {
    let Ok(chain) = Chain::from_bytes(bytes) else { return false };
    assert!(chain.to_bytes() == bytes, "a chain has one encoding");
    let ends = chain.expires_at();
    if let Ok(Some(end)) = ends {
        let _ = end.to_string();
    }
    let verified = chain.verify(&root());
    assert_eq!(verified.is_ok(), chain.verify_all(&root()).is_ok(), "a chain holds or does not");
    if let Ok(claims) = &verified {
        assert_eq!(chain.subject().ok(), Some(claims.subject), "a chain is about its last link's subject");
        let mut members = Members::of(root());
        let admitted = members.admit(&chain).is_ok() && members.admit_by(&claims.subject, &chain).is_ok();
        assert!(admitted && members.get(&claims.subject).is_some(), "a chain that holds admits its subject");
    }
    verified.is_ok()
}

/// A DID as text.
pub(super) fn did(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(did) = text.parse::<Did>() else { return false };
    assert_eq!(did.to_string(), text, "a DID has one text");
    text.ends_with(&did.short())
}

/// The name of a member or a space, and the word of a role.
pub(super) fn name(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if let Ok(role) = text.parse::<Role>() {
        assert_eq!(role.as_str(), text, "a role has one word");
    }
    let name: Result<Name, NameError> = text.parse();
    let encoded = [&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes(), bytes].concat();
    let read = borsh::from_slice::<Name>(&encoded);
    assert_eq!(name.is_ok(), read.is_ok(), "a name is one as text and as bytes");
    name.is_ok_and(|name| name.as_str() == text)
}

/// A ticket as text, or the bytes in it: those get their checksum here, since no fuzzer finds one.
pub(super) fn ticket(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return enclosed(bytes) };
    if text.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("nexus1")) {
        return is_ticket(text);
    }
    enclosed(bytes)
}

fn enclosed(bytes: &[u8]) -> bool {
    let checksum = blake3::derive_key("nexus ticket checksum v1", bytes);
    let whole = [bytes, &checksum[..5]].concat();
    is_ticket(&format!("nexus1{}", BASE32_NOPAD.encode(&whole).to_ascii_lowercase()))
}

fn is_ticket(text: &str) -> bool {
    let Ok(ticket) = text.parse::<Ticket>() else { return false };
    let again: Ticket = ticket.to_string().parse().unwrap_or_else(|error| panic!("a ticket is read again: {error}"));
    assert_eq!(again.to_string(), ticket.to_string(), "a ticket has one text");
    let _ = (ticket.role(), ticket.expires_at.to_string(), format!("{ticket:?}"));
    for address in &ticket.addresses {
        // dialled
        let _ = address.parse::<Multiaddr>();
    }
    true
}
