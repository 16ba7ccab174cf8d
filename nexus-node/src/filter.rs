//! Conditions on memories: those that a question admits, by whichever index it is asked.

use std::collections::BTreeSet;

use nexus_identity::{Did, Timestamp};

use crate::ledger::rows::SpaceNo;
use crate::words::matched_form;

/// The kind of a memory that is a group.
pub(crate) const VOCABULARY: &str = "vocabulary";
/// The kind of a memory that waits for somebody's word: no question finds it, unless it asks for this kind.
pub(crate) const PROPOSAL: &str = "proposal";
/// The kind of a memory that is the record of a project.
pub(crate) const PROJECT: &str = "project-marks";

/// Conditions on a memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// In one of these spaces.
    pub(crate) spaces: BTreeSet<SpaceNo>,
    /// With all of these tags, in the form in which they are compared.
    pub(crate) tags: BTreeSet<String>,
    /// The kinds that are admitted, in the form in which they are compared; any kind is if there are none.
    pub(crate) kinds: BTreeSet<String>,
    /// By this author.
    pub(crate) by: Option<Did>,
    /// Edited or created at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// Holding at this time; `None` for any time.
    pub(crate) valid_at: Option<Timestamp>,
    /// A project's, or personal.
    pub(crate) project: Option<OfProject>,
}

/// The memories that a session in a project is told of.
#[derive(Clone, Debug)]
pub(crate) struct OfProject {
    /// The project's tag, in the form in which tags are compared.
    pub(crate) tag: String,
    /// The authors whose memories without a project are personal.
    pub(crate) mine: BTreeSet<Did>,
}

/// The beginning of the tags of projects. A document of any project has it as a tag, too.
pub(crate) const PROJECT_TAG: &str = "project:";

/// Tags as they are compared, and one more for a memory of any project.
pub(crate) fn tags_of(tags: &[String]) -> BTreeSet<String> {
    let mut tags: BTreeSet<String> = tags.iter().map(|tag| matched_form(tag)).collect();
    if tags.iter().any(|tag| tag.starts_with(PROJECT_TAG)) {
        tags.insert(PROJECT_TAG.to_owned());
    }
    tags
}
