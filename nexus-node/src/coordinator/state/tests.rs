mod bounds;
mod bytes;
mod ends;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::coordinator::command::{Check, Condition, Put, Step};
use crate::coordinator::limits::SESSION_SPAN;

const GROUP: Group = Group { generation: 1, id: 42 };
const LEADER: Did = Did::from_bytes([9; 32]);

/// A log with one proposal per entry.
struct Log {
    machine: Machine,
    index: u64,
    seqs: BTreeMap<Did, u64>,
    changes: Vec<CriticalChange>,
}

impl Log {
    fn new() -> Self {
        Self { machine: Machine::new(GROUP), index: 0, seqs: BTreeMap::new(), changes: Vec::new() }
    }

    fn propose(&mut self, who: u8, command: Command) -> Outcome {
        let by = Did::from_bytes([who; 32]);
        let seq = self.seqs.entry(by).or_default();
        *seq += 1;
        let proposal = Proposal {
            format: 0,
            group: GROUP,
            by,
            session: 1,
            seq: *seq,
            answered: *seq - 1,
            base: self.index,
            at_ms: 0,
            commands: vec![command],
            requests: Vec::new(),
        };
        self.apply(&proposal).remove(0)
    }

    fn apply(&mut self, proposal: &Proposal) -> Vec<Outcome> {
        self.index += 1;
        let applied = self.machine.apply(LogPlace { index: self.index, leader: LEADER }, proposal);
        self.changes.extend(applied.changes);
        applied.outcomes
    }

    fn expire(&mut self, expiry: Expiry) {
        self.propose(9, Command::Expire(vec![expiry]));
    }
}

fn put(key: &str, value: impl AsRef<[u8]>) -> Put {
    Put { key: key.to_owned(), value: value.as_ref().to_owned(), ttl_ms: None, fence: None }
}

fn acquire(wait_ms: u64) -> Command {
    Command::Acquire { name: "l".to_owned(), ttl_ms: 5_000, wait_ms }
}

fn token(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Granted { token } => token,
        other => panic!("not granted: {other:?}"),
    }
}

fn waiter(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Waiting { waiter } => waiter,
        other => panic!("not in line: {other:?}"),
    }
}

/// promise: Keys and locks | A comparison writes if it holds; a transaction has one revision or none
#[test]
fn a_value_is_replaced_only_if_it_is_the_expected_one() {
    let mut log = Log::new();
    let cas = |expect: Option<&str>, value: &str| Command::Cas {
        expect: expect.map(|expect| expect.as_bytes().to_vec()),
        put: put("k", value),
    };
    assert!(matches!(log.propose(1, cas(Some("a"), "b")), Outcome::Refused(Refusal::Mismatch { found: None })));
    assert!(matches!(log.propose(1, cas(None, "a")), Outcome::Done { revision: 1 }));
    assert!(matches!(log.propose(2, cas(None, "b")), Outcome::Refused(Refusal::Mismatch { found: Some(_) })));
    assert!(matches!(log.propose(2, cas(Some("a"), "b")), Outcome::Done { revision: 2 }));
    let item = log.machine.get("k").unwrap();
    assert_eq!((item.text(), item.created, item.revision), (Some("b"), 1, 2));
}

/// promise: Keys and locks | A request that is repeated is applied once
#[test]
fn a_proposal_that_comes_again_is_answered_and_not_applied() {
    let mut log = Log::new();
    let by = Did::from_bytes([1; 32]);
    let mut proposal = Proposal {
        format: 0,
        group: GROUP,
        by,
        session: 5,
        seq: 1,
        answered: 0,
        base: 0,
        at_ms: 0,
        commands: vec![Command::Cas { expect: None, put: put("k", "v") }],
        requests: Vec::new(),
    };
    let first = log.apply(&proposal);
    let changes = log.changes.len();
    assert_eq!(log.apply(&proposal), first);
    assert_eq!(log.changes.len(), changes);

    // a dropped proposal does not count again, nor after its span
    let next = Proposal { seq: 2, answered: 1, commands: vec![], ..proposal.clone() };
    log.apply(&next);
    assert_eq!(log.apply(&proposal), [Outcome::Refused(Refusal::TooLate)]);
    log.index = SESSION_SPAN * 4;
    proposal.base = log.index;
    proposal.session = 6;
    log.apply(&proposal);
    proposal.base = 0;
    proposal.session = 5;
    assert_eq!(log.apply(&proposal), [Outcome::Refused(Refusal::TooLate)]);
}

