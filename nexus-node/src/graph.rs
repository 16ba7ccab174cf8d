//! A graph of entities, relations and observations over the memory: a follower of the log.
//!
//! Each entity, relation and observation is a memory in the `default` space, under a key made from its content. So two
//! machines that write at once lose nothing, and an item that both write exists once. A space for graphs would exist twice
//! if two machines made it at once. The graph itself is derived: it is in memory, and made anew from memories at any time.
//!
//! | room | content |
//! |---|---|
//! | `item` | an entity, relation or observation as a memory, and back |
//! | `projection` | the graph in memory |
//! | `search` | the entities that match a query, best first |
//! | `lines` | the graph as lines, in and out |

mod item;
mod lines;
mod projection;
pub(crate) mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use nexus_crdt::Origin;
use tokio::sync::{Mutex, OwnedMutexGuard};

use self::item::Item;
pub(crate) use self::item::{Entity, Relation, is_graph_kind};
pub(crate) use self::lines::{Line, LineCounts};
pub(crate) use self::projection::ProjectGraph;
use self::projection::Projection;
use crate::brain::Brain;
use crate::error::NodeError;
use crate::follow::touched_after;
use crate::ledger;
use crate::ledger::rows::Eno;
use crate::memory::read::Reader;
use crate::memory::{ListQuery, MemoryId};
use crate::store::View;

/// The space of the graph's memories.
pub(crate) const SPACE: &str = "default";
/// The memories read at once at the start.
const PAGE: usize = 1_000;
/// The most machines whose copies of one item are removed together.
const SAME_MAX: usize = 64;
/// The most forgets that wait for the disk together.
const FORGETS_AT_ONCE: usize = 64;

/// The reason why the graph did not change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GraphError {
    /// The memory refused it.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// There is no entity of this name.
    #[error("there is no entity {0}")]
    NoEntity(String),
}

/// The graphs of a node: a common one, and one for each project with its own.
pub(crate) struct Graph {
    brain: Brain,
    /// `None` until the first request.
    live: Arc<Mutex<Option<Live>>>,
    /// Allows one change at a time: two of them must not both find that an item is missing.
    writing: Mutex<()>,
}

/// A projection, and its place in the log.
struct Live {
    projection: Projection,
    at: Eno,
}

/// The projection, locked for one reader.
pub(crate) struct Current(OwnedMutexGuard<Option<Live>>);

impl Current {
    /// The graph of a project; the common one has no name.
    pub(crate) fn graph(&self, project: &str) -> &ProjectGraph {
        static EMPTY: Projection = Projection::new();
        self.0.as_ref().map_or(&EMPTY, |live| &live.projection).graph(project)
    }
}

impl Graph {
    pub(crate) fn new(brain: Brain) -> Self {
        Self { brain, live: Arc::default(), writing: Mutex::default() }
    }

    /// The graph with everything that this node has committed.
    pub(crate) async fn current(&self) -> Result<Current, GraphError> {
        let mut guard = self.live.clone().lock_owned().await;
        let current = self.brain.reading(move |brain| {
            let snapshot = brain.snapshot()?;
            let reader = brain.reader(&snapshot)?;
            let mut live = match guard.take() {
                Some(live) => live,
                None => Live::load(&snapshot, &reader)?,
            };
            live.follow(&snapshot, &reader)?;
            *guard = Some(live);
            Ok(Current(guard))
        });
        Ok(current.await?)
    }

    /// Waits until a project's graph is another one than that of a version. Returns its version; `None` once the node has
    /// stopped. Changes that come together within a time are one.
    pub(crate) async fn changed(
        &self,
        project: &str,
        version: u64,
        together: Duration,
    ) -> Result<Option<u64>, GraphError> {
        let mut committed = self.brain.committed();
        loop {
            let now = self.current().await?.graph(project).version();
            if now != version {
                return Ok(Some(now));
            }
            if committed.changed().await.is_err() {
                return Ok(None);
            }
            tokio::time::sleep(together).await;
        }
    }

    /// Creates the missing entities. Returns those.
    pub(crate) async fn create_entities(
        &self,
        project: &str,
        asked: Vec<Entity>,
        origin: &Origin,
    ) -> Result<Vec<Entity>, GraphError> {
        let _writing = self.writing.lock().await;
        let mut fresh: Vec<Entity> = Vec::new();
        {
            let current = self.current().await?;
            let state = current.graph(project);
            let mut names = BTreeSet::new();
            for mut entity in asked {
                if !state.has_entity(&entity.name) && names.insert(entity.name.clone()) {
                    let mut seen = BTreeSet::new();
                    entity.observations.retain(|content| seen.insert(content.clone()));
                    fresh.push(entity);
                }
            }
        }
        let items = fresh.iter().flat_map(|entity| {
            let of = Item::Entity { name: entity.name.clone(), kind: entity.entity_type.clone() };
            let said = entity.observations.iter();
            let said = said.map(|content| Item::Observation { entity: entity.name.clone(), content: content.clone() });
            [of].into_iter().chain(said)
        });
        self.write(project, items.collect(), origin).await?;
        Ok(fresh)
    }

