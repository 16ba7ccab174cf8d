//! The program of the target `confirmation`: see `fuzz/README.md`.

nexus_fuzz::target!("confirmation");
