//! Beats: signed and counted signs of life, with a body that only the node understands.
//!
//! A beat carries its author's credentials, so that a member several hops away is recognised without
//! having been met. The count makes replays worthless.

use std::collections::BTreeMap;

use nexus_identity::{Chain, Claims, Did, Domain, Keypair, Signature, Timestamp};
use prost::Message;
use tokio::time::Instant;

use crate::limit::RateLimit;
use crate::wire;

/// The longest body, with the clock and the circle that the mesh adds.
pub const BEAT_BODY_BYTES_MAX: usize = 4 * 1024;
/// The bytes that the mesh adds to a body: a clock and a circle, each a tag and eight bytes.
pub(crate) const BEAT_ADDED_BYTES: usize = 2 * FIXED_BYTES;
/// A tag and eight bytes.
const FIXED_BYTES: usize = 9;

/// Chains of credentials that are checked in a second: each takes up to nine signatures.
const NEW_CHAINS_PER_SECOND: u32 = 100;

/// The most authors whose counts are remembered.
pub(crate) const AUTHORS_MAX: usize = 4_096;

/// Why a beat does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BeatError {
    /// The bytes are no beat, or the credentials or the signature do not hold. The peer that passed it
    /// on is at fault.
    #[error("beat does not verify")]
    Invalid,
    /// Not newer than one already seen: nobody's fault.
    #[error("beat is not new")]
    Stale,
    /// More credentials were shown for the first time than are checked in a second; another beat follows.
    #[error("too many new credentials in beats")]
    TooManyChains,
    /// There are more authors than can be remembered.
    #[error("too many authors of beats")]
    TooManyAuthors,
}

/// A member and all that it is connected with, as a number: equal ones are the same members.
///
/// Where a member and all its neighbours have one circle, there is nobody else: each hears the others itself, and a beat
/// need not be passed on. The lowest bit tells that its author sees it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Circle(u64);

impl Circle {
    /// The circle of these members, in their order.
    pub(crate) fn of<'a>(members: impl Iterator<Item = &'a Did>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("nexus circle v1");
        members.for_each(|member| {
            hasher.update(member.as_bytes());
        });
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(first) & !1)
    }

    /// The same, seen as whole or not by its author.
    pub(crate) const fn seen_whole(self, whole: bool) -> Self {
        Self(self.0 & !1 | whole as u64)
    }

    /// Whether its author sees it as whole.
    pub(crate) const fn is_whole(self) -> bool {
        self.0 & 1 == 1
    }

    /// Whether both are the same members.
    pub(crate) const fn is_of(self, other: Self) -> bool {
        self.0 & !1 == other.0 & !1
    }
}

/// The source of this node's beats.
#[derive(Debug)]
pub(crate) struct Beats {
    chain: Vec<u8>,
    mesh: Did,
    run: u64,
    count: u64,
}

impl Beats {
    /// `run` must grow from start to start of this node: the wall clock at the start will do.
    pub(crate) fn new(mesh: Did, chain: &Chain, run: u64) -> Self {
        Self { chain: chain.to_bytes(), mesh, run, count: 0 }
    }

    /// Sets renewed credentials.
    pub(crate) fn set_chain(&mut self, chain: &Chain) {
        self.chain = chain.to_bytes();
    }

    /// The next beat, made at `clock`. A body longer than [`BEAT_BODY_BYTES_MAX`] is the caller's mistake,
    /// and readers refuse it.
    pub(crate) fn next(&mut self, key: &Keypair, body: &[u8], clock: Timestamp, circle: Circle) -> Vec<u8> {
        self.count += 1;
        let mut body = body.to_vec();
        body.extend(wire::BeatClock { circle: Some(circle.0), clock_ms: Some(clock.as_ms()) }.encode_to_vec());
        let digest = digest(&self.mesh, &key.did(), self.run, self.count, &body);
        let signature = key.sign(Domain::Presence, &digest).as_bytes().to_vec();
        let chain = self.chain.clone();
        wire::Beat { chain, run: self.run, count: self.count, body, signature }.encode_to_vec()
    }
}

fn digest(mesh: &Did, author: &Did, run: u64, count: u64, body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("nexus beat v1");
    hasher.update(mesh.as_bytes()).update(author.as_bytes());
    hasher.update(&run.to_le_bytes()).update(&count.to_le_bytes()).update(body);
    *hasher.finalize().as_bytes()
}

