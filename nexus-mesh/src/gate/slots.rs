//! The slots: each peer has at most one open connection, and one side decides which.
//!
//! Of each pair of peers the one with the smaller DID decides, so two simultaneous connections cannot
//! both win or both lose. In hello the other side tells whether it still holds an open connection. So a
//! connection that is open on one side only gets replaced.

use std::collections::BTreeMap;

use nexus_identity::Did;

/// The slots of one node. Pure; `C` names connections.
#[derive(Debug)]
pub(crate) struct Slots<C> {
    slots: BTreeMap<Did, Slot<C>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot<C> {
    connection: C,
    /// Whether the other side has opened, too.
    open: bool,
}

/// The deciding side's verdict on another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision<C> {
    /// There is a connection already, or one in progress.
    Duplicate,
    /// Take the new connection, and shut this one first, if there is one.
    Take(Option<C>),
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

    /// Decides about a connection, on the deciding side. `peer_holds`: the peer says it holds an open one.
    ///
    /// # State transition
    /// `free → in progress(connection)`; `open(old) → in progress(connection)` if the peer no
    /// longer holds one; all else is a duplicate and changes nothing.
    pub(crate) fn decide(&mut self, peer: Did, connection: C, peer_holds: bool) -> Decision<C> {
        match self.slots.get(&peer) {
            Some(slot) if !slot.open || peer_holds => Decision::Duplicate,
            taken => {
                let old = taken.map(|slot| slot.connection);
                self.slots.insert(peer, Slot { connection, open: false });
                Decision::Take(old)
            }
        }
    }

    /// Notes the welcome of the peer, which decides. Returns the connection to shut first, if there is one.
    ///
    /// # State transition
    /// `any → open(connection)`.
    pub(crate) fn welcomed(&mut self, peer: Did, connection: C) -> Option<C> {
        let old = self.slots.insert(peer, Slot { connection, open: true });
        old.map(|slot| slot.connection).filter(|old| *old != connection)
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
    use super::*;
    use proptest::prelude::*;

    fn did(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    #[test]
    fn one_of_two_simultaneous_connections_is_a_duplicate() {
        let mut slots = Slots::new();
        assert_eq!(slots.decide(did(2), 1, false), Decision::Take(None));
        assert_eq!(slots.decide(did(2), 2, false), Decision::Duplicate);
        assert!(!slots.holds(&did(2)));
        assert!(slots.opened(&did(2), 1));
        assert!(slots.holds(&did(2)));
        assert_eq!(slots.decide(did(2), 2, true), Decision::Duplicate);
    }

    #[test]
    fn a_connection_that_only_we_believe_in_is_replaced() {
        let mut slots = Slots::new();
        slots.decide(did(2), 1, false);
        slots.opened(&did(2), 1);
        assert_eq!(slots.decide(did(2), 2, false), Decision::Take(Some(1)));
        // the late end of the old connection frees nothing
        slots.free(&did(2), 1);
        assert_eq!(slots.connection(&did(2)), Some(2));
    }

    #[test]
    fn one_side_decides() {
        assert!(Slots::<u8>::decides(&did(1), &did(2)));
        assert!(!Slots::<u8>::decides(&did(2), &did(1)));
    }

    /// A pair of nodes, a few connections, and messages in any order between connections. Once all is
    /// quiet, the two sides agree on one connection or none.
    #[derive(Clone, Debug)]
    enum Act {
        Dial,
        Deliver(prop::sample::Index),
        Close(prop::sample::Index),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            2 => Just(Act::Dial),
            8 => any::<prop::sample::Index>().prop_map(Act::Deliver),
            1 => any::<prop::sample::Index>().prop_map(Act::Close),
        ]
    }

    /// A message on its way on one connection, between the decider (A) and the other (B).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Step {
        /// B's "holding" is on its way to A.
        Holding(bool),
        /// A's welcome is on its way to B.
        Welcome,
        /// B's "opened" is on its way to A.
        Opened,
        Open,
        Closed,
    }

    struct Pair {
        a: Slots<usize>,
        b: Slots<usize>,
        steps: Vec<Step>,
    }

    impl Pair {
        fn close(&mut self, connection: usize) {
            self.a.free(&did(2), connection);
            self.b.free(&did(1), connection);
            self.steps[connection] = Step::Closed;
        }

        fn deliver(&mut self, connection: usize) {
            self.steps[connection] = match self.steps[connection] {
                Step::Holding(holding) => match self.a.decide(did(2), connection, holding) {
                    Decision::Duplicate => return self.close(connection),
                    Decision::Take(old) => {
                        if let Some(old) = old {
                            self.close(old);
                        }
                        Step::Welcome
                    }
                },
                Step::Welcome => {
                    if let Some(old) = self.b.welcomed(did(1), connection) {
                        self.close(old);
                    }
                    Step::Opened
                }
                Step::Opened if self.a.opened(&did(2), connection) => Step::Open,
                Step::Opened => return self.close(connection),
                done => done,
            };
        }
    }

    proptest! {
        /// promise: Meeting | At most one open connection a peer, also when both dial at once; chaos heals
        #[test]
        fn both_sides_agree_on_at_most_one_and_a_new_dial_heals(acts in prop::collection::vec(act(), 0..120)) {
            let mut pair = Pair { a: Slots::new(), b: Slots::new(), steps: Vec::new() };
            for act in acts.into_iter().chain([Act::Dial]) {
                match act {
                    Act::Dial => pair.steps.push(Step::Holding(pair.b.holds(&did(1)))),
                    Act::Deliver(at) if !pair.steps.is_empty() => pair.deliver(at.index(pair.steps.len())),
                    Act::Close(at) if !pair.steps.is_empty() => pair.close(at.index(pair.steps.len())),
                    _ => {}
                }
                let open = pair.steps.iter().filter(|step| **step == Step::Open).count();
                prop_assert!(open <= 1, "{} open: {:?}", open, pair.steps);
            }
            for connection in (0..pair.steps.len()).chain(0..pair.steps.len()).chain(0..pair.steps.len()) {
                pair.deliver(connection);
            }
            let open: Vec<usize> = (0..pair.steps.len()).filter(|c| pair.steps[*c] == Step::Open).collect();
            prop_assert_eq!(open.len(), 1, "{:?}", pair.steps);
            prop_assert_eq!(pair.a.connection(&did(2)), Some(open[0]));
            prop_assert_eq!(pair.b.connection(&did(1)), Some(open[0]));
        }
    }
}
