//! A mesh whose keys are all here: it has as many members, revocations and forks as a bench needs.

use std::path::Path;
use std::sync::Arc;

use nexus_crdt::{
    Core, Dot, Draft, EntryId, Field, Head, Hlc, Incarnation, Kind, LogId, Pin, Revocation, RootRevocation, SpaceId,
    Target, Verified, Write, Writes,
};
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Timestamp};
use nexus_node::api::Problem;
use nexus_node::env::Tasks;
use nexus_node::internals::engine::{Genesis, Input, RestingEngine, found};
use nexus_node::internals::store::{Store, StoreOptions};
use nexus_node::net::{Multiaddr, tcp_quic_transport};
use nexus_node::{Node, NodeEnv};

use super::client::failed;

/// The stamp of all entries that no node writes.
const WRITTEN: Timestamp = Timestamp::from_ms(1_700_000_000_000);
/// Entries that are stored with one commit before a node starts.
const TOGETHER: usize = 500;

/// The root of a mesh, and an admin that runs no node: it admits members and revokes them.
pub(super) struct Crowd {
    root: Keypair,
    warden: Author,
}

/// A member's key, credentials and logs.
pub(super) struct Author {
    pub(super) key: Keypair,
    pub(super) chain: Chain,
    /// The last entries of its logs in the space of the mesh, and in that of memories.
    last: [Option<Head>; 2],
    incarnation: Incarnation,
}

impl Crowd {
    pub(super) fn new() -> Result<Self, Problem> {
        let (root, key) = (Keypair::generate(), Keypair::generate());
        let chain = Chain::found(claims(&root.did(), root.did(), key.did(), Role::Admin)?.sign(&root));
        let chain = chain.map_err(|error| failed("credentials", error))?;
        Ok(Self { root, warden: Author::new(key, chain)? })
    }

    pub(super) fn mesh(&self) -> Did {
        self.root.did()
    }

    /// A new member, below the admin.
    pub(super) fn member(&self) -> Result<Author, Problem> {
        let key = Keypair::generate();
        let warden = &self.warden;
        let claims = claims(&self.mesh(), warden.key.did(), key.did(), Role::Member)?.sign(&warden.key);
        let chain = warden.chain.extend(claims).map_err(|error| failed("credentials", error))?;
        Author::new(key, chain)
    }

    /// The entry by which a member says that it is one.
    pub(super) fn introduction(&self, author: &mut Author) -> Verified {
        let chain = author.chain.to_bytes();
        author.write(&self.mesh(), SpaceId::mesh(&self.mesh()), Kind::CREDENTIAL, chain)
    }

    /// The next entry of a member, with one write.
    pub(super) fn writes(&self, author: &mut Author, write: Write) -> Verified {
        author.write(&self.mesh(), SpaceId::default_of(&self.mesh()), Kind::WRITES, Writes(vec![write]).encode())
    }

    /// An entry in the place of the member's last one: its log is forked there.
    pub(super) fn branch(&self, author: &mut Author, before: Option<Head>, write: Write) -> Verified {
        author.last[1] = before;
        self.writes(author, write)
    }

    /// The admin's word that a membership has ended, with the last entry that counts.
    pub(super) fn revocation(&mut self, author: &Author, last: Head) -> Verified {
        let (mesh, space) = (self.mesh(), SpaceId::default_of(&self.mesh()));
        let pin = Pin { space, incarnation: author.incarnation, last };
        let word = Revocation::new(author.key.did(), [pin]).encode();
        self.warden.write(&mesh, SpaceId::mesh(&mesh), Kind::REVOCATION, word)
    }

    /// The root's word that nothing of a member's logs counts any more.
    pub(super) fn void(&self, author: &Author) -> RootRevocation {
        RootRevocation { revocations: vec![Revocation::new(author.key.did(), []).by_root(&self.root)], chain: None }
    }

    /// The entries of former members, each revoked by the admin in the middle of its log, and of members whose logs
    /// are forked. The admin's own introduction is first.
    pub(super) fn hardship(&mut self, revoked: usize, forked: usize) -> Result<Vec<Verified>, Problem> {
        let mesh = self.mesh();
        let chain = self.warden.chain.to_bytes();
        let mut entries = vec![self.warden.write(&mesh, SpaceId::mesh(&mesh), Kind::CREDENTIAL, chain)];
        for n in 0..revoked {
            let mut author = self.member()?;
            entries.push(self.introduction(&mut author));
            let log: Vec<_> = (0..4).map(|m| self.writes(&mut author, create(&format!("{m} of former {n}")))).collect();
            let counts = head_of(&log[1]);
            entries.extend(log);
            entries.push(self.revocation(&author, counts));
        }
        for n in 0..forked {
            let mut author = self.member()?;
            entries.push(self.introduction(&mut author));
            let base = self.writes(&mut author, create(&format!("base of {n}")));
            let at = Some(head_of(&base));
            entries.push(base);
            for side in ["one", "another"] {
                entries.push(self.branch(&mut author, at, create(&format!("{side} branch of {n}"))));
            }
        }
        Ok(entries)
    }