/// promise: Keys and locks | A request that is repeated is applied once
#[test]
fn a_silent_session_is_let_go_of_only_when_nothing_of_it_can_count() {
    let mut log = Log::new();
    let of = |session, base| Proposal {
        format: 0,
        group: GROUP,
        by: Did::from_bytes([1; 32]),
        session,
        seq: 1,
        answered: 0,
        base,
        at_ms: 0,
        commands: vec![Command::Cas { expect: None, put: put("k", "v") }],
        requests: Vec::new(),
    };
    log.index = 10;
    log.apply(&of(1, 10));
    log.index = 10 + SESSION_SPAN - 1;
    log.apply(&of(2, log.index));
    assert!(matches!(log.apply(&of(1, 10))[..], [Outcome::Done { .. } | Outcome::Refused(Refusal::TooLate)]));
    assert_eq!(log.machine.get("k").unwrap().revision, 1);
}

/// promise: Keys and locks | The rest of a lost quorum begins anew when told to; the old group does not count
#[test]
fn another_groups_proposals_do_not_count() {
    let mut log = Log::new();
    let group = Group { generation: 1, id: 43 };
    let proposal = Proposal {
        format: 0,
        group,
        by: LEADER,
        session: 1,
        seq: 1,
        answered: 0,
        base: 0,
        at_ms: 0,
        commands: vec![Command::Put(put("k", "v"))],
        requests: Vec::new(),
    };
    assert!(matches!(log.apply(&proposal)[..], [Outcome::Refused(Refusal::OtherGroup { .. })]));
    assert_eq!(log.machine.get("k"), None);
}

/// promise: Bad input | A proposal whose signature does not hold
#[test]
fn a_signature_that_does_not_hold_changes_nothing() {
    let key = nexus_identity::Keypair::from_seed(&[3; 32]);
    let proposal = Proposal {
        format: 0,
        group: GROUP,
        by: key.did(),
        session: 1,
        seq: 1,
        answered: 0,
        base: 0,
        at_ms: 0,
        commands: vec![Command::Put(put("k", "v"))],
        requests: Vec::new(),
    };
    let signed = Signed::new(&proposal, &key);
    // a proposal from another node, which is not checked yet
    let with =
        |bytes: Vec<u8>| -> Signed { borsh::from_slice(&borsh::to_vec(&(bytes, signed.signature)).unwrap()).unwrap() };
    let mut forged = signed.bytes.clone();
    let at = forged.len() - 3;
    forged[at] ^= 1;
    let mut machine = Machine::new(GROUP);
    for bad in [with(forged), with(vec![1, 2, 3])] {
        assert!(bad.clone().checked(1).is_err());
        let (applied, record) = machine.apply_signed(LogPlace { index: 1, leader: LEADER }, &bad);
        assert!(matches!(applied.outcomes[..], [Outcome::Refused(Refusal::Malformed(_))]));
        // the leader has to answer for it
        let record = record.unwrap();
        assert_eq!((record.by(), record.deeds[0].action), (LEADER, Action::Forged));
    }
    assert_eq!((machine.revision(), machine.get("k")), (0, None));
    machine.apply_signed(LogPlace { index: 2, leader: LEADER }, &signed);
    assert_eq!(machine.get("k").unwrap().by, key.did());
}

/// A proposal of one command, in a format.
fn in_format(format: u16, by: Did, seq: u64, command: Command) -> Proposal {
    let commands = vec![command];
    Proposal {
        format,
        group: GROUP,
        by,
        session: 7,
        seq,
        answered: 0,
        base: 0,
        at_ms: 0,
        commands,
        requests: Vec::new(),
    }
}

#[test]
fn numbers_at_the_end_of_their_range_do_no_harm() {
    let mut log = Log::new();
    let write = |seq, answered| {
        let proposal = in_format(0, Did::from_bytes([1; 32]), seq, Command::Put(put("k", "v")));
        Proposal { answered, at_ms: u64::MAX, ..proposal }
    };
    log.apply(&write(1, u64::MAX));
    log.apply(&write(u64::MAX, u64::MAX));
    log.apply(&Proposal { base: u64::MAX, session: u64::MAX, ..write(1, 0) });
    assert!(matches!(log.propose(2, Command::Put(put("k", "w"))), Outcome::Done { .. }));
}

