//! The program of the target `engine`: see `fuzz/README.md`.

nexus_fuzz::target!("engine");