    /// Creates the missing relations. Returns those.
    pub(crate) async fn create_relations(
        &self,
        project: &str,
        asked: Vec<Relation>,
        origin: &Origin,
    ) -> Result<Vec<Relation>, GraphError> {
        let _writing = self.writing.lock().await;
        let mut fresh: Vec<Relation> = Vec::new();
        {
            let current = self.current().await?;
            let state = current.graph(project);
            let mut seen = BTreeSet::new();
            for relation in asked {
                if !state.has_relation(&relation) && seen.insert(relation.clone()) {
                    fresh.push(relation);
                }
            }
        }
        self.write(project, fresh.iter().cloned().map(Item::Relation).collect(), origin).await?;
        Ok(fresh)
    }

    /// Adds the missing observations of each entity. Returns those.
    ///
    /// # Errors
    /// [`GraphError::NoEntity`] for the first name that is no entity; nothing is added then.
    pub(crate) async fn add_observations(
        &self,
        project: &str,
        asked: Vec<(String, Vec<String>)>,
        origin: &Origin,
    ) -> Result<Vec<(String, Vec<String>)>, GraphError> {
        let _writing = self.writing.lock().await;
        let mut added: Vec<(String, Vec<String>)> = Vec::new();
        {
            let current = self.current().await?;
            let state = current.graph(project);
            let mut seen = BTreeSet::new();
            for (name, contents) in asked {
                if !state.has_entity(&name) {
                    return Err(GraphError::NoEntity(name));
                }
                let is_new = |content: &String| {
                    !state.has_observation(&name, content) && seen.insert((name.clone(), content.clone()))
                };
                let fresh = contents.into_iter().filter(is_new).collect();
                added.push((name, fresh));
            }
        }
        let items = added.iter().flat_map(|(entity, contents)| {
            contents.iter().map(|content| Item::Observation { entity: entity.clone(), content: content.clone() })
        });
        self.write(project, items.collect(), origin).await?;
        Ok(added)
    }

    /// Removes entities, with their observations and relations.
    pub(crate) async fn delete_entities(&self, project: &str, names: &[String]) -> Result<(), GraphError> {
        self.delete(project, |state| names.iter().flat_map(|name| state.ids_about(name)).collect()).await
    }

    /// Removes observations of entities.
    pub(crate) async fn delete_observations(
        &self,
        project: &str,
        of: &[(String, Vec<String>)],
    ) -> Result<(), GraphError> {
        let ids = |state: &ProjectGraph| {
            of.iter()
                .filter(|(name, _)| state.has_entity(name))
                .flat_map(|(name, contents)| {
                    contents.iter().flat_map(|content| state.ids_of_observation(name, content))
                })
                .collect()
        };
        self.delete(project, ids).await
    }

    /// Removes relations.
    pub(crate) async fn delete_relations(&self, project: &str, relations: &[Relation]) -> Result<(), GraphError> {
        self.delete(project, |state| relations.iter().flat_map(|relation| state.ids_of_relation(relation)).collect())
            .await
    }

    async fn write(&self, project: &str, items: Vec<Item>, origin: &Origin) -> Result<(), GraphError> {
        if items.is_empty() {
            return Ok(());
        }
        let memories = items.into_iter().map(|item| item.into_memory(project, origin)).collect();
        self.brain.remember_all(memories).await?;
        Ok(())
    }

    async fn delete(&self, project: &str, which: impl Fn(&ProjectGraph) -> Vec<String>) -> Result<(), GraphError> {
        let _writing = self.writing.lock().await;
        // of items that two machines wrote one is shown, and behind it comes the other
        for _ in 0..SAME_MAX {
            let ids: BTreeSet<String> = which(self.current().await?.graph(project)).into_iter().collect();
            if ids.is_empty() {
                break;
            }
            let forget = |id: String| async move {
                match self.brain.forget(&id).await {
                    // another caller was faster
                    Ok(()) | Err(NodeError::NotFound { .. }) => Ok(()),
                    Err(error) => Err(error),
                }
            };
            stream::iter(ids).map(forget).buffer_unordered(FORGETS_AT_ONCE).try_collect::<()>().await?;
        }
        Ok(())
    }
}

impl Live {
    /// Reads the whole graph, in the order in which its memories were created.
    fn load(view: &dyn View, reader: &Reader<'_>) -> Result<Self, NodeError> {
        let at = ledger::last_eno(view)?;
        let mut memories = Vec::new();
        let mut after = None;
        loop {
            let query = ListQuery { space: Some(SPACE.to_owned()), limit: PAGE, after, ..ListQuery::default() };
            let page = reader.list(&query)?;
            memories.extend(page.items.into_iter().filter(|memory| is_graph_kind(&memory.kind)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut projection = Projection::new();
        for memory in memories.iter().rev() {
            projection.set(&memory.id.to_string(), Some(memory));
        }
        Ok(Self { projection, at })
    }

    /// Follows what was committed since.
    fn follow(&mut self, view: &dyn View, reader: &Reader<'_>) -> Result<(), NodeError> {
        let here = reader.space(Some(SPACE))?.1.no;
        loop {
            let portion = touched_after(view, self.at)?;
            let Some((last, _)) = portion.last() else { return Ok(()) };
            let last = *last;
            // each record is read once, however many entries touch it
            let mut looked = BTreeSet::new();
            for (_, touched) in portion {
                for dot in touched.all() {
                    for dot in reader.stand_for(dot)?.all().chain([dot]) {
                        if looked.insert(dot) {
                            let shown = reader.shown(dot)?.filter(|shown| shown.record == dot && shown.space == here);
                            let id = MemoryId::from(dot).to_string();
                            self.projection.set(&id, shown.as_ref().map(|shown| &shown.memory));
                        }
                    }
                }
            }
            self.at = last;
        }
    }
}