/// promise: Keys and locks | A later format is raised by a committed command once every copy reads it, and is never lowered
#[test]
fn a_raise_counts_from_the_leader_alone_and_is_never_taken_back() {
    let mut log = Log::new();
    let member = Did::from_bytes([1; 32]);
    let refused = |why| [Outcome::Refused(Refusal::Malformed(why))];
    let write = |seq| in_format(1, member, seq, Command::Put(put("k", "v")));
    assert_eq!(log.apply(&write(1)), refused(Malformed::NotRaised));
    assert_eq!(log.apply(&in_format(1, member, 2, Command::Raise(1))), refused(Malformed::NotFromLeader));
    assert_eq!((log.machine.format(), log.machine.get("k")), (0, None));

    assert_eq!(log.apply(&in_format(1, LEADER, 1, Command::Raise(1))), [Outcome::Done { revision: 0 }]);
    assert_eq!(log.apply(&write(1)), [Outcome::Done { revision: 1 }], "what did not count may come again");
    // earlier formats go on counting
    assert_eq!(log.apply(&in_format(0, member, 3, Command::Put(put("k", "w")))), [Outcome::Done { revision: 2 }]);
    assert_eq!(log.apply(&in_format(1, LEADER, 2, Command::Raise(1))), [Outcome::Done { revision: 2 }]);
    assert_eq!(log.machine.format(), 1);
    let again = Machine::decode(&log.machine.encode(), 1).unwrap();
    assert_eq!((again.format(), &again), (1, &log.machine));
    assert_eq!(Machine::decode(&log.machine.encode(), 0), Err(TooNew::Format { found: 1, max: 0 }.into()));
}

/// promise: Keys and locks | A copy that meets the writing of a later version stops and says `too_new`; its node and the next start go on, and the copy does after its upgrade
#[test]
fn what_a_later_version_wrote_is_not_refused_and_changes_nothing() {
    let key = nexus_identity::Keypair::from_seed(&[8; 32]);
    let at = LogPlace { index: 1, leader: LEADER };
    let unknown = |signed: &Signed| -> Signed { borsh::from_slice(&borsh::to_vec(signed).unwrap()).unwrap() };
    let write = |format| Signed::new(&in_format(format, key.did(), 1, Command::Put(put("k", "v"))), &key);
    let mut machine = Machine::new(GROUP);
    let before = machine.clone();
    // the first proposal of the entry is readable, and is not applied either
    let too_new = machine.apply_all(at, &[write(0), unknown(&write(2))], 1).unwrap_err();
    assert_eq!(too_new, TooNew::Format { found: 2, max: 1 });
    let with_command = |format, number: u8| {
        let mut bytes = write(format).bytes;
        let place = bytes.windows(9).rposition(|window| window == [1, 0, 0, 0, 0, 1, 0, 0, 0]).unwrap() + 4;
        bytes[place] = number;
        let signature = key.sign(nexus_identity::Domain::Proposal, &blake3::derive_key("nexus proposal v1", &bytes));
        borsh::from_slice::<Signed>(&borsh::to_vec(&(bytes, signature)).unwrap()).unwrap()
    };
    assert_eq!(machine.apply_all(at, &[with_command(1, 99)], 1).unwrap_err(), TooNew::Command(99));
    assert_eq!(machine, before);
    // every copy of format 0 refuses the command, even a copy that knows it
    for number in [99, 10] {
        let refused = machine.apply_signed(at, &with_command(0, number)).0.outcomes;
        assert!(matches!(refused[..], [Outcome::Refused(Refusal::Malformed(_))]), "{refused:?}");
    }
}

/// promise: Keys and locks | A lock has one holder and a fair line; no write passes under an old token
#[test]
fn a_lock_goes_to_the_first_in_line() {
    let mut log = Log::new();
    let first = token(log.propose(1, acquire(0)));
    assert!(matches!(log.propose(2, acquire(0)), Outcome::Refused(Refusal::Held { .. })));
    let (second, third) = (waiter(log.propose(2, acquire(1_000))), waiter(log.propose(3, acquire(1_000))));
    assert!(second < third);
    log.propose(1, Command::Release { name: "l".to_owned(), token: first });
    let lease = log.machine.lock("l").unwrap().lease.clone();
    assert_eq!((lease.by, lease.waiter), (Did::from_bytes([2; 32]), Some(second)));
    assert!(lease.token > first);
    // a caller that left the line before is passed over; one that leaves too late has the lock
    assert_eq!(token(log.propose(2, Command::Withdraw { name: "l".to_owned(), waiter: second })), lease.token);
    log.propose(3, Command::Withdraw { name: "l".to_owned(), waiter: third });
    log.propose(2, Command::Release { name: "l".to_owned(), token: lease.token });
    assert_eq!(log.machine.lock("l"), None);
}

