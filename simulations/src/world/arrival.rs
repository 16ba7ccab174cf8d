//! Machines that join the mesh, and nodes that start on them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

use nexus_crdt::{ENTRY_FORMAT_LEAVES, Incarnation, Pin};
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Ticket, Timestamp};
use nexus_mesh::{JoinReply, JoinRequest, Mesh, MeshConfig, Rooms};
use nexus_node::config::{Bounded, Config};
use nexus_node::env::RaftEnv;
use nexus_node::internals::engine::{Engine, Genesis, found};
use nexus_node::internals::store::Table;
use nexus_node::internals::store::disk::Disk;
use nexus_node::{Invite, Node, NodeEnv};

use super::{JOIN_TIMEOUT, Machine, Sim, SimError, WRITER_BYTES, open};
use crate::machine::{DiskWork, Life, LifeSpawner, lock};
use crate::plan::NodeNo;
use crate::transport::address_of;

/// The time of a credential after all that honest members issue.
const LATE: Timestamp = Timestamp::from_ms(4_000_000_000_000);

/// The row of a store that says in which format its node writes entries.
const ENTRY_FORMAT: &[u8] = b"entry format";

/// A credential that somebody writes without a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paper {
    /// The member.
    pub(crate) subject: NodeNo,
    pub(crate) role: Role,
    pub(crate) person: Option<Did>,
    /// Whether it is later than all others.
    pub(crate) is_late: bool,
}

impl Sim {
    /// Founds the mesh: the first node, an admin.
    ///
    /// # Errors
    /// [`SimError`].
    pub async fn found(&self, name: &str) -> Result<NodeNo, SimError> {
        let no = self.machine(name)?;
        let (key, name) = self.with(no, |machine| (machine.key.clone(), machine.name.clone()));
        let claims = Claims::new(self.mesh(), key.did(), name, [Role::Admin], Timestamp::from_ms(1));
        let person = self.0.persons.load(Ordering::Relaxed).then(|| self.mesh());
        let chain = Chain::found(claims.of_person(person).sign(&self.0.root))
            .map_err(|error| SimError::Failed(error.to_string()))?;
        self.equip(no, chain)?;
        self.start(no).await?;
        Ok(no)
    }

    /// Adds a member with credentials made beforehand, as if it had joined before this story.
    ///
    /// # Errors
    /// [`SimError`]; also if the mesh is not founded yet.
    pub async fn add(&self, name: &str) -> Result<NodeNo, SimError> {
        let no = self.machine(name)?;
        let chain = self.chain_for(no)?;
        // the founder's log says since when it is a member
        let of_founder = chain.clone();
        self.on(0, async |node| node.vouch_for(of_founder).await).await?;
        self.equip(no, chain)?;
        self.start(no).await?;
        Ok(no)
    }

    /// Credentials for a machine, issued by the founder.
    ///
    /// # Errors
    /// If the mesh is not founded yet.
    pub fn chain_for(&self, no: NodeNo) -> Result<Chain, SimError> {
        let (key, name) = self.with(no, |machine| (machine.key.clone(), machine.name.clone()));
        let (founder, chain) = self.with(0, |machine| (machine.key.clone(), machine.chain.clone()));
        let chain = chain.ok_or_else(|| SimError::Failed("found a mesh first".to_owned()))?;
        let claims = Claims::new(self.mesh(), key.did(), name, [Role::Member], Timestamp::from_ms(1));
        let claims = claims.issued_by(founder.did()).sign(&founder);
        chain.extend(claims).map_err(|error| SimError::Failed(error.to_string()))
    }

    /// The credentials of a machine that is a member.
    pub(crate) fn chain_of(&self, no: NodeNo) -> Option<Chain> {
        self.with(no, |machine| machine.chain.clone())
    }

    /// The id by which a member with this chain names its person.
    pub(crate) fn person_of(&self, chain: &Chain) -> Option<Did> {
        let claims = chain.verify(&self.mesh()).ok()?;
        Some(claims.person.unwrap_or(claims.subject))
    }

