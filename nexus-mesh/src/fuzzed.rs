//! The decoders behind the public API, for `nexus-fuzz` (feature `testing`). No promise holds for them.
//!
//! Each function takes any bytes, reads them as a peer's are read, and says whether they were read. It
//! panics if a law does not hold.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use nexus_identity::{Chain, Claims, Keypair, Name, Role, Timestamp};
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use crate::abilities::Abilities;
use crate::clock::{self, Clock};
use crate::frame::{read_frame, write_frame};
use crate::gate::hello::{Answer, Ask, End, Hello, Papers, Parties, fuzzed as said};
use crate::join::{JoinReply, JoinRequest};
use crate::peer::peer_id_of;
use crate::presence::{Beats, Circle, Presence};
use crate::process::Process;
use crate::wire::{self, HELLO_BYTES_MAX, HelloStep, JOIN_REPLY_BYTES_MAX, JOIN_REQUEST_BYTES_MAX};

/// The mesh in which all of this happens: its root has the seed of zeros, as in `docs/vectors`.
fn root() -> Keypair {
    Keypair::from_seed(&[0; 32])
}

/// A member of it.
fn member(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

/// The credentials of [`member`] `n`, from the root itself.
#[expect(clippy::expect_used, reason = "constants")]
fn chain(n: u8) -> Chain {
    let name: Name = format!("n{n}").parse().expect("a name");
    let claims = Claims::new(root().did(), member(n).did(), name, [Role::Member], Timestamp::from_ms(1));
    Chain::found(claims.sign(&root())).expect("the root's own")
}

/// One message of a hello, at either end of it.
pub fn hello(bytes: &[u8]) -> bool {
    if bytes.len() > HELLO_BYTES_MAX {
        return false;
    }
    let Ok(hello) = wire::Hello::decode(bytes) else { return false };
    let again = wire::Hello::decode(hello.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(&hello), "a hello is the same when it is written and read again");
    if let Some(HelloStep::Show(show)) = hello.step {
        let abilities = Abilities::from_wire(show.abilities.as_ref());
        let told = abilities.to_wire();
        assert_eq!(Abilities::from_wire(Some(&told)), abilities, "abilities are passed on as they were taken");
        return Chain::from_bytes(&show.chain).is_ok();
    }
    hello.step.is_some()
}

/// All that a dialer says to a listener: frames, which the listener's side of a hello answers. The first
/// byte says which of the two decides.
pub fn listen(bytes: &[u8]) -> bool {
    let Some((side, said)) = bytes.split_first() else { return false };
    let (papers, parties) = SIDES[usize::from(side & 1)].clone();
    let (asks, mut asked) = mpsc::channel::<(Ask, oneshot::Sender<Answer>)>(4);
    let gate = async move {
        while let Some((ask, reply)) = asked.recv().await {
            let answer = match ask {
                Ask::Holding => Answer::Holding(false),
                Ask::Decide { .. } | Ask::Welcomed { .. } => Answer::Open,
                Ask::Refusing(_) => continue,
            };
            let _ = reply.send(answer);
        }
    };
    let hello = Hello::new(Script(said), Some(papers), parties, asks);
    thread_local! {
        static RUNTIME: Option<tokio::runtime::Runtime> =
            tokio::runtime::Builder::new_current_thread().enable_time().build().ok();
    }
    RUNTIME.with(|runtime| {
        let Some(runtime) = runtime else { return false };
        let (end, ()) = runtime.block_on(async { tokio::join!(hello.listen(), gate) });
        end == End::Opened
    })
}

/// A newcomer's request.
pub fn join_request(bytes: &[u8]) -> bool {
    if bytes.len() > JOIN_REQUEST_BYTES_MAX {
        return false;
    }
    let Some(request) = JoinRequest::from_bytes(bytes) else { return false };
    assert_eq!(JoinRequest::from_bytes(&request.to_bytes()), Some(request), "a request reads as it was written");
    true
}

/// An inviter's reply.
pub fn join_reply(bytes: &[u8]) -> bool {
    if bytes.len() > JOIN_REPLY_BYTES_MAX {
        return false;
    }
    let Some(reply) = JoinReply::from_bytes(bytes) else { return false };
    assert_eq!(JoinReply::from_bytes(&reply.to_bytes()), Some(reply.clone()), "a reply reads as it was written");
    if let JoinReply::Admitted { addresses, .. } = reply {
        // shown to people; a name in it may be any bytes, so not every text is an address again
        assert!(addresses.iter().all(|address| address.to_string().starts_with('/')), "an address has a text");
    }
    true
}

/// A heartbeat, which may be from anywhere in the mesh.
pub fn beat(bytes: &[u8]) -> bool {
    let (mut presence, now) = (Presence::new(root().did()), clock::now());
    let heard = presence.hear(bytes, now);
    assert!(heard.is_err() || presence.hear(bytes, now).is_err(), "a beat counts once");
    heard.is_ok()
}

/// Frames of a room.
pub fn frames(bytes: &[u8]) -> bool {
    const BYTES_MAX: usize = 4 * 1024;
    let (mut left, mut again) = (bytes, futures::io::Cursor::new(Vec::new()));
    futures::executor::block_on(async {
        while let Ok(Some(frame)) = read_frame(&mut left, BYTES_MAX).await {
            let written = write_frame(&mut again, &frame).await;
            assert!(frame.len() <= BYTES_MAX && written.is_ok(), "a frame within its limit");
        }
    });
    let again = again.into_inner();
    assert!(bytes.starts_with(&again), "frames are written as they were read");
    !again.is_empty()
}

/// Good inputs: the function, a name, the bytes.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let frame = |step: HelloStep| wire::Hello { step: Some(step) }.encode_to_vec();
    for (side, (_, parties), (theirs, _)) in [(0, &SIDES[0], &SIDES[1]), (1, &SIDES[1], &SIDES[0])] {
        let knock = said::knock(&root().did(), parties);
        for (name, last) in
            [("welcome", HelloStep::Welcome(wire::Empty {})), ("opened", HelloStep::Opened(wire::Empty {}))]
        {
            let mut script = vec![side];
            for step in [&knock, &said::shown(theirs), &last] {
                let said = frame(step.clone());
                script.extend(u32::try_from(said.len()).unwrap_or(u32::MAX).to_be_bytes());
                script.extend(said);
            }
            seeds.push(("listen", format!("{name}-{side}"), script));
            seeds.push(("hello", name.to_owned(), frame(last)));
        }
        seeds.push(("hello", format!("knock-{side}"), frame(knock)));
        seeds.push(("hello", format!("show-{side}"), frame(said::shown(theirs))));
    }
    seeds.push(("hello", "refused".to_owned(), frame(HelloStep::Refused(wire::Refused { reason: 3 }))));
    let request = |name: &str| JoinRequest {
        ticket_id: [0xa1; 16],
        secret: [0xb2; 16],
        #[expect(clippy::expect_used, reason = "constants")]
        name: name.parse().expect("a name"),
        version: "0.1.0".to_owned(),
        succession: Vec::new(),
    };
    seeds.push(("join_request", "laptop".to_owned(), request("laptop").to_bytes()));
    let succession = JoinRequest { succession: vec![0xc3; 300], ..request("laptop") };
    seeds.push(("join_request", "succession".to_owned(), succession.to_bytes()));
    seeds.push(("join_request", "cyrillic".to_owned(), request("ноутбук").to_bytes()));
    let addresses: Vec<_> =
        ["/ip4/192.0.2.1/udp/4002/quic-v1", "/ip6/2001:db8::1/tcp/4002", "/dns4/n.example/tcp/4002"]
            .iter()
            .filter_map(|address| address.parse().ok())
            .collect();
    seeds.push(("join_reply", "admitted".to_owned(), JoinReply::Admitted { chain: chain(2), addresses }.to_bytes()));
    seeds.push(("join_reply", "refused".to_owned(), JoinReply::unavailable("busy, try again").to_bytes()));
    for (name, body) in [("empty", &b""[..]), ("body", b"\x0a\x17/ip4/192.0.2.1/tcp/4002")] {
        seeds.push((
            "beat",
            name.to_owned(),
            Beats::new(root().did(), &chain(2), 7).next(
                &member(2),
                body,
                Timestamp::from_ms(1 << 40),
                Circle::of([].iter()),
            ),
        ));
    }
    seeds.push(("frames", "three".to_owned(), b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c".to_vec()));
    seeds
}

/// The two sides of a hello: the credentials of member 1, which hears member 2, and the other way round.
static SIDES: LazyLock<[(Arc<Papers>, Parties); 2]> = LazyLock::new(|| [side(1, 2), side(2, 1)]);

#[expect(clippy::expect_used, reason = "constants")]
fn side(me: u8, peer: u8) -> (Arc<Papers>, Parties) {
    let peer_did = member(peer).did();
    let id = |did| peer_id_of(&did).expect("a key");
    let parties = Parties { me: id(member(me).did()), peer: id(peer_did), peer_did };
    let (mesh, abilities, clock) = (root().did(), Abilities::first(), Arc::new(Still));
    let (me, process, chain) = (member(me).did(), Process::of(me, &[9]), chain(me));
    (Arc::new(Papers { me, process, mesh, chain, abilities, clock }), parties)
}

/// A clock that stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn monotonic(&self) -> Duration {
        Duration::from_secs(1_000)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_ms(1_000_000)
    }
}

/// A stream of which everything was said at once, and that takes any answer.
struct Script<'a>(&'a [u8]);

impl AsyncRead for Script<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = buffer.len().min(self.0.len());
        let (now, later) = self.0.split_at(read);
        buffer[..read].copy_from_slice(now);
        self.0 = later;
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Script<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
