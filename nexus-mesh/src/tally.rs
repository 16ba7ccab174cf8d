//! Counts of the bytes on the streams to peers, by protocol, kind and direction.
//!
//! Each stream counts what it carries for its protocol. The code of a room says of which kind its frames are; what no
//! kind accounts for is the protocol's rest.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use crate::libp2p::core::muxing::SubstreamBox;
use futures::{AsyncRead, AsyncWrite};

/// The most protocols that are counted apart. Those of this node are fewer, and a peer can name others.
const PROTOCOLS_MAX: usize = 64;
/// The longest name of a protocol that is counted apart, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The first message on a stream: the negotiation's own name, behind its length.
const NEGOTIATION: &[u8] = b"\x13/multistream/1.0.0\n";

/// The way of bytes, seen from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From a peer.
    In,
    /// To a peer.
    Out,
}

impl Direction {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// The bytes of one protocol, kind and direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tallied {
    /// The protocol, such as `/nexus/sync/1`; empty before one is agreed upon.
    pub protocol: String,
    /// The kind of message; `rest` for bytes that no kind accounts for.
    pub kind: &'static str,
    /// The direction.
    pub direction: Direction,
    /// The bytes so far.
    pub bytes: u64,
}

/// The bytes of all streams of a mesh.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    protocols: Mutex<BTreeMap<String, Arc<Protocol>>>,
}

/// The bytes of one protocol.
#[derive(Debug, Default)]
struct Protocol {
    received: AtomicU64,
    sent: AtomicU64,
    kinds: Mutex<BTreeMap<(&'static str, Direction), u64>>,
}

impl Protocol {
    fn of(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::In => &self.received,
            Direction::Out => &self.sent,
        }
    }
}

/// Counts the messages of one protocol by their kind. The default one counts nothing.
#[derive(Clone, Debug, Default)]
pub struct Tally(Option<Arc<Protocol>>);

impl Tally {
    /// Counts a message of this kind. Kinds are names in the code, so there are few.
    pub fn count(&self, kind: &'static str, direction: Direction, bytes: usize) {
        if let Some(protocol) = &self.0 {
            *lock(&protocol.kinds).entry((kind, direction)).or_default() += bytes as u64;
        }
    }
}

impl Tallies {
    /// The tally of a protocol. Protocols beyond the bound are counted together.
    pub(crate) fn of(&self, name: &str) -> Tally {
        let mut protocols = lock(&self.protocols);
        let fits = name.len() <= NAME_BYTES_MAX && (protocols.len() < PROTOCOLS_MAX || protocols.contains_key(name));
        let name = if fits { name } else { "other" };
        Tally(Some(protocols.entry(name.to_owned()).or_default().clone()))
    }

