//! The rooms, topics and the join door of a node, registered by the code that serves them.

use crate::libp2p::StreamProtocol;
use nexus_identity::Did;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::event::MessageToken;
use crate::join::{JoinReply, JoinRequest};
use crate::quota::{Bounds, Receiver, Refused, Sender, queue};
use crate::stream::Stream;

/// A node's register of everything that it serves, made before its mesh starts.
///
/// Each room has its own queue, its own bounds and a share for each peer. A room that nobody empties,
/// or that a peer floods, drops what does not fit. Other rooms do not notice.
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

/// A gossip message that waits for its verdict. An accepted message is forwarded.
#[derive(Debug)]
pub struct Message {
    /// Its bytes. Anybody may have written them.
    pub bytes: Vec<u8>,
    /// The token for [`Mesh::settle`](crate::Mesh::settle). An unsettled message expires after some
    /// seconds and is not forwarded.
    pub token: MessageToken,
}

/// A stranger at the join door. If it is dropped without an answer, it is told to try again.
#[derive(Debug)]
pub struct Knock {
    /// Its request.
    pub request: JoinRequest,
    /// The time at which the request was complete.
    pub at: Instant,
    reply: oneshot::Sender<JoinReply>,
}

impl Knock {
    /// Answers the stranger, within [`JOIN_ANSWER_TIMEOUT`](crate::JOIN_ANSWER_TIMEOUT).
    pub fn answer(self, reply: JoinReply) {
        // a stranger that is gone asks again and gets the same answer
        let _ = self.reply.send(reply);
    }
}

impl Rooms {
    /// A register without any room.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a protocol. The receiver gets each stream that an open peer opens, with its peer.
    ///
    /// At most `waiting_max` streams wait, a quarter of them from one peer. Others are reset, and their
    /// peer may try again. A dropped receiver resets every later stream.
    pub fn register(&mut self, protocol: StreamProtocol, waiting_max: usize) -> Receiver<Stream> {
        let (sender, receiver) = queue(Bounds::items(waiting_max));
        self.streams.push((protocol, sender));
        receiver
    }

    /// Subscribes to a gossip topic. The receiver gets each message, with the peer that forwarded it.
    ///
    /// Messages beyond the bounds are dropped: gossip is a hint.
    pub fn topic(&mut self, name: impl Into<String>, bounds: Bounds) -> Receiver<Message> {
        let (sender, receiver) = queue(bounds);
        self.topics.push((name.into(), sender));
        receiver
    }

    /// Opens the join door. The receiver gets each stranger; only its key is proven.
    ///
    /// Strangers beyond `waiting_max` are told to try again. So are all strangers if no door is open.
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

    /// Hands a stream to its room. Without a free place it is dropped, which resets it.
    pub(crate) fn enter(&self, peer: Did, protocol: &StreamProtocol, stream: Stream) {
        let room = self.streams.iter().find(|(known, _)| known == protocol);
        if room.is_none_or(|(_, room)| room.offer(peer, 0, stream).is_err()) {
            tracing::debug!(peer = %peer.short(), %protocol, "a stream found no place");
        }
    }

    /// Hands a message to its topic, or returns it if there is no free place.
    #[expect(clippy::result_large_err, reason = "the caller gets its message back, and boxes nothing for it")]
    pub(crate) fn hear(&self, from: Did, topic: &str, message: Message) -> Result<(), Message> {
        match self.topics.iter().find(|(name, _)| name == topic) {
            Some((_, room)) => {
                let bytes = message.bytes.len();
                room.offer(from, bytes, message).map_err(|Refused(message)| message)
            }
            None => Err(message),
        }
    }

    /// Hands a stranger to the door.
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
