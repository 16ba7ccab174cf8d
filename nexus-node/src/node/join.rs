use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use nexus_crdt::{Core, SpaceId, Was};
use nexus_identity::{Chain, Did, Keypair, NAME_BYTES_MAX, Name, Ticket};
use nexus_mesh::{
    Clock, JoinRefusal, JoinReply, JoinRequest, Mesh, MeshConfig, Multiaddr, Rooms, SystemClock, tcp_quic_transport,
};

use super::found::{genesis, machine_name, open_store};
use super::{Inner, Node, Stopped, peer_id};
use crate::datadir::{Contents, DataDir, Membership};
use crate::engine::{Command, Event, Input, NewRecord, Outcome, Released, RestingEngine};
use crate::error::{AccessError, ConflictError, ContactError, NodeError, StopError};
use crate::ledger::{self, rows};
use crate::memory::read::Reader;
use crate::memory::{ListQuery, Memory};
use crate::own_store;
use crate::runtime::bring_up_to_date;
use crate::store::{self, Batch, Store, StoreOptions, Table, View};
use crate::world::{Tasks, random};

/// The options for joining a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JoinOptions {
    /// The node's name in the mesh. Default: its name until now, or the name of the machine.
    pub name: Option<Name>,
    /// The longest wait for the inviter. Default: 30 s.
    pub timeout: Duration,
}

impl Default for JoinOptions {
    fn default() -> Self {
        Self { name: None, timeout: Duration::from_secs(30) }
    }
}

impl JoinOptions {
    /// Under this name.
    #[must_use]
    pub fn name(mut self, name: Name) -> Self {
        self.name = Some(name);
        self
    }

    /// With this wait for the inviter.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// A node that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// The node.
    pub did: Did,
    /// The node as libp2p knows it.
    pub peer_id: String,
    /// Its mesh now.
    pub mesh_did: Did,
    /// Its name there.
    pub name: String,
    /// The member that admitted it.
    pub inviter: Did,
}

/// The most memories copied in one commit.
const COPY_CHUNK: usize = 500;

/// Joins the mesh of a ticket, no node running on the directory. An empty directory becomes a
/// node; one whose mesh has no other member keeps its key and takes its memories along.
///
/// # Errors
/// [`NodeError::Refused`] with the inviter's reason, [`NodeError::TimedOut`] or
/// [`NodeError::Unreachable`] if it does not answer, [`NodeError::Conflict`] if the directory's
/// mesh has other members, [`NodeError::DataDir`]. A join that fails leaves nothing behind.
pub async fn join(path: &Path, ticket: &Ticket, options: JoinOptions) -> Result<Joined, NodeError> {
    boxed_join(path, ticket, options).await
}

/// Compiled here with all that it takes, as the start of a node is.
#[inline(never)]
fn boxed_join<'a>(
    path: &'a Path,
    ticket: &'a Ticket,
    options: JoinOptions,
) -> BoxFuture<'a, Result<Joined, NodeError>> {
    join_here(path, ticket, options).boxed()
}

async fn join_here(path: &Path, ticket: &Ticket, options: JoinOptions) -> Result<Joined, NodeError> {
    let JoinOptions { name, timeout } = options;
    let existing = match DataDir::inspect(path)? {
        Contents::Empty => None,
        Contents::Node => Some(DataDir::open(path)?),
    };
    let lock = existing.as_ref().map(DataDir::lock).transpose()?;
    let old = match &existing {
        Some(dir) if own_store::has_been(dir) => Some(open_store(dir, StoreOptions::default())?),
        _ => None,
    };
    if let (Some(store), Some(dir)) = (&old, &existing) {
        if ledger::read_genesis(&store.snapshot()?)?.is_some() {
            bring_up_to_date(dir.identity(), store)?;
        }
        check_alone(store)?;
    }
    let key = existing.as_ref().map_or_else(Keypair::generate, |dir| dir.identity().clone());
    let names = Names { given: name, otherwise: machine_name() };
    let (chain, name) = as_newcomer(&key, async |mesh| knock(mesh, ticket, &names, key.did(), timeout).await).await?;

    let dir = match existing {
        Some(dir) => dir,
        None => DataDir::create(path, key.clone())?,
    };
    let _lock = match lock {
        Some(lock) => lock,
        None => dir.lock()?,
    };
    move_in(&dir, old, ticket, chain, name, &SystemClock::new())
}

