//! The vectors of `docs/vectors/critical.json`: bytes of critical state, made here and compared.
//!
//! `NEXUS_VECTORS=fill cargo test -p nexus-node --lib coordinator::vectors` adds missing vectors to the
//! file and never changes existing ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nexus_identity::{Did, Keypair};
use openraft::{CommittedLeaderId, EmptyNode, EntryPayload};
use serde_json::{Map, Value, json};

use super::command::{Check, Command, Condition, Expiry, Group, Proposal, Put, Signed, Step, Txn};
use super::format::encode;
use super::format::{self, FORMAT_MAX};
use super::query::{Answer, Content, Query};
use super::raft::{
    Ballot, Entry, LogId, Membership, Position, Proposals, Seats, SnapshotHead, Voter, decode_entry, encode_entry,
};
use super::requests::{Request, RequestKey};
use super::state::{
    Action, CriticalChange, CriticalEvent, Deed, DeedResult, Full, Item, Lease, Lock, LogPlace, Machine, Malformed,
    Outcome, Record, Refusal, Source, Waiter,
};

const GROUP: Group = Group { generation: 1, id: 0x0123_4567_89ab_cdef };

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn did(n: u8) -> Did {
    key(n).did()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// The vectors of one section: names with their JSON.
type Section = Vec<(String, Value)>;

/// A vector of a format. Vectors of the first format do not name it.
fn of_format(format: u16, name: &str, vector: Value) -> (String, Value) {
    let mut vector = vector;
    if format == 0 {
        return (name.to_owned(), vector);
    }
    vector["format"] = json!(format);
    (format!("{name}, format {format}"), vector)
}

/// Vectors that are the same in every format.
fn of_all(vectors: Vec<(&str, Value)>) -> Section {
    vectors.into_iter().map(|(name, vector)| (name.to_owned(), vector)).collect()
}

/// A value that is no text.
const BYTES: &[u8] = b"\xff\0\xc3";

fn put(name: &str, value: impl AsRef<[u8]>) -> Put {
    Put { key: name.to_owned(), value: value.as_ref().to_owned(), ttl_ms: None, fence: None }
}

fn lock() -> String {
    "deploy".to_owned()
}

/// A command of each kind, by name.
fn commands(format: u16) -> Vec<(&'static str, Command)> {
    let check = |name: &str, is| Check { key: name.to_owned(), is };
    let txn = Txn {
        checks: vec![
            check("a", Condition::Absent),
            check("b", Condition::Present),
            check("c", Condition::Value(b"3".to_vec())),
            check("d", Condition::Revision(4)),
        ],
        then: vec![Step::Get("a".to_owned()), Step::Put(put("e", "5")), Step::Delete("b".to_owned())],
        otherwise: vec![Step::Get("d".to_owned())],
    };
    let expired = vec![
        Expiry::Key { key: "a".to_owned(), revision: 1 },
        Expiry::Lease { name: lock(), token: 2, renewals: 3 },
        Expiry::Waiter { name: lock(), waiter: 4 },
    ];
    let mut commands = vec![
        ("put deploy/target = blue", Command::Put(put("deploy/target", "blue"))),
        (
            "put with a time to live and a fence",
            Command::Put(Put { ttl_ms: Some(60_000), fence: Some(7), ..put("k", "é") }),
        ),
        ("delete", Command::Delete { key: "k".to_owned(), fence: None }),
        ("delete under a fence", Command::Delete { key: "k".to_owned(), fence: Some(7) }),
        ("cas from nothing", Command::Cas { expect: None, put: put("k", "v") }),
        ("cas from a value", Command::Cas { expect: Some(b"u".to_vec()), put: put("k", "v") }),
        ("txn", Command::Txn(txn)),
        ("acquire", Command::Acquire { name: lock(), ttl_ms: 30_000, wait_ms: 10_000 }),
        ("renew", Command::Renew { name: lock(), token: 7, ttl_ms: None }),
        ("renew for another time", Command::Renew { name: lock(), token: 7, ttl_ms: Some(60_000) }),
        ("release", Command::Release { name: lock(), token: 7 }),
        ("withdraw", Command::Withdraw { name: lock(), waiter: 8 }),
        ("steal", Command::Steal { name: lock(), ttl_ms: 30_000 }),
        ("expire", Command::Expire(expired)),
    ];
    if format > 0 {
        commands.push(("raise", Command::Raise(format)));
    }
    if format >= format::BYTES {
        let checks = vec![check("c", Condition::Value(BYTES.to_vec()))];
        let txn = Txn { checks, then: vec![Step::Put(put("e", BYTES))], otherwise: Vec::new() };
        commands.extend([
            ("put bytes", Command::Put(put("k", BYTES))),
            ("cas from bytes", Command::Cas { expect: Some(BYTES.to_vec()), put: put("k", "v") }),
            ("txn with bytes", Command::Txn(txn)),
        ]);
    }
    commands
}

fn proposal(format: u16, commands: Vec<Command>) -> Proposal {
    Proposal {
        format,
        group: GROUP,
        by: did(1),
        session: 0x1122_3344_5566_7788,
        seq: 3,
        answered: 2,
        base: 41,
        at_ms: 1_700_000_000_000,
        commands,
        requests: Vec::new(),
    }
}

fn proposals(format: u16) -> Section {
    let all: Vec<Command> = commands(format).into_iter().map(|(_, command)| command).collect();
    let one = commands(format).into_iter().map(|(name, command)| (name, vec![command]));
    // younger than the bytes of the others together, which stay
    let end = (format >= format::ENDS).then(|| ("end", vec![Command::End(did(2))]));
    let vectors = one.chain([("no command", Vec::new()), ("a command of each kind", all)]).chain(end);
    let mut all: Vec<(&str, Proposal)> = vectors.map(|(name, commands)| (name, proposal(format, commands))).collect();
    if format >= format::LINES {
        let succeed = Command::Succeed { former: did(2), member: did(3) };
        all.push(("a key in the place of another", proposal(format, vec![succeed])));
    }
    if format >= format::REQUESTS {
        let commands = vec![Command::Put(put("k", "v")), Command::Put(put("l", "v")), Command::Put(put("m", "v"))];
        let requests = vec![request(0, "first"), request(2, "third")];
        all.push(("requests with an id", Proposal { requests, ..proposal(format, commands) }));
    }
    let vector = |(name, proposal): (&str, Proposal)| {
        let signed = Signed::new(&proposal, &key(1));
        let read: Signed = borsh::from_slice(&encode(&signed)).unwrap();
        assert_eq!(*read.open(format).unwrap(), proposal, "{name}");
        let (bytes, digest) = (hex(&signed.bytes), hex(&signed.digest()));
        of_format(format, name, json!({ "bytes": bytes, "digest": digest, "signed": hex(&encode(&signed)) }))
    };
    all.into_iter().map(vector).collect()
}

fn request(place: u16, id: &str) -> Request {
    Request { place, key: RequestKey::of(id).unwrap() }
}

fn voter(n: u8) -> Voter {
    Voter { did: did(n), draw: u64::from(n) * 0x0101 }
}

fn at(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(5, voter(1)), index)
}