/// promise: Keys and locks | A lock has one holder and a fair line; no write passes under an old token
#[test]
fn a_write_under_a_token_counts_only_while_its_lease_stands() {
    let mut log = Log::new();
    let first = token(log.propose(1, acquire(0)));
    let write = |token| Command::Put(Put { fence: Some(token), ..put("k", "v") });
    assert!(matches!(log.propose(1, write(first)), Outcome::Done { .. }));
    log.expire(Expiry::Lease { name: "l".to_owned(), token: first, renewals: 0 });
    assert_eq!(log.propose(1, write(first)), Outcome::Refused(Refusal::StaleToken { token: first }));
    let second = token(log.propose(2, acquire(0)));
    assert_eq!(log.propose(1, write(first)), Outcome::Refused(Refusal::StaleToken { token: first }));
    let stolen = token(log.propose(3, Command::Steal { name: "l".to_owned(), ttl_ms: 5_000 }));
    assert!(first < second && second < stolen);
    assert_eq!(log.propose(2, write(second)), Outcome::Refused(Refusal::StaleToken { token: second }));
    let txn = Txn {
        checks: vec![],
        then: vec![Step::Put(put("a", "b")), Step::Put(Put { fence: Some(second), ..put("k", "w") })],
        otherwise: vec![],
    };
    assert_eq!(log.propose(2, Command::Txn(txn)), Outcome::Refused(Refusal::StaleToken { token: second }));
    assert_eq!(log.machine.get("a"), None);
}

/// promise: Keys and locks | A time to live ends after its whole time, and not if it was renewed
#[test]
fn an_expiry_counts_from_the_leader_alone_and_not_after_a_renewal() {
    let mut log = Log::new();
    let token = token(log.propose(1, acquire(0)));
    let expiry = Expiry::Lease { name: "l".to_owned(), token, renewals: 0 };
    assert!(matches!(log.propose(1, Command::Expire(vec![expiry.clone()])), Outcome::Refused(Refusal::Malformed(_))));
    log.propose(1, Command::Renew { name: "l".to_owned(), token, ttl_ms: None });
    log.expire(expiry);
    assert!(log.machine.lock("l").is_some());
    log.expire(Expiry::Lease { name: "l".to_owned(), token, renewals: 1 });
    assert!(log.machine.lock("l").is_none());
}

/// promise: Keys and locks | A comparison writes if it holds; a transaction has one revision or none
#[test]
fn a_transaction_is_one_revision_or_nothing() {
    let mut log = Log::new();
    let txn = |revision| {
        Command::Txn(Txn {
            checks: vec![Check { key: "a".into(), is: Condition::Revision(revision) }],
            then: vec![Step::Put(put("a", "2")), Step::Put(put("b", "2")), Step::Get("a".into())],
            otherwise: vec![Step::Get("a".into())],
        })
    };
    log.propose(1, Command::Put(put("a", "1")));
    let Outcome::Txn { held, revision, items } = log.propose(1, txn(1)) else { panic!() };
    assert_eq!((held, revision, items.len()), (true, 2, 3));
    assert_eq!((log.machine.get("a").unwrap().revision, log.machine.get("b").unwrap().revision), (2, 2));
    let Outcome::Txn { held, revision, items } = log.propose(1, txn(1)) else { panic!() };
    assert_eq!((held, revision), (false, 2));
    assert_eq!(items[0].as_ref().unwrap().text(), Some("2"));
}

/// promise: Keys and locks | A lock has one holder and a fair line; no write passes under an old token
#[test]
fn tokens_of_a_later_group_are_larger() {
    let mut log = Log::new();
    for _ in 0..1_000 {
        log.propose(1, Command::Put(put("k", "v")));
    }
    let before = token(log.propose(1, acquire(0)));
    // a new group starts from an older state, and may grant later leases again
    let mut machine = Machine::new(GROUP);
    let group = Group { generation: 2, id: 1 };
    machine.succeed(group, 1, LEADER, 0);
    let by = Did::from_bytes([2; 32]);
    let proposal = Proposal {
        format: 0,
        group,
        by,
        session: 1,
        seq: 1,
        answered: 0,
        base: 0,
        at_ms: 0,
        commands: vec![acquire(0)],
        requests: Vec::new(),
    };
    let applied = machine.apply(LogPlace { index: 1, leader: LEADER }, &proposal);
    assert!(token(applied.outcomes[0].clone()) > before);
}