impl Node {
    /// Joins the mesh of a ticket while running. This node's memories are copied over, then it
    /// ends with [`Stopped::Rejoined`]: build it again on the same directory.
    ///
    /// # Errors
    /// As [`join`]; this node goes on then as it was.
    pub async fn join(&self, ticket: &Ticket, options: JoinOptions) -> Result<Joined, NodeError> {
        let JoinOptions { name, timeout } = options;
        self.check_running()?;
        let Inner { identity, world, mesh, store, .. } = &*self.0;
        let Some(dir) = self.0.dir.clone() else {
            return Err(AccessError::NoDataDir.into());
        };
        let alone = store.clone();
        world.blocking(move || check_alone(&alone)).await??;
        let names = Names { given: name, otherwise: self.name().parse().unwrap_or_else(|_| machine_name()) };
        let (chain, name) = knock(mesh, ticket, &names, identity.me(), timeout).await?;
        // a later write would not be copied any more
        let lock = self.0.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let stopping = self.end_tasks();
        stopping.await;
        let (ticket, old, clock) = (ticket.clone(), store.clone(), world.clock().clone());
        let moved = world.blocking(move || {
            let _lock = lock;
            move_in(&dir, Some(old), &ticket, chain, name, &*clock)
        });
        let moved = moved.await.map_err(NodeError::from).flatten();
        self.close(Stopped::Rejoined).await;
        moved
    }
}

/// Lends a mesh of its own, without any room, to a key that asks others to admit it.
pub(super) async fn as_newcomer<T>(
    key: &Keypair,
    ask: impl AsyncFnOnce(&Mesh) -> Result<T, NodeError>,
) -> Result<T, NodeError> {
    let tasks = Arc::new(Tasks::current());
    let transport = tcp_quic_transport(key)?;
    let (mesh, mut events) = Mesh::start(transport, MeshConfig::new(key.clone()), Rooms::new(), tasks.clone())?;
    let asked = tokio::select! {
        asked = ask(&mesh) => asked,
        () = async { while events.recv().await.is_some() {} } => Err(StopError::Network.into()),
    };
    mesh.shutdown().await;
    tasks.kill();
    asked
}

/// A node whose mesh has other members stays there: its memories are theirs too.
fn check_alone(store: &Store) -> Result<(), NodeError> {
    let snapshot = store.snapshot()?;
    let Some(genesis) = ledger::read_genesis(&snapshot)? else {
        return Ok(());
    };
    let logs = ledger::read_logs(&snapshot)?;
    let me = genesis.chain.verify(&genesis.mesh).map_err(ledger::LedgerError::Chain)?.subject;
    let members = ledger::read_members(&snapshot)?;
    if members.len() > 1 || logs.iter().any(|(_, log, _)| log.author != me) {
        return Err(ConflictError::NotAlone.into());
    }
    Ok(())
}

/// The names that a newcomer asks for.
struct Names {
    /// A person's choice: it is taken, or the join is refused.
    given: Option<Name>,
    /// The name without such a choice. If a member has it, a number comes behind it: machines of one image have one name.
    otherwise: Name,
}

impl Names {
    /// The most names that are asked for.
    const ASKED_MAX: usize = 20;

