//! The program of the target `trace`: see `fuzz/README.md`.

nexus_fuzz::target!("trace");
