//! Problems that several commands tell in one way.

use nexus_node::api::Problem;

/// The problem of an error of the data directory.
pub(crate) fn data_dir_problem(error: nexus_node::datadir::DataDirError) -> Problem {
    nexus_node::NodeError::from(error).into()
}

/// The problem of a missing node.
pub(crate) fn no_node(message: &str) -> Problem {
    Problem::new("no_node", message).hint("start a node: `nexus-node up`")
}

/// The problem of an error of the configuration.
pub fn config_problem(error: nexus_node::config::ConfigError) -> Problem {
    use nexus_node::config::ConfigError;
    let code = if matches!(error, ConfigError::File { .. }) { "data_dir" } else { "invalid" };
    Problem::new(code, error.to_string())
        .hint("`nexus-node up --help` has the flags; `nexus-node config show` lists all settings of a running node")
}
