//! Reading critical state: at the leader, after it has proven that it leads, or from this node's copy.

use std::sync::PoisonError;
use std::time::Duration;

use nexus_identity::Did;
use tokio::time::Instant;

use super::command::Group;
use super::format::encode;
use super::group::{NotDone, Running};
use super::propose::Reply;
use super::query::{Answer, Query};
use super::wire::{Body, Bytes, Reason};
use super::{AGAIN, ANSWER_WITHIN, Coordinator};
use crate::NodeError;

impl Coordinator {
    /// Answers as of some moment between the question and the answer.
    ///
    /// # Errors
    /// [`NodeError::NoQuorum`] if no leader could prove itself in time.
    pub(crate) async fn read(&self, query: &Query) -> Result<Answer, NodeError> {
        let until = Instant::now() + ANSWER_WITHIN;
        let mut hint = None;
        loop {
            if let Some(leader) = hint.take().or_else(|| self.leader()) {
                let read = async {
                    tokio::select! {
                        read = self.read_at(leader, query) => read,
                        next = self.another_leads(leader) => Attempt::Elsewhere(Some(next)),
                    }
                };
                match tokio::time::timeout_at(until, read).await.unwrap_or(Attempt::Nothing) {
                    Attempt::Done(answer) => return Ok(answer),
                    Attempt::Elsewhere(Some(next)) if next != leader && self.may_lead(&next) => {
                        hint = Some(next);
                        continue;
                    }
                    Attempt::Elsewhere(_) | Attempt::Nothing => {}
                }
            }
            if Instant::now() >= until {
                return Err(self.no_quorum());
            }
            let _ = tokio::time::timeout_at(until, self.look_around()).await;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Answers from this node's copy, with its age; `None` if it has none.
    pub(crate) fn read_local(&self, query: &Query) -> Option<(Answer, Option<Duration>)> {
        let running = self.running()?;
        Some((self.look(&running, query), running.contact()))
    }

    /// Answers from the state applied here.
    pub(super) fn look(&self, running: &Running, query: &Query) -> Answer {
        let state = running.applied.read();
        state.answer(state.index(), query)
    }

    async fn read_at(&self, leader: Did, query: &Query) -> Attempt {
        let Some((group, _)) = self.where_it_stands() else { return Attempt::Nothing };
        if leader == self.identity.me() {
            let Some(running) = self.running() else { return Attempt::Nothing };
            return match running.prove().await {
                Ok(()) => Attempt::Done(self.look(&running, query)),
                Err(NotDone::NotLeader(leader)) => Attempt::Elsewhere(leader.map(|leader| leader.did)),
                Err(NotDone::NoQuorum | NotDone::TooLarge(_) | NotDone::Stopping | NotDone::Unknown(_)) => {
                    Attempt::Nothing
                }
            };
        }
        match self.ask(leader, group, Body::Query(Bytes { bytes: encode(query) })).await {
            Ok(Reply { format, body: Body::Answer(answer) }) => {
                let Ok(answer) = Answer::decode(format, &answer.bytes) else { return Attempt::Nothing };
                self.learn_format(group, answer.raised);
                Attempt::Done(answer)
            }
            Ok(Reply { body: Body::Refused(refused), .. }) if refused.reason() == Reason::NotLeader => {
                Attempt::Elsewhere(borsh::from_slice(&refused.leader).ok())
            }
            Ok(_) | Err(_) => Attempt::Nothing,
        }
    }
}

impl Coordinator {
    /// Takes the format that a proven leader reports.
    fn learn_format(&self, group: Group, format: u16) {
        let format = format.min(self.formats.max);
        *self.exact.lock().unwrap_or_else(PoisonError::into_inner) = Some((group, format));
        self.formats.raised.send_if_modified(|raised| {
            let higher = format > *raised;
            *raised = format.max(*raised);
            higher
        });
    }
}

/// The result of one try.
enum Attempt {
    Done(Answer),
    Elsewhere(Option<Did>),
    Nothing,
}
