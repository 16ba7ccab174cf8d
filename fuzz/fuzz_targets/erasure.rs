//! The program of the target `erasure`: see `fuzz/README.md`.

nexus_fuzz::target!("erasure");
