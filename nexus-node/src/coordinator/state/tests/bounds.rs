use super::*;

const MEMBER: Did = Did::from_bytes([1; 32]);
const VALUE_BYTES: usize = 65_536;

/// A log of format 2 with a key of the largest size.
fn log() -> Log {
    let mut log = Log::new();
    log.apply(&in_format(2, LEADER, 1, Command::Raise(2)));
    log.propose(2, Command::Put(put("a", vec![b'a'; VALUE_BYTES])));
    log
}

/// The next proposal of a session, which lets go of no answer.
fn next(log: &Log, session: u64, seq: u64, commands: Vec<Command>) -> Proposal {
    Proposal { commands, session, base: log.index, ..in_format(2, MEMBER, seq, Command::Raise(2)) }
}

fn gets(count: usize) -> Command {
    Command::Txn(Txn { then: vec![Step::Get("a".to_owned()); count], ..Txn::default() })
}

fn bytes(outcomes: &[Outcome]) -> u64 {
    outcomes.iter().map(Outcome::shown).sum()
}

fn is_too_large(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(Refusal::Full(Full::Reply { .. })))
}

/// promise: Bad input | A proposal that asks for more than one answer holds: nothing beyond the bound is done
#[test]
fn an_answer_is_bounded_in_bytes_and_what_does_not_fit_is_not_done() {
    let mut log = log();
    let write = Txn { then: vec![Step::Put(put("b", "2")), Step::Get("a".to_owned())], ..Txn::default() };
    let wrong = Command::Cas { expect: None, put: put("a", "b") };
    let small = Command::Put(put("c", "3"));
    let commands = vec![gets(5), wrong.clone(), gets(2), Command::Txn(write.clone()), wrong, small];
    let outcomes = log.apply(&next(&log, 1, 1, commands));
    let refused: Vec<bool> = outcomes.iter().map(is_too_large).collect();
    assert_eq!(refused, [false, false, true, false, true, false], "each command that fits is done");
    assert!(bytes(&outcomes) <= limits::REPLY_BYTES_MAX);
    assert!(log.machine.get("b").is_some() && log.machine.get("c").is_some());

    let write = Txn { then: [vec![Step::Put(put("d", "4"))], vec![Step::Get("a".to_owned()); 8]].concat(), ..write };
    let revision = log.machine.revision();
    assert!(is_too_large(&log.propose(2, Command::Txn(write))), "alone, too");
    assert_eq!((log.machine.get("d"), log.machine.revision()), (None, revision));
    // a step sees the steps before it
    let grow = vec![Step::Put(put("d", vec![b'd'; VALUE_BYTES])); 5];
    let read = vec![Step::Get("d".to_owned()); 5];
    assert!(is_too_large(&log.propose(2, Command::Txn(Txn { then: [grow, read].concat(), ..Txn::default() }))));
}

#[test]
fn a_refused_answer_is_told_to_earlier_versions_in_their_words() {
    let outcome = [Outcome::Refused(Refusal::Full(Full::Reply { bytes: 1 << 20 }))];
    for format in [0, 1] {
        let told = Outcome::decode_all(format, &Outcome::encode_all(format, &outcome)).unwrap();
        assert_eq!(told, [Outcome::Refused(Refusal::Full(Full::Answers))], "{format}");
    }
    assert_eq!(Outcome::decode_all(2, &Outcome::encode_all(2, &outcome)).unwrap(), outcome);
}

/// promise: Bad input | A member whose answers nobody fetches: they are bounded in bytes, and its sessions in number
#[test]
fn the_answers_kept_for_a_member_are_bounded_in_bytes() {
    let mut log = log();
    let kept = |log: &Log| log.machine.sessions.sessions.values().map(|session| session.bytes).sum::<u64>();
    let full = [Outcome::Refused(Refusal::Full(Full::Answers))];
    let mut seq = 0;
    while log.apply(&next(&log, 1, seq + 1, vec![gets(7)])) != full {
        seq += 1;
        assert!(seq < 10);
    }
    // seqs that skip answers free nothing by moving on one at a time
    let skipping = Proposal { answered: 1, seq: 1_000, ..next(&log, 1, 1, vec![gets(7)]) };
    assert_eq!(log.apply(&Proposal { answered: 0, ..skipping.clone() }), full);
    assert_ne!(log.apply(&skipping), full, "an answer that is let go of makes room");
    assert_eq!(log.apply(&Proposal { seq: 1_001, ..skipping }), full);
    // another session takes the room of the oldest
    let before = log.machine.sessions.sessions[&(MEMBER, 1)].last;
    for session in 2..40 {
        assert_ne!(log.apply(&next(&log, session, 1, vec![gets(7)])), full);
        assert!(kept(&log) <= 2_097_152 + (1 << 20), "{session}");
    }
    assert!(log.machine.sessions.sessions.range((MEMBER, 0)..=(MEMBER, u64::MAX)).count() <= 16);
    // a proposal of the dropped session can never count again
    let late = Proposal { base: before, ..next(&log, 1, 1, vec![Command::Put(put("late", "v"))]) };
    assert_eq!(log.apply(&late), [Outcome::Refused(Refusal::TooLate)]);
    let again = Machine::decode(&log.machine.encode(), 2).unwrap();
    assert_eq!(again, log.machine);
}

