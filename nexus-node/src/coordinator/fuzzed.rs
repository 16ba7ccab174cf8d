//! The decoders of the coordinators, for `nexus-fuzz` (feature `testing`). Each function takes any bytes,
//! reads them as a member's are read, and says whether they were read. It panics if a law does not hold.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{Did, Keypair};
use openraft::EntryPayload;
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;

use super::applied::Applied;
use super::audit;
use super::certificate::{Certificate, Checkpoint};
use super::command::{Check, Command, Condition, Expiry, Group, Proposal, Put, Signed, Step, Txn};
use super::expiry::Deadlines;
use super::format::{self, FORMAT_MAX, encode};
use super::govern::Report;
use super::limits::{self, PROPOSAL_BYTES_MAX};
use super::manage::Manage;
use super::query::{Answer, Query};
use super::raft::{
    Ballot, Position, Seats, SnapshotHead, SnapshotMeta, Voter, decode_at, decode_entry, decode_head, decode_log_id,
    decode_vote, encode_entry,
};
use super::state::{CriticalChange, LogPlace, Machine, Outcome, Record, Timed};
use super::wire::{
    Append, AppendResult, Appended, Body, Bytes, Envelope, Hello, Install, Overview, Reason, Refused, VoteAsk, Voted,
};

/// The group in which all of this happens, as in `docs/vectors`.
const GROUP: Group = Group { generation: 1, id: 0x0123_4567_89ab_cdef };
/// The most proposals that one input applies.
const APPLIED_MAX: usize = 16;

fn did(n: u8) -> Did {
    Keypair::from_seed(&[n; 32]).did()
}

/// A machine of each format with keys, locks and a line.
static MACHINES: LazyLock<Vec<Machine>> = LazyLock::new(|| (0..=FORMAT_MAX).map(sample).collect());

fn sample(format: u16) -> Machine {
    let mut machine = Machine::new(GROUP);
    let mut apply = |index, format, commands| {
        let proposal = proposed(format, did(1), index, commands);
        machine.apply(LogPlace { index, leader: did(1) }, &proposal);
    };
    if format > 0 {
        apply(1, format, vec![Command::Raise(format)]);
    }
    apply(2, format, commands(format));
    apply(3, format, commands(format));
    machine
}

/// A proposal for the entry of this index.
fn proposed(format: u16, by: Did, index: u64, commands: Vec<Command>) -> Proposal {
    let base = index.saturating_sub(1);
    Proposal {
        format,
        group: GROUP,
        by,
        session: 7,
        seq: index,
        answered: base,
        base,
        at_ms: 1_000,
        commands,
        requests: Vec::new(),
    }
}

fn commands(format: u16) -> Vec<Command> {
    let text = |text: &str| text.to_owned();
    let value = if format >= format::BYTES { b"\xff\0\xc3".to_vec() } else { b"blue".to_vec() };
    let put = Put { ttl_ms: Some(60_000), ..Put::new("k", value.clone()) };
    let txn = Txn {
        checks: vec![Check::new("k", Condition::Present), Check::new("a", Condition::Absent)],
        then: vec![Step::Get(text("k")), Step::Put(Put::new("b", value.clone())), Step::Delete(text("c"))],
        otherwise: vec![Step::Get(text("d"))],
    };
    vec![
        Command::Put(put.clone()),
        Command::Cas { expect: Some(value), put },
        Command::Txn(txn),
        Command::Acquire { name: text("deploy"), ttl_ms: 30_000, wait_ms: 10_000 },
        Command::Acquire { name: text("build"), ttl_ms: 30_000, wait_ms: 0 },
        Command::Delete { key: text("gone"), fence: None },
    ]
}

/// The law of canonical bytes: a value has one encoding, which is the one that was read.
fn canonical<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> Option<T> {
    let value = borsh::from_slice(bytes).ok()?;
    assert!(encode(&value) == bytes, "read from bytes that are not its own");
    Some(value)
}

