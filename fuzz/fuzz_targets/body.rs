//! The program of the target `body`: see `fuzz/README.md`.

nexus_fuzz::target!("body");
