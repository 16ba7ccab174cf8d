//! The last visits of agents: when each began a session here, and how far this node's commits were then.
//!
//! They stay on this node, in a file of its directory. An agent's name is a stranger's text, so a visitor is kept as
//! a hash, and the number of visitors has a bound. A lost file costs a list of changes, and nothing else.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use nexus_identity::Timestamp;
use serde::{Deserialize, Serialize};

use super::Node;
use crate::datadir::DataDir;

/// The most visitors that are kept: the latest ones.
const VISITORS_MAX: usize = 256;
/// Within this time a further visit is part of the one before: agents ask again after a restart, or for more.
const SAME_VISIT: Duration = Duration::from_secs(10 * 60);
/// The bytes of a visitor's hash.
const HASH_BYTES: usize = 12;

/// A visit: its time, and the place in the order of commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Visit {
    at_ms: u64,
    /// As [`Watch`](crate::brain::Watch) takes it.
    pub(crate) cursor: String,
}

impl Visit {
    /// Its time, by this node's clock.
    pub(crate) fn at(&self) -> Timestamp {
        Timestamp::from_ms(self.at_ms)
    }
}

/// A visitor's last two visits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Visitor {
    who: String,
    last: Visit,
    before: Option<Visit>,
}

/// All visitors, the latest first.
#[derive(Debug, Default)]
pub(super) struct Visits(Mutex<Option<Vec<Visitor>>>);

impl Node {
    /// Notes that somebody visits now, and returns the visit before. `who` is a text of any length.
    pub(crate) async fn visit(&self, who: &[&str], cursor: String) -> Option<Visit> {
        let who = hash(who);
        let node = self.clone();
        let noted = self.0.world.blocking(move || {
            let at_ms = node.0.world.wall().as_ms();
            node.0.visits.note(who, Visit { at_ms, cursor }, node.0.dir.as_ref())
        });
        noted.await.ok().flatten()
    }
}

impl Visits {
    fn note(&self, who: String, visit: Visit, dir: Option<&DataDir>) -> Option<Visit> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let visitors = known.get_or_insert_with(|| dir.map(read).unwrap_or_default());
        let (before, changed) = arrive(visitors, who, visit);
        if let (true, Some(dir)) = (changed, dir) {
            let written = serde_json::to_string(visitors).map(|text| dir.write_visits(&text));
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "the visits of agents are not kept");
            }
        }
        before
    }
}

/// The visitors in a directory. They are a convenience: an unreadable file is ignored.
fn read(dir: &DataDir) -> Vec<Visitor> {
    let mut visitors: Vec<Visitor> = dir.visits().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    visitors.truncate(VISITORS_MAX);
    visitors
}

/// Puts a visitor first. Returns its visit before, and whether anything changed.
fn arrive(visitors: &mut Vec<Visitor>, who: String, visit: Visit) -> (Option<Visit>, bool) {
    let place = visitors.iter().position(|visitor| visitor.who == who);
    let known = place.map(|place| visitors.remove(place));
    let before = match known {
        Some(known) if is_same(&known.last, &visit) => {
            let before = known.before.clone();
            visitors.insert(place.unwrap_or_default(), known);
            return (before, false);
        }
        known => known.map(|known| known.last),
    };
    visitors.insert(0, Visitor { who, last: visit, before: before.clone() });
    visitors.truncate(VISITORS_MAX);
    (before, true)
}

/// Whether a visit is part of an earlier one. A clock that was put back begins another.
fn is_same(last: &Visit, visit: &Visit) -> bool {
    visit.at_ms >= last.at_ms && visit.at() < last.at().saturating_add(SAME_VISIT)
}

fn hash(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    HEXLOWER.encode(&hasher.finalize().as_bytes()[..HASH_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64, cursor: &str) -> Visit {
        Visit { at_ms: minutes * 60_000, cursor: cursor.to_owned() }
    }

    fn comes(visitors: &mut Vec<Visitor>, who: &str, visit: Visit) -> Option<Visit> {
        arrive(visitors, hash(&[who]), visit).0
    }

    #[test]
    fn an_agent_is_told_of_its_visit_before() {
        let mut visitors = Vec::new();
        assert_eq!(comes(&mut visitors, "ide", at(100, "a")), None);
        assert_eq!(comes(&mut visitors, "other", at(101, "b")), None);
        assert_eq!(comes(&mut visitors, "ide", at(109, "c")), None, "the same visit");
        assert_eq!(comes(&mut visitors, "ide", at(110, "d")), Some(at(100, "a")));
        assert_eq!(comes(&mut visitors, "ide", at(115, "e")), Some(at(100, "a")), "asked again");
        assert_eq!(comes(&mut visitors, "ide", at(300, "f")), Some(at(110, "d")));
        assert_eq!(comes(&mut visitors, "ide", at(10, "g")), Some(at(300, "f")), "the clock was put back");
        assert_ne!(hash(&["a", "b"]), hash(&["ab", ""]));
    }

    #[test]
    fn the_latest_visitors_are_kept_and_their_file_is_bounded() {
        let mut visitors = Vec::new();
        for n in 0..1_000_u64 {
            let name = format!("{n}{}", "x".repeat(10_000));
            comes(&mut visitors, &name, at(100 * n, "0123456789abcdef-18446744073709551615-4294967295"));
        }
        assert_eq!(visitors.len(), VISITORS_MAX);
        let name = format!("999{}", "x".repeat(10_000));
        assert!(comes(&mut visitors, &name, at(1_000_000, "z")).is_some(), "it is among the latest");
        for visitor in &mut visitors {
            visitor.before = Some(visitor.last.clone());
        }
        assert!(serde_json::to_string(&visitors).unwrap().len() < 64 << 10);
    }

    #[test]
    fn visits_outlive_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let made = || DataDir::create(&dir.path().join("node"), nexus_identity::Keypair::from_seed(&[1; 32]));
        let data = made().unwrap();
        let first = Visits::default();
        assert_eq!(first.note("w".to_owned(), at(1, "a"), Some(&data)), None);
        let second = Visits::default();
        assert_eq!(second.note("w".to_owned(), at(100, "b"), Some(&data)), Some(at(1, "a")));
        data.write_visits("{ nonsense").unwrap();
        assert_eq!(Visits::default().note("w".to_owned(), at(300, "c"), Some(&data)), None);
    }
}