/// A verified beat that is new.
#[derive(Clone, Debug)]
pub(crate) struct NewBeat {
    pub(crate) claims: Claims,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) body: Vec<u8>,
    /// The time at which it was made, by its author's clock. Earlier versions do not say.
    pub(crate) clock: Option<Timestamp>,
    /// The author's circle. Earlier versions do not say.
    pub(crate) circle: Option<Circle>,
}

/// The last beat of each author. Pure.
#[derive(Debug)]
pub(crate) struct Presence {
    mesh: Did,
    authors: BTreeMap<Did, Author>,
    /// The rate of chains that were not seen before, each of which costs some signatures.
    new_chains: Option<RateLimit>,
}

#[derive(Debug)]
struct Author {
    last: (u64, u64),
    /// Verified before, so that a beat costs one signature check and not the whole chain.
    chain: Vec<u8>,
    claims: Claims,
}

impl Presence {
    pub(crate) fn new(mesh: Did) -> Self {
        Self { mesh, authors: BTreeMap::new(), new_chains: None }
    }

    /// Judges the bytes of a beat.
    pub(crate) fn hear(&mut self, bytes: &[u8], now: Instant) -> Result<NewBeat, BeatError> {
        let beat = wire::Beat::decode(bytes).map_err(|_| BeatError::Invalid)?;
        if beat.body.len() > BEAT_BODY_BYTES_MAX {
            return Err(BeatError::Invalid);
        }
        let parsed = Chain::from_bytes(&beat.chain).map_err(|_| BeatError::Invalid)?;
        let peer = parsed.subject().map_err(|_| BeatError::Invalid)?;
        let author = self.authors.get(&peer);
        let count = (beat.run, beat.count);
        if author.is_some_and(|author| author.last >= count) {
            return Err(BeatError::Stale);
        }
        let claims = match author.filter(|author| author.chain == beat.chain) {
            Some(author) => author.claims.clone(),
            // An author shows a chain for a long time. Beats with ever new ones are somebody's flood.
            None if !self.new_chains.get_or_insert_with(|| RateLimit::new(NEW_CHAINS_PER_SECOND, now)).take(now) => {
                return Err(BeatError::TooManyChains);
            }
            None => parsed.verify(&self.mesh).map_err(|_| BeatError::Invalid)?,
        };
        let signature: [u8; 64] = beat.signature.try_into().map_err(|_| BeatError::Invalid)?;
        let digest = digest(&self.mesh, &peer, beat.run, beat.count, &beat.body);
        peer.verify(Domain::Presence, &digest, &Signature::from_bytes(signature)).map_err(|_| BeatError::Invalid)?;
        if !self.authors.contains_key(&peer) && self.authors.len() >= AUTHORS_MAX {
            return Err(BeatError::TooManyAuthors);
        }
        let expires_at = parsed.expires_at().map_err(|_| BeatError::Invalid)?;
        self.authors.insert(peer, Author { last: count, chain: beat.chain, claims: claims.clone() });
        // a body without the field, or that is no message, says no time
        let wire::BeatClock { circle, clock_ms } = wire::BeatClock::decode(beat.body.as_slice()).unwrap_or_default();
        let mut body = beat.body;
        let added = FIXED_BYTES * (usize::from(clock_ms.is_some()) + usize::from(circle.is_some()));
        body.truncate(body.len().saturating_sub(added));
        Ok(NewBeat { claims, expires_at, body, clock: clock_ms.map(Timestamp::from_ms), circle: circle.map(Circle) })
    }

