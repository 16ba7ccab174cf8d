use std::sync::PoisonError;
use std::time::Duration;

use nexus_crdt::Succession;
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Timestamp};
use nexus_mesh::{JoinError, JoinRefusal, JoinReply, JoinRequest, Mesh, Multiaddr, PeerState, SystemClock};

use super::join::{Transfer, as_newcomer};
use super::{Inner, Node, Stopped};
use crate::datadir::DataDir;
use crate::engine::{Command, Engine, Outcome, Rotation, rotation_allowed};
use crate::error::{AccessError, AdminDuty, ContactError, NodeError};
use crate::ledger::rows::meta;
use crate::ledger::{self, LedgerError};
use crate::runtime::known_peers;
use crate::store::{Batch, Store, Table};

/// A node that has another key now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotatedKey {
    /// The node, by its new key.
    pub did: Did,
    /// The node until now.
    pub former: Did,
}

/// The longest wait for an admin's node to be up.
const MEET_WITHIN: Duration = Duration::from_secs(4);
/// The time in which an admin's node is asked again while it is not known what became of the request.
const ASK_WITHIN: Duration = Duration::from_secs(20);
/// The pause before the admins' nodes are asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The longest wait of a start that finishes an interrupted change of the key.
const RESUME_WITHIN: Duration = Duration::from_secs(10);

/// The word of a person on an admin's node for another new key of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationAllowed {
    /// The member, by its key of now.
    pub did: Did,
    /// Its name.
    pub name: String,
    /// The end of the word.
    pub until: Timestamp,
}

/// The time for which the word of a person for another new key holds.
const ALLOWED_FOR: Duration = Duration::from_secs(24 * 3_600);

impl Node {
    /// Lets the next new key of a member through at this node, although its last one is younger than a day. The word
    /// holds for a day, over restarts, and for one new key.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if this node is no admin's, or for this node's own key, which another admin's node admits;
    /// [`NodeError::NotFound`] if there is no such member.
    pub async fn allow_rotation(&self, member: Did) -> Result<RotationAllowed, NodeError> {
        self.check_running()?;
        let Inner { identity, world, engine, .. } = &*self.0;
        if !identity.members().allows(&identity.me(), Role::Admin) {
            return Err(AccessError::NotAdmin(AdminDuty::AllowRotation).into());
        }
        let did = self.current_key(member);
        if did == identity.me() {
            return Err(AccessError::OwnRotation.into());
        }
        self.check_another_member(&did)?;
        let until = world.wall().saturating_add(ALLOWED_FOR);
        let (key, row) = rotation_allowed(&did, until);
        let mut rows = Batch::new();
        rows.put(Table::Meta, &key, &row);
        engine.run(Command::Keep(rows)).await?;
        Ok(RotationAllowed { did, name: identity.name_of(&did).unwrap_or_else(|| did.short()), until })
    }

    /// Gives this node another key, with its name and roles, and ends the membership of the former one at its last
    /// entry. An admin's node that is up admits the new key, once a day, or the root did with `by_root`
    /// ([`draft_rotation`](Self::draft_rotation)). Whom this node had admitted stays.
    ///
    /// The node ends with [`Stopped::Rotated`], also if the change fails: build it again on the same directory. If it
    /// is not known whether the new key was admitted, the next start asks again.
    ///
    /// # Errors
    /// [`NodeError::Unreachable`] if no admin's node is up, [`NodeError::Refused`] with the reason of one;
    /// nothing changed then. [`NodeError::TimedOut`] if it is not known.
    pub async fn rotate_key(&self, by_root: Option<Chain>) -> Result<RotatedKey, NodeError> {
        self.check_running()?;
        let Inner { identity, world, store, .. } = &*self.0;
        let Some(dir) = self.0.dir.clone() else {
            return Err(AccessError::NoDataDir.into());
        };
        if !identity.is_member(&identity.me()) {
            return Err(AccessError::Revoked.into());
        }
        let next = self.next_key();
        let admins = match &by_root {
            Some(chain) => {
                let claims = chain.verify(&identity.mesh()).map_err(|_| AccessError::BadSuccession)?;
                let below = self.falling(&identity.me());
                if claims.subject != next.did() || !below.is_empty() && !claims.roles.allow(Role::Admin) {
                    return Err(AccessError::BadSuccession.into());
                }
                Vec::new()
            }
            None => self.admins_up().await?,
        };
        // a later entry would not count
        let lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.end_tasks().await;
        let clock = world.clock().clone();
        let prepared = Change { dir, store: store.clone(), next, name: self.name() };
        let (change, succession) = world.blocking(move || prepared.prepare()).await??;
        let chain = match by_root {
            Some(chain) => Ok((chain, Some(succession))),
            None => change.ask(&succession, &admins, ASK_WITHIN).await.map(|chain| (chain, None)),
        };
        let done = world.blocking(move || {
            let _lock = lock;
            match chain {
                Ok((chain, succession)) => change.finish(chain, succession, &*clock),
                Err(Unasked::Refused(error)) => change.drop_next().and(Err(error)),
                Err(Unasked::Unknown) => Err(NodeError::TimedOut(ASK_WITHIN)),
            }
        });
        let done = done.await.map_err(NodeError::from).flatten();
        self.close(Stopped::Rotated).await;
        done
    }