#[test]
fn tokens_fit_what_json_numbers_carry() {
    let mut machine = Machine::new(Group { generation: 8_000, id: 1 });
    let by = Did::from_bytes([2; 32]);
    let proposal = Proposal {
        format: 0,
        group: machine.group(),
        by,
        session: 1,
        seq: 1,
        answered: 0,
        base: 0,
        at_ms: 0,
        commands: vec![acquire(0)],
        requests: Vec::new(),
    };
    let applied = machine.apply(LogPlace { index: 1, leader: LEADER }, &proposal);
    assert!(token(applied.outcomes[0].clone()) < 1 << 53);
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Act {
    Put(u8, u8, bool),
    Delete(u8),
    Cas(u8, Option<u8>, u8),
    Acquire(u8, bool),
    Release(u8),
    Steal(u8),
    ExpireOldest(u8),
    Withdraw(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..4u8, any::<u8>(), any::<bool>()).prop_map(|(key, value, mortal)| Act::Put(key, value, mortal)),
        (0..4u8).prop_map(Act::Delete),
        (0..4u8, proptest::option::of(0..3u8), 0..3u8).prop_map(|(key, expect, value)| Act::Cas(key, expect, value)),
        (0..3u8, any::<bool>()).prop_map(|(name, wait)| Act::Acquire(name, wait)),
        (0..3u8).prop_map(Act::Release),
        (0..3u8).prop_map(Act::Steal),
        any::<u8>().prop_map(Act::ExpireOldest),
        (0..3u8).prop_map(Act::Withdraw),
    ]
}

proptest! {
    /// Keys are those of a map, no lock has two holders, and tokens and revisions only grow. A state
    /// read back from its bytes goes on like the original.
    #[test]
    fn any_history_keeps_the_laws(acts in proptest::collection::vec((1..4u8, act()), 1..80)) {
        let mut log = Log::new();
        let mut model: BTreeMap<String, String> = BTreeMap::new();
        let (mut last_token, mut last_revision) = (0, 0);
        for (who, act) in acts {
            let name = |n: u8| format!("lock {n}");
            let key = |k: u8| format!("k{k}");
            match act {
                Act::Put(k, value, mortal) => {
                    let ttl_ms = mortal.then_some(5_000);
                    log.propose(who, Command::Put(Put { ttl_ms, ..put(&key(k), value.to_string()) }));
                    model.insert(key(k), value.to_string());
                }
                Act::Delete(k) => {
                    let outcome = log.propose(who, Command::Delete { key: key(k), fence: None });
                    prop_assert_eq!(model.remove(&key(k)).is_some(), matches!(outcome, Outcome::Done { .. }));
                }
                Act::Cas(k, expect, value) => {
                    let expect = expect.map(|value| value.to_string());
                    let fits = model.get(&key(k)) == expect.as_ref();
                    let expect = expect.map(String::into_bytes);
                    let outcome = log.propose(who, Command::Cas { expect, put: put(&key(k), value.to_string()) });
                    prop_assert_eq!(fits, matches!(outcome, Outcome::Done { .. }));
                    if fits {
                        model.insert(key(k), value.to_string());
                    }
                }
                Act::Acquire(n, wait) => {
                    let wait_ms = if wait { 1_000 } else { 0 };
                    let free = log.machine.lock(&name(n)).is_none();
                    let outcome = log.propose(who, Command::Acquire { name: name(n), ttl_ms: 5_000, wait_ms });
                    prop_assert_eq!(free, matches!(outcome, Outcome::Granted { .. }));
                }
                Act::Release(n) => {
                    let lease = log.machine.lock(&name(n)).map(|lock| lock.lease.token);
                    let heir = log.machine.lock(&name(n)).and_then(|lock| lock.line.front().map(|next| next.id));
                    log.propose(who, Command::Release { name: name(n), token: lease.unwrap_or(1) });
                    let after = log.machine.lock(&name(n)).map(|lock| lock.lease.waiter);
                    prop_assert_eq!(after, heir.map(Some));
                }
                Act::Steal(n) => {
                    log.propose(who, Command::Steal { name: name(n), ttl_ms: 5_000 });
                }
                Act::Withdraw(n) => {
                    let place = log.machine.lock(&name(n)).and_then(|lock| lock.line.back().map(|last| last.id));
                    log.propose(who, Command::Withdraw { name: name(n), waiter: place.unwrap_or(0) });
                }
                Act::ExpireOldest(n) => {
                    let timed: Vec<Timed> = log.machine.timed().collect();
                    if let Some(timed) = timed.get(usize::from(n) % timed.len().max(1)) {
                        if let Expiry::Key { key, .. } = &timed.expiry {
                            model.remove(key);
                        }
                        log.expire(timed.expiry.clone());
                    }
                }
            }
            let keys: BTreeMap<String, String> =
                log.machine.list("", None).map(|(key, item)| (key.clone(), item.text().unwrap().to_owned())).collect();
            prop_assert_eq!(&keys, &model);
            for change in log.changes.drain(..) {
                prop_assert!(change.revision > last_revision);
                last_revision = change.revision;
                if let CriticalEvent::Granted { token, .. } = change.event {
                    prop_assert!(token > last_token);
                    last_token = token;
                }
            }
            let standing: Vec<u64> = log.machine.locks().map(|(_, lock)| lock.lease.token).collect();
            prop_assert!(standing.iter().all(|token| log.machine.locks.stands(*token)));
            let again = Machine::decode(&log.machine.encode(), 1).unwrap();
            prop_assert_eq!(&again, &log.machine);
            prop_assert_eq!(again.digest(), log.machine.digest());
        }
    }
}