fn membership(voters: &[&[u8]], learners: &[u8]) -> Membership {
    let configs: Vec<BTreeSet<Voter>> = voters.iter().map(|set| set.iter().map(|n| voter(*n)).collect()).collect();
    let all = configs.iter().flatten().copied().chain(learners.iter().map(|n| voter(*n)));
    let nodes: BTreeMap<Voter, EmptyNode> = all.map(|voter| (voter, EmptyNode {})).collect();
    Membership::new(configs, nodes)
}

fn entries() -> Section {
    let signed = Signed::new(&proposal(0, vec![Command::Put(put("k", "v"))]), &key(1));
    let other = Signed::new(&proposal(0, Vec::new()), &key(1));
    let vectors = vec![
        ("a leader's first", EntryPayload::Blank),
        ("two proposals", EntryPayload::Normal(Proposals(std::sync::Arc::new(vec![signed, other])))),
        ("one voter and a learner", EntryPayload::Membership(membership(&[&[1]], &[2]))),
        ("voters that change", EntryPayload::Membership(membership(&[&[1], &[1, 2, 3]], &[4]))),
    ];
    let vector = |(name, payload): (&str, _)| {
        let entry = Entry { log_id: at(17), payload };
        let bytes = encode_entry(&entry);
        assert_eq!(encode_entry(&decode_entry(&bytes).unwrap()), bytes, "{name}");
        (name.to_owned(), json!({ "bytes": hex(&bytes) }))
    };
    vectors.into_iter().map(vector).collect()
}

