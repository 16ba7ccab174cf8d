//! Spaces that one end may not read.

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_crdt::sync_frame::{Body, DigestFrame};
use nexus_crdt::{
    Core, ENTRY_FORMAT_MAX, Field, FrontierPart, HIDDEN_FROM_READERS, Kind, LogHead, SpaceDefinition, SpaceId,
    SyncFrame, Target, Write, Writes,
};
use nexus_identity::Role;

use super::{Peer, chain, chain_as, key, mesh};
use crate::engine::Input;
use crate::replication::{Audience, SyncSession};
use crate::store::Snapshot;

/// The kind of a frame, and the spaces that it speaks of.
fn about(frame: &SyncFrame) -> (&'static str, BTreeSet<SpaceId>) {
    let of_heads = |heads: &[LogHead]| heads.iter().map(|head| head.parse().unwrap().0.space).collect();
    match frame.body.as_ref().unwrap() {
        Body::Frontier(part) => ("frontier", of_heads(&part.heads)),
        Body::Ack(ack) => ("ack", of_heads(&ack.heads)),
        Body::Entries(frame) => {
            let entries = frame.entries.iter().map(|entry| entry.clone().parse().unwrap());
            ("entries", entries.map(|entry| entry.header().space).collect())
        }
        Body::Digest(_) => ("digest", BTreeSet::new()),
        Body::Full(_) => ("full", BTreeSet::new()),
    }
}

/// A member's node with a space that readers may not see, written in by it and by another member.
struct Restricted {
    node: Peer,
    hidden: SpaceId,
}

impl Restricted {
    fn new() -> Self {
        let mut node = Peer::new(0);
        node.input(Input::Chain(chain(1)));
        let definition = SpaceDefinition { name: "h".parse().unwrap(), access: HIDDEN_FROM_READERS, salt: [0; 16] };
        let hidden = SpaceId::created_by(node.take_first(1, SpaceId::mesh(&mesh()), Kind::SPACE, definition.encode()));
        let mut this = Self { node, hidden };
        this.write("at the beginning");
        this
    }

    fn write(&mut self, text: &str) {
        let core = Core { text: text.to_owned(), ..Core::default() };
        self.node.create(self.hidden, core.clone());
        self.node.create(SpaceId::default_of(&mesh()), core);
    }

    fn snapshot(&self) -> Snapshot {
        self.node.store.snapshot().unwrap()
    }

    fn meet(&mut self, role: Role) -> SyncSession {
        self.node.input(Input::Chain(chain_as(2, role)));
        let audience = Audience::new(self.node.key.did(), key(2).did(), self.node.engine.members().clone());
        SyncSession::open(audience, Duration::ZERO, &self.snapshot()).unwrap()
    }

    /// All that a session says until then.
    fn hear(&self, session: &mut SyncSession, second: u64) -> Vec<SyncFrame> {
        let snapshot = self.snapshot();
        let now = Duration::from_secs(second);
        std::iter::from_fn(|| session.next_frame(now, &snapshot).unwrap()).collect()
    }
}

fn frontier_frame(heads: Vec<LogHead>) -> SyncFrame {
    SyncFrame { body: Some(Body::Frontier(FrontierPart { heads, last: true })) }
}

#[test]
fn a_space_that_a_peer_may_not_read_is_in_nothing_that_it_is_sent() {
    for (role, reads) in [(Role::Member, true), (Role::Reader, false)] {
        let mut here = Restricted::new();
        let mut session = here.meet(role);
        let before = here.node.published.len();
        let mut said = here.hear(&mut session, 0);
        session.receive(frontier_frame(vec![]), &here.snapshot()).unwrap();
        said.extend(here.hear(&mut session, 1));
        // our own writes go at once, those of others after a while
        here.write("while they talk");
        let writes = Writes(vec![Write {
            target: Target::Create { page: 0 },
            field: Field::named("core"),
            value: Core::default().to_json(),
            over: vec![],
        }]);
        here.node.take_first(1, here.hidden, Kind::WRITES, writes.encode());
        for second in 2..20 {
            said.extend(here.hear(&mut session, second));
        }
        let all: BTreeSet<&str> = said.iter().map(|frame| about(frame).0).collect();
        assert_eq!(all, BTreeSet::from(["ack", "digest", "entries", "frontier"]));
        let speaking_of = |space: SpaceId| -> BTreeSet<&str> {
            said.iter().map(about).filter(|(_, spaces)| spaces.contains(&space)).map(|(kind, _)| kind).collect()
        };
        let kinds = BTreeSet::from(["ack", "entries", "frontier"]);
        assert_eq!(speaking_of(SpaceId::default_of(&mesh())), kinds);
        assert_eq!(speaking_of(here.hidden), if reads { kinds } else { BTreeSet::new() });
        let unseen = if reads { BTreeSet::new() } else { BTreeSet::from([here.hidden]) };
        let mut digests = said.iter().filter_map(|frame| match frame.body.as_ref().unwrap() {
            Body::Digest(frame) => Some(frame.digest.clone()),
            _ => None,
        });
        assert_eq!(digests.next_back().unwrap(), here.node.frontier().without(&unseen).digest());
        // an equal digest asks for nothing, in the eyes of either
        let digest = here.node.frontier().without(&unseen).digest().to_vec();
        for _ in 0..3 {
            let frame = SyncFrame { body: Some(Body::Digest(DigestFrame { digest: digest.clone() })) };
            session.receive(frame, &here.snapshot()).unwrap();
        }
        assert!(here.hear(&mut session, 21).iter().all(|frame| about(frame).0 != "frontier"));
        let published = here.node.published[before..].iter().map(|frame| frame.clone().parse().unwrap().header().space);
        assert_eq!(published.collect::<BTreeSet<_>>().contains(&here.hidden), reads, "gossip goes to all");
    }
}

