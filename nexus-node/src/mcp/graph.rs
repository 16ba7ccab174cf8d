//! The graph profile: entities, relations and observations over the memory.
//!
//! Its tools have the names, schemas and answers of a memory server that many agents know (npm
//! `@modelcontextprotocol/server-memory`), so it can replace that server. Below, each entity, relation
//! and observation is a memory in the `default` space, under a key made from its content. So two
//! machines that write at once lose nothing, and an item that both write exists once. A space for
//! graphs would exist twice if two machines made it at once.
//!
//! | room | content |
//! |---|---|
//! | `item` | an entity, relation or observation as a memory, and back |
//! | `projection` | the graph in memory, kept up by the changes of the node |
//! | `search` | the entities that match a query, best first |
//! | `shape` | the shapes of arguments, and the errors for other shapes |
//! | `tools` | their descriptions |
//! | `server` | their answers |
//! | `jsonl` | the graph as lines, in and out |

mod item;
pub(super) mod jsonl;
mod projection;
mod search;
mod server;
mod shape;
mod tools;

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use nexus_crdt::Origin;
use tokio::sync::{Mutex, OwnedMutexGuard};

pub(super) use self::item::is_graph_kind;
pub(super) use self::server::GraphServer;
#[cfg(feature = "testing")]
pub(super) use self::server::{listed, takes};

use self::item::{Entity, Item, Relation};
use self::projection::Projection;
use super::answer::Refusal;
use crate::problem::Problem;
use crate::{Brain, ListQuery, NodeError, Watch, WatchQuery};

/// The space of the graph's memories.
pub(super) const SPACE: &str = "default";
/// The memories read at once at the start.
const PAGE: usize = 1_000;
/// The most forgets that wait for the disk together.
const FORGETS_AT_ONCE: usize = 64;

/// The graphs of a node: a common one, and one for each project with its own.
pub(super) struct Graph {
    brain: Brain,
    /// `None` until the first request.
    live: Arc<Mutex<Option<Live>>>,
    /// Allows one change at a time: two of them must not both find that an item is missing.
    writing: Mutex<()>,
}

/// A projection, and its place in the changes.
struct Live {
    projection: Projection,
    watch: Watch,
}

/// The projection, locked for one reader.
pub(super) struct Current(OwnedMutexGuard<Option<Live>>);

impl Current {
    fn projection(&self) -> &Projection {
        static EMPTY: Projection = Projection::new();
        self.0.as_ref().map_or(&EMPTY, |live| &live.projection)
    }
}

impl Graph {
    pub(super) fn new(brain: Brain) -> Self {
        Self { brain, live: Arc::default(), writing: Mutex::default() }
    }

    /// The graph with everything that this node has committed.
    async fn current(&self) -> Result<Current, Refusal> {
        let mut guard = self.live.clone().lock_owned().await;
        let current = self.brain.reading(move |brain| {
            let mut live = match guard.take() {
                Some(live) => live,
                None => load(brain)?,
            };
            catch_up(brain, &mut live)?;
            *guard = Some(live);
            Ok(Current(guard))
        });
        Ok(current.await?)
    }

    /// Creates the missing entities. Returns those.
    async fn create_entities(
        &self,
        project: &str,
        asked: Vec<Entity>,
        origin: &Origin,
    ) -> Result<Vec<Entity>, Refusal> {
        let _writing = self.writing.lock().await;
        let mut fresh: Vec<Entity> = Vec::new();
        {
            let current = self.current().await?;
            let state = current.projection().graph(project);
            let mut names = std::collections::BTreeSet::new();
            for mut entity in asked {
                if !state.has_entity(&entity.name) && names.insert(entity.name.clone()) {
                    let mut seen = std::collections::BTreeSet::new();
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
    async fn create_relations(
        &self,
        project: &str,
        asked: Vec<Relation>,
        origin: &Origin,
    ) -> Result<Vec<Relation>, Refusal> {
        let _writing = self.writing.lock().await;
        let mut fresh: Vec<Relation> = Vec::new();
        {
            let current = self.current().await?;
            let state = current.projection().graph(project);
            let mut seen = std::collections::BTreeSet::new();
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
    async fn add_observations(
        &self,
        project: &str,
        asked: Vec<(String, Vec<String>)>,
        origin: &Origin,
    ) -> Result<Vec<(String, Vec<String>)>, Refusal> {
        let _writing = self.writing.lock().await;
        let mut added: Vec<(String, Vec<String>)> = Vec::new();
        {
            let current = self.current().await?;
            let state = current.projection().graph(project);
            let mut seen = std::collections::BTreeSet::new();
            for (name, contents) in asked {
                if !state.has_entity(&name) {
                    return Err(Problem::new("not_found", format!("Entity with name {name} not found")));
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

    async fn delete_entities(&self, project: &str, names: &[String]) -> Result<(), Refusal> {
        self.delete(project, |state| names.iter().flat_map(|name| state.ids_about(name)).collect()).await
    }

    async fn delete_observations(&self, project: &str, of: &[(String, Vec<String>)]) -> Result<(), Refusal> {
        let ids = |state: &projection::ProjectGraph| {
            of.iter()
                .filter(|(name, _)| state.has_entity(name))
                .flat_map(|(name, contents)| {
                    contents.iter().flat_map(|content| state.ids_of_observation(name, content))
                })
                .collect()
        };
        self.delete(project, ids).await
    }

    async fn delete_relations(&self, project: &str, relations: &[Relation]) -> Result<(), Refusal> {
        self.delete(project, |state| relations.iter().flat_map(|relation| state.ids_of_relation(relation)).collect())
            .await
    }

    async fn write(&self, project: &str, items: Vec<Item>, origin: &Origin) -> Result<(), Refusal> {
        if items.is_empty() {
            return Ok(());
        }
        let memories = items.into_iter().map(|item| item.into_memory(project, origin)).collect();
        self.brain.remember_all(memories).await?;
        Ok(())
    }

    async fn delete(
        &self,
        project: &str,
        which: impl Fn(&projection::ProjectGraph) -> Vec<String>,
    ) -> Result<(), Refusal> {
        let _writing = self.writing.lock().await;
        let ids: std::collections::BTreeSet<String> =
            which(self.current().await?.projection().graph(project)).into_iter().collect();
        let forget = |id: String| async move {
            match self.brain.forget(&id).await {
                // another caller was faster
                Ok(()) | Err(NodeError::NotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        };
        Ok(stream::iter(ids).map(forget).buffer_unordered(FORGETS_AT_ONCE).try_collect::<()>().await?)
    }
}

/// Reads the whole graph.
fn load(brain: &Brain) -> Result<Live, NodeError> {
    // The cursor first, then the memories: an entry in between is seen twice, which is harmless.
    let watch = brain.watch_blocking(&WatchQuery::from_now().space(SPACE))?;
    let mut memories = Vec::new();
    let mut after = None;
    loop {
        let page = brain.list_blocking(&ListQuery {
            space: Some(SPACE.to_owned()),
            limit: PAGE,
            after,
            ..ListQuery::default()
        })?;
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
    Ok(Live { projection, watch })
}

/// Adds the changes committed since.
fn catch_up(brain: &Brain, live: &mut Live) -> Result<(), NodeError> {
    while let Some(change) = live.watch.committed()? {
        let Some(id) = change.subject.memory() else { continue };
        let memory = match brain.get_blocking(id) {
            Ok(memory) => Some(memory),
            Err(NodeError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        live.projection.set(&id.to_string(), memory.as_ref());
    }
    Ok(())
}
