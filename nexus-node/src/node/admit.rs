use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::plants::planted;
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Ticket, Timestamp};
use nexus_mesh::{JoinRefusal, JoinReply, JoinRequest};

use super::Node;
use crate::engine::Command;
use crate::error::NodeError;
use crate::identity::Identity;
use crate::ledger::{self, rows};
use crate::runtime::EngineHandle;
use crate::store::{Batch, Store, Table, View};
use crate::world::World;

/// The options of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The newcomers' role.
    pub role: Role,
    /// The number of nodes that may join with it, at least one.
    pub uses: u32,
    /// The lifetime of the ticket.
    pub ttl: Duration,
    /// The lifetime of the credential; `None` for no end.
    pub valid: Option<Duration>,
}

impl Default for Invite {
    fn default() -> Self {
        Self { role: Role::Member, uses: 1, ttl: Duration::from_secs(3_600), valid: None }
    }
}

/// A ticket to carry to the other machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The ticket: anybody who has it can join.
    pub ticket: String,
    /// The whole command line for the other machine.
    pub join: String,
    /// The end of the ticket.
    pub expires_at: Timestamp,
}

/// The inviter's row of a ticket, with a hash of the secret.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
struct TicketRow {
    secret_hash: [u8; 32],
    role: u16,
    expires_at: Timestamp,
    uses: u32,
    valid_ms: Option<u64>,
    /// The incarnation. A ticket of an earlier one is void: its uses are not known here.
    incarnation: [u8; 8],
    redeemed: Vec<(Did, Chain)>,
}

fn secret_hash(secret: &[u8; 16]) -> [u8; 32] {
    blake3::derive_key("nexus ticket secret v1", secret)
}

impl Node {
    /// Makes a ticket, which is on disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if this node is no admin, [`NodeError::Invalid`].
    pub async fn invite(&self, invite: Invite) -> Result<Invitation, NodeError> {
        let Inner { identity, world, engine, store, .. } = &*self.0;
        if identity.role_of(&identity.me()) != Some(Role::Admin) {
            return Err(NodeError::Refused("only an admin invites, and this node is none".to_owned()));
        }
        if invite.uses == 0 {
            return Err(NodeError::Invalid("a ticket has at least one use".to_owned()));
        }
        let expires_at = world.wall().saturating_add(invite.ttl);
        let addresses = crate::runtime::whereabouts::dialable(&self.0.listening.borrow());
        let ticket = Ticket::new(identity.mesh(), identity.me(), addresses, invite.role, expires_at, invite.uses);
        let row = TicketRow {
            secret_hash: secret_hash(&ticket.secret),
            role: invite.role.number(),
            expires_at,
            uses: invite.uses,
            valid_ms: invite.valid.map(|valid| u64::try_from(valid.as_millis()).unwrap_or(u64::MAX)),
            incarnation: incarnation(store)?,
            redeemed: Vec::new(),
        };
        let mut batch = Batch::new();
        batch.put(Table::Tickets, &ticket.id, &rows::encode(&row));
        engine.run(Command::Keep(batch)).await?;
        let ticket = ticket.to_string();
        Ok(Invitation { join: format!("nexus-node join {ticket}"), ticket, expires_at })
    }
}

use super::Inner;

fn incarnation(store: &Store) -> Result<[u8; 8], NodeError> {
    let genesis = ledger::read_genesis(&store.snapshot()?)?.ok_or(ledger::LedgerError::NoGenesis)?;
    Ok(genesis.incarnation.0)
}

/// The answers at the join door.
pub(crate) struct Admitter {
    identity: Identity,
    store: Store,
    engine: EngineHandle,
    world: World,
    key: Keypair,
}

impl Admitter {
    pub(crate) const fn new(
        identity: Identity,
        store: Store,
        engine: EngineHandle,
        world: World,
        key: Keypair,
    ) -> Self {
        Self { identity, store, engine, world, key }
    }

    /// Admits a newcomer with a good ticket. The ticket's use and the credential are on disk before the
    /// answer. The same newcomer asking again gets the same credential.
    pub(crate) async fn admit(&self, newcomer: Did, request: JoinRequest) -> JoinReply {
        match self.decide(newcomer, &request).await {
            Ok(Ok(chain)) => {
                tracing::info!(did = %newcomer, name = %request.name, "admitted");
                JoinReply::Admitted { chain, addresses: Vec::new() }
            }
            Ok(Err((code, message))) => {
                tracing::info!(did = %newcomer, ?code, "not admitted");
                JoinReply::Refused { code, message: message.to_owned() }
            }
            Err(error) => {
                tracing::warn!(%error, "a newcomer could not be admitted");
                JoinReply::Refused { code: JoinRefusal::Unavailable, message: "try again in a moment".to_owned() }
            }
        }
    }

    async fn decide(
        &self,
        newcomer: Did,
        request: &JoinRequest,
    ) -> Result<Result<Chain, (JoinRefusal, &'static str)>, NodeError> {
        let unknown = Ok(Err((JoinRefusal::Unknown, "the inviter does not know this ticket")));
        let Some(row) = self.store.snapshot()?.get(Table::Tickets, &request.ticket_id)? else {
            return unknown;
        };
        let mut row: TicketRow = rows::decode(Table::Tickets, &row)?;
        // hashes are compared, so that the time reveals nothing about the secret
        let knows_it = secret_hash(&request.secret) == row.secret_hash || planted("tickets_need_no_secret");
        if !knows_it || row.incarnation != incarnation(&self.store)? {
            return unknown;
        }
        if let Some((_, chain)) = row.redeemed.iter().find(|(did, _)| *did == newcomer) {
            return Ok(Ok(chain.clone()));
        }
        let now = self.world.wall();
        if row.expires_at < now {
            return Ok(Err((JoinRefusal::Expired, "the ticket has expired: ask for a new one")));
        }
        if row.redeemed.len() >= row.uses as usize && !planted("tickets_never_used_up") {
            return Ok(Err((JoinRefusal::Used, "the ticket was used already: ask for a new one")));
        }
        let Some(role) = [Role::Reader, Role::Member, Role::Admin].into_iter().find(|role| role.number() == row.role)
        else {
            return unknown;
        };
        let genesis = ledger::read_genesis(&self.store.snapshot()?)?.ok_or(ledger::LedgerError::NoGenesis)?;
        let expires_at = row.valid_ms.map(|valid| now.saturating_add(Duration::from_millis(valid)));
        let claims = Claims::new(self.identity.mesh(), newcomer, request.name.clone(), [role], now)
            .issued_by(self.identity.me())
            .expiring(expires_at);
        let Ok(chain) = genesis.chain.extend(claims.sign(&self.key)) else {
            return Ok(Err((JoinRefusal::NotAdmin, "the inviter may not admit anybody")));
        };
        row.redeemed.push((newcomer, chain.clone()));
        let mut with = Batch::new();
        with.put(Table::Tickets, &request.ticket_id, &rows::encode(&row));
        self.engine.run(Command::Admit { chain: chain.clone(), with }).await?;
        Ok(Ok(chain))
    }
}
