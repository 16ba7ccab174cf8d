//! The bound of the blobs that nothing keeps.
//!
//! The longest unused go first, and only those of which others have enough copies. Nodes that ask each other at the same
//! time do not all remove theirs. Of all holders of a blob those with the highest numbers stay, and each node knows the
//! numbers of all. This is rendezvous hashing (Thaler and Ravishankar, 1998).

use std::collections::BTreeSet;
use std::time::Duration;

use nexus_blobs::BlobHash;
use nexus_identity::Did;

use super::Blobs;
use super::collecting::{Collected, Kept, Unit};
use crate::error::NodeError;

/// The holders of a blob that do not remove it to make room.
const COPIES_MIN: usize = 2;
/// The time after a fetch in which further ones may come.
const EVICT_AFTER: Duration = Duration::from_secs(30);

impl Blobs {
    /// Makes room until the blobs that nothing keeps have at most so many bytes. The longest unused go first. A blob stays
    /// if fewer than two others that rank before this node say that they have it.
    ///
    /// # Errors
    /// Those of the disk; [`NodeError::Stopping`].
    pub async fn evict(&self, bytes_max: u64) -> Result<Collected, NodeError> {
        let mut units = self.blocking(|blobs| blobs.units()).await?;
        units.sort_by_key(|unit| (unit.used, unit.root));
        let mut bytes: u64 = units.iter().map(Unit::bytes).sum();
        let (mut gone, mut kept) = (Collected::default(), Kept::default());
        for unit in units {
            if bytes <= bytes_max {
                break;
            }
            let hashes: Vec<BlobHash> = unit.blobs.iter().map(|info| info.hash).collect();
            let holders = self.holders(&hashes).await;
            let own = self.here().identity.me();
            let is_spare = hashes.iter().all(|hash| {
                let others = holders.get(hash).into_iter().flatten().map(|(did, _)| *did);
                is_spare(own, *hash, others)
            });
            if !is_spare {
                continue;
            }
            bytes = bytes.saturating_sub(unit.bytes());
            let remove = move |blobs: &Blobs| Ok((blobs.remove_unit(&unit, &mut kept)?, kept));
            let (removed, known) = self.blocking(remove).await?;
            gone.extend(removed);
            kept = known;
        }
        Ok(gone)
    }

    /// Makes room some time after each fetch, until the node ends.
    pub(crate) async fn keep_bound(self, bytes_max: u64) {
        // it closes with the engine
        let mut members = self.here().identity.follow();
        let ended = async { while members.changed().await.is_ok() {} };
        tokio::select! {
            () = ended => {}
            () = self.make_room(bytes_max) => {}
        }
    }

    async fn make_room(&self, bytes_max: u64) {
        loop {
            self.0.fetched.notified().await;
            let world = &self.here().world;
            world.sleep_until(world.now() + EVICT_AFTER).await;
            match self.evict(bytes_max).await {
                Ok(gone) if gone.blobs > 0 => {
                    tracing::info!(blobs = gone.blobs, bytes = gone.bytes, "made room: others have these blobs");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "no room was made among the blobs that nothing keeps"),
            }
        }
    }
}

/// Whether enough other holders rank before this node.
fn is_spare(own: Did, hash: BlobHash, others: impl Iterator<Item = Did>) -> bool {
    let mine = rank(own, hash);
    let before: BTreeSet<Did> = others.filter(|other| *other != own && rank(*other, hash) > mine).collect();
    before.len() >= COPIES_MIN
}

/// The place of a node among the holders of a blob: a number that nobody chooses.
pub(super) fn rank(node: Did, hash: BlobHash) -> ([u8; 32], Did) {
    let bytes = [hash.as_bytes().as_slice(), node.to_string().as_bytes()].concat();
    (*BlobHash::of(&bytes).as_bytes(), node)
}

#[cfg(test)]
mod tests {
    use nexus_identity::Keypair;
    use proptest::prelude::*;

    use super::*;

    fn node(n: u8) -> Did {
        Keypair::from_seed(&[n; 32]).did()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// promise: Blobs | However many nodes make room at a time, whomever each of them can ask, two copies of a blob stay
        #[test]
        fn two_copies_stay(holders in prop::collection::btree_set(any::<u8>(), 1..9), views in any::<[u16; 9]>(), content in any::<u64>()) {
            let hash = BlobHash::of(&content.to_le_bytes());
            let holders: Vec<Did> = holders.into_iter().map(node).collect();
            let sees = |view: u16, other: usize| view & 1 << other != 0;
            let stays = holders.iter().zip(views).filter(|(own, view)| {
                let others = holders.iter().enumerate().filter(|(at, _)| sees(*view, *at)).map(|(_, did)| *did);
                !is_spare(**own, hash, others)
            });
            prop_assert!(stays.count() >= holders.len().min(COPIES_MIN));
            // with everybody in sight no more stay than that
            let all = holders.iter().filter(|own| !is_spare(**own, hash, holders.iter().copied()));
            prop_assert_eq!(all.count(), holders.len().min(COPIES_MIN));
        }
    }
}
