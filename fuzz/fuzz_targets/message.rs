//! The program of the target `message`: see `fuzz/README.md`.

nexus_fuzz::target!("message");
