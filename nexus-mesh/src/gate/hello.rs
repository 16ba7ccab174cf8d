//! Hello: two peers find out whether they are of one mesh, and whether this connection becomes the open
//! one between them.
//!
//! On one stream from the dialer, one frame per line:
//!
//! ```text
//! dialer    Knock        nonce, tag: I know a mesh, and which one only you can tell if you know it
//! listener  Knock        the same back; or Refused, before any credentials were shown
//! dialer    Show         chain, versions, whether I hold an open connection to you
//! listener  Show         the same back; with `welcome` if I decide and this is the one
//! dialer    Welcome      if I decide and this is the one
//! the other Opened       I serve the rooms now, you may speak
//! ```
//!
//! Instead of any line: `Refused` with a reason, or `Duplicate`. The sender of these closes the
//! connection only after the other side has read them, so that the reason is not lost with the
//! connection.
//!
//! The deciding side serves its rooms before it sends welcome, the other before it sends opened.
//! Neither opens a stream before it has read the other's word. Otherwise gossipsub's first stream would
//! meet a closed gate, and gossipsub never tries again on that connection.

use std::sync::Arc;
use std::time::Duration;

use crate::libp2p::PeerId;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use nexus_identity::plants::planted;
use nexus_identity::{Chain, ChainError, Claims, Did, Timestamp};
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use super::slots::Slots;
use crate::abilities::Abilities;
use crate::clock::Clock;
use crate::event::Refusal;
use crate::frame::{FrameError, read_frame, write_frame};
use crate::process::Process;
use crate::wire::{self, Empty, HELLO_BYTES_MAX, HelloStep};

/// The longest time from the first to the last byte of a hello.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// The time to wait until the other side has read a refusal.
const LINGER: Duration = Duration::from_secs(2);
/// The grace for an expired chain, since the clocks of two members may differ.
pub(crate) const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(5 * 60);
/// The protocol versions that this node speaks: from 1.0 on, one major version back.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=1;

const NONCE_BYTES: usize = 16;

/// This node's credentials.
#[derive(Clone, Debug)]
pub(crate) struct Papers {
    pub(crate) me: Did,
    pub(crate) process: Process,
    pub(crate) mesh: Did,
    pub(crate) chain: Chain,
    pub(crate) abilities: Abilities,
    /// Decides whether what a peer shows has expired.
    pub(crate) clock: Arc<dyn Clock>,
}

/// The two parties of a hello.
#[derive(Clone, Debug)]
pub(crate) struct Parties {
    pub(crate) me: PeerId,
    pub(crate) peer: PeerId,
    pub(crate) peer_did: Did,
}

/// A peer whose credentials hold.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) chain: Chain,
    pub(crate) claims: Claims,
    pub(crate) expires_at: Option<Timestamp>,
    /// Its abilities.
    pub(crate) abilities: Abilities,
    /// Its process.
    pub(crate) process: Option<Process>,
}

/// Whether credentials have ended for every clock within the grace.
pub(crate) fn expired(end: Option<Timestamp>, now: Timestamp) -> bool {
    end.is_some_and(|end| end.saturating_add(CLOCK_DIFFERENCE_MAX) < now)
}

/// A question of a hello to the gate's behaviour, which holds the slots.
#[derive(Debug)]
pub(crate) enum Ask {
    /// May this peer go on, and is a connection to it open?
    Holding,
    /// Does the deciding side (this one) take this connection?
    Decide { member: Box<Member>, peer_holds: bool },
    /// The peer decided to take this connection.
    Welcomed { member: Box<Member> },
    /// No question: this side is about to refuse. The peer may close before the hello has ended.
    Refusing(Refusal),
}

/// The answer to an [`Ask`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// To `Holding`.
    Holding(bool),
    /// To `Decide` and `Welcomed`: the inner handler is in place and serves.
    Open,
    /// To `Decide`, and to `Welcomed` while it is asked whether another process of the peer lives.
    Duplicate,
    /// To all.
    Refuse(Refusal),
}

pub(crate) type Asks = mpsc::Sender<(Ask, oneshot::Sender<Answer>)>;

