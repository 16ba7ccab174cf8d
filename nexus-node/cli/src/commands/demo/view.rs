//! The demo's screen as plain data: [`Event`]s change a [`View`], and [`draw`](super::draw::draw) shows
//! it. It knows neither nodes nor clocks: the time comes with each event.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::report::StepReport;

/// The time that an entry travels on the screen.
const TRAVEL: Duration = Duration::from_millis(800);
/// The time that a node shines after an arrival.
const SHINE: Duration = Duration::from_millis(400);
/// The time until links are up to date. Arrivals are drawn as much later.
const SETTLE: Duration = Duration::from_millis(300);
/// The most pulses at once; further ones are not drawn.
const PULSES_MAX: usize = 64;

/// An event for the screen.
#[derive(Debug)]
pub(super) enum Event {
    /// A step is about to begin.
    Begins { step: &'static str, does: &'static str },
    /// A step has ended.
    Ended(StepReport),
    /// Every step held: from now on keys act.
    Free,
    /// A node's process is started.
    Starts { node: String },
    /// It answers, on this port.
    Answers { node: String, port: u16 },
    /// A node's process has ended.
    Ends { node: String },
    /// A node's state from outside.
    Looks { node: String, look: Look },
    /// An entry of one node has arrived at another; or at its author, when it was written.
    Arrives { author: String, node: String },
    /// A node beside the others: of another mesh, or lost.
    Outsider(&'static str, Outsider),
    /// The effect of a key.
    Says(Result<String, String>),
}

/// A node's report of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    pub(super) offline: bool,
    /// Its place among the coordinators.
    pub(super) seat: Option<&'static str>,
    pub(super) memories: usize,
    /// The latest memory, or the values of one in conflict.
    pub(super) newest: Vec<String>,
    /// The members that it is connected with, or knows to lack entries.
    pub(super) peers: BTreeMap<String, Peer>,
}

/// A member in another one's view.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Peer {
    /// Whether there is a connection with it.
    pub(super) connected: bool,
    pub(super) rtt_ms: Option<f64>,
    /// The number of entries that it lacks.
    pub(super) behind: u64,
}

/// The state of a node beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outsider {
    Joined,
    Stolen,
    Dials,
    TurnedAway,
}

/// A node on the map.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) port: Option<u16>,
    pub(super) state: NodeState,
    pub(super) look: Look,
    arrived: Option<Duration>,
}

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeState {
    /// It was never started.
    Absent,
    Starting,
    Up,
    Offline,
    Dead,
}

/// A step in the list.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) step: &'static str,
    pub(super) does: &'static str,
    pub(super) outcome: Option<StepReport>,
}

/// The connection of two nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Link<'a> {
    /// There was never a connection.
    None,
    Up {
        rtt_ms: Option<f64>,
    },
    /// There was never a connection, but both are connected with this node.
    Via(&'a str),
    /// Cut, with the number of entries by which one side is behind.
    Cut {
        behind: u64,
    },
}

#[derive(Debug)]
struct Pulse {
    from: String,
    to: String,
    since: Duration,
}

/// Everything on the screen.
#[derive(Debug)]
pub(super) struct View {
    /// Time since the demo began.
    pub(super) now: Duration,
    pub(super) nodes: Vec<Node>,
    pub(super) rows: Vec<Row>,
    /// The names of all steps.
    pub(super) steps: Vec<&'static str>,
    pub(super) outsider: Option<(&'static str, Outsider)>,
    /// Whether all steps are over, and held.
    pub(super) free: bool,
    /// The node that keys act on.
    pub(super) chosen: usize,
    pub(super) said: Option<Result<String, String>>,
    /// The command that calls this program, for lines to paste.
    pub(super) program: String,
    /// Whether there are colours.
    pub(super) colour: bool,
    /// The pairs of nodes that were ever connected.
    met: BTreeSet<(String, String)>,
    /// Arrivals that are still to be drawn.
    arrived: Vec<Pulse>,
    pulses: Vec<Pulse>,
}

impl View {
    pub(super) fn new(names: &[String], steps: Vec<&'static str>, program: &str, colour: bool) -> Self {
        let node = |name: &String| Node {
            name: name.clone(),
            port: None,
            state: NodeState::Absent,
            look: Look::default(),
            arrived: None,
        };
        Self {
            now: Duration::ZERO,
            nodes: names.iter().map(node).collect(),
            rows: Vec::new(),
            steps,
            outsider: None,
            free: false,
            chosen: 1,
            said: None,
            program: program.to_owned(),
            colour,
            met: BTreeSet::new(),
            arrived: Vec::new(),
            pulses: Vec::new(),
        }
    }

