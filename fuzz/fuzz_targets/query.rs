//! The program of the target `query`: see `fuzz/README.md`.

nexus_fuzz::target!("query");
