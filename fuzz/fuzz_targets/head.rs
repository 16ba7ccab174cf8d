//! The program of the target `head`: see `fuzz/README.md`.

nexus_fuzz::target!("head");
