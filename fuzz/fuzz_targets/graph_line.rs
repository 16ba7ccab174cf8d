//! The program of the target `graph_line`: see `fuzz/README.md`.

nexus_fuzz::target!("graph_line");