/// One frame between members: a request or an answer, with all that is inside of it.
pub fn envelope(bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::decode(bytes) else { return false };
    let again = Envelope::decode(envelope.encode_to_vec().as_slice());
    assert_eq!(again.as_ref(), Ok(&envelope), "a frame is the same when it is written and read again");
    let format = u16::try_from(envelope.format).unwrap_or(u16::MAX).min(FORMAT_MAX);
    let group = Group::read(&envelope.group);
    let _ = canonical::<Voter>(&envelope.to);
    let Some(body) = envelope.body.clone() else { return false };
    match body {
        Body::Append(append) => {
            decode_vote(&append.vote).is_some()
                && append.entries.iter().all(|bytes| entry(bytes))
                && decode_at(&append.previous).is_some()
                && decode_at(&append.committed).is_some()
        }
        Body::Vote(ask) => decode_vote(&ask.vote).is_some() && decode_at(&ask.last).is_some(),
        Body::Install(part) => {
            decode_vote(&part.vote).is_some()
                && snapshot_head(&part.head)
                && format::split(&part.data, FORMAT_MAX).is_ok()
                && (part.certificate.is_empty() || certificate(&part.certificate))
        }
        Body::Propose(signed) => {
            let signed = (signed.bytes.len() <= PROPOSAL_BYTES_MAX).then(|| canonical::<Signed>(&signed.bytes));
            signed.flatten().is_some_and(|signed| signed.checked(FORMAT_MAX).is_ok())
        }
        Body::Query(query) => self::query(&query.bytes),
        Body::Manage(manage) => canonical::<Manage>(&manage.bytes).is_some(),
        Body::Seat(voter) => canonical::<Voter>(&voter.bytes).is_some(),
        Body::Audit(number) | Body::Certify(number) => canonical::<u64>(&number.bytes).is_some(),
        Body::Appended(answer) => {
            let _ = answer.result();
            decode_at(&answer.upto).is_some() || decode_vote(&answer.vote).is_some()
        }
        Body::Voted(answer) => decode_vote(&answer.vote).is_some() && decode_at(&answer.last).is_some(),
        Body::Installed(vote) => decode_vote(&vote.bytes).is_some(),
        Body::Proposed(outcomes) => Outcome::decode_all(format, &outcomes.bytes).is_ok(),
        Body::Answer(answer) => Answer::decode(format, &answer.bytes).is_ok() || audit::proven_by(&answer.bytes) > 0,
        Body::Overview(_) => report(envelope),
        Body::Refused(refused) => {
            refused.reason() != Reason::Unspecified || canonical::<Did>(&refused.leader).is_some()
        }
        Body::Hello(_) | Body::Elect(_) => group.is_some(),
    }
}

/// A member's report of itself.
fn report(envelope: Envelope) -> bool {
    let Some(Body::Overview(overview)) = &envelope.body else { return false };
    let Ok(voter) = borsh::from_slice::<Voter>(&overview.voter) else { return false };
    let report = Report::read(voter.did, envelope, Instant::now());
    report.is_some_and(|report| report.seats.is_some_and(|seats| seats.has_voter(&voter.did)))
}

/// The signatures of a snapshot from the leader.
fn certificate(bytes: &[u8]) -> bool {
    let Some(certificate) = Certificate::read(bytes) else { return false };
    let again = Certificate::read(&certificate.write());
    assert_eq!(again, Some(certificate), "a certificate reads as it was written");
    true
}

/// A log entry from the leader.
pub fn entry(bytes: &[u8]) -> bool {
    let Ok(entry) = decode_entry(bytes) else { return false };
    let again = encode_entry(&entry);
    assert!(decode_entry(&again).is_ok_and(|again| again == entry), "an entry reads as it was written");
    assert!(decode_log_id(bytes).is_ok_and(|at| at == entry.log_id), "an entry is at its place");
    if let EntryPayload::Normal(proposals) = &entry.payload {
        // signatures are slow
        return proposals.0.iter().take(4).all(|signed| signed.open(FORMAT_MAX).is_ok());
    }
    true
}

/// The head of a snapshot from the leader.
pub fn snapshot_head(bytes: &[u8]) -> bool {
    let Ok(head) = decode_head(bytes) else { return false };
    let meta = SnapshotMeta::from(head);
    let again = SnapshotHead::from(&meta);
    let again = decode_head(&encode(&again)).map(SnapshotMeta::from);
    assert!(again.is_ok_and(|again| again == meta), "a head reads as it was written");
    true
}

