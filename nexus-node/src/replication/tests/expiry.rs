//! Credentials that ended long ago: the membership ends for good, by the word of two clocks.

use super::*;
use nexus_crdt::Hlc;

const DAY: Duration = Duration::from_secs(86_400);
/// The time until which the credentials of member 2 are good.
const END: Timestamp = Timestamp::from_ms(10_000);

/// The credentials of member 2, who is an admin, and of member 4, whom it admitted.
fn with_an_end() -> [Chain; 2] {
    let claims = |issuer: u8, subject: u8, role| {
        let name = format!("node{subject}").parse().unwrap();
        Claims::new(mesh(), key(subject).did(), name, [role], Timestamp::from_ms(1)).issued_by(key(issuer).did())
    };
    let admin = chain(0).extend(claims(0, 2, Role::Admin).expiring(Some(END)).sign(&key(0))).unwrap();
    let guest = admin.extend(claims(2, 4, Role::Member).sign(&key(2))).unwrap();
    [admin, guest]
}

/// A node that knows members 1 to 4.
fn peer(n: u8) -> Peer {
    let mut peer = Peer::new(n);
    let [admin, guest] = with_an_end();
    for (author, chain) in [(1, chain(1)), (2, admin), (3, chain_as(3, Role::Admin)), (4, guest)] {
        if author != n {
            peer.take_first(author, SpaceId::mesh(&mesh()), Kind::CREDENTIAL, chain.to_bytes());
        }
    }
    peer
}

/// Member 1 writes an entry at this time after the end.
fn written_after(peer: &mut Peer, after: Duration) {
    let log = LogId {
        space: SpaceId::default_of(&mesh()),
        author: key(1).did(),
        incarnation: Incarnation(after.as_secs().to_be_bytes()),
    };
    let hlc = Hlc::at(END.saturating_add(after));
    let payload = b"later".to_vec().into();
    let draft = Draft { mesh: mesh(), log, after: None, hlc, kind: Kind(4_000), refs: vec![], payload };
    peer.input(Input::Entries { from: key(1).did(), entries: vec![Verified::write(draft, &key(1))] });
}

fn end_expired(peer: &mut Peer, after: Duration) -> usize {
    peer.later = Duration::from_millis(END.as_ms()) + after;
    match peer.command(Command::EndExpired) {
        Outcome::Expired { ended } => ended,
        other => panic!("{other:?}"),
    }
}

/// promise: Revocations | A membership whose credentials ended a week ago is ended for good, by the word of two clocks
#[test]
fn a_membership_whose_credentials_ended_long_ago_is_ended_by_the_word_of_two_clocks() {
    let mut founder = peer(0);
    assert_eq!(end_expired(&mut founder, 400 * DAY), 0, "by its own clock alone");
    written_after(&mut founder, 6 * DAY);
    assert_eq!(end_expired(&mut founder, 400 * DAY), 0, "the other clock has not passed a week");
    written_after(&mut founder, 8 * DAY);
    assert_eq!(end_expired(&mut founder, 6 * DAY), 0, "by another member's clock alone");
    assert!(founder.members().get(&key(2).did()).is_some(), "until then the gate alone refuses it");
    let written = founder.engine.last_eno();
    assert_eq!(end_expired(&mut founder, 8 * DAY), 1);
    let members = founder.members();
    assert_eq!(members.revoked(&key(2).did()).unwrap().by, key(0).did());
    let standing: Vec<bool> = (0..5).map(|n| members.get(&key(n).did()).is_some()).collect();
    assert_eq!(standing, [true, true, false, true, true], "whom it had admitted is kept");
    assert!(founder.engine.last_eno() > written);
    let written = founder.engine.last_eno();
    assert_eq!((end_expired(&mut founder, 9 * DAY), founder.engine.last_eno()), (0, written), "once");
}

/// promise: Revocations | A membership whose credentials ended a week ago is ended for good, by the word of two clocks
#[test]
fn nobody_ends_an_expired_membership_who_could_not_revoke_it() {
    for n in [1, 2, 3, 4] {
        let mut other = peer(n);
        written_after(&mut other, 8 * DAY);
        assert_eq!(end_expired(&mut other, 400 * DAY), 0, "member {n}");
    }
}
