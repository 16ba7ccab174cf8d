use nexus_identity::Keypair;

use super::*;

const FORMER: u8 = 1;
const OTHER: u8 = 2;

/// A log of format 2 in which a member holds a lock with a line, waits twice for another, and has a session.
fn log() -> Log {
    let mut log = Log::new();
    log.apply(&in_format(2, LEADER, 1, Command::Raise(2)));
    let acquire = |name: &str, wait_ms| Command::Acquire { name: name.to_owned(), ttl_ms: 5_000, wait_ms };
    log.propose(FORMER, acquire("held", 0));
    log.propose(FORMER, acquire("held", 1_000));
    log.propose(OTHER, acquire("held", 1_000));
    log.propose(OTHER, acquire("other", 0));
    log.propose(FORMER, acquire("other", 1_000));
    log.propose(FORMER, Command::Put(put("key", "stays")));
    log
}

fn did(n: u8) -> Did {
    Did::from_bytes([n; 32])
}

fn end(log: &mut Log, by: Did, member: u8) -> Vec<Outcome> {
    let (seq, base) = (log.index, log.index);
    let proposal = Proposal { base, session: 7, ..in_format(2, by, seq, Command::End(did(member))) };
    log.apply(&proposal)
}

/// promise: Keys and locks | The locks of a former member go to the next in line, its places in line end, its keys stay
#[test]
fn what_a_former_member_holds_ends() {
    let mut log = log();
    let before = log.index;
    assert_eq!(log.machine.holders(), BTreeSet::from([did(FORMER), did(OTHER), LEADER]));
    let from = log.changes.len();
    end(&mut log, LEADER, FORMER);
    let lock = |name: &str| log.machine.lock(name).map(|lock| (lock.lease.by, lock.line.len()));
    assert_eq!((lock("held"), lock("other")), (Some((did(OTHER), 0)), Some((did(OTHER), 0))));
    assert!(log.machine.get("key").is_some());
    assert_eq!(log.machine.holders(), BTreeSet::from([did(OTHER), LEADER]));
    // nothing went on to the former member in between
    let granted = log.changes[from..].iter().filter(|change| matches!(change.event, CriticalEvent::Granted { .. }));
    assert_eq!(granted.map(|change| change.by).collect::<Vec<_>>(), [did(OTHER)]);
    assert_eq!(Machine::decode(&log.machine.encode(), 2).unwrap(), log.machine);

    // its earlier proposals count no more, whoever repeats them
    for (session, seq) in [(1, 1), (1, 9), (2, 1)] {
        let late = Command::Put(put("key", "late"));
        let late = Proposal { base: before, session, answered: 0, ..in_format(2, did(FORMER), seq, late) };
        assert_eq!(log.apply(&late), [Outcome::Refused(Refusal::TooLate)]);
    }
    // once more changes nothing
    let revision = log.machine.revision();
    end(&mut log, LEADER, FORMER);
    assert_eq!(log.machine.revision(), revision);
}

/// promise: Bad input | A proposal in the name of a member that did not sign it: nothing changes
#[test]
fn a_proposal_that_its_member_did_not_sign_changes_nothing() {
    let mut log = log();
    let (member, other) = (Keypair::from_seed(&[5; 32]), Keypair::from_seed(&[6; 32]));
    let command = Command::Put(put("key", "forged"));
    let proposal = Proposal { base: log.index, ..in_format(2, member.did(), 1, command) };
    let before = log.machine.revision();
    let at = LogPlace { index: log.index + 1, leader: LEADER };
    let (applied, record) = log.machine.apply_signed(at, &Signed::new(&proposal, &other));
    assert_eq!(applied.outcomes, [Outcome::Refused(Refusal::Malformed(Malformed::NotSigned))]);
    assert_eq!((log.machine.revision(), record.unwrap().by()), (before, LEADER), "the leader appended it");
    let (applied, _) = log.machine.apply_signed(at, &Signed::new(&proposal, &member));
    assert!(matches!(applied.outcomes[..], [Outcome::Done { .. }]));
}