/// The state in a snapshot from the leader. It is then used as its receiver uses it.
pub fn machine(bytes: &[u8]) -> bool {
    let Ok(machine) = Machine::decode_sent(bytes, FORMAT_MAX) else { return false };
    let written = machine.encode();
    let again = Machine::decode(&written, FORMAT_MAX);
    assert!(again.is_ok_and(|again| again == machine), "a state reads as it was written");
    let copy = Applied::new(
        GROUP,
        Some((SnapshotMeta::default(), written, Certificate::default())),
        FORMAT_MAX,
        watch::Sender::new(0),
        1,
    );
    assert!(copy.is_ok(), "a copy begins with it");
    if let Ok(copy) = copy {
        asked(&copy);
    }
    go_on(machine);
    true
}

/// Asks a copy everything.
fn asked(copy: &Applied) {
    let prefix = String::new;
    let queries = [
        Query::Get("k".to_owned()),
        Query::List { prefix: prefix(), after: None, limit: u32::MAX },
        Query::List { prefix: prefix(), after: Some("k".to_owned()), limit: 1 },
        Query::Locks { after: None },
        Query::Lock("deploy".to_owned()),
        Query::Changes { prefix: prefix(), after: 0 },
        Query::Revision,
    ];
    queries.iter().for_each(|query| answered(copy, query));
}

/// Asks a copy, and reads its answer.
fn answered(copy: &Applied, query: &Query) {
    let answer = copy.read().answer(u64::MAX, query);
    for format in (0..=FORMAT_MAX).filter(|format| answer.is_for(*format)) {
        let read = Answer::decode(format, &answer.encode(format));
        let raised = if format == 0 { 0 } else { answer.raised };
        let expected = Answer { raised, ..answer.clone() };
        assert!(read.is_ok_and(|read| read == expected), "an answer reads as it was written");
    }
}

/// Applies what any state takes, and what this one names.
fn go_on(mut machine: Machine) {
    const INDEX: u64 = 1 << 32;
    let mut deadlines = Deadlines::default();
    deadlines.follow(Duration::from_secs(1), &machine, None::<std::iter::Empty<&CriticalChange>>);
    let _ = deadlines.due(Duration::MAX);
    let mut commands = commands(machine.format());
    commands.extend(machine.list("", None).take(8).map(|(key, _)| Command::Delete { key: key.clone(), fence: None }));
    for (name, lock) in machine.locks().take(8) {
        let (name, token) = (|| name.clone(), lock.lease.token);
        commands.push(Command::Renew { name: name(), token, ttl_ms: None });
        commands.extend(lock.line.iter().take(2).map(|one| Command::Withdraw { name: name(), waiter: one.id }));
        commands.push(Command::Steal { name: name(), ttl_ms: 1_000 });
        commands.push(Command::Release { name: name(), token });
    }
    let expired: Vec<Expiry> = machine.timed().take(16).map(|Timed { expiry, .. }| expiry).collect();
    commands.push(Command::Expire(expired));
    let (group, before) = (machine.group(), machine.audit().count);
    let _ = machine.reply_bytes(&commands);
    let proposal = Proposal { group, ..proposed(machine.format(), did(1), INDEX, commands) };
    apply(&mut machine, INDEX, &proposal);
    assert!(machine.audit().count >= before, "deeds only grow in number");
    machine.seats(LogPlace { index: INDEX + 1, leader: did(1) }, BTreeSet::from([did(1)]));
    machine.succeed(Group { generation: group.generation + 1, id: 9 }, INDEX + 2, did(1), 0);
}

/// Applies a proposal. The state is then the one that its own bytes are of.
fn apply(machine: &mut Machine, index: u64, proposal: &Proposal) {
    machine.apply(LogPlace { index, leader: proposal.by }, proposal);
    let read = Machine::decode(&machine.encode(), FORMAT_MAX);
    assert!(read.is_ok_and(|read| read == *machine), "a state is what its bytes say");
}

