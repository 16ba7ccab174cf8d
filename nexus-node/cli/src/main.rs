//! `nexus-node`: the program of the library beside it.

fn main() -> std::process::ExitCode {
    nexus_node_cli::main()
}