    /// The credentials that an author showed last.
    pub(crate) fn claims(&self, peer: &Did) -> Option<&Claims> {
        self.authors.get(peer).map(|author| &author.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_identity::Role;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000);
    const CIRCLE: Circle = Circle(6);

    fn member(n: u8) -> (Keypair, Chain, Did) {
        let (root, key) = (Keypair::from_seed(&[0; 32]), Keypair::from_seed(&[n; 32]));
        let claims = Claims::new(root.did(), key.did(), "m".parse().unwrap(), [Role::Member], Timestamp::from_ms(0));
        (key, Chain::found(claims.sign(&root)).unwrap(), root.did())
    }

    /// promise: Meeting | A heartbeat counts once, in order, in its author's name alone
    #[test]
    fn a_beat_counts_once_and_in_order() {
        let (key, chain, mesh) = member(1);
        let mut beats = Beats::new(mesh, &chain, 7);
        let mut presence = Presence::new(mesh);
        let (first, second) =
            (beats.next(&key, b"\x0a\x01a", NOW, CIRCLE), beats.next(&key, b"\x0a\x01b", NOW, CIRCLE));
        let heard = presence.hear(&second, Instant::now()).unwrap();
        assert_eq!((heard.body.as_slice(), heard.clock), (b"\x0a\x01b".as_slice(), Some(NOW)));
        assert_eq!(heard.circle, Some(CIRCLE));
        assert_eq!(presence.hear(&second, Instant::now()).unwrap_err(), BeatError::Stale);
        assert_eq!(presence.hear(&first, Instant::now()).unwrap_err(), BeatError::Stale);
        // a restart begins a later run, whose count starts over
        let again = Beats::new(mesh, &chain, 8).next(&key, b"c", NOW, CIRCLE);
        assert_eq!(presence.hear(&again, Instant::now()).unwrap().claims.subject, key.did());
    }

    #[test]
    fn a_circle_is_its_members_whoever_sees_it_whole() {
        let did = |n| Did::from_bytes([n; 32]);
        let [two, three] = [vec![did(1), did(2)], vec![did(1), did(2), did(3)]].map(|all| Circle::of(all.iter()));
        assert!(two.is_of(two.seen_whole(true)) && !two.is_of(three));
        assert!(two.seen_whole(true).is_whole() && !two.seen_whole(false).is_whole() && !two.is_whole());
    }

    #[test]
    fn a_beat_of_another_mesh_or_too_long_is_invalid() {
        let (key, chain, mesh) = member(1);
        let beat = Beats::new(mesh, &chain, 1).next(&key, b"", NOW, CIRCLE);
        assert_eq!(Presence::new(key.did()).hear(&beat, Instant::now()).unwrap_err(), BeatError::Invalid);
        let long = Beats::new(mesh, &chain, 1).next(&key, &[0; BEAT_BODY_BYTES_MAX + 1], NOW, CIRCLE);
        assert_eq!(Presence::new(mesh).hear(&long, Instant::now()).unwrap_err(), BeatError::Invalid);
    }

    /// promise: Meeting | A heartbeat counts once, in order, in its author's name alone
    #[test]
    fn nobody_beats_in_another_ones_name() {
        let ((key, chain, mesh), (_, other_chain, _)) = (member(1), member(2));
        let mut presence = Presence::new(mesh);
        presence.hear(&Beats::new(mesh, &other_chain, 1).next(&member(2).0, b"", NOW, CIRCLE), Instant::now()).unwrap();
        let forged = Beats::new(mesh, &other_chain, 2).next(&key, b"", NOW, CIRCLE);
        assert_eq!(presence.hear(&forged, Instant::now()).unwrap_err(), BeatError::Invalid);
        drop(chain);
    }

    /// promise: Bad input | Beats with ever new credentials are checked at a bounded rate
    #[test]
    fn ever_new_credentials_are_checked_at_a_bounded_rate() {
        let (key, chain, mesh) = member(1);
        let (mut presence, now) = (Presence::new(mesh), Instant::now());
        presence.hear(&Beats::new(mesh, &chain, 1).next(&key, b"", NOW, CIRCLE), now).unwrap();
        let root = Keypair::from_seed(&[0; 32]);
        let mut limited = 0;
        for n in 0..=u64::from(NEW_CHAINS_PER_SECOND) {
            let claims = Claims::new(mesh, key.did(), "m".parse().unwrap(), [Role::Member], Timestamp::from_ms(n + 1));
            let chain = Chain::found(claims.sign(&root)).unwrap();
            let heard = presence.hear(&Beats::new(mesh, &chain, n + 2).next(&key, b"", NOW, CIRCLE), now);
            limited += usize::from(heard.is_err_and(|error| error == BeatError::TooManyChains));
        }
        assert!(limited > 0);
        // the credentials that an author has shown need no check, so the others' beats go on
        let (other, chain, _) = member(2);
        let mut beats = Beats::new(mesh, &chain, 1);
        let later = now + std::time::Duration::from_secs(1);
        presence.hear(&beats.next(&other, b"", NOW, CIRCLE), later).unwrap();
        assert!(
            (0..2 * NEW_CHAINS_PER_SECOND).all(|_| presence.hear(&beats.next(&other, b"", NOW, CIRCLE), later).is_ok())
        );
    }

    proptest! {
        /// promise: Meeting | A heartbeat counts once, in order, in its author's name alone
        #[test]
        fn no_altered_beat_counts(position in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let (key, chain, mesh) = member(1);
            let mut bytes = Beats::new(mesh, &chain, 1).next(&key, b"body", NOW, CIRCLE);
            let at = position.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Presence::new(mesh).hear(&bytes, Instant::now()).is_err());
        }
    }
}