/// The end of a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides serve; this side may speak.
    Opened,
    /// Another connection is, or will be, the open one.
    Duplicate,
    /// One side refused.
    Refused { by_us: bool, reason: Refusal },
    /// The stream broke or stalled, or the peer broke the protocol.
    Failed(String),
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::Failed(error.to_string())
    }
}

fn nonsense(step: Option<&HelloStep>) -> End {
    let what = match step {
        None => "the end of the stream",
        Some(HelloStep::Knock(_)) => "knock",
        Some(HelloStep::Show(_)) => "show",
        Some(HelloStep::Welcome(_)) => "welcome",
        Some(HelloStep::Duplicate(_)) => "duplicate",
        Some(HelloStep::Refused(_)) => "refused",
        Some(HelloStep::Opened(_)) => "opened",
    };
    End::Failed(format!("hello: unexpected {what}"))
}

/// One side of one hello.
pub(crate) struct Hello<S> {
    stream: S,
    papers: Option<Arc<Papers>>,
    parties: Parties,
    asks: Asks,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Hello<S> {
    pub(crate) fn new(stream: S, papers: Option<Arc<Papers>>, parties: Parties, asks: Asks) -> Self {
        Self { stream, papers, parties, asks }
    }

    /// Runs the dialer's side.
    pub(crate) async fn dial(mut self) -> End {
        let end = match tokio::time::timeout(HELLO_TIMEOUT, self.dial_steps()).await {
            Ok(Ok(())) => End::Opened,
            Ok(Err(end)) => end,
            Err(_) => End::Failed("hello timed out".to_owned()),
        };
        self.finish(end).await
    }

    /// Runs the listener's side.
    pub(crate) async fn listen(mut self) -> End {
        let end = match tokio::time::timeout(HELLO_TIMEOUT, self.listen_steps()).await {
            Ok(Ok(())) => End::Opened,
            Ok(Err(end)) => end,
            Err(_) => End::Failed("hello timed out".to_owned()),
        };
        self.finish(end).await
    }

    /// Sends the last word, if there is one, and waits until the other side has read it.
    async fn finish(mut self, end: End) -> End {
        let last = match &end {
            End::Refused { by_us: true, reason } => {
                let (nobody, _) = oneshot::channel();
                let _ = self.asks.send((Ask::Refusing(*reason), nobody)).await;
                Some(HelloStep::Refused(wire::Refused { reason: reason_to_wire(*reason) }))
            }
            _ => None,
        };
        let linger = async {
            if let Some(last) = last {
                self.say(last).await?;
            }
            self.stream.close().await.map_err(FrameError::from)?;
            // the other side ends the stream, or the connection, when it has read the last word
            let mut rest = [0; 64];
            while self.stream.read(&mut rest).await.map_err(FrameError::from)? > 0 {}
            Ok::<(), End>(())
        };
        if matches!(end, End::Refused { by_us: true, .. } | End::Duplicate) {
            let _ = tokio::time::timeout(LINGER, linger).await;
        }
        end
    }

    async fn dial_steps(&mut self) -> Result<(), End> {
        let papers = self.papers.clone().ok_or(End::Refused { by_us: true, reason: Refusal::Unavailable })?;
        let holding = ask_holding(&self.asks).await?;

        let nonce = nonce()?;
        let tag = tag(&papers.mesh, &self.parties.me, &self.parties.peer, &[&nonce]);
        self.say(HelloStep::Knock(wire::Knock { nonce: nonce.to_vec(), tag: tag.to_vec() })).await?;
        let theirs = match self.hear().await? {
            HelloStep::Knock(knock) => knock,
            other => return Err(nonsense(Some(&other))),
        };
        let expected = tag_of(&papers.mesh, &self.parties.peer, &self.parties.me, &[&nonce, &theirs.nonce]);
        if expected != theirs.tag[..] && !planted("takes_foreign_meshes") {
            return Err(End::Refused { by_us: true, reason: Refusal::OtherMesh });
        }

        self.say(HelloStep::Show(show(&papers, holding, false))).await?;
        let shown = match self.hear().await? {
            HelloStep::Show(shown) => shown,
            other => return Err(nonsense(Some(&other))),
        };
        let member = self.check(&papers, &shown)?;
        match (self.we_decide(&papers), shown.welcome) {
            (true, false) => self.decide_as_dialer(member, shown.holding).await,
            (false, true) => self.follow(member).await,
            _ => Err(End::Failed("hello: the wrong side decides".to_owned())),
        }
    }

    async fn decide_as_dialer(&mut self, member: Box<Member>, peer_holds: bool) -> Result<(), End> {
        self.ask_to_take(member, peer_holds).await?;
        self.say(HelloStep::Welcome(Empty {})).await?;
        self.hear_opened().await
    }

    async fn listen_steps(&mut self) -> Result<(), End> {
        let theirs = match self.hear().await? {
            HelloStep::Knock(knock) => knock,
            other => return Err(nonsense(Some(&other))),
        };
        let papers = self.papers.clone().ok_or(End::Refused { by_us: true, reason: Refusal::Unavailable })?;
        let expected = tag_of(&papers.mesh, &self.parties.peer, &self.parties.me, &[&theirs.nonce]);
        if planted("shows_papers_to_anybody") {
            self.say(HelloStep::Show(show(&papers, false, false))).await?;
        }
        let knows_it = expected == theirs.tag[..] || planted("takes_foreign_meshes");
        if theirs.nonce.len() != NONCE_BYTES || !knows_it {
            return Err(End::Refused { by_us: true, reason: Refusal::OtherMesh });
        }
        let holding = ask_holding(&self.asks).await?;
        let nonce = nonce()?;
        let tag = tag(&papers.mesh, &self.parties.me, &self.parties.peer, &[&theirs.nonce, &nonce]);
        self.say(HelloStep::Knock(wire::Knock { nonce: nonce.to_vec(), tag: tag.to_vec() })).await?;

        let shown = match self.hear().await? {
            HelloStep::Show(shown) => shown,
            other => return Err(nonsense(Some(&other))),
        };
        let member = self.check(&papers, &shown)?;
        if self.we_decide(&papers) {
            self.ask_to_take(member, shown.holding).await?;
            self.say(HelloStep::Show(show(&papers, holding, true))).await?;
            self.hear_opened().await
        } else {
            self.say(HelloStep::Show(show(&papers, holding, false))).await?;
            match self.hear().await? {
                HelloStep::Welcome(_) => self.follow(member).await,
                other => Err(nonsense(Some(&other))),
            }
        }
    }

    /// Asks this side's slots, as the deciding side. After `Ok` the rooms are served.
    async fn ask_to_take(&mut self, member: Box<Member>, peer_holds: bool) -> Result<(), End> {
        match ask(&self.asks, Ask::Decide { member, peer_holds }).await? {
            Answer::Open => Ok(()),
            Answer::Duplicate => self.duplicate().await,
            Answer::Refuse(reason) => Err(End::Refused { by_us: true, reason }),
            Answer::Holding(_) => Err(End::Failed("hello: gate misunderstood".to_owned())),
        }
    }

    /// Says that another connection has the slot, or will have it.
    async fn duplicate(&mut self) -> Result<(), End> {
        self.say(HelloStep::Duplicate(Empty {})).await?;
        Err(End::Duplicate)
    }

    /// Follows the other side's decision: serves the rooms, and says so.
    async fn follow(&mut self, member: Box<Member>) -> Result<(), End> {
        match ask(&self.asks, Ask::Welcomed { member }).await? {
            Answer::Open => self.say(HelloStep::Opened(Empty {})).await,
            Answer::Duplicate => self.duplicate().await,
            Answer::Refuse(reason) => Err(End::Refused { by_us: true, reason }),
            Answer::Holding(_) => Err(End::Failed("hello: gate misunderstood".to_owned())),
        }
    }

    async fn hear_opened(&mut self) -> Result<(), End> {
        match self.hear().await? {
            HelloStep::Opened(_) => Ok(()),
            other => Err(nonsense(Some(&other))),
        }
    }

    async fn say(&mut self, step: HelloStep) -> Result<(), End> {
        let frame = wire::Hello { step: Some(step) }.encode_to_vec();
        Ok(write_frame(&mut self.stream, &frame).await?)
    }

    /// The next step; an error if the other side ends the hello with it.
    async fn hear(&mut self) -> Result<HelloStep, End> {
        let frame = read_frame(&mut self.stream, HELLO_BYTES_MAX).await?.ok_or_else(|| nonsense(None))?;
        let hello = wire::Hello::decode(frame.as_slice()).map_err(|error| End::Failed(format!("hello: {error}")))?;
        match hello.step.ok_or_else(|| End::Failed("hello: empty step".to_owned()))? {
            HelloStep::Refused(refused) => Err(End::Refused { by_us: false, reason: reason_from_wire(refused.reason) }),
            HelloStep::Duplicate(_) => Err(End::Duplicate),
            step => Ok(step),
        }
    }

    fn we_decide(&self, papers: &Papers) -> bool {
        Slots::<()>::decides(&papers.me, &self.parties.peer_did)
    }

    /// Checks that the shown credentials make the peer a member.
    fn check(&self, papers: &Papers, shown: &wire::Show) -> Result<Box<Member>, End> {
        let refuse = |reason| End::Refused { by_us: true, reason };
        if shown.version_min > *VERSIONS.end() || shown.version_max < *VERSIONS.start() {
            return Err(refuse(Refusal::Version));
        }
        let chain = Chain::from_bytes(&shown.chain).map_err(|_| refuse(Refusal::BadCredentials))?;
        let mut claims = chain.verify(&papers.mesh);
        if let (Err(ChainError::OtherMesh { found, .. }), true) = (&claims, planted("takes_foreign_meshes")) {
            claims = chain.verify(&found.clone());
        }
        let claims = claims.map_err(|_| refuse(Refusal::BadCredentials))?;
        if claims.subject != self.parties.peer_did && !planted("takes_borrowed_papers") {
            return Err(refuse(Refusal::BadCredentials));
        }
        let expires_at = chain.expires_at().map_err(|_| refuse(Refusal::BadCredentials))?;
        if expired(expires_at, papers.clock.wall()) {
            return Err(refuse(Refusal::Expired));
        }
        let abilities = Abilities::from_wire(shown.abilities.as_ref());
        let process = Process::from_wire(&shown.process, &shown.former);
        Ok(Box::new(Member { chain, claims, expires_at, abilities, process }))
    }
}

async fn ask_holding(asks: &Asks) -> Result<bool, End> {
    match ask(asks, Ask::Holding).await? {
        Answer::Holding(holding) => Ok(holding),
        Answer::Refuse(reason) => Err(End::Refused { by_us: true, reason }),
        Answer::Open | Answer::Duplicate => Err(End::Failed("hello: gate misunderstood".to_owned())),
    }
}

async fn ask(asks: &Asks, ask: Ask) -> Result<Answer, End> {
    let (reply, answer) = oneshot::channel();
    let gone = || End::Failed("hello: gate is gone".to_owned());
    asks.send((ask, reply)).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())
}

