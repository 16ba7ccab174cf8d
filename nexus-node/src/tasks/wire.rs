//! The messages of `/nexus/tasks/1`: offers to workers at other nodes, and their words.

use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{Dot, EntryFrame, TaskId, TaskToken, is_capability};
use nexus_identity::Did;
use nexus_mesh::ask::{AskLimits, Asker, Numbered};
use nexus_mesh::quota::Receiver;
use nexus_mesh::{Mesh, Rooms, Stream, StreamProtocol};
use prost::Message;

use super::scheduler::approved::{Approved, WaitingWorkers, WorkersElsewhere};
use crate::world::World;

/// The most capabilities of a peer's workers in a message.
pub(super) const CAPABILITIES_MAX: usize = 256;
/// The most submitters that a message about workers names.
pub(super) const SUBMITTERS_MAX: usize = 16;
/// The most claims in a message.
pub(super) const CLAIMS_MAX: usize = 1_000;
/// The room of tasks.
pub(crate) const ROOM: &str = "/nexus/tasks/1";
const TASKS: StreamProtocol = StreamProtocol::new(ROOM);
/// Streams that members opened and that were not taken yet.
const STREAMS_MAX: usize = 64;

/// Registers the room.
pub(crate) fn register(rooms: &mut Rooms) -> Receiver<Stream> {
    rooms.register(TASKS, STREAMS_MAX)
}

/// Asks others in this room.
pub(super) fn asker(mesh: Mesh, world: &World) -> Asker<Envelope> {
    Asker::new(mesh, TASKS, "tasks link", world.spawner().clone(), AskLimits::default())
}

/// One frame.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Envelope {
    /// The number of the request.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
    pub(super) body: Option<Body>,
}

impl Numbered for Envelope {
    fn number(&self) -> u64 {
        self.id
    }

    fn set_number(&mut self, number: u64) {
        self.id = number;
    }
}

impl From<Body> for Envelope {
    fn from(body: Body) -> Self {
        Self { id: 0, body: Some(body) }
    }
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Body {
    /// Workers that wait for tasks of the receiver. The answer is `Answer`.
    #[prost(message, tag = "2")]
    Serving(Serving),
    /// A task that the sender has claimed for a worker of the receiver. The answer is `Taken`, or `Answer` if none takes it.
    #[prost(message, tag = "3")]
    Offer(Offer),
    /// Claims whose workers live. The answer is `Over` with those that no longer stand.
    #[prost(message, tag = "4")]
    Alive(Claims),
    /// An attempt is over. The answer is `Answer`, after it is on the receiver's disk.
    #[prost(message, tag = "5")]
    Result(Attempt),
    #[prost(message, tag = "6")]
    Taken(Taken),
    #[prost(message, tag = "7")]
    Over(Claims),
    #[prost(message, tag = "8")]
    Answer(Answer),
    /// All workers of the sender. The answer is `Answer`.
    #[prost(message, tag = "9")]
    Workers(Workers),
    /// A question for the stderr of a command that does a task. The answer is `Log`.
    #[prost(message, tag = "10")]
    LogQuestion(LogQuestion),
    #[prost(message, tag = "11")]
    Log(Log),
}

/// A question for the stderr of a task's last attempt.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LogQuestion {
    /// The task's dot, 34 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) task: Vec<u8>,
    /// The attempt of which so many bytes are known; of another one all is asked for.
    #[prost(uint32, tag = "2")]
    pub(super) attempt: u32,
    #[prost(uint64, tag = "3")]
    pub(super) from: u64,
}

/// A part of a log, at most 32 KiB.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Log {
    /// Whether there is one that the receiver may read.
    #[prost(bool, tag = "1")]
    pub(super) found: bool,
    #[prost(uint32, tag = "2")]
    pub(super) attempt: u32,
    /// The bytes before this part.
    #[prost(uint64, tag = "3")]
    pub(super) from: u64,
    #[prost(string, tag = "4")]
    pub(super) text: String,
    /// Whether more may follow.
    #[prost(bool, tag = "5")]
    pub(super) open: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Serving {
    /// Workers that insist on no approval.
    #[prost(message, repeated, tag = "1")]
    waiting: Vec<Waiting>,
    /// Workers that take only tasks that were approved by their rule. Earlier versions do not read this, and offer them
    /// nothing.
    #[prost(message, repeated, tag = "2")]
    by_rule: Vec<Waiting>,
    /// Workers that take only tasks that were approved by the rule `other`; the same holds.
    #[prost(message, repeated, tag = "3")]
    by_other: Vec<Waiting>,
    /// Workers that take no tasks of the receiver, but those of these submitters, whose heir it is. Earlier versions do not read
    /// this either.
    #[prost(message, repeated, tag = "4")]
    of: Vec<OfSubmitter>,
}

