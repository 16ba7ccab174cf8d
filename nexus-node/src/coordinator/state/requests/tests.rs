use proptest::prelude::*;

use super::*;
use crate::coordinator::command::{Expiry, Group, Proposal, Put};
use crate::coordinator::format::{FORMAT_MAX, REQUESTS, ReadError};
use crate::coordinator::requests::Request;
use crate::coordinator::state::{Applied, LogPlace, Machine};

const GROUP: Group = Group { generation: 1, id: 7 };
const LEADER: Did = Did::from_bytes([9; 32]);
const REFUSED_OTHER: Outcome = Outcome::Refused(Refusal::OtherRequest);

/// A machine of a format, and the log that it applies.
struct Story {
    machine: Machine,
    index: u64,
}

impl Story {
    fn new(format: u16) -> Self {
        let mut story = Self { machine: Machine::new(GROUP), index: 0 };
        story.apply(format, LEADER, vec![Command::Raise(format)], Vec::new());
        story
    }

    fn apply(&mut self, format: u16, by: Did, commands: Vec<Command>, requests: Vec<Request>) -> Applied {
        self.index += 1;
        let (session, seq, base) = (7, self.index, self.index - 1);
        let proposal =
            Proposal { format, group: GROUP, by, session, seq, answered: base, base, at_ms: 0, commands, requests };
        self.machine.apply(LogPlace { index: self.index, leader: LEADER }, &proposal)
    }

    fn all(&mut self, who: u8, id: Option<&str>, command: Command) -> Applied {
        let requests = id.map(|id| Request { place: 0, key: RequestKey::of(id).unwrap() }).into_iter().collect();
        self.apply(FORMAT_MAX, Did::from_bytes([who; 32]), vec![command], requests)
    }

    fn tell(&mut self, who: u8, id: &str, command: Command) -> Outcome {
        self.all(who, Some(id), command).outcomes.remove(0)
    }

    fn tell_without(&mut self, who: u8, command: Command) -> Outcome {
        self.all(who, None, command).outcomes.remove(0)
    }
}

fn put(key: &str, value: &str) -> Command {
    Command::Put(Put::new(key, value))
}

fn acquire(wait_ms: u64) -> Command {
    Command::Acquire { name: "l".to_owned(), ttl_ms: 30_000, wait_ms }
}

fn release(token: u64) -> Command {
    Command::Release { name: "l".to_owned(), token }
}

fn granted(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Granted { token } => *token,
        other => panic!("{other:?}"),
    }
}

/// promise: Keys and locks | A request that is asked again under its id is answered as the first time, and done once
#[test]
fn a_request_asked_again_is_answered_as_the_first_time_and_done_once() {
    let mut story = Story::new(FORMAT_MAX);
    let first = story.tell(1, "a", put("k", "v"));
    story.tell_without(2, put("k", "w"));
    let before = (story.machine.revision(), story.machine.audit().count);
    let again = story.all(1, Some("a"), put("k", "v"));
    assert_eq!(again.outcomes, [first]);
    assert!(again.changes.is_empty() && again.deeds.is_empty(), "{again:?}");
    assert_eq!((story.machine.revision(), story.machine.audit().count), before);
    assert_eq!(story.machine.get("k").unwrap().value, b"w");
    // a refusal is an answer, too
    let cas = Command::Cas { expect: Some(b"v".to_vec()), put: Put::new("k", "x") };
    let refused = story.tell(1, "b", cas.clone());
    assert!(matches!(refused, Outcome::Refused(Refusal::Mismatch { .. })));
    story.tell_without(2, put("k", "v"));
    assert_eq!(story.tell(1, "b", cas), refused);
}

/// promise: Keys and locks | A request's id is good for one change: another change under it is refused
#[test]
fn another_change_under_the_same_id_is_refused_and_other_members_have_their_own_ids() {
    let mut story = Story::new(FORMAT_MAX);
    story.tell(1, "a", put("k", "v"));
    assert_eq!(story.tell(1, "a", put("k", "w")), REFUSED_OTHER);
    assert_eq!(story.tell(1, "a", acquire(0)), REFUSED_OTHER);
    assert!(matches!(story.tell(2, "a", put("k", "w")), Outcome::Done { .. }));
    assert_eq!(story.machine.get("k").unwrap().value, b"w");
}

