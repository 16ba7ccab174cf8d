//! The slots: each peer has at most one open connection, and one side decides which.
//!
//! Of each pair of peers the one with the smaller DID decides, so two simultaneous connections cannot
//! both win or both lose. In hello the other side tells whether it still holds an open connection. So a
//! connection that is open on one side only gets replaced. Of two connections to one process the better one stays: a
//! direct one takes the place of one through a relay.
//!
//! Two processes may run with one identity: a copy of a directory, or a thief with the key. Neither knows of the
//! other's connections. So a peer's process counts, too: an open connection of another process has the slot for as
//! long as it lives, on both sides of the pair.

use std::collections::BTreeMap;

use nexus_identity::Did;
use nexus_identity::plants::reached;

use crate::path::ConnectionPath;
use crate::process::Process;

/// The slots of one node. Pure; `C` names connections.
#[derive(Debug)]
pub(crate) struct Slots<C> {
    slots: BTreeMap<Did, Slot<C>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot<C> {
    connection: C,
    path: ConnectionPath,
    /// The peer's process; `None` for an older node.
    process: Option<Process>,
    /// Whether the other side has opened, too.
    open: bool,
}

/// Whose an open connection is, seen from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The same process's.
    Own,
    /// That of one which has ended.
    Former,
    /// That of another one, which may live.
    Other,
}

impl<C> Slot<C> {
    fn whose(&self, process: Option<&Process>) -> Whose {
        match (&self.process, process) {
            (None, None) => Whose::Own,
            (Some(open), Some(new)) if new.is(open) => Whose::Own,
            (Some(open), Some(new)) if new.follows(open) => Whose::Former,
            _ => Whose::Other,
        }
    }
}

/// The verdict on another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision<C> {
    /// There is a connection already, or one in progress.
    Duplicate,
    /// Take the new connection, and shut this one first, if there is one.
    Take(Option<C>),
    /// Another process of the peer has this one, which stays if it lives.
    Twin(C),
}

impl<C: Copy + Eq> Slots<C> {
    pub(crate) fn new() -> Self {
        Self { slots: BTreeMap::new() }
    }

    /// Whether `me` decides for the pair.
    pub(crate) fn decides(me: &Did, peer: &Did) -> bool {
        me < peer
    }

    /// Whether a connection to `peer` is open here.
    pub(crate) fn holds(&self, peer: &Did) -> bool {
        self.slots.get(peer).is_some_and(|slot| slot.open)
    }

    /// The connection that has the slot.
    pub(crate) fn connection(&self, peer: &Did) -> Option<C> {
        self.slots.get(peer).map(|slot| slot.connection)
    }

    /// Decides about a connection to a process of the peer, on the deciding side. `peer_holds`: the peer says it
    /// holds an open one.
    ///
    /// # State transition
    /// `free → in progress(connection)`; `open(old) → in progress(connection)` if the process is the same and no
    /// longer holds one, or has taken the old one's directory. `open(old)` or `in progress(old) → in progress(connection)`
    /// if the process is the same and the new path better. All else changes nothing.
    pub(crate) fn decide(
        &mut self,
        peer: Did,
        (connection, path): (C, ConnectionPath),
        process: Option<&Process>,
        peer_holds: bool,
    ) -> Decision<C> {
        let old = match self.slots.get(&peer) {
            None => None,
            Some(slot) => match slot.whose(process) {
                Whose::Own if slot.path < path => Some(slot.connection),
                _ if !slot.open => return Decision::Duplicate,
                Whose::Other => {
                    reached("twin_of_a_member");
                    return Decision::Twin(slot.connection);
                }
                Whose::Own if peer_holds => {
                    reached("second_connection");
                    return Decision::Duplicate;
                }
                Whose::Own | Whose::Former => Some(slot.connection),
            },
        };
        self.slots.insert(peer, Slot { connection, path, process: process.cloned(), open: false });
        Decision::Take(old)
    }

