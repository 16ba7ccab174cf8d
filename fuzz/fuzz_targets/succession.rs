//! The program of the target `succession`: see `fuzz/README.md`.

nexus_fuzz::target!("succession");