/// The bytes of one proposal, as its author signed them. They are applied to a state of each format.
pub fn proposal(bytes: &[u8]) -> bool {
    let Ok(proposal) = Proposal::decode(bytes, FORMAT_MAX) else { return false };
    assert!(proposal.encode() == bytes, "a proposal has one encoding");
    let _ = proposal.commands.iter().map(Command::reads).sum::<usize>();
    if limits::check(proposal.format, &proposal.commands).is_err() {
        return false;
    }
    let mut machine = MACHINES[usize::from(proposal.format)].clone();
    let index = proposal.base.saturating_add(1);
    apply(&mut machine, index, &Proposal { group: GROUP, ..proposal });
    true
}

/// Proposals that are applied one after the other: each is its length in two bytes, and its bytes. The
/// first byte is the format of the state.
pub fn proposals(bytes: &[u8]) -> bool {
    let Some((format, mut rest)) = bytes.split_first() else { return false };
    let mut machine = MACHINES[usize::from(*format) % MACHINES.len()].clone();
    let mut applied = 0;
    while let Some((len, after)) = rest.split_first_chunk().filter(|_| applied < APPLIED_MAX) {
        let (one, after) = after.split_at(usize::from(u16::from_be_bytes(*len)).min(after.len()));
        rest = after;
        let Ok(proposal) = Proposal::decode(one, FORMAT_MAX) else { continue };
        if limits::check(proposal.format, &proposal.commands).is_err() {
            continue;
        }
        applied += 1;
        let index = 100 + applied as u64;
        apply(&mut machine, index, &Proposal { group: GROUP, base: proposal.base.min(index), ..proposal });
    }
    if applied > 0 {
        go_on(machine);
    }
    applied > 0
}

/// A question of a member, and the answer to it.
pub fn query(bytes: &[u8]) -> bool {
    static COPY: LazyLock<Option<Applied>> = LazyLock::new(|| {
        let state = (SnapshotMeta::default(), sample(FORMAT_MAX).encode(), Certificate::default());
        Applied::new(GROUP, Some(state), FORMAT_MAX, watch::Sender::new(0), 1).ok()
    });
    let Some(query) = canonical::<Query>(bytes) else { return false };
    if let Some(copy) = &*COPY {
        answered(copy, &query);
    }
    true
}

/// The leader's answer to a question. The first byte is its format.
pub fn answer(bytes: &[u8]) -> bool {
    let Some((format, bytes)) = of_format(bytes) else { return false };
    let Ok(answer) = Answer::decode(format, bytes) else { return false };
    assert!(answer.encode(format) == bytes, "an answer has one encoding");
    let _ = answer.is_for(format);
    true
}

/// The leader's outcomes of a proposal. The first byte is their format.
pub fn outcomes(bytes: &[u8]) -> bool {
    let Some((format, bytes)) = of_format(bytes) else { return false };
    let Ok(outcomes) = Outcome::decode_all(format, bytes) else { return false };
    let written = Outcome::encode_all(format, &outcomes);
    let again = Outcome::decode_all(format, &written).unwrap_or_default();
    assert!(Outcome::encode_all(format, &again) == written, "outcomes read as they were written");
    true
}

/// A page of the audit from another member: records that lead back.
pub fn audit_page(bytes: &[u8]) -> bool {
    audit::proven_by(bytes) > 0
}

/// One record of the audit.
pub fn audit_record(bytes: &[u8]) -> bool {
    let Some(record) = canonical::<Record>(bytes) else { return false };
    let _ = (record.last(), record.by(), record.at_ms());
    record.is_signed()
}

fn of_format(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (format, bytes) = bytes.split_first()?;
    Some((u16::from(*format) % (FORMAT_MAX + 1), bytes))
}