fn places() -> Section {
    let seats = Seats::from(&membership(&[&[1], &[1, 2, 3]], &[4]));
    let head = SnapshotHead {
        at: Some(Position::from(at(17))),
        seats_at: Some(Position::from(at(3))),
        seats: seats.clone(),
        id: "5-17".to_owned(),
    };
    let none =
        SnapshotHead { at: None, seats_at: None, seats: Seats::from(&membership(&[&[1]], &[])), id: String::new() };
    of_all(vec![
        ("a group", json!({ "bytes": hex(&encode(&GROUP)) })),
        ("a voter", json!({ "bytes": hex(&encode(&voter(1))) })),
        ("a position", json!({ "bytes": hex(&encode(&Position::from(at(17)))) })),
        ("a ballot", json!({ "bytes": hex(&encode(&Ballot { term: 5, voter: voter(2), committed: true })) })),
        ("seats", json!({ "bytes": hex(&encode(&seats)) })),
        ("a snapshot's head", json!({ "bytes": hex(&encode(&head)) })),
        ("the head of an empty snapshot", json!({ "bytes": hex(&encode(&none)) })),
    ])
}

/// A machine and the log that made it.
struct Story {
    format: u16,
    machine: Machine,
    index: u64,
    seqs: BTreeMap<u8, u64>,
    records: Vec<Record>,
}

impl Story {
    /// A machine of a group whose leader first raised its format.
    fn new(format: u16) -> Self {
        let machine = Machine::new(GROUP);
        let mut story = Self { format, machine, index: 0, seqs: BTreeMap::new(), records: Vec::new() };
        if format > 0 {
            let raised = story.tell(1, vec![Command::Raise(format)]);
            assert!(matches!(raised[..], [Outcome::Done { revision: 0 }]), "{raised:?}");
        }
        story
    }

    /// Applies a proposal of member `n`, which keeps its answers.
    fn tell(&mut self, n: u8, commands: Vec<Command>) -> Vec<Outcome> {
        self.tell_answered(n, 0, commands)
    }

    fn tell_answered(&mut self, n: u8, answered: u64, commands: Vec<Command>) -> Vec<Outcome> {
        self.propose(n, answered, commands, Vec::new())
    }

    /// Applies a proposal with requests of member `n`.
    fn ask(&mut self, n: u8, commands: Vec<Command>, requests: Vec<Request>) -> Vec<Outcome> {
        self.propose(n, 0, commands, requests)
    }

    fn propose(&mut self, n: u8, answered: u64, commands: Vec<Command>, requests: Vec<Request>) -> Vec<Outcome> {
        self.index += 1;
        let seq = self.seqs.entry(n).or_default();
        *seq += 1;
        let proposal = Proposal {
            by: did(n),
            session: u64::from(n),
            seq: *seq,
            answered,
            base: self.index,
            at_ms: 1_700_000_000_000 + self.index,
            requests,
            ..proposal(self.format, commands)
        };
        self.apply(&Signed::new(&proposal, &key(n)))
    }

    fn apply(&mut self, signed: &Signed) -> Vec<Outcome> {
        let (applied, record) = self.machine.apply_signed(LogPlace { index: self.index, leader: did(1) }, signed);
        self.records.extend(record);
        applied.outcomes
    }

    fn vector(&self) -> Value {
        let bytes = self.machine.encode();
        assert_eq!(Machine::decode(&bytes, self.format).unwrap(), self.machine);
        let records: Vec<String> = self.records.iter().map(|record| hex(&record.encode())).collect();
        json!({ "bytes": hex(&bytes), "digest": hex(&self.machine.digest()), "records": records })
    }
}

