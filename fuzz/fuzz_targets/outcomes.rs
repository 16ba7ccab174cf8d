//! The program of the target `outcomes`: see `fuzz/README.md`.

nexus_fuzz::target!("outcomes");
