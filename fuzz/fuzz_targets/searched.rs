//! The program of the target `searched`: see `fuzz/README.md`.

nexus_fuzz::target!("searched");