    fn all(&self) -> impl Iterator<Item = Name> {
        let numbered = |n: usize| {
            let end = if n == 1 { String::new() } else { format!("-{n}") };
            let mut name = self.otherwise.to_string();
            while name.len() + end.len() > NAME_BYTES_MAX {
                name.pop();
            }
            (name.trim_end().to_owned() + &end).parse().ok()
        };
        let others = if self.given.is_some() { 0 } else { Self::ASKED_MAX };
        self.given.clone().into_iter().chain((1..=others).filter_map(numbered))
    }
}

/// Shows the ticket to the inviter until it admits the newcomer by one of its names.
async fn knock(
    mesh: &Mesh,
    ticket: &Ticket,
    names: &Names,
    me: Did,
    timeout: Duration,
) -> Result<(Chain, Name), NodeError> {
    let mut refused = None;
    for name in names.all() {
        match knock_as(mesh, ticket, &name, me, timeout).await {
            Ok(chain) => return Ok((chain, name)),
            Err(error @ NodeError::Refused(AccessError::Inviter { code: JoinRefusal::NameTaken, .. })) => {
                refused = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| StopError::NoAnswer.into()))
}

/// Shows the ticket to the inviter, and checks what it answers against the ticket's mesh.
async fn knock_as(mesh: &Mesh, ticket: &Ticket, name: &Name, me: Did, timeout: Duration) -> Result<Chain, NodeError> {
    if ticket.inviter == me {
        return Err(ConflictError::OwnTicket.into());
    }
    let addresses: Vec<Multiaddr> = ticket.addresses.iter().filter_map(|address| address.parse().ok()).collect();
    let request = JoinRequest {
        ticket_id: ticket.id,
        secret: ticket.secret,
        name: name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        succession: Vec::new(),
    };
    let reply = mesh.join(ticket.inviter, addresses, request);
    let reply = tokio::time::timeout(timeout, reply).await.map_err(|_| NodeError::TimedOut(timeout))?;
    match reply? {
        JoinReply::Admitted { chain, .. } => {
            let admitted = chain.verify(&ticket.mesh).map_err(AccessError::InviterChain)?.subject;
            if admitted != me {
                return Err(AccessError::AdmittedOther { admitted }.into());
            }
            Ok(chain)
        }
        JoinReply::Refused { code: JoinRefusal::Unavailable, message } => Err(ContactError::Busy { message }.into()),
        JoinReply::Refused { code, message } => Err(AccessError::Inviter { code, message }.into()),
    }
}

/// Writes the new store beside the old one, with what the old one remembered, and puts it in its
/// place.
fn move_in(
    dir: &DataDir,
    old: Option<Store>,
    ticket: &Ticket,
    chain: Chain,
    name: Name,
    clock: &dyn Clock,
) -> Result<Joined, NodeError> {
    let me = dir.identity().did();
    let beside = dir.store_path().with_extension("redb.new");
    for leftover in store::files_of(&beside) {
        match std::fs::remove_file(&leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ConflictError::Leftover { file: leftover, source: Arc::new(error) }.into());
            }
            _ => {}
        }
    }
    let store = Store::open(&beside, StoreOptions::default())?;
    // the store keeps its place on the disk when it is renamed
    let mut batch = ledger::found(&genesis(ticket.mesh, chain.clone(), dir.fingerprint_with(&beside)));
    batch.put(Table::Peers, ticket.inviter.as_bytes(), &rows::encode(&ticket.addresses));
    store.commit(&[batch])?;
    let mut transfer = Transfer::begin(dir.identity().clone(), &store, clock)?;
    transfer.run(Command::Admit { chain: chain.clone(), with: Batch::new(), replaces: None })?;
    if let Some(old) = &old {
        transfer.take(&old.snapshot()?)?;
    }
    drop(transfer);
    store.close();
    if let Some(old) = old {
        old.close();
    }
    // it names one mesh, and the store another: neither may stand against the other after a crash
    dir.remove_membership()?;
    dir.replace_store(&beside)?;
    dir.write_membership(&Membership::new(ticket.mesh, chain, [(ticket.inviter, ticket.addresses.clone())]))?;
    // the old mesh is gone, and its root key with it
    dir.remove_root()?;
    Ok(Joined {
        did: me,
        peer_id: peer_id(&me),
        mesh_did: ticket.mesh,
        name: name.to_string(),
        inviter: ticket.inviter,
    })
}