fn machines(format: u16) -> Section {
    let empty = Story::new(format);

    let mut used = Story::new(format);
    let record = used.machine.seats(LogPlace { index: 0, leader: did(1) }, BTreeSet::from([did(1)]));
    used.records.extend(record);
    used.tell(1, vec![Command::Put(put("deploy/target", "blue")), Command::Put(put("a", ""))]);
    used.tell(2, vec![Command::Put(Put { ttl_ms: Some(60_000), ..put("mortal", "é") })]);
    used.tell(2, vec![Command::Acquire { name: lock(), ttl_ms: 30_000, wait_ms: 0 }]);
    used.tell(3, vec![Command::Acquire { name: lock(), ttl_ms: 31_000, wait_ms: 10_000 }]);
    used.tell(1, vec![Command::Acquire { name: "other".to_owned(), ttl_ms: 32_000, wait_ms: 0 }]);
    used.tell(
        1,
        vec![Command::Txn(Txn {
            checks: vec![Check { key: "a".to_owned(), is: Condition::Value(Vec::new()) }],
            then: vec![Step::Get("a".to_owned()), Step::Put(put("b", "2")), Step::Delete("a".to_owned())],
            otherwise: Vec::new(),
        })],
    );
    // every refusal once, with its answers kept
    used.tell(
        3,
        vec![
            Command::Delete { key: "nothing".to_owned(), fence: None },
            Command::Put(Put { fence: Some(99), ..put("k", "v") }),
            Command::Cas { expect: None, put: put("deploy/target", "green") },
            Command::Cas { expect: Some(b"x".to_vec()), put: put("nothing", "green") },
            Command::Acquire { name: "other".to_owned(), ttl_ms: 5_000, wait_ms: 0 },
            Command::Release { name: "free".to_owned(), token: 1 },
            Command::Withdraw { name: "other".to_owned(), waiter: 1 },
            Command::Expire(vec![Expiry::Key { key: "b".to_owned(), revision: 1 }]),
        ],
    );
    let record = used.machine.seats(LogPlace { index: 90, leader: did(1) }, BTreeSet::from([did(1), did(2), did(3)]));
    used.records.extend(record);

    // a full line; only the last answer of it stays
    let mut full = Story::new(format);
    full.tell(1, vec![Command::Acquire { name: lock(), ttl_ms: 30_000, wait_ms: 0 }]);
    let wait = Command::Acquire { name: lock(), ttl_ms: 30_000, wait_ms: 10_000 };
    let line = full.tell(2, vec![wait.clone(); 257]);
    assert!(matches!(line[256], Outcome::Refused(Refusal::Full(_))), "{:?}", line[256]);
    full.tell_answered(2, 1, vec![wait]);
    let expired = line.iter().filter_map(|outcome| match outcome {
        Outcome::Waiting { waiter } => Some(Expiry::Waiter { name: lock(), waiter: *waiter }),
        _ => None,
    });
    let expired: Vec<Expiry> = expired.collect();
    full.tell(1, vec![Command::Expire(expired)]);
    full.records.clear();

    let mut forged = Story::new(format);
    forged.index += 1;
    let good = Signed::new(&proposal(format, Vec::new()), &key(1));
    let stranger = Signed::new(&proposal(format, Vec::new()), &key(2));
    let nonsense = borsh::from_slice(&encode(&(b"nonsense".to_vec(), good.signature))).unwrap();
    let rules = Signed::new(&proposal(format, vec![Command::Put(put("", "v"))]), &key(1));
    for (signed, why) in
        [(stranger, Malformed::NotSigned), (nonsense, Malformed::NotAProposal), (rules, Malformed::Form)]
    {
        assert_eq!(forged.apply(&signed), [Outcome::Refused(Refusal::Malformed(why))]);
    }

    let mut recovered = Story::new(format);
    recovered.tell(1, vec![Command::Put(put("k", "v"))]);
    let next = Group { generation: 2, id: 7 };
    let record = recovered.machine.succeed(next, 9, did(1), 1_700_000_000_001);
    recovered.records.extend(record);

    let mut vectors = vec![
        ("empty", empty),
        ("keys, locks, a line, sessions, an audit", used),
        ("a line that was full", full),
        ("what the leader forged", forged),
        ("a group that was begun anew", recovered),
    ];
    if format >= format::BYTES {
        let mut bytes = Story::new(format);
        bytes.tell(1, vec![Command::Put(put("k", BYTES)), Command::Cas { expect: None, put: put("k", "v") }]);
        vectors.push(("keys and answers with bytes", bytes));

        // the seventeenth session takes the place of the first
        let mut many = Story::new(format);
        for session in 0..17 {
            many.index += 1;
            let put = vec![Command::Put(put("k", "v"))];
            let proposal = Proposal { session, seq: 1, answered: 0, base: many.index, ..proposal(format, put) };
            many.apply(&Signed::new(&proposal, &key(1)));
        }
        many.records.clear();
        vectors.push(("a session that made room", many));
    }
    if format >= format::ENDS {
        // the former member's lock goes to the next in line, its place in line and its session end
        let mut ended = Story::new(format);
        ended.tell(2, vec![Command::Acquire { name: lock(), ttl_ms: 30_000, wait_ms: 0 }]);
        ended.tell(3, vec![Command::Acquire { name: lock(), ttl_ms: 31_000, wait_ms: 10_000 }]);
        ended.tell(1, vec![Command::Acquire { name: "other".to_owned(), ttl_ms: 32_000, wait_ms: 0 }]);
        ended.tell(2, vec![Command::Acquire { name: "other".to_owned(), ttl_ms: 33_000, wait_ms: 10_000 }]);
        ended.tell(3, vec![Command::End(did(2))]);
        ended.tell(1, vec![Command::End(did(2))]);
        vectors.push(("a member that ended", ended));
    }
    if format >= format::LINES {
        // the new key has the value of the former one, whose lock ends
        let mut renewed = Story::new(format);
        renewed.tell(2, vec![Command::Put(put("k", "v"))]);
        renewed.tell(2, vec![Command::Acquire { name: lock(), ttl_ms: 30_000, wait_ms: 0 }]);
        renewed.tell(1, vec![Command::Succeed { former: did(2), member: did(3) }]);
        vectors.push(("a key in the place of another", renewed));
    }
    if format >= format::REQUESTS {
        // done, refused, and one that waited has the lock now
        let mut asked = Story::new(format);
        let acquire = || Command::Acquire { name: lock(), ttl_ms: 30_000, wait_ms: 10_000 };
        asked.tell(1, vec![acquire()]);
        asked.ask(2, vec![Command::Put(put("k", "v")), acquire()], vec![request(0, "write"), request(1, "lock")]);
        asked.ask(3, vec![Command::Cas { expect: None, put: put("k", "w") }], vec![request(0, "write")]);
        asked.tell(1, vec![Command::Release { name: lock(), token: (1 << 40) + 1 }]);
        let again =
            asked.ask(2, vec![acquire(), Command::Put(put("k", "x"))], vec![request(0, "lock"), request(1, "write")]);
        assert!(matches!(again[..], [Outcome::Granted { .. }, Outcome::Refused(Refusal::OtherRequest)]), "{again:?}");
        vectors.push(("requests with an id", asked));
    }
    if format >= format::OWN {
        let own = |ttl_ms| Put { ttl_ms, ..put(&format!("own/{}/k", did(1)), "v") };
        let mut members = Story::new(format);
        members.tell(1, vec![Command::Put(own(Some(60_000))), Command::Put(own(None))]);
        members.tell(2, vec![Command::Put(own(Some(60_000))), Command::Put(put("own/nobody/k", "v"))]);
        vectors.push(("names of one member", members));
    }
    vectors.into_iter().map(|(name, story)| of_format(format, name, story.vector())).collect()
}