/// promise: Keys and locks | The audit has every request with its outcome, in order, equal on every node
#[test]
fn who_did_what_is_one_chain_on_every_copy() {
    let keys: Vec<_> = (1..4).map(|n| nexus_identity::Keypair::from_seed(&[n; 32])).collect();
    let proposal = |who: usize, seq, commands| {
        let by = keys[who].did();
        let proposal = Proposal {
            format: 0,
            group: GROUP,
            by,
            session: 1,
            seq,
            answered: 0,
            base: 0,
            at_ms: 1_000 + seq,
            commands,
            requests: Vec::new(),
        };
        Signed::new(&proposal, &keys[who])
    };
    let steal = Command::Steal { name: "l".to_owned(), ttl_ms: 5_000 };
    let two = Txn { then: vec![Step::Put(put("a", "1")), Step::Delete("k".to_owned())], ..Txn::default() };
    let log = [
        proposal(0, 1, vec![Command::Put(put("k", "v")), Command::Cas { expect: None, put: put("k", "w") }]),
        proposal(1, 1, vec![acquire(0)]),
        // a repetition: no deed
        proposal(1, 1, vec![acquire(0)]),
        proposal(2, 1, vec![acquire(1_000), steal]),
        proposal(0, 2, vec![Command::Txn(two)]),
    ];
    let run = || {
        let mut machine = Machine::new(GROUP);
        let apply = |(index, signed)| machine.apply_signed(LogPlace { index, leader: LEADER }, signed).1;
        let records: Vec<Record> = (1..).zip(&log).filter_map(apply).collect();
        (machine, records)
    };
    let (machine, records) = run();
    assert_eq!(run(), (machine.clone(), records.clone()), "the same log, the same chain");
    let deeds: Vec<(Did, Action, &str, DeedResult)> = records
        .iter()
        .flat_map(|record| {
            record.deeds.iter().map(|deed| (record.by(), deed.action, deed.name.as_str(), deed.result.clone()))
        })
        .collect();
    let [one, two, three] = [keys[0].did(), keys[1].did(), keys[2].did()];
    let granted = |deed: usize| matches!(deeds[deed].3, DeedResult::Granted(_));
    assert_eq!(deeds[0], (one, Action::Put, "k", DeedResult::Revision(1)));
    assert_eq!(deeds[1], (one, Action::Cas, "k", DeedResult::Refused("mismatch".to_owned())));
    assert!(granted(2) && granted(4));
    assert_eq!((deeds[2].0, deeds[2].1), (two, Action::Acquire));
    assert_eq!(deeds[3], (three, Action::Acquire, "l", DeedResult::Waiting));
    assert_eq!((deeds[4].0, deeds[4].1, records[2].deeds[1].whose), (three, Action::Steal, Some(two)));
    assert_eq!((deeds[5].1, deeds[5].2), (Action::Put, "a"));
    assert_eq!((deeds[6].1, deeds[6].2, deeds.len()), (Action::Delete, "k", 7));
    assert_eq!((machine.audit().count, machine.audit().head), (7, records[3].hash()));
    assert!(records.iter().all(Record::is_signed));
}

