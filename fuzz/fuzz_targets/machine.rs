//! The program of the target `machine`: see `fuzz/README.md`.

nexus_fuzz::target!("machine");