fn queries() -> Section {
    let prefix = || "deploy/".to_owned();
    let all = vec![
        ("a key", Query::Get("deploy/target".to_owned())),
        ("keys", Query::List { prefix: prefix(), after: Some("deploy/by".to_owned()), limit: 100 }),
        ("keys from the first", Query::List { prefix: prefix(), after: None, limit: 1_000 }),
        ("locks", Query::Locks { after: None }),
        ("locks after one", Query::Locks { after: Some(lock()) }),
        ("a lock", Query::Lock(lock())),
        ("changes", Query::Changes { prefix: prefix(), after: 9 }),
        ("a revision", Query::Revision),
    ];
    of_all(all.into_iter().map(|(name, query)| (name, json!({ "bytes": hex(&encode(&query)) }))).collect())
}

fn item(value: impl AsRef<[u8]>) -> Item {
    Item { value: value.as_ref().to_owned(), revision: 9, created: 4, by: did(2), ttl_ms: Some(60_000) }
}

fn answers(format: u16) -> Section {
    let lease = Lease { token: 7, by: did(2), ttl_ms: 30_000, renewals: 1, waiter: Some(6) };
    let line = [Waiter { id: 8, by: did(3), ttl_ms: 31_000, wait_ms: 10_000 }].into();
    let name = lock;
    let whats = [
        CriticalEvent::Put { key: "k".to_owned(), value: "é".into() },
        CriticalEvent::Deleted { key: "k".to_owned(), expired: true },
        CriticalEvent::Granted { name: name(), token: 7, stolen_from: None },
        CriticalEvent::Granted { name: name(), token: 9, stolen_from: Some(did(2)) },
        CriticalEvent::Renewed { name: name(), token: 9 },
        CriticalEvent::Released { name: name(), token: 9, expired: false },
        CriticalEvent::Line { name: name(), waiter: 8, waits: true },
    ];
    let changes = (10..).zip(whats).map(|(revision, event)| CriticalChange { revision, by: did(3), event }).collect();
    let mut all = vec![
        ("a key", Content::Items { items: vec![("deploy/target".to_owned(), item("blue"))], more: false }),
        ("no key", Content::Items { items: Vec::new(), more: false }),
        (
            "a page of keys",
            Content::Items { items: vec![("a".to_owned(), item("")), ("b".to_owned(), item("é"))], more: true },
        ),
        ("a lock", Content::Locks { locks: vec![(lock(), Lock { lease, line })], more: false }),
        ("changes", Content::Changes(Some(changes))),
        ("changes that are not kept any more", Content::Changes(None)),
        ("a revision", Content::Nothing),
    ];
    if format >= format::BYTES {
        let put = CriticalChange {
            revision: 13,
            by: did(3),
            event: CriticalEvent::Put { key: "k".to_owned(), value: BYTES.to_vec() },
        };
        all.extend([
            ("a key with bytes", Content::Items { items: vec![("k".to_owned(), item(BYTES))], more: false }),
            ("a change with bytes", Content::Changes(Some(vec![put]))),
        ]);
    }
    let vector = |(name, found)| {
        let answer = Answer { revision: 12, index: 40, raised: format, found };
        let bytes = answer.encode(format);
        assert_eq!(Answer::decode(format, &bytes).unwrap(), answer, "{name}");
        of_format(format, name, json!({ "bytes": hex(&bytes) }))
    };
    all.into_iter().map(vector).collect()
}