    /// Applies an event at this time. Time never goes back.
    pub(super) fn on(&mut self, now: Duration, event: Event) {
        self.tick(now);
        match event {
            Event::Begins { step, does } => self.rows.push(Row { step, does, outcome: None }),
            Event::Ended(outcome) => {
                if let Some(row) = self.rows.iter_mut().rev().find(|row| row.step == outcome.step) {
                    row.outcome = Some(outcome);
                }
            }
            Event::Free => self.free = true,
            Event::Starts { node } => self.change(&node, |node| {
                node.state = NodeState::Starting;
                node.look.peers.clear();
            }),
            Event::Answers { node, port } => self.change(&node, |node| node.port = Some(port)),
            Event::Ends { node } => self.change(&node, |node| {
                node.state = NodeState::Dead;
                node.look.peers.clear();
            }),
            Event::Looks { node, look } => {
                for (peer, _) in look.peers.iter().filter(|(_, peer)| peer.connected) {
                    self.met.insert(pair(&node, peer));
                }
                self.change(&node, |node| {
                    // The report of a process that has ended meanwhile is late.
                    if node.state != NodeState::Dead {
                        node.state = if look.offline { NodeState::Offline } else { NodeState::Up };
                        node.look = look;
                    }
                });
            }
            Event::Arrives { author, node } => {
                if author == node {
                    self.change(&node, |node| node.arrived = Some(now));
                } else if self.arrived.len() + self.pulses.len() < PULSES_MAX {
                    self.arrived.push(Pulse { from: author, to: node, since: now + SETTLE });
                }
            }
            Event::Outsider(name, state) => self.outsider = Some((name, state)),
            Event::Says(said) => self.said = Some(said),
        }
    }

    /// Moves the time on.
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now;
        let (due, waiting) = split(std::mem::take(&mut self.arrived), |pulse| now >= pulse.since);
        self.arrived = waiting;
        for pulse in due {
            match self.relay(&pulse.from, &pulse.to).map(str::to_owned) {
                Some(relay) => {
                    self.pulses.push(Pulse { from: pulse.from, to: relay.clone(), since: pulse.since });
                    self.pulses.push(Pulse { from: relay, to: pulse.to, since: pulse.since + TRAVEL });
                }
                None => self.pulses.push(pulse),
            }
        }
        let (there, under_way) = split(std::mem::take(&mut self.pulses), |pulse| now >= pulse.since + TRAVEL);
        self.pulses = under_way;
        for pulse in there {
            self.change(&pulse.to, |node| node.arrived = Some(pulse.since + TRAVEL));
        }
    }

    /// The node through which two others exchange entries, if they are not connected.
    fn relay(&self, one: &str, other: &str) -> Option<&str> {
        let node = |name: &str| self.nodes.iter().find(|node| node.name == name);
        match self.link(node(one)?, node(other)?) {
            Link::Via(relay) => Some(relay),
            _ => None,
        }
    }

    /// Whether something on the screen moves.
    pub(super) fn moves(&self) -> bool {
        !self.free
            || !self.pulses.is_empty()
            || !self.arrived.is_empty()
            || self.nodes.iter().any(|node| self.shines(node))
    }