    /// The environment of a member's node on disk, which holds these entries before it starts.
    pub(super) fn env(&self, author: &Author, dir: &Path, entries: Vec<Verified>) -> Result<NodeEnv, Problem> {
        let io = |error| failed("a store", error);
        std::fs::create_dir_all(dir).map_err(|error| failed("a directory", error))?;
        let store = Store::open(dir.join("brain.redb"), StoreOptions::default()).map_err(io)?;
        let genesis = Genesis {
            mesh: self.mesh(),
            chain: author.chain.clone(),
            incarnation: Incarnation(random()?),
            store: random()?,
            fingerprint: None,
        };
        store.commit(&[found(&genesis)]).map_err(io)?;
        fill(&author.key, &store, entries)?;
        let transport = tcp_quic_transport(&author.key).map_err(|error| failed("a transport", error))?;
        let mut env = NodeEnv::new(author.key.clone(), transport, Arc::new(Tasks::current()), store);
        env.search = Some(dir.join("search"));
        env.config.mdns = false;
        env.config.listen.0 = vec![loopback()?];
        Ok(env)
    }

    /// A member's node that holds these entries, and knows the addresses of others.
    pub(super) async fn node(
        &self,
        author: &Author,
        dir: &Path,
        entries: Vec<Verified>,
        others: impl IntoIterator<Item = Multiaddr>,
    ) -> Result<Node, Problem> {
        let mut env = self.env(author, dir, entries)?;
        env.config.bootstrap.0 = others.into_iter().collect();
        Ok(Node::with_env(env).await?)
    }
}

impl Author {
    fn new(key: Keypair, chain: Chain) -> Result<Self, Problem> {
        Ok(Self { key, chain, last: [None; 2], incarnation: Incarnation(random()?) })
    }

    /// A key that nobody has admitted, with the credentials of somebody else.
    pub(super) fn stranger(like: &Self) -> Result<Self, Problem> {
        Self::new(Keypair::generate(), like.chain.clone())
    }

    /// Begins another log in the space of memories.
    pub(super) fn renew(&mut self) -> Result<(), Problem> {
        self.last[1] = None;
        self.incarnation = Incarnation(random()?);
        Ok(())
    }

    fn write(&mut self, mesh: &Did, space: SpaceId, kind: Kind, payload: Vec<u8>) -> Verified {
        let log = LogId { space, author: self.key.did(), incarnation: self.incarnation };
        let last = &mut self.last[usize::from(space != SpaceId::mesh(mesh))];
        let draft = Draft {
            mesh: *mesh,
            log,
            after: last.as_ref(),
            hlc: Hlc::at(WRITTEN),
            kind,
            refs: Vec::new(),
            payload: payload.into(),
        };
        let entry = Verified::write(draft, &self.key);
        *last = Some(head_of(&entry));
        entry
    }
}

fn claims(mesh: &Did, issuer: Did, subject: Did, role: Role) -> Result<Claims, Problem> {
    let name = "bench".parse().map_err(|error| failed("a name", error))?;
    Ok(Claims::new(*mesh, subject, name, [role], Timestamp::from_ms(1)).issued_by(issuer))
}

/// Stores entries as if a peer had sent them.
fn fill(key: &Keypair, store: &Store, entries: Vec<Verified>) -> Result<(), Problem> {
    let problem = |error: &dyn std::fmt::Display| failed("a store", error);
    let mut engine = RestingEngine::open(key.clone(), store).map_err(|error| problem(&error))?;
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        let input = Input::Entries { from: key.did(), entries: entries.by_ref().take(TOGETHER).collect() };
        // the store is all that a bench looks at
        let _ = engine.run(WRITTEN, random()?, input).map_err(|error| problem(&error))?;
    }
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| failed("no randomness", error))?;
    Ok(bytes)
}

pub(super) fn loopback() -> Result<Multiaddr, Problem> {
    "/ip4/127.0.0.1/tcp/0".parse().map_err(|error| failed("an address", error))
}

pub(super) fn head_of(entry: &Verified) -> Head {
    Head { seq: entry.header().seq, id: entry.id() }
}

/// A memory, of about 300 bytes like those of the other benches.
pub(super) fn create(text: &str) -> Write {
    let filler = "the quick brown fox jumps over the lazy dog while the build runs ".repeat(4);
    let core = Core { text: format!("{text} {filler}"), kind: "note".to_owned(), ..Core::default() };
    Write { target: Target::Create { page: 0 }, field: Field::named(Field::CORE), value: core.to_json(), over: vec![] }
}

/// Another text for a memory, beside its first one.
pub(super) fn edit(record: Dot, text: &str) -> Write {
    let value = serde_json::Value::from(text).to_string();
    Write { target: Target::Edit { record }, field: Field::named(Field::TEXT), value, over: Vec::new() }
}

/// The name of the first write of an entry.
pub(super) fn first_dot(id: EntryId) -> Dot {
    Dot { entry: id, index: 0 }
}
