use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Passed, Place, Seat, Word};

/// A program of a test, which has one document open.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    place: Place,
    seat: Seat,
    words: mpsc::Receiver<Arc<Word>>,
}

impl Listener {
    pub(in super::super) fn new(
        name: &'static str,
        place: Place,
        (mut seat, words): (Seat, mpsc::Receiver<Arc<Word>>),
    ) -> Self {
        seat.open(place);
        Self { name, place, seat, words }
    }

    /// The document's space and id.
    pub fn place(&self) -> ([u8; 32], [u8; 16]) {
        (*self.place.0.as_bytes(), *self.place.1.as_bytes())
    }

    /// Says something. Whether it was handed on.
    pub async fn say(&mut self, count: u64, data: &[u8]) -> bool {
        let (space, document) = self.place;
        let (sender, session, data) = (self.name.to_owned(), "run".to_owned(), data.to_vec());
        self.seat.say(Word { space, document, sender, session, count, data }).await == Passed::On
    }

    /// The next word: its sender, its number and its content.
    pub async fn heard(&mut self) -> Option<(String, u64, Vec<u8>)> {
        let word = self.words.recv().await?;
        Some((word.sender.clone(), word.count, word.data.clone()))
    }
}
