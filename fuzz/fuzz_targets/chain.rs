//! The program of the target `chain`: see `fuzz/README.md`.

nexus_fuzz::target!("chain");
