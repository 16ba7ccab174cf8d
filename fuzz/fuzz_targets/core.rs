//! The program of the target `core`: see `fuzz/README.md`.

nexus_fuzz::target!("core");
