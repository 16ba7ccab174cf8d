use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use nexus_crdt::SpaceId;
use nexus_documents::DocumentId;

use crate::brain::Brain;
use crate::error::NodeError;
use crate::ledger::rows::Eno;
use crate::ledger::{each_touched, last_eno};

/// The most entries that are looked at one by one. After more of them every document may have changed.
const ENTRIES_MAX: Eno = 10_000;
/// The most entries before the first one that was asked for, in an answer to another socket.
const EARLIER_MAX: Eno = 64;

/// The documents that entries were about.
#[derive(Debug)]
pub(crate) enum TouchedDocuments {
    /// These.
    Some(BTreeSet<(SpaceId, DocumentId)>),
    /// There are many entries: any.
    All,
}

/// The last answer to the question which documents entries were about, for all sockets.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched(Arc<tokio::sync::Mutex<Option<TouchedAnswer>>>);

impl Touched {
    /// The documents of entries after one, and the last entry. Sockets that ask for the same get the same answer, which is read once.
    /// It may have documents of earlier entries, too.
    pub(super) async fn since(
        &self,
        brain: &Brain,
        committed: Eno,
        after: Eno,
    ) -> Result<(Arc<TouchedDocuments>, Eno), NodeError> {
        // those who come meanwhile wait for this answer
        let mut last_answer = self.0.lock().await;
        if let Some(answer) = last_answer.as_ref().and_then(|answer| answer.fits(after, committed)) {
            return Ok(answer);
        }
        let touched = brain.reading(move |brain| {
            let view = brain.snapshot()?;
            let last = last_eno(&view)?;
            if last.saturating_sub(after) > ENTRIES_MAX {
                return Ok((TouchedDocuments::All, last));
            }
            let mut places = BTreeSet::new();
            each_touched(&view, (after, last), &mut |place| {
                places.insert((place.space, DocumentId::from_bytes(place.document)));
                ControlFlow::Continue(())
            })?;
            Ok((TouchedDocuments::Some(places), last))
        });
        let (touched, last) = touched.await?;
        let touched = Arc::new(touched);
        *last_answer = Some(TouchedAnswer { after, last, touched: touched.clone() });
        Ok((touched, last))
    }
}

/// The documents of the entries after one, up to another.
#[derive(Debug)]
struct TouchedAnswer {
    after: Eno,
    last: Eno,
    touched: Arc<TouchedDocuments>,
}

impl TouchedAnswer {
    /// The answer to the same question, if it has all that is committed since then, and not much more.
    fn fits(&self, after: Eno, committed: Eno) -> Option<(Arc<TouchedDocuments>, Eno)> {
        let is_near = self.after <= after && after - self.after <= EARLIER_MAX;
        (is_near && self.last >= committed).then(|| (self.touched.clone(), self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Documents | Sockets that follow the log together read its news once
    #[test]
    fn an_answer_is_that_of_all_who_ask_for_the_same() {
        let answer = TouchedAnswer { after: 100, last: 110, touched: Arc::new(TouchedDocuments::All) };
        let fits = |after, committed| answer.fits(after, committed).map(|(_, last)| last);
        assert_eq!(fits(100, 110), Some(110));
        assert_eq!(fits(105, 107), Some(110), "it has more, and nobody misses anything");
        assert_eq!((fits(99, 110), fits(100, 111)), (None, None), "it lacks something");
        assert_eq!((fits(164, 110), fits(165, 110)), (Some(110), None), "documents of long ago are not told again");
    }
}
