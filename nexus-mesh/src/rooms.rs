//! The rooms, topics and the join door that a node serves, each registered by the code that serves it.

use libp2p::StreamProtocol;
use nexus_identity::Did;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::event::MessageToken;
use crate::join::{JoinReply, JoinRequest};
use crate::quota::{Bounds, Receiver, Refused, Sender, queue};
use crate::stream::Stream;

/// A node's register of all that it serves to others, made before its mesh starts.
///
/// Each room has a queue of its own, with bounds of its own and a share for each peer. One that nobody empties, or
/// that a peer floods, drops what does not fit, and no other room notices.
///
/// ```
/// use nexus_mesh::{Rooms, StreamProtocol};
///
/// let mut rooms = Rooms::new();
/// let mut streams = rooms.register(StreamProtocol::new("/example/echo/1"), 16);
/// // `Mesh::start` takes the rooms; from then on `streams.recv()` hands out a peer and its stream
/// # drop(streams);
/// ```
#[derive(Debug, Default)]
pub struct Rooms {
    streams: Vec<(StreamProtocol, Sender<Stream>)>,
    topics: Vec<(String, Sender<Message>)>,
    door: Option<Sender<Knock>>,
}

/// A gossip message that waits for its verdict: it is forwarded once it is accepted.
#[derive(Debug)]
pub struct Message {
    /// Its bytes, which anybody may have written.
    pub bytes: Vec<u8>,
    /// For [`Mesh::settle`](crate::Mesh::settle). One that is not settled within some seconds is not forwarded.
    pub token: MessageToken,
}

/// A stranger at the join door. Dropped without an answer, it is told to try again.
#[derive(Debug)]
pub struct Knock {
    /// What it shows.
    pub request: JoinRequest,
    /// When the request was complete.
    pub at: Instant,
    reply: oneshot::Sender<JoinReply>,
}

impl Knock {
    /// Answers the stranger, within [`JOIN_ANSWER_TIMEOUT`](crate::JOIN_ANSWER_TIMEOUT).
    pub fn answer(self, reply: JoinReply) {
        // a stranger that went away asks again, and gets the same answer
        let _ = self.reply.send(reply);
    }
}

impl Rooms {
    /// A register without any room.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a protocol: streams that open peers open arrive at the receiver, with their peer.
    ///
    /// At most `waiting_max` streams wait to be received, a quarter of them of one peer; others are reset, and
    /// their peer may try again. Dropping the receiver resets every later stream.
    pub fn register(&mut self, protocol: StreamProtocol, waiting_max: usize) -> Receiver<Stream> {
        let (sender, receiver) = queue(Bounds::items(waiting_max));
        self.streams.push((protocol, sender));
        receiver
    }

    /// Subscribes to a gossip topic: messages arrive at the receiver, with the peer that passed them on.
    ///
    /// Beyond the bounds messages are dropped: gossip is a hint.
    pub fn topic(&mut self, name: impl Into<String>, bounds: Bounds) -> Receiver<Message> {
        let (sender, receiver) = queue(bounds);
        self.topics.push((name.into(), sender));
        receiver
    }

    /// Opens the join door: strangers that knock arrive at the receiver. Their key is proven, nothing else is.
    ///
    /// Beyond `waiting_max` they are told to try again, as they are if no door was opened.
    pub fn door(&mut self, waiting_max: usize) -> Receiver<Knock> {
        let (sender, receiver) = queue(Bounds::items(waiting_max).each(1));
        self.door = Some(sender);
        receiver
    }

    /// The registered protocols, in the order of their registration.
    pub fn protocols(&self) -> impl Iterator<Item = &StreamProtocol> {
        self.streams.iter().map(|(protocol, _)| protocol)
    }

    /// The topics, in the order of their registration.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|(name, _)| name.as_str())
    }

    /// Hands a stream to its room. Without a place there it is dropped, which resets it.
    pub(crate) fn enter(&self, peer: Did, protocol: &StreamProtocol, stream: Stream) {
        let room = self.streams.iter().find(|(known, _)| known == protocol);
        if room.is_none_or(|(_, room)| room.offer(peer, 0, stream).is_err()) {
            tracing::debug!(peer = %peer.short(), %protocol, "a stream found no place");
        }
    }

    /// Hands a message to its topic, or back if it found no place.
    pub(crate) fn hear(&self, from: Did, topic: &str, message: Message) -> Result<(), Message> {
        match self.topics.iter().find(|(name, _)| name == topic) {
            Some((_, room)) => {
                let bytes = message.bytes.len();
                room.offer(from, bytes, message).map_err(|Refused(message)| message)
            }
            None => Err(message),
        }
    }

    /// Brings a stranger before the door.
    pub(crate) fn knock(&self, peer: Did, request: JoinRequest, reply: oneshot::Sender<JoinReply>) {
        let knock = Knock { request, at: Instant::now(), reply };
        match &self.door {
            Some(door) => {
                if let Err(Refused(knock)) = door.offer(peer, 0, knock) {
                    knock.answer(JoinReply::unavailable("busy, try again"));
                }
            }
            None => knock.answer(JoinReply::unavailable("nobody is admitted here")),
        }
    }
}