    /// Makes the keys act on the next node.
    pub(super) fn choose_next(&mut self) {
        self.chosen = (self.chosen + 1) % self.nodes.len().max(1);
    }

    /// The current or last step.
    pub(super) fn current(&self) -> Option<&Row> {
        self.rows.last()
    }

    /// Whether a step failed.
    pub(super) fn failed(&self) -> bool {
        self.rows.iter().any(|row| row.outcome.as_ref().is_some_and(|outcome| !outcome.ok))
    }

    /// Whether an entry has just been written here, or has arrived.
    pub(super) fn shines(&self, node: &Node) -> bool {
        node.arrived.is_some_and(|at| self.now.saturating_sub(at) < SHINE)
    }

    /// The places of entries between two nodes: 0 at the start, 1 at the end.
    pub(super) fn pulses(&self, from: &str, to: &str) -> impl Iterator<Item = f64> {
        let under_way =
            self.pulses.iter().filter(move |pulse| pulse.from == from && pulse.to == to && pulse.since <= self.now);
        under_way.map(|pulse| self.now.saturating_sub(pulse.since).as_secs_f64() / TRAVEL.as_secs_f64())
    }

    /// The connection of two nodes, in either one's view.
    pub(super) fn link(&self, one: &Node, other: &Node) -> Link<'_> {
        let live = |state| matches!(state, NodeState::Up | NodeState::Offline | NodeState::Dead);
        if !live(one.state) || !live(other.state) {
            return Link::None;
        }
        if !self.met.contains(&pair(&one.name, &other.name)) {
            let joins = |relay: &&Node| connected(relay, one) && connected(relay, other);
            return self.nodes.iter().find(joins).map_or(Link::None, |relay| Link::Via(&relay.name));
        }
        let sights = sights(one, other);
        if connected(one, other) {
            Link::Up { rtt_ms: sights.iter().find_map(|peer| peer.rtt_ms) }
        } else {
            Link::Cut { behind: sights.iter().map(|peer| peer.behind).max().unwrap_or(0) }
        }
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        // Other nodes, such as a stranger, are not on the map.
        if let Some(node) = self.nodes.iter_mut().find(|node| node.name == name) {
            change(node);
        }
    }
}

fn connected(one: &Node, other: &Node) -> bool {
    [one.state, other.state] == [NodeState::Up, NodeState::Up] && sights(one, other).iter().any(|peer| peer.connected)
}

/// The views that two nodes have of each other.
fn sights<'a>(one: &'a Node, other: &'a Node) -> Vec<&'a Peer> {
    [one.look.peers.get(&other.name), other.look.peers.get(&one.name)].into_iter().flatten().collect()
}

fn pair(one: &str, other: &str) -> (String, String) {
    (one.min(other).to_owned(), one.max(other).to_owned())
}