    /// All counts.
    pub(crate) fn read(&self) -> Vec<Tallied> {
        let protocols = lock(&self.protocols);
        let mut all = Vec::new();
        for (name, protocol) in &*protocols {
            let kinds = lock(&protocol.kinds).clone();
            for direction in [Direction::In, Direction::Out] {
                let of_kinds: u64 = kinds.iter().filter(|((_, to), _)| *to == direction).map(|(_, bytes)| bytes).sum();
                let rest = protocol.of(direction).load(Ordering::Relaxed).saturating_sub(of_kinds);
                all.push(Tallied { protocol: name.clone(), kind: "rest", direction, bytes: rest });
            }
            let of_kinds = kinds.into_iter().map(|((kind, direction), bytes)| {
                let protocol = name.clone();
                Tallied { protocol, kind, direction, bytes }
            });
            all.extend(of_kinds);
        }
        all
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream that counts its bytes. The dialer's side of the negotiation at its beginning tells the protocol.
pub(crate) struct CountedStream {
    inner: SubstreamBox,
    tallies: Arc<Tallies>,
    /// The direction of the dialer's words.
    named_by: Direction,
    name: Name,
}

/// The protocol of a stream.
enum Name {
    /// The dialer's bytes so far, and the bytes that were counted for no protocol.
    Awaited {
        said: Vec<u8>,
        counted: [u64; 2],
    },
    Known(Arc<Protocol>),
}

impl CountedStream {
    pub(crate) fn new(inner: SubstreamBox, tallies: Arc<Tallies>, named_by: Direction) -> Self {
        Self { inner, tallies, named_by, name: Name::Awaited { said: Vec::new(), counted: [0; 2] } }
    }

    fn count(&mut self, direction: Direction, bytes: &[u8]) {
        match &mut self.name {
            Name::Known(protocol) => {
                protocol.of(direction).fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Name::Awaited { said, counted } => {
                counted[usize::from(direction == Direction::Out)] += bytes.len() as u64;
                if direction != self.named_by {
                    return;
                }
                let room = (NEGOTIATION.len() + 1 + NAME_BYTES_MAX + 1).saturating_sub(said.len());
                said.extend(&bytes[..bytes.len().min(room)]);
                if let Some(name) = named(said) {
                    let counted = *counted;
                    let Tally(protocol) = self.tallies.of(&name);
                    if let Some(protocol) = protocol {
                        protocol.received.fetch_add(counted[0], Ordering::Relaxed);
                        protocol.sent.fetch_add(counted[1], Ordering::Relaxed);
                        self.name = Name::Known(protocol);
                    }
                }
            }
        }
    }
}

/// The protocol in a dialer's first words; an unknown one if they are no negotiation. `None` until it can be told.
fn named(said: &[u8]) -> Option<String> {
    let header = &NEGOTIATION[..NEGOTIATION.len().min(said.len())];
    if !said.starts_with(header) {
        return Some("other".to_owned());
    }
    let (length, rest) = said.get(NEGOTIATION.len()..)?.split_first()?;
    let length = usize::from(*length);
    if length > NAME_BYTES_MAX || length == 0 {
        return Some("other".to_owned());
    }
    let name = rest.get(..length - 1)?;
    Some(String::from_utf8(name.to_vec()).unwrap_or_else(|_| "other".to_owned()))
}

impl AsyncRead for CountedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<std::io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.count(Direction::In, &buffer[..read]);
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buffer))?;
        self.count(Direction::Out, &buffer[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(protocol: &str) -> Vec<u8> {
        let length = u8::try_from(protocol.len() + 1).unwrap();
        [NEGOTIATION, &[length], protocol.as_bytes(), b"\n", b"and more"].concat()
    }

    #[test]
    fn a_dialers_first_words_name_the_protocol() {
        let said = words("/nexus/sync/1");
        let told = NEGOTIATION.len() + 1 + "/nexus/sync/1".len();
        assert!((0..told).all(|upto| named(&said[..upto]).is_none()));
        assert_eq!(named(&said[..told]).as_deref(), Some("/nexus/sync/1"));
        assert_eq!(named(b"\x13/something else").as_deref(), Some("other"));
        assert_eq!(named(&words(&"x".repeat(200))).as_deref(), Some("other"));
    }

    /// promise: Nodes | Bytes to and from peers are counted by protocol, kind and direction, in a bound whatever a peer names
    #[test]
    fn kinds_and_the_rest_add_up_to_all_bytes_and_names_are_bounded() {
        let tallies = Tallies::default();
        let sync = tallies.of("/nexus/sync/1");
        sync.0.as_ref().unwrap().sent.fetch_add(100, Ordering::Relaxed);
        sync.count("ack", Direction::Out, 60);
        let read = tallies.read();
        let of = |kind, direction| {
            read.iter().find(|one| one.kind == kind && one.direction == direction).map(|one| one.bytes)
        };
        assert_eq!((of("ack", Direction::Out), of("rest", Direction::Out)), (Some(60), Some(40)));
        assert_eq!((of("ack", Direction::In), of("rest", Direction::In)), (None, Some(0)));
        (0..1_000).for_each(|n| drop(tallies.of(&n.to_string())));
        assert!(lock(&tallies.protocols).len() <= PROTOCOLS_MAX + 1);
    }

    proptest! {
        #[test]
        fn any_first_words_are_a_name_or_wait(said in proptest::collection::vec(any::<u8>(), 0..200)) {
            let name = named(&said);
            prop_assert!(name.is_none_or(|name| name.len() <= NAME_BYTES_MAX));
        }
    }
}
