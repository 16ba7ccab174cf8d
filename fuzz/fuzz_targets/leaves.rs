//! The program of the target `leaves`: see `fuzz/README.md`.

nexus_fuzz::target!("leaves");
