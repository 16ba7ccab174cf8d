//! The flags that say whose service is meant.

use clap::Args;

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ScopeFlags {
    /// A service of this account [default]
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// A service of the machine, which runs as the owner of the data directory
    #[arg(long)]
    pub(super) system: bool,
}