    /// Credentials that the member of a chain issues with its key, without its node. `None` if they do not hold.
    pub(crate) fn extend(&self, chain: &Chain, key: &Keypair, paper: Paper) -> Option<Chain> {
        let (subject, name) = self.with(paper.subject, |machine| (machine.key.did(), machine.name.clone()));
        let at = if paper.is_late { LATE } else { Timestamp::from_ms(1) };
        let claims = Claims::new(self.mesh(), subject, name, [paper.role], at).issued_by(key.did());
        chain.extend(claims.of_person(paper.person).sign(key)).ok()
    }

    /// Adds a member through another one's join door, with a ticket.
    ///
    /// # Errors
    /// [`SimError`].
    pub async fn join(&self, name: &str, inviter: NodeNo) -> Result<NodeNo, SimError> {
        self.join_with(name, inviter, Invite::default()).await
    }

    /// The same by an invitation for somebody in particular.
    ///
    /// # Errors
    /// [`SimError`].
    pub async fn join_with(&self, name: &str, inviter: NodeNo, invite: Invite) -> Result<NodeNo, SimError> {
        let invited = self.on(inviter, async |node| node.invite(invite).await).await?;
        let no = self.machine(name)?;
        let chain = self.knock(no, &invited.ticket).await?;
        self.equip(no, chain)?;
        self.start(no).await?;
        Ok(no)
    }

    /// Makes a machine a member with a ticket, and starts its node.
    ///
    /// # Errors
    /// If the door does not open, or the node does not start.
    pub async fn knock_and_move_in(&self, no: NodeNo, ticket: &Ticket) -> Result<(), SimError> {
        let chain = self.knock(no, ticket).await?;
        self.move_in(no, chain).await
    }

    /// Starts a machine with a new store and these credentials.
    pub(crate) async fn move_in(&self, no: NodeNo, chain: Chain) -> Result<(), SimError> {
        self.equip(no, chain)?;
        self.start(no).await
    }

    /// The last entries of a machine's own logs that count, as its disk has them.
    pub(crate) fn own_pins(&self, no: NodeNo) -> Result<Vec<Pin>, SimError> {
        let failed = |error: &dyn std::fmt::Display| SimError::Failed(format!("the logs of n{no}: {error}"));
        let store = self.store_of(no)?;
        let view = store.snapshot().map_err(|error| failed(&error))?;
        let engine = Engine::open(self.key(no), &view).map_err(|error| failed(&error))?;
        engine.own_pins(&view).map_err(|error| failed(&error))
    }

    /// Shows a ticket at its inviter's door.
    ///
    /// # Errors
    /// If the door does not open.
    pub async fn knock(&self, no: NodeNo, ticket: &Ticket) -> Result<Chain, SimError> {
        self.knock_with(no, ticket, Vec::new()).await
    }

