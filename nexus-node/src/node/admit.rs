use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_crdt::Succession;
use nexus_identity::plants::planted;
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Ticket, TicketPerson, Timestamp};
use nexus_mesh::quota::Receiver;
use nexus_mesh::{JoinRefusal, JoinReply, JoinRequest, Knock, Mesh, PeerState, Rooms};
use tokio::time::Instant;

use super::persons::Whose;
use super::{Inner, Node};
use crate::budget::Budget;
use crate::engine::{Command, NoSuccession, Outcome, may_say_persons, own_person, person_to_say};
use crate::error::{AccessError, AdminDuty, InputError, NodeError};
use crate::identity::Identity;
use crate::ledger::{self, Genesis, rows};
use crate::notices::LineBudget;
use crate::runtime::EngineHandle;
use crate::store::{Batch, Store, Table, View};
use crate::world::World;

/// The options of a ticket.
///
/// ```
/// # use nexus_node::Invite;
/// # use nexus_node::node::Role;
/// let readers = Invite::default().role(Role::Reader).uses(10);
/// # assert_eq!(readers.uses, 10);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invite {
    /// The newcomers' role. Default: member.
    pub role: Role,
    /// The number of nodes that may join with it, at least one. Default: one.
    pub uses: u32,
    /// The lifetime of the ticket. Default: an hour.
    pub ttl: Duration,
    /// The lifetime of the credential; `None` for no end.
    pub valid: Option<Duration>,
    /// The member whose membership ends when the ticket is used: the newcomer takes its place. It must be down.
    pub replaces: Option<Did>,
    /// Whose machine joins; `None` if that is not known. It can be said later, with [`Node::say_person`].
    pub whose: Option<Whose>,
}

impl Default for Invite {
    fn default() -> Self {
        Self { role: Role::Member, uses: 1, ttl: Duration::from_secs(3_600), valid: None, replaces: None, whose: None }
    }
}

impl Invite {
    /// For newcomers in this role.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// For this many nodes, at least one.
    #[must_use]
    pub fn uses(mut self, uses: u32) -> Self {
        self.uses = uses;
        self
    }

    /// With a ticket that ends after this time.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// With credentials that end after this time.
    #[must_use]
    pub fn valid(mut self, valid: Duration) -> Self {
        self.valid = Some(valid);
        self
    }

    /// For a machine of this person.
    #[must_use]
    pub fn whose(mut self, whose: Whose) -> Self {
        self.whose = Some(whose);
        self
    }

    /// In the place of a member that is down, for one node.
    #[must_use]
    pub fn replaces(mut self, member: Did) -> Self {
        self.replaces = Some(member);
        self
    }
}

/// A ticket to carry to the other machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invitation {
    /// The ticket: anybody who has it can join.
    pub ticket: Ticket,
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
    end: RowEnd,
}

/// The end of a ticket's row. Of earlier versions it is empty, or the DID of the member that a newcomer replaces. A byte for
/// whose machine joins comes before that, if it was said.
#[derive(Clone, Copy, Debug, Default)]
struct RowEnd {
    /// The member that a newcomer replaces.
    replaces: Option<Did>,
    /// Whether another machine of this node's person joins, or the first one of somebody else.
    mine: Option<bool>,
}

impl BorshSerialize for RowEnd {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        if let Some(mine) = self.mine {
            writer.write_all(&[u8::from(mine)])?;
        }
        self.replaces.map_or(Ok(()), |did| writer.write_all(did.as_bytes()))
    }
}

impl BorshDeserialize for RowEnd {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(reader, 34), &mut rest)?;
        let (mine, did) = match rest.len() {
            0 | 32 => (None, rest.as_slice()),
            _ => (Some(rest[0] == 1), &rest[1..]),
        };
        let replaces = match did {
            [] => None,
            _ => Some(Did::from_bytes(did.try_into().map_err(|_| std::io::ErrorKind::InvalidData)?)),
        };
        Ok(Self { replaces, mine })
    }
}

