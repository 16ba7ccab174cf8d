//! The graph in memory: made from memories, in the order of their arrival.

use std::collections::{BTreeMap, BTreeSet};

use super::item::{Entity, Item, Relation};
use crate::Memory;

/// The graphs of a node, by project.
pub(crate) struct Projection {
    graphs: BTreeMap<String, ProjectGraph>,
    /// The item of each memory, for taking it back when the memory changes.
    items: BTreeMap<String, (String, Item)>,
    /// The number of the next item.
    next: u64,
}

/// One graph.
pub(crate) struct ProjectGraph {
    entities: BTreeMap<String, Node>,
    /// The existing entities, in the order of arrival.
    order: BTreeMap<u64, String>,
    relations: BTreeMap<Relation, Edge>,
    relation_order: BTreeMap<u64, Relation>,
    /// The relations that begin or end at a name.
    touching: BTreeMap<String, BTreeSet<u64>>,
    /// Grows with each change.
    version: u64,
}

/// The data under a name: an entity and its observations. Either may come alone, from different
/// machines. Without an entity the name is not shown.
#[derive(Default)]
struct Node {
    number: u64,
    kind: String,
    ids: BTreeSet<String>,
    said: BTreeMap<u64, String>,
    observations: BTreeMap<String, Edge>,
    /// Name, type and observations in lower case, a line each.
    folded: String,
}

/// The place of an item in the order, and the memories that contain it.
struct Edge {
    number: u64,
    ids: BTreeSet<String>,
}

impl Projection {
    pub(crate) const fn new() -> Self {
        Self { graphs: BTreeMap::new(), items: BTreeMap::new(), next: 0 }
    }

    /// The graph of a project.
    pub(crate) fn graph(&self, project: &str) -> &ProjectGraph {
        static EMPTY: ProjectGraph = ProjectGraph::new();
        self.graphs.get(project).unwrap_or(&EMPTY)
    }

    /// Sets the current form of a memory.
    pub(crate) fn set(&mut self, id: &str, memory: Option<&Memory>) {
        let now = memory.and_then(Item::of);
        if self.items.get(id) == now.as_ref() {
            return;
        }
        if let Some((project, before)) = self.items.remove(id) {
            self.graphs.entry(project).or_insert_with(ProjectGraph::new).remove(id, &before);
        }
        if let Some((project, item)) = now {
            self.next += 1;
            self.graphs.entry(project.clone()).or_insert_with(ProjectGraph::new).add(id, &item, self.next);
            self.items.insert(id.to_owned(), (project, item));
        }
    }
}

impl ProjectGraph {
    const fn new() -> Self {
        Self {
            entities: BTreeMap::new(),
            order: BTreeMap::new(),
            relations: BTreeMap::new(),
            relation_order: BTreeMap::new(),
            touching: BTreeMap::new(),
            version: 0,
        }
    }

    fn add(&mut self, id: &str, item: &Item, number: u64) {
        self.version += 1;
        match item {
            Item::Entity { name, kind } => {
                let node = self.entities.entry(name.clone()).or_default();
                if node.ids.is_empty() {
                    node.number = number;
                    self.order.insert(number, name.clone());
                }
                node.ids.insert(id.to_owned());
                node.kind.clone_from(kind);
                node.fold(name);
            }
            Item::Observation { entity, content } => {
                let node = self.entities.entry(entity.clone()).or_default();
                let edge = node.observations.entry(content.clone()).or_insert_with(|| {
                    node.said.insert(number, content.clone());
                    fold(&mut node.folded, content);
                    Edge { number, ids: BTreeSet::new() }
                });
                edge.ids.insert(id.to_owned());
            }
            Item::Relation(relation) => {
                let edge = self.relations.entry(relation.clone()).or_insert_with(|| {
                    self.relation_order.insert(number, relation.clone());
                    for end in [&relation.from, &relation.to] {
                        self.touching.entry(end.clone()).or_default().insert(number);
                    }
                    Edge { number, ids: BTreeSet::new() }
                });
                edge.ids.insert(id.to_owned());
            }
        }
    }

    fn remove(&mut self, id: &str, item: &Item) {
        self.version += 1;
        match item {
            Item::Entity { name, .. } => {
                let Some(node) = self.entities.get_mut(name) else { return };
                node.ids.remove(id);
                if node.ids.is_empty() {
                    self.order.remove(&node.number);
                    if node.observations.is_empty() {
                        self.entities.remove(name);
                    }
                }
            }
            Item::Observation { entity, content } => {
                let Some(node) = self.entities.get_mut(entity) else { return };
                let Some(edge) = node.observations.get_mut(content) else { return };
                edge.ids.remove(id);
                if edge.ids.is_empty() {
                    node.said.remove(&edge.number);
                    node.observations.remove(content);
                    node.fold(entity);
                }
                if node.ids.is_empty() && node.observations.is_empty() {
                    self.entities.remove(entity);
                }
            }
            Item::Relation(relation) => {
                let Some(edge) = self.relations.get_mut(relation) else { return };
                edge.ids.remove(id);
                if edge.ids.is_empty() {
                    let number = edge.number;
                    self.relations.remove(relation);
                    self.relation_order.remove(&number);
                    for end in [&relation.from, &relation.to] {
                        if let Some(numbers) = self.touching.get_mut(end) {
                            numbers.remove(&number);
                            if numbers.is_empty() {
                                self.touching.remove(end);
                            }
                        }
                    }
                }
            }
        }
    }

