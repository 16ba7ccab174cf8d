//! The program of the target `evidence`: see `fuzz/README.md`.

nexus_fuzz::target!("evidence");
