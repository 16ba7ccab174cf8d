//! A member that meddles with the tasks of others. It ends claims that are not its own, with their true tokens, and offers
//! a task of its own again and again, without hearing what came of it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use libp2p::StreamProtocol;
use nexus_crdt::{
    EntryFrame, Settlement, Submission, TaskClaim, TaskEnd, TaskEvent, TaskId, TaskToken, TaskVerb, TaskWord, Verified,
    task_events_of,
};
use nexus_identity::Did;
use nexus_mesh::{FRAME_BYTES_MAX, Mesh, Verdict, read_frame, write_frame};
use prost::Message;

use crate::dice::Dice;
use crate::faults::Faults;
use crate::forger::{Writer, send};
use crate::outsiders::{Listener, note_open};
use crate::tap::TapLog;
use crate::world::Crash;

const TASKS: StreamProtocol = StreamProtocol::new("/nexus/tasks/1");
/// The output of the results that it forges.
pub(crate) const STOLEN: &str = "\"stolen\"";
/// The most claims of others that it remembers, and the most words that it writes.
const CLAIMS_MAX: usize = 32;
const WORDS_MAX: usize = 64;
/// The longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// A frame of the room of tasks, as far as it is needed here.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, optional, tag = "3")]
    offer: Option<Offer>,
    #[prost(message, optional, tag = "5")]
    result: Option<Attempt>,
    #[prost(message, optional, tag = "6")]
    taken: Option<Taken>,
}

#[derive(Clone, PartialEq, Message)]
struct ClaimOf {
    #[prost(bytes = "vec", tag = "1")]
    task: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    token: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Offer {
    #[prost(message, optional, tag = "1")]
    claim: Option<ClaimOf>,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(message, repeated, tag = "7")]
    entries: Vec<EntryFrame>,
}

#[derive(Clone, PartialEq, Message)]
struct Attempt {
    #[prost(message, optional, tag = "1")]
    claim: Option<ClaimOf>,
    #[prost(uint32, tag = "2")]
    came: u32,
    #[prost(string, tag = "3")]
    output: String,
}

#[derive(Clone, PartialEq, Message)]
struct Taken {
    #[prost(string, tag = "1")]
    agent: String,
}

/// A claim of somebody else's.
#[derive(Clone, Copy)]
struct Seen {
    task: TaskId,
    token: TaskToken,
    settler: Did,
    worker: Did,
}

fn claim_of(task: TaskId, token: TaskToken) -> Option<ClaimOf> {
    Some(ClaimOf { task: task.to_bytes().to_vec(), token: token.as_bytes().to_vec() })
}

/// The claims in a message of the topic of entries.
fn claims_in(bytes: &[u8]) -> Vec<Seen> {
    let entry = EntryFrame::decode(bytes).ok().and_then(|frame| frame.parse().ok());
    let Some(entry) = entry.filter(|entry| entry.header().kind.is_tasks()) else { return Vec::new() };
    let settler = entry.header().author;
    let events = task_events_of(&entry).unwrap_or_default();
    let claims = events.into_iter().filter_map(|placed| match placed.event {
        TaskEvent::Claimed(TaskClaim { task, token, worker, .. }) => Some(Seen { task, token, settler, worker }),
        _ => None,
    });
    claims.collect()
}

/// Asks one question in the room of tasks.
async fn ask(mesh: &Mesh, peer: Did, envelope: Envelope) -> Option<Envelope> {
    let mut stream = mesh.open(peer, &TASKS).await.ok()?;
    write_frame(&mut stream, &envelope.encode_to_vec()).await.ok()?;
    let answer = tokio::time::timeout(ANSWER_MAX, read_frame(&mut stream, FRAME_BYTES_MAX)).await.ok()?.ok()??;
    Envelope::decode(answer.as_slice()).ok()
}