    /// The same with the request of a member's key in the place of the ticket, which names the inviter alone.
    pub(crate) async fn knock_with(&self, no: NodeNo, ticket: &Ticket, succession: Vec<u8>) -> Result<Chain, SimError> {
        let failed = |what: &dyn std::fmt::Display| SimError::Failed(format!("n{no} did not get in: {what}"));
        let (key, name, chassis) =
            self.with(no, |machine| (machine.key.clone(), machine.name.clone(), machine.chassis.clone()));
        let life = Life::new(no, chassis, self.0.network.clone());
        let transport = self.0.network.transport(no, &key, None).map_err(|error| failed(&error))?;
        let started = Mesh::start(transport, MeshConfig::new(key), Rooms::new(), Arc::new(LifeSpawner(life.clone())));
        let (mesh, mut events) = started.map_err(|error| failed(&error))?;
        let addresses = ticket.addresses.iter().filter_map(|address| address.parse().ok()).collect();
        let request =
            JoinRequest { ticket_id: ticket.id, secret: ticket.secret, name, version: "0".to_owned(), succession };
        let asked = async {
            tokio::select! {
                reply = mesh.join(ticket.inviter, addresses, request) => Some(reply),
                () = async { while events.recv().await.is_some() {} } => None,
            }
        };
        let reply = tokio::time::timeout(JOIN_TIMEOUT, asked).await;
        mesh.shutdown().await;
        life.end();
        match reply.map_err(|_| failed(&"no answer"))?.ok_or_else(|| failed(&"the network ended"))? {
            Ok(JoinReply::Admitted { chain, .. }) => Ok(chain),
            Ok(JoinReply::Refused { message, .. }) => Err(failed(&message)),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Writes the first content of a store to a machine's disk.
    fn equip(&self, no: NodeNo, chain: Chain) -> Result<(), SimError> {
        let disk = Disk::new();
        let store = open(no, &disk)?;
        let (mut incarnation, mut name) = ([0; 8], [0; 8]);
        for bytes in [&mut incarnation, &mut name] {
            getrandom::fill(bytes).map_err(|error| SimError::Failed(error.to_string()))?;
        }
        let genesis = Genesis {
            mesh: self.mesh(),
            chain: chain.clone(),
            incarnation: Incarnation(incarnation),
            store: name,
            fingerprint: None,
        };
        let mut first = found(&genesis);
        if self.0.documents.load(Ordering::Relaxed) {
            first.put(Table::Meta, ENTRY_FORMAT, &ENTRY_FORMAT_LEAVES.to_le_bytes());
        }
        store.commit(&[first]).map_err(|error| SimError::Store(no, error))?;
        store.close();
        self.with(no, |machine| {
            machine.chain = Some(chain);
            machine.disk = disk;
            machine.raft = Disk::new();
            machine.journal = Disk::new();
        });
        Ok(())
    }

    /// Starts the node of a machine from the content of its disk.
    ///
    /// # Errors
    /// [`SimError::Store`] if the store does not open, [`SimError::Node`].
    pub async fn start(&self, no: NodeNo) -> Result<(), SimError> {
        let (key, name, chassis, disk, raft, journal, bootstrap) = self.with(no, |machine| {
            machine.starts += 1;
            if std::mem::take(&mut machine.dark) {
                self.0.network.lighten(no);
            }
            let Machine { key, name, chassis, disk, raft, journal, bootstrap, .. } = machine;
            let disks = (disk.clone(), raft.clone(), journal.clone());
            (key.clone(), name.clone(), chassis.clone(), disks.0, disks.1, disks.2, bootstrap.clone())
        });
        self.0.network.note(Some(no), format_args!("starts"));
        let disk = self.tamper(no, disk)?;
        let store = open(no, &disk)?;
        let raft = match self.0.coordinators.load(Ordering::Relaxed) {
            true => Some(RaftEnv::new(open(no, &raft)?, Box::new(journal))),
            false => None,
        };
        let transport =
            self.0.network.transport(no, &key, None).map_err(|error| SimError::Failed(error.to_string()))?;
        let mut config = Config::default();
        config.listen.0 = vec![address_of(no)];
        config.bootstrap.0 = bootstrap.into_iter().filter(|address| *address != address_of(no)).collect();
        config.mdns = false;
        config.name = Some(name);
        config.cache_bytes = Bounded::of::<{ 1 << 20 }>();
        config.voter_settle_ms = Bounded::of::<2_000>();
        config.task_routing = *lock(&self.0.routing);
        config.task_takeover_ms = Bounded::of::<6_000>();
        config.formats = self.with(no, |machine| machine.formats);
        // few entries are written in a run, and copies that lag must meet snapshots
        config.snapshot_every = 100;
        config.writer_bytes_max = Bounded::of::<WRITER_BYTES>();
        let life = Life::new(no, chassis.clone(), self.0.network.clone());
        let spawner = Arc::new(LifeSpawner(life.clone()));
        let blocking = Arc::new(DiskWork { chassis: chassis.clone(), network: self.0.network.clone() });
        let mut env = NodeEnv::new(key, transport, spawner.clone(), store);
        env.raft = raft;
        env.blocking = blocking;
        env.usage = Some(crate::tasks::usage_of(no));
        env.blobs = self.blobs(no);
        env.config = config;
        self.with(no, |machine| machine.life = Some(life));
        let (tell, told) = oneshot::channel();
        let starting = async move {
            let _ = tell.send(Node::with_env(env).await);
        };
        nexus_mesh::Spawner::spawn(&*spawner, "start", Box::pin(starting));
        let node = told.await.map_err(|_| SimError::Down(no))?.map_err(|error| SimError::Node(no, error))?;
        self.with(no, |machine| machine.node = Some(node));
        self.0.network.note(Some(no), format_args!("is up"));
        Ok(())
    }
}