/// promise: Bad input | A member that ends what another holds is refused: only the leader does that
#[test]
fn only_the_leader_ends_what_a_member_holds() {
    let mut log = log();
    let before = log.machine.locks().map(|(name, lock)| (name.clone(), lock.clone())).collect::<Vec<_>>();
    let refused = Outcome::Refused(Refusal::Malformed(Malformed::NotFromLeader));
    assert_eq!(end(&mut log, did(OTHER), FORMER), [refused]);
    assert_eq!(log.machine.locks().map(|(name, lock)| (name.clone(), lock.clone())).collect::<Vec<_>>(), before);
    // and no earlier format has the command
    for format in [0, 1] {
        assert!(limits::check(format, &[Command::End(did(FORMER))]).is_err(), "{format}");
    }
    assert!(limits::check(2, &[Command::End(did(FORMER))]).is_ok());
}

/// A log of the format with lines.
fn with_lines() -> Log {
    let mut log = Log::new();
    log.apply(&in_format(format::LINES, LEADER, 1, Command::Raise(format::LINES)));
    log
}

fn succeed(log: &mut Log, by: Did, former: u8, member: u8) -> Vec<Outcome> {
    let (seq, base) = (log.index, log.index);
    let command = Command::Succeed { former: did(former), member: did(member) };
    let proposal = Proposal { base, session: 7, ..in_format(format::LINES, by, seq, command) };
    log.apply(&proposal)
}

/// promise: Keys and locks | All keys of a member have one share: the present one has what the former ones wrote
#[test]
fn a_new_key_has_no_share_of_its_own() {
    const VALUE_BYTES: usize = 65_000;
    let mut log = with_lines();
    let (second, third) = (3, 4);
    let fill = |log: &mut Log, who: u8| {
        let is_full = |n: &i32| match log.propose(who, Command::Put(put(&format!("{who}/{n}"), [0; VALUE_BYTES]))) {
            // a share is half of the room
            Outcome::Refused(Refusal::Full(Full::Share | Full::Bytes { .. })) => true,
            Outcome::Done { .. } => false,
            other => panic!("{other:?}"),
        };
        (0..1_000).find(is_full).unwrap()
    };
    let first = fill(&mut log, FORMER);
    assert!(first > 500, "{first}");
    let revision = log.machine.revision();
    assert!(matches!(succeed(&mut log, LEADER, FORMER, second)[..], [Outcome::Done { .. }]));
    assert_eq!((fill(&mut log, second), log.machine.revision()), (0, revision), "values and revisions stay");
    // over two changes of the key, and written over by the present one
    succeed(&mut log, LEADER, second, third);
    assert_eq!(fill(&mut log, third), 0);
    let last = format!("{FORMER}/0");
    assert!(matches!(log.propose(third, Command::Delete { key: last.clone(), fence: None }), Outcome::Done { .. }));
    assert!(matches!(log.propose(third, Command::Put(put(&last, [1; VALUE_BYTES]))), Outcome::Done { .. }));
    assert!(log.machine.has_keys_of(&did(third)) && !log.machine.has_keys_of(&did(FORMER)));
    // a snapshot has it as well, and everybody else has a share
    let read = Machine::decode(&log.machine.encode(), format::LINES).unwrap();
    assert_eq!(read, log.machine);
    assert!(fill(&mut log, OTHER) > 500);
}

/// promise: Keys and locks | Nobody but the leader gives a member what another key wrote
#[test]
fn only_the_leader_gives_a_member_what_a_former_key_wrote() {
    let mut log = with_lines();
    log.propose(FORMER, Command::Put(put("k", "v")));
    let refused = Outcome::Refused(Refusal::Malformed(Malformed::NotFromLeader));
    assert_eq!(succeed(&mut log, did(OTHER), FORMER, OTHER), [refused]);
    assert_eq!(log.machine.get("k").unwrap().by, did(FORMER));
    let command = Command::Succeed { former: did(FORMER), member: did(OTHER) };
    for format in 0..format::LINES {
        assert!(limits::check(format, std::slice::from_ref(&command)).is_err(), "{format}");
    }
    assert!(limits::check(format::LINES, &[command]).is_ok());
    // the lock of a former key ends, and a key in its own place changes nothing
    log.propose(FORMER, acquire(0));
    succeed(&mut log, LEADER, FORMER, FORMER);
    assert_eq!((log.machine.get("k").unwrap().by, log.machine.lock("l")), (did(FORMER), None));
    succeed(&mut log, LEADER, FORMER, OTHER);
    assert_eq!(log.machine.get("k").unwrap().by, did(OTHER));
    assert!(Machine::decode(&log.machine.encode(), format::LINES).unwrap() == log.machine);
}