/// promise: Keys and locks | A request that is asked again under its id is answered as the first time, and done once
#[test]
fn a_lock_asked_for_again_is_the_same_lease_also_after_a_wait_and_after_its_end() {
    let mut story = Story::new(FORMAT_MAX);
    let first = granted(&story.tell(1, "one", acquire(0)));
    assert_eq!(granted(&story.tell(1, "one", acquire(0))), first);
    let waits = story.tell(2, "two", acquire(10_000));
    assert!(matches!(waits, Outcome::Waiting { .. }));
    assert_eq!(story.tell(2, "two", acquire(10_000)), waits, "the same place in line");
    story.tell_without(1, release(first));
    let second = granted(&story.tell(2, "two", acquire(10_000)));
    assert!(second > first);
    story.tell_without(2, release(second));
    assert_eq!(granted(&story.tell(2, "two", acquire(10_000))), second, "a lease that is over is not taken again");
    assert_eq!(story.machine.lock("l"), None);
}

#[test]
fn a_request_that_left_its_line_may_begin_anew() {
    let mut story = Story::new(FORMAT_MAX);
    story.tell_without(1, acquire(0));
    for by_expiry in [false, true] {
        let Outcome::Waiting { waiter } = story.tell(2, "w", acquire(10_000)) else { panic!("it waits") };
        if by_expiry {
            let ended = Command::Expire(vec![Expiry::Waiter { name: "l".to_owned(), waiter }]);
            story.apply(FORMAT_MAX, LEADER, vec![ended], Vec::new());
        } else {
            story.tell_without(2, Command::Withdraw { name: "l".to_owned(), waiter });
        }
        let again = story.tell(2, "w", acquire(10_000));
        assert!(matches!(again, Outcome::Waiting { waiter: new } if new > waiter), "{again:?}");
        let Outcome::Waiting { waiter } = again else { unreachable!() };
        story.tell_without(2, Command::Withdraw { name: "l".to_owned(), waiter });
    }
}

#[test]
fn a_refusal_for_want_of_room_is_no_answer() {
    let mut story = Story::new(FORMAT_MAX);
    let token = granted(&story.tell_without(1, acquire(0)));
    for _ in 0..128 {
        story.tell_without(2, acquire(10_000));
    }
    assert!(matches!(story.tell(2, "late", acquire(10_000)), Outcome::Refused(Refusal::Full(_))));
    story.tell_without(1, release(token));
    assert!(matches!(story.tell(2, "late", acquire(10_000)), Outcome::Waiting { .. }));
}

/// promise: Keys and locks | Of a member's requests the last 1,024 are known, with 1 MiB of answers at most
#[test]
fn a_member_has_a_bounded_number_of_requests_and_of_bytes() {
    let mut story = Story::new(FORMAT_MAX);
    story.tell(2, "other", put("o", "v"));
    for n in 0..1_025 {
        story.tell(1, &format!("{n}"), put("k", "v"));
    }
    assert_eq!(story.machine.requests.answered.len(), 1_025);
    let revision = story.machine.revision();
    assert_eq!(story.tell(1, "1", put("k", "v")), Outcome::Done { revision: 3 });
    assert_eq!(story.tell(2, "other", put("o", "v")), Outcome::Done { revision: 1 });
    assert_eq!(story.tell(1, "0", put("k", "v")), Outcome::Done { revision: revision + 1 }, "it is forgotten");
    // each answer shows 64 KiB
    story.tell_without(1, put("large", &"x".repeat(65_000)));
    let read = |n: u64| {
        let expect = Some(format!("{n}").into_bytes());
        Command::Cas { expect, put: Put::new("large", "y") }
    };
    for n in 0..40 {
        story.tell(1, &format!("read {n}"), read(n));
    }
    let bytes: u64 = story.machine.requests.answered.values().map(Answered::bytes).sum();
    assert!(bytes <= 1_048_576 + 1_024, "{bytes}");
    assert!(matches!(story.tell(1, "read 39", read(39)), Outcome::Refused(Refusal::Mismatch { .. })));
}

#[test]
fn requests_end_with_their_member_and_with_their_time() {
    let mut story = Story::new(FORMAT_MAX);
    story.tell(1, "a", put("k", "v"));
    story.tell(2, "a", put("k", "v"));
    assert!(story.machine.holders().contains(&Did::from_bytes([1; 32])));
    story.apply(FORMAT_MAX, LEADER, vec![Command::End(Did::from_bytes([1; 32]))], Vec::new());
    assert_eq!(story.machine.requests.answered.len(), 1);
    story.index += 200_000;
    story.tell_without(3, put("k", "w"));
    assert_eq!(story.machine.requests, Requests { swept: story.index, ..Requests::default() });
}

