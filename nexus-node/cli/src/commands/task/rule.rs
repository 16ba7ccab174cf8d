//! The rules by which tasks are approved.

use nexus_client::wire;

/// A rule by which tasks are approved.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Rule {
    Person,
    Other,
}

impl From<Rule> for wire::ApprovalRule {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::Person => Self::Person,
            Rule::Other => Self::Other,
        }
    }
}