fn outcomes(format: u16) -> Section {
    let refused = Outcome::Refused;
    let full = |what| refused(Refusal::Full(what));
    let malformed = |why| refused(Refusal::Malformed(why));
    let other_group = Refusal::OtherGroup { group: GROUP, found: Group { generation: 0, id: 1 } };
    let mut all = vec![
        ("done", Outcome::Done { revision: 9 }),
        ("a transaction", Outcome::Txn { held: true, revision: 9, items: vec![Some(item("v")), None] }),
        ("granted", Outcome::Granted { token: 7 }),
        ("waiting", Outcome::Waiting { waiter: 8 }),
        ("not a proposal", malformed(Malformed::NotAProposal)),
        ("not signed", malformed(Malformed::NotSigned)),
        ("not from the leader", malformed(Malformed::NotFromLeader)),
        ("a broken rule of form", malformed(Malformed::Form)),
        ("a format that is not raised", malformed(Malformed::NotRaised)),
        ("another group", refused(other_group)),
        ("too late", refused(Refusal::TooLate)),
        ("no such key to compare", refused(Refusal::Mismatch { found: None })),
        ("another value", refused(Refusal::Mismatch { found: Some(item("w")) })),
        ("no key", refused(Refusal::NoKey)),
        ("a stale token", refused(Refusal::StaleToken { token: 7 })),
        ("no lock", refused(Refusal::NoLock)),
        ("held", refused(Refusal::Held { holder: did(2), token: 7 })),
        ("no place in line", refused(Refusal::NoWaiter)),
        ("too many answers", full(Full::Answers)),
        ("too many bytes", full(Full::Bytes { bytes: 67_108_860 })),
        ("too many locks", full(Full::Locks)),
        ("too long a line", full(Full::Line)),
    ];
    if format >= format::BYTES {
        let found = Some(item(BYTES));
        all.extend([
            ("a member's part", full(Full::Share)),
            ("too large an answer", full(Full::Reply { bytes: 524_289 })),
            ("a transaction with bytes", Outcome::Txn { held: true, revision: 9, items: vec![found.clone()] }),
            ("another value of bytes", refused(Refusal::Mismatch { found })),
        ]);
    }
    if format >= format::REQUESTS {
        all.push(("another request", refused(Refusal::OtherRequest)));
    }
    if format >= format::OWN {
        all.push(("another member's name", refused(Refusal::NotYours { owner: did(1) })));
        all.push(("an own key without an end", refused(Refusal::Endless)));
    }
    let vector = |(name, outcome): (_, Outcome)| {
        let bytes = Outcome::encode_all(format, std::slice::from_ref(&outcome));
        assert_eq!(Outcome::decode_all(format, &bytes).unwrap(), [outcome], "{name}");
        of_format(format, name, json!({ "bytes": hex(&bytes) }))
    };
    all.into_iter().map(vector).collect()
}

