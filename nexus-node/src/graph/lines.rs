//! The graph as lines of JSON in the form of the memory server that many agents know.

use nexus_crdt::Origin;
use serde::{Deserialize, Serialize};

use super::item::{Entity, Relation};
use super::{Current, Graph, GraphError};

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Line {
    Entity(Entity),
    Relation(Relation),
}

/// The items that some lines added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LineCounts {
    pub(crate) entities: usize,
    pub(crate) observations: usize,
    pub(crate) relations: usize,
}

impl Current {
    /// All entities of a project, then all relations, a line each.
    pub(crate) fn lines(&self, project: &str) -> Vec<u8> {
        let state = self.graph(project);
        let entities = state.names().filter_map(|name| state.entity(name)).map(Line::Entity);
        let mut lines = Vec::new();
        for line in entities.chain(state.relations().cloned().map(Line::Relation)) {
            // String keys and no numbers: writing them cannot fail.
            lines.extend(serde_json::to_vec(&line).unwrap_or_default());
            lines.push(b'\n');
        }
        lines
    }
}

impl Graph {
    /// Adds what is missing of some lines, and counts it.
    pub(crate) async fn take(
        &self,
        project: &str,
        lines: Vec<Line>,
        origin: &Origin,
        taken: &mut LineCounts,
    ) -> Result<(), GraphError> {
        let (mut entities, mut said, mut relations) = (Vec::new(), Vec::new(), Vec::new());
        for line in lines {
            match line {
                Line::Entity(entity) => {
                    said.push((entity.name.clone(), entity.observations.clone()));
                    entities.push(entity);
                }
                Line::Relation(relation) => relations.push(relation),
            }
        }
        let made = self.create_entities(project, entities, origin).await?;
        taken.entities += made.len();
        taken.observations += made.iter().map(|entity| entity.observations.len()).sum::<usize>();
        let added = self.add_observations(project, said, origin).await?;
        taken.observations += added.iter().map(|(_, added)| added.len()).sum::<usize>();
        taken.relations += self.create_relations(project, relations, origin).await?.len();
        Ok(())
    }
}
