//! The program of the target `seat`: see `fuzz/README.md`.

nexus_fuzz::target!("seat");