/// promise: Nodes | A derived space that a peer did not name in its hello is in nothing that it is sent, and equal digests stay equal
#[test]
fn a_derived_space_that_a_peer_does_not_know_is_in_nothing_that_it_is_sent() {
    let mut here = Restricted::new();
    here.node.input(Input::Chain(chain_as(2, Role::Member)));
    let audience = Audience::new(here.node.key.did(), key(2).did(), here.node.engine.members().clone());
    let audience = audience.reading(ENTRY_FORMAT_MAX).naming(&BTreeSet::from(["mesh".to_owned()]));
    let mut session = SyncSession::open(audience, Duration::ZERO, &here.snapshot()).unwrap();
    let mut said = here.hear(&mut session, 0);
    session.receive(frontier_frame(vec![]), &here.snapshot()).unwrap();
    said.extend(here.hear(&mut session, 1));
    here.write("while they talk");
    for second in 2..20 {
        said.extend(here.hear(&mut session, second));
    }
    let unknown = SpaceId::default_of(&mesh());
    let spaces: BTreeSet<SpaceId> = said.iter().flat_map(|frame| about(frame).1).collect();
    assert_eq!(
        spaces,
        BTreeSet::from([SpaceId::mesh(&mesh()), here.hidden]),
        "a space with a definition is no derived one"
    );
    let mut digests = said.iter().filter_map(|frame| match frame.body.as_ref().unwrap() {
        Body::Digest(frame) => Some(frame.digest.clone()),
        _ => None,
    });
    let unknown = BTreeSet::from([unknown]);
    assert_eq!(digests.next_back().unwrap(), here.node.frontier().without(&unknown).digest());
}

#[test]
fn a_peer_that_may_read_more_from_now_on_is_sent_it() {
    let mut here = Restricted::new();
    let mut session = here.meet(Role::Reader);
    session.receive(frontier_frame(vec![]), &here.snapshot()).unwrap();
    let said = here.hear(&mut session, 0);
    assert!(said.iter().all(|frame| !about(frame).1.contains(&here.hidden)));
    here.node.input(Input::Chain(chain_as(2, Role::Member)));
    session.follow(here.node.engine.members(), Duration::from_secs(1), &here.snapshot()).unwrap();
    let said = here.hear(&mut session, 1);
    let of_hidden = said.iter().map(about).filter(|(_, spaces)| spaces.contains(&here.hidden)).map(|(kind, _)| kind);
    assert_eq!(of_hidden.collect::<BTreeSet<_>>(), BTreeSet::from(["entries", "frontier"]));
}

#[test]
fn a_stranger_is_told_nothing_until_it_is_a_member() {
    let here = Restricted::new();
    let audience = Audience::new(here.node.key.did(), key(3).did(), here.node.engine.members().clone());
    let mut session = SyncSession::open(audience, Duration::ZERO, &here.snapshot()).unwrap();
    session.receive(frontier_frame(vec![]), &here.snapshot()).unwrap();
    session.ask_again();
    for second in [0, 7, 60] {
        assert_eq!(here.hear(&mut session, second), []);
        assert!(session.poll_timeout() > Duration::from_secs(second), "it need not be asked at once again");
    }
    let mut here = here;
    here.node.input(Input::Chain(chain(3)));
    session.follow(here.node.engine.members(), Duration::from_secs(61), &here.snapshot()).unwrap();
    let said = here.hear(&mut session, 61);
    assert_eq!(about(&said[0]).0, "frontier");
    assert!(said.iter().any(|frame| about(frame).0 == "entries"));
}

#[test]
fn a_node_keeps_nothing_of_a_space_that_it_may_not_read() {
    let mut here = Restricted::new();
    here.write("again");
    for (role, kept) in [(Role::Member, 2), (Role::Reader, 1)] {
        let mut other = Peer::with(2, chain_as(2, role));
        other.input(Input::Chain(chain(1)));
        other.receive(key(0).did(), here.node.everything());
        assert_eq!(other.memories().len(), kept * 2, "{role}");
        assert_eq!(other.frontier().iter().any(|(log, _)| log.space == here.hidden), kept == 2);
    }
}