/// A copy that restarted before the raise, and one that did not, must be one state after it.
#[test]
fn before_their_format_nothing_of_requests_changes() {
    let mut story = Story::new(REQUESTS - 1);
    story.index += 50_000;
    story.apply(REQUESTS - 1, Did::from_bytes([1; 32]), vec![put("k", "v")], Vec::new());
    assert_eq!(story.machine.requests, Requests::default());
    assert_eq!(Machine::decode(&story.machine.encode(), FORMAT_MAX), Ok(story.machine.clone()));
}

#[test]
fn earlier_formats_have_no_requests() {
    let request = Request { place: 0, key: RequestKey::of("a").unwrap() };
    for format in 0..REQUESTS {
        let (group, by, commands) = (GROUP, Did::from_bytes([1; 32]), vec![put("k", "v")]);
        let requests = vec![request];
        let proposal =
            Proposal { format, group, by, session: 1, seq: 1, answered: 0, base: 0, at_ms: 0, commands, requests };
        assert!(proposal.check().is_err());
        let plain = Proposal { requests: Vec::new(), ..proposal.clone() };
        assert_eq!(proposal.encode(), plain.encode(), "they are not in its bytes");
        assert!(plain.check().is_ok());
    }
}

#[test]
fn keys_of_requests_are_in_order_and_of_callers_changes_alone() {
    let key = |n: u8| RequestKey::sample([n; 16]);
    let of = |requests: &[(u16, u8)], commands: Vec<Command>| {
        let requests = requests.iter().map(|(place, n)| Request { place: *place, key: key(*n) }).collect();
        let (group, by, format) = (GROUP, LEADER, FORMAT_MAX);
        Proposal { format, group, by, session: 1, seq: 1, answered: 0, base: 0, at_ms: 0, commands, requests }
    };
    let two = || vec![put("k", "v"), put("k", "w")];
    let good = of(&[(0, 1), (1, 2)], two());
    assert!(good.check().is_ok());
    assert_eq!(Proposal::decode(&good.encode(), FORMAT_MAX), Ok(good.clone()));
    assert_eq!((good.request_of(1), good.request_of(2)), (Some(key(2)), None));
    for bad in [&[(1, 1), (0, 2)][..], &[(0, 1), (0, 2)], &[(2, 1)], &[(u16::MAX, 1)]] {
        assert!(of(bad, two()).check().is_err(), "{bad:?}");
    }
    for own in [Command::Expire(Vec::new()), Command::End(LEADER)] {
        assert!(of(&[(0, 1)], vec![own]).check().is_err());
    }
    let mut cut = good.encode();
    cut.pop();
    assert_eq!(Proposal::decode(&cut, FORMAT_MAX), Err(ReadError::Malformed));
}

proptest! {
    /// A log in which requests are asked several times, and the same log with the first of each alone.
    #[test]
    fn asking_again_changes_nothing_but_the_log(
        steps in proptest::collection::vec((0..3u8, 0..6u8, 0..4u8, any::<bool>()), 1..60),
    ) {
        let (mut repeated, mut plain) = (Story::new(FORMAT_MAX), Story::new(FORMAT_MAX));
        let mut asked: std::collections::BTreeMap<(u8, u8), (Command, Outcome)> = Default::default();
        for (who, id, kind, reads) in steps {
            let who = who + 1;
            let command = match kind {
                0 => put("k", &format!("{who}{id}")),
                1 => Command::Cas { expect: None, put: Put::new(format!("c{id}"), "v") },
                2 => Command::Delete { key: format!("c{id}"), fence: None },
                _ => acquire(0),
            };
            match asked.get(&(who, id)) {
                Some((first, outcome)) if *first == command => {
                    prop_assert_eq!(&repeated.tell(who, &id.to_string(), command), outcome);
                }
                Some(_) => prop_assert_eq!(repeated.tell(who, &id.to_string(), command), REFUSED_OTHER),
                None => {
                    let outcome = repeated.tell(who, &id.to_string(), command.clone());
                    prop_assert_eq!(&plain.tell(who, &id.to_string(), command.clone()), &outcome);
                    asked.insert((who, id), (command, outcome));
                }
            }
            if reads {
                let bytes = repeated.machine.encode();
                let read = Machine::decode(&bytes, FORMAT_MAX).unwrap();
                prop_assert_eq!(&read, &repeated.machine, "what is counted is counted again");
                repeated.machine = read;
            }
            prop_assert_eq!(&repeated.machine.kv, &plain.machine.kv);
            prop_assert_eq!(&repeated.machine.locks, &plain.machine.locks);
            prop_assert_eq!(repeated.machine.audit.count, plain.machine.audit.count);
        }
    }
}