fn records() -> Section {
    let signature = Signed::new(&proposal(0, Vec::new()), &key(1)).signature;
    let actions = [
        Action::Put,
        Action::Delete,
        Action::Cas,
        Action::Txn,
        Action::Acquire,
        Action::Renew,
        Action::Release,
        Action::Withdraw,
        Action::Steal,
        Action::Grant,
        Action::Expire,
        Action::VoterAdded,
        Action::VoterRemoved,
        Action::Recover,
        Action::Forged,
    ];
    let raise = Action::Raise;
    let deed =
        |action: Action| Deed { action, name: action.as_str().to_owned(), whose: None, result: DeedResult::Noted };
    let results = [
        DeedResult::Revision(9),
        DeedResult::Granted(7),
        DeedResult::Waiting,
        DeedResult::Refused("mismatch".to_owned()),
        DeedResult::Noted,
    ];
    let result = |result| Deed { action: Action::Steal, name: lock(), whose: Some(did(2)), result };
    let source = Source::Proposal { by: did(1), at_ms: 1_700_000_000_000, digest: [6; 32], signature };
    let recovery = Source::Recovery { by: did(1), at_ms: 1_700_000_000_000 };
    let all = vec![
        ("every action", source, actions.map(deed).to_vec()),
        ("every result", Source::Leader(did(1)), results.map(result).to_vec()),
        ("a recovery", recovery, vec![deed(Action::Recover)]),
        ("a raise", Source::Leader(did(1)), vec![deed(raise)]),
        ("a member that ended", Source::Leader(did(1)), vec![deed(Action::MemberEnded)]),
    ];
    let vector = |(name, source, deeds): (&str, _, _)| {
        let record = Record { before: [5; 32], first: 12, index: 40, source, deeds };
        assert_eq!(borsh::from_slice::<Record>(&record.encode()).unwrap(), record, "{name}");
        (name.to_owned(), json!({ "bytes": hex(&record.encode()), "hash": hex(&record.hash()) }))
    };
    all.into_iter().map(vector).collect()
}

/// promise: Keys and locks | Critical state keeps its formats to the byte; format 0 is what there was before formats had numbers
#[test]
fn critical_state_keeps_its_formats_to_the_byte() {
    let formats = |section: fn(u16) -> Section| (0..=FORMAT_MAX).flat_map(section).collect::<Section>();
    let sections = [
        ("proposals", formats(proposals)),
        ("entries", entries()),
        ("places", places()),
        ("machines", formats(machines)),
        ("queries", queries()),
        ("answers", formats(answers)),
        ("outcomes", formats(outcomes)),
        ("records", records()),
    ];
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/critical.json");
    let mut book: Map<String, Value> = match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Err(_) => Map::new(),
    };
    let fill = std::env::var("NEXUS_VECTORS").is_ok_and(|mode| mode == "fill");
    let before = book.clone();
    for (section, vectors) in sections {
        let kept = book.entry(section).or_insert_with(|| json!([])).as_array_mut().unwrap();
        for (name, vector) in &vectors {
            let mut vector = vector.as_object().unwrap().clone();
            vector.insert("name".to_owned(), json!(name));
            match kept.iter().find(|kept| kept["name"] == *name) {
                Some(kept) => assert_eq!(*kept, Value::Object(vector), "{section}: {name}"),
                None => {
                    assert!(fill, "{section}: {name} is not in {}", file.display());
                    kept.push(Value::Object(vector));
                }
            }
        }
        assert_eq!(kept.len(), vectors.len(), "{section} has vectors that nothing makes");
    }
    if book != before {
        book.insert(
            "about".to_owned(),
            json!("Section 21 of spec.md. bytes: canonical bytes; digest, hash: as the section says; signed: the bytes with their signature."),
        );
        std::fs::write(&file, serde_json::to_string_pretty(&book).unwrap() + "\n").unwrap();
    }
}