/// Workers that wait for tasks of a submitter.
#[derive(Clone, PartialEq, Message)]
struct OfSubmitter {
    /// Its DID, 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    submitter: Vec<u8>,
    /// The lists of [`Serving`].
    #[prost(message, repeated, tag = "2")]
    waiting: Vec<Waiting>,
    #[prost(message, repeated, tag = "3")]
    by_rule: Vec<Waiting>,
    #[prost(message, repeated, tag = "4")]
    by_other: Vec<Waiting>,
}

/// The three lists of workers, by the approval on which they insist.
type Lists = [(Approved, Vec<Waiting>); 3];

impl Serving {
    /// The most workers of a capability that are counted.
    const WORKERS_MAX: u32 = 1_000;

    pub(super) fn of(waiting: &BTreeMap<String, WorkersElsewhere>) -> Self {
        let [waiting_any, by_rule, by_other] = lists_of(waiting.iter().map(|(name, waits)| (name, &waits.any)));
        let submitters: BTreeSet<Did> = waiting.values().flat_map(|waits| waits.of.keys()).copied().collect();
        let of = submitters.into_iter().take(SUBMITTERS_MAX).map(|submitter| {
            let of = waiting.iter().filter_map(|(name, waits)| Some((name, waits.of.get(&submitter)?)));
            let [waiting, by_rule, by_other] = lists_of(of);
            OfSubmitter { submitter: submitter.as_bytes().to_vec(), waiting, by_rule, by_other }
        });
        Self { waiting: waiting_any, by_rule, by_other, of: of.collect() }
    }

    /// The workers by capability; `None` if it breaks a rule.
    pub(super) fn read(self) -> Option<BTreeMap<String, WorkersElsewhere>> {
        let mut all: BTreeMap<String, WorkersElsewhere> = BTreeMap::new();
        let lists =
            [(Approved::Not, self.waiting), (Approved::ByRule, self.by_rule), (Approved::ByOther, self.by_other)];
        read_lists(lists, &mut all, |waits| &mut waits.any)?;
        if self.of.len() > SUBMITTERS_MAX {
            return None;
        }
        for OfSubmitter { submitter, waiting, by_rule, by_other } in self.of {
            let submitter = Did::from_bytes(submitter.try_into().ok()?);
            let lists = [(Approved::Not, waiting), (Approved::ByRule, by_rule), (Approved::ByOther, by_other)];
            read_lists(lists, &mut all, |waits| waits.of.entry(submitter).or_default())?;
        }
        (all.len() <= CAPABILITIES_MAX).then_some(all)
    }
}

fn lists_of<'a>(waiting: impl Iterator<Item = (&'a String, &'a WaitingWorkers)> + Clone) -> [Vec<Waiting>; 3] {
    [Approved::Not, Approved::ByRule, Approved::ByOther].map(|on| {
        let each = waiting.clone().map(|(capability, waits)| (capability, waits.that_insist_on(on)));
        let some = each.filter(|(_, workers)| *workers > 0);
        some.map(|(capability, workers)| Waiting { capability: capability.clone(), workers }).collect()
    })
}

fn read_lists(
    lists: Lists,
    all: &mut BTreeMap<String, WorkersElsewhere>,
    mut into: impl FnMut(&mut WorkersElsewhere) -> &mut WaitingWorkers,
) -> Option<()> {
    for (on, list) in lists {
        // of a capability that is named twice the last one counts
        let list: BTreeMap<String, u32> =
            list.into_iter().map(|Waiting { capability, workers }| (capability, workers)).collect();
        for (capability, workers) in list {
            if !is_capability(&capability) {
                return None;
            }
            into(all.entry(capability).or_default()).add(on, workers.min(Serving::WORKERS_MAX));
        }
    }
    Some(())
}

/// The sender's words about its workers and itself.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Workers {
    /// Its workers, by name.
    #[prost(message, repeated, tag = "1")]
    pub(super) workers: Vec<Worker>,
    /// The use of its processors and memory in percent, plus one; 0 if it cannot tell.
    #[prost(uint32, tag = "2")]
    pub(super) cpu: u32,
    #[prost(uint32, tag = "3")]
    pub(super) memory: u32,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(super) labels: BTreeMap<String, String>,
}

/// Workers with one name.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Worker {
    /// Empty for those without one.
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) capabilities: Vec<String>,
    #[prost(uint32, tag = "3")]
    pub(super) waiting: u32,
    #[prost(uint32, tag = "4")]
    pub(super) running: u32,
    /// Whether the sender's machine is busier than they allow.
    #[prost(bool, tag = "5")]
    pub(super) overloaded: bool,
    /// The JSON schema of the inputs that they take; empty if there is none, or it is long.
    #[prost(string, tag = "6")]
    pub(super) input_schema: String,
    #[prost(string, tag = "7")]
    pub(super) output_schema: String,
}

#[derive(Clone, PartialEq, Message)]
struct Waiting {
    #[prost(string, tag = "1")]
    capability: String,
    /// The number of workers.
    #[prost(uint32, tag = "2")]
    workers: u32,
}

/// A claim: the task's dot, 34 bytes, and its token, 16 bytes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Claim {
    #[prost(bytes = "vec", tag = "1")]
    task: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    token: Vec<u8>,
    /// The part that is done, in percent and 1; 0 for none.
    #[prost(uint32, tag = "3")]
    pub(super) percent: u32,
    #[prost(string, tag = "4")]
    pub(super) text: String,
}