fn split(pulses: Vec<Pulse>, first: impl Fn(&Pulse) -> bool) -> (Vec<Pulse>, Vec<Pulse>) {
    pulses.into_iter().partition(first)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const STEPS: [&str; 13] = [
        "start", "join", "elect", "share", "write", "cut", "apart", "refuse", "heal", "agree", "settle", "kill",
        "stranger",
    ];

    pub(in super::super) fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    pub(in super::super) fn three() -> View {
        let names = ["terminal", "ide", "cloud"].map(str::to_owned);
        View::new(&names, STEPS.to_vec(), "nexus-node", false)
    }

    pub(in super::super) fn look(memories: usize, newest: &[&str], peers: &[(&str, bool, u64)]) -> Look {
        let peer = |&(name, connected, behind): &(&str, bool, u64)| {
            (name.to_owned(), Peer { connected, rtt_ms: connected.then_some(0.42), behind })
        };
        Look {
            offline: false,
            seat: None,
            memories,
            newest: newest.iter().map(|&text| text.to_owned()).collect(),
            peers: peers.iter().map(peer).collect(),
        }
    }

    pub(in super::super) fn up(view: &mut View, now: u64, node: &str, look: Look) {
        view.on(at(now), Event::Starts { node: node.to_owned() });
        view.on(at(now), Event::Answers { node: node.to_owned(), port: 8002 });
        view.on(at(now), Event::Looks { node: node.to_owned(), look });
    }

    fn arrives(view: &mut View, now: u64, author: &str, node: &str) {
        view.on(at(now), Event::Arrives { author: author.to_owned(), node: node.to_owned() });
    }

    #[test]
    fn a_link_is_what_either_side_says() {
        let mut view = three();
        assert_eq!(view.link(&view.nodes[0], &view.nodes[1]), Link::None);
        up(&mut view, 1, "terminal", look(1, &[], &[("ide", true, 0)]));
        up(&mut view, 1, "ide", look(1, &[], &[]));
        assert_eq!(view.link(&view.nodes[0], &view.nodes[1]), Link::Up { rtt_ms: Some(0.42) });
        let mut cut = look(2, &[], &[("terminal", false, 0)]);
        cut.offline = true;
        view.on(at(2), Event::Looks { node: "ide".to_owned(), look: cut });
        view.on(at(2), Event::Looks { node: "terminal".to_owned(), look: look(3, &[], &[("ide", false, 2)]) });
        assert_eq!(view.link(&view.nodes[0], &view.nodes[1]), Link::Cut { behind: 2 });
    }

    #[test]
    fn what_travels_arrives_and_makes_the_node_shine() {
        let mut view = three();
        arrives(&mut view, 0, "terminal", "ide");
        view.tick(at(200));
        assert_eq!(view.pulses("terminal", "ide").count(), 0, "links may still change");
        view.tick(at(700));
        assert_eq!(view.pulses("terminal", "ide").collect::<Vec<_>>(), [0.5]);
        assert_eq!(view.pulses("ide", "terminal").count(), 0);
        view.tick(at(1_200));
        assert_eq!(view.pulses("terminal", "ide").count(), 0);
        assert!(view.shines(&view.nodes[1]) && !view.shines(&view.nodes[0]) && view.moves());
        view.tick(at(5_000));
        assert!(!view.shines(&view.nodes[1]));
    }

    #[test]
    fn nodes_that_never_met_exchange_through_another() {
        let mut view = three();
        up(&mut view, 1, "terminal", look(1, &[], &[("ide", true, 0), ("cloud", true, 0)]));
        up(&mut view, 1, "ide", look(1, &[], &[("terminal", true, 0), ("cloud", false, 7)]));
        up(&mut view, 1, "cloud", look(1, &[], &[("terminal", true, 0), ("ide", false, 7)]));
        assert_eq!(view.link(&view.nodes[1], &view.nodes[2]), Link::Via("terminal"));
        arrives(&mut view, 1, "ide", "cloud");
        view.tick(at(701));
        assert_eq!((view.pulses("ide", "terminal").count(), view.pulses("terminal", "cloud").count()), (1, 0));
        view.tick(at(1_501));
        assert_eq!((view.pulses("ide", "terminal").count(), view.pulses("terminal", "cloud").count()), (0, 1));
    }

    #[test]
    fn a_late_look_does_not_revive_a_dead_node() {
        let mut view = three();
        up(&mut view, 1, "cloud", look(1, &[], &[]));
        view.on(at(2), Event::Ends { node: "cloud".to_owned() });
        view.on(at(3), Event::Looks { node: "cloud".to_owned(), look: look(1, &[], &[]) });
        assert_eq!(view.nodes[2].state, NodeState::Dead);
    }

    #[test]
    fn there_is_a_limit_to_what_is_drawn_at_once() {
        let mut view = three();
        for _ in 0..1000 {
            arrives(&mut view, 0, "terminal", "ide");
        }
        view.tick(at(400));
        assert_eq!(view.pulses("terminal", "ide").count(), PULSES_MAX);
    }
}