/// The verdict on a request to join.
enum Verdict {
    /// The newcomer redeemed the ticket before and gets the same credentials.
    Again(Chain),
    /// It may join in this role.
    Admit(Role),
    Refuse(Refusal),
}

/// The reason of a refusal, for programs and for people.
type Refusal = (JoinRefusal, Cow<'static, str>);

/// The ticket is not one of this node's. A guesser learns no more.
const UNKNOWN: Refusal = (JoinRefusal::Unknown, Cow::Borrowed("the inviter does not know this ticket"));

/// A member has the newcomer's name, or one that only differs in case or form.
const NAME_TAKEN: Refusal = (JoinRefusal::NameTaken, Cow::Borrowed("a member of the mesh has this name already"));

impl TicketRow {
    /// Whether a newcomer with this secret may join now. `incarnation` is the store's current one.
    fn judge(&self, newcomer: Did, secret: &[u8; 16], incarnation: [u8; 8], now: Timestamp) -> Verdict {
        // comparing hashes keeps the time independent of the secret
        let knows_it = secret_hash(secret) == self.secret_hash || planted("tickets_need_no_secret");
        if !knows_it || self.incarnation != incarnation {
            return Verdict::Refuse(UNKNOWN);
        }
        if let Some((_, chain)) = self.redeemed.iter().find(|(did, _)| *did == newcomer) {
            return Verdict::Again(chain.clone());
        }
        if self.expires_at < now {
            return Verdict::Refuse((JoinRefusal::Expired, Cow::Borrowed("the ticket has expired: ask for a new one")));
        }
        if self.redeemed.len() >= self.uses as usize && !planted("tickets_never_used_up") {
            return Verdict::Refuse((
                JoinRefusal::Used,
                Cow::Borrowed("the ticket was used already: ask for a new one"),
            ));
        }
        let role = [Role::Reader, Role::Member, Role::Admin].into_iter().find(|role| role.number() == self.role);
        role.map_or(Verdict::Refuse(UNKNOWN), Verdict::Admit)
    }
}

fn secret_hash(secret: &[u8; 16]) -> [u8; 32] {
    blake3::derive_key("nexus ticket secret v1", secret)
}

impl Node {
    /// Makes a ticket. It is on disk when this returns.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if this node is no admin, if it is not above the member to replace, or if that one is up.
    /// [`NodeError::Invalid`]; [`NodeError::NotFound`] if nobody is to be replaced there.
    pub async fn invite(&self, invite: Invite) -> Result<Invitation, NodeError> {
        let Inner { identity, world, engine, store, .. } = &*self.0;
        if identity.role_of(&identity.me()) != Some(Role::Admin) {
            return Err(AccessError::NotAdmin(AdminDuty::Invite).into());
        }
        if invite.uses == 0 {
            return Err(InputError::NoUses.into());
        }
        let replaces = match invite.replaces {
            Some(_) if invite.uses > 1 => return Err(InputError::ReplacedTwice.into()),
            Some(member) => Some(self.may_be_replaced(member).await?),
            None => None,
        };
        let held = store.clone();
        let read = move || -> Result<_, NodeError> {
            let genesis = genesis(&held)?;
            let may_say = may_say_persons(&held.snapshot()?, &genesis.chain)?;
            Ok((genesis, may_say))
        };
        let (genesis, may_say) = world.blocking(read).await??;
        if invite.whose.is_some() && !may_say {
            return Err(AccessError::PersonsTooNew.into());
        }
        let incarnation = genesis.incarnation.0;
        let now = world.wall();
        let end_of = |time| now.date_after(time);
        let expires_at = end_of(invite.ttl).ok_or(InputError::Date { what: "the end of the ticket" })?;
        if invite.valid.is_some_and(|valid| end_of(valid).is_none()) {
            return Err(InputError::Date { what: "the end of the credential" }.into());
        }
        let addresses = crate::runtime::whereabouts::dialable(&self.0.listening.borrow());
        let person = invite.whose.clone().and_then(|whose| match whose {
            Whose::Mine => own_person(&identity.me(), &genesis.chain).map(TicketPerson::Inviters),
            Whose::Other(name) => Some(TicketPerson::Other(name)),
        });
        let ticket = Ticket::new(identity.mesh(), identity.me(), addresses, invite.role, expires_at, invite.uses);
        let ticket = ticket.of_person(person);
        let row = TicketRow {
            secret_hash: secret_hash(&ticket.secret),
            role: invite.role.number(),
            expires_at,
            uses: invite.uses,
            valid_ms: invite.valid.map(|valid| u64::try_from(valid.as_millis()).unwrap_or(u64::MAX)),
            incarnation,
            redeemed: Vec::new(),
            end: RowEnd { replaces, mine: invite.whose.map(|whose| whose == Whose::Mine) },
        };
        let mut batch = Batch::new();
        batch.put(Table::Tickets, &ticket.id, &rows::encode(&row));
        engine.run(Command::Keep(batch)).await?;
        Ok(Invitation { join: format!("nexus-node join {ticket}"), ticket, expires_at })
    }
}

impl Node {
    /// The current key of a member that is down and below this node.
    async fn may_be_replaced(&self, member: Did) -> Result<Did, NodeError> {
        let (members, member) = (self.0.identity.members(), self.current_key(member));
        self.check_another_member(&member)?;
        if !members.may_revoke(&member).contains(&self.0.identity.me()) {
            return Err(self.not_above(&members, &member));
        }
        if is_up(&self.0.mesh, &member).await {
            let name = self.0.identity.shown_name_of(&member).unwrap_or_else(|| member.short());
            return Err(AccessError::StillUp { name }.into());
        }
        Ok(member)
    }
}

/// Whether a member is connected, or was heard of a moment ago.
async fn is_up(mesh: &Mesh, member: &Did) -> bool {
    mesh.peers().await.iter().any(|peer| peer.did == *member && (peer.open || peer.state == PeerState::Up))
}

fn genesis(store: &Store) -> Result<Genesis, NodeError> {
    Ok(ledger::read_genesis(&store.snapshot()?)?.ok_or(ledger::LedgerError::NoGenesis)?)
}

/// Strangers that may wait at the door, one request each.
const WAITING_MAX: usize = 16;
/// The longest wait of a stranger for an answer, which may be to try again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Registers the join door.
pub(crate) fn register(rooms: &mut Rooms) -> Receiver<Knock> {
    rooms.door(WAITING_MAX)
}

/// Answers strangers at the join door.
pub(crate) struct Admitter {
    identity: Identity,
    store: Store,
    engine: EngineHandle,
    world: World,
    key: Keypair,
    mesh: Mesh,
    lines: LineBudget,
    new_keys: Mutex<Budget>,
}

/// The new keys of members at once, and the time until there is room for one more. Each costs every node an entry and
/// a dead key for good.
const KEYS_AT_ONCE: u32 = 32;
const KEY_EVERY: Duration = Duration::from_secs(30);

/// A decision about one newcomer, until it is on disk.
type Deciding<'a> = BoxFuture<'a, JoinReply>;

impl Admitter {
    pub(crate) fn new(
        (identity, store, engine): (Identity, Store, EngineHandle),
        world: World,
        key: Keypair,
        mesh: Mesh,
    ) -> Self {
        let new_keys = Mutex::new(Budget::full(KEYS_AT_ONCE, KEY_EVERY, Instant::now()));
        Self { identity, store, engine, world, key, mesh, lines: LineBudget::default(), new_keys }
    }

    /// Answers one stranger after the other, since a ticket's uses are counted. While the disk or the
    /// engine is blocked, all are told to try again. A newcomer in progress then gets the same
    /// credentials later.
    pub(crate) async fn serve(self, mut knocks: Receiver<Knock>) {
        let mut late: Option<Deciding<'_>> = None;
        loop {
            let next = match &mut late {
                None => knocks.recv().await,
                Some(deciding) => tokio::select! {
                    biased;
                    _ = deciding => {
                        late = None;
                        continue;
                    }
                    next = knocks.recv() => next,
                },
            };
            let Some((newcomer, knock)) = next else { return };
            if late.is_some() {
                knock.answer(try_again());
                continue;
            }
            let until = knock.at + ANSWER_WITHIN;
            let mut deciding = self.admit(newcomer, knock.request.clone()).boxed();
            match tokio::time::timeout_at(until, &mut deciding).await {
                Ok(reply) => knock.answer(reply),
                Err(_) => {
                    knock.answer(try_again());
                    late = Some(deciding);
                }
            }
        }
    }

    /// Admits a newcomer with a valid ticket. The ticket's use and the credentials are on disk when
    /// this returns. The same newcomer gets the same credentials again.
    async fn admit(&self, newcomer: Did, request: JoinRequest) -> JoinReply {
        match self.decide(newcomer, &request).await {
            Ok(Ok(chain)) => {
                tracing::info!(did = %newcomer, name = %request.name, "admitted");
                JoinReply::Admitted { chain, addresses: Vec::new() }
            }
            Ok(Err((code, message))) => {
                if let Some(left_out) = self.lines.take(self.world.now()) {
                    tracing::info!(did = %newcomer, ?code, left_out, "not admitted");
                }
                JoinReply::Refused { code, message: message.into_owned() }
            }
            Err(error) => {
                tracing::warn!(%error, "a newcomer could not be admitted");
                try_again()
            }
        }
    }

    async fn decide(&self, newcomer: Did, request: &JoinRequest) -> Result<Result<Chain, Refusal>, NodeError> {
        if !request.succession.is_empty() {
            return self.succeed(newcomer, &request.succession).await;
        }
        let (store, ticket) = (self.store.clone(), request.ticket_id);
        let read = move || -> Result<_, NodeError> {
            let row = store.snapshot()?.get(Table::Tickets, &ticket)?;
            let row: Option<TicketRow> = row.map(|row| rows::decode(Table::Tickets, &row)).transpose()?;
            Ok((row, genesis(&store)?))
        };
        let (row, genesis) = self.world.blocking(read).await??;
        let now = self.world.wall();
        let Some(mut row) = row else { return Ok(Err(UNKNOWN)) };
        let role = match row.judge(newcomer, &request.secret, genesis.incarnation.0, now) {
            Verdict::Again(chain) => return Ok(Ok(chain)),
            Verdict::Refuse(refusal) => return Ok(Err(refusal)),
            Verdict::Admit(role) => role,
        };
        let replaces = match row.end.replaces {
            Some(member) if self.identity.is_member(&member) => {
                if !self.identity.members().may_revoke(&member).contains(&self.identity.me()) {
                    return Ok(Err((
                        JoinRefusal::NotAdmin,
                        Cow::Borrowed("the inviter may not end the membership to replace"),
                    )));
                }
                if is_up(&self.mesh, &member).await {
                    return Ok(Err((
                        JoinRefusal::Unavailable,
                        Cow::Borrowed("the member to replace is up: stop its node first"),
                    )));
                }
                Some(member)
            }
            _ => None,
        };
        let members = self.identity.members();
        let is_like = |(did, member): (&Did, &nexus_crdt::Member)| {
            *did != newcomer
                && Some(*did) != replaces
                && member.name().is_some_and(|name| name.is_like(request.name.as_str()))
        };
        if members.iter().any(is_like) {
            return Ok(Err(NAME_TAKEN));
        }
        let expires_at =
            row.valid_ms.map(|valid| now.saturating_add(Duration::from_millis(valid)).min(Timestamp::LAST));
        let claims = Claims::new(self.identity.mesh(), newcomer, request.name.clone(), [role], now)
            .issued_by(self.identity.me())
            .expiring(expires_at)
            .of_person(
                row.end.mine.and_then(|mine| person_to_say(mine, newcomer, &self.identity.me(), &genesis.chain)),
            );
        let Ok(chain) = genesis.chain.extend(claims.sign(&self.key)) else {
            return Ok(Err((JoinRefusal::NotAdmin, Cow::Borrowed("the inviter may not admit anybody"))));
        };
        row.redeemed.push((newcomer, chain.clone()));
        let mut with = Batch::new();
        with.put(Table::Tickets, &request.ticket_id, &rows::encode(&row));
        self.engine.run(Command::Admit { chain: chain.clone(), with, replaces }).await?;
        Ok(Ok(chain))
    }
}

impl Admitter {
    /// Admits the new key of a member.
    async fn succeed(&self, newcomer: Did, succession: &[u8]) -> Result<Result<Chain, Refusal>, NodeError> {
        let succession = Succession::decode(succession).ok().filter(|of| of.member == newcomer);
        let Some(succession) = succession.filter(|of| of.verify(&self.identity.mesh()).is_ok()) else {
            return Ok(Err((JoinRefusal::Unknown, NoSuccession::Unfit.words())));
        };
        let members = self.identity.members();
        let again = members.successor(&succession.former) == Some(newcomer);
        if !again && members.get(&succession.former).is_none() {
            return Ok(Err((JoinRefusal::Revoked, NoSuccession::NoMember.words())));
        }
        // from here on only whoever has a member's key
        let room = || self.new_keys.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        if !again && !room() {
            return Ok(Err((
                JoinRefusal::TooMany,
                Cow::Borrowed("many keys were changed just now: try again in a minute"),
            )));
        }
        match self.engine.run(Command::Succeed(Box::new(succession))).await? {
            Outcome::Succeeded(chain) => Ok(Ok(*chain)),
            Outcome::NotSucceeded(why) => {
                let code = match why {
                    NoSuccession::NotAdmin | NoSuccession::Below => JoinRefusal::NotAdmin,
                    NoSuccession::NoMember => JoinRefusal::Revoked,
                    NoSuccession::Unfit => JoinRefusal::Unknown,
                    NoSuccession::Taken => JoinRefusal::Used,
                    NoSuccession::TooMany | NoSuccession::TooSoon { .. } => JoinRefusal::TooMany,
                    NoSuccession::Unheard => JoinRefusal::Unavailable,
                };
                Ok(Err((code, why.words())))
            }
            _ => Ok(Err((JoinRefusal::NotAdmin, NoSuccession::NotAdmin.words()))),
        }
    }
}

fn try_again() -> JoinReply {
    JoinReply::Refused { code: JoinRefusal::Unavailable, message: "try again in a moment".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Persons | Rows of tickets of earlier versions are read as they were, and nothing else passes for one
    #[test]
    fn the_end_of_a_row_is_read_as_it_was_written() {
        let did = Keypair::from_seed(&[1; 32]).did();
        for mine in [None, Some(true), Some(false)] {
            for replaces in [None, Some(did)] {
                let bytes = borsh::to_vec(&RowEnd { replaces, mine }).unwrap();
                let read: RowEnd = borsh::from_slice(&bytes).unwrap();
                assert_eq!((read.replaces, read.mine), (replaces, mine));
            }
        }
        // as earlier versions wrote them
        for (bytes, replaces) in [(&[][..], None), (did.as_bytes(), Some(did))] {
            let read: RowEnd = borsh::from_slice(bytes).unwrap();
            assert_eq!((read.replaces, read.mine), (replaces, None));
        }
        for length in (2..32).chain(34..40) {
            assert!(borsh::from_slice::<RowEnd>(&vec![1; length]).is_err(), "{length}");
        }
    }
}