impl Claim {
    pub(super) fn new(task: TaskId, token: TaskToken) -> Self {
        let (task, token) = (task.to_bytes().to_vec(), token.as_bytes().to_vec());
        Self { task, token, percent: 0, text: String::new() }
    }

    /// The task and the token, if these are some.
    pub(super) fn read(&self) -> Option<(TaskId, TaskToken)> {
        let token = <[u8; 16]>::try_from(self.token.as_slice()).ok()?;
        Some((Dot::from_bytes(&self.task)?, TaskToken::from_bytes(token)))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Claims {
    #[prost(message, repeated, tag = "1")]
    pub(super) claims: Vec<Claim>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Offer {
    #[prost(message, optional, tag = "1")]
    pub(super) claim: Option<Claim>,
    /// The number of the attempt, from 1.
    #[prost(uint32, tag = "2")]
    pub(super) attempt: u32,
    /// The time without a word of the receiver after which the claim is over.
    #[prost(uint64, tag = "3")]
    pub(super) lease_ms: u64,
    /// The event that submitted the task.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) event: Vec<u8>,
    /// The time of its submission, in milliseconds since the epoch.
    #[prost(uint64, tag = "5")]
    pub(super) submitted_ms: u64,
    /// The space's id, 32 bytes.
    #[prost(bytes = "vec", tag = "6")]
    pub(super) space: Vec<u8>,
    /// The signed entries that submitted, approved and claimed the task, each with the leaves of that event alone. The
    /// fields `event`, `submitted_ms` and `space` are for earlier versions, and empty where the mesh has none.
    #[prost(message, repeated, tag = "7")]
    pub(super) entries: Vec<EntryFrame>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Taken {
    /// The worker's name.
    #[prost(string, tag = "1")]
    pub(super) agent: String,
}

/// The end of an attempt.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Attempt {
    #[prost(message, optional, tag = "1")]
    pub(super) claim: Option<Claim>,
    #[prost(enumeration = "Came", tag = "2")]
    pub(super) came: i32,
    /// The output: JSON.
    #[prost(string, tag = "3")]
    pub(super) output: String,
    #[prost(string, tag = "4")]
    pub(super) code: String,
    #[prost(string, tag = "5")]
    pub(super) error: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Came {
    Unspecified = 0,
    Succeeded = 1,
    Failed = 2,
    Released = 3,
    /// The worker is gone.
    Lost = 4,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    /// Whether it was done.
    #[prost(bool, tag = "1")]
    pub(super) done: bool,
    /// After a failure: the time for which the sender gives the receiver's workers no such tasks, and the failures before
    /// it; 0 for none. Earlier versions leave them out.
    #[prost(uint64, tag = "2")]
    pub(super) rests_ms: u64,
    #[prost(uint32, tag = "3")]
    pub(super) failures: u32,
}

impl From<bool> for Answer {
    fn from(done: bool) -> Self {
        Self { done, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message as earlier versions read it.
    #[derive(Clone, PartialEq, Message)]
    struct Before {
        #[prost(message, repeated, tag = "1")]
        waiting: Vec<Waiting>,
    }

    #[test]
    fn earlier_versions_hear_of_workers_that_insist_on_nothing() {
        let submitter = Did::from_bytes([7; 32]);
        let mut waits = WaitingWorkers::of(2);
        waits.add(Approved::ByOther, 3);
        let waiting = BTreeMap::from([
            ("build".to_owned(), WorkersElsewhere::from(waits)),
            ("deploy".to_owned(), WaitingWorkers::insisting(Approved::ByRule, 1).into()),
            (
                "test".to_owned(),
                WorkersElsewhere { of: [(submitter, WaitingWorkers::of(4))].into(), ..Default::default() },
            ),
        ]);
        let told = Serving::of(&waiting);
        assert_eq!(told.clone().read(), Some(waiting));
        let before = Before::decode(told.encode_to_vec().as_slice()).unwrap();
        assert_eq!(before.waiting, [Waiting { capability: "build".to_owned(), workers: 2 }]);
        let none = Serving { by_other: vec![Waiting { capability: String::new(), workers: 1 }], ..told.clone() };
        assert_eq!(none.read(), None);
        let strangers = |bytes: usize, count: usize| {
            let of = OfSubmitter { submitter: vec![7; bytes], ..OfSubmitter::default() };
            Serving { of: vec![of; count], ..Serving::default() }.read()
        };
        assert_eq!((strangers(31, 1), strangers(32, SUBMITTERS_MAX + 1)), (None, None));
        assert!(strangers(32, SUBMITTERS_MAX).is_some());
        let of = |n: usize| Waiting { capability: format!("c{n}"), workers: 1 };
        let many = Serving { by_rule: (0..=CAPABILITIES_MAX).map(of).collect(), ..Serving::default() };
        assert_eq!(many.read(), None);
    }
}
