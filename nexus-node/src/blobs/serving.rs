//! Answers to members that want blobs.

use std::sync::atomic::Ordering::Relaxed;

use futures::FutureExt;
use nexus_blobs::{BlobHash, Part, Shape, SliceError, slice};
use nexus_identity::Did;
use nexus_mesh::Stream;
use nexus_mesh::ask;
use nexus_mesh::quota::Receiver;

use super::wire::{self, Body, Envelope, Lacks};
use super::{Blobs, stopped};
use crate::error::NodeError;

impl Blobs {
    /// Answers the members that open streams.
    pub(crate) async fn serve(self, streams: Receiver<Stream>) {
        let spawner = self.here().world.spawner().clone();
        let answer = move |peer, envelope| {
            let blobs = self.clone();
            async move { blobs.answer(peer, envelope).await }.boxed()
        };
        ask::serve(streams, "blob answer", spawner, wire::limits(), answer).await;
    }

    async fn answer(&self, peer: Did, envelope: Envelope) -> Envelope {
        // a former member may read none
        let is_member = self.here().identity.is_member(&peer);
        let answer = match envelope.body.filter(|_| is_member) {
            Some(Body::Want(want)) if want.hashes.len() <= wire::WANTED_MAX => {
                match self.sizes_of(peer, want.hashes).await {
                    Ok(has) => Body::Has(has),
                    Err(_) => Body::Lacks(Lacks::default()),
                }
            }
            Some(Body::Part(asked)) => match self.slice_of(peer, &asked.hash, Part(asked.part)).await {
                Ok(Some(bytes)) => Body::Slice(bytes),
                Ok(None) => Body::Lacks(Lacks::default()),
                Err(Unsent::Damaged) => Body::Lacks(Lacks { damaged: true }),
                Err(Unsent::Failed(error)) => {
                    tracing::warn!(peer = %peer.short(), %error, "a part of a blob could not be read");
                    Body::Lacks(Lacks::default())
                }
            },
            Some(Body::Keep(keep)) => Body::Kept(self.keep_for_other(peer, keep).await.into()),
            Some(Body::Release(release)) => Body::Kept(self.let_go(peer, release).await.into()),
            _ => Body::Lacks(Lacks::default()),
        };
        answer.into()
    }

    /// For each hash 0, or the size of the blob that is here and one; apart for whole ones and for damaged ones. A blob that
    /// the member may not have is as one that is not here.
    async fn sizes_of(&self, peer: Did, hashes: Vec<Vec<u8>>) -> Result<wire::Has, NodeError> {
        let Ok(_permit) = self.0.serving.acquire().await else { return Err(stopped()) };
        self.blocking(move |blobs| {
            let mut has = wire::Has::default();
            let named = |hash: &Vec<u8>| hash.as_slice().try_into().map(BlobHash::from_bytes).ok();
            let named: Vec<Option<BlobHash>> = hashes.iter().map(named).collect();
            let all: Vec<BlobHash> = named.iter().flatten().copied().collect();
            let may_have = (blobs.here().may_have)(&peer, &all)?;
            for hash in named {
                let hash = hash.filter(|hash| may_have.contains(hash));
                let info = hash.map(|hash| blobs.here().shelf.info(hash)).transpose()?.flatten();
                let is_damaged = info.map(|info| blobs.damage_of(info.hash)).transpose()?.flatten().is_some();
                let size = info.map_or(0, |info| info.size.saturating_add(1));
                has.sizes.push(if is_damaged { 0 } else { size });
                has.damaged.push(if is_damaged { size } else { 0 });
            }
            if has.damaged.iter().all(|size| *size == 0) {
                has.damaged.clear();
            }
            Ok(has)
        })
        .await
    }

    /// A part of a blob that is here, with its proof. A part that the disk has changed is noted, and not handed out. Once it
    /// is noted, a question for it costs no reading.
    async fn slice_of(&self, peer: Did, hash: &[u8], part: Part) -> Result<Option<Vec<u8>>, Unsent> {
        let Ok(hash) = hash.try_into().map(BlobHash::from_bytes) else { return Ok(None) };
        let Ok(_permit) = self.0.serving.acquire().await else { return Ok(None) };
        let read = move |blobs: &Self| {
            let shelf = &blobs.here().shelf;
            if (blobs.here().may_have)(&peer, &[hash])?.is_empty() {
                return Ok(Ok(None));
            }
            let Some((content, size)) = shelf.content_of(hash, blobs.here().world.wall())? else { return Ok(Ok(None)) };
            let shape = Shape::of(size);
            if !shape.has(part) {
                return Ok(Ok(None));
            }
            if blobs.damage_of(hash)?.is_some_and(|damage| damage.has(part)) {
                return Ok(Err(Unsent::Damaged));
            }
            let sent = match shelf.index_of(hash, shape)? {
                Some(index) => slice(hash, shape, part, content, index),
                None => Err(SliceError::Damaged(part)),
            };
            match sent {
                Ok(bytes) => {
                    let content = shape.bytes(part);
                    blobs.0.tally.served_bytes.fetch_add(content.end - content.start, Relaxed);
                    Ok(Ok(Some(bytes)))
                }
                Err(SliceError::NoPart(_)) => Ok(Ok(None)),
                Err(error) if blobs.note_damage(hash, size, part, &error) => Ok(Err(Unsent::Damaged)),
                Err(error) => Err(shelf.fault(error)),
            }
        };
        self.blocking(read).await.map_err(Unsent::Failed)?
    }
}

/// Why a part is not sent.
enum Unsent {
    /// The disk damaged it.
    Damaged,
    Failed(NodeError),
}
