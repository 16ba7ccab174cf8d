//! The program whose nodes are measured.

use std::path::PathBuf;

use nexus_node::api::Problem;

/// The variable that names it.
const VARIABLE: &str = "NEXUS_NODE";

/// The path of `nexus-node`: of `NEXUS_NODE`, else beside this program.
///
/// # Errors
/// Neither is a file.
pub(crate) fn nexus_node() -> Result<PathBuf, Problem> {
    let missing = |at: &str| {
        Problem::new("not_found", format!("there is no program nexus-node {at}"))
            .hint("`cargo build --release` makes it, or set NEXUS_NODE to its path")
    };
    if let Some(path) = std::env::var_os(VARIABLE).map(PathBuf::from) {
        return if path.is_file() { Ok(path) } else { Err(missing("where NEXUS_NODE says")) };
    }
    let own = std::env::current_exe().map_err(|error| Problem::new("failed", error.to_string()))?;
    let beside = own.with_file_name(format!("nexus-node{}", std::env::consts::EXE_SUFFIX));
    if beside.is_file() { Ok(beside) } else { Err(missing("beside this one")) }
}
