//! The program of the target `session`: see `fuzz/README.md`.

nexus_fuzz::target!("session");
