//! The options of every command.

use std::path::PathBuf;

use clap::Args;

/// The global flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The directory of the node [default: `nexus` in the platform's data directory]
    #[arg(long, global = true, value_name = "DIR", env = "NEXUS_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,
    /// The node's API [default: the address in the data directory's `api-url`]
    #[arg(long, global = true, value_name = "URL", env = "NEXUS_API", hide_env_values = true)]
    pub api: Option<String>,
    /// The node at an `https://` address of --api: the `did` that `status` prints there
    #[arg(long, global = true, value_name = "DID", env = "NEXUS_API_DID", hide_env_values = true)]
    pub api_did: Option<String>,
    /// A file with the token to use: one that `token create` made, in place of the data directory's `api-token`
    #[arg(long, global = true, value_name = "FILE", env = "NEXUS_TOKEN_FILE", hide_env_values = true)]
    pub token_file: Option<PathBuf>,
    /// Print one JSON document on stdout, for streams one a line, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only the answer and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more logs on stderr; twice for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
