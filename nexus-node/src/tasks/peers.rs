//! The questions and words of other nodes about tasks, and who answers them.

use futures::FutureExt;
use nexus_identity::Did;
use nexus_mesh::Stream;
use nexus_mesh::ask::{self, AskLimits};
use nexus_mesh::quota::Receiver;

use super::guests::Guests;
use super::here::Here;
use super::log::TaskLogs;
use super::registry::Registry;
use super::settler::Settler;
use super::wire::{Answer, Body, Envelope, Taken};

/// The parts of the room that answer other nodes.
#[derive(Clone)]
pub(super) struct Peers {
    pub(super) here: Here,
    pub(super) settler: Settler,
    pub(super) guests: Guests,
    pub(super) registry: Registry,
    pub(super) logs: TaskLogs,
}

impl Peers {
    /// Answers the peers that open streams.
    pub(super) async fn serve(self, streams: Receiver<Stream>) {
        let spawner = self.here.world.spawner().clone();
        let answer = move |peer, envelope| {
            let peers = self.clone();
            async move { peers.answer(peer, envelope).await }.boxed()
        };
        ask::serve(streams, "task answer", spawner, AskLimits::default(), answer).await;
    }

    async fn answer(&self, peer: Did, envelope: Envelope) -> Envelope {
        if let Some(Body::LogQuestion(question)) = envelope.body {
            return Body::Log(self.logs.hear_question(peer, question).await.unwrap_or_default()).into();
        }
        // a reader does no work for others, and gives none
        let is_writer = self.here.identity.may_write(&peer);
        self.settler.until_taken_up().await;
        let answer = match envelope.body.filter(|_| is_writer) {
            Some(Body::Serving(serving)) => Body::Answer(self.settler.hear_serving(peer, serving).into()),
            Some(Body::Workers(workers)) => Body::Answer(self.registry.hear_workers(peer, workers).await.into()),
            Some(Body::Offer(offer)) => match self.guests.hear_offer(peer, offer).await {
                Some(agent) => Body::Taken(Taken { agent }),
                None => Body::Answer(Answer::default()),
            },
            Some(Body::Alive(claims)) => Body::Over(self.settler.hear_alive(peer, claims)),
            Some(Body::Result(attempt)) => match self.settler.hear_result(peer, attempt).await {
                Some(answer) => Body::Answer(answer),
                // this node stops: whether it counts is not known
                None => return Envelope::default(),
            },
            _ => Body::Answer(Answer::default()),
        };
        answer.into()
    }
}
