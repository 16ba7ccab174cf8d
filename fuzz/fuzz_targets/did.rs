//! The program of the target `did`: see `fuzz/README.md`.

nexus_fuzz::target!("did");