impl Faults {
    /// Joins, listens to what others say of tasks, and meddles until its time is over.
    pub(crate) async fn meddles(&self, no: usize, last: Duration, choice: u64) {
        let (sim, mut dice) = (&self.sim, Dice::new(choice));
        let Ok(outsider) = sim.outsider(&format!("meddler{no}"), TapLog::default()) else { return };
        let Some(Listener { mesh, mut events, mut gossip }) = Listener::start(sim, &outsider, self.nodes) else {
            return;
        };
        let writer = Writer::new(sim, &outsider.key, &mut dice);
        let (mut open, mut introduced, mut seen) = (BTreeSet::new(), BTreeSet::new(), VecDeque::new());
        let submitted = TaskEvent::Submitted(Box::new(Submission::new(format!("work{}", dice.below(3)), "\"bait\"")));
        let mut said = vec![writer.of_tasks(None, &submitted)];
        let bait = TaskId { entry: said[0].id(), index: 0 };
        let end = sim.now() + last;
        // messages do not put it off
        let mut next = sim.now();
        while sim.now() < end {
            let pause = sim.sleep(next.saturating_sub(sim.now()));
            tokio::select! {
                biased;
                event = events.recv() => if !note_open(&mut open, event) { break },
                message = gossip.recv() => {
                    let Some((_, message)) = message else { break };
                    mesh.settle(message.token, Verdict::Accept);
                    seen.extend(claims_in(&message.bytes));
                    while seen.len() > CLAIMS_MAX {
                        seen.pop_front();
                    }
                }
                () = pause => {
                    next = sim.now() + Duration::from_millis(dice.between(100, 500));
                    let peers: Vec<Did> = open.iter().copied().collect();
                    let Some(&peer) = dice.pick(&peers) else { continue };
                    if !introduced.contains(&peer) {
                        let Some(entry) = writer.introduction(sim, outsider.no) else { break };
                        if send(&mesh, peer, &[entry]).await.is_some() {
                            introduced.insert(peer);
                        }
                        continue;
                    }
                    if dice.chance(0.6) {
                        // again and again to the same peer, which is to keep one result
                        let victim = *introduced.first().unwrap_or(&peer);
                        self.offers(&mesh, &writer, (bait, &said[0]), victim, &mut dice).await;
                    } else if let Some(claim) = seen.pop_back() {
                        self.forges(&mesh, &writer, claim, &mut said).await;
                    }
                }
            }
        }
        // it ends its own task, so that nobody works on it for ever
        let over = Settlement {
            task: bait,
            ownership: 0,
            token: None,
            outcome: TaskEnd::Cancelled,
            output: String::new(),
            code: String::new(),
            error: String::new(),
            more: String::new(),
        };
        said.push(writer.of_tasks(said.last(), &TaskEvent::Settled(Box::new(over))));
        for peer in open {
            let _ = tokio::time::timeout(ANSWER_MAX, send(&mesh, peer, &said)).await;
        }
        self.counts_what_was_kept(bait).await;
        let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
        sim.crash(outsider.no, Crash::Process);
    }

    /// Offers its task to a peer's workers, with a new token and without a claim in its log.
    async fn offers(
        &self,
        mesh: &Mesh,
        writer: &Writer<'_>,
        (bait, submission): (TaskId, &Verified),
        peer: Did,
        dice: &mut Dice,
    ) {
        let mut token = [0; 16];
        token[..8].copy_from_slice(&dice.next().to_le_bytes());
        let token = TaskToken::from_bytes(token);
        let claim = TaskClaim { task: bait, ownership: 0, attempt: 1, token, worker: peer, agent: String::new() };
        let claim = writer.of_tasks(Some(submission), &TaskEvent::Claimed(claim));
        // workers keep results of tasks that they know alone
        if dice.chance(0.2) {
            let _ = send(mesh, peer, std::slice::from_ref(submission)).await;
        }
        let entries = [submission, &claim].into_iter().map(|entry| EntryFrame::new(entry)).collect();
        let offer = Offer { claim: claim_of(bait, token), attempt: 1, entries };
        let answer = ask(mesh, peer, Envelope { id: 1, offer: Some(offer), ..Envelope::default() }).await;
        if answer.is_some_and(|answer| answer.taken.is_some()) {
            self.sim.network().fire("meddler_offer");
        }
    }

    /// Says that somebody else's claim has succeeded, to the task's node and to the worker's, and has them look.
    async fn forges(&self, mesh: &Mesh, writer: &Writer<'_>, claim: Seen, said: &mut Vec<Verified>) {
        let Seen { task, token, settler, worker } = claim;
        for peer in BTreeSet::from([settler, worker]) {
            let result = Attempt { claim: claim_of(task, token), came: 1, output: STOLEN.to_owned() };
            if ask(mesh, peer, Envelope { id: 1, result: Some(result), ..Envelope::default() }).await.is_some() {
                self.sim.network().fire("meddler_result");
                self.sim.network().fire("meddler");
            }
        }
        if said.len() < WORDS_MAX {
            let word = TaskWord { task, verb: TaskVerb::Cancel, why: "mine".to_owned() };
            said.push(writer.of_tasks(said.last(), &TaskEvent::Word(word)));
            send(mesh, settler, said).await;
        }
    }

    /// Notes how many results of its task each node has kept in its own log.
    async fn counts_what_was_kept(&self, bait: TaskId) {
        for no in self.sim.up() {
            let me = self.sim.did(no);
            let shown = self.sim.on(no, async |node| node.tasks().get(&bait.to_string()).await).await;
            let Ok(task) = shown else { continue };
            let kept = task.events.iter().filter(|event| event.by == me).count();
            self.ledger.borrow_mut().kept_for_others.insert((no, bait.to_string()), kept);
        }
    }
}