    /// A number that grows with each change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn has_entity(&self, name: &str) -> bool {
        self.entities.get(name).is_some_and(|node| !node.ids.is_empty())
    }

    pub(crate) fn has_relation(&self, relation: &Relation) -> bool {
        self.relations.contains_key(relation)
    }

    pub(crate) fn has_observation(&self, entity: &str, content: &str) -> bool {
        self.entities.get(entity).is_some_and(|node| node.observations.contains_key(content))
    }

    /// The number of entities.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// The names of all entities, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.order.values().map(String::as_str)
    }

    /// The names of some entities, in order.
    pub(crate) fn names_of<'a>(&'a self, wanted: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a str> {
        let numbers: BTreeSet<u64> = wanted.iter().filter_map(|name| self.number(name)).collect();
        numbers.into_iter().filter_map(|number| self.order.get(&number).map(String::as_str))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.entities.get(name).filter(|node| !node.ids.is_empty()).map(|node| node.number)
    }

    /// The name, borrowed from the graph.
    pub(crate) fn name<'a>(&'a self, name: &str) -> &'a str {
        self.entities.get_key_value(name).map_or("", |(name, _)| name.as_str())
    }

    /// An entity with its observations.
    pub(crate) fn entity(&self, name: &str) -> Option<Entity> {
        let node = self.entities.get(name).filter(|node| !node.ids.is_empty())?;
        Some(Entity {
            name: name.to_owned(),
            entity_type: node.kind.clone(),
            observations: node.said.values().cloned().collect(),
        })
    }

    /// The texts of an entity in lower case: name, type, observations.
    pub(crate) fn folded(&self, name: &str) -> &str {
        self.entities.get(name).map_or("", |node| &node.folded)
    }

    /// All relations, in order.
    pub(crate) fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.relation_order.values()
    }

    /// The relations that begin or end at one of these names, in order.
    pub(crate) fn relations_of<'a, 'b>(&'a self, names: impl Iterator<Item = &'b str>) -> Vec<&'a Relation> {
        let numbers: BTreeSet<u64> =
            names.filter_map(|name| self.touching.get(name)).flat_map(|numbers| numbers.iter().copied()).collect();
        numbers.into_iter().filter_map(|number| self.relation_order.get(&number)).collect()
    }

    /// The memories of an entity, with those of its observations and relations.
    pub(crate) fn ids_about(&self, name: &str) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        if let Some(node) = self.entities.get(name) {
            ids.extend(node.ids.iter().cloned());
            ids.extend(node.observations.values().flat_map(|edge| edge.ids.iter().cloned()));
        }
        let relations = self.relations_of([name].into_iter());
        ids.extend(relations.into_iter().flat_map(|relation| self.ids_of_relation(relation)));
        ids
    }

    pub(crate) fn ids_of_observation(&self, entity: &str, content: &str) -> Vec<String> {
        let edge = self.entities.get(entity).and_then(|node| node.observations.get(content));
        edge.map(|edge| edge.ids.iter().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn ids_of_relation(&self, relation: &Relation) -> Vec<String> {
        self.relations.get(relation).map(|edge| edge.ids.iter().cloned().collect()).unwrap_or_default()
    }
}

impl Node {
    fn fold(&mut self, name: &str) {
        self.folded.clear();
        for text in [name, &self.kind].into_iter().chain(self.said.values().map(String::as_str)) {
            fold(&mut self.folded, text);
        }
    }
}

fn fold(folded: &mut String, text: &str) {
    folded.push_str(&text.to_lowercase());
    folded.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(name: &str, kind: &str) -> Item {
        Item::Entity { name: name.into(), kind: kind.into() }
    }

    fn said(entity: &str, content: &str) -> Item {
        Item::Observation { entity: entity.into(), content: content.into() }
    }

    fn likes(from: &str, to: &str) -> Relation {
        Relation { from: from.into(), to: to.into(), relation_type: "likes".into() }
    }

    /// promise: Agents | Two machines that write to the graph at once keep everything
    #[test]
    fn what_comes_in_any_order_and_twice_is_there_once_and_goes_with_its_last_memory() {
        let mut state = ProjectGraph::new();
        state.add("o1", &said("ann", "swims"), 1);
        assert!(!state.has_entity("ann"));
        state.add("e1", &entity("ann", "person"), 2);
        state.add("e2", &entity("ann", "person"), 3);
        state.add("o2", &said("ann", "swims"), 4);
        state.add("r1", &Item::Relation(likes("ann", "bob")), 5);
        assert_eq!(state.entity("ann").unwrap().observations, ["swims"]);
        assert_eq!((state.len(), state.relations_of(["bob"].into_iter()).len()), (1, 1));
        assert_eq!(state.ids_about("ann"), ["e1", "e2", "o1", "o2", "r1"]);
        state.remove("e1", &entity("ann", "person"));
        assert!(state.has_entity("ann"));
        state.remove("o1", &said("ann", "swims"));
        assert!(state.has_observation("ann", "swims"));
        for (id, item) in
            [("e2", entity("ann", "person")), ("o2", said("ann", "swims")), ("r1", Item::Relation(likes("ann", "bob")))]
        {
            state.remove(id, &item);
        }
        assert!(state.entities.is_empty() && state.order.is_empty() && state.touching.is_empty());
        assert!(state.relations.is_empty() && state.relation_order.is_empty());
    }
}