    /// Notes the welcome of a process of the peer, which decides.
    ///
    /// # State transition
    /// `free → open(connection)`; `open(old) → open(connection)` if the process is the same, or has taken the old
    /// one's directory.
    pub(crate) fn welcomed(
        &mut self,
        peer: Did,
        (connection, path): (C, ConnectionPath),
        process: Option<&Process>,
    ) -> Decision<C> {
        let old = match self.slots.get(&peer) {
            Some(slot) if slot.whose(process) == Whose::Other => return Decision::Twin(slot.connection),
            taken => taken.map(|slot| slot.connection).filter(|old| *old != connection),
        };
        self.slots.insert(peer, Slot { connection, path, process: process.cloned(), open: true });
        Decision::Take(old)
    }

    /// Notes that the welcomed peer opened. False if another connection has the slot by now.
    ///
    /// # State transition
    /// `in progress(connection) → open(connection)`.
    pub(crate) fn opened(&mut self, peer: &Did, connection: C) -> bool {
        match self.slots.get_mut(peer) {
            Some(slot) if slot.connection == connection => {
                slot.open = true;
                true
            }
            _ => false,
        }
    }

    /// Notes that a connection ended or was shut.
    ///
    /// # State transition
    /// `in progress(connection)` or `open(connection) → free`; nothing for another connection.
    pub(crate) fn free(&mut self, peer: &Did, connection: C) {
        if self.connection(peer) == Some(connection) {
            self.slots.remove(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::path::ConnectionPath::{Direct, Relayed};

    fn did(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    fn process(n: u8) -> Process {
        Process::of(n, &[])
    }

    #[test]
    fn one_of_two_simultaneous_connections_is_a_duplicate() {
        let mut slots = Slots::new();
        assert_eq!(slots.decide(did(2), (1, Direct), Some(&process(1)), false), Decision::Take(None));
        assert_eq!(slots.decide(did(2), (2, Direct), Some(&process(1)), false), Decision::Duplicate);
        assert!(!slots.holds(&did(2)));
        assert!(slots.opened(&did(2), 1));
        assert!(slots.holds(&did(2)));
        assert_eq!(slots.decide(did(2), (2, Direct), Some(&process(1)), true), Decision::Duplicate);
    }

    #[test]
    fn a_connection_that_only_we_believe_in_is_replaced() {
        let mut slots = Slots::new();
        slots.decide(did(2), (1, Direct), Some(&process(1)), false);
        slots.opened(&did(2), 1);
        assert_eq!(slots.decide(did(2), (2, Direct), Some(&process(1)), false), Decision::Take(Some(1)));
        // the late end of the old connection frees nothing
        slots.free(&did(2), 1);
        assert_eq!(slots.connection(&did(2)), Some(2));
    }

    /// promise: Meeting | A second process with a member's identity takes no connection of the first one away
    #[test]
    fn a_connection_of_another_process_stays_while_it_lives() {
        let mut slots = Slots::new();
        slots.decide(did(2), (1, Direct), Some(&process(1)), false);
        assert_eq!(slots.decide(did(2), (2, Direct), Some(&process(2)), false), Decision::Duplicate, "in progress");
        slots.opened(&did(2), 1);
        let twin = process(2);
        for (other, holds) in [(Some(&twin), false), (Some(&twin), true), (None, false)] {
            assert_eq!(slots.decide(did(2), (2, Direct), other, holds), Decision::Twin(1));
            assert_eq!(slots.welcomed(did(2), (2, Direct), other), Decision::Twin(1));
        }
        assert_eq!(slots.welcomed(did(2), (3, Direct), Some(&process(1))), Decision::Take(Some(1)));
        slots.free(&did(2), 3);
        assert_eq!(slots.decide(did(2), (2, Direct), Some(&process(2)), false), Decision::Take(None));
    }

    #[test]
    fn a_process_that_has_another_ones_directory_takes_its_connection_at_once() {
        let next = Process::of(2, &[1]);
        for holds in [false, true] {
            let mut slots = Slots::new();
            slots.decide(did(2), (1, Direct), Some(&process(1)), false);
            slots.opened(&did(2), 1);
            assert_eq!(slots.decide(did(2), (2, Direct), Some(&next), holds), Decision::Take(Some(1)));
            // the former one cannot come back
            slots.opened(&did(2), 2);
            assert_eq!(slots.decide(did(2), (3, Direct), Some(&process(1)), false), Decision::Twin(2));
            assert_eq!(slots.welcomed(did(2), (3, Direct), Some(&process(1))), Decision::Twin(2));
        }
        let mut slots = Slots::new();
        slots.welcomed(did(2), (1, Direct), Some(&process(1)));
        assert_eq!(slots.welcomed(did(2), (2, Direct), Some(&next)), Decision::Take(Some(1)));
    }

    /// promise: Meeting | A direct connection takes the place of one through a relay, and never the other way round while both live
    #[test]
    fn of_two_connections_the_better_one_stays() {
        let (one, twin) = (process(1), process(2));
        let mut slots = Slots::new();
        slots.decide(did(2), (1, Relayed), Some(&one), false);
        assert_eq!(slots.decide(did(2), (2, Relayed), Some(&one), false), Decision::Duplicate, "as good as the first");
        assert_eq!(slots.decide(did(2), (3, Direct), Some(&twin), false), Decision::Duplicate, "another process");
        assert_eq!(slots.decide(did(2), (4, Direct), Some(&one), false), Decision::Take(Some(1)), "in progress");
        assert!(!slots.opened(&did(2), 1));
        assert!(slots.opened(&did(2), 4));
        assert_eq!(slots.decide(did(2), (5, Relayed), Some(&one), true), Decision::Duplicate);
        assert_eq!(
            slots.decide(did(2), (6, Relayed), Some(&one), false),
            Decision::Take(Some(4)),
            "the better one is gone"
        );
        slots.opened(&did(2), 6);
        assert_eq!(slots.decide(did(2), (7, Direct), Some(&one), true), Decision::Take(Some(6)));
        // the other side follows
        let mut slots = Slots::new();
        slots.welcomed(did(2), (1, Relayed), Some(&one));
        assert_eq!(slots.welcomed(did(2), (2, Direct), Some(&one)), Decision::Take(Some(1)));
    }

    #[test]
    fn one_side_decides() {
        assert!(Slots::<u8>::decides(&did(1), &did(2)));
        assert!(!Slots::<u8>::decides(&did(2), &did(1)));
    }

    /// A node (A) and two processes with another identity (B), a few connections, and messages in any order between
    /// connections. Once all is quiet, the two sides agree on one connection.
    #[derive(Clone, Debug)]
    enum Act {
        Dial(usize, bool),
        Deliver(prop::sample::Index),
        Close(prop::sample::Index),
        /// A process of B ends without a word, and another one begins.
        Restart(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0_usize..2, any::<bool>()).prop_map(|(of, direct)| Act::Dial(of, direct)),
            16 => any::<prop::sample::Index>().prop_map(Act::Deliver),
            2 => any::<prop::sample::Index>().prop_map(Act::Close),
            1 => (0_usize..2).prop_map(Act::Restart),
        ]
    }

    /// A message on its way on one connection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Step {
        /// "holding" is on its way to the side that decides.
        Holding(bool),
        /// Its welcome is on its way to the other.
        Welcome,
        /// "opened" is on its way back.
        Opened,
        Open,
        Closed,
        /// The process of B is gone, and A does not know it.
        Lost,
    }

    #[derive(Debug)]
    struct Line {
        /// The place of the process, and its number.
        of: usize,
        process: u8,
        path: ConnectionPath,
        step: Step,
    }

    struct Pair {
        a_decides: bool,
        a: Slots<usize>,
        b: [Slots<usize>; 2],
        processes: [u8; 2],
        lines: Vec<Line>,
    }

    impl Pair {
        fn new(a_decides: bool) -> Self {
            Self { a_decides, a: Slots::new(), b: [Slots::new(), Slots::new()], processes: [1, 2], lines: Vec::new() }
        }

        fn dial(&mut self, of: usize, path: ConnectionPath) {
            let holds = if self.a_decides { self.b[of].holds(&did(1)) } else { self.a.holds(&did(2)) };
            self.lines.push(Line { of, process: self.processes[of], path, step: Step::Holding(holds) });
        }

        fn restart(&mut self, of: usize) {
            let lost = |line: &&mut Line| line.of == of && line.step != Step::Closed;
            self.lines.iter_mut().filter(lost).for_each(|line| line.step = Step::Lost);
            self.b[of] = Slots::new();
            self.processes[of] += 2;
        }

        fn close(&mut self, line: usize) {
            self.a.free(&did(2), line);
            if self.lines[line].step != Step::Lost {
                self.b[self.lines[line].of].free(&did(1), line);
            }
            self.lines[line].step = Step::Closed;
        }

        fn deliver(&mut self, line: usize) {
            let Line { of, process: number, path, step } = self.lines[line];
            let (a, b, node) = (&mut self.a, &mut self.b[of], process(200));
            match step {
                Step::Holding(holds) => {
                    let decision = match self.a_decides {
                        true => a.decide(did(2), (line, path), Some(&process(number)), holds),
                        false => b.decide(did(1), (line, path), Some(&node), holds),
                    };
                    self.follow(line, decision, Step::Welcome);
                }
                Step::Welcome => {
                    let decision = match self.a_decides {
                        true => b.welcomed(did(1), (line, path), Some(&node)),
                        false => a.welcomed(did(2), (line, path), Some(&process(number))),
                    };
                    self.follow(line, decision, Step::Opened);
                }
                Step::Opened => {
                    let opened = if self.a_decides { a.opened(&did(2), line) } else { b.opened(&did(1), line) };
                    if opened { self.lines[line].step = Step::Open } else { self.close(line) }
                }
                Step::Open | Step::Closed | Step::Lost => {}
            }
        }

        fn follow(&mut self, line: usize, decision: Decision<usize>, next: Step) {
            match decision {
                Decision::Duplicate => self.close(line),
                Decision::Twin(old) if self.lines[old].step == Step::Lost => {
                    self.close(old);
                    self.deliver(line);
                }
                Decision::Twin(_) => self.close(line),
                Decision::Take(old) => {
                    if let Some(old) = old {
                        assert_eq!(self.lines[old].process, self.lines[line].process, "taken from a twin");
                        self.close(old);
                    }
                    self.lines[line].step = next;
                }
            }
        }
    }

    proptest! {
        /// promise: Meeting | At most one open connection a peer, also when both dial at once; chaos heals
        #[test]
        fn both_sides_agree_on_at_most_one_and_a_new_dial_heals(
            acts in prop::collection::vec(act(), 0..120), a_decides: bool
        ) {
            let mut pair = Pair::new(a_decides);
            for act in acts {
                match act {
                    Act::Dial(of, direct) => pair.dial(of, if direct { Direct } else { Relayed }),
                    Act::Restart(of) if pair.processes[of] < 100 => pair.restart(of),
                    Act::Deliver(at) if !pair.lines.is_empty() => pair.deliver(at.index(pair.lines.len())),
                    Act::Close(at) if !pair.lines.is_empty() => pair.close(at.index(pair.lines.len())),
                    _ => {}
                }
                let open = pair.lines.iter().filter(|line| line.step == Step::Open).count();
                prop_assert!(open <= 1, "{} open: {:?}", open, pair.lines);
            }
            // a hello that does not end is given up
            for line in 0..pair.lines.len() {
                if pair.lines[line].step == Step::Lost && !(pair.a.holds(&did(2)) && pair.a.connection(&did(2)) == Some(line)) {
                    pair.close(line);
                }
            }
            for of in [0, 1] {
                pair.dial(of, Direct);
                for line in (0..pair.lines.len()).chain(0..pair.lines.len()).chain(0..pair.lines.len()) {
                    pair.deliver(line);
                }
            }
            let open: Vec<usize> = (0..pair.lines.len()).filter(|n| pair.lines[*n].step == Step::Open).collect();
            prop_assert_eq!(open.len(), 1, "{:?}", pair.lines);
            prop_assert_eq!(pair.lines[open[0]].path, Direct, "{:?}", pair.lines);
            prop_assert_eq!(pair.a.connection(&did(2)), Some(open[0]));
            prop_assert_eq!(pair.b[pair.lines[open[0]].of].connection(&did(1)), Some(open[0]));
        }
    }
}
