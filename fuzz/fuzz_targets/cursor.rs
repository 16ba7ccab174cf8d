//! The program of the target `cursor`: see `fuzz/README.md`.

nexus_fuzz::target!("cursor");
