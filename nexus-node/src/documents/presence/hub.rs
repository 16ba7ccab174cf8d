use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::word::{Place, Word};

/// The runs of programs of which the last word is known. With more of them the earliest one is forgotten, whose words may then come
/// twice.
const RUNS_MAX: usize = 4_096;

/// The number of a program on this node.
pub(super) type SeatNumber = u64;
/// A run of a program in a space, as a hash.
type Run = [u8; 32];

/// The open documents of each program.
#[derive(Debug, Default)]
pub(super) struct Hub {
    seats: BTreeMap<SeatNumber, mpsc::Sender<Arc<Word>>>,
    last: SeatNumber,
    open: BTreeMap<Place, BTreeSet<SeatNumber>>,
    /// The number of the last word of each run, and the runs in the order of their first words.
    counts: BTreeMap<Run, u64>,
    runs: VecDeque<Run>,
}

impl Hub {
    pub(super) fn enter(&mut self, words: mpsc::Sender<Arc<Word>>) -> SeatNumber {
        self.last += 1;
        self.seats.insert(self.last, words);
        self.last
    }

    pub(super) fn leave(&mut self, seat: SeatNumber, open: &BTreeSet<Place>) {
        self.seats.remove(&seat);
        open.iter().for_each(|place| self.close(seat, *place));
    }

    pub(super) fn open(&mut self, seat: SeatNumber, place: Place) {
        self.open.entry(place).or_default().insert(seat);
    }

    pub(super) fn close(&mut self, seat: SeatNumber, place: Place) {
        let Some(seats) = self.open.get_mut(&place) else { return };
        seats.remove(&seat);
        if seats.is_empty() {
            self.open.remove(&place);
        }
    }

    /// Whether a program here has a document open.
    pub(super) fn is_open(&self, place: &Place) -> bool {
        self.open.contains_key(place)
    }

    /// Notes a word. `false` if it or a later one of its run has come, as automerge-repo counts.
    pub(super) fn is_new(&mut self, word: &Word) -> bool {
        let run = run_of(word);
        match self.counts.get_mut(&run) {
            Some(count) if *count >= word.count => false,
            Some(count) => {
                *count = word.count;
                true
            }
            None => {
                self.counts.insert(run, word.count);
                self.runs.push_back(run);
                if self.runs.len() > RUNS_MAX
                    && let Some(first) = self.runs.pop_front()
                {
                    self.counts.remove(&first);
                }
                true
            }
        }
    }

    /// Hands a word to all programs that have its document open, but for the one that said it. It is dropped for one that does not
    /// read.
    pub(super) fn tell(&self, from: Option<SeatNumber>, word: &Arc<Word>) {
        let seats = self.open.get(&word.place()).into_iter().flatten().filter(|seat| Some(**seat) != from);
        for words in seats.filter_map(|seat| self.seats.get(seat)) {
            let _ = words.try_send(word.clone());
        }
    }
}

fn run_of(word: &Word) -> Run {
    let mut hasher = blake3::Hasher::new();
    hasher.update(word.space.as_bytes());
    for name in [&word.sender, &word.session] {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use nexus_crdt::SpaceId;
    use nexus_documents::DocumentId;

    use super::*;

    fn word(document: u8, session: &str, count: u64) -> Arc<Word> {
        let (space, document) = (SpaceId::from_bytes([1; 32]), DocumentId::from_bytes([document; 16]));
        let (sender, session) = ("tab".to_owned(), session.to_owned());
        Arc::new(Word { space, document, sender, session, count, data: Vec::new() })
    }

    fn all(words: &mut mpsc::Receiver<Arc<Word>>) -> Vec<u64> {
        std::iter::from_fn(|| words.try_recv().ok()).map(|word| word.count).collect()
    }

    /// promise: Documents | A word of a program reaches those that have its document open, once, and waits for nobody
    #[test]
    fn a_word_reaches_those_that_have_its_document_open() {
        let mut hub = Hub::default();
        let (sender, mut mine) = mpsc::channel(2);
        let me = hub.enter(sender);
        let (sender, mut theirs) = mpsc::channel(2);
        let other = hub.enter(sender);
        for seat in [me, other] {
            hub.open(seat, word(1, "s", 0).place());
        }
        hub.tell(Some(me), &word(1, "s", 1));
        hub.tell(Some(me), &word(2, "s", 2));
        assert_eq!((all(&mut mine), all(&mut theirs)), (vec![], vec![1]));
        (3..9).for_each(|count| hub.tell(None, &word(1, "s", count)));
        assert_eq!((all(&mut mine), all(&mut theirs)), (vec![3, 4], vec![3, 4]), "more are dropped");
        hub.close(me, word(1, "s", 0).place());
        hub.tell(None, &word(1, "s", 9));
        assert_eq!((all(&mut mine), all(&mut theirs)), (vec![], vec![9]));
        hub.leave(other, &BTreeSet::from([word(1, "s", 0).place()]));
        assert!(!hub.is_open(&word(1, "s", 0).place()) && hub.open.is_empty());
        hub.leave(me, &BTreeSet::new());
        assert!(hub.seats.is_empty());
    }

    #[test]
    fn a_word_comes_once_and_the_runs_are_bounded() {
        let mut hub = Hub::default();
        assert!(hub.is_new(&word(1, "s", 5)));
        for (word, is_new) in
            [(word(1, "s", 5), false), (word(2, "s", 4), false), (word(1, "other", 1), true), (word(1, "s", 6), true)]
        {
            assert_eq!(hub.is_new(&word), is_new, "{word:?}");
        }
        (0..2 * RUNS_MAX).for_each(|n| assert!(hub.is_new(&word(1, &n.to_string(), 0))));
        assert_eq!((hub.counts.len(), hub.runs.len()), (RUNS_MAX, RUNS_MAX));
    }
}