fn show(papers: &Papers, holding: bool, welcome: bool) -> wire::Show {
    let (process, former) = papers.process.to_wire();
    wire::Show {
        chain: papers.chain.to_bytes(),
        version_min: *VERSIONS.start(),
        version_max: *VERSIONS.end(),
        holding,
        welcome,
        abilities: Some(papers.abilities.to_wire()),
        process,
        former,
    }
}

fn nonce() -> Result<[u8; NONCE_BYTES], End> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| End::Failed(format!("no randomness: {error}")))?;
    Ok(nonce)
}

/// The blinded mesh tag: `prover` shows `verifier` that it knows a mesh. A peer that does not know the
/// mesh learns nothing from it. It is good on this connection and for these nonces only.
fn tag_of(mesh: &Did, prover: &PeerId, verifier: &PeerId, nonces: &[&[u8]]) -> blake3::Hash {
    let key = blake3::derive_key("nexus hello tag v1", mesh.as_bytes());
    let mut hasher = blake3::Hasher::new_keyed(&key);
    for part in [&prover.to_bytes()[..], &verifier.to_bytes()[..]].into_iter().chain(nonces.iter().copied()) {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize()
}

fn tag(mesh: &Did, prover: &PeerId, verifier: &PeerId, nonces: &[&[u8]]) -> [u8; 32] {
    *tag_of(mesh, prover, verifier, nonces).as_bytes()
}

fn reason_to_wire(reason: Refusal) -> u32 {
    match reason {
        Refusal::OtherMesh => 1,
        Refusal::BadCredentials => 2,
        Refusal::Expired => 3,
        Refusal::Revoked => 4,
        Refusal::Version => 5,
        Refusal::Unavailable => 6,
        Refusal::Twin => 7,
    }
}

/// An unknown reason, of a later version, reads as unavailable.
fn reason_from_wire(reason: u32) -> Refusal {
    match reason {
        1 => Refusal::OtherMesh,
        2 => Refusal::BadCredentials,
        3 => Refusal::Expired,
        4 => Refusal::Revoked,
        5 => Refusal::Version,
        7 => Refusal::Twin,
        _ => Refusal::Unavailable,
    }
}

/// A dialer's words, for good inputs of `crate::fuzzed`.
#[cfg(feature = "testing")]
pub(crate) mod fuzzed {
    use nexus_identity::Did;

    use super::{NONCE_BYTES, Papers, Parties, show, tag};
    use crate::wire::{self, HelloStep};

    /// The first message to the listener `parties.me` from `parties.peer`.
    pub(crate) fn knock(mesh: &Did, parties: &Parties) -> HelloStep {
        let nonce = [7; NONCE_BYTES];
        let tag = tag(mesh, &parties.peer, &parties.me, &[&nonce]);
        HelloStep::Knock(wire::Knock { nonce: nonce.to_vec(), tag: tag.to_vec() })
    }

    /// The second message.
    pub(crate) fn shown(papers: &Papers) -> HelloStep {
        HelloStep::Show(show(papers, false, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::peer::peer_id_of;
    use futures::executor::block_on;
    use futures::io::Cursor;
    use nexus_identity::{Keypair, Role};

    fn papers(root: u8, n: u8) -> Papers {
        let (root, key) = (Keypair::from_seed(&[root; 32]), Keypair::from_seed(&[n; 32]));
        let claims = Claims::new(root.did(), key.did(), "m".parse().unwrap(), [Role::Member], Timestamp::from_ms(0));
        Papers {
            me: key.did(),
            process: Process::of(n, &[]),
            mesh: root.did(),
            chain: Chain::found(claims.sign(&root)).unwrap(),
            abilities: Abilities::first(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// A stream whose other side has written everything already.
    struct Script {
        theirs: Cursor<Vec<u8>>,
        ours: Vec<u8>,
    }

    impl AsyncRead for Script {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &mut [u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.theirs).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Script {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buf: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            self.ours.extend(buf);
            std::task::Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn poll_close(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }

    fn frames(steps: Vec<HelloStep>) -> Cursor<Vec<u8>> {
        let mut wire = Cursor::new(Vec::new());
        for step in steps {
            let frame = wire::Hello { step: Some(step) }.encode_to_vec();
            block_on(write_frame(&mut wire, &frame)).unwrap();
        }
        wire.set_position(0);
        wire
    }

    /// The dialer's output against a listener that sends these steps.
    fn dialer_against(steps: Vec<HelloStep>) -> (Result<(), End>, Vec<u8>, Papers) {
        let ours = papers(0, 1);
        let (me, peer_did) = (ours.me, Keypair::from_seed(&[2; 32]).did());
        let parties = Parties { me: peer_id_of(&me).unwrap(), peer: peer_id_of(&peer_did).unwrap(), peer_did };
        let (asks, mut asked) = mpsc::channel::<(Ask, oneshot::Sender<Answer>)>(1);
        let stream = Script { theirs: frames(steps), ours: Vec::new() };
        let mut hello = Hello::new(stream, Some(Arc::new(papers(0, 1))), parties, asks);
        let end = block_on(async {
            let gate = async {
                while let Some((_, reply)) = asked.recv().await {
                    let _ = reply.send(Answer::Holding(false));
                }
            };
            tokio::select! { end = hello.dial_steps() => end, () = gate => unreachable!("the hello asks") }
        });
        (end, hello.stream.ours, ours)
    }

    fn contains(said: &[u8], what: &[u8]) -> bool {
        said.windows(what.len()).any(|window| window == what)
    }

    /// promise: Bad input | A foreign mesh
    #[test]
    fn a_dialer_shows_nothing_to_a_listener_of_another_mesh() {
        let tag = vec![7; 32];
        let knock = HelloStep::Knock(wire::Knock { nonce: vec![7; NONCE_BYTES], tag });
        let (end, said, papers) = dialer_against(vec![knock]);
        assert_eq!(end, Err(End::Refused { by_us: true, reason: Refusal::OtherMesh }));
        assert!(!contains(&said, &papers.chain.to_bytes()));
        assert!(!contains(&said, papers.mesh.as_bytes()));
    }

    #[test]
    fn a_dialer_believes_nobody_who_skips_the_knock() {
        let shown = show(&papers(0, 2), false, true);
        for step in [HelloStep::Show(shown), HelloStep::Welcome(Empty {}), HelloStep::Opened(Empty {})] {
            let (end, said, papers) = dialer_against(vec![step]);
            assert!(matches!(end, Err(End::Failed(_))), "{end:?}");
            assert!(!contains(&said, &papers.chain.to_bytes()));
        }
    }

    #[test]
    fn a_tag_is_good_for_one_mesh_direction_pair_and_nonce() {
        let did = |n| Keypair::from_seed(&[n; 32]).did();
        let peer = |n| peer_id_of(&did(n)).unwrap();
        let good = tag_of(&did(0), &peer(1), &peer(2), &[&[1; 16]]);
        assert_eq!(good, tag_of(&did(0), &peer(1), &peer(2), &[&[1; 16]]));
        for other in [
            tag_of(&did(9), &peer(1), &peer(2), &[&[1; 16]]),
            tag_of(&did(0), &peer(2), &peer(1), &[&[1; 16]]),
            tag_of(&did(0), &peer(1), &peer(3), &[&[1; 16]]),
            tag_of(&did(0), &peer(1), &peer(2), &[&[2; 16]]),
            tag_of(&did(0), &peer(1), &peer(2), &[&[1; 8], &[1; 8]]),
        ] {
            assert_ne!(good, other);
        }
    }

    #[test]
    fn every_refusal_survives_the_wire() {
        use Refusal as R;
        for reason in [R::OtherMesh, R::BadCredentials, R::Expired, R::Revoked, R::Version, R::Twin, R::Unavailable] {
            assert_eq!(reason_from_wire(reason_to_wire(reason)), reason);
        }
    }

    #[test]
    fn credentials_are_checked_for_their_owner_mesh_versions_and_end() {
        let ours = papers(0, 1);
        let peer_did = papers(0, 2).me;
        let parties = Parties { me: peer_id_of(&ours.me).unwrap(), peer: peer_id_of(&peer_did).unwrap(), peer_did };
        let (asks, _) = mpsc::channel(1);
        let hello = Hello::new(Cursor::new(Vec::new()), None, parties, asks);
        let refused = |shown: &wire::Show| match hello.check(&ours, shown) {
            Ok(_) => None,
            Err(End::Refused { by_us: true, reason }) => Some(reason),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(refused(&show(&papers(0, 2), false, false)), None);
        assert_eq!(refused(&show(&papers(0, 3), false, false)), Some(Refusal::BadCredentials));
        assert_eq!(refused(&show(&papers(9, 2), false, false)), Some(Refusal::BadCredentials));
        let later = wire::Show { version_min: 2, version_max: 3, ..show(&papers(0, 2), false, false) };
        assert_eq!(refused(&later), Some(Refusal::Version));
        let silent = wire::Show { abilities: None, ..show(&papers(0, 2), false, false) };
        assert_eq!(hello.check(&ours, &silent).unwrap().abilities, Abilities::first());
        for (process, known) in [(vec![5; 16], Some(Process::of(5, &[]))), (vec![5; 15], None), (vec![], None)] {
            let shown = wire::Show { process, ..show(&papers(0, 2), false, false) };
            assert_eq!(hello.check(&ours, &shown).unwrap().process, known);
        }
        let able = wire::Abilities { critical_format_max: 3, ..wire::Abilities::default() };
        let able = wire::Show { abilities: Some(able), ..show(&papers(0, 2), false, false) };
        assert_eq!(hello.check(&ours, &able).unwrap().abilities.critical_format_max, 3);
        let garbage = wire::Show { chain: vec![1; 40], ..show(&papers(0, 2), false, false) };
        assert_eq!(refused(&garbage), Some(Refusal::BadCredentials));
    }
}