/// promise: Keys and locks | The audit has every request with its outcome, in order, equal on every node
#[test]
fn who_votes_is_noted_when_it_changes() {
    let mut machine = Machine::new(GROUP);
    let did = |n| Did::from_bytes([n; 32]);
    let at = |index| LogPlace { index, leader: LEADER };
    let first = machine.seats(at(1), BTreeSet::from([did(1)])).unwrap();
    assert_eq!((first.deeds[0].action, first.by()), (Action::VoterAdded, LEADER));
    assert_eq!(machine.seats(at(2), BTreeSet::from([did(1)])), None, "a learner came: nobody's vote changed");
    let next = machine.seats(at(3), BTreeSet::from([did(2)])).unwrap();
    let actions: Vec<Action> = next.deeds.iter().map(|deed| deed.action).collect();
    assert_eq!(actions, [Action::VoterAdded, Action::VoterRemoved]);
}

/// promise: Keys and locks | The audit has every request with its outcome, in order, equal on every node
#[test]
fn what_the_line_passes_on_and_what_expires_is_noted_for_its_owner() {
    let mut log = Log::new();
    let first = token(log.propose(1, acquire(0)));
    log.propose(2, acquire(1_000));
    let release = Command::Release { name: "l".to_owned(), token: first };
    let proposal = Proposal {
        format: 0,
        group: GROUP,
        by: Did::from_bytes([1; 32]),
        session: 2,
        seq: 1,
        answered: 0,
        base: 0,
        at_ms: 0,
        commands: vec![release],
        requests: Vec::new(),
    };
    let deeds = log.machine.apply(LogPlace { index: 9, leader: LEADER }, &proposal).deeds;
    assert_eq!(
        (deeds[0].action, deeds[1].action, deeds[1].whose),
        (Action::Release, Action::Grant, Some(Did::from_bytes([2; 32])))
    );
    let lease = log.machine.lock("l").unwrap().lease.clone();
    let expiry = Expiry::Lease { name: "l".to_owned(), token: lease.token, renewals: lease.renewals };
    let commands = vec![Command::Expire(vec![expiry])];
    let expire = Proposal { by: LEADER, session: 1, seq: 1, commands, ..proposal };
    let deeds = log.machine.apply(LogPlace { index: 10, leader: LEADER }, &expire).deeds;
    assert_eq!((deeds[0].action, deeds[0].whose), (Action::Expire, Some(Did::from_bytes([2; 32]))));
}

/// promise: Keys and locks | A write is done, refused or unknown; a refused one never happens, and an unknown one is settled by asking
#[test]
fn of_a_proposal_and_the_question_for_its_end_the_first_one_counts() {
    let by = Did::from_bytes([1; 32]);
    let of = |seq: u64, base: u64, commands: Vec<Command>| Proposal {
        format: 0,
        group: GROUP,
        by,
        session: 7,
        seq,
        answered: 0,
        base,
        at_ms: 0,
        commands,
        requests: Vec::new(),
    };
    let write = |text: &str| vec![Command::Put(put("k", text))];
    let mut log = Log::new();
    // it was done: the question has its answer
    let done = log.apply(&of(1, 0, write("one")));
    assert_eq!(log.apply(&of(1, 0, vec![])), done);
    // it was asked for first: it never happens
    assert_eq!(log.apply(&of(2, 1, vec![])), []);
    assert_eq!(log.apply(&of(2, 1, write("two"))), []);
    assert_eq!(log.machine.get("k").and_then(Item::text), Some("one"));
    assert_eq!(log.apply(&of(2, 1, vec![])), []);
    // too long ago for both
    log.index = SESSION_SPAN + 2;
    assert_eq!(log.apply(&of(3, 1, vec![])), [Outcome::Refused(Refusal::TooLate)]);
    assert_eq!(log.apply(&of(3, 1, write("three"))), [Outcome::Refused(Refusal::TooLate)]);
}