    /// Drafts the credentials of this node's next key, for the root to sign. Nothing changes.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if this node is no member any more.
    pub fn draft_rotation(&self) -> Result<Claims, NodeError> {
        let Inner { identity, world, .. } = &*self.0;
        let members = identity.members();
        let me = members.get(&identity.me()).and_then(|me| Some((me.name()?.clone(), me)));
        let Some((name, me)) = me else { return Err(AccessError::Revoked.into()) };
        let claims = Claims::new(identity.mesh(), self.next_key().did(), name, me.roles(), world.wall());
        // the root may name anybody: the member stays whose it was
        let person = identity.members().said_by_root(&identity.me());
        Ok(claims.expiring(me.expires_at()).of_person(person))
    }

    /// The key that is to take the place of this node's key: the same one until it has.
    fn next_key(&self) -> Keypair {
        let mut next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.get_or_insert_with(Keypair::generate).clone()
    }

    /// The admins whose nodes are up. A node that has just started waits a moment for them.
    async fn admins_up(&self) -> Result<Vec<Did>, NodeError> {
        let until = tokio::time::Instant::now() + MEET_WITHIN;
        loop {
            let members = self.0.identity.members();
            let up = self.0.mesh.peers().await.into_iter().filter(|peer| peer.state == PeerState::Up);
            let admins: Vec<Did> = up.map(|peer| peer.did).filter(|did| members.allows(did, Role::Admin)).collect();
            if !admins.is_empty() {
                return Ok(admins);
            }
            if tokio::time::Instant::now() >= until {
                return Err(ContactError::NoAdmin.into());
            }
            tokio::time::sleep(MEET_WITHIN / 20).await;
        }
    }
}

/// Why a new key was not admitted.
enum Unasked {
    /// Nobody has admitted it.
    Refused(NodeError),
    /// An admin's node may have admitted it.
    Unknown,
}

/// The change of a node's key, while the node does not run.
struct Change {
    dir: DataDir,
    store: Store,
    next: Keypair,
    name: String,
}

impl Change {
    /// Makes the request of both keys. From here on an interrupted change goes on at the next start.
    fn prepare(self) -> Result<(Self, Succession), NodeError> {
        let (snapshot, key) = (self.store.snapshot()?, self.dir.identity().clone());
        let genesis = ledger::read_genesis(&snapshot)?.ok_or(LedgerError::NoGenesis)?;
        let pins = Engine::open(key.clone(), &snapshot)?.own_pins(&snapshot)?;
        let succession = Succession::new(&genesis.mesh, &key, &self.next, pins);
        self.dir.write_next_identity(&self.next)?;
        Ok((self, succession))
    }

    /// Asks the admins' nodes, one after the other, as the newcomer that the new key is.
    async fn ask(&self, succession: &Succession, admins: &[Did], within: Duration) -> Result<Chain, Unasked> {
        let asked = as_newcomer(&self.next, async |mesh| Ok(self.ask_over(mesh, succession, admins, within).await));
        asked.await.unwrap_or_else(|error| Err(Unasked::Refused(error)))
    }