/// Writes into a store that no node runs on yet, by the engine that will.
pub(super) struct Transfer<'a> {
    engine: RestingEngine,
    clock: &'a dyn Clock,
}

impl<'a> Transfer<'a> {
    pub(super) fn begin(key: Keypair, store: &Store, clock: &'a dyn Clock) -> Result<Self, NodeError> {
        Ok(Self { engine: RestingEngine::open(key, store)?, clock })
    }

    pub(super) fn run(&mut self, command: Command) -> Result<Option<Outcome>, NodeError> {
        let input = Input::Commands(vec![(0, command)]);
        let Released { mut answers, published, events } = self.engine.run(self.clock.wall(), random(), input)?;
        // its peers get these entries by sync, once the node runs
        drop(published);
        for event in events {
            match event {
                // the node reads all of it from the store when it starts
                Event::Stored { .. } | Event::Members | Event::Task { .. } | Event::Spaces => {}
                // the node settles forks when it starts
                Event::Fork { .. } | Event::Unsettled | Event::Lacking => {}
                // the store of a node that joins has entries of its own alone: they follow on each other, keep the rules of
                // form, and are in no other store
                Event::Astray { .. } | Event::Quarantined { .. } | Event::Behind { .. } | Event::Renewed(_) => {
                    tracing::warn!(?event, "an own entry was not taken as written");
                }
            }
        }
        Ok(answers.pop().map(|(_, outcome)| outcome))
    }

    /// Writes again what another brain remembers, oldest first, space by space.
    fn take(&mut self, old: &dyn View) -> Result<(), NodeError> {
        let Some(genesis) = ledger::read_genesis(old)? else {
            return Ok(());
        };
        let me = genesis.chain.verify(&genesis.mesh).map_err(ledger::LedgerError::Chain)?.subject;
        let members = Arc::new(ledger::read_members(old)?);
        let reader = Reader::new(old, genesis.store, me, members, self.clock.wall())?;
        for space in reader.spaces() {
            let to = self.space_for(&space.space)?;
            let mut memories = Vec::new();
            let mut after = None;
            loop {
                let query = ListQuery { after, ..ListQuery::newest().space(space.id.to_string()).limit(1_000) };
                let page = reader.list(&query)?;
                memories.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            memories.reverse();
            for chunk in memories.chunks(COPY_CHUNK) {
                let mut records = Vec::with_capacity(chunk.len());
                for memory in chunk {
                    let core = Core { was: Some(was(memory)), ..reader.core_of(&memory.id.to_string())? };
                    records.push(NewRecord::whole(to, core));
                }
                self.run(Command::Remember(records))?;
            }
        }
        Ok(())
    }

    /// The space of that name in the new mesh; made if it is not `default`.
    fn space_for(&mut self, name: &str) -> Result<SpaceId, NodeError> {
        let mesh = self.engine.engine().members().mesh();
        let Ok(parsed) = name.parse::<Name>() else {
            return Ok(SpaceId::default_of(&mesh));
        };
        if name == "default" {
            return Ok(SpaceId::default_of(&mesh));
        }
        match self.run(Command::CreateSpace { name: parsed, salt: random() })? {
            Some(Outcome::Space(space)) => Ok(space),
            // a reader writes nothing, and takes nothing along
            _ => Ok(SpaceId::default_of(&mesh)),
        }
    }
}

/// The former id, author and time of a memory, for its copy.
fn was(memory: &Memory) -> Was {
    Was::new(memory.id.to_string(), memory.author.to_string(), memory.created_at.as_ms())
}
