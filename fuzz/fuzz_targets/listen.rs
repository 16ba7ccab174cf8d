//! The program of the target `listen`: see `fuzz/README.md`.

nexus_fuzz::target!("listen");