    async fn ask_over(
        &self,
        mesh: &Mesh,
        succession: &Succession,
        admins: &[Did],
        within: Duration,
    ) -> Result<Chain, Unasked> {
        let failed = |error: NodeError| Unasked::Refused(error);
        let snapshot = self.store.snapshot().map_err(|error| failed(error.into()))?;
        let members = ledger::read_members(&snapshot).map_err(|error| failed(error.into()))?;
        let addresses = known_peers(&snapshot).map_err(|error| failed(error.into()))?;
        let name = self.name.parse().unwrap_or_else(|_| super::found::machine_name());
        let request = JoinRequest {
            ticket_id: [0; 16],
            secret: [0; 16],
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            succession: succession.encode(),
        };
        let until = tokio::time::Instant::now() + within;
        let (mut unknown, mut refused) = (false, None);
        loop {
            for admin in admins {
                let known: Vec<Multiaddr> =
                    addresses.iter().filter(|(did, _)| did == admin).flat_map(|(_, known)| known.clone()).collect();
                let name = members.get_known(admin).and_then(|known| known.name()).map(ToString::to_string);
                let name = name.unwrap_or_else(|| admin.short());
                let asked = mesh.join(*admin, known, request.clone());
                match tokio::time::timeout_at(until, asked).await {
                    Ok(Ok(JoinReply::Admitted { chain, .. })) => {
                        let claims = chain.verify(&members.mesh());
                        if claims.is_ok_and(|claims| claims.subject == self.next.did()) {
                            return Ok(chain);
                        }
                        refused = Some(AccessError::BadSuccession.into());
                    }
                    Ok(Ok(JoinReply::Refused { code: JoinRefusal::Unavailable, .. })) | Err(_) => unknown = true,
                    Ok(Ok(JoinReply::Refused { message: why, .. })) => {
                        refused = Some(NodeError::from(AccessError::NoSuccession { name, why }));
                    }
                    Ok(Err(JoinError::Unreachable(_) | JoinError::NoDoor | JoinError::Offline)) => {}
                    Ok(Err(_)) => unknown = true,
                }
            }
            if !unknown {
                return Err(Unasked::Refused(refused.unwrap_or_else(|| ContactError::NoAdmin.into())));
            }
            if tokio::time::Instant::now() + ASK_AGAIN_AFTER >= until {
                return Err(Unasked::Unknown);
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// Puts the new key in the place of the former one: in the store first, and a start takes it from there.
    fn finish(
        &self,
        chain: Chain,
        succession: Option<Succession>,
        clock: &dyn nexus_mesh::Clock,
    ) -> Result<RotatedKey, NodeError> {
        let mut with = Batch::new();
        with.put(Table::Meta, meta::CHAIN, &chain.to_bytes());
        let rotation = Rotation { chain, succession, with };
        let mut transfer = Transfer::begin(self.next.clone(), &self.store, clock)?;
        match transfer.run(Command::Rotate(Box::new(rotation)))? {
            Some(Outcome::Succeeded(_)) => {}
            _ => return self.drop_next().and(Err(AccessError::BadSuccession.into())),
        }
        drop(transfer);
        self.dir.take_next_identity()?;
        Ok(RotatedKey { did: self.next.did(), former: self.dir.identity().did() })
    }

    fn drop_next(&self) -> Result<(), NodeError> {
        Ok(self.dir.drop_next_identity()?)
    }
}

/// Finishes a change of the key that was interrupted. Returns the directory with the key that it has now.
///
/// If no admin's node answers, the node goes on with its former key, and a later start asks again.
pub(super) async fn resume(dir: DataDir, store: &Store) -> Result<DataDir, NodeError> {
    let Some(next) = dir.next_identity()? else { return Ok(dir) };
    let snapshot = store.snapshot()?;
    let Some(genesis) = ledger::read_genesis(&snapshot)? else { return Ok(dir) };
    if genesis.chain.subject().ok() == Some(next.did()) {
        return Ok(dir.take_next_identity()?);
    }
    let me = dir.identity().did();
    let members = ledger::read_members(&snapshot)?;
    let name = members.get_known(&me).and_then(|known| known.name()).map(ToString::to_string).unwrap_or_default();
    let admins: Vec<Did> =
        members.iter().filter(|(did, known)| **did != me && known.allows(Role::Admin)).map(|(did, _)| *did).collect();
    drop(snapshot);
    let change = Change { dir: dir.clone(), store: store.clone(), next, name };
    let (change, succession) = change.prepare()?;
    match change.ask(&succession, &admins, RESUME_WITHIN).await {
        Ok(chain) => {
            let rotated = change.finish(chain, None, &SystemClock::new())?;
            tracing::info!(did = %rotated.did, former = %rotated.former, "the key was changed");
            Ok(DataDir::open(dir.path())?)
        }
        Err(Unasked::Refused(error)) => {
            tracing::warn!(%error, "the change of the key was not finished: the node keeps its key");
            Ok(dir)
        }
        Err(Unasked::Unknown) => {
            tracing::warn!("it is not known whether the new key was admitted: the next start asks again");
            Ok(dir)
        }
    }
}
