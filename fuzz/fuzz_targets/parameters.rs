//! The program of the target `parameters`: see `fuzz/README.md`.

nexus_fuzz::target!("parameters");