#[test]
fn a_member_has_a_bounded_number_of_sessions() {
    let mut log = log();
    for session in 0..100 {
        log.apply(&next(&log, session, 1, vec![]));
        log.apply(&Proposal { by: Did::from_bytes([3; 32]), ..next(&log, session % 3, session + 1, vec![]) });
    }
    let of = |by: Did| log.machine.sessions.sessions.range((by, 0)..=(by, u64::MAX)).count();
    assert_eq!((of(MEMBER), of(Did::from_bytes([3; 32]))), (16, 3));
}

#[test]
fn earlier_formats_keep_their_bounds() {
    let mut log = Log::new();
    log.propose(2, Command::Put(put("a", vec![b'a'; VALUE_BYTES])));
    let old = |log: &Log, session| Proposal { format: 0, ..next(log, session, 1, vec![gets(20)]) };
    for session in 0..20 {
        assert!(matches!(log.apply(&old(&log, session))[..], [Outcome::Txn { .. }]));
    }
    assert_eq!(log.machine.sessions.sessions.len(), 21);
    for format in [0, 1] {
        let machine = Machine { format, ..log.machine.clone() };
        assert_eq!(Machine::decode(&machine.encode(), 2).unwrap(), machine);
    }
}

const SHARE: Outcome = Outcome::Refused(Refusal::Full(Full::Share));

/// promise: Bad input | A member that fills critical state: it takes at most half of the bytes, the locks and a line
#[test]
fn one_member_takes_at_most_half_of_the_bytes() {
    let mut log = log();
    let large = |n: usize| Command::Put(put(&format!("k{n}"), vec![b'v'; VALUE_BYTES]));
    let mut n = 0;
    while log.propose(1, large(n)) != SHARE {
        n += 1;
        assert!(n < 1_024);
    }
    assert!((500..512).contains(&n), "{n}");
    assert!(matches!(log.propose(3, large(2_000)), Outcome::Done { .. }), "others have theirs");
    assert_eq!(log.propose(1, large(2_000)), SHARE, "nor does it take over another's");
    assert!(matches!(log.propose(1, Command::Put(put("k0", "small"))), Outcome::Done { .. }));
    assert!(matches!(log.propose(1, large(0)), Outcome::Done { .. }), "what it frees it has again");
    let swap = vec![Step::Delete("k0".to_owned()), Step::Put(put("k9999", vec![b'v'; VALUE_BYTES - 3]))];
    assert!(matches!(log.propose(1, Command::Txn(Txn { then: swap, ..Txn::default() })), Outcome::Txn { .. }));
    let lock = Command::Acquire { name: "l".to_owned(), ttl_ms: 5_000, wait_ms: 0 };
    assert!(matches!(log.propose(3, lock), Outcome::Granted { .. }));
    assert_eq!(Machine::decode(&log.machine.encode(), 2).unwrap(), log.machine);
}

/// promise: Bad input | A member that fills critical state: it takes at most half of the bytes, the locks and a line
#[test]
fn one_member_takes_at_most_half_of_the_locks_and_of_a_line() {
    let mut log = log();
    let take = |n: usize, wait_ms| Command::Acquire { name: format!("l{n}"), ttl_ms: 5_000, wait_ms };
    for n in 0..5_000 {
        assert!(matches!(log.propose(1, take(n, 0)), Outcome::Granted { .. }));
    }
    assert_eq!(log.propose(1, take(5_000, 0)), SHARE);
    assert!(matches!(log.propose(3, take(5_000, 0)), Outcome::Granted { .. }));
    assert_eq!(log.propose(1, Command::Steal { name: "l5000".to_owned(), ttl_ms: 5_000 }), SHARE);
    for _ in 0..128 {
        assert!(matches!(log.propose(1, take(5_000, 1_000)), Outcome::Waiting { .. }));
    }
    assert_eq!(log.propose(1, take(5_000, 1_000)), SHARE);
    assert!(matches!(log.propose(4, take(5_000, 1_000)), Outcome::Waiting { .. }));
    let used = log.machine.used(MEMBER);
    assert_eq!(used.part, 5_000 * 1_536 + 128 * 256, "locks and places count");
    assert_eq!(Machine::decode(&log.machine.encode(), 2).unwrap(), log.machine);
}

#[test]
fn small_keys_count_with_their_overhead() {
    let mut log = log();
    let before = log.machine.used(MEMBER);
    log.propose(1, Command::Put(put("b", "v")));
    let after = log.machine.used(MEMBER);
    assert_eq!((after.all - before.all, after.part - before.part), (258, 258));
}
