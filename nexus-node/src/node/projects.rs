//! The project of a directory, as this node said it first.
//!
//! The records of the mesh are memories, which any member may change or forget. So a node keeps beside them which name it
//! gave to a mark, in a file of its directory: another member's word changes nothing here. A lost file costs nothing while
//! the record stands.

use std::sync::{Mutex, PoisonError};

use nexus_crdt::Origin;
use serde::{Deserialize, Serialize};

use super::Node;
use crate::datadir::DataDir;
use crate::error::NodeError;
use crate::project::{Mark, ProjectChoice, ProjectPlace, is_name};

/// The most marks that are kept: the latest ones.
const MARKS_KEPT: usize = 1_024;

/// A mark with the name that it got here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    mark: String,
    name: String,
}

/// All marks with names, the latest first. `None` until they are read.
#[derive(Debug, Default)]
pub(super) struct Projects(Mutex<Option<Vec<Named>>>);

impl Node {
    /// The name of a session's project. A directory's is the one that this node gave to the first of its marks, else
    /// [`Brain::project_of`](crate::Brain::project_of).
    ///
    /// # Errors
    /// As [`Brain::project_of`](crate::Brain::project_of); [`NodeError::Stopping`].
    pub async fn project_named(&self, choice: ProjectChoice) -> Result<String, NodeError> {
        let place = match choice {
            ProjectChoice::Named(name) => return Ok(name),
            ProjectChoice::At(place) => place,
        };
        match self.own_name(&place).await? {
            Some(name) => Ok(name),
            None => Ok(self.brain().project_of(place).await?.name),
        }
    }

    /// Sees to it that this node keeps to the name of a directory's project, and that other machines know it. Members see
    /// the name and the marks.
    ///
    /// # Errors
    /// As [`project_named`](Self::project_named) and [`Brain::remember`](crate::Brain::remember).
    pub async fn declare_project(&self, place: ProjectPlace, origin: Origin) -> Result<(), NodeError> {
        let name = self.project_named(ProjectChoice::At(place.clone())).await?;
        let (node, marks) = (self.clone(), place.marks.clone());
        let new = self.0.world.blocking(move || node.0.projects.has_new(&marks, node.0.dir.as_ref())).await?;
        // a directory that was declared before costs a write no more
        if !new {
            return Ok(());
        }
        let (node, marks) = (self.clone(), place.marks.clone());
        self.brain().declare_project(place, origin).await?;
        self.0.world.blocking(move || node.0.projects.note(&marks, &name, node.0.dir.as_ref())).await?;
        Ok(())
    }

    async fn own_name(&self, place: &ProjectPlace) -> Result<Option<String>, NodeError> {
        let (node, marks) = (self.clone(), place.marks.clone());
        Ok(self.0.world.blocking(move || node.0.projects.name_of(&marks, node.0.dir.as_ref())).await?)
    }
}

impl Projects {
    fn name_of(&self, marks: &[Mark], dir: Option<&DataDir>) -> Option<String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_with(|| dir.map(read).unwrap_or_default());
        let of = |mark: &Mark| known.iter().find(|named| named.mark == mark.to_string());
        marks.iter().find_map(of).map(|named| named.name.clone())
    }

    /// Whether any of some marks has no name here.
    fn has_new(&self, marks: &[Mark], dir: Option<&DataDir>) -> bool {
        marks.iter().any(|mark| self.name_of(&[*mark], dir).is_none())
    }

    /// Notes the name of some marks. Whether any is new.
    fn note(&self, marks: &[Mark], name: &str, dir: Option<&DataDir>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_with(|| dir.map(read).unwrap_or_default());
        let is_new = |mark: &&Mark| known.iter().all(|named| named.mark != mark.to_string());
        let new: Vec<Named> =
            marks.iter().filter(is_new).map(|mark| Named { mark: mark.to_string(), name: name.to_owned() }).collect();
        if new.is_empty() {
            return false;
        }
        known.splice(..0, new);
        known.truncate(MARKS_KEPT);
        if let Some(dir) = dir {
            let written = serde_json::to_string(known).map(|text| dir.write_projects(&text));
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "the names of projects are not kept");
            }
        }
        true
    }
}

/// The names in a directory. An unreadable file is ignored: the records of the mesh are left.
fn read(dir: &DataDir) -> Vec<Named> {
    let known: Vec<Named> = dir.projects().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    known.into_iter().filter(|named| is_name(&named.name)).take(MARKS_KEPT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_mark_stays_and_the_oldest_marks_go() {
        let (projects, mark) = (Projects::default(), |n: usize| Mark::of_commit(&n.to_string()));
        assert!(projects.note(&[mark(0)], "shop", None) && !projects.note(&[mark(0)], "other", None));
        assert!(projects.note(&[mark(0), mark(1)], "shop", None));
        let name = |marks: &[Mark]| projects.name_of(marks, None);
        assert_eq!((name(&[mark(9), mark(1)]).as_deref(), name(&[mark(9)]), name(&[])), (Some("shop"), None, None));
        for n in 2..2 + MARKS_KEPT {
            projects.note(&[mark(n)], "more", None);
        }
        assert_eq!(name(&[mark(0), mark(1)]), None);
    }
}