/// Good inputs that `docs/vectors` does not have: the function, a name, the bytes.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let voter = |n: u8| Voter { did: did(n), draw: u64::from(n) };
    let at = Position { term: 3, leader: voter(1), index: 41 };
    let seats = Seats { voters: vec![BTreeSet::from([voter(1)])], all: BTreeSet::from([voter(1), voter(2)]) };
    let head = SnapshotHead { at: Some(at), seats_at: Some(at), seats: seats.clone(), id: "3-41".to_owned() };
    let vote = encode(&Ballot { term: 3, voter: voter(1), committed: true });
    let place = encode(&Some(at));
    let signed = Signed::new(&proposed(1, did(1), 42, commands(1)), &Keypair::from_seed(&[1; 32]));
    let machine = sample(FORMAT_MAX).encode();
    let bytes = |bytes: Vec<u8>| Bytes { bytes };
    let (checkpoint, mut signed_by) = (Checkpoint::of(GROUP, head.clone(), &machine), Certificate::default());
    signed_by.sign(&checkpoint.digest, &Keypair::from_seed(&[1; 32]));
    let install = Install {
        vote: vote.clone(),
        head: encode(&head),
        offset: 0,
        data: machine,
        done: true,
        state: checkpoint.state.to_vec(),
        certificate: signed_by.write(),
    };
    let overview = Overview {
        voter: encode(&voter(2)),
        never: false,
        leader: encode(&did(1)),
        term: 3,
        applied: 41,
        seats: encode(&seats),
        machine: vec![5; 32],
        audit_count: 9,
        audit_head: vec![6; 32],
        format: 2,
        stopped: false,
    };
    // a blank entry: a leader's first
    let entries = vec![[encode(&at), vec![0]].concat()];
    let refused = Refused {
        reason: 1,
        message: "another node leads".to_owned(),
        leader: encode(&did(1)),
        bytes: 0,
        not_appended: false,
    };
    let outcomes = Outcome::encode_all(2, &[Outcome::Done { revision: 7 }, Outcome::Granted { token: 8 }]);
    let bodies = [
        (
            "append",
            Body::Append(Append {
                vote: vote.clone(),
                previous: place.clone(),
                entries,
                committed: place.clone(),
                rest_ms: 10_000,
            }),
        ),
        ("vote", Body::Vote(VoteAsk { vote: vote.clone(), last: place.clone() })),
        ("install", Body::Install(install)),
        ("certify", Body::Certify(bytes(encode(&41_u64)))),
        ("propose", Body::Propose(bytes(encode(&signed)))),
        ("query", Body::Query(bytes(encode(&Query::Revision)))),
        ("hello", Body::Hello(Hello {})),
        ("manage", Body::Manage(bytes(encode(&Manage::Add(did(2)))))),
        ("audit", Body::Audit(bytes(encode(&9_u64)))),
        (
            "appended",
            Body::Appended(Appended { result: AppendResult::Partial.into(), vote: vote.clone(), upto: place.clone() }),
        ),
        ("voted", Body::Voted(Voted { vote: vote.clone(), granted: true, last: place })),
        ("installed", Body::Installed(bytes(vote))),
        ("proposed", Body::Proposed(bytes(outcomes))),
        ("answer", Body::Answer(bytes(encode(&(7_u64, 41_u64, 2_u16, 3_u8))))),
        ("overview", Body::Overview(overview)),
        ("refused", Body::Refused(refused)),
    ];
    let envelope = |body| Envelope { id: 5, group: encode(&GROUP), to: encode(&voter(2)), format: 2, body: Some(body) };
    let mut seeds: Vec<(&str, String, Vec<u8>)> =
        bodies.into_iter().map(|(name, body)| ("envelope", name.to_owned(), envelope(body).encode_to_vec())).collect();
    seeds.push(("snapshot_head", "three".to_owned(), encode(&head)));
    let mut machine = Machine::new(GROUP);
    let mut change = |voters| machine.seats(LogPlace { index: 9, leader: did(1) }, voters);
    let records = [change(BTreeSet::from([did(1)])), change(BTreeSet::from([did(2)]))];
    let page: Vec<Vec<u8>> = records.iter().rev().flatten().map(Record::encode).collect();
    seeds.push(("audit_page", "two".to_owned(), encode(&page)));
    for format in 0..=FORMAT_MAX {
        let mut sequence = vec![u8::try_from(format).unwrap_or(0)];
        for index in 101..104 {
            let one = proposed(format, did(2), index, commands(format)).encode();
            sequence.extend(u16::try_from(one.len()).unwrap_or(u16::MAX).to_be_bytes());
            sequence.extend(one);
        }
        seeds.push(("proposals", format!("three-of-format-{format}"), sequence));
        seeds.push(("machine", format!("sample-of-format-{format}"), sample(format).encode()));
    }
    seeds
}
