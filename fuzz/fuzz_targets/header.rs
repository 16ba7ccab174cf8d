//! The program of the target `header`: see `fuzz/README.md`.

nexus_fuzz::target!("header");
